"""Trainings: a head taught what people have corrected, compared with the old one, taken or left.

What an accepted training has made is a task pack in ``packs/``, and part of the model that the
workspace reads with.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from nlpkit.bundle import read_pack_manifest
from nlpkit.errors import InputError, UnknownNameError
from nlpkit.heads import SequenceHead, TokenHead
from nlpkit.retrain import MIN_TEXTS, Comparison, Point
from nlpkit.workspace.models import Model, fits, model_in_use
from nlpkit.workspace.schema import state, work
from nlpkit.workspace.work import State, Work, add_work, change, row_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.workspace.workspace import Workspace

ACCEPTED, DISCARDED = "accepted", "discarded"


@dataclass(frozen=True, slots=True)
class Scores:
    """The old head's scores and the new one's on held-out texts, the main one first.

    Of classes accuracy and macro F1; of entities, and of tasks that give several classes, F1,
    precision and recall. ``best_epoch`` is 0 where no epoch was better than the old head.
    """

    before: dict[str, float]
    after: dict[str, float]
    n_train: int
    n_held_out: int
    best_epoch: int


class Training(Work):
    """A training of a task's head; its status counts epochs."""

    kind: ClassVar[str] = "training"

    @property
    def task(self) -> str:
        """The task whose head is trained."""
        return str(self.options["task"])

    @property
    def by(self) -> str:
        """Who has started it."""
        return str(self.options["by"])

    @property
    def pack(self) -> Path:
        """The folder of the pack that it makes."""
        return self.workspace.folder / "packs" / f"{self.task}-{self.number}"

    @property
    def decision(self) -> str:
        """``accepted``, ``discarded``, or nothing yet."""
        return str(self.result.get("decision", ""))

    def curve(self) -> list[Point]:
        """The epochs so far."""
        return [Point(**point) for point in self.result.get("curve", ())]

    def scores(self) -> Scores | None:
        """The scores once it is done."""
        found = self.result.get("scores")
        return None if found is None else Scores(**found)

    def comparison(self) -> list[Comparison]:
        """The held-out texts with what is right and what both heads say, once it is done.

        Values are as in a :class:`nlpkit.workspace.Correction`.
        """
        return [Comparison(**one) for one in self.result.get("comparison", ())]

    def accept(self, by: str = "") -> None:
        """Let the workspace read with the new head from now on.

        Raises:
            InputError: it is not done, was decided on before, or made for another backbone.
        """
        with self.database.write() as connection:
            row = self._undecided(connection)
            model = model_in_use(connection)
            if not fits(model, self.pack):
                raise InputError(
                    f"the {self.name} was made for {row.model}, the model in use is {model.name}: "
                    "switch back, or train again"
                )
            others = [pack for pack in model.packs if not _is_of(pack, self.task)]
            model = Model(model.bundle, (*others, self.pack))
            connection.execute(sa.update(state).values(model=model.to_json()))
            self._decide(connection, row, ACCEPTED, by)

    def discard(self, by: str = "") -> None:
        """Throw the new head away; the corrections stay.

        Raises:
            InputError: it is not done, or was decided on before.
        """
        with self.database.step() as connection:
            self._decide(connection, self._undecided(connection), DISCARDED, by)
        shutil.rmtree(self.pack, ignore_errors=True)

    def _undecided(self, connection: Connection) -> Any:
        row = row_of(connection, self.number)
        now = row.result.get("decision") or row.state
        if now != State.DONE:
            raise InputError(f"the {self.name} is {now}; expected one that is done, to decide on")
        return row

    def _decide(self, connection: Connection, row: Any, decision: str, by: str) -> None:
        decided = {"decision": decision, "decided_by": by, "decided_at": time.time()}
        change(connection, self.number, result=row.result | decided)

    def _forget(self, connection: Connection) -> None:
        if self.pack not in model_in_use(connection).packs:
            shutil.rmtree(self.pack, ignore_errors=True)


def start_training(workspace: Workspace, task: str, owner: str, by: str, seed: int) -> Training:
    """Queue a training on what an owner has corrected, from the head that the model has now."""
    model = workspace.model()
    kinds = model.tasks
    able = [name for name, kind in kinds.items() if kind in (SequenceHead.kind, TokenHead.kind)]
    if task not in able:
        raise UnknownNameError.of("task", task, able)
    n = workspace.corrections.texts(task, owner)
    if n < MIN_TEXTS:
        raise InputError(
            f"{n} texts are corrected for {task!r}; expected at least {MIN_TEXTS}: correct "
            f"{MIN_TEXTS - n} more"
        )
    options = {"task": task, "by": by, "seed": seed, "model": model.to_json(), "uploads": []}
    facts = {"model": model.name, "model_sha256": model.identity}
    with workspace.database.step() as connection:
        name = f"training of {task}"
        number = add_work(connection, Training.kind, name, owner, options, **facts)
    return Training(workspace, number, owner)


def accepted_packs(workspace: Workspace, model: Model) -> tuple[Path, ...]:
    """The packs of accepted trainings that fit a model's backbone, of each task the latest."""
    query = sa.select(work.c.options, work.c.result).where(work.c.kind == Training.kind)
    latest: dict[str, Path] = {}
    with workspace.database.read() as connection:
        for options, result in connection.execute(query.order_by(work.c.number)):
            if result.get("decision") == ACCEPTED and fits(model, Path(result["pack"])):
                latest[options["task"]] = Path(result["pack"])
    return tuple(latest.values())


def _is_of(pack: Path, task: str) -> bool:
    """Whether a pack holds nothing but the head of a task."""
    return list(read_pack_manifest(pack).heads) == [task]
