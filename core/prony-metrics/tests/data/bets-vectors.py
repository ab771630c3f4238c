"""Makes bets-vectors.json: e-values of runs without a last cycle.

`python3 bets-vectors.py FOLDER > bets-vectors.json`, where FOLDER has `reference.py`, the
numpy implementation behind level-vectors.json. Visits and coins are those of the cases of
level-vectors.json that have the same name.
"""

import json
import math
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import reference  # noqa: E402

ALPHA, SIDE = 0.04, 0.05
SIZES = (0.2, 0.4, 0.7)


def frozen(run, advantage):
    """g of each cycle by the fit when it, and with carry-over the next one, was done."""
    lag = 1 if run.carry > 0 else 0
    return [run.contributions(n, advantage)["g"][n - 1 - lag] for n in range(1 + lag, run.cycles + 1)]


def one_sided(frozen, coin, side):
    """reference.evidence() with the bets of one sign."""
    out, square, logs = [], 0.0, [0.0] * len(SIZES)
    head = math.sqrt(sum(x * x for x in frozen[:6]) / 6)
    for c, (g, s) in enumerate(zip(frozen, coin)):
        square += g * g
        u = g / max(head if c < 6 else math.sqrt(square / (c + 1)), 1e-12)
        for i, size in enumerate(SIZES):
            logs[i] += side * size * s * u - math.log(math.cosh(size * u))
        out.append(sum(math.exp(x) for x in logs) / len(logs))
    return out


def first(values, bound, lag):
    """Number of cycles after which a value reaches a bound, from the first look on."""
    return next((c + 1 + lag for c, e in enumerate(values) if c >= 5 and e >= bound), None)


def case(given):
    visits = [{q: math.log(s) for q, s in visit} for visit in given["visits"]]
    run = reference.Run(visits, given["baseline_first"], given["times_s"], given["carry"])
    lag, margin = 1 if run.carry > 0 else 0, given["margin"]
    g = frozen(run, 0.0)
    both = reference.evidence(g, run.coin)
    low = one_sided(frozen(run, -margin), run.coin, 1)
    high = one_sided(frozen(run, margin), run.coin, -1)
    return {
        "name": given["name"],
        "frozen": g,
        "both": both[5:],
        "low": low[5:],
        "high": high[5:],
        "win": first(both, 1 / ALPHA, lag),
        "equivalent": [first(low, 1 / SIDE, lag), first(high, 1 / SIDE, lag)],
    }


vectors = json.loads(Path(__file__).with_name("level-vectors.json").read_text())
cases = [case(it) for it in vectors["cases"] if it["kind"] == "verdict" and len(it["baseline_first"]) >= 16]
json.dump({"alpha": ALPHA, "alpha_side": SIDE, "cases": cases}, sys.stdout, separators=(",", ":"))
print()
