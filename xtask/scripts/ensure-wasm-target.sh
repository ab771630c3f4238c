#!/bin/sh
# ensure-wasm-target.sh [--check | --remove]
#
# Make `--target wasm32-unknown-unknown` work with the rustc in use:
#   1. it works already: done
#   2. `rustup target add`, given a minute (not with PRONY_NO_RUSTUP)
#   3. build std from the source that rust-src.sh finds, and put it where rustup
#      would have put it
#
# --check   only say by the exit status whether the target works
# --remove  delete a std that step 3 put there, never one of rustup's
#
# Environment: RUSTC, CARGO, PRONY_NO_RUSTUP, and what rust-src.sh reads
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

target=wasm32-unknown-unknown
rustc=${RUSTC:-rustc}
cargo=${CARGO:-cargo}
command -v "$rustc" >/dev/null 2>&1 || die "no rustc on PATH: install Rust with rustup first"
sysroot=$("$rustc" --print sysroot)
release=$("$rustc" -vV | sed -n 's/^release: //p')
commit=$("$rustc" -vV | sed -n 's/^commit-hash: //p')
home=$sysroot/lib/rustlib/$target
ours=$home/built-by-prony

tmp=$(mktemp -d "${TMPDIR:-/tmp}/prony-wasm.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Whether a library that needs std both compiles and links: a folder that is
# there can still be of another version, and a linker can be missing.
works() {
    printf '%s\n' '#[unsafe(no_mangle)] pub extern "C" fn f(n: u32) -> usize { n.to_string().len() }' |
        "$rustc" --target "$target" --crate-type cdylib --edition 2024 -o "$tmp/probe.wasm" - 2>"$tmp/probe.err"
}
why() { sed 's/^/  /' "$tmp/probe.err" >&2; }

case ${1:-} in
    '') ;;
    --check)
        works && exit 0
        why
        exit 1
        ;;
    --remove)
        [ -e "$ours" ] || die "left as it is, prony did not build it: $home"
        rm -rf "$home"
        say "removed $home"
        exit 0
        ;;
    *) die "usage: ensure-wasm-target.sh [--check | --remove]" ;;
esac

works && exit 0
if [ -e "$ours" ]; then
    say "the std there was built for $(cat "$ours"), not for $release: building it anew"
    rm -rf "$home"
elif [ -d "$home/lib" ]; then
    why
    die "$target is installed, yet a small library does not build: 'rustup target remove $target' and run this again"
fi

if toolchain=$(rustup_toolchain "$sysroot"); then
    say "asking rustup for $target"
    bounded 60 rustup target add --toolchain "$toolchain" "$target" >&2 || :
    works && exit 0
    say "rustup could not add $target; building its std from source instead"
    PRONY_NO_RUSTUP=1 # an unreachable server will not answer the next question either
    export PRONY_NO_RUSTUP
fi

[ -w "$sysroot/lib/rustlib" ] || die "cannot write below $sysroot: run this as the toolchain's owner"
library=$(sh "$here/rust-src.sh")
say "building std $release for $target from $library (some minutes, once)"

# The crate `sysroot` pulls in std, both panic runtimes, test and proc_macro.  A
# package of ours stands in for std's own workspace, because cargo would also
# resolve what that workspace needs for its tests, which Debian's copy leaves
# out.  The profiles come from there: `dist` embeds the bitcode that LTO wants.
mkdir -p "$tmp/std/src"
printf '#![no_std]\n' >"$tmp/std/src/lib.rs"
cp "$library/Cargo.lock" "$tmp/std/Cargo.lock"
{
    cat <<MANIFEST
cargo-features = ["profile-rustflags"]
[workspace]
[package]
name = "prony-std"
version = "0.0.0"
edition = "2024"
[dependencies]
sysroot = { path = '$library/sysroot' }
MANIFEST
    sed -n '/^\[profile/,$p' "$library/Cargo.toml" | sed "s#path = '#path = '$library/#"
} >"$tmp/std/Cargo.toml"

# -Zforce-unstable-if-unmarked keeps std's private dependencies out of users'
# reach, as in a std that rustup delivers.
build_std() { # cargo options...
    (
        cd "$tmp/std"
        unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
        export RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=prony CARGO_TARGET_DIR="$tmp/out" RUSTC="$rustc"
        export RUSTFLAGS="-Zforce-unstable-if-unmarked -Cdebuginfo=0 --remap-path-prefix=$library=/rustc/$commit/library"
        exec "$cargo" build -p sysroot --profile dist --target "$target" "$@"
    ) >>"$tmp/build.log" 2>&1
}
vendored() { # from the crates that came with the source, if they did
    [ -d "$library/vendor" ] && build_std --offline \
        --config 'source.crates-io.replace-with="beside-std"' \
        --config "source.beside-std.directory=\"$library/vendor\""
}
vendored || build_std || {
    tail -n 40 "$tmp/build.log" >&2
    die "std did not build (above)"
}

new=$home.new.$$
mkdir -p "$new/lib"
cp "$tmp/out/$target/dist/deps/"*.rlib "$new/lib/"
rm -f "$new/lib/"libsysroot-*.rlib # empty: it only names the others
printf '%s (%s)\n' "$release" "$commit" >"$new/${ours##*/}"
rm -rf "$home"
mv "$new" "$home"
works || {
    why
    if grep -q 'linker .* not found' "$tmp/probe.err"; then
        die "std is there, but this rustc has no linker for wasm: install lld"
    fi
    rm -rf "$home"
    die "the std that was built does not work with rustc $release"
}
say "$target is ready"
