#!/usr/bin/env bash
# Makes `prony` available to the next steps: the one on the PATH, or else that of the release
# whose tag the action was asked for by, checked against the release's SHA256SUMS.
set -euo pipefail

if command -v prony >/dev/null 2>&1; then
    prony --version
    exit
fi
: "${GITHUB_SERVER_URL:?}" "${ACTION_REPOSITORY:?}" "${ACTION_REF:?}" "${RUNNER_TEMP:?}" "${GITHUB_PATH:?}"
case $ACTION_REF in
    v[0-9]*) ;;
    *)
        echo "::error title=prony::the action was asked for by \`$ACTION_REF\`, which is no release: name a tag, or install prony in a step before"
        exit 1
        ;;
esac
prefix=$RUNNER_TEMP/prony-install
sh "$(dirname "$0")/../../xtask/scripts/install.sh" --prefix "$prefix" \
    --url "$GITHUB_SERVER_URL/$ACTION_REPOSITORY/releases/download/$ACTION_REF"
echo "$prefix/bin" >>"$GITHUB_PATH"
"$prefix/bin/prony" --version
