#!/bin/sh
# Measures two builds of an engine in one run, and fails if the new one is slower: for any build
# system that has a shell. POSIX sh.
#
# usage: gate.sh PIPELINE [ARGUMENT OF prony run]...
#
# BASE and HEAD name the engines to compare (default: base and head; an empty BASE compares
# nothing), FAIL_ON is regression, inconclusive, both with a comma between them, or nothing,
# MARGIN a percentage, in place of the pipeline's, FOLDER where the run and its reports go (default:
# prony-run; a run that is there already is refused, since it measured another build), and REPORTERS
# names more reports (default: junit,html).
set -eu

[ $# -ge 1 ] || {
    echo "usage: gate.sh PIPELINE [ARGUMENT OF prony run]..." >&2
    exit 2
}
pipeline=$1
shift
base=${BASE-base}
head=${HEAD:-head}
fail_on=${FAIL_ON:-regression}
folder=${FOLDER:-prony-run}

if [ -e "$folder/journal.jsonl" ]; then
    echo "error: $folder has a run already: remove it, or name another FOLDER" >&2
    exit 2
fi
# The run stops by the margin that its verdict is judged by.
if [ -n "${MARGIN:-}" ]; then
    set -- "$@" --set "compare.margin_percent=${MARGIN%\%}"
fi

# Behind the shell, so that a signal is handed on and prony can stop what it has started.
prony run "$pipeline" --into "$folder" "$@" &
child=$!
stopped=
trap 'stopped=1; kill -TERM "$child" 2>/dev/null || true' INT TERM
code=0
wait "$child" || code=$?
while [ -n "$stopped" ]; do
    stopped=
    code=0
    wait "$child" || code=$?
done
[ -f "$folder/journal.jsonl" ] || exit "$code"

# A report that cannot be made fails a build, but not in place of what was found.
reported=0
prony --quiet report "$folder" --reporter "${REPORTERS:-junit,html}" || reported=$?
if [ -n "$base" ]; then
    set -- --engine "$base" --candidate-engine "$head"
    [ "$fail_on" = nothing ] || set -- "$@" --fail-on "$fail_on"
    [ -z "${MARGIN:-}" ] || set -- "$@" --margin "$MARGIN"
    compared=0
    prony compare "$folder" "$folder" "$@" || compared=$?
    [ "$code" -ne 0 ] || code=$compared
fi
[ "$code" -ne 0 ] || code=$reported
exit "$code"
