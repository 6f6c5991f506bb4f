"""What indexing costs around the encoder: time, an unchanged second run, memory, and found claims.

    python benchmarks/indexing.py --output benchmarks/results/indexing.json
    python benchmarks/indexing.py --part overhead,second --passages 500 --documents 1000

overhead   a job over passages: the share of its time that is not spent inside Pipeline.embed
second     the same job again, nothing changed: calls of the encoder, and its time
memory     peak memory of a process that indexes few documents, and ten times as many
scifact    nDCG@10 on SciFact's test claims: by meaning, by keywords, by both (needs NLPKIT_DATA)

Texts are those under NLPKIT_DATA, made-up sentences where it is unset. Memory is measured with a
small embedder that only counts words, so that the index is seen and not the model; --real takes the
model. Indexes lie under --work and are made anew.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from million import corpus, data, keep, machine, note, passages, tell, timing
from numpy.typing import NDArray

import nlpkit
from nlpkit import metrics
from nlpkit.jobs import JobStatus, find_job, start_job
from nlpkit.readers import read_jsonl
from nlpkit.sources import open_source

Floats = NDArray[np.float32]

SEED = 0
#: Seconds between two looks at a process's memory.
SAMPLED = 0.05
RANKED = 100


class WordCounts:
    """Vectors of hashed words: quick, and nearly no memory."""

    name = "hashed words"
    identity = "hashed words 1"
    width = 384

    def __init__(self) -> None:
        self.calls = 0

    def chunks(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(0, len(text))] for text in texts]

    def embed(self, texts: Sequence[str]) -> Floats:
        self.calls += 1
        made = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(made, texts, strict=True):
            for word in text.lower().split():
                digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
                row[int.from_bytes(digest[:4]) % self.width] += 1 - 2 * (digest[4] & 1)
            row[0] += 0.5  # no text is a vector of zeros
            row /= np.linalg.norm(row)
        return made


class Watched:
    """A pipeline whose ``embed`` and encoder are timed from outside."""

    def __init__(self, model: str) -> None:
        self.kit = nlpkit.load(model)
        self.calls = {"embed": 0, "encoder": 0}
        self.seconds = {"embed": 0.0, "encoder": 0.0}
        self._watch(self.kit, "embed", "embed")
        self._watch(self.kit.engine, "run", "encoder")

    def _watch(self, owner: Any, method: str, name: str) -> None:
        plain = getattr(owner, method)

        def timed(*given: Any) -> Any:
            self.calls[name] += 1
            began = time.perf_counter()
            try:
                return plain(*given)
            finally:
                self.seconds[name] += time.perf_counter() - began

        setattr(owner, method, timed)


def main() -> None:
    options = arguments()
    if options.child:
        index_alone(**json.loads(options.child))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "overhead": overhead,
        "second": second,
        "memory": memories,
        "scifact": scifact,
    }
    results: dict[str, Any] = {"machine": machine(), "model": options.model, "seed": SEED}
    for name in options.part.split(","):
        if name not in parts:
            raise SystemExit(f"no part {name!r}; known: {', '.join(parts)}")
        note(f"part {name}")
        results[name] = parts[name](options)
    tell(results)
    keep(results, options.output)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", default="overhead,second,memory,scifact", help="with commas")
    parser.add_argument("--passages", type=int, default=20_000, help="of the part overhead")
    parser.add_argument("--documents", type=int, default=50_000, help="of the part second")
    parser.add_argument("--few", type=int, default=20_000, help="of the part memory")
    parser.add_argument("--many", type=int, default=200_000, help="of the part memory")
    parser.add_argument("--model", default="base-en")
    parser.add_argument("--real", action="store_true", help="the model in the part memory too")
    parser.add_argument("--work", type=Path, default=Path("runs/indexing"), help="for files")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


# -- overhead --------------------------------------------------------------------------------------


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    root = data()
    found = corpus() if root is None else shuffled(passages(root))
    file = written(options.work / "passages.jsonl", found, options.passages)
    watched = Watched(options.model)
    watched.kit.embed(found[:8])
    watched.seconds = dict.fromkeys(watched.seconds, 0.0)
    watched.calls = dict.fromkeys(watched.calls, 0)
    with fresh(options.work / "overhead", watched.kit) as index:
        wall = run_job(index, file)
        status = index.status()
    inside = watched.seconds["embed"]
    return {
        "passages": status["documents"],
        "chunks": status["chunks"],
        "wall, seconds": round(wall, 2),
        "inside Pipeline.embed, seconds": round(inside, 2),
        "of that inside the encoder, seconds": round(watched.seconds["encoder"], 2),
        "calls of Pipeline.embed": watched.calls["embed"],
        "overhead, share of the wall": round(1 - inside / wall, 4),
        "passages a second": round(status["documents"] / wall, 1),
    }


# -- the second run --------------------------------------------------------------------------------


def second(options: argparse.Namespace) -> dict[str, Any]:
    file = written(options.work / "documents.jsonl", short(corpus()), options.documents)
    watched = Watched(options.model)
    with fresh(options.work / "second", watched.kit) as index:
        first = run_job(index, file)
        calls = watched.calls["embed"]
        again = run_job(index, file)
        job = find_job(index).status()
    return {
        "documents": options.documents,
        "first run, seconds": round(first, 2),
        "first run, calls of Pipeline.embed": calls,
        "second run, seconds": round(again, 2),
        "second run, calls of Pipeline.embed": watched.calls["embed"] - calls,
        "second run, documents unchanged": job.unchanged,
        "second / first": round(again / first, 4),
        "documents a second, unchanged": round(options.documents / again),
    }


# -- memory ----------------------------------------------------------------------------------------


def memories(options: argparse.Namespace) -> dict[str, Any]:
    texts = short(corpus())
    found: dict[str, Any] = {"embedder": options.model if options.real else WordCounts.name}
    for n in (options.few, options.many):
        file = written(options.work / f"memory-{n}.jsonl", texts, n)
        found[f"{n:,} documents"] = peaks(options, file, n)
    few, many = (found[f"{n:,} documents"]["while indexing"] for n in (options.few, options.many))
    found["many / few, resident, while indexing"] = round(many["resident"] / few["resident"], 3)
    return found


def peaks(options: argparse.Namespace, file: Path, n: int) -> dict[str, Any]:
    """Peaks of a child that indexes the file; after the last row it may compact."""
    folder, mark = options.work / f"memory-{n}", options.work / f"memory-{n}.finishing"
    mark.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    request = {
        "folder": str(folder),
        "file": str(file),
        "mark": str(mark),
        "model": options.model if options.real else "",
    }
    child = subprocess.Popen([sys.executable, __file__, "--child", json.dumps(request)])
    process = psutil.Process(child.pid)
    highest: dict[str, dict[str, float]] = {"while indexing": {}, "after the last row": {}}
    began = time.perf_counter()
    while child.poll() is None:
        phase = highest["after the last row" if mark.exists() else "while indexing"]
        for name, value in sampled(process).items():
            phase[name] = max(phase.get(name, 0.0), value)
        time.sleep(SAMPLED)
    if child.returncode:
        raise SystemExit(f"the child that indexes {file} ended with status {child.returncode}")
    seconds = time.perf_counter() - began
    return {"seconds": round(seconds, 1), **{k: v for k, v in highest.items() if v}}


def sampled(process: psutil.Process) -> dict[str, float]:
    """Resident memory in MB: all, its own, that of mapped files."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        lines = []
    kb = {
        line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "Rss"))
    }
    if kb:
        names = {"resident": "VmRSS", "private": "RssAnon", "file-backed": "RssFile"}
        return {name: round(int(kb[key]) * 1.024e-3, 1) for name, key in names.items()}
    try:
        return {"resident": round(process.memory_info().rss / 1e6, 1)}
    except psutil.Error:
        return {}


def index_alone(folder: str, file: str, mark: str, model: str) -> None:
    embedder: Any = nlpkit.load(model) if model else WordCounts()

    def progress(status: JobStatus) -> None:
        if status.total is not None and status.done >= status.total:
            Path(mark).touch()

    with nlpkit.open_index(folder, embedder) as index:
        start_job(index, open_source(file, text_column="text", id_column="id")).run(progress)


# -- SciFact ---------------------------------------------------------------------------------------


def scifact(options: argparse.Namespace) -> dict[str, Any]:
    root = data()
    if root is None:
        return {"skipped": "needs NLPKIT_DATA"}
    with fresh(options.work / "scifact", nlpkit.load(options.model)) as index:
        seconds = run_job(index, "scifact")
        queries, judged = claims(root / "scifact")
        ways: dict[str, dict[str, bool]] = {
            "meaning": {},
            "keywords": {"keywords": True},
            "both": {"hybrid": True},
        }
        found: dict[str, Any] = {
            "documents": index.count(),
            "queries": len(queries),
            "index, seconds": round(seconds, 1),
        }
        for name, how in ways.items():
            found[name] = ranked(index, queries, judged, how)
    return found


def claims(folder: Path) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """The test claims by id, and what is relevant to each."""
    judged: dict[str, dict[str, int]] = {}
    with gzip.open(folder / "qrels" / "test.tsv.gz", "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            judged.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    rows = read_jsonl(folder / "queries.jsonl.gz")
    return {row["_id"]: row["text"] for _, row in rows if row["_id"] in judged}, judged


def ranked(
    index: Any,
    queries: Mapping[str, str],
    judged: Mapping[str, Mapping[str, int]],
    how: Mapping[str, bool],
) -> dict[str, Any]:
    """Means over the queries."""
    scores: dict[str, list[float]] = {"nDCG@10": [], "MRR@10": [], "recall@100": []}
    seconds = []
    for number, query in queries.items():
        began = time.perf_counter()
        hits = index.search(query, k=RANKED, **how)
        seconds.append(time.perf_counter() - began)
        ids, relevance = [hit.document.id for hit in hits], judged[number]
        scores["nDCG@10"].append(metrics.ndcg_at_k(ids, relevance, 10))
        scores["MRR@10"].append(metrics.reciprocal_rank_at_k(ids, relevance, 10))
        scores["recall@100"].append(metrics.recall_at_k(ids, relevance, RANKED))
    means = {name: round(float(np.mean(values)), 4) for name, values in scores.items()}
    return means | {f"k = {RANKED}, {name}": value for name, value in timing(seconds).items()}


# -- files and jobs --------------------------------------------------------------------------------


def shuffled(texts: Iterator[str]) -> list[str]:
    """Distinct texts in an order from the seed."""
    found = list(dict.fromkeys(texts))
    np.random.default_rng(SEED).shuffle(found)
    return found


def short(texts: Sequence[str]) -> list[str]:
    """Texts of a few sentences at most."""
    return [text for text in texts if len(text) <= 400]


def written(file: Path, texts: Sequence[str], n: int) -> Path:
    """A JSONL file of ``n`` documents; texts come again, numbered, where there are fewer."""
    draft = file.with_suffix(".draft")
    with draft.open("w", encoding="utf-8") as lines:
        for i in range(n):
            text = texts[i % len(texts)]
            text = text if i < len(texts) else f"{text} ({i})"
            lines.write(json.dumps({"id": f"d{i}", "text": text, "year": 1990 + i % 35}) + "\n")
    return draft.replace(file)


def fresh(folder: Path, model: Any) -> Any:
    """A new index in the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    return nlpkit.open_index(folder, model)


def run_job(index: Any, source: Path | str) -> float:
    """Seconds of a job over a file, or over a recipe's source."""
    options = {} if source == "scifact" else {"text_column": "text", "id_column": "id"}
    said = time.perf_counter()

    def progress(status: JobStatus) -> None:
        nonlocal said
        if time.perf_counter() - said > 20:
            said = time.perf_counter()
            note(f"indexed {status.done:,} of {status.total or 0:,}")

    began = time.perf_counter()
    end = start_job(index, open_source(source, **options)).run(progress)
    seconds = time.perf_counter() - began
    assert end.state == "done", end
    assert not end.errors, end
    return seconds


if __name__ == "__main__":
    main()
