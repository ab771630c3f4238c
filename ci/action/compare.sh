#!/usr/bin/env bash
# Asks the run for its verdict on the two engines. Outputs: `verdict`, of several the worst, and
# `exit-code`: that of the run, or else of `prony compare`.
set -euo pipefail
: "${FOLDER:?}" "${RUN_CODE:?}" "${GITHUB_OUTPUT:?}" "${FAIL_ON:?}"

verdict=
code=$RUN_CODE
if [ -n "${BASE:-}" ] && [ -f "$FOLDER/journal.jsonl" ]; then
    arguments=(--engine "$BASE" --candidate-engine "${HEAD:?}")
    if [ "$FAIL_ON" != nothing ]; then arguments+=(--fail-on "$FAIL_ON"); fi
    if [ -n "${MARGIN:-}" ]; then arguments+=(--margin "$MARGIN"); fi
    compared=0
    prony compare "$FOLDER" "$FOLDER" "${arguments[@]}" --json >"$FOLDER/compare.json" ||
        compared=$?
    # A line of its own in the indented JSON, and a string cannot hold a line break.
    for one in slower inconclusive equivalent faster; do
        if grep -q "^ *\"verdict\": \"$one\",\?\$" "$FOLDER/compare.json"; then
            verdict=$one
            break
        fi
    done
    if [ "$code" -eq 0 ]; then code=$compared; fi
fi
{
    echo "verdict=$verdict"
    echo "exit-code=$code"
} >>"$GITHUB_OUTPUT"
