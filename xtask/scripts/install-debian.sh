#!/bin/sh
# install-debian.sh PACKAGE...
#
# Install Debian packages with apt; needs root, or sudo without a password.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null ||
        die "missing, and this user may not install it: apt-get install $*"
    as_root="sudo -n"
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
