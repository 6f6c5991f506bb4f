"""The processes that are compared: nlpkit, and peers in environments of their own.

All speak the protocol of ``benchmarks/peers/protocol.py``. A peer's environment lies under
``runs/peers/<environment>-env`` and is made by :func:`install` from the pinned versions in
``benchmarks/peers/requirements``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlpkit.bench.machine import memory
from nlpkit.errors import InputError, JobError, UnknownNameError

#: Shipped inside the wheel as ``nlpkit/recipes``; in a checkout it is the folder ``benchmarks``.
PEER_FOLDERS = (
    Path(__file__).parents[1] / "recipes" / "peers",
    Path(__file__).parents[2] / "benchmarks" / "peers",
)
#: Where environments, exported models and texts lie; git ignores it in a checkout.
WORK = Path("runs") / "peers"
#: A side that has not answered for so many seconds is ended.
PATIENCE = 1800.0
#: Memory that must be free for a peer to be started, and for each model of it.
ROOM, ROOM_PER_MODEL = 600e6, 200e6
#: No side speaks to the network, prints bars, or tells anybody that it ran.
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class SideError(JobError):
    """A side that could not do what it was asked: it ended, or its library raised."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A library that nlpkit is compared with.

    ``tasks`` are what it can do; ``models`` says for each of them which exports it loads (formats
    of ``nlpkit export`` by task). ``settings`` go to its side as they are. ``batches`` are the
    batch sizes that are tried.
    """

    name: str
    environment: str
    script: str
    tasks: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    batches: tuple[int, ...] = (1, 8, 32, 64)
    cuda: bool = False
    note: str = ""


_ST = "sentence_transformers_side.py"
#: Every peer by name. What their sides need is pinned in benchmarks/peers/requirements.
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "transformers",
            "transformers",
            "transformers_side.py",
            ("ner", "sentiment", "topic", "analyze", "answer", "heads"),
            cuda=True,
            note="pipelines; analyze: three of them and sentence-transformers; answer: our decoder "
            "on AutoModelForQuestionAnswering",
        ),
        Peer(
            "sentence-transformers",
            "transformers",
            _ST,
            ("embed",),
            {"backend": "torch"},
            cuda=True,
            note="torch, fp32 (bf16 on a GPU)",
        ),
        Peer(
            "sentence-transformers-openvino",
            "openvino",
            _ST,
            ("embed",),
            {"backend": "openvino"},
            note="its own static int8, calibrated on its default set",
        ),
        Peer(
            "sentence-transformers-onnx",
            "onnx",
            _ST,
            ("embed",),
            {"backend": "onnx"},
            note="its own dynamic int8 for this processor",
        ),
        Peer(
            "spacy",
            "spacy",
            "spacy_side.py",
            ("ner",),
            note="spacy-transformers on our weights, a tagger with our head",
        ),
        Peer(
            "txtai",
            "txtai",
            "txtai_bench_side.py",
            ("embed", "ner"),
            note="its embeddings and its entity pipeline on our weights",
        ),
        Peer(
            "fastembed",
            "onnx",
            "fastembed_side.py",
            ("embed",),
            note="ONNX fp32 of our weights",
        ),
        Peer(
            "infinity",
            "infinity",
            "infinity_side.py",
            ("embed",),
            note="its torch engine in this process, without the server",
        ),
    )
}


def find_peers(names: str) -> list[Peer]:
    """The peers of a list with commas, or of ``all``.

    Raises:
        UnknownNameError: no such peer; the message lists the known ones.
    """
    if names == "all":
        return list(PEERS.values())
    asked = [name.strip() for name in names.split(",") if name.strip()]
    for name in asked:
        if name not in PEERS:
            raise UnknownNameError.of("peer", name, [*PEERS, "all"])
    if not asked:
        raise InputError(f"--peers is {names!r}; expected all, or some of {', '.join(PEERS)}")
    return [PEERS[name] for name in dict.fromkeys(asked)]


def side_folder() -> Path:
    """Where the sides' scripts lie: in an installed wheel or in a checkout."""
    for folder in PEER_FOLDERS:
        if (folder / "protocol.py").is_file():
            return folder
    raise InputError(f"the sides are in none of {', '.join(map(str, PEER_FOLDERS))}: install again")


# -- environments --------------------------------------------------------------------------------


def python_of(peer: Peer, work: Path, python: Path | None = None) -> Path | None:
    """The interpreter of a peer's environment, or None where it is not installed.

    ``python`` is one that has all peers, to be taken instead.
    """
    if python is not None:
        return python
    found = _environment(work, peer.environment) / _BIN / "python"
    return found if found.exists() and (found.parents[1] / _DONE).is_file() else None


def missing(peer: Peer) -> str:
    """Why a peer without an environment is skipped, and what to do."""
    return f"not installed; run: nlpkit bench --install {peer.name}"


def install(peer: Peer, work: Path) -> Path:
    """Make a peer's environment, unless it is there; returns its interpreter. Takes minutes.

    Raises:
        JobError: it cannot be installed; the message quotes pip.
    """
    there = python_of(peer, work)
    if there is not None:
        return there
    folder = _environment(work, peer.environment)
    python = folder / _BIN / "python"
    pinned = side_folder() / "requirements" / f"{peer.environment}.txt"
    quietly = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), *quietly, "-r", str(pinned)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "ERROR" in line]
            reason = (said or done.stderr.splitlines() or ["no reason given"])[-1]
            raise JobError(f"{peer.name} cannot be installed: {reason}")
    (folder / _DONE).touch()
    return python


def _environment(work: Path, name: str) -> Path:
    return (work / f"{name}-env").absolute()


_BIN = "Scripts" if os.name == "nt" else "bin"
#: Written into an environment when it is complete.
_DONE = "complete"


# -- processes -----------------------------------------------------------------------------------


class Side:
    """A running side; use it in a ``with`` block.

    Raises:
        SideError: from any method, when it ended or its library raised.
    """

    def __init__(self, name: str, command: Sequence[str | Path]) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | QUIET
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=environment,
        )

    @classmethod
    def of_nlpkit(cls) -> Side:
        """nlpkit in a process of its own, with this interpreter."""
        return cls("nlpkit", cls.command_of_nlpkit())

    @staticmethod
    def command_of_nlpkit() -> list[str | Path]:
        return [sys.executable, side_folder() / "nlpkit_side.py"]

    @classmethod
    def of_peer(cls, peer: Peer, python: Path) -> Side:
        return cls(peer.name, [python, side_folder() / peer.script])

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, models: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
        """Load the models (folders by task); returns what the side runs with."""
        self.facts = self._ask({"do": "load", "models": models, "settings": settings})["facts"]
        return self.facts

    def run(
        self,
        task: str,
        texts: Path,
        n: int,
        batch: int = 32,
        *,
        each: bool = False,
        keep: Path | None = None,
    ) -> list[float]:
        """Seconds of one call on the first n texts of a file, or with ``each`` of a call a text.

        ``keep`` is the stem of the files that the outputs go to.
        """
        request: dict[str, Any] = {"do": "run", "task": task, "texts": str(texts), "n": n}
        request |= {"batch": batch, "each": each, "keep": str(keep) if keep else None}
        seconds: list[float] = self._ask(request)["seconds"]
        return seconds

    def memory(self) -> dict[str, int]:
        """Bytes: ``resident``, ``private``, and the ``peak`` of resident memory."""
        return self._ask({"do": "memory"})

    def close(self) -> None:
        """End the process: kindly, and if need be not."""
        try:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._tell({"do": "quit"})
                self._process.wait(timeout=10)
        finally:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._errors):
                with suppress(OSError):  # what could not be written to one that has ended
                    if stream is not None:
                        stream.close()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        late = threading.Timer(PATIENCE, self._process.kill)
        late.start()
        try:
            self._tell(request)
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        finally:
            late.cancel()
        if not line:
            raise SideError(self._obituary())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideError(f"{self.name}: {answer['error']}")
        return answer

    def _tell(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _obituary(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        why = said[-1] if said else "without a word"
        if status == -9:
            why = f"it was killed: out of memory, or silent for {PATIENCE:,.0f} s"
        return f"{self.name} ended ({status}): {why}"


def lack_of_memory(n_models: int) -> str | None:
    """Why a peer with so many models should not be started, or None."""
    _, available = memory()
    needed = ROOM + ROOM_PER_MODEL * n_models
    if available and available < needed:
        return f"it needs about {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} are free"
    return None


def first_call(
    command: Iterable[str | Path],
    models: Mapping[str, str],
    settings: Mapping[str, Any],
    task: str,
    texts: Path,
    name: str,
) -> float:
    """Seconds from the start of a new process to its first answer, Python's own start included."""
    began = time.perf_counter()
    with Side(name, list(command)) as side:
        side.load(models, settings)
        side.run(task, texts, 1, each=True)
        return time.perf_counter() - began
