"""What nlpkit costs: import, first answer, one pass against one head, memory.

    python benchmarks/costs.py [--write]

Every figure comes from new processes. Times are medians of runs in turns, ratios compare runs of
the same minute; memory is the peak of one run, in MiB. Texts are the AG News test set where
NLPKIT_DATA is set, else sentences of this file.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

N_TEXTS = 1024
ROUNDS = 7
RESULTS = Path(__file__).parent / "results" / "costs.json"

BARE = "pass"
IMPORT = "import nlpkit"
FIRST = 'import nlpkit; assert nlpkit.ner("Ada Lovelace lived in London.")'
MEMORY = """
import json, resource, sys, nlpkit
texts = json.load(open(sys.argv[1]))
nlpkit.analyze(texts)
nlpkit.ner(texts); nlpkit.classify(texts[:64], task="topic"); nlpkit.embed(texts[:64])
nlpkit.answer([("Who said so?", text) for text in texts[:256]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
PASSES = """
import json, sys, time, nlpkit
texts = json.load(open(sys.argv[1]))
nlpkit.analyze(texts[:64])
def seconds(call):
    start = time.perf_counter(); call(texts); return time.perf_counter() - start
rounds = [(seconds(nlpkit.ner), seconds(nlpkit.analyze)) for _ in range(3)]
print(json.dumps(rounds))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    file = Path(f"/tmp/nlpkit-costs-{os.getpid()}.json")
    file.write_text(json.dumps(texts()))
    try:
        found = measure(file)
    finally:
        file.unlink()
    for name, value in found.items():
        print(f"{name:<44} {value}")
    if options.write:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def measure(file: Path) -> dict[str, float | str]:
    times: dict[str, list[float]] = {BARE: [], IMPORT: [], FIRST: []}
    for _ in range(ROUNDS):
        for code, seen in times.items():
            start = time.perf_counter()
            run(code)
            seen.append(time.perf_counter() - start)
    bare, imported, first = (statistics.median(times[code]) for code in (BARE, IMPORT, FIRST))
    rounds = json.loads(run(PASSES, file))
    ner = statistics.median(one for one, _ in rounds)
    analyze = statistics.median(both for _, both in rounds)
    return {
        "import nlpkit, seconds over a bare python": round(imported - bare, 3),
        "first nlpkit.ner, seconds over a bare python": round(first - bare, 3),
        "analyze / ner, same texts": round(statistics.median(b / a for a, b in rounds), 3),
        "ner, texts a second": round(N_TEXTS / ner, 1),
        "analyze, texts a second": round(N_TEXTS / analyze, 1),
        "resident memory, all heads, MB": round(int(run(MEMORY, file)) / 1024),
        "texts": f"{N_TEXTS}, {'AG News test' if os.environ.get('NLPKIT_DATA') else 'our own'}",
        "machine": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
    }


def run(code: str, *arguments: Path) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def texts() -> list[str]:
    root = os.environ.get("NLPKIT_DATA")
    if root:
        with gzip.open(Path(root) / "ag_news" / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [
                json.loads(line)["text"] for line, _ in zip(lines, range(N_TEXTS), strict=False)
            ]
    sentence = (
        "Shares of the Zeta company fell in Paris as Ada Byron, its founder, left the board. "
    )
    return [f"{i}: " + sentence * (1 + i % 4) for i in range(N_TEXTS)]


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
