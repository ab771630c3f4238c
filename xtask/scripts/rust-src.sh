#!/bin/sh
# rust-src.sh
#
# Print a `library` folder: the source of std that belongs to the rustc in use.
# cargo and std must match to the version, so the choices, in order, are
#   1. $RUST_SRC_DIR, if set
#   2. the toolchain's own rust-src component
#   3. one that this script fetched before
#   4. `rustup component add rust-src`, given a minute (not with PRONY_NO_RUSTUP)
#   5. Debian's package of the same version, kept in prony's cache
#
# Environment: RUSTC, RUST_SRC_DIR, PRONY_NO_RUSTUP, PRONY_CACHE, PRONY_DEBIAN_MIRROR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

rustc=${RUSTC:-rustc}
command -v "$rustc" >/dev/null 2>&1 || die "no rustc on PATH: install Rust with rustup first"
sysroot=$("$rustc" --print sysroot)
release=$("$rustc" -vV | sed -n 's/^release: //p')
own=$sysroot/lib/rustlib/src/rust/library
kept=$(prony_cache)/rust-src/$release

found() { # LIBRARY: print it and stop, if it is a source of std
    if [ -f "$1/sysroot/Cargo.toml" ] && [ -d "$1/std/src" ]; then
        (cd "$1" && pwd -P)
        exit 0
    fi
}

if [ -n "${RUST_SRC_DIR:-}" ]; then
    found "$RUST_SRC_DIR"
    die "RUST_SRC_DIR=$RUST_SRC_DIR is no 'library' folder of a Rust source tree"
fi
found "$own"
found "$kept/library"

if toolchain=$(rustup_toolchain "$sysroot"); then
    bounded 60 rustup component add --toolchain "$toolchain" rust-src >&2 || :
    found "$own"
    say "rustup could not add rust-src; looking for Debian's package"
fi

way_out="give RUST_SRC_DIR the 'library' folder of Rust $release's source, or run 'rustup component add rust-src'"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/prony-rust-src.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
apt_open "$tmp/apt" || die "$way_out"

# The small indexes come first; testing and sid know only the newest version.
while read -r archive suite; do
    apt_suite "$archive" "$suite" || continue
    for package in rust-src rust-web-src; do
        version=$(apt_private apt-cache madison "$package" 2>/dev/null | awk -F'|' -v want="$release" '
            { gsub(/ /, "", $2) }
            index($2, want "+") == 1 || index($2, want "-") == 1 { print $2; exit }')
        [ -n "$version" ] || continue
        say "downloading $package $version from $suite"
        (cd "$tmp" && apt_private apt-get download "$package=$version") >"$tmp/log" 2>&1 || continue
        mkdir "$tmp/tree"
        dpkg-deb --fsys-tarfile "$tmp/$package"_*.deb |
            tar -x -C "$tmp/tree" --wildcards './usr/src/rustc-*/library'
        mkdir -p "$(dirname "$kept")"
        rm -rf "$kept"
        mv "$tmp"/tree/usr/src/rustc-* "$kept"
        found "$kept/library"
    done
done <<SUITES
debian trixie-backports
debian-security bookworm-security
debian trixie
debian sid
debian forky-backports
SUITES
die "Debian has no source of Rust $release: $way_out"
