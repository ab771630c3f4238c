"""Makes common-vectors.json: the part that two answers have in common, by enumeration.

Standard library only. `python3 common-vectors.py > common-vectors.json`

An answer of n tokens in m texts can be cut in many ways. Each is tried: every number of
tokens for every text (as told, or at least one), and every number of tokens behind the last
text that the counts allow. For each the time to token k lies between an even share of the time
since the text before and the arrival of the text that has it. The bounds are the smallest and
the largest of all ways, in exact fractions.
"""

import json
import math
import random
from fractions import Fraction
from itertools import accumulate

CUT = "length"


def ways(least, told, total):
    """Tokens of each text: as told, or at least one; `total` in all."""
    if not told:
        if total == 0:
            yield ()
        return
    first = [told[0]] if told[0] else range(1, total + 1)
    for tokens in first:
        rest = total - tokens
        if rest >= sum(least[1:]):
            for more in ways(least[1:], told[1:], rest):
                yield (tokens, *more)


def placings(answer):
    """Tokens with text for certain, and the numbers of them that are possible in all."""
    n = answer["output_tokens"]
    told = [tokens for _, tokens in answer["arrivals"]]
    if sum(max(1, it) for it in told) > n:
        # Counts of another kind.
        told = [0] * len(told)
    least = [max(1, it) for it in told]
    more = n - sum(least)
    stopped = answer["finish_reason"] != CUT
    if all(told):
        return least, told, n - more, [n - more]
    if more == 0:
        return least, told, n, [n]
    if more == 1 and stopped:
        return least, told, n - 1, [n - 1]
    return least, told, n - stopped, [n - behind for behind in range(more + 1)]


def bounds(answer, k):
    least, told, _, totals = placings(answer)
    since = [at - answer["intended_ns"] for at, _ in answer["arrivals"]]
    times = list(accumulate(since, max))
    end = max(times[-1], answer["end_ns"] - answer["intended_ns"])
    low, high = [], []
    for total in totals:
        for way in ways(least, told, total):
            if k > total:
                low.append(Fraction(times[-1]))
                high.append(Fraction(end))
                continue
            # Texts of one stamp are one.
            before, start, position = 0, 0, 0
            while position < len(way):
                stamp = times[position]
                tokens = 0
                while position < len(way) and times[position] == stamp:
                    tokens += way[position]
                    position += 1
                if before + tokens >= k:
                    low.append(start + Fraction((stamp - start) * (k - before), tokens))
                    high.append(Fraction(stamp))
                    break
                before, start = before + tokens, stamp
    return min(low), max(high)


def seconds(ns):
    return float(Fraction(ns) / 10**9)


def expected(baseline, candidate):
    a, b = baseline["output_tokens"], candidate["output_tokens"]
    if a == b:
        whole = [it["end_ns"] - it["intended_ns"] for it in (baseline, candidate)]
        return {"tokens": a, "parts": [[seconds(it)] * 2 for it in whole]}
    k = min(placings(it)[2] for it in (baseline, candidate))
    parts = [bounds(it, k) for it in (baseline, candidate)]
    return {"tokens": k, "parts": [[seconds(low), seconds(high)] for low, high in parts]}


def answer(n, arrivals, reason=CUT, tail=0, intended=0):
    end = intended + max(at for at, _ in arrivals) + tail
    return {
        "intended_ns": intended,
        "end_ns": end,
        "output_tokens": n,
        "finish_reason": reason,
        "arrivals": [[intended + at, tokens] for at, tokens in arrivals],
    }


def drawn(draw):
    """An answer of up to ten tokens, sent in any way."""
    texts = [draw.randint(1, 4) for _ in range(draw.randint(1, 5))]
    while sum(texts) > 10:
        texts.pop()
    at, arrivals = draw.randint(20, 90) * 10**6, []
    naming = draw.choice(["all", "none", "some"])
    for tokens in texts:
        named = naming == "all" or (naming == "some" and draw.random() < 0.5)
        arrivals.append((at, tokens if named else 0))
        # One in five has the stamp of the text before.
        at += draw.choice([0, 1, 1, 1, 1]) * draw.randint(3, 40) * 10**6
    reason = draw.choice([CUT, "stop"])
    end = draw.random() < 0.5 and reason != CUT
    tail, intended = draw.choice([0, 5 * 10**6]), draw.choice([0, 7 * 10**9])
    return answer(sum(texts) + end, arrivals, reason, tail, intended)


def steps(n, first, gap, tokens=0):
    return [((first + gap * i) * 10**6, tokens) for i in range(n)]


def named():
    yield "equal lengths", answer(8, steps(8, 40, 10)), answer(8, steps(4, 60, 30), tail=10**6)
    yield "a token a text", answer(21, steps(21, 55, 9), "stop"), answer(32, steps(32, 40, 10))
    yield "an end token", answer(22, steps(21, 55, 9), "stop"), answer(32, steps(32, 40, 10))
    yield "the end of the stream", answer(5, steps(5, 40, 10), tail=10**8), answer(8, steps(8, 40, 10))
    told = [(70 * 10**6, 4), (110 * 10**6, 4)]
    yield "inside of a text", answer(6, steps(6, 40, 10)), answer(8, told)
    yield "at the end of a text", answer(4, steps(4, 40, 10)), answer(8, told)
    yield "one piece", answer(2, steps(2, 40, 10)), answer(8, [(110 * 10**6, 8)])
    yield "one read", answer(2, steps(2, 40, 10)), answer(8, steps(8, 110, 0, 1))
    yield "two pieces", answer(8, [(70 * 10**6, 0), (110 * 10**6, 0)]), answer(5, steps(5, 40, 10))
    mixed = [(40 * 10**6, 1), (70 * 10**6, 1), (50 * 10**6, 1), (80 * 10**6, 1)]
    yield "out of order", answer(4, mixed), answer(3, steps(3, 40, 10))
    yield "counts of another kind", answer(8, steps(8, 40, 10, 2)), answer(6, steps(6, 40, 10))


def main():
    draw = random.Random(20261127)
    cases = []
    for name, baseline, candidate in named():
        cases.append((name, baseline, candidate))
    while len(cases) < 120:
        baseline, candidate = drawn(draw), drawn(draw)
        least = [len(it["arrivals"]) <= it["output_tokens"] for it in (baseline, candidate)]
        if baseline["output_tokens"] != candidate["output_tokens"] and all(least):
            cases.append((f"drawn {len(cases)}", baseline, candidate))
    lengths = [[(21, 32)], [(32, 21)], [(8, 8), (5, 5)], [(21, 32), (32, 30), (32, 32)]]
    slack = []
    for pairs in lengths:
        longer = math.log(sum(b for _, b in pairs) / sum(a for a, _ in pairs))
        slack.append({"pairs": pairs, "below": max(0.0, longer), "above": max(0.0, -longer)})
    cases = [
        {"name": name, "baseline": a, "candidate": b, "expect": expected(a, b)}
        for name, a, b in cases
    ]
    note = "Times in seconds since sending, as bounds [low, high] of baseline and candidate; slack in log ratios."
    lines = [json.dumps(case, separators=(",", ":")) for case in cases]
    print('{"schema":"prony-common-vectors/1",')
    print(f'"note":{json.dumps(note)},')
    print('"slack":' + json.dumps(slack, separators=(",", ":")) + ",")
    print('"cases":[\n' + ",\n".join(lines) + "\n]}")


main()
