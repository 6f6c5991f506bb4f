"""Work that goes on in the background: a row that says what is asked for and how far it is.

Batches, jobs of indexes and trainings are all rows of the table ``work``. Pages write a wish into
the row's state (cancel it, say), the worker reads it after each page of work; every step of
progress and what came of it are one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from nlpkit.errors import InputError, StoreError, UnknownNameError
from nlpkit.workspace.schema import work, work_errors, work_parts
from nlpkit.workspace.tables import SetAside

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.workspace.workspace import Workspace


class State(StrEnum):
    """The states of work."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DONE = "done"


#: What the worker takes up or is at.
OPEN = (State.QUEUED, State.RUNNING)
#: Work that has been taken up so often without getting any further is given up.
MOST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Status:
    """Work as its row says it. ``total`` is None until the source has been gone through once.

    ``ahead`` counts the pieces of work that come before it, of all owners; ``note`` says why it
    failed, or what else there is to know. Times are seconds since 1970.
    """

    number: int
    kind: str
    name: str
    owner: str
    state: State
    done: int
    total: int | None
    errors: int
    rows_per_second: float | None
    seconds_left: float | None
    ahead: int
    note: str
    model: str
    model_sha256: str
    created_at: float
    started_at: float | None
    finished_at: float | None


class LostError(StoreError):
    """Work that has been deleted, or that another worker has taken over."""


class Work:
    """A handle on a piece of work; any process may hold one."""

    kind: ClassVar[str]

    def __init__(self, workspace: Workspace, number: int, owner: str = "") -> None:
        self.workspace = workspace
        self.database = workspace.database
        self.number = number
        self.owner = owner
        row = self._row()
        self.name: str = row.name
        self.options: dict[str, Any] = row.options

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.number}, {self.name!r})"

    def status(self) -> Status:
        """The row, with rate and time left."""
        with self.database.read() as connection:
            row = row_of(connection, self.number)
            before = sa.select(sa.func.count()).where(
                work.c.state.in_(OPEN), work.c.number < self.number
            )
            ahead = connection.execute(before).scalar_one() if row.state == State.QUEUED else 0
        rate = row.n_done / row.seconds if row.n_done and row.seconds else None
        left = (row.n_rows - row.n_done) / rate if rate and row.n_rows is not None else None
        return Status(
            row.number,
            row.kind,
            row.name,
            row.owner,
            State(row.state),
            row.n_done,
            row.n_rows,
            row.n_errors,
            rate,
            left if row.state in OPEN else None,
            ahead,
            row.note,
            row.model,
            row.model_sha256,
            row.created_at,
            row.started_at,
            row.finished_at,
        )

    def pause(self) -> None:
        """Stop after the page it is at; :meth:`resume` lets it go on."""
        self._become(State.PAUSED, (*OPEN, State.PAUSED))

    def cancel(self) -> None:
        """Stop after the page it is at; what is done stays."""
        self._become(State.CANCELLED, (*OPEN, State.PAUSED, State.FAILED, State.CANCELLED))

    def resume(self) -> None:
        """Put it back in line, where it goes on from what is done."""
        self._become(
            State.QUEUED, (*OPEN, State.PAUSED, State.FAILED, State.CANCELLED), note="", attempts=0
        )

    def errors(self, offset: int = 0, limit: int | None = None) -> list[SetAside]:
        """The rows that were set aside, in their order."""
        query = (
            sa.select(work_errors.c.place, work_errors.c.reason)
            .where(work_errors.c.work == self.number)
            .order_by(work_errors.c.number)
            .offset(offset)
        )
        with self.database.read() as connection:
            return [SetAside(*row) for row in connection.execute(query.limit(limit))]

    def delete(self) -> None:
        """Forget it and what came of it; a worker that is at it stops."""
        with self.database.step() as connection:
            row_of(connection, self.number)
            self._forget(connection)
            for table in (work_parts, work_errors):
                connection.execute(sa.delete(table).where(table.c.work == self.number))
            connection.execute(sa.delete(work).where(work.c.number == self.number))

    @property
    def result(self) -> dict[str, Any]:
        """What is known of the outcome so far."""
        found: dict[str, Any] = self._row().result
        return found

    def _forget(self, connection: Connection) -> None:
        """Delete what hangs on it beside the row itself."""

    def _row(self) -> Any:
        with self.database.read() as connection:
            row = row_of(connection, self.number)
            if row.owner != self.owner or row.kind != self.kind:
                raise UnknownNameError.of(self.kind, self.number, _numbers(connection, self))
        return row

    def _become(self, new: State, allowed: Sequence[State], **values: Any) -> None:
        with self.database.step() as connection:
            now = State(row_of(connection, self.number).state)
            if now not in allowed:
                raise InputError(f"{self.name} is {now}; it cannot become {new}")
            if now == State.RUNNING and new == State.QUEUED:
                return
            change(connection, self.number, state=new, **values)


def add_work(
    connection: Connection,
    kind: str,
    name: str,
    owner: str,
    options: Mapping[str, Any],
    **more: Any,
) -> int:
    """Queue a piece of work; its number."""
    now = time.time()
    values: dict[str, Any] = {
        "kind": kind,
        "owner": owner,
        "name": name,
        "state": State.QUEUED,
        "options": dict(options),
        "result": {},
        "n_rows": None,
        "n_done": 0,
        "n_errors": 0,
        "seconds": 0.0,
        "note": "",
        "worker": "",
        "attempts": 0,
        "model": "",
        "model_sha256": "",
        "created_at": now,
        "updated_at": now,
    }
    insert = sa.insert(work).values(values | more).returning(work.c.number)
    number: int = connection.execute(insert).scalar_one()
    return number


def list_work(workspace: Workspace, kind: str, owner: str) -> list[int]:
    """The numbers of an owner's work of a kind, newest first."""
    mine = sa.and_(work.c.kind == kind, work.c.owner == owner)
    with workspace.database.read() as connection:
        query = sa.select(work.c.number).where(mine).order_by(work.c.number.desc())
        return list(connection.execute(query).scalars())


def row_of(connection: Connection, number: int) -> Any:
    """The row of a piece of work.

    Raises:
        UnknownNameError: there is none; it may have been deleted.
    """
    row = connection.execute(sa.select(work).where(work.c.number == number)).first()
    if row is None:
        raise UnknownNameError.of("job", number, (), "It may have been deleted.")
    return row


def change(connection: Connection, number: int, **values: Any) -> None:
    """Set some of a row's values."""
    connection.execute(
        sa.update(work).where(work.c.number == number).values(updated_at=time.time(), **values)
    )


def set_aside(connection: Connection, number: int, bad: Iterable[SetAside]) -> None:
    """Keep the rows that could not be used."""
    rows = [{"work": number, "place": one.place, "reason": one.reason} for one in bad]
    if rows:
        connection.execute(sa.insert(work_errors), rows)


def _numbers(connection: Connection, one: Work) -> Iterable[str]:
    mine = sa.and_(work.c.kind == one.kind, work.c.owner == one.owner)
    return map(str, connection.execute(sa.select(work.c.number).where(mine)).scalars())
