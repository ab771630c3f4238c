#!/usr/bin/env bash
# Shows the run in the step's summary and as annotations, and makes the reports that are kept.
set -euo pipefail
: "${FOLDER:?}" "${EXIT_CODE:?}" "${GITHUB_STEP_SUMMARY:?}"

if [ ! -f "$FOLDER/journal.jsonl" ]; then
    echo "### prony measured nothing: exit code $EXIT_CODE, see the step before" \
        >>"$GITHUB_STEP_SUMMARY"
    echo "::error title=prony::nothing was measured: exit code $EXIT_CODE"
    exit
fi
prony --quiet report "$FOLDER" --reporter github,junit,html
cat "$FOLDER/summary.md" >>"$GITHUB_STEP_SUMMARY"
# A regression that the job does not fail for is no error.
case ,${FAIL_ON:-regression}, in
*,regression,*) cat "$FOLDER/annotations.txt" ;;
*) sed 's/^::error title=prony%3A regression::/::notice title=prony%3A regression::/' "$FOLDER/annotations.txt" ;;
esac
