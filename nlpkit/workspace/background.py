"""Whether a worker lives, and starting one: :mod:`nlpkit.workspace.worker` is what it does.

A worker holds a lock on a file for as long as it lives, so that there is never a second one, and
one that is killed lets go by dying.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nlpkit.errors import StoreError
from nlpkit.workspace.schema import workers

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.workspace.workspace import Workspace

LOG = "worker.log"
#: Seconds that a new worker has to show itself before another is started.
START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """Whether a worker lives, and the number of the work it is at; ``beat_at`` as time.time()."""

    alive: bool
    pid: int | None
    doing: int | None
    beat_at: float | None


def ensure_worker(workspace: Workspace) -> bool:
    """Start a worker where none lives; returns whether one was started.

    Quick, and safe to call by many at once.
    """
    with workspace.database.read() as connection:  # most often there is one
        if _is_there(connection, workspace):
            return False
    with workspace.database.step() as connection:
        if _is_there(connection, workspace):
            return False
        process = _spawn(workspace.folder)
        record_worker(connection, process.pid)
    # Somebody must hear of its end, or it stays in the system's table.
    threading.Thread(target=process.wait, daemon=True).start()
    return True


def _is_there(connection: Connection, workspace: Workspace) -> bool:
    """Whether a worker takes up work, or is about to."""
    row = connection.execute(sa.select(workers)).first()
    if row is None or row.leaving:
        return False
    is_on_its_way = time.time() - row.started_at < START_SECONDS and _lives(row.pid)
    return is_on_its_way or is_locked(workspace.folder)


def worker_status(workspace: Workspace) -> WorkerStatus:
    """Whether a worker lives, and what it is at."""
    alive = is_locked(workspace.folder)
    with workspace.database.read() as connection:
        row = connection.execute(sa.select(workers)).first()
    if row is None or not alive:
        return WorkerStatus(alive, None, None, None if row is None else row.beat_at)
    return WorkerStatus(True, row.pid, row.work, row.beat_at)


def record_worker(connection: Connection, pid: int) -> None:
    """Write down that a worker has been started."""
    now = time.time()
    values: dict[str, Any] = {"pid": pid, "started_at": now, "beat_at": now, "leaving": 0}
    connection.execute(sa.delete(workers))
    connection.execute(sa.insert(workers).values(one=1, work=None, **values))


@contextmanager
def locked(folder: Path, wait_seconds: float) -> Iterator[bool]:
    """Hold the worker's lock; False where another worker has it and does not let go in time."""
    import fcntl

    with (folder / "worker.lock").open("ab") as file:
        last = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= last:
                    yield False
                    return
                time.sleep(0.05)
            else:
                yield True
                return


def is_locked(folder: Path) -> bool:
    """Whether a worker lives."""
    with locked(folder, 0.0) as ours:
        return not ours


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    """A worker with a life of its own: it goes on when the pages are closed."""
    command = [sys.executable, "-m", "nlpkit.workspace.worker", str(folder)]
    try:
        with (folder / LOG).open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        raise StoreError(
            f"no worker could be started in {folder}: {error.strerror or error}"
        ) from None


def _lives(pid: int) -> bool:
    with suppress(ChildProcessError, AttributeError):  # another's child; Windows
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PID, pid, ended) is not None:
            return False  # ours, and killed a moment ago: the thread that waits comes to hear of it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
