"""txtai's side of search_peers.py; runs in an environment of its own, without nlpkit.

Both sides go through :func:`run`, which times the same steps of either.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol


class Side(Protocol):
    """A search index; what has changed is on the disk when a method returns."""

    def embed(self, texts: Sequence[str]) -> Any:
        """Vectors, a row a text."""
        ...

    def build(self, file: Path) -> None:
        """Index a JSONL file of ids and texts; goes on where a killed build was, if it can."""
        ...

    def search(self, query: str, k: int) -> list[str]:
        """The ids of the nearest, best first."""
        ...

    def update(self, rows: Sequence[dict[str, str]]) -> None: ...

    def delete(self, ids: Sequence[str]) -> None: ...

    def count(self) -> int: ...

    def close(self) -> None: ...


def run(make: Callable[[Path, str], Side], request: dict[str, Any]) -> None:
    """Do what the request says and print what it took, as JSON on the last line.

    ``build`` says "ready" before it starts, so that it can be killed in the middle.
    """
    folder = Path(request["folder"])
    mode = request["mode"]
    if mode == "all":
        shutil.rmtree(folder, ignore_errors=True)
    side = make(folder, request["model"])
    if mode == "count":
        print(json.dumps({"rows": side.count()}))
        return
    side.embed(["a text to warm up with"])
    print("ready", flush=True)
    found: dict[str, Any] = {"build": timed(lambda: side.build(Path(request["file"])))}
    if mode == "all":
        found |= changes(side, request)
    found["rows"] = side.count()
    side.close()
    found["bytes"] = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    print(json.dumps(found))


def changes(side: Side, request: dict[str, Any]) -> dict[str, Any]:
    """Searches, then an update and a delete."""
    queries, k = request["queries"], request["k"]
    side.search(queries[0], k)
    times, hits = [], []
    for query in queries:
        began = time.perf_counter()
        hits.append(side.search(query, k))
        times.append(time.perf_counter() - began)
    return {
        "search": times,
        "hits": hits,
        "update": timed(lambda: side.update(request["updates"])),
        "delete": timed(lambda: side.delete(request["deletes"])),
        "vectors": [[float(x) for x in row] for row in side.embed(queries)],
    }


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Txtai:
    """Content in SQLite, an exact FAISS index, and a checkpoint for builds that break off."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder / "index"
        self.checkpoint = folder / "checkpoint"
        self.index = importlib.import_module("txtai").Embeddings(
            path=model,
            content=True,
            backend="faiss",
            faiss={"components": "IDMap,Flat"},
            batch=1024,
            encodebatch=32,
        )
        if self.index.exists(str(self.folder)):
            self.index.load(str(self.folder))

    def embed(self, texts: Sequence[str]) -> Any:
        return self.index.batchtransform(list(texts))

    def build(self, file: Path) -> None:
        def rows() -> Iterator[tuple[str, str]]:
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    yield row["id"], row["text"]

        self.index.index(rows(), checkpoint=str(self.checkpoint))
        self._save()
        shutil.rmtree(self.checkpoint, ignore_errors=True)

    def search(self, query: str, k: int) -> list[str]:
        return [hit["id"] for hit in self.index.search(query, k)]

    def update(self, rows: Sequence[dict[str, str]]) -> None:
        self.index.upsert([(row["id"], row["text"]) for row in rows])
        self._save()

    def delete(self, ids: Sequence[str]) -> None:
        self.index.delete(list(ids))
        self._save()

    def count(self) -> int:
        return int(self.index.count() or 0)

    def close(self) -> None:
        self.index.close()

    def _save(self) -> None:
        """Without it nothing outlives the process."""
        self.index.save(str(self.folder))


if __name__ == "__main__":
    run(Txtai, json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
