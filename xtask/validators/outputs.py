"""Reads the files of the reporters for other tools as those tools do.

usage: outputs.py FOLDER...

Every FOLDER has a result.json and what the reporters made of it. Prints what is wrong, and ends
with 1 if something is.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import duckdb
import junitparser
import yaml
from llmd_benchmark_report import load_benchmark_report
from prometheus_client.openmetrics import parser as openmetrics

SUMMARY_BYTES = 1_000_000
ANNOTATIONS = 10
COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\n]*)::(.*)")

# The same as `yaml.SafeLoader`, in C where that was built.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

problems = []


class Folder:
    """A folder, with its result."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.result = json.loads((self.path / "result.json").read_text())
        self.models = self.result["models"]
        self.valid = not self.result.get("invalid")

    def check(self, holds, words):
        if not holds:
            problems.append(f"{self.path.name}: {words}")

    def read(self, name):
        return (self.path / name).read_bytes().decode("utf-8")

    def engines(self):
        return [(model, engine) for model in self.models for engine in model["engines"]]

    def comparisons(self):
        return [it for model in self.models for it in model["comparisons"]]

    def number(self, engine, name):
        """A number of the result that is not withheld."""
        measured = self.valid and engine["requests"] > 0
        return engine.get(name) if measured else None


def label(model):
    parts = [model["id"], model.get("cell"), model.get("measure")]
    return " · ".join(part for part in parts if part)


def one_line(text):
    return re.sub(r"\s+", " ", text.strip())


def is_plain(text):
    """Names without characters that are written out because nobody sees them."""
    return all(char.isprintable() or char.isspace() for char in text)


def junit(folder):
    file = folder.path / "junit.xml"
    suites = list(junitparser.JUnitXml.fromfile(str(file)))
    cases = [(suite, case) for suite in suites for case in suite]
    expected = len(folder.engines()) + len(folder.comparisons()) + len(folder.result["thresholds"])
    lost = sum(any(not it["engine"] for it in model["failures"]) for model in folder.models)
    folder.check(len(cases) == expected + lost, f"junit.xml has {len(cases)} cases")
    for suite in suites:
        own = len(list(suite))
        folder.check(suite.tests == own, f"junit.xml counts {suite.tests} of {own} cases")
    names = {suite.name for suite in suites}
    for model in filter(lambda it: is_plain(label(it)), folder.models):
        folder.check(one_line(label(model)) in names, f"junit.xml lacks {label(model)!r}")
    kinds = [type(result) for _, case in cases for result in case.result]
    failures = sum(
        it["verdict"] == "slower" and not it.get("within_margin") for it in folder.comparisons()
    ) + sum(not it["passed"] for it in folder.result["thresholds"])
    if folder.valid:
        found = kinds.count(junitparser.Failure)
        folder.check(found == failures, f"junit.xml has {found} failures, not {failures}")
    else:
        errors = kinds.count(junitparser.Error)
        folder.check(errors == len(cases), "not valid, and a case of junit.xml is no error")
    if shutil.which("xmllint"):
        done = subprocess.run(["xmllint", "--noout", str(file)], capture_output=True, text=True)
        folder.check(done.returncode == 0, f"xmllint: {done.stderr.strip()}")


def github(folder):
    summary = folder.read("summary.md")
    folder.check(len(summary.encode()) <= SUMMARY_BYTES, "summary.md is too large")
    lines = folder.read("annotations.txt").splitlines()
    folder.check(len(lines) <= ANNOTATIONS, f"{len(lines)} annotations")
    for line in lines:
        match = COMMAND.fullmatch(line)
        folder.check(match, f"no workflow command: {line!r}")
        escapes = re.sub("%(25|0A|0D|3A|2C)", "", line)
        folder.check("%" not in escapes, f"a % that is none of an escape: {line!r}")


def bencher(folder):
    benches = json.loads(folder.read("bencher.json"))
    for name in benches:
        folder.check(0 < len(name.encode()) <= 1024, f"bencher.json: a name is too long: {name!r}")
    rates = [it["output_tokens_per_sec"]["value"] for it in benches.values() if "output_tokens_per_sec" in it]
    wanted = [folder.number(engine, "output_tokens_per_sec") for _, engine in folder.engines()]
    folder.check(rates == [it for it in wanted if it is not None], "bencher.json: other rates")


def benchmark(folder):
    bigger = json.loads(folder.read("benchmark-bigger.json"))
    smaller = json.loads(folder.read("benchmark-smaller.json"))
    names = [it["name"] for it in bigger + smaller]
    folder.check(len(set(names)) == len(names), "github-action-benchmark: a name is there twice")
    rates = [it["value"] for it in bigger if it["name"].endswith(" · output_tokens_per_sec")]
    wanted = [folder.number(engine, "output_tokens_per_sec") for _, engine in folder.engines()]
    folder.check(rates == [it for it in wanted if it is not None], "benchmark-bigger.json: other rates")


def llmd(folder):
    files = sorted(folder.path.glob("llmd-*.yaml"))
    read = lambda file: yaml.load_all(file.read_text(encoding="utf-8"), Loader=LOADER)
    documents = [it for file in files for it in read(file)]
    engines = folder.engines()
    folder.check(len(documents) == len(engines), f"{len(documents)} reports of llm-d")
    found = {}
    for document in documents:
        try:
            report = load_benchmark_report(document)
        except Exception as error:  # Whatever it is, it is a problem.
            folder.check(False, f"llm-d: {error}")
            continue
        folder.check(report.version == "0.2.1", "llm-d: another version")
        found[report.run.uid] = report
    for index, (_, engine) in enumerate(engines):
        report = found.get(f"{folder.result['run']['id']}/{index + 1}")
        if report is None:
            folder.check(False, f"llm-d: no report {index + 1}")
            continue
        all_of_it = report.results.request_performance.aggregate
        folder.check(all_of_it.requests.total == engine["requests"], "llm-d: other requests")
        latency = all_of_it.latency and all_of_it.latency.request_latency
        wanted = folder.number(engine, "request_latency_ms")
        folder.check((latency is None) == (wanted is None), "llm-d: latency is there or not")
        if latency and wanted:
            for name in ["mean", "min", "p50", "p90", "p95", "p99", "max"]:
                value = wanted.get(name)
                value = None if value is None else value / 1000
                folder.check(getattr(latency, name) == value, f"llm-d: another {name} of latency")


def metrics(folder):
    families = list(openmetrics.text_string_to_metric_families(folder.read("openmetrics.txt")))
    by_name = {family.name: family for family in families}
    rates = by_name.get("prony_output_tokens_per_sec")
    rates = [sample.value for sample in rates.samples] if rates else []
    wanted = [folder.number(engine, "output_tokens_per_sec") for _, engine in folder.engines()]
    wanted = [float(f"{it:.3e}") for it in wanted if it is not None]
    folder.check(rates == wanted, "openmetrics.txt: other rates")
    valid = [sample.value for sample in by_name["prony_valid"].samples]
    folder.check(valid == [float(folder.valid)], "openmetrics.txt: prony_valid")
    for family in families:
        for sample in family.samples:
            folder.check(sample.value == sample.value, f"openmetrics.txt: {sample.name} is no number")


def csv(folder):
    def query(words, name):
        table = f"read_csv('{folder.path / name}', header=true, all_varchar=true, strict_mode=true)"
        return duckdb.sql(words.format(table)).fetchall()

    rates = query(
        "select value, withheld from {} where metric = 'output_tokens_per_sec'", "metrics.csv"
    )
    engines = folder.engines()
    folder.check(len(rates) == len(engines), f"metrics.csv: {len(rates)} rates")
    for (_, engine), (value, withheld) in zip(engines, rates):
        wanted = folder.number(engine, "output_tokens_per_sec")
        same = float(value) == wanted if value else wanted is None and withheld
        folder.check(same, f"metrics.csv: {value!r}, {withheld!r} for {wanted}")
    for name, wanted in [
        ("comparisons.csv", len(folder.comparisons())),
        ("thresholds.csv", len(folder.result["thresholds"])),
    ]:
        found = query("select count(*) from {}", name)[0][0]
        folder.check(found == wanted, f"{name}: {found} rows, not {wanted}")


def main():
    folders = [Folder(path) for path in sys.argv[1:]]
    for folder in folders:
        for check in [junit, github, bencher, benchmark, llmd, metrics, csv]:
            try:
                check(folder)
            except Exception as error:  # A reader that refuses a file says why.
                folder.check(False, f"{check.__name__}: {error!r}")
    for problem in problems[:30]:
        print(problem)
    sys.exit(1 if problems or not folders else 0)


main()
