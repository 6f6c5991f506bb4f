"""The worker: there is one, it takes up what was left, and it stops when it is told to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tiny import assert_same
from workspaces import as_csv, reviews, some_batch, worked

from nlpkit.errors import InputError, StoreError
from nlpkit.pipeline import Pipeline
from nlpkit.workspace import (
    Batch,
    Model,
    State,
    Workspace,
    background,
    ensure_worker,
    open_workspace,
    read_batch,
    worker,
    worker_status,
)
from nlpkit.workspace.background import LOG, is_locked, locked
from nlpkit.workspace.schema import batch_entities, batch_labels, work
from nlpkit.workspace.worker import Worker, run_worker

ROWS = reviews(120)
#: A worker whose pages are small and slow enough to be killed in the middle.
SLOW = """
import sys, time
from nlpkit.pipeline import Pipeline
from nlpkit.workspace import read_batch
from nlpkit.workspace.worker import run_worker
read_batch.PAGE_ROWS, read_batch.PART_ROWS = 4, 30
analyze = Pipeline.analyze
def slowly(self, texts, tasks=None):
    time.sleep(float(sys.argv[2]))
    return analyze(self, texts, tasks)
Pipeline.analyze = slowly
sys.exit(not run_worker(sys.argv[1], idle_seconds=0))
"""


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and parts that a small table has several of."""
    monkeypatch.setattr(read_batch, "PAGE_ROWS", 8)
    monkeypatch.setattr(read_batch, "PART_ROWS", 30)


def process(workspace: Workspace, seconds: float = 0.02) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SLOW, str(workspace.folder), str(seconds)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def assert_whole(batch: Batch, kit: Pipeline) -> None:
    """Every row of ROWS once, in order, with what the pipeline says of it, in all tables alike."""
    status = batch.status()
    assert (status.state, status.done, status.total, status.errors) == (State.DONE, 120, 120, 0)
    rows = batch.rows(limit=None)
    assert [row.number for row in rows] == [*range(1, 121)]
    assert [row.text for row in rows] == [row["review"] for row in ROWS]
    for row, said in zip(rows, kit.analyze([row.text for row in rows]), strict=True):
        assert_same(row.entities, said.entities)
        assert_same(dict(row.labels), said.labels)
    with batch.database.read() as connection:
        named = connection.execute(sa.select(sa.func.count()).select_from(batch_entities))
        assert named.scalar_one() == sum(len(row.entities) for row in rows)
        best = sa.select(sa.func.count()).where(batch_labels.c.rank == 0)
        assert connection.execute(best).scalar_one() == 2 * 120


# -- killed, stopped, resumed ----------------------------------------------------------------------


def test_a_killed_batch_loses_and_doubles_nothing(
    workspace: Workspace, kit: Pipeline, until: Callable[..., None]
) -> None:
    batch = some_batch(workspace, as_csv(ROWS))
    for least in (1, 40, 80):
        running = process(workspace)
        until(lambda least=least: batch.status().done >= least)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        running.communicate()
        status = batch.status()
        assert status.state == State.RUNNING
        assert least <= status.done < 120
        assert batch.count() == status.done
    assert worked(batch).state == State.DONE
    assert_whole(batch, kit)


def test_a_batch_that_is_cancelled_stops_and_goes_on(
    workspace: Workspace, kit: Pipeline, until: Callable[..., None]
) -> None:
    batch = some_batch(workspace, as_csv(ROWS))
    running = process(workspace)
    until(lambda: batch.status().done > 0)
    batch.cancel()
    assert running.wait(60) == 0
    running.communicate()
    status = batch.status()
    assert status.state == State.CANCELLED
    assert 0 < status.done < 120
    assert worked(batch).done == status.done, "a cancelled batch was read"
    batch.resume()
    assert batch.status().state == State.QUEUED
    worked(batch)
    assert_whole(batch, kit)
    with pytest.raises(InputError, match=r"reviews\.csv is done; it cannot become cancelled"):
        batch.cancel()


def test_a_batch_that_is_paused_before_it_is_taken_up(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(ROWS[:10]))
    batch.pause()
    assert worked(batch).state == State.PAUSED
    batch.resume()
    assert worked(batch).state == State.DONE


def test_a_batch_that_is_deleted_under_the_worker(
    workspace: Workspace, until: Callable[..., None]
) -> None:
    batch = some_batch(workspace, as_csv(ROWS))
    other = some_batch(workspace, as_csv(ROWS[:10]))
    running = process(workspace)
    until(lambda: batch.status().done > 0)
    batch.delete()
    assert running.wait(60) == 0
    running.communicate()
    assert other.status().state == State.DONE
    with workspace.database.read() as connection:
        assert set(connection.execute(sa.select(batch_labels.c.batch)).scalars()) == {other.number}


def test_a_worker_whose_work_was_taken_over_commits_nothing_more(
    workspace: Workspace, kit: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was thought dead (a laptop asleep): what it has read since belongs to another."""
    batch = some_batch(workspace, as_csv(ROWS))
    analyze = Pipeline.analyze
    rival = Worker(workspace)

    def overtaken(self: Pipeline, texts: Any, tasks: Any = None) -> Any:
        monkeypatch.setattr(Pipeline, "analyze", analyze)
        rival.run()
        return analyze(self, texts, tasks)

    monkeypatch.setattr(Pipeline, "analyze", overtaken)
    Worker(workspace).run()
    assert_whole(batch, kit)


# -- models ----------------------------------------------------------------------------------------


@pytest.fixture
def own_model(workspace: Workspace, tiny_folder: Path, tmp_path: Path) -> Path:
    """A bundle of the test's own, in use."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    workspace.set_model(folder)
    return folder


def test_a_model_that_is_gone_fails_the_batch_until_it_is_back(
    workspace: Workspace, own_model: Path, kit: Pipeline
) -> None:
    batch = some_batch(workspace, as_csv(ROWS))
    away = own_model.rename(own_model.with_name("away"))
    status = worked(batch)
    assert status.state == State.FAILED
    assert "unknown bundle" in status.note
    assert str(own_model) in status.note
    away.rename(own_model)
    batch.resume()
    worked(batch)
    assert_whole(batch, kit)


def test_a_batch_goes_on_with_the_model_it_was_begun_with(
    workspace: Workspace,
    own_model: Path,
    tiny_folder: Path,
    kit: Pipeline,
    until: Callable[..., None],
) -> None:
    batch = some_batch(workspace, as_csv(ROWS))
    running = process(workspace)
    until(lambda: batch.status().done > 0)
    batch.pause()
    running.communicate()
    begun = batch.status()
    workspace.set_model("base-en")
    batch.resume()
    assert batch.status().model_sha256 == begun.model_sha256
    worked(batch)
    assert_whole(batch, kit)


def test_a_batch_that_is_not_begun_takes_the_model_of_now(
    workspace: Workspace, own_model: Path, tiny_folder: Path
) -> None:
    batch = some_batch(workspace, as_csv(ROWS[:9]))
    shutil.rmtree(own_model)
    assert worked(batch).state == State.FAILED
    workspace.set_model(tiny_folder)
    batch.resume()
    assert worked(batch).state == State.DONE


def test_a_model_that_has_changed_meanwhile_is_refused(
    workspace: Workspace, own_model: Path
) -> None:
    from nlpkit.testing import tiny_bundle

    batch = some_batch(workspace, as_csv(ROWS))
    tiny_bundle(own_model, seed=1, overwrite=True)
    status = worked(batch)
    assert (status.state, status.done) == (State.FAILED, 0)
    assert "is no longer what it was when this was begun" in status.note


def test_one_model_is_loaded_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Model] = []
    load = Model.load

    def counting(self: Model, device: str = "auto") -> Pipeline:
        loaded.append(self)
        return load(self, device)

    monkeypatch.setattr(Model, "load", counting)
    for _ in range(3):
        some_batch(workspace, as_csv(ROWS[:3]))
    Worker(workspace).run()
    assert loaded == [workspace.model()]


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_bug_fails_one_batch_and_not_the_next(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (some_batch(workspace, as_csv(ROWS[:5])) for _ in range(2))
    original = worker.KINDS["batch"]

    def buggy(self: Worker, row: Any) -> None:
        if row.number == first.number:
            raise ZeroDivisionError("division by zero")
        original(self, row)

    monkeypatch.setitem(worker.KINDS, "batch", buggy)
    Worker(workspace).run()
    assert first.status().state == State.FAILED
    assert first.status().note == "ZeroDivisionError: division by zero (worker.log has more)"
    assert second.status().state == State.DONE


def test_what_kills_every_worker_is_given_up(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(ROWS[:5]))
    behind = some_batch(workspace, as_csv(ROWS[:5]))

    class Dies(BaseException):
        pass

    def dies(_worker: Worker, _row: Any) -> None:
        raise Dies

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(worker.KINDS, "batch", dies)
        for _ in range(5):
            with pytest.raises(Dies):
                Worker(workspace).run()
    assert worked(batch).state == State.FAILED
    assert batch.status().note.startswith("given up: it was taken up 5 times and got no further")
    assert behind.status().state == State.DONE
    batch.resume()
    assert worked(batch).state == State.DONE


def test_an_upload_that_is_gone_fails_the_batch(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(ROWS[:5]))
    shutil.rmtree(workspace.folder / "uploads")
    status = worked(batch)
    assert status.state == State.FAILED
    assert status.note == "reviews.csv is no longer there; upload it again"


def test_a_database_that_refuses_is_tried_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.0)
    batch = some_batch(workspace, as_csv(ROWS[:5]))
    refusals = [StoreError("database is locked")] * 3

    def step(self: Worker) -> bool:
        if refusals:
            raise refusals.pop()
        return original(self)

    original = Worker.step
    monkeypatch.setattr(Worker, "step", step)
    assert worked(batch).state == State.DONE
    refusals += [StoreError("disk is full")] * worker.MOST_REFUSALS
    with pytest.raises(StoreError, match="disk is full"):
        Worker(workspace).run()


# -- turns -----------------------------------------------------------------------------------------


def test_owners_take_turns(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SLICE_SECONDS", 0.0)
    large = some_batch(workspace, as_csv(ROWS), owner="Ada")
    second = some_batch(workspace, as_csv(ROWS[:8]), owner="Ada")
    small = some_batch(workspace, as_csv(ROWS[:8]), owner="Grace")
    one = Worker(workspace)
    order = []
    while one.step():
        order.append((large.status().done, second.status().done, small.status().done))
    assert order[:2] == [(8, 0, 0), (8, 0, 8)]
    assert order[-2:] == [(120, 0, 8), (120, 8, 8)]
    assert large.status().state == second.status().state == State.DONE


def test_nobody_yields_to_their_own_work(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(ROWS[:30]), owner="Ada")
    some_batch(workspace, as_csv(ROWS[:8]), owner="Ada")
    one = Worker(workspace)
    assert one.step()
    assert batch.status().state == State.DONE


# -- one process -----------------------------------------------------------------------------------


def test_a_second_worker_goes_at_once(workspace: Workspace) -> None:
    with locked(workspace.folder, 0.0) as ours, pytest.MonkeyPatch.context() as patch:
        assert ours
        patch.setattr(worker, "LOCK_SECONDS", 0.1)
        assert run_worker(workspace.folder) is False
    assert run_worker(workspace.folder, idle_seconds=0) is True


@pytest.fixture
def quick_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = subprocess.Popen

    def popen(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return spawn([*command, "--idle", "0.2"], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)


@pytest.mark.usefixtures("quick_to_leave")
def test_ensure_worker_starts_one_where_none_lives(
    workspace: Workspace, kit: Pipeline, until: Callable[..., None]
) -> None:
    assert worker_status(workspace).alive is False
    batch = some_batch(workspace, as_csv(ROWS))
    assert ensure_worker(workspace) is True
    assert ensure_worker(workspace) is False
    until(lambda: batch.status().state == State.DONE)
    assert_whole(batch, kit)
    until(lambda: not is_locked(workspace.folder))
    status = worker_status(workspace)
    assert (status.alive, status.doing) == (False, None)
    assert status.beat_at is not None
    log = (workspace.folder / LOG).read_text()
    assert "batch 1, 'reviews.csv': taken up" in log
    assert "Traceback" not in log
    again = some_batch(workspace, as_csv(ROWS[:5]))
    assert ensure_worker(workspace) is True
    until(lambda: again.status().state == State.DONE)
    until(lambda: not is_locked(workspace.folder))


@pytest.mark.usefixtures("quick_to_leave")
def test_many_callers_start_one_worker(workspace: Workspace, until: Callable[..., None]) -> None:
    batch = some_batch(workspace, as_csv(ROWS[:20]))
    started: list[bool] = []

    def call() -> None:
        with open_workspace(workspace.folder) as own:
            started.append(ensure_worker(own))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == [False] * 7 + [True]
    until(lambda: worker_status(workspace).alive)
    assert worker_status(workspace).pid not in (None, os.getpid())
    until(lambda: batch.status().state == State.DONE)
    until(lambda: not is_locked(workspace.folder))


@pytest.mark.usefixtures("quick_to_leave")
def test_a_killed_worker_is_replaced(
    workspace: Workspace, kit: Pipeline, until: Callable[..., None]
) -> None:
    batch = some_batch(workspace, as_csv(ROWS))
    ensure_worker(workspace)
    until(lambda: batch.status().started_at is not None)
    pid = worker_status(workspace).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_locked(workspace.folder))
    assert ensure_worker(workspace) is True
    until(lambda: batch.status().state == State.DONE)
    assert_whole(batch, kit)
    until(lambda: not is_locked(workspace.folder))


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the system has no waitid")
def test_a_process_that_nobody_has_waited_for_lives_no_more() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert background._lives(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still listed
    assert not background._lives(process.pid)
    assert process.wait() == -signal.SIGKILL
    assert not background._lives(process.pid)


def test_a_worker_stays_where_work_comes_in_as_it_leaves(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[Batch] = []
    leaves = Worker._leaves

    def late(self: Worker) -> bool:
        if not batches:
            batches.append(some_batch(workspace, as_csv(ROWS[:5])))
        return leaves(self)

    monkeypatch.setattr(Worker, "_leaves", late)
    Worker(workspace).run()
    assert batches[0].status().state == State.DONE


def test_the_worker_is_nice_and_writes_a_log(workspace: Workspace) -> None:
    some_batch(workspace, as_csv(ROWS[:5]))
    code = (
        "import os, sys; from nlpkit.workspace.worker import main; "
        "main([sys.argv[1], '--idle', '0']); print(os.nice(0))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(workspace.folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) == os.nice(0) + worker.NICENESS or int(run.stdout) == 19
    assert "taken up" in (workspace.folder / LOG).read_text()
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(work.c.state)).scalar() == State.DONE
