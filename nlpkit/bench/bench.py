"""What the rows share: the model, the texts on disk, and the sides, started and loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nlpkit.bench.compare import Outputs, agreement, read_outputs
from nlpkit.bench.contest import Contender, take_turns, times_faster
from nlpkit.bench.machine import gpu
from nlpkit.bench.results import Check, Row, Runs
from nlpkit.bench.roofline import Roofline, measure
from nlpkit.bench.sides import (
    Peer,
    Side,
    SideError,
    lack_of_memory,
    missing,
    python_of,
    side_folder,
)
from nlpkit.bench.texts import Pair, Texts, token_counts, write_texts
from nlpkit.bundle import read_bundle
from nlpkit.engines import cpu_limit
from nlpkit.errors import NlpkitError
from nlpkit.heads import SequenceHead, SpanHead
from nlpkit.text import TextEncoder

#: The floor and the aim of a comparison with a peer: so many times faster.
Asked = Mapping[str, tuple[float, float]]
#: Texts on which a peer's batch size is chosen.
TRIED = 128
#: Texts that int8 models of peers are calibrated on: optimum's own number.
CALIBRATED = 300


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int = 5
    news: int = 1024
    mixed: int = 512
    pairs: int = 256
    alike: int = 256  #: texts read alone and together
    short: int = 200
    starts: int = 7
    memory: int = 256
    long_tokens: int = 100_000
    heads: int = 256
    accuracy: int | None = 2000  #: examples of each suite
    gpu: int = 8192
    grow_texts: tuple[int, ...] = (10, 100, 1_000, 10_000, 100_000)
    grow_tokens: tuple[int, ...] = (10, 100, 1_000, 10_000, 100_000)
    grow_heads: tuple[int, ...] = (1, 2, 5, 10, 20)
    patience: float = 60.0  #: a size that would take a side longer is left out, and said
    roofline: float = 2.0  #: seconds for each matrix shape


#: Seconds instead of half an hour: to see it run. Its figures mean little.
QUICK = Sizes(
    rounds=2,
    news=16,
    mixed=16,
    pairs=4,
    alike=8,
    short=8,
    starts=1,
    memory=8,
    long_tokens=600,
    heads=8,
    accuracy=20,
    gpu=64,
    grow_texts=(4, 8),
    grow_tokens=(10, 100),
    grow_heads=(1, 4),
    patience=5.0,
    roofline=0.02,
)


@dataclass
class Bench:
    """The setting of one run. ``tell`` is told what goes on; ``python`` has all peers, if given."""

    model: str
    work: Path
    peers: Sequence[Peer] = ()
    sizes: Sizes = field(default_factory=Sizes)
    texts: Texts = field(default_factory=Texts)
    device: str = "cpu"
    precision: str = "auto"
    python: Path | None = None
    tell: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        bundle = read_bundle(self.model)
        self.config: dict[str, Any] = bundle.manifest.config
        self.encoder: TextEncoder = bundle.encoder
        self.window: int = bundle.manifest.window
        self.bundle = bundle.manifest.id
        self.classes = [n for n, h in bundle.heads.items() if isinstance(h.head, SequenceHead)]
        #: How answers are chosen, which no exported model says.
        self.choice = next(
            (h.head.choice for h in bundle.heads.values() if isinstance(h.head, SpanHead)), {}
        )
        self._models = self.work / "models" / f"{bundle.manifest.id}-{bundle.sha256[:12]}"
        self._texts = self.work / "texts"
        for folder in (self._models, self._texts):
            folder.mkdir(parents=True, exist_ok=True)

    # -- texts and models ---------------------------------------------------------------------

    def file(self, name: str, texts: Sequence[str | Pair], *, for_peers: bool = True) -> Path:
        """A file of texts for the sides, with word shapes for the peers."""
        shapes = self.encoder if for_peers and self.peers else None
        return write_texts((self._texts / f"{name}.json").absolute(), texts, shapes)

    def tokens(self, texts: Sequence[str]) -> int:
        """Tokens of all texts, special ones counted."""
        return sum(token_counts(self.encoder, texts))

    def models(self, task: str) -> dict[str, str]:
        """Folders by task of what a peer loads for a task, exported where they are not yet.

        Raises:
            InputError: a head that the format cannot express.
        """
        tasks = {
            "analyze": ["ner", *self.classes, "embed"],
            "answer": ["qa"],
            "heads": self.classes[:1],
        }
        return {one: str(self._exported(one)) for one in tasks.get(task, [task])}

    def _exported(self, task: str) -> Path:
        folder = (self._models / task).absolute()
        if not (folder / "config.json").is_file():
            from nlpkit.export import export

            if task == "embed":
                export("sentence-transformers", folder, bundle=self.model)
            else:
                export("transformers", folder, bundle=self.model, task=task)
        return folder

    # -- sides --------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self.model, "device": self.device, "precision": self.precision}

    @contextmanager
    def nlpkit(self, precision: str | None = None) -> Iterator[Side]:
        """nlpkit, loaded, in a new process."""
        with Side.of_nlpkit() as side:
            side.load({}, self.settings | ({"precision": precision} if precision else {}))
            yield side

    @contextmanager
    def peer(self, peer: Peer, task: str, **settings: Any) -> Iterator[Side]:
        """A peer with what it needs for a task, in a new process.

        Raises:
            NlpkitError: it is not installed, there is too little memory, or it cannot load.
        """
        command, models = self.command(peer, task)
        with Side(peer.name, command) as side:
            side.load(models, self.peer_settings(peer) | settings)
            yield side

    def command(self, peer: Peer, task: str) -> tuple[list[str | Path], dict[str, str]]:
        """How a peer's side is started, and what it loads."""
        python = python_of(peer, self.work, self.python)
        if python is None:
            raise SideError(missing(peer))
        models = self.models(task)
        lack = lack_of_memory(len(models))
        if lack:
            raise SideError(lack)
        return [python, side_folder() / peer.script], models

    def peer_settings(self, peer: Peer) -> dict[str, Any]:
        settings = {**peer.settings, "device": self.device, "choice": self.choice}
        limit = cpu_limit()
        if limit < (os.cpu_count() or 1):  # few libraries look at quota and affinity
            settings["threads"] = limit
        if peer.settings.get("backend") == "openvino":
            texts = self.texts.calibration(CALIBRATED)
            settings["calibration"] = str(self.file("calibration", texts))
        return settings

    def able(self, task: str) -> list[Peer]:
        """The peers that can do a task on this device."""
        on_gpu = self.device.startswith("cuda")
        return [p for p in self.peers if task in p.tasks and (p.cuda or not on_gpu)]

    # -- the machine --------------------------------------------------------------------------

    @cached_property
    def roofline(self) -> Roofline:
        self.tell("what this machine can do at most")
        return measure(self.config, self.device, self.sizes.roofline)

    @cached_property
    def gpu(self) -> str:
        return gpu()

    # -- a race -------------------------------------------------------------------------------

    def race(
        self,
        name: str,
        title: str,
        task: str,
        texts: Sequence[Any],
        asked: Asked,
        *,
        peer_task: str | None = None,
    ) -> Row:
        """nlpkit and every able peer on the same texts: agreement first, then rounds in turns.

        ``peer_task`` is what the peers do where it is less than nlpkit's task.
        """
        theirs = peer_task or task
        file, n = self.file(name, texts), len(texts)
        words = [part for text in texts for part in ([text] if isinstance(text, str) else text)]
        n_tokens = self.tokens(words)
        row = Row(name, title, details={"texts": n, "tokens": n_tokens})
        with ExitStack() as stack:
            ours = Contender(stack.enter_context(self.nlpkit()), task)
            keep = self._texts / f"{name}-outputs"
            mine = self.outputs(ours, file, n, keep)
            if peer_task:
                mine = {peer_task: mine[peer_task]}
            exact = self._exact(file, n, keep) if "embed" in mine and self.able(theirs) else None
            contenders = {"nlpkit": ours}
            agreed: dict[str, str] = {}
            for peer in self.able(theirs):
                self.tell(f"{name}: {peer.name} gets ready")
                try:
                    side = stack.enter_context(self.peer(peer, theirs))
                    contender = Contender(side, theirs)
                    contender.choose_batch(file, min(n, TRIED), peer.batches)
                    found = agreement(texts, mine, self.outputs(contender, file, n, keep), exact)
                except NlpkitError as error:
                    row.refused[peer.name] = reason(error, peer.name)
                    continue
                if found.is_enough:
                    contenders[peer.name], agreed[peer.name] = contender, str(found)
                else:
                    row.refused[peer.name] = f"says something else: {'; '.join(found.too_little)}"
            take_turns(contenders, file, n, self.sizes.rounds, lambda t: self.tell(f"{name}: {t}"))
        for side_name, contender in contenders.items():
            row.sides[side_name] = Runs(
                {
                    "texts/s": contender.spread.under(n),
                    "tokens/s": contender.spread.under(n_tokens),
                },
                "",
                ran_with(contender),
                agreed.get(side_name, ""),
            )
        times = {side_name: contender.seconds for side_name, contender in contenders.items()}
        return replace(row, checks=faster(title, times, asked))

    def outputs(self, contender: Contender, file: Path, n: int, keep: Path) -> Outputs:
        """What a side says of the first n texts, by task; ``keep`` is a stem for its files."""
        contender.run(file, n, keep.absolute())
        found = read_outputs(keep, contender.task)
        for left in keep.parent.glob(f"{keep.name}.*"):
            left.unlink()
        return found

    def _exact(self, file: Path, n: int, keep: Path) -> Outputs:
        """nlpkit's vectors in fp32."""
        with self.nlpkit("fp32") as side:
            return self.outputs(Contender(side, "embed"), file, n, keep)


def faster(what: str, times: Mapping[str, Sequence[float]], asked: Asked) -> tuple[Check, ...]:
    """A check against every peer, from the seconds of all sides."""
    checks = []
    for name, theirs in times.items():
        if name != "nlpkit":
            floor, aim = asked.get(name, (None, None))
            value = times_faster(times["nlpkit"], theirs)
            checks.append(Check(what, value, "times as fast", floor, aim, against=name))
    return tuple(checks)


def reason(error: Exception, name: str) -> str:
    """Why a peer is not shown, without its own name before it."""
    return str(error).removeprefix(f"{name}: ").removeprefix(f"{name} ")


def ran_with(contender: Contender) -> str:
    """The engine, precision and versions of a side, and the batch size that was best for it."""
    facts = contender.side.facts
    parts = [facts[name] for name in ("engine", "precision") if name in facts]
    parts += [f"{name} {number}" for name, number in facts.get("versions", {}).items()]
    if contender.side.name != "nlpkit":
        parts.append(f"batch {contender.batch}")
    return ", ".join(parts)
