"""The worker's part of an index's jobs: it runs those of :mod:`nlpkit.jobs` and keeps count."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nlpkit.index import Index, open_index
from nlpkit.jobs import Job, JobStatus, find_job, start_job
from nlpkit.jobs import State as InnerState
from nlpkit.sources import DocumentSource, FolderSource, ListedFile, ListedSource
from nlpkit.workspace.indexes import IndexJob, clear, set_facts
from nlpkit.workspace.schema import work_errors
from nlpkit.workspace.tables import Reading, SetAside, open_table
from nlpkit.workspace.uploads import find_upload
from nlpkit.workspace.work import LostError, State, change, set_aside

if TYPE_CHECKING:
    from nlpkit.workspace.worker import Worker

#: Rows that were set aside are listed up to this many; all of them are counted.
MOST_ERRORS = 1000


class _StoppedError(Exception):
    """A job is to stop here: somebody said so, or it is another owner's turn."""


def run_index(job: IndexJob, worker: Worker) -> None:
    """Do a job of an index, or a slice of it.

    Raises:
        NlpkitError: why it cannot go on; what is done stays.
    """
    entry = job.index
    with _opened(entry.path, job) as index:
        try:
            outcome = ACTIONS[job.do](job, index, worker)
        except _StoppedError:
            return
        except LostError:
            clear(entry)
            raise
        facts = _facts(index)
        with job.database.step() as connection:
            state = worker.holds(connection, job.number).state
            if state == State.RUNNING:
                now = time.time()
                change(connection, job.number, state=State.DONE, finished_at=now, **outcome)
            set_facts(connection, entry.number, facts)


def _opened(path: Path, job: IndexJob) -> Index:
    if job.index.is_there or not job.index.made_here:
        return open_index(path, create=False)
    return open_index(path, job.options["bundle"])


# -- what jobs do ----------------------------------------------------------------------------------


def _build(job: IndexJob, index: Index, worker: Worker) -> dict[str, Any]:
    if "job" in job.result:
        begun = find_job(index, job.result["job"])
        if begun.status().state == InnerState.DONE:  # killed before that was written down here
            return _run(job, begun, worker)
    return _run(job, start_job(index, _source(job), prune=job.options["prune"]), worker)


def _retry(job: IndexJob, index: Index, worker: Worker) -> dict[str, Any]:
    inner = find_job(index, job.options["job"])
    if "job" not in job.result:  # else it has begun with that, and was broken off
        inner.retry()
    elif inner.status().state == InnerState.PAUSED:
        inner.resume()
    return _run(job, inner, worker)


def _run(job: IndexJob, inner: Job, worker: Worker) -> dict[str, Any]:
    """Run a job of nlpkit's, with its progress in the workspace's row."""

    def follow(status: JobStatus) -> None:
        with job.database.step() as connection:
            state = worker.holds(connection, job.number).state
            change(connection, job.number, **_progress(status))
        if status.state == InnerState.DONE:
            return
        if state != State.RUNNING or worker.should_yield(job.owner):
            if state == State.CANCELLED:
                inner.cancel()
            elif state == State.PAUSED:
                inner.pause()
            raise _StoppedError

    end = inner.run(follow)
    bad = [SetAside(error.place, error.reason) for error in inner.errors(MOST_ERRORS)]
    with job.database.step() as connection:
        worker.holds(connection, job.number)
        connection.execute(sa.delete(work_errors).where(work_errors.c.work == job.number))
        set_aside(connection, job.number, bad)
    return {**_progress(end), "note": end.note}


def _progress(status: JobStatus) -> dict[str, Any]:
    counts = ("added", "updated", "unchanged", "deleted")
    return {
        "n_rows": status.total,
        "n_done": status.done,
        "n_errors": status.errors,
        "seconds": status.done / status.rows_per_second if status.rows_per_second else 0.0,
        "attempts": 0,
        "result": {"job": status.number, **{name: getattr(status, name) for name in counts}},
    }


def _compact(job: IndexJob, index: Index, worker: Worker) -> dict[str, Any]:
    index.compact()
    return {}


def _verify(job: IndexJob, index: Index, worker: Worker) -> dict[str, Any]:
    return _problems([str(problem) for problem in index.verify()])


def _repair(job: IndexJob, index: Index, worker: Worker) -> dict[str, Any]:
    return _problems([str(problem) for problem in index.repair()])


def _look(job: IndexJob, index: Index, worker: Worker) -> dict[str, Any]:
    return {}


def _problems(found: list[str]) -> dict[str, Any]:
    return {"result": {"problems": found[:MOST_ERRORS]}, "n_errors": len(found)}


#: What is done for each word that a job may have.
ACTIONS: Mapping[str, Callable[[IndexJob, Index, Worker], dict[str, Any]]] = {
    "build": _build,
    "retry": _retry,
    "compact": _compact,
    "verify": _verify,
    "repair": _repair,
    "look": _look,
}


# -- sources and facts -----------------------------------------------------------------------------


def _source(job: IndexJob) -> DocumentSource:
    options = job.options
    if "folder" in options:
        return FolderSource(Path(options["folder"]))
    files: dict[str, ListedFile] = {}
    for one in options["files"]:
        upload = find_upload(job.workspace, one["upload"], job.owner)
        name, n = upload.name, 1
        while name in files:  # two files of one name are two files
            n += 1
            stem, dot, suffix = upload.name.partition(".")
            name = f"{stem} ({n}){dot}{suffix}"
        files[name] = ListedFile(str(upload.path), name)
        if upload.is_table:
            reading = Reading(**one["reading"])
            path = str(open_table(upload, reading).path)
            files[name] = ListedFile(path, name, one["text_column"], reading.delimiter)
    return ListedSource(tuple(files.values()), options["id_column"])


def _facts(index: Index) -> dict[str, Any]:
    status = index.status()
    recalls = [segment["recall_at_10"] for segment in status["segments"]]
    measured = [recall for recall in recalls if recall is not None]
    names = ("documents", "chunks", "model", "model_sha256", "kind", "needs_compaction")
    return {
        **{name: status[name] for name in names},
        "bytes": status["vector_bytes"] + (status["database_bytes"] or 0),
        "recall_at_10": min(measured, default=None),
    }
