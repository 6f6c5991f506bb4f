"""Corrections: what people say a text should have got, kept with who said it and when.

Nothing is overwritten: of what a person has said of a text the latest counts. The value of a
classification task is a class (of a multi-label one a list of classes), that of a task that finds
entities a list of spans ``{"start", "end", "label"}``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import sqlalchemy as sa

from nlpkit.errors import InputError, UnknownNameError
from nlpkit.heads import SequenceHead, TokenHead
from nlpkit.sources.base import UnusableError, check_characters
from nlpkit.types import Entity
from nlpkit.workspace.export import opened
from nlpkit.workspace.formats import FORMATS
from nlpkit.workspace.models import Model
from nlpkit.workspace.schema import corrections

if TYPE_CHECKING:
    from nlpkit.workspace.workspace import Workspace

#: A class, several classes, or spans.
Value = str | list[str] | list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Correction:
    """What somebody said of a text, beside what the model had said; ``at`` as time.time().

    ``source`` is where the text comes from, for example ``{"batch": 3, "row": 17}``.
    """

    number: int
    owner: str
    by: str
    at: float
    text: str
    task: str
    value: Value
    model_value: Value | None
    model: str
    model_sha256: str
    source: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people agree on the texts that two of them have judged.

    ``measure`` is ``kappa`` (Cohen's, for classes) or ``f1`` (of the spans of the one against
    those of the other, for entities); ``value`` its mean over the ``pairs``, which are (person,
    person, texts, value). None where it is not defined: nobody shares a text, or both have said
    one and the same class of all. ``texts`` counts those that two or more have judged.
    """

    measure: str
    value: float | None
    texts: int
    pairs: tuple[tuple[str, str, int, float | None], ...]


class Corrections:
    """The corrections of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.database = workspace.database

    def add(
        self,
        text: str,
        task: str,
        value: str | Sequence[str | Entity | Mapping[str, Any]],
        *,
        by: str,
        owner: str = "",
        model_value: str | Sequence[str | Entity | Mapping[str, Any]] | None = None,
        model: Model | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Correction:
        """Keep what a person says of a text.

        Args:
            value: the right value; entities may be given as :class:`nlpkit.Entity`.
            by: the person.
            model_value: what the model had said.
            model: the model that said it, by default the workspace's.
            source: where the text comes from, as plain values.

        Raises:
            UnknownNameError: the model has no such task, or no such class.
            InputError: a value that the task cannot have, or a text that cannot be kept.
        """
        model = model or self.workspace.model()
        _check_text(text)
        row = {
            "owner": owner,
            "by": by.strip() or "somebody",
            "made_at": time.time(),
            "text": text,
            "text_sha256": text_hash(text),
            "task": task,
            "value": checked_value(model, task, text, value),
            "model_value": None
            if model_value is None
            else checked_value(model, task, text, model_value),
            "model": model.name,
            "model_sha256": model.identity,
            "source": dict(source or {}),
        }
        with self.database.step() as connection:
            insert = sa.insert(corrections).values(**row).returning(corrections.c.number)
            number = connection.execute(insert).scalar_one()
        (found,) = self._read(sa.select(corrections).where(corrections.c.number == number))
        return found

    def list(
        self,
        task: str | None = None,
        owner: str = "",
        offset: int = 0,
        limit: int | None = None,
    ) -> Sequence[Correction]:
        """Every correction that was ever made, newest first."""
        query = sa.select(corrections).where(corrections.c.owner == owner)
        if task is not None:
            query = query.where(corrections.c.task == task)
        return self._read(query.order_by(corrections.c.number.desc()).offset(offset).limit(limit))

    def count(self, task: str | None = None, owner: str = "") -> int:
        """How many corrections were ever made."""
        query = sa.select(sa.func.count()).where(corrections.c.owner == owner)
        if task is not None:
            query = query.where(corrections.c.task == task)
        with self.database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def texts(self, task: str, owner: str = "") -> int:
        """How many different texts have been corrected."""
        query = sa.select(sa.func.count(sa.distinct(corrections.c.text_sha256)))
        query = query.where(corrections.c.owner == owner, corrections.c.task == task)
        with self.database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def latest(self, task: str, owner: str = "") -> Sequence[Correction]:
        """What counts: of each text and person the latest, in the order they were made."""
        newest = (
            sa.select(sa.func.max(corrections.c.number))
            .where(corrections.c.owner == owner, corrections.c.task == task)
            .group_by(corrections.c.text_sha256, corrections.c.by)
        )
        query = sa.select(corrections).where(corrections.c.number.in_(newest))
        return self._read(query.order_by(corrections.c.number))

    def judged(self, task: str, owner: str = "") -> Sequence[Correction]:
        """One correction for each text: of what several people say of it, the latest."""
        return [*{one.text: one for one in self.latest(task, owner)}.values()]

    def remove(self, number: int, owner: str = "") -> None:
        """Take a correction back; what the person had said before counts again.

        Raises:
            UnknownNameError: there is none of that number.
        """
        mine = sa.and_(corrections.c.number == number, corrections.c.owner == owner)
        with self.database.step() as connection:
            if not connection.execute(sa.delete(corrections).where(mine)).rowcount:
                raise UnknownNameError.of("correction", number, (), "It may have been taken back.")

    def agreement(self, task: str, owner: str = "") -> Agreement:
        """How far people agree on this task."""
        said: dict[str, dict[str, Value]] = defaultdict(dict)
        for one in self.latest(task, owner):
            said[one.by][one.text] = one.value
        spans = self._finds_entities(task)
        pairs = []
        shared: set[str] = set()
        for first, second in combinations(sorted(said), 2):
            both = sorted(said[first].keys() & said[second].keys())
            if both:
                judged = [(said[first][text], said[second][text]) for text in both]
                pairs.append((first, second, len(both), _f1(judged) if spans else _kappa(judged)))
                shared.update(both)
        defined = [value for *_, value in pairs if value is not None]
        mean = sum(defined) / len(defined) if defined else None
        return Agreement("f1" if spans else "kappa", mean, len(shared), tuple(pairs))

    def export(self, format: str, file: str | Path | BinaryIO, task: str, owner: str = "") -> int:
        """Write what counts to a file, a text once; returns how many texts were written.

        ``jsonl`` has a line for each text, ``conll`` (entities only) a word and its IOB2 tag a
        line and an empty line after each text, ``docbin`` spaCy's binary format: entities as
        ``doc.ents``, classes as ``doc.cats``.

        Raises:
            UnknownNameError: a format that is none of these.
            InputError: there is nothing to write, or the format cannot hold it.
            MissingExtraError: spaCy is not installed.
        """
        if format not in FORMATS:
            raise UnknownNameError.of("format", format, FORMATS)
        judged = self.judged(task, owner)
        if not judged:
            raise InputError(f"nobody has corrected a text for {task!r} yet")
        entities = self._finds_entities(task)
        data = FORMATS[format](judged, self.workspace.model(), entities=entities)
        with opened(file) as written:
            written.write(data)
        return len(judged)

    def _finds_entities(self, task: str) -> bool:
        kinds = self.workspace.model().tasks
        if task not in kinds:
            raise UnknownNameError.of("task", task, kinds)
        return kinds[task] == TokenHead.kind

    def _read(self, query: Any) -> Sequence[Correction]:
        with self.database.read() as connection:
            return [_correction(row) for row in connection.execute(query)]


def text_hash(text: str) -> str:
    """The SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def checked_value(model: Model, task: str, text: str, value: Any) -> Value:
    """A value as it is kept.

    Raises:
        UnknownNameError: the model has no such task, or the task no such class.
        InputError: something else that the task cannot have for this text.
    """
    heads = model.heads
    readable = [n for n, h in heads.items() if h["kind"] in (SequenceHead.kind, TokenHead.kind)]
    if task not in readable:
        raise UnknownNameError.of("task", task, readable)
    config = heads[task]["config"]
    if heads[task]["kind"] == TokenHead.kind:
        return _spans(text, value, {label[2:] for label in config["labels"] if label != "O"})
    several = config["multi_label"]
    if isinstance(value, str) == several:
        expected = "a list of classes" if several else "a class"
        raise InputError(f"the value for {task!r} is {value!r:.80}; expected {expected}")
    given = list(value) if several else [value]
    for name in given:
        if name not in config["labels"]:
            raise UnknownNameError.of(f"class of {task!r}", name, config["labels"])
    return sorted(set(given)) if several else str(value)


def _spans(text: str, value: Any, labels: Iterable[str]) -> list[dict[str, Any]]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InputError(f"the entities are {value!r:.80}; expected a list of spans")
    spans = []
    for one in value:
        span = one if isinstance(one, Mapping) else _plain(one)
        if not {"start", "end", "label"} <= span.keys():
            raise InputError(f"an entity is {one!r:.80}; expected start, end and label")
        if span["label"] not in labels:
            raise UnknownNameError.of("label", span["label"], labels)
        spans.append({name: span[name] for name in ("start", "end", "label")})
    spans.sort(key=lambda span: (span["start"], span["end"]))
    last = 0
    for span in spans:
        if not last <= span["start"] < span["end"] <= len(text):
            raise InputError(
                f"an entity from {span['start']} to {span['end']}; expected some within 0 and "
                f"{len(text)} that do not overlap"
            )
        last = span["end"]
    return spans


def _plain(entity: Any) -> dict[str, Any]:
    if not isinstance(entity, Entity):
        raise InputError(f"an entity is {entity!r:.80}; expected start, end and label")
    return {"start": entity.start, "end": entity.end, "label": entity.label}


def _check_text(text: str) -> None:
    try:
        check_characters("the text", text)
    except UnusableError as error:
        raise InputError(str(error)) from None
    if not text.strip():
        raise InputError("the text is empty; expected something to judge")


def _correction(row: Any) -> Correction:
    return Correction(
        row.number,
        row.owner,
        row.by,
        row.made_at,
        row.text,
        row.task,
        row.value,
        row.model_value,
        row.model,
        row.model_sha256,
        row.source,
    )


# -- agreement -------------------------------------------------------------------------------------


def _kappa(judged: Sequence[tuple[Value, Value]]) -> float | None:
    """Cohen's kappa (1960): agreement beyond chance; None where chance explains all."""
    first = [json.dumps(one) for one, _ in judged]
    second = [json.dumps(other) for _, other in judged]
    n = len(judged)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    counts, others = Counter(first), Counter(second)
    expected = sum(counts[label] * others[label] for label in counts) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def _f1(judged: Sequence[tuple[Value, Value]]) -> float | None:
    """F1 of the one's spans against the other's, the same either way; None without any span."""
    first, second = (
        {(i, *sorted(span.items())) for i, value in enumerate(values) for span in value}
        for values in zip(*judged, strict=True)
    )
    both = len(first) + len(second)
    return 2 * len(first & second) / both if both else None
