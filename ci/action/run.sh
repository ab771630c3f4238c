#!/usr/bin/env bash
# Runs the pipeline into a new folder. Outputs: `folder`, and `exit-code` of `prony run`, which the
# last step of the action ends with, when the reports are kept.
set -euo pipefail
: "${PIPELINE:?}" "${RUNNER_TEMP:?}" "${GITHUB_OUTPUT:?}"

folder=$(mktemp -d "$RUNNER_TEMP/prony-run-XXXXXX")
arguments=()
while IFS= read -r line; do
    if [ -n "$line" ]; then arguments+=("$line"); fi
done <<<"${ARGS:-}"
# The run stops by the margin that its verdict is judged by, and its reports have it.
if [ -n "${MARGIN:-}" ]; then arguments+=(--set "compare.margin_percent=${MARGIN%\%}"); fi

# What prony and the reporters print is no command to the runner, whatever names it has in it.
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "::stop-commands::$token"
# Behind the shell, so that a signal is handed on and prony can stop what it has started.
prony run "$PIPELINE" --into "$folder" ${arguments[@]+"${arguments[@]}"} &
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
echo "::$token::"

{
    echo "folder=$folder"
    echo "exit-code=$code"
} >>"$GITHUB_OUTPUT"
