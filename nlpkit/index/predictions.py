"""Predictions as rows: what heads say of every document, with the model that said it.

A row carries the model's name and hash, its parameters and nlpkit's version. A document is read
again only where its text or the model has changed since.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from nlpkit.errors import InputError
from nlpkit.heads import PoolingHead, SequenceHead, SpanHead, TokenHead
from nlpkit.index.rows import by_number
from nlpkit.store.schema import documents, predictions
from nlpkit.version import library_version

if TYPE_CHECKING:
    from nlpkit.index.index import Index
    from nlpkit.pipeline import Pipeline

PAGE = 256


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a task's head said of a document: entities or labels as plain values."""

    document_id: str
    task: str
    value: list[dict[str, Any]]
    model: str
    model_sha256: str
    parameters: dict[str, Any]
    library: str
    made_at: float


def analyze(
    index: Index,
    tasks: Sequence[str] | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Predict and keep what is missing; returns how many documents were read.

    ``tasks`` names heads that read single texts; by default all of the index's model. Safe to
    break off: each page of documents is a transaction.
    """
    pipeline = _pipeline(index)
    names = _checked(pipeline, tasks)
    hashes = {name: model_hash(pipeline, name) for name in names}
    n_read, last = 0, 0
    while True:
        with index.database.read() as connection:
            numbers = _missing(connection, hashes, last)
            page = by_number(connection, numbers)
        if not numbers:
            return n_read
        last = numbers[-1]
        results = pipeline.analyze([page[number].text for number in numbers], names)
        rows = []
        for number, result in zip(numbers, results, strict=True):
            for name in names:
                found = (
                    result.entities
                    if isinstance(pipeline.head(name).head, TokenHead)
                    else result.labels[name]
                )
                rows.append(_row(pipeline, number, name, hashes[name], [asdict(x) for x in found]))
        with index.database.step() as connection:
            current = sa.select(documents.c.number, documents.c.text_sha256)
            there = {
                number
                for number, sha256 in connection.execute(
                    current.where(documents.c.number.in_(numbers))
                )
                if sha256 == hashlib.sha256(page[number].text.encode()).digest()
            }
            connection.execute(
                sa.delete(predictions).where(
                    predictions.c.document.in_(numbers), predictions.c.task.in_(names)
                )
            )
            kept = [row for row in rows if row["document"] in there]
            if kept:
                connection.execute(sa.insert(predictions), kept)
        n_read += len(numbers)
        on_progress(n_read)


def read(index: Index, task: str | None = None) -> Iterator[Prediction]:
    """The predictions that are kept, of one task or of all, by document."""
    query = (
        sa.select(predictions, documents.c.id)
        .join(documents, documents.c.number == predictions.c.document)
        .order_by(predictions.c.document, predictions.c.task)
        .limit(PAGE)
    )
    if task is not None:
        query = query.where(predictions.c.task == task)
    last = (-1, "")
    while True:
        after = sa.tuple_(predictions.c.document, predictions.c.task) > sa.tuple_(*last)
        with index.database.read() as connection:
            rows = connection.execute(query.where(after)).all()
        if not rows:
            return
        for row in rows:
            last = (row.document, row.task)
            yield Prediction(
                row.id,
                row.task,
                row.value,
                row.model,
                row.model_sha256,
                row.parameters,
                row.library,
                row.made_at,
            )


def model_hash(pipeline: Pipeline, task: str) -> str:
    """SHA-256 over what decides a task's results: backbone, head, precision."""
    plugged = pipeline.head(task)
    seen = hashlib.sha256(pipeline.backbone_sha256.encode())
    seen.update(json.dumps([plugged.head.config(), pipeline.precision], sort_keys=True).encode())
    for name in sorted(plugged.parameters):
        seen.update(name.encode())
        seen.update(np.ascontiguousarray(plugged.parameters[name]).tobytes())
    return seen.hexdigest()


def _pipeline(index: Index) -> Pipeline:
    if index.pipeline is None:
        raise InputError(f"{index.embedder.name} has no heads; open the index with a bundle")
    return index.pipeline


def _checked(pipeline: Pipeline, tasks: Sequence[str] | None) -> list[str]:
    if tasks is None:
        skipped = (SpanHead.kind, PoolingHead.kind)
        return [name for name, kind in pipeline.tasks.items() if kind not in skipped]
    for name in tasks:
        if not isinstance(pipeline.head(name).head, TokenHead | SequenceHead):
            raise InputError(f"task {name!r} does not read single texts")
    return list(tasks)


def _missing(connection: Any, hashes: dict[str, str], last: int) -> list[int]:
    """The next documents that some task's present model has not read."""
    tests = [
        ~sa.exists().where(
            predictions.c.document == documents.c.number,
            predictions.c.task == task,
            predictions.c.model_sha256 == model,
        )
        for task, model in hashes.items()
    ]
    query = sa.select(documents.c.number).where(documents.c.number > last, sa.or_(*tests))
    return list(connection.execute(query.order_by(documents.c.number).limit(PAGE)).scalars())


def _row(
    pipeline: Pipeline, number: int, task: str, sha256: str, value: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "document": number,
        "task": task,
        "value": value,
        "model": pipeline.name,
        "model_sha256": sha256,
        "parameters": {"precision": pipeline.precision, "window": pipeline.sizes.size},
        "library": library_version(),
        "made_at": time.time(),
    }
