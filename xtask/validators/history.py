"""Holds the changes that prony finds in histories against those of Apache Otava.

Standard input: a JSON object a line, with `machine`, `step`, `values` (log ratios), `changes`
(indices) and `margin_percent`. Both agree on a history if they find as many changes, each within
three runs of the other's. Fails below 95 %.
"""

import json
import math
import sys
import warnings

from otava.analysis import compute_change_points

NEAR = 3
MIN_AGREEMENT = 0.95

warnings.filterwarnings("ignore")


def of_otava(values, margin_percent):
    speeds = [100 * math.exp(value) for value in values]
    found, _ = compute_change_points(
        speeds, window_len=50, max_pvalue=0.001, min_magnitude=margin_percent / 100
    )
    return [it.index for it in found]


def agree(ours, theirs):
    return len(ours) == len(theirs) and all(
        abs(a - b) <= NEAR for a, b in zip(sorted(ours), sorted(theirs))
    )


def main():
    counts = {}
    for line in sys.stdin:
        it = json.loads(line)
        theirs = of_otava(it["values"], it["margin_percent"])
        key = (it["machine"], "a step" if it["step"] else "no change")
        agreed, number = counts.get(key, (0, 0))
        counts[key] = (agreed + agree(it["changes"], theirs), number + 1)
    print("| Machine | History | Same changes as Apache Otava 0.8 |\n|---|---|---:|")
    for (machine, kind), (agreed, number) in counts.items():
        print(f"| {machine} | {kind} | {100 * agreed / number:.1f} % |")
    agreed, number = (sum(it[at] for it in counts.values()) for at in (0, 1))
    if not number or agreed < MIN_AGREEMENT * number:
        sys.exit(f"error: both agree on {agreed} of {number} histories only")


main()
