# Helpers that the other scripts of this folder source.  POSIX sh.
#
# The private apt below reads the distribution's archive without touching the
# system: its lists, its cache and its package database live in a folder of
# ours, so no root is needed and nothing is ever installed on the host.

me=$(basename "$0" .sh)
say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$*"; exit 1; }

# The folder that prony caches downloads in; the same rule is in src/workspace.rs.
prony_cache() {
    if [ -n "${PRONY_CACHE:-}" ]; then
        printf '%s\n' "$PRONY_CACHE"
    elif [ "$(uname -s)" = Darwin ]; then
        printf '%s\n' "$HOME/Library/Caches/prony"
    else
        printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/prony"
    fi
}

# bounded SECONDS COMMAND...: run it, but give up (status 124) when the time is
# over.  `timeout` is not on every system.
bounded() {
    bounded_left=$1
    shift
    "$@" &
    bounded_pid=$!
    while kill -0 "$bounded_pid" 2>/dev/null; do
        if [ "$bounded_left" -le 0 ]; then
            kill "$bounded_pid" 2>/dev/null || :
            wait "$bounded_pid" 2>/dev/null || :
            return 124
        fi
        bounded_left=$((bounded_left - 1))
        sleep 1
    done
    wait "$bounded_pid"
}

# The toolchain's name if rustup manages the compiler with this sysroot.  Fails
# where rustup must not be asked (PRONY_NO_RUSTUP) or has no say.
rustup_toolchain() { # SYSROOT
    [ -z "${PRONY_NO_RUSTUP:-}" ] && command -v rustup >/dev/null 2>&1 || return 1
    case $1 in
        */toolchains/*) printf '%s\n' "${1##*/}" ;;
        *) return 1 ;;
    esac
}

# The Debian mirror that this machine's apt is set up for, or the one named by
# PRONY_DEBIAN_MIRROR; without a trailing /debian.
debian_mirror() {
    if [ -n "${PRONY_DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "${PRONY_DEBIAN_MIRROR%/debian}"
        return
    fi
    # Without that option apt is silent about lists that it has not fetched yet.
    debian_uris=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 2>/dev/null)
    # Cloud images name a file with the mirrors in it.
    debian_lists=$(printf '%s\n' "$debian_uris" | sed -n 's#^mirror+file:##p' | sed 's#/*$##' | sort -u)
    {
        printf '%s\n' "$debian_uris"
        for debian_list in $debian_lists; do cat "$debian_list"; done
    } | awk '{ print $1 }' | sed -n 's#/debian/*$##p' | head -n 1 | grep .
}

# apt_open DIR: start a private apt in DIR.  Fails where there is none to use.
apt_open() {
    apt_dir=$1
    apt_keys=/usr/share/keyrings/debian-archive-keyring.gpg
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 ||
        { say "this system has no apt"; return 1; }
    [ -r "$apt_keys" ] ||
        { say "the archive's keys are missing: install the package debian-archive-keyring"; return 1; }
    apt_mirror=$(debian_mirror) ||
        { say "apt knows no Debian mirror here: set PRONY_DEBIAN_MIRROR to one"; return 1; }
    mkdir -p "$apt_dir/state/lists/partial" "$apt_dir/cache/archives/partial" "$apt_dir/none"
    : >"$apt_dir/status"
}

# apt_private TOOL ARGS...: an apt tool on the private state.
apt_private() {
    apt_tool=$1
    shift
    "$apt_tool" -q \
        -o "Dir::Etc::SourceList=$apt_dir/sources.list" -o "Dir::Etc::SourceParts=$apt_dir/none" \
        -o Dir::Etc::Preferences=/dev/null -o "Dir::Etc::PreferencesParts=$apt_dir/none" \
        -o "Dir::State=$apt_dir/state" -o "Dir::State::Status=$apt_dir/status" \
        -o "Dir::Cache=$apt_dir/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User= \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o Acquire::Retries=2 "$@"
}

# apt_suite ARCHIVE SUITE: read one suite's index, e.g. `apt_suite debian sid`.
apt_suite() {
    printf 'deb [signed-by=%s] %s/%s %s main\n' "$apt_keys" "$apt_mirror" "$1" "$2" >"$apt_dir/sources.list"
    apt_private apt-get update >"$apt_dir/log" 2>&1
}
