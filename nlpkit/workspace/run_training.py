"""The worker's part of a training: features, epochs, the comparison, and the pack."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from nlpkit.heads import TokenHead
from nlpkit.readers import TextExample
from nlpkit.retrain import EPOCHS, Comparison, Example, Features, Point, Value, retrain
from nlpkit.workspace.formats import token_example
from nlpkit.workspace.models import Model
from nlpkit.workspace.schema import features
from nlpkit.workspace.trainings import Scores
from nlpkit.workspace.work import State, change, row_of

if TYPE_CHECKING:
    from nlpkit.pipeline import Pipeline
    from nlpkit.store.database import Database
    from nlpkit.workspace.corrections import Correction
    from nlpkit.workspace.trainings import Training
    from nlpkit.workspace.worker import Worker

#: Texts whose features are stored together.
GROUP = 100


class _StoppedError(Exception):
    """Somebody said that the training is to stop."""


def run_training(training: Training, worker: Worker) -> None:
    """Train, compare, and write the pack; killed anywhere, the next call begins anew.

    Raises:
        NlpkitError: why it cannot be done.
    """
    model = Model.from_json(training.options["model"])
    with training.database.read() as connection:
        sha256 = row_of(connection, training.number).model_sha256
    kit = worker.pipeline(model, sha256)
    judged = training.workspace.corrections.judged(training.task, training.owner)
    cache = _Cache(training.database)
    began = time.perf_counter()
    curve: list[Point] = []

    def follow(point: Point) -> None:
        curve.append(point)
        with training.database.step() as connection:
            now = worker.holds(connection, training.number).state
            change(
                connection,
                training.number,
                n_done=point.epoch,
                n_rows=EPOCHS,
                seconds=time.perf_counter() - began,
                attempts=0,
                result={"curve": _plain(curve)},
            )
        if now != State.RUNNING:
            raise _StoppedError

    try:
        found = retrain(
            kit,
            training.task,
            _examples(kit, training.task, judged),
            seed=training.options["seed"],
            cache=cache,
            on_progress=follow,
        )
    except _StoppedError:
        return
    finally:
        cache.store()
    shutil.rmtree(training.pack, ignore_errors=True)  # what a killed worker may have left
    found.save(training.pack, kit, {"seed": training.options["seed"], "by": training.by})
    scores = Scores(
        found.before,
        found.after,
        found.n_train + found.n_stopping,
        found.n_held_out,
        found.best_epoch,
    )
    result = {
        "curve": _plain(curve),
        "scores": asdict(scores),
        "comparison": [_compared(one) for one in found.comparisons],
        "pack": str(training.pack),
    }
    with training.database.step() as connection:
        _forget_others(connection, kit.backbone_sha256)
        if worker.holds(connection, training.number).state == State.RUNNING:
            known = {"n_rows": len(curve) - 1, "result": result, "finished_at": time.time()}
            change(connection, training.number, state=State.DONE, **known)


def _examples(kit: Pipeline, task: str, judged: Sequence[Correction]) -> list[Example]:
    if kit.tasks[task] == TokenHead.kind:
        return [token_example(one) for one in judged]
    return [TextExample(one.text, _classes(one.value)) for one in judged]


def _classes(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


# -- as plain values -------------------------------------------------------------------------------


def _plain(curve: Sequence[Point]) -> list[dict[str, Any]]:
    return [asdict(point) for point in curve]


def _compared(one: Comparison) -> dict[str, Any]:
    values = {"right": one.right, "before": one.before, "after": one.after}
    return {"text": one.text, **{name: _value(value) for name, value in values.items()}}


def _value(value: Value) -> Any:
    """As a correction has it."""
    if isinstance(value, str):
        return value
    parts = ("start", "end", "label")
    return [one if isinstance(one, str) else dict(zip(parts, one, strict=True)) for one in value]


# -- features --------------------------------------------------------------------------------------


class _Cache:
    """What a backbone gave for texts, kept in the workspace; new ones are stored in groups."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.new: dict[str, Features] = {}

    def get(self, key: str, /) -> Features | None:
        model, text = key.split(":")
        there = sa.and_(features.c.model == model, features.c.text_sha256 == text)
        query = sa.select(features.c.n_rows, features.c.payload).where(there)
        with self.database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        values = np.frombuffer(row.payload, dtype=np.float16)
        return values.reshape(row.n_rows, -1) if row.n_rows else values.reshape(0, 0)

    def __setitem__(self, key: str, value: Features, /) -> None:
        self.new[key] = value
        if len(self.new) >= GROUP:
            self.store()

    def store(self) -> None:
        """Write down what is new."""
        rows = []
        for key, value in self.new.items():
            model, text = key.split(":")
            payload = np.ascontiguousarray(value).tobytes()
            row = {"n_rows": len(value), "payload": payload}
            rows.append({"model": model, "text_sha256": text, **row})
        if rows:
            with self.database.step() as connection:
                connection.execute(sa.insert(features), rows)
        self.new = {}


def _forget_others(connection: sa.Connection, backbone: str) -> None:
    """Delete what other backbones gave: nobody trains on them any more."""
    connection.execute(sa.delete(features).where(~features.c.model.startswith(backbone[:16])))
