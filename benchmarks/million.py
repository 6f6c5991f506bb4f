"""A million documents in an index: build, disk, memory, recall, speed, filters, changes.

    python benchmarks/million.py --output benchmarks/results/million.json
    python benchmarks/million.py --n 20000 --texts 5000 --queries 50 --work runs/small

The vectors are real ones, widened: some 60,000 texts under NLPKIT_DATA (made-up sentences where it
is unset) are embedded once, and each is copied at angles drawn from the distances between real
nearest neighbours, in random directions. Queries are real texts that are not among them. Vectors
are kept in files under --work and used again; documents go through open_index, upsert, compact.

Exact search, for recall and for speed, is the faster of two over the same memory-mapped vectors:
a matrix product by numpy, and FAISS. A query's embedding is not part of its time.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
from costs import processor
from numpy.typing import NDArray

import nlpkit
from nlpkit import Document
from nlpkit.bundle import bundles
from nlpkit.readers import read_jsonl, read_squad

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Where = dict[str, int]

SEED = 0
K = 10
#: Seconds between two searches while something else goes on.
PAUSE = 0.005
BLOCK = 8192
TEXT_CHARACTERS = 200
#: Vectors whose nearest neighbour is looked for, to draw angles from.
NEIGHBOURS = 2000
#: Searches by index and by exact search take turns of so many queries.
TURN = 10
#: Changes come in so many calls, so that segments are merged on the way.
CALLS = 10
READER_QUERIES = 100
FILTERS: tuple[Where, ...] = ({"half": 0}, {"percent": 7}, {"rare": 42})
WORDS = (
    "the old new city river engine market team court science paper week report said found lost "
    "built sold won near over under with without many few first last quiet great"
)
NUMBER = re.compile(r" ([dq])(\d+)$")


@dataclass(frozen=True)
class Setup:
    """What is measured: sizes, and where the files lie."""

    n: int
    kind: str
    work: Path
    n_texts: int
    n_queries: int
    n_changes: int
    model: str

    @property
    def index(self) -> Path:
        return self.work / f"index-{self.n}-{self.kind}"

    @cached_property
    def texts(self) -> list[str]:
        """The base texts; no query is among them."""
        asked = set(self.queries)
        return [text for text in corpus() if text not in asked][: self.n_texts]

    @cached_property
    def queries(self) -> list[str]:
        return held_out()[: self.n_queries]

    @cached_property
    def base_file(self) -> Path:
        return self.file("base", self.texts)

    @cached_property
    def vector_file(self) -> Path:
        return self.file("vectors", [self.n, self.n_changes, SEED, self.texts])

    @cached_property
    def query_file(self) -> Path:
        return self.file("queries", self.queries)

    def file(self, name: str, facts: Any) -> Path:
        """A file of vectors, named by all that decides its content."""
        bundle = bundles().get(self.model, Path(self.model)) / "bundle.json"
        model = bundle.read_text(encoding="utf-8") if bundle.is_file() else self.model
        key = hashlib.sha256(json.dumps([model, facts]).encode()).hexdigest()[:12]
        return self.work / f"{name}-{key}.npy"

    def document(self, i: int, row: int | None = None) -> Document:
        """Document ``i``, with the vector in ``row`` (its own unless told)."""
        text = self.texts[i % len(self.texts)][:TEXT_CHARACTERS].rstrip()
        meta = {"half": i % 2, "percent": i % 100, "rare": i % 10_000, "year": 1990 + i // 7 % 35}
        return Document(f"d{i}", f"{text} d{i if row is None else row}", meta)

    def asked(self, i: int) -> str:
        """Query ``i`` as the index gets it."""
        return f"{self.queries[i][:TEXT_CHARACTERS]} q{i}"


class Kept:
    """An embedder of vectors that lie in files, found by the number that ends each text."""

    name = "kept vectors"

    def __init__(self, vector_file: Path, query_file: Path) -> None:
        self.identity = hashlib.sha256(vector_file.name.encode()).hexdigest()
        self.rows: Floats = np.load(vector_file, mmap_mode="r")
        self.queries: Floats = np.load(query_file, mmap_mode="r")
        self.width = self.rows.shape[1]

    def chunks(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(0, len(text))] for text in texts]

    def embed(self, texts: Sequence[str]) -> Floats:
        found = [NUMBER.search(text) for text in texts]
        made = [(self.queries if m[1] == "q" else self.rows)[int(m[2])] for m in found if m]
        assert len(made) == len(texts), "a text without a number"
        return np.stack(made)


def main() -> None:
    options = arguments()
    if options.reader:
        print(json.dumps(read_alone(**json.loads(options.reader))))
        return
    setup = Setup(
        options.n,
        options.kind,
        options.work.resolve(),
        min(options.texts, options.n),
        options.queries,
        options.changes,
        options.model,
    )
    setup.work.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine(), **measure(setup)}
    tell(results)
    keep(results, options.output)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1_000_000, help="documents")
    parser.add_argument("--kind", choices=("auto", "hnsw", "ivfpq", "flat"), default="auto")
    parser.add_argument("--texts", type=int, default=60_000, help="real texts to widen")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--changes", type=int, default=1000, help="documents updated, and deleted")
    parser.add_argument("--model", default="base-en", help="embeds texts and queries")
    parser.add_argument("--work", type=Path, default=Path("runs/million"), help="for files")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(setup: Setup) -> dict[str, Any]:
    made = make_vectors(setup)
    embedder = Kept(setup.vector_file, setup.query_file)
    built = build(setup, embedder)
    disk = on_disk(setup.index)
    reader = measured_alone(setup)
    owner = np.arange(len(embedder.rows))
    with nlpkit.open_index(setup.index, embedder) as index:
        found = search(setup, embedder, index, owner)
        seconds = built["upsert, seconds"] + built["compact, seconds"]
        changes, owner = change(setup, embedder, index, owner, seconds)
    return {
        "sizes": {
            "documents": setup.n,
            "kind": setup.kind,
            "texts": f"{len(setup.texts):,}, {'NLPKIT_DATA' if data() else 'made up'}",
            "queries": len(setup.queries),
            "k": K,
            "model": setup.model,
            "seed": SEED,
        },
        "vectors": made,
        "build": built,
        "disk": disk,
        "fresh process": reader,
        **found,
        "changes": changes,
    }


# -- texts and vectors -----------------------------------------------------------------------------


def data() -> Path | None:
    """The folder of public data sets, where it is named."""
    root = os.environ.get("NLPKIT_DATA")
    return Path(root) if root else None


def corpus() -> list[str]:
    """All different texts there are to index, in an order from the seed."""
    root = data()
    found = made_up(5000, SEED) if root is None else [*short_texts(root), *passages(root)]
    distinct = list(dict.fromkeys(text for text in found if len(text.split()) >= 3))
    np.random.default_rng(SEED).shuffle(distinct)
    return distinct


def held_out() -> list[str]:
    """Queries: AG News' test texts and the questions of SQuAD's dev part, mixed by the seed."""
    root = data()
    if root is None:
        return made_up(1000, SEED + 1)
    news = [str(row["text"]) for _, row in read_jsonl(root / "ag_news" / "test.jsonl.gz")]
    dev = read_squad(root / "squad_v1.1" / "dev-v1.1.json.gz")
    questions = list(dict.fromkeys(example.question for example in dev))
    rng = np.random.default_rng(SEED)
    rng.shuffle(news)
    rng.shuffle(questions)
    return [text for pair in zip(news, questions, strict=False) for text in pair]


def short_texts(root: Path) -> Iterator[str]:
    """Reviews, tweets and questions."""
    for file in ("semeval2017_sentiment/train.jsonl.gz", "amazon_alexa/all.jsonl.gz"):
        yield from (str(row["text"]) for _, row in read_jsonl(root / file))
    for file in ("squad_v1.1/train_subset-v1.1.json.gz", "squadshifts/new_wiki_v1.0.json.gz"):
        yield from (example.question for example in read_squad(root / file))


def passages(root: Path) -> Iterator[str]:
    """News, and paragraphs of Wikipedia, reviews and forums."""
    yield from (str(r["text"]) for _, r in read_jsonl(root / "ag_news" / "train_subset.jsonl.gz"))
    files = [*(root / "squad_v1.1").glob("*.json.gz"), *(root / "squadshifts").glob("*.json.gz")]
    for file in sorted(files):
        yield from dict.fromkeys(example.context for example in read_squad(file))
    for part in ("test", "valid"):
        with gzip.open(root / "wikitext2" / f"{part}.txt.gz", "rt", encoding="utf-8") as lines:
            yield from (line.strip() for line in lines if len(line.split()) >= 20)


def made_up(n: int, seed: int) -> list[str]:
    """Sentences of common words, for machines without the data sets."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS.split(), rng.integers(6, 40))) for _ in range(n)]


def make_vectors(setup: Setup) -> dict[str, Any]:
    """Embed what has not been embedded yet, and widen it; says how far neighbours are apart."""
    base = embedded(setup.base_file, setup.texts, setup.model)
    embedded(setup.query_file, setup.queries, setup.model)
    angles = neighbour_angles(base)
    if not setup.vector_file.is_file():
        widen(setup.vector_file, base, angles, setup.n + setup.n_changes)
    distances = np.quantile(1 - np.cos(angles), [0.05, 0.25, 0.5, 0.75, 0.95])
    return {
        "real": len(base),
        "copies": max(0, setup.n - len(base)),
        "width": base.shape[1],
        "cosine distance of real neighbours, quantiles 5 25 50 75 95 %": [
            round(float(one), 4) for one in distances
        ],
    }


def embedded(file: Path, texts: Sequence[str], model: str) -> Floats:
    """The texts' vectors, kept in the file."""
    if not file.is_file():
        # A query alone and among others is the same in fp32: recall is the index's affair.
        kit = nlpkit.load(model, precision="fp32")
        draft = file.with_suffix(".draft")
        rows = np.lib.format.open_memmap(
            draft, "w+", np.float32, (len(texts), kit.embed("width").shape[0])
        )
        for first in range(0, len(texts), 1000):
            rows[first : first + 1000] = kit.embed(list(texts[first : first + 1000]))
            note(f"embedded {min(first + 1000, len(texts)):,} of {len(texts):,}")
        rows.flush()
        draft.rename(file)
    vectors: Floats = np.load(file, mmap_mode="r")
    return vectors


def neighbour_angles(base: Floats) -> NDArray[np.float64]:
    """Angles of real vectors to their nearest different neighbour, on a sample."""
    rng = np.random.default_rng(SEED)
    rows = np.sort(rng.choice(len(base), min(NEIGHBOURS, len(base)), replace=False))
    scores, found = faiss.knn(base[rows], np.asarray(base), 2, metric=faiss.METRIC_INNER_PRODUCT)
    nearest = np.where(found[:, 0] == rows, scores[:, 1], scores[:, 0])
    angles: NDArray[np.float64] = np.arccos(np.clip(nearest.astype(np.float64), -1, 1))
    return angles


def widen(file: Path, base: Floats, angles: NDArray[np.float64], n: int) -> None:
    """Write ``n`` unit vectors: the real ones, then copies of them turned by a drawn angle."""
    width = base.shape[1]
    draft = file.with_suffix(".draft")
    out = np.lib.format.open_memmap(draft, "w+", np.float32, (n, width))
    for first in range(0, n, BLOCK):
        numbers = np.arange(first, min(first + BLOCK, n))
        rng = np.random.default_rng([SEED, first])
        real = np.asarray(base[numbers % len(base)], np.float64)
        away = rng.normal(size=real.shape)
        away -= (away * real).sum(axis=1, keepdims=True) * real
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        angle = np.where(numbers < len(base), 0.0, rng.choice(angles, len(numbers)))[:, None]
        turned = np.cos(angle) * real + np.sin(angle) * away
        out[numbers] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
        note(f"widened to {numbers[-1] + 1:,} of {n:,} vectors")
    out.flush()
    draft.rename(file)


# -- building --------------------------------------------------------------------------------------


def build(setup: Setup, embedder: Kept) -> dict[str, Any]:
    shutil.rmtree(setup.index, ignore_errors=True)
    with nlpkit.open_index(setup.index, embedder, kind=setup.kind) as index:
        started = time.perf_counter()
        index.upsert(noted(setup))
        upserted = time.perf_counter() - started
        n_segments = len(index.status()["segments"])
        note("compacting")
        started = time.perf_counter()
        status = index.compact(setup.kind)
        compacted = time.perf_counter() - started
    segment = status["segments"][0]
    assert status["documents"] == setup.n, status["documents"]
    return {
        "upsert, seconds": round(upserted, 2),
        "compact, seconds": round(compacted, 2),
        "documents a second": round(setup.n / (upserted + compacted)),
        "segments before compact": n_segments,
        "kind": segment["kind"],
        "recall@10 that the index states": segment["recall_at_10"],
        "effort": segment.get("effort"),
        "peak resident memory of this process, MB": peak_memory(),
    }


def noted(setup: Setup) -> Iterator[Document]:
    """All documents, with a word now and then."""
    started = time.perf_counter()
    for i in range(setup.n):
        yield setup.document(i)
        if (i + 1) % 20_000 == 0:
            note(f"upserted {i + 1:,} of {setup.n:,}: {time.perf_counter() - started:.0f} s")


def on_disk(folder: Path) -> dict[str, Any]:
    """Bytes by what they are for."""
    files = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    parts = {"database": "index.db", "vectors": "vectors.npy", "rows": "rows.npy"}
    parts |= {"approximate index": "ann.faiss"}
    sizes = {
        name: sum(n for p, n in files.items() if p.name == file or p.name.startswith(f"{file}-"))
        for name, file in parts.items()
    }
    return {f"{name}, MB": round(n / 1e6, 1) for name, n in sizes.items()} | {
        "all, MB": round(sum(files.values()) / 1e6, 1)
    }


# -- a process that only reads ---------------------------------------------------------------------


def measured_alone(setup: Setup) -> dict[str, Any]:
    """A new process opens the index and searches: with its files out of the page cache, and in."""
    request = {
        "folder": str(setup.index),
        "vector_file": str(setup.vector_file),
        "query_file": str(setup.query_file),
        "queries": [setup.asked(i) for i in range(min(READER_QUERIES, len(setup.queries)))],
    }
    command = [sys.executable, __file__, "--reader", json.dumps(request)]
    found = {}
    for name in ("from the disk", "from the page cache"):
        if name == "from the disk":
            forget(setup.index)
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            raise SystemExit(run.stderr)
        found[name] = json.loads(run.stdout)
    return found


def forget(folder: Path) -> None:
    """Ask the system to drop a folder's files from its page cache (no rights needed)."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_alone(
    folder: str, vector_file: str, query_file: str, queries: list[str]
) -> dict[str, Any]:
    embedder = Kept(Path(vector_file), Path(query_file))
    started = time.perf_counter()
    importlib.import_module("nlpkit.index")
    imported = time.perf_counter() - started
    before = memory()
    started = time.perf_counter()
    index = nlpkit.open_index(folder, embedder, read_only=True)
    opened = time.perf_counter() - started
    times = []
    for query in queries:
        began = time.perf_counter()
        assert index.search(query, k=K)
        times.append(time.perf_counter() - began)
    after = memory()
    index.close()
    return {
        "import nlpkit.index, ms": round(1000 * imported, 1),
        "open, ms": round(1000 * opened, 1),
        "first search, ms": round(1000 * times[0], 1),
        "searches": len(times),
        **timing(times[1:] or times),
        "memory before opening, MB": before,
        "memory after searches, MB": after,
    }


# -- searching -------------------------------------------------------------------------------------


def search(setup: Setup, embedder: Kept, index: Any, owner: Ints) -> dict[str, Any]:
    """Recall and time without a filter, then with each."""
    here = np.arange(len(owner)) < setup.n
    truth = exact(embedder, owner, here)
    found = {"search": {**in_turns(setup, embedder, index, truth)}}
    filters = {}
    for where in FILTERS:
        note(f"filter {where}")
        name, value = next(iter(where.items()))
        moduli = {"half": 2, "percent": 100, "rare": 10_000}
        matching = here & (owner % moduli[name] == value)
        filters[f"{name} = {value}"] = compared(setup, embedder, index, owner, matching, where)
    return found | {"filters": filters}


def exact(embedder: Kept, owner: Ints, allowed: Bools) -> list[list[int]]:
    """The K nearest documents among the allowed rows, best first, for each query."""
    queries = np.asarray(embedder.queries)
    scores = np.full((len(queries), 0), 0, np.float32)
    numbers = np.zeros((len(queries), 0), np.int64)
    for first in range(0, len(owner), 4 * BLOCK):
        rows = first + np.flatnonzero(allowed[first : first + 4 * BLOCK])
        scores = np.hstack([scores, queries @ embedder.rows[rows].T])
        numbers = np.hstack([numbers, np.broadcast_to(rows, (len(queries), len(rows)))])
        best = (
            np.argsort(-scores, axis=1, kind="stable")[:, :K]
            if scores.shape[1] <= 4 * K
            else (np.argpartition(-scores, K, axis=1)[:, :K])
        )
        scores = np.take_along_axis(scores, best, 1)
        numbers = np.take_along_axis(numbers, best, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return [owner[row].tolist() for row in np.take_along_axis(numbers, order, 1)]


def in_turns(setup: Setup, embedder: Kept, index: Any, truth: list[list[int]]) -> dict[str, Any]:
    """The same queries through the index and by exact search, in turns."""
    rows = embedder.rows[: setup.n]
    ways: dict[str, Callable[[int], list[int]]] = {
        "index": lambda i: ids(index.search(setup.asked(i), k=K)),
        "numpy": lambda i: by_numpy(rows, embedder.queries[i]),
        "faiss": lambda i: by_faiss(rows, embedder.queries[i]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[list[int]]] = {name: [] for name in ways}
    for name, way in ways.items():  # warm: files in memory, libraries loaded
        for i in range(len(setup.queries) if name == "index" else min(3, len(setup.queries))):
            way(i)
    for first in range(0, len(setup.queries), TURN):
        for name, way in ways.items():
            for i in range(first, min(first + TURN, len(setup.queries))):
                began = time.perf_counter()
                found[name].append(way(i))
                times[name].append(time.perf_counter() - began)
        note(f"searched {min(first + TURN, len(setup.queries))} of {len(setup.queries)}")
    exact_ms = min(1000 * statistics.median(times[name]) for name in ("numpy", "faiss"))
    index_ms = 1000 * statistics.median(times["index"])
    return {
        "recall@10": recall(found["index"], truth),
        "recall@10 of the exact searches": [recall(found[n], truth) for n in ("numpy", "faiss")],
        **timing(times["index"]),
        "exact by numpy": timing(times["numpy"]),
        "exact by faiss": timing(times["faiss"]),
        "exact / index": round(exact_ms / index_ms, 1),
    }


def by_numpy(rows: Floats, query: Floats) -> list[int]:
    scores = rows @ query
    k = min(K, len(scores))
    best = np.argpartition(scores, len(scores) - k)[len(scores) - k :]
    found: list[int] = best[np.argsort(-scores[best])].tolist()
    return found


def by_faiss(rows: Floats, query: Floats) -> list[int]:
    k = min(K, len(rows))
    found = faiss.knn(query[None], np.asarray(rows), k, metric=faiss.METRIC_INNER_PRODUCT)
    numbers: list[int] = found[1][0].tolist()
    return numbers


def compared(
    setup: Setup,
    embedder: Kept,
    index: Any,
    owner: Ints,
    allowed: Bools,
    where: Where | None = None,
) -> dict[str, Any]:
    """All queries through the index, against exact search over the allowed rows."""
    truth = exact(embedder, owner, allowed)
    live = set(owner[allowed].tolist())
    times, found = [], []
    for i in [0, *range(len(setup.queries))]:
        began = time.perf_counter()
        hits = index.search(setup.asked(i), k=K, where=where)
        times.append(time.perf_counter() - began)
        found.append(ids(hits))
    found = found[1:]
    full = [len(set(one)) == min(K, len(live)) and set(one) <= live for one in found]
    return {
        "documents": len(live),
        "queries with all k hits, and live ones": f"{sum(full)} of {len(full)}",
        "recall@10": recall(found, truth),
        "first search, ms": round(1000 * times[0], 1),
        **timing(times[1:]),
    }


# -- changing --------------------------------------------------------------------------------------


def change(
    setup: Setup, embedder: Kept, index: Any, owner: Ints, build_seconds: float
) -> tuple[dict[str, Any], Ints]:
    """Update and delete while another thread searches; then look whether all is as it should be.

    Deleted are the best hits of the queries, so that tombstones stand in the way of searches.
    """
    rng = np.random.default_rng(SEED)
    n = min(setup.n_changes, setup.n // 4)
    hits = [ids(index.search(setup.asked(i), k=K)) for i in range(len(setup.queries))]
    in_turn = dict.fromkeys(one[rank] for rank in range(K) for one in hits if rank < len(one))
    deleted = list(in_turn)[:n]
    kept = np.setdiff1d(np.arange(setup.n), deleted)
    updated = rng.choice(kept, n, replace=False).tolist()
    new_rows = {i: setup.n + at for at, i in enumerate(updated)}
    documents = [setup.document(i, row) for i, row in new_rows.items()]
    size = -(-n // CALLS)
    parts = [documents[at : at + size] for at in range(0, n, size)]

    searching = Searching(setup, index)
    update = searching.during(lambda: [index.upsert(part) for part in parts])
    update_seconds = update.pop("seconds")
    gone = [[f"d{i}" for i in deleted[at : at + size]] for at in range(0, n, size)]
    delete = searching.during(lambda: [index.delete(part) for part in gone])

    owner = owner.copy()
    here = np.arange(len(owner)) < setup.n
    here[[*deleted, *updated]] = False
    for i, row in new_rows.items():
        owner[row], here[row] = i, True
    there = index.get([d.id for d in documents])
    missing = sum(a != b for a, b in zip(there, documents, strict=True))
    after = compared(setup, embedder, index, owner, here)
    return {
        f"update of {n} in {len(parts)} calls": {
            "seconds": update_seconds,
            "share of the build": round(update_seconds / build_seconds, 4),
            "searches meanwhile": update,
            "documents that are not as written": missing,
        },
        f"delete of {n} in {len(gone)} calls": {
            "seconds": delete.pop("seconds"),
            "searches meanwhile": delete,
            "documents still there": sum(
                d is not None for d in index.get([f"d{i}" for i in deleted])
            ),
        },
        "search after both": after,
        "segments after both": len(index.status()["segments"]),
    }, owner


class Searching:
    """Searches in another thread, 200 times a second at most, while something else goes on.

    A loop without a pause would measure how two threads of one process share the interpreter.
    """

    def __init__(self, setup: Setup, index: Any) -> None:
        self.setup = setup
        self.index = index

    def during(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Seconds of the work, and what the searches saw."""
        stop, ready = threading.Event(), threading.Event()
        ends: list[float] = []
        errors: list[str] = []

        def loop() -> None:
            i = 0
            while not stop.is_set():
                try:
                    hits = self.index.search(self.setup.asked(i % len(self.setup.queries)), k=K)
                    assert len(hits) == min(K, self.setup.n)
                except Exception as error:
                    errors.append(repr(error))
                ends.append(time.perf_counter())
                ready.set()
                stop.wait(PAUSE)
                i += 1

        thread = threading.Thread(target=loop)
        thread.start()
        ready.wait()
        before = len(ends)
        started = time.perf_counter()
        try:
            work()
        finally:
            seconds = time.perf_counter() - started
            stop.set()
            thread.join()
        times = [started, *ends[before:]]
        gaps = [b - a for a, b in pairwise(times)]
        return {
            "seconds": round(seconds, 3),
            "done": len(ends) - before,
            "errors": len(errors),
            "longest gap, ms": round(1000 * max(gaps, default=seconds), 1),
        } | ({"first error": errors[0]} if errors else {})


# -- measuring, telling ----------------------------------------------------------------------------


def ids(hits: Sequence[Any]) -> list[int]:
    """The numbers in the ids of hits."""
    return [int(hit.document.id[1:]) for hit in hits]


def recall(found: Sequence[Sequence[int]], truth: Sequence[Sequence[int]]) -> float:
    """The share of the true neighbours that was found."""
    right = sum(len(set(a) & set(b)) for a, b in zip(found, truth, strict=True))
    return round(right / max(sum(map(len, truth)), 1), 4)


def timing(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile, in milliseconds."""
    return {
        "median, ms": round(1000 * statistics.median(seconds), 2),
        "p95, ms": round(1000 * float(np.quantile(np.asarray(seconds), 0.95)), 2),
    }


def memory(pid: int | None = None) -> dict[str, float]:
    """Resident memory of a process in MB: all, its own, and that of mapped files."""
    resident = psutil.Process(pid).memory_info().rss
    file = Path(f"/proc/{pid or os.getpid()}/smaps_rollup")
    if not file.is_file():
        return {"resident": round(resident / 1e6, 1)}
    lines = [line.split() for line in file.read_text().splitlines()[1:]]
    kb = {line[0].rstrip(":"): int(line[1]) for line in lines}
    return {
        "resident": round(resident / 1e6, 1),
        "private": round(kb["Anonymous"] * 1.024e-3, 1),
        "file-backed": round((kb["Rss"] - kb["Anonymous"]) * 1.024e-3, 1),
    }


def peak_memory() -> float:
    """Of this process, in MB, mapped files included."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def machine() -> dict[str, Any]:
    """What it ran on; a load average far above 0 says that others were at work."""
    packages = ("nlpkit-bert", "numpy", "faiss-cpu", "onnxruntime")
    return {
        "processor": processor(),
        "cores": len(psutil.Process().cpu_affinity() or []),
        "memory, GB": round(psutil.virtual_memory().total / 1e9, 1),
        "load before": round(os.getloadavg()[0], 1),
        "date": date.today().isoformat(),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in packages},
    }


def tell(results: Mapping[str, Any]) -> None:
    """A line for each value."""
    rows = list(flat(results))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def flat(results: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name} | ")
        else:
            yield f"{before}{name}", value


def keep(results: Mapping[str, Any], file: Path | None) -> None:
    """Write results as JSON, where a file is named."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def note(text: str) -> None:
    """What goes on, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
