#!/usr/bin/env bash
# Ends as prony did.
set -euo pipefail
: "${EXIT_CODE:?}"

case $EXIT_CODE in
    0) ;;
    1) echo "the run failed" ;;
    2) echo "wrong usage, or nothing to compare" ;;
    3) echo "the pipeline is invalid" ;;
    4) echo "a threshold was missed, or prony found what \`fail-on\` names" ;;
    5) echo "a plugin failed" ;;
    6) echo "the numbers are not valid" ;;
    130) echo "the run was interrupted" ;;
    *) echo "prony ended with exit code $EXIT_CODE" ;;
esac
exit "$EXIT_CODE"
