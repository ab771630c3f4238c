#!/bin/sh
# How often does prony name a winner where there is none? The embedded engine against
# itself, 20 times or as often as half an hour allows, each time with an order of its own.
# Nothing else should run on the machine. Ends with 1 if more winners were named than
# chance allows.
#
#     examples/aa/aa.sh [RUNS [TIME]]
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
exec "${PRONY:-prony}" aa "$here/pipelines/quickstart.yaml" --engine q8_0 \
  --set workload.max_tokens=16 --set stages.2.measure.requests=3 \
  --cycles 12 --runs "${1:-20}" --limit "${2:-30m}"
