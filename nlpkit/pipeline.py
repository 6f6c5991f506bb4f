"""The pipeline: texts in, results out, one backbone pass for every head.

texts -> TextEncoder (windows) -> Engine.run (backbone, then each head's logits) -> decode
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nlpkit import zero_shot
from nlpkit.attribution import word_weights
from nlpkit.engines import Engine, PluggedHead, start
from nlpkit.errors import (
    BundleError,
    InputError,
    InputTypeError,
    UnknownNameError,
    UnknownTextWarning,
)
from nlpkit.heads import Head, PoolingHead, Reading, SequenceHead, SpanHead, TokenHead
from nlpkit.heads.base import Floats, decode_all, softmax
from nlpkit.text import (
    Batch,
    Encoded,
    Ints,
    Row,
    TextEncoder,
    Window,
    batches,
    pad,
    rounded,
    windows,
)
from nlpkit.types import Analysis, Answer, Entity, Label, Results, WordWeight

T = TypeVar("T")
Vectors = NDArray[np.float32]

#: Tokens that the engine reads at once. In int8 on two cores 1,024 was no faster, and every layer
#: keeps memory for it.
TOKEN_BUDGET = 512
#: Texts are taken from the input this many at a time, or fewer when they are long.
CHUNK_TEXTS = 512
CHUNK_CHARACTERS = 250_000
#: Above this share of unknown characters a result carries a warning.
UNKNOWN_SHARE = 0.3
#: A question must leave at least this many tokens of a row to the context.
MIN_CONTEXT = 128


@dataclass(frozen=True, slots=True)
class WindowSizes:
    """Tokens of a row with its special tokens, and of the overlap, for texts and for pairs."""

    size: int = 256
    overlap: int = 16
    pair_size: int = 320
    pair_overlap: int = 96

    def within(self, max_length: int) -> WindowSizes:
        """The same, cut to what a backbone can read."""
        size, pair_size = min(self.size, max_length), min(self.pair_size, max_length)
        return WindowSizes(
            size, min(self.overlap, size // 4), pair_size, min(self.pair_overlap, pair_size // 4)
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the heads say of one text: decoded results by head name."""

    values: dict[str, Any]
    warnings: tuple[str, ...]
    n_windows: int


#: What waits for the logits of a batch, by head.
Begun = Callable[[], dict[str, Floats]]


class Pipeline:
    """A backbone with its heads, loaded and ready; made by :func:`nlpkit.load`.

    Every method takes one text and gives one result, a list (or tuple) and gives a list, or any
    other iterable and gives an iterator that reads and yields as it goes. All methods may be
    called from many threads at once.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        engine: Engine,
        heads: Mapping[str, PluggedHead],
        *,
        name: str = "unnamed",
        backbone_sha256: str = "",
        storage: str = "float32",
        sizes: WindowSizes | None = None,
        token_budget: int = TOKEN_BUDGET,
        words: Mapping[str, NDArray[Any]] | None = None,
        adapted: Callable[[Mapping[str, NDArray[Any]]], Engine] | None = None,
    ) -> None:
        self.name = name
        self.backbone_sha256 = backbone_sha256
        self.storage = storage
        self.encoder = encoder
        self.engine = engine
        self.sizes = sizes or WindowSizes()
        self.token_budget = token_budget
        self._words = words
        self._labels: tuple[tuple[tuple[str, ...], str | None], Vectors] | None = None
        self._adapted = adapted
        self._lock = threading.Lock()
        self._heads: dict[str, PluggedHead] = dict(heads)
        self._engines: dict[str, Engine] = {}  # only for heads with an adapter of their own
        self.pooling = next(
            (h for h in self._heads.values() if isinstance(h.head, PoolingHead)),
            PluggedHead(PoolingHead(), {}),
        )

    @property
    def precision(self) -> str:
        """That of the arithmetic, and of the stored weights where they differ."""
        return precision_of(self.storage, self.engine.precision)

    @property
    def tasks(self) -> dict[str, str]:
        """The names of the heads and their kinds."""
        return {name: plugged.head.kind for name, plugged in self._heads.items()}

    def head(self, task: str) -> PluggedHead:
        """The head of a task.

        Raises:
            UnknownNameError: no such task; the message lists the known ones.
        """
        found = self._heads.get(task)
        if found is None:
            raise UnknownNameError.of("task", task, self._heads, "kit.add(path) adds a task pack.")
        return found

    def has_adapter(self, task: str) -> bool:
        """Whether a task has a backbone pass of its own, with its pack's adapter."""
        self.head(task)
        return task in self._engines

    # -- the five answers ---------------------------------------------------------------------

    def ner(self, texts: Any, task: str = "ner") -> Any:
        """Named entities, in order; ``text[e.start:e.end] == e.text``."""
        name = self._pick(task, TokenHead, "ner")
        return _shaped(texts, lambda t: (_results(o, name) for o in self._outcomes(t, [name])))

    def classify(
        self,
        texts: Any,
        task: str | None = None,
        *,
        labels: Sequence[str] | None = None,
        template: str | None = None,
    ) -> Any:
        """Labels with scores, best first.

        By default the task ``sentiment``. With ``labels`` any names of your own, compared with
        the text by their embeddings (zero-shot, see :mod:`nlpkit.zero_shot`). ``template`` puts
        each into one phrase instead, for example ``"{} news"``, which is taken as it is.
        """
        if labels is not None:
            if task is not None:
                raise InputError("classify got both task and labels; expected one of them")
            return self._zero_shot(texts, labels, template)
        name = self._pick("sentiment" if task is None else task, SequenceHead, "sentiment")
        return _shaped(texts, lambda t: (_results(o, name) for o in self._outcomes(t, [name])))

    def embed(self, texts: Any) -> Any:
        """Embeddings, float32, of unit length: (width,) for a text, (n, width) for a list.

        An empty text gives zeros.
        """
        found = _shaped(texts, lambda t: (o.values[""] for o in self._outcomes(t, [""])))
        if isinstance(found, list):
            return np.stack(found) if found else np.zeros((0, self.engine.width), np.float32)
        return found

    def analyze(self, texts: Any, tasks: Sequence[str] | None = None) -> Any:
        """Entities, the labels of every classification task and the embedding, in one pass.

        ``tasks`` names the heads to use; by default all that read single texts.
        """
        if isinstance(tasks, str):
            raise InputTypeError.of("tasks", tasks, "a list of task names")
        names = self._single_text_tasks() if tasks is None else [*tasks]
        for name in names:
            if self.head(name).head.kind == SpanHead.kind:
                raise InputError(f"task {name!r} answers questions; call answer(question, context)")
        names = [*names, ""]
        return _shaped(texts, lambda t: (self._analysis(o) for o in self._outcomes(t, names)))

    def answer(
        self,
        question: Any,
        context: str | None = None,
        *,
        no_answer: bool = True,
        n_best: int = 1,
        max_answer_length: int = 30,
        task: str = "qa",
    ) -> Any:
        """The part of a context that answers a question, or a falsy Answer where there is none.

        Takes ``answer(question, context)`` or a list of such pairs. With ``n_best`` above 1 each
        result is a list, best first. ``max_answer_length`` counts words. ``no_answer=False``
        always quotes something (except for an empty question or context).
        """
        options = {
            "no_answer": _boolean("no_answer", no_answer),
            "n_best": _positive("n_best", n_best),
            "max_answer_length": _positive("max_answer_length", max_answer_length),
        }
        name = self._pick(task, SpanHead, "qa")

        def found(pairs: Iterable[tuple[str, str]]) -> Iterator[Any]:
            for answers in self._answers(pairs, name, options):
                yield answers if n_best > 1 else answers[0]

        if isinstance(question, str):
            if not isinstance(context, str):
                raise InputTypeError.of("context", context, "a string")
            return next(found([(question, context)]))
        if context is not None:
            raise InputTypeError.of("question", question, "a string when a context is given")
        if isinstance(question, Mapping | bytes | bytearray) or not isinstance(question, Iterable):
            raise InputTypeError.of("question", question, "a string, or pairs (question, context)")
        pairs = _checked_pairs(question)
        return list(found(pairs)) if isinstance(question, Sequence) else found(pairs)

    def explain(self, texts: Any, task: str | None = None, label: str | None = None) -> Any:
        """The words of a text, each with what the class loses without it, in order of the text.

        By default the task ``sentiment`` and the class that :meth:`classify` puts first. A weight
        is the fall of the class's log-odds. A text of one window (some 180 words) has all its
        words weighed; of a longer one those that matter most, in a bounded number of passes:
        see :mod:`nlpkit.attribution`.
        """
        name = self._pick("sentiment" if task is None else task, SequenceHead, "sentiment")
        return _shaped(texts, lambda t: (self._weights(text, name, label) for text in t))

    def apply(self, texts: Any, task: str) -> Any:
        """What the head ``task`` decodes, whatever its kind (for heads of other packages)."""
        self.head(task)
        return _shaped(texts, lambda t: (o.values[task] for o in self._outcomes(t, [task])))

    # -- task packs -----------------------------------------------------------------------------

    def add(self, path: str | Path) -> tuple[str, ...]:
        """Plug a task pack's heads into this pipeline; returns their task names.

        Raises:
            BundleError: the pack is broken or belongs to another backbone.
            InputError: a task of that name is already there.
        """
        from nlpkit.bundle import read_pack

        pack = read_pack(path, self.engine.width)
        pack.require_backbone(self.name, self.backbone_sha256)
        engine = None
        if pack.adapter is not None:
            if self._adapted is None:
                raise BundleError(f"{pack.path} holds an adapter; this pipeline cannot take one")
            engine = self._adapted(pack.adapter)
        with self._lock:
            taken = [name for name in pack.heads if name in self._heads]
            if taken:
                raise InputError(f"task {taken[0]!r} is already there; remove({taken[0]!r}) first")
            if engine is not None:
                self._engines = {**self._engines, **dict.fromkeys(pack.heads, engine)}
            self._heads = {**self._heads, **pack.heads}
        return tuple(pack.heads)

    def remove(self, task: str) -> None:
        """Unplug a task.

        Raises:
            UnknownNameError: no such task.
        """
        with self._lock:
            self.head(task)
            self._heads = {name: h for name, h in self._heads.items() if name != task}
            self._engines = {name: e for name, e in self._engines.items() if name != task}

    def with_head(self, task: str, head: Head) -> Pipeline:
        """The same model with one head alone: another one, on the parameters of this task."""
        plugged = replace(self.head(task), head=head)
        return Pipeline(
            self.encoder,
            self._engines.get(task, self.engine),
            {task: plugged},
            name=self.name,
            backbone_sha256=self.backbone_sha256,
            storage=self.storage,
            sizes=self.sizes,
            token_budget=self.token_budget,
            words=self._words,
        )

    # -- inside -----------------------------------------------------------------------------------

    def _pick(self, task: str, kind: type, default: str) -> str:
        """The task, or the only head of its kind where the default's name is not there."""
        if not isinstance(task, str):
            raise InputTypeError.of("task", task, "a string")
        if task not in self._heads and task == default:
            same = [n for n, h in self._heads.items() if isinstance(h.head, kind)]
            if len(same) == 1:
                return same[0]
        found = self.head(task).head
        if not isinstance(found, kind):
            same = [n for n, h in self._heads.items() if isinstance(h.head, kind)]
            hint = f"{task!r} is a {found.kind} head."
            raise UnknownNameError.of(f"{_kind_of(kind)} task", task, same, hint)
        return task

    def _single_text_tasks(self) -> list[str]:
        skipped = (SpanHead, PoolingHead)
        return [n for n, h in self._heads.items() if not isinstance(h.head, skipped)]

    def _analysis(self, outcome: Outcome) -> Analysis:
        entities: list[Entity] | None = None
        labels: dict[str, list[Label]] = {}
        for name, value in outcome.values.items():
            plugged = self._heads.get(name)
            if plugged is not None and isinstance(plugged.head, TokenHead):
                entities = value if name == "ner" or entities is None else entities
            elif plugged is not None and isinstance(plugged.head, SequenceHead):
                labels[name] = value
        return Analysis(
            entities or [], labels, outcome.values[""], outcome.warnings, outcome.n_windows
        )

    def _weights(self, text: str, name: str, label: str | None) -> Results[WordWeight]:
        heads, [(engine, group)] = self._passes([name])
        head = heads[name].head
        assert isinstance(head, SequenceHead)
        [encoded] = self.encoder.encode([text])
        room = self.sizes.size - len(self.encoder.prefix) - len(self.encoder.suffix)
        plan = windows(len(encoded), room, self.sizes.overlap)

        def read(parts: Sequence[tuple[Encoded, Window]]) -> tuple[Floats, Ints]:
            rows = [self.encoder.row(*part) for part in parts]
            logits = np.empty((len(rows), len(head.labels)), dtype=np.float32)
            for indices in batches([len(r) for r in rows], self.token_budget, packed=engine.packed):
                batch = self._batch([rows[i] for i in indices])
                logits[indices] = engine.run(batch, group)[name]
            return logits, np.array([row.owned.sum() for row in rows])

        found = word_weights(text, encoded, plan, head, label, read)
        return Results(found, _notes(encoded.unknown), len(plan))

    def _zero_shot(self, texts: Any, labels: Sequence[str], template: str | None) -> Any:
        listed = isinstance(labels, Sequence) and not isinstance(labels, str | bytes)
        if not listed or not labels or not all(isinstance(label, str) for label in labels):
            raise InputTypeError.of("labels", labels, "a list of at least one string")
        if len(set(labels)) != len(labels):
            raise InputError(f"labels has the same name twice: {list(labels)}")
        if template is not None and "{}" not in template:
            raise InputError(f"template is {template!r}; expected text with {{}} for the label")
        targets = self._label_vectors(labels, template)

        def scored(outcome: Outcome) -> list[Label]:
            vector = outcome.values[""]
            if not vector.any():
                return Results([], outcome.warnings, outcome.n_windows)
            scores = softmax(targets @ vector * np.float32(zero_shot.SCALE))
            order = np.argsort(-scores, kind="stable")
            ranked = [Label(labels[i], float(scores[i])) for i in order]
            return Results(ranked, outcome.warnings, outcome.n_windows)

        return _shaped(texts, lambda t: (scored(o) for o in self._outcomes(t, [""])))

    def _label_vectors(self, labels: Sequence[str], template: str | None) -> Vectors:
        """Where labels lie; those of the last call are known, since most calls ask for the same."""
        key = (tuple(labels), template)
        known = self._labels
        if known is None or known[0] != key:
            templates = zero_shot.TEMPLATES if template is None else (template,)
            found = zero_shot.phrased(self.embed, labels, templates)
            if template is None and self._words is not None:
                found = zero_shot.widened(found, zero_shot.unpack_words(self._words))
            self._labels = known = key, found
        return known[1]

    def _outcomes(self, texts: Iterable[str], names: Sequence[str]) -> Iterator[Outcome]:
        """Run heads (``""`` is the embedding) over texts, a chunk at a time, in order."""
        heads, passes = self._passes(names)
        special = len(self.encoder.prefix) + len(self.encoder.suffix)
        room = self.sizes.size - special
        warned = False
        for chunk in _chunks(texts, len, CHUNK_TEXTS):
            encoded = self.encoder.encode(chunk)
            plan = [windows(len(e), room, self.sizes.overlap) if len(e) else [] for e in encoded]

            def row(i: int, window: Window, encoded: list[Encoded] = encoded) -> Row:
                return self.encoder.row(encoded[i], window)

            beside = [special] * len(chunk)
            read = [*self._read(passes, chunk, encoded, plan, beside, row)]
            readings = [reading for reading, _ in read]
            found = [
                decode_all(plugged.head, [logits[name] for _, logits in read], readings)
                for name, plugged in heads.items()
            ]
            for reading, *of_text in zip(readings, *found, strict=True):
                values = dict(zip(heads, of_text, strict=True))
                notes = _notes(reading.encoded.unknown)
                if notes and not warned:
                    warned = True
                    warnings.warn(notes[0], UnknownTextWarning, stacklevel=4)
                yield Outcome(values, notes, max(len(reading.windows), 1))

    def _answers(
        self, pairs: Iterable[tuple[str, str]], name: str, options: Mapping[str, Any]
    ) -> Iterator[list[Answer]]:
        heads, passes = self._passes([name])
        head = heads[name].head
        assert isinstance(head, SpanHead)
        encoder, sizes = self.encoder, self.sizes
        special = len(encoder.prefix) + len(encoder.middle) + len(encoder.suffix)
        readable = min(encoder.max_length, 512)
        least = min(MIN_CONTEXT, readable // 2)
        longest = readable - special - least
        done = 0
        warned = False
        for chunk in _chunks(pairs, lambda p: len(p[0]) + len(p[1]), CHUNK_TEXTS // 4):
            questions = encoder.encode([q for q, _ in chunk])
            once = [*dict.fromkeys(context for _, context in chunk)]
            known = dict(zip(once, encoder.encode(once), strict=True))
            contexts = [known[context] for _, context in chunk]
            plan: list[list[Window]] = []
            for i, (question, context) in enumerate(zip(questions, contexts, strict=True)):
                if len(question) > longest:
                    raise InputError(
                        f"question {done + i} has {len(question)} tokens; expected at most "
                        f"{longest}: shorten it, or put the long text into the context"
                    )
                room = max(sizes.pair_size - special - len(question), least)
                overlap = min(sizes.pair_overlap, room // 2)
                whole = len(question) and len(context)
                plan.append(windows(len(context), room, overlap) if whole else [])

            def row(
                i: int, w: Window, q: list[Encoded] = questions, c: list[Encoded] = contexts
            ) -> Row:
                return encoder.pair_row(q[i], c[i], w)

            texts = [context for _, context in chunk]
            beside = [special + len(question) for question in questions]
            read = self._read(passes, texts, contexts, plan, beside, row)
            for question, (reading, logits) in zip(questions, read, strict=True):
                answers = [Answer(None, None, None, 1.0)]
                if reading.windows:
                    answers = head.decode(logits[name], reading, **options)
                notes = _notes(max(question.unknown, reading.encoded.unknown))
                if notes and not warned:
                    warned = True
                    warnings.warn(notes[0], UnknownTextWarning, stacklevel=4)
                yield [replace(answer, warnings=notes) for answer in answers] if notes else answers
            done += len(chunk)

    def _read(
        self,
        passes: Sequence[tuple[Engine, dict[str, PluggedHead]]],
        texts: Sequence[str],
        encoded: Sequence[Encoded],
        plan: Sequence[Sequence[Window]],
        beside: Sequence[int],
        make_row: Callable[[int, Window], Row],
    ) -> Iterator[tuple[Reading, dict[str, list[Floats]]]]:
        """Run every window of every text in batches of like length; what was read, by text.

        ``beside`` counts the tokens that stand beside each text's windows in their rows.
        """
        heads = {name: plugged for _, group in passes for name, plugged in group.items()}
        rows = [(i, window) for i, cut in enumerate(plan) for window in cut]
        logits: list[dict[str, Floats]] = [{} for _ in rows]
        offsets, n_owned = [0] * len(rows), [0] * len(rows)
        lengths = [window.last - window.first + beside[i] for i, window in rows]
        packed = all(engine.packed for engine, _ in passes)

        def take(indices: Sequence[int], made: Sequence[Row], begun: Sequence[Begun]) -> None:
            for wait in begun:
                found = wait()
                for at, (i, row) in enumerate(zip(indices, made, strict=True)):
                    offsets[i], n_owned[i] = row.offset, int(row.owned.sum())
                    for name, part in found.items():
                        per_token = heads[name].head.per_token
                        logits[i][name] = part[at, : len(row)] if per_token else part[at]

        under_way: list[tuple[Sequence[int], Sequence[Row], Sequence[Begun]]] = []
        for indices in batches(lengths, self.token_budget, packed=packed):
            made = [make_row(*rows[i]) for i in indices]
            batch = self._batch(made)
            under_way.append((indices, made, [start(e, batch, group) for e, group in passes]))
            if len(under_way) > 1:  # a GPU reads this one while the one before is taken
                take(*under_way.pop(0))
        for last in under_way:
            take(*last)
        first = 0
        for text, one, cut in zip(texts, encoded, plan, strict=True):
            part_ = slice(first, first + len(cut))
            reading = Reading(text, one, cut, offsets[part_], n_owned[part_], self.engine.width)
            yield reading, {name: [row[name] for row in logits[part_]] for name in heads}
            first += len(cut)

    def _batch(self, rows: Sequence[Row]) -> Batch:
        longest = max(len(row) for row in rows)
        length = max(longest, min(rounded(longest), self.encoder.max_length))
        return pad(rows, self.encoder.pad_id, length)

    def _passes(
        self, names: Sequence[str]
    ) -> tuple[dict[str, PluggedHead], list[tuple[Engine, dict[str, PluggedHead]]]]:
        """The heads and the backbone passes they need: one for all, and one for each adapter.

        ``""`` names the embedding. Heads added or removed later don't touch a call that runs.
        """
        with self._lock:
            heads = {name: self.head(name) if name else self.pooling for name in names}
            engines = self._engines
        groups: dict[int, tuple[Engine, dict[str, PluggedHead]]] = {}
        for name, plugged in heads.items():
            engine = engines.get(name, self.engine)
            groups.setdefault(id(engine), (engine, {}))[1][name] = plugged
        return heads, list(groups.values())


def precision_of(storage: str, arithmetic: str) -> str:
    """How a model's numbers are kept, in words: ``fp32``, ``int8``, or ``int8 weights, fp32``."""
    return arithmetic if storage in ("float32", arithmetic) else f"{storage} weights, {arithmetic}"


def arithmetic_of(precision: str | None) -> str:
    """What ``load`` takes for a model's precision in words; ``auto`` where it is not known."""
    return "auto" if precision is None else precision.rpartition(", ")[2]


# -- shapes of input and output ------------------------------------------------------------------


def _shaped(texts: Any, run: Callable[[Iterable[str]], Iterator[T]]) -> T | list[T] | Iterator[T]:
    """One text to one result, a list or tuple to a list, another iterable to an iterator."""
    if isinstance(texts, str):
        return next(run([texts]))
    if isinstance(texts, bytes | bytearray | Mapping) or not isinstance(texts, Iterable):
        raise InputTypeError.of("text", texts, "a string, a list of strings or an iterable of them")
    checked = _checked_texts(texts)
    return list(run(checked)) if isinstance(texts, Sequence) else run(checked)


def _checked_texts(texts: Iterable[Any]) -> Iterator[str]:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputTypeError.of(f"texts[{i}]", text, "a string")
        yield text


def _checked_pairs(pairs: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for i, pair in enumerate(pairs):
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise InputTypeError.of(f"pairs[{i}]", pair, "a pair (question, context)")
        question, context = pair
        if not isinstance(question, str) or not isinstance(context, str):
            wrong = context if isinstance(question, str) else question
            raise InputTypeError.of(f"pairs[{i}]", wrong, "a pair of strings (question, context)")
        yield question, context


def _chunks(items: Iterable[T], length: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Lists of up to ``most`` items or CHUNK_CHARACTERS characters (a longer one alone)."""
    chunk: list[T] = []
    size = 0
    for item in items:
        if chunk and (len(chunk) == most or size + length(item) > CHUNK_CHARACTERS):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += length(item)
    if chunk:
        yield chunk


def _results(outcome: Outcome, name: str) -> Any:
    value = outcome.values[name]
    return Results(value, outcome.warnings, outcome.n_windows) if isinstance(value, list) else value


def _notes(unknown: float) -> tuple[str, ...]:
    if unknown <= UNKNOWN_SHARE:
        return ()
    return (
        f"{unknown:.0%} of a text's characters are unknown to the model's vocabulary: "
        "its results mean little; load a backbone for its language",
    )


def _kind_of(head: type) -> str:
    return str(getattr(head, "kind", head.__name__))


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputTypeError.of(name, value, "a whole number")
    if value < 1:
        raise InputError(f"{name} is {value}; expected at least 1")
    return value


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputTypeError.of(name, value, "True or False")
    return value
