"""Whether an index survives ``kill -9``: processes that change it are killed at random moments.

    python benchmarks/kill.py [--kills 200] [--seed 0] [--real] [--output kill.json]

Each round builds an index by a job, updates and prunes it from a changed source, deletes
documents and compacts it. A child process does the work; it is killed after a random part of the
time that the work takes undisturbed, and another goes on. After every kill the index must be
sound; after every step it must equal the source: each document once, text and metadata equal,
each vector equal to that of its text embedded again, searches equal to brute force. Kills that
come too late are not counted. Exits 1 on any loss. With --real the model is base-en.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from small_index import WordEmbedder, assert_vectors, nearest, some_documents, write_jsonl  # noqa: E402

from nlpkit.index import Index, open_index  # noqa: E402
from nlpkit.types import Document  # noqa: E402

#: Kills of one step at most; then it may end.
KILLS_A_STEP = 5
#: A step's name, what its process does, and the documents that the index holds afterwards.
Step = tuple[str, dict[str, Any], list[Document]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--real", action="store_true", help="with base-en")
    parser.add_argument("--output", type=Path, help="a JSON file for the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), options.seed, options.documents, real=options.real)
        began = time.perf_counter()
        while trial.n_kills < options.kills and not trial.losses:
            trial.round(options.kills)
        table = trial.table(time.perf_counter() - began)
    print(f"{'step':<10}{'done':>6}{'killed':>8}{'late':>6}{'seconds':>9}")
    for name, row in table["steps"].items():
        print(f"{name:<10}{row['done']:>6}{row['kills']:>8}{row['late']:>6}{row['seconds']:>9.3f}")
    print(f"{table['kills']} kills, {len(table['losses'])} losses, {table['seconds']:.0f} s")
    for loss in table["losses"]:
        print(f"LOSS {loss}")
    if options.output:
        options.output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 1 if table["losses"] else 0


class Trial:
    """Rounds of killed work, with what was counted and lost."""

    def __init__(self, folder: Path, seed: int, n_documents: int, *, real: bool) -> None:
        self.folder, self.real = folder, real
        self.random = random.Random(seed)
        self.n_documents = n_documents
        self.embedder = _embedder(real)
        self.rounds = 0
        self.losses: list[str] = []
        self.counts: dict[str, dict[str, float]] = {}
        # Started once, with everything imported and nothing opened: a child is there at once.
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["__main__", "nlpkit.jobs", "faiss", "alembic"])

    @property
    def n_kills(self) -> int:
        return int(sum(row["kills"] for row in self.counts.values()))

    def round(self, n_kills: int) -> None:
        """All steps on a new index, killed now and then until there were so many kills."""
        self.rounds += 1
        folder = self.folder / f"round{self.rounds}"
        folder.mkdir()
        for name, task, expected in self._steps(folder):
            row = self.counts.setdefault(name, {"done": 0, "kills": 0, "late": 0, "seconds": 0.0})
            if not row["seconds"]:
                row["seconds"] = self._undisturbed(folder, task)
            kills_here = 0
            while True:
                wanted = kills_here < KILLS_A_STEP and self.n_kills < n_kills
                delay = self.random.uniform(0.0, 1.05 * row["seconds"]) if wanted else None
                if self._run(folder / "index", task, delay) is not None:
                    break
                kills_here += 1
                row["kills"] += 1
                self._note(name, self._sound(folder / "index"))
            row["late"] += wanted
            row["done"] += 1
            self._note(name, self._differences(folder / "index", expected))

    def table(self, seconds: float) -> dict[str, Any]:
        return {
            "model": self.embedder.name,
            "documents": self.n_documents,
            "rounds": self.rounds,
            "kills": self.n_kills,
            "seconds": seconds,
            "losses": self.losses,
            "steps": self.counts,
        }

    def _note(self, step: str, losses: Sequence[str]) -> None:
        self.losses.extend(f"round {self.rounds}, {step}: {loss}" for loss in losses)

    def _steps(self, folder: Path) -> Iterator[Step]:
        n, source = self.n_documents, folder / "source.jsonl"
        old = some_documents(n, seed=self.rounds)
        write_jsonl(source, old)
        yield "build", {"source": str(source)}, old
        fresh = some_documents(n // 3, seed=-self.rounds % 1000 + 1000)
        moved = [Document(d.id, d.text, {"year": 1}) for d in old[n // 3 : n // 2]]
        new = [*fresh, *moved, *old[n // 2 : n - n // 6], *some_documents(n // 6, first=n)]
        write_jsonl(source, new)
        yield "update", {"source": str(source), "prune": True}, new
        gone = {d.id for d in new[::4]}
        left = [d for d in new if d.id not in gone]
        yield "delete", {"delete": sorted(gone)}, left
        yield "compact", {"compact": "flat" if self.rounds % 2 else "hnsw"}, left

    # -- processes

    def _undisturbed(self, folder: Path, task: dict[str, Any]) -> float:
        """The seconds that a step takes on a copy of the index."""
        import shutil

        copy = folder / "copy"
        shutil.copytree(folder / "index", copy) if (folder / "index").exists() else None
        try:
            seconds = self._run(copy, task, None)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        assert seconds is not None
        return seconds

    def _run(self, index: Path, task: dict[str, Any], delay: float | None) -> float | None:
        """Work in a child, killed after ``delay``; its seconds, or None where it was killed."""
        ours, theirs = self.processes.Pipe()
        child = self.processes.Process(target=work, args=(theirs, index, task, self.real))
        child.start()
        theirs.close()
        try:
            ours.recv()
            if delay is not None:
                _sleep(delay)
                child.kill()
            seconds = float(ours.recv())
        except EOFError:
            seconds = None
        child.join()
        ours.close()
        if seconds is None and child.exitcode != -9:
            raise RuntimeError(f"the child ended with {child.exitcode} and was not killed")
        return seconds

    # -- checks

    def _sound(self, folder: Path) -> list[str]:
        if not (folder / "index.json").is_file():
            return []
        with open_index(folder, self.embedder) as index:
            return [str(problem) for problem in index.verify()]

    def _differences(self, folder: Path, expected: Sequence[Document]) -> list[str]:
        """All that the index has other than the source says; empty where nothing was lost."""
        with open_index(folder, self.embedder) as index:
            found = [str(problem) for problem in index.verify()]
            held = list(index.documents())
            if sorted(d.id for d in held) != sorted(d.id for d in expected):
                found.append(f"{len(held)} documents, expected {len(expected)}, or other ids")
            wanted = {d.id: d for d in expected}
            found += [f"{d.id} is not as in the source" for d in held if d != wanted.get(d.id)]
            try:
                assert_vectors(index, 2e-2 if self.real else 1e-6)
            except (AssertionError, KeyError) as error:
                found.append(f"vectors: {error!r:.300}")
            return found + self._wrong_searches(index, held)

    def _wrong_searches(self, index: Index, held: Sequence[Document]) -> list[str]:
        tolerance = 2e-2 if self.real else 1e-6
        wrong = []
        for query in ("engine river stone", "glacier", "doctor market n7"):
            hits = index.search(query, 5)
            best = {one: score for one, score, _, _ in nearest(held, self.embedder, query, 10**9)}
            got = [best.get(hit.document.id, -1.0) for hit in hits]
            right = sorted(best.values(), reverse=True)[:5]
            if len({h.document.id for h in hits}) != 5 or not np.allclose(
                sorted(got, reverse=True), right, rtol=0, atol=tolerance
            ):
                wrong.append(f"search for {query!r} differs from brute force")
        return wrong


def work(pipe: Connection, folder: Path, task: dict[str, Any], real: bool) -> None:
    """What a child does: small batches, so that there are many moments to be killed at."""
    from nlpkit import jobs
    from nlpkit.index import index as index_module
    from nlpkit.index import upkeep

    jobs.SHARD_ROWS, jobs.BATCH_ROWS = 60, 20
    index_module.BATCH_DOCUMENTS = 10
    upkeep.FAN = 3
    embedder = _embedder(real)
    pipe.send("ready")
    began = time.perf_counter()
    with open_index(folder, embedder) as index:
        if "source" in task:
            jobs.start_job(index, task["source"], prune=bool(task.get("prune"))).run()
        elif "delete" in task:
            index.delete(task["delete"])
        else:
            index.compact(task["compact"])
    pipe.send(time.perf_counter() - began)


def _embedder(real: bool) -> Any:
    if not real:
        return WordEmbedder()
    import nlpkit
    from nlpkit.index import PipelineEmbedder

    return PipelineEmbedder(nlpkit.load("base-en"))


def _sleep(seconds: float) -> None:
    """Sleep; the last millisecond by looking at the clock, which is more exact."""
    end = time.perf_counter() + seconds
    time.sleep(max(seconds - 0.001, 0.0))
    while time.perf_counter() < end:
        pass


if __name__ == "__main__":
    sys.exit(main())
