#!/bin/sh
# Installs prony from an archive of `cargo xtask dist`, or removes it.  POSIX sh.
set -eu
umask 022

# Where the archives of this release are; filled in when a release is made.
url=

usage() {
    cat <<'END'
usage: install.sh [--prefix DIR] [ARCHIVE]
       install.sh [--prefix DIR] --url URL
       install.sh [--prefix DIR] --uninstall

Installs prony from ARCHIVE, beside which its SHA256SUMS lies, or else downloads the
archive for this machine.  Nothing is installed if the checksum is another one.

  --prefix DIR   where to install (default: ~/.local)
  --url URL      the folder of a release to download from
  --uninstall    remove what this script installed
END
}
say() { printf '%s\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

# So that `main` runs only when the whole script has arrived.
main() {
    prefix= archive= action=install
    while [ $# -gt 0 ]; do
        case $1 in
            --prefix) [ -n "${2:-}" ] || die "--prefix needs a folder"; prefix=$2; shift ;;
            --url) [ -n "${2:-}" ] || die "--url needs an address"; url=$2; shift ;;
            --uninstall) action=uninstall ;;
            -h | --help) usage; exit 0 ;;
            -*) usage >&2; die "unknown option $1" ;;
            *) [ -z "$archive" ] || die "give one archive"; archive=$1 ;;
        esac
        shift
    done
    [ -n "$prefix" ] || prefix=${HOME:?set HOME, or give --prefix}/.local
    case $prefix in
        /*) ;;
        *) prefix=$PWD/$prefix ;;
    esac
    "$action"
}

# The files besides the two folders, below the prefix and in the archive.
files='bin/prony bin/prony
share/bash-completion/completions/prony completions/prony.bash
share/zsh/site-functions/_prony completions/_prony
share/fish/vendor_completions.d/prony.fish completions/prony.fish'

uninstall() {
    [ -e "$prefix/bin/prony" ] || [ -e "$prefix/lib/prony" ] || die "prony is not installed in $prefix"
    rm -rf "$prefix/lib/prony" "$prefix/share/prony"
    printf '%s\n' "$files" | while read -r to from; do
        rm -f "$prefix/$to"
    done
    say "removed prony from $prefix; its cache and results are left"
}

install() {
    work=$(mktemp -d)
    new=
    trap 'rm -rf "$work" ${new:+"$new"}' EXIT
    trap 'exit 1' HUP INT TERM
    if [ -n "$archive" ]; then
        [ -f "$archive" ] || die "there is no file $archive"
        case $archive in
            */*) sums=${archive%/*}/SHA256SUMS ;;
            *) sums=SHA256SUMS ;;
        esac
        [ -f "$sums" ] || die "$sums is missing: without it the archive cannot be verified"
    else
        [ -n "$url" ] || { usage >&2; die "give an archive, or --url"; }
        download
    fi
    verify

    # Unpacked beside what it replaces, so that the replacing is a matter of renaming.
    mkdir -p "$prefix/bin" "$prefix/lib"
    new=$(mktemp -d "$prefix/lib/.prony.XXXXXX")
    tar -xzf "$archive" -C "$new" || die "cannot unpack $archive"
    set -- "$new"/prony-*
    [ $# -eq 1 ] && [ -f "$1/bin/prony" ] || die "$archive is no archive of prony"
    top=$1
    chmod -R go-w "$top"

    mkdir -p "$prefix/share"
    rm -rf "$prefix/lib/prony" "$prefix/share/prony"
    mv "$top/lib/prony" "$prefix/lib/prony"
    printf '%s\n' "$files" | while read -r to from; do
        mkdir -p "$prefix/${to%/*}"
        mv -f "$top/$from" "$prefix/$to"
    done
    rmdir "$top/bin" "$top/lib" "$top/completions"
    mv "$top" "$prefix/share/prony"

    say "installed prony in $prefix"
    case :${PATH:-}: in
        *":$prefix/bin:"*) ;;
        *) say "add it to PATH, for example in ~/.profile: export PATH=\"$prefix/bin:\$PATH\"" ;;
    esac
    say "try: prony run \"$prefix/share/prony/pipelines/quickstart.yaml\""
}

# Downloads SHA256SUMS and the one archive in it that is for this machine.
download() {
    case $(uname -s)-$(uname -m) in
        Linux-x86_64 | Linux-amd64) target=x86_64-unknown-linux-gnu ;;
        Linux-aarch64 | Linux-arm64) target=aarch64-unknown-linux-gnu ;;
        Darwin-arm64) target=aarch64-apple-darwin ;;
        *) die "there is no archive for $(uname -s) on $(uname -m): build prony from source" ;;
    esac
    sums=$work/SHA256SUMS
    fetch SHA256SUMS
    name=$(awk '{ print $2 }' "$sums" | grep "^prony-.*-$target\.tar\.gz\$") ||
        die "$url has no archive for $target"
    archive=$work/$name
    fetch "$name"
}

fetch() { # NAME
    if command -v curl >/dev/null 2>&1; then
        curl -fsSL -o "$work/$1" "$url/$1" || die "cannot download $url/$1"
    elif command -v wget >/dev/null 2>&1; then
        wget -q -O "$work/$1" "$url/$1" || die "cannot download $url/$1"
    else
        die "curl or wget is needed to download"
    fi
}

verify() {
    name=${archive##*/}
    wanted=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1; exit }' "$sums")
    [ -n "$wanted" ] || die "$sums does not list $name"
    if command -v sha256sum >/dev/null 2>&1; then
        found=$(sha256sum <"$archive")
    else
        found=$(shasum -a 256 <"$archive")
    fi
    found=${found%% *}
    [ "$found" = "$wanted" ] || die "the checksum of $name is $found and should be $wanted: not installed"
}

main "$@"
