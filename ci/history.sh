#!/bin/sh
# Adds runs to a history, and fails if its newest change is a regression: for any build system that
# has a shell. POSIX sh.
#
# usage: history.sh RUN...
#
# HISTORY is the folder of the history (default: history), which is to be kept between builds: on a
# branch, in a bucket, on a shared disk. FAIL_ON is regression, trend, both with a comma between them,
# or nothing (default: regression), and ACCEPT the commits of changes that are wanted, with spaces
# between them. The commit is that of the build system, or of the git repository here.
set -eu

[ $# -ge 1 ] || {
    echo "usage: history.sh RUN..." >&2
    exit 2
}
history=${HISTORY:-history}
fail_on=${FAIL_ON:-regression}

added=$(prony history add "$@" --history "$history")
printf '%s\n' "$added"
case $added in
"0 lines added "*", "*" there already"*)
    # Else a build that measures nothing would stay green.
    echo "error: every run is in the history already: measure a new one, in a new folder" >&2
    exit 2
    ;;
esac
set --
[ "$fail_on" = nothing ] || set -- "$@" --fail-on "$fail_on"
for commit in ${ACCEPT:-}; do
    set -- "$@" --accept "$commit"
done
exec prony history check --history "$history" "$@"
