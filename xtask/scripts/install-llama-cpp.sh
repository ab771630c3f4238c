#!/bin/sh
# install-llama-cpp.sh DEST
#
# Put a runnable llama.cpp below DEST; afterwards DEST/llama-server exists.
#   1. Debian: the package of sid with all the libraries that it needs, its own
#      libc included, unpacked into DEST and run through that libc's loader.  The
#      host keeps its packages, and an old host can run a new llama.cpp.
#   2. else: compiled from the source inside the Python package
#      llama-cpp-python (needs python3 with pip, and a C++ compiler)
#
# Environment: PRONY_DEBIAN_MIRROR; PRONY_LLAMA_FROM_SOURCE=1 skips step 1
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

[ $# -eq 1 ] || die "usage: install-llama-cpp.sh DEST"
dest=$1
mkdir -p "$dest"
dest=$(cd "$dest" && pwd -P)
log=$dest/install.log
: >"$log"

from_debian() {
    # sid moves on and forgets old versions: packages once fetched stay in DEST.
    apt_open "$dest/apt" || return 1
    if [ ! -e "$dest/apt/complete" ]; then
        say "downloading llama.cpp-tools and its libraries (20 MB) from Debian sid"
        apt_suite debian sid && apt_private apt-get install --yes --download-only \
            --no-install-recommends llama.cpp-tools >>"$log" 2>&1 ||
            { say "Debian sid's packages could not be downloaded"; return 1; }
        : >"$dest/apt/complete"
    fi
    rm -rf "$dest/root"
    mkdir "$dest/root"
    for deb in "$dest"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$dest/root" || return 1
    done
    rm -rf "$dest/apt/state" # the indexes are 50 MB, and stale tomorrow
    loader=$(find "$dest/root/usr/lib" -name 'ld-linux-*.so.*' ! -type l | head -n 1)
    [ -n "$loader" ] || { say "no loader among the unpacked packages"; return 1; }
    # Libraries of the programs' own lie one folder deeper than the shared ones.
    libraries=
    for library in "$(find "$dest/root" -name 'libllama.so*' | head -n 1)" \
        "$(find "$dest/root" -name 'libllama-server-impl.so*' | head -n 1)"; do
        [ -z "$library" ] || libraries=${libraries:+$libraries:}$(dirname "$library")
    done
    # To the program, the folder that it was started from is the loader's: there
    # it looks for the code for this machine's processor.
    find "$dest/root/usr/lib" -path '*/ggml/*' -name '*.so' -exec ln -sf {} "$(dirname "$loader")/" \;
    for program in llama-server llama-bench llama-cli; do
        cat >"$dest/$program.new" <<WRAPPER
#!/bin/sh
exec "$loader" --argv0 $program --library-path "$libraries" "$dest/root/usr/bin/$program" "\$@"
WRAPPER
        chmod +x "$dest/$program.new"
        mv "$dest/$program.new" "$dest/$program"
    done
    "$dest/llama-server" --version >>"$log" 2>&1 ||
        { say "Debian's llama-server does not start: $(tail -n 1 "$log")"; return 1; }
}

from_source() {
    for need in python3 c++; do
        command -v "$need" >/dev/null 2>&1 || { say "to compile llama.cpp, $need is needed: install it"; return 1; }
    done
    pip() { python3 -m pip --disable-pip-version-check "$@" --quiet --no-input >>"$log" 2>&1; }
    say "compiling llama.cpp from source (some 15 minutes, once)"
    rm -rf "$dest/source"
    mkdir -p "$dest/source"
    pip install --target "$dest/source/tools" cmake ninja &&
        pip download --no-deps --no-binary llama-cpp-python --dest "$dest/source" llama-cpp-python || return 1
    (cd "$dest/source" && tar -xzf llama_cpp_python-*.tar.gz) || return 1
    export PYTHONPATH="$dest/source/tools" PATH="$dest/source/tools/bin:$PATH"
    cmake -G Ninja -S "$dest"/source/llama_cpp_python-*/vendor/llama.cpp -B "$dest/source/build" \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >>"$log" 2>&1 &&
        cmake --build "$dest/source/build" --target llama-server >>"$log" 2>&1 || return 1
    cp "$dest/source/build/bin/llama-server" "$dest/llama-server" && rm -rf "$dest/source"
    "$dest/llama-server" --version >>"$log" 2>&1
}

if [ -z "${PRONY_LLAMA_FROM_SOURCE:-}" ] && from_debian; then exit 0; fi
if from_source; then exit 0; fi
tail -n 20 "$log" >&2
die "llama.cpp could not be installed (log: $log): put a llama-server on PATH yourself, then run this again"
