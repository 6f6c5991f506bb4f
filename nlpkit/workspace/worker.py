"""The worker: one process beside the pages that does the workspace's work, a piece at a time.

``python -m nlpkit.workspace.worker FOLDER`` runs one, at low priority, until there has been
nothing to do for a while. Killed at any point, it leaves its work as it was after the last page;
the next worker takes it up there.
"""

from __future__ import annotations

import argparse
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nlpkit.errors import BundleError, NlpkitError, StoreError
from nlpkit.workspace.background import LOG, locked, record_worker
from nlpkit.workspace.batches import Batch
from nlpkit.workspace.indexes import IndexJob
from nlpkit.workspace.models import Model
from nlpkit.workspace.read_batch import read_batch
from nlpkit.workspace.run_index import run_index
from nlpkit.workspace.run_training import run_training
from nlpkit.workspace.schema import work, workers
from nlpkit.workspace.trainings import Training
from nlpkit.workspace.work import MOST_ATTEMPTS, OPEN, LostError, State, change
from nlpkit.workspace.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.pipeline import Pipeline

log = logging.getLogger("nlpkit.workspace")

#: Seconds without work after which a worker goes.
IDLE_SECONDS = 120.0
#: Seconds between two looks for work, and two beats of the heart.
LOOK_SECONDS = 0.5
BEAT_SECONDS = 5.0
#: Seconds that a piece of work may have for itself while another owner waits.
SLICE_SECONDS = 20.0
#: Seconds that a new worker waits for one that is leaving.
LOCK_SECONDS = 5.0
#: How far the worker stands back behind the pages, in the system's measure.
NICENESS = 10
LOG_BYTES = 1_000_000
#: Looks for work in a row that the database refuses (a full disk, say) before the worker goes.
MOST_REFUSALS = 10


def run_worker(folder: str | Path, idle_seconds: float = IDLE_SECONDS) -> bool:
    """Work in this process until there is no more; False where another worker lives."""
    with (
        open_workspace(folder) as workspace,
        locked(workspace.folder, LOCK_SECONDS) as ours,
    ):
        if ours:
            with workspace.database.step() as connection:
                record_worker(connection, os.getpid())
            with _heart(workspace):
                Worker(workspace).run(idle_seconds)
        return ours


class Worker:
    """Does the work of a workspace. There must not be two: :func:`run_worker` sees to that."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.database = workspace.database
        self.name = f"{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._loaded: tuple[str, Pipeline] | None = None
        self._served: dict[str, float] = {}  # when each owner's work was last taken up
        self._began = 0.0

    def run(self, idle_seconds: float = 0.0) -> None:
        """Work until there has been nothing to do for so long.

        Raises:
            StoreError: the database cannot be written for a while.
        """
        last, refusals = time.monotonic(), 0
        while True:
            try:
                if self.step():
                    last, refusals = time.monotonic(), 0
                elif time.monotonic() - last < idle_seconds:
                    time.sleep(LOOK_SECONDS)
                elif self._leaves():
                    return
            except StoreError as error:
                refusals += 1
                if refusals == MOST_REFUSALS:
                    raise
                log.warning("%s", error)
                time.sleep(LOOK_SECONDS * refusals)

    def step(self) -> bool:
        """Do a piece of work, or a slice of it; False where there is none."""
        row = self._take()
        if row is None:
            return False
        self._began = self._served[row.owner] = time.monotonic()
        log.info("%s %s, %r: taken up", row.kind, row.number, row.name)
        try:
            KINDS[row.kind](self, row)
        except LostError as error:
            log.info("%s %s: %s", row.kind, row.number, error)
        except NlpkitError as error:
            log.warning("%s %s: %s", row.kind, row.number, error)
            self._fail(row.number, str(error))
        except Exception as error:
            log.exception("%s %s", row.kind, row.number)
            self._fail(row.number, f"{type(error).__name__}: {error} ({LOG} has more)")
        self._put_back(row.number)
        return True

    # -- for those who do the work ----------------------------------------------------------------

    def holds(self, connection: Connection, number: int) -> Any:
        """The row of work that this worker is at, whatever its state has become.

        Raises:
            LostError: it has been deleted, or another worker has it.
        """
        row = connection.execute(sa.select(work).where(work.c.number == number)).first()
        if row is None or row.worker != self.name:
            raise LostError("it was deleted" if row is None else "another worker has it now")
        return row

    def should_yield(self, owner: str) -> bool:
        """Whether a piece of work has had its turn, and another owner waits for theirs."""
        if time.monotonic() - self._began < SLICE_SECONDS:
            return False
        others = sa.and_(work.c.state.in_(OPEN), work.c.owner != owner)
        with self.database.read() as connection:
            return connection.execute(sa.select(work.c.number).where(others)).first() is not None

    def pipeline(self, model: Model, sha256: str) -> Pipeline:
        """The pipeline of a model, which must have that identity; one is kept in memory.

        Raises:
            BundleError, UnknownNameError: the model is gone, broken, or no longer what it was.
        """
        if model.identity != sha256:
            raise BundleError(
                f"the model {model.bundle} is no longer what it was when this was begun; "
                "start anew to use it as it is now"
            )
        if self._loaded is None or self._loaded[0] != sha256:
            self._loaded = None  # there is room for one
            self._loaded = (sha256, model.load())
        return self._loaded[1]

    # -- inside -----------------------------------------------------------------------------------

    def _take(self) -> Any:
        """The oldest work of the owner who has waited longest, marked as this worker's."""
        with self.database.step() as connection:
            query = sa.select(work).where(work.c.state.in_(OPEN)).order_by(work.c.number)
            rows = connection.execute(query).all()
            for row in sorted(rows, key=lambda row: self._served.get(row.owner, 0.0)):
                if row.attempts < MOST_ATTEMPTS:
                    change(
                        connection,
                        row.number,
                        state=State.RUNNING,
                        worker=self.name,
                        attempts=row.attempts + 1,
                        started_at=row.started_at or time.time(),
                    )
                    connection.execute(sa.update(workers).values(work=row.number))
                    return row
                note = (
                    f"given up: it was taken up {row.attempts} times and got no further; "
                    f"{LOG} may say why"
                )
                change(connection, row.number, state=State.FAILED, note=note)
        return None

    def _put_back(self, number: int) -> None:
        """What is not done is back in line."""
        with self.database.step() as connection:
            unfinished = sa.and_(
                work.c.number == number,
                work.c.worker == self.name,
                work.c.state == State.RUNNING,
            )
            connection.execute(sa.update(work).where(unfinished).values(state=State.QUEUED))
            connection.execute(sa.update(workers).values(work=None))

    def _fail(self, number: int, note: str) -> None:
        with self.database.step() as connection, suppress(LostError):
            if self.holds(connection, number).state in OPEN:
                now = time.time()
                change(connection, number, state=State.FAILED, note=note, finished_at=now)

    def _leaves(self) -> bool:
        """Say that nothing more is taken up; False where something has come in meanwhile."""
        with self.database.step() as connection:
            if connection.execute(sa.select(work.c.number).where(work.c.state.in_(OPEN))).first():
                return False
            connection.execute(sa.update(workers).values(leaving=1))
        return True


def _batch(worker: Worker, row: Any) -> None:
    read_batch(Batch(worker.workspace, row.number, row.owner), worker)


def _index(worker: Worker, row: Any) -> None:
    run_index(IndexJob(worker.workspace, row.number, row.owner), worker)


def _training(worker: Worker, row: Any) -> None:
    run_training(Training(worker.workspace, row.number, row.owner), worker)


#: What is done for each kind of work.
KINDS: dict[str, Callable[[Worker, Any], None]] = {
    Batch.kind: _batch,
    IndexJob.kind: _index,
    Training.kind: _training,
}


@contextmanager
def _heart(workspace: Workspace) -> Iterator[None]:
    """Show, from a thread, that the worker lives."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            with suppress(StoreError), workspace.database.step() as connection:
                connection.execute(sa.update(workers).values(beat_at=time.time()))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main(arguments: Sequence[str] | None = None) -> None:
    """The process: ``python -m nlpkit.workspace.worker FOLDER [--idle SECONDS]``."""
    parser = argparse.ArgumentParser(description="Work on what a workspace has in line.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS, metavar="SECONDS")
    given = parser.parse_args(arguments)
    os.nice(NICENESS)
    handler = RotatingFileHandler(given.folder / LOG, maxBytes=LOG_BYTES, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        run_worker(given.folder, given.idle)
    except Exception:
        log.exception("the worker broke off")
        raise


if __name__ == "__main__":
    main()
