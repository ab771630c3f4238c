#!/bin/sh
# install-chromium.sh
#
# Install Debian's chromium and a font with apt; needs root, or sudo without a password.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null ||
        die "chromium is missing, and this user may not install it: apt-get install chromium fonts-dejavu-core"
    as_root="sudo -n"
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
