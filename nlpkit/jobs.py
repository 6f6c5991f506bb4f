"""Indexing jobs: a source, in shards, into an index; killed anywhere, they go on where they were.

A job is a row that everybody can read: its state, rows done of all, errors. Workers (threads,
processes, machines) lease shards of it in the database; each batch of documents and the progress
it makes are one transaction, so a batch is never half done and never counted twice. A worker that
dies stops renewing its leases, and others take its shards over.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nlpkit.errors import InputError, NlpkitError, StoreError, UnknownNameError
from nlpkit.index import Index, Upserted
from nlpkit.index.rows import checked_document
from nlpkit.index.upkeep import compact, needs_compaction
from nlpkit.sources import BadRow, DocumentSource, Shard, open_source
from nlpkit.store.schema import documents, job_errors, job_seen, job_shards, jobs
from nlpkit.types import Document

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Rows of a shard, and of a batch: what one transaction holds.
SHARD_ROWS = 1000
BATCH_ROWS = 500
BATCH_CHARACTERS = 1_000_000
#: What any model can embed: where it is refused, the model is to blame and not the documents.
PROBE = Document("probe", "A plain sentence.")
#: A lease lasts this long and is renewed three times in that time while its worker lives.
LEASE_SECONDS = 60.0
#: Two steps of a job are leased like shards: writing the shards down, and what comes after them.
PLAN, FINISH = -1, -2


class State(StrEnum):
    """The states of a job."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as its row says it. ``total`` is None until the source has been gone through once."""

    number: int
    state: State
    source: str
    done: int
    total: int | None
    added: int
    updated: int
    unchanged: int
    deleted: int
    errors: int
    workers: int
    rows_per_second: float | None
    seconds_left: float | None
    note: str


@dataclass(frozen=True, slots=True)
class JobError:
    """A row that was set aside."""

    document_id: str | None
    place: str
    reason: str


class Job:
    """A handle on a job of an index; any process may hold one."""

    def __init__(self, index: Index, number: int, source: DocumentSource | None = None) -> None:
        self.index = index
        self.number = number
        self.source = source  # as it was given: it may hold a password that the row does not

    def run(self, on_progress: Callable[[JobStatus], None] = lambda _: None) -> JobStatus:
        """Work on the job until it is done, paused or cancelled; others may work on it too.

        Raises:
            StoreError: the index cannot be written (a full disk, say); the job can go on later.
        """
        worker = _Worker(self, on_progress)
        while worker.step():
            pass
        return self.status()

    def status(self) -> JobStatus:
        """The job's row, with rate and time left."""
        with self.index.database.read() as connection:
            row = _row(connection, self.number)
            leased = connection.execute(
                sa.select(sa.func.count(sa.distinct(job_shards.c.worker))).where(
                    job_shards.c.job == self.number,
                    job_shards.c.state == "leased",
                    job_shards.c.leased_until > time.time(),
                )
            ).scalar_one()
        rate = row.n_done / row.seconds * max(leased, 1) if row.n_done and row.seconds else None
        left = (row.n_rows - row.n_done) / rate if rate and row.planned else None
        return JobStatus(
            row.number,
            State(row.state),
            row.source_name,
            row.n_done,
            row.n_rows if row.planned else None,
            row.n_added,
            row.n_updated,
            max(row.n_unchanged, 0),  # below zero in the middle of a retry
            row.n_deleted,
            row.n_errors,
            leased,
            rate,
            left if row.state == State.RUNNING else None,
            row.note,
        )

    def errors(self, limit: int | None = None) -> list[JobError]:
        """The rows that were set aside, in order."""
        with self.index.database.read() as connection:
            rows = connection.execute(
                sa.select(job_errors.c.document_id, job_errors.c.place, job_errors.c.reason)
                .where(job_errors.c.job == self.number)
                .order_by(job_errors.c.shard, job_errors.c.number)
                .limit(limit)
            ).all()
        return [JobError(*row) for row in rows]

    def pause(self) -> None:
        """Let workers stop after the batch they are at."""
        self._become(State.PAUSED, (State.RUNNING, State.PAUSED))

    def resume(self) -> None:
        """Let it go on; :meth:`run` does the work."""
        self._become(State.RUNNING, (State.RUNNING, State.PAUSED))

    def cancel(self) -> None:
        """Stop for good; what is indexed stays."""
        self._become(State.CANCELLED, (State.RUNNING, State.PAUSED, State.CANCELLED))

    def retry(self) -> int:
        """Put the shards with rows that were set aside back in line; returns how many rows."""
        with self.index.database.step() as connection:
            query = sa.select(job_errors.c.shard, sa.func.count().label("n_errors")).where(
                job_errors.c.job == self.number
            )
            failed = connection.execute(query.group_by(job_errors.c.shard)).all()
            if not failed:
                return 0
            for shard, n_errors in failed:  # sound rows will come back as unchanged ones
                row = connection.execute(_shard(self.number, shard)).one()
                again = {"n_done": -row.n_done, "n_unchanged": n_errors - row.n_done}
                _add(connection, self.number, **again)
            shards = [shard for shard, _ in failed]
            n = sum(int(count) for _, count in failed)
            open_again = job_shards.c.shard.in_([*shards, FINISH])
            connection.execute(
                sa.update(job_shards)
                .where(job_shards.c.job == self.number, open_again)
                .values(state="waiting", n_done=0, worker=None, leased_until=None)
            )
            connection.execute(sa.delete(job_errors).where(job_errors.c.job == self.number))
            _set(connection, self.number, state=State.RUNNING, n_errors=0, finished_at=None)
        return n

    def _become(self, new: State, allowed: Sequence[State]) -> None:
        with self.index.database.step() as connection:
            now = State(_row(connection, self.number).state)
            if now not in allowed:
                raise InputError(f"job {self.number} is {now}; it cannot become {new}")
            _set(connection, self.number, state=new)


def start_job(
    index: Index, source: DocumentSource | str | Mapping[str, Any], *, prune: bool = False
) -> Job:
    """The unfinished job of this source and these options, or a new one.

    A job that nobody works on is given up where the source's shards are no longer what they were:
    its plan would miss rows, and ``prune`` would take these for gone.

    ``prune`` deletes, at the end, the documents of this source that are no longer in it.
    """
    found = source if not isinstance(source, str | Mapping) else open_source(source)
    spec, options = found.to_json(), {"prune": prune}
    now = time.time()
    with index.database.read() as connection:  # the source is read outside of the write lock
        mine = sa.select(jobs).where(jobs.c.state.in_([State.RUNNING, State.PAUSED]))
        stale = {
            row.number
            for row in connection.execute(mine).all()
            if row.source == spec and not _plan_holds(connection, row, found)
        }
    with index.database.step() as connection:
        going = sa.select(jobs).where(jobs.c.state.in_([State.RUNNING, State.PAUSED]))
        for row in connection.execute(going.order_by(jobs.c.number)).all():
            if row.source != spec or row.options != options:
                continue
            if row.number not in stale:
                _set(connection, row.number, state=State.RUNNING)
                return Job(index, row.number)
            note = "the source has changed: a new job goes through it from the beginning"
            _set(connection, row.number, state=State.CANCELLED, note=note)
        zero = dict.fromkeys(
            ("n_rows", "n_done", "n_added", "n_updated", "n_unchanged", "n_deleted", "n_errors"), 0
        )
        made = connection.execute(
            sa.insert(jobs).values(
                **zero,
                state=State.RUNNING,
                source=spec,
                source_name=found.name,
                options=options,
                planned=0,
                seconds=0.0,
                note="",
                created_at=now,
                updated_at=now,
            )
        )
        number = int(made.inserted_primary_key[0])  # type: ignore[index]
        steps = [{"shard": PLAN}, {"shard": FINISH}]
        common = {"job": number, "state": "waiting", "spec": {}, "n_rows": 0, "n_done": 0}
        connection.execute(sa.insert(job_shards), [common | step for step in steps])
    return Job(index, number, found)


def find_job(index: Index, number: int | None = None) -> Job:
    """A job by number, by default the latest.

    Raises:
        UnknownNameError: no such job.
    """
    with index.database.read() as connection:
        numbers = list(connection.execute(sa.select(jobs.c.number)).scalars())
    wanted = max(numbers, default=None) if number is None else number
    if wanted is None or wanted not in numbers:
        raise UnknownNameError.of("job", wanted, map(str, numbers))
    return Job(index, wanted)


def list_jobs(index: Index) -> list[Job]:
    """All jobs of an index, oldest first."""
    with index.database.read() as connection:
        numbers = connection.execute(sa.select(jobs.c.number).order_by(jobs.c.number)).scalars()
        return [Job(index, number) for number in numbers]


def compare(index: Index, source: DocumentSource) -> list[str]:
    """How the index's documents of a source differ from the source, row by row; empty: nowhere."""
    found = []
    seen: set[str] = set()
    for shard in source.shards(SHARD_ROWS):
        batch = [row for row in source.read(shard) if isinstance(row, Document)]
        seen.update(row.id for row in batch)
        there = index.get([row.id for row in batch])
        for row, document in zip(batch, there, strict=True):
            if document is None:
                found.append(f"document {row.id!r:.80} of the source is not in the index")
            elif (row.text, dict(row.meta)) != (document.text, document.meta):
                found.append(f"document {row.id!r:.80} is another in the source")
    with index.database.read() as connection:
        query = sa.select(documents.c.id).where(documents.c.source == source.name)
        gone = [one for one in connection.execute(query).scalars() if one not in seen]
    return found + [f"document {one!r:.80} is no longer in the source" for one in gone]


# -- a worker --------------------------------------------------------------------------------------


class _Worker:
    """One worker's way through a job, a leased step at a time."""

    def __init__(self, job: Job, on_progress: Callable[[JobStatus], None]) -> None:
        self.job = job
        self.index = job.index
        self.database = job.index.database
        self.on_progress = on_progress
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        with self.database.read() as connection:
            row = _row(connection, job.number)
        self.source = job.source or open_source(row.source)
        self.prunes = bool(row.options["prune"])

    def step(self) -> bool:
        """Do one leased step; False where there is nothing more to do here."""
        with self.database.step() as connection:
            row = _row(connection, self.job.number)
            if row.state != State.RUNNING:
                return False
            lease = self._take(connection, planned=bool(row.planned))
        if lease is None:
            return self._wait()
        with suppress(_LostError), self._held(lease.shard):
            if lease.shard == PLAN:
                self._plan()
            elif lease.shard == FINISH:
                self._finish()
            else:
                self._work(lease)
        self.on_progress(self.job.status())
        return True

    def _take(self, connection: Connection, *, planned: bool) -> Any:
        """Lease the next step that is free or whose worker is dead."""
        mine = job_shards.c.job == self.job.number
        open_ = sa.select(job_shards).where(mine, job_shards.c.state != "done")
        plan = open_.where(job_shards.c.shard == PLAN)
        shards = open_.where(job_shards.c.shard >= 0).order_by(job_shards.c.shard)
        some = (shards if planned else plan).execution_options(yield_per=50)
        with connection.execute(some) as rows:
            free = next((row for row in rows if _is_free(row)), None)
        if free is not None:
            return self._lease(connection, free)
        if not planned or connection.execute(shards.limit(1)).first() is not None:
            return None
        finish = connection.execute(open_.where(job_shards.c.shard == FINISH)).first()
        return self._lease(connection, finish) if finish and _is_free(finish) else None

    def _lease(self, connection: Connection, row: Any) -> Any:
        connection.execute(
            sa.update(job_shards)
            .where(job_shards.c.job == self.job.number, job_shards.c.shard == row.shard)
            .values(state="leased", worker=self.name, leased_until=time.time() + LEASE_SECONDS)
        )
        return row

    def _wait(self) -> bool:
        """Nothing to lease: over, or others are at the rest of it."""
        with self.database.read() as connection:
            row = _row(connection, self.job.number)
        if row.state != State.RUNNING:
            return False
        self.on_progress(self.job.status())
        time.sleep(0.5)
        return True

    @contextmanager
    def _held(self, shard: int) -> Iterator[None]:
        """Renew the lease from a thread; give it back if the work breaks off."""
        stop = threading.Event()

        def renew() -> None:
            while not stop.wait(LEASE_SECONDS / 3):
                until = time.time() + LEASE_SECONDS
                with suppress(StoreError), self.database.step() as connection:
                    self._update_mine(connection, shard, leased_until=until)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            with suppress(StoreError), self.database.step() as connection:
                self._update_mine(connection, shard, state="waiting", worker=None)
            raise
        finally:
            stop.set()
            thread.join()

    def _update_mine(self, connection: Connection, shard: int, **values: Any) -> None:
        """Change a step as long as its lease is ours.

        Raises:
            _LostError: another worker has taken it over.
        """
        changed = connection.execute(
            sa.update(job_shards)
            .where(
                job_shards.c.job == self.job.number,
                job_shards.c.shard == shard,
                job_shards.c.worker == self.name,
            )
            .values(**values)
        )
        if changed.rowcount != 1:
            raise _LostError(f"job {self.job.number}: another worker took over shard {shard}")

    # the three kinds of steps

    def _plan(self) -> None:
        """Write the shards down."""
        mine = sa.and_(job_shards.c.job == self.job.number, job_shards.c.shard >= 0)
        with self.database.step() as connection:  # what a killed planner has left
            self._update_mine(connection, PLAN, state="leased")
            connection.execute(sa.delete(job_shards).where(mine))
        n_rows = 0
        for some in _parts(self.source.shards(SHARD_ROWS), 200):
            with self.database.step() as connection:
                self._update_mine(connection, PLAN, state="leased")
                connection.execute(sa.insert(job_shards), [_shard_row(self.job, s) for s in some])
            n_rows += sum(shard.n_rows for shard in some)
        with self.database.step() as connection:
            now = time.time()
            _set(connection, self.job.number, planned=1, n_rows=n_rows, started_at=now)
            self._update_mine(connection, PLAN, state="done")

    def _work(self, lease: Any) -> None:
        """Index a shard, from the row where the last worker's last commit left it."""
        shard = Shard(lease.shard, lease.spec, lease.n_rows)
        rows = islice(self.source.read(shard), lease.n_done, None)
        began = time.perf_counter()
        for batch in _batches(rows):
            if not self._commit(lease.shard, batch, began):
                return
            began = time.perf_counter()
            self.on_progress(self.job.status())
        with self.database.step() as connection:
            # A source that changed meanwhile may hold fewer rows or more than it said.
            row = connection.execute(_shard(self.job.number, lease.shard)).one()
            _add(connection, self.job.number, n_rows=row.n_done - row.n_rows)
            self._update_mine(connection, lease.shard, state="done", n_rows=row.n_done)

    def _commit(self, shard: int, batch: Sequence[Document | BadRow], began: float) -> bool:
        """Index a batch and count it, in one transaction; False where the job is to stop."""
        good, bad = _checked(batch)
        try:
            return self._commit_rows(shard, good, bad, len(batch), began)
        except (StoreError, OSError):
            raise
        except Exception as error:  # something that the model or the index refuses: find it
            refused = [row for d in good if (row := self._refused(d)) is not None]
            if not refused or self._refused(PROBE) is not None:
                raise error  # not a document's fault
            ids = {row.id for row in refused}
            good = [document for document in good if document.id not in ids]
            return self._commit_rows(shard, good, [*bad, *refused], len(batch), began)

    def _refused(self, document: Document) -> BadRow | None:
        try:
            self.index.check(document)
        except Exception as error:
            reason = str(error) if isinstance(error, NlpkitError) else repr(error)
            return BadRow(document.id, f"document {document.id!r:.80}", reason)
        return None

    def _commit_rows(
        self, shard: int, good: list[Document], bad: list[BadRow], n_rows: int, began: float
    ) -> bool:
        goes_on = True

        def count(connection: Connection, upserted: Upserted) -> None:
            nonlocal goes_on
            goes_on = _row(connection, self.job.number).state == State.RUNNING
            self._update_mine(connection, shard, n_done=job_shards.c.n_done + n_rows)
            new = upserted.added + upserted.updated
            _add(
                connection,
                self.job.number,
                n_done=n_rows,
                n_added=upserted.added,
                n_updated=upserted.updated,
                n_unchanged=len(good) - new,  # ids that came twice included
                n_errors=len(bad),
                seconds=time.perf_counter() - began,
            )
            _set_aside(connection, self.job.number, shard, bad)
            if self.prunes:
                _remember(connection, self.job.number, good, bad)
            if not goes_on:
                self._update_mine(connection, shard, state="waiting", worker=None)

        try:
            self.index.upsert_batch(good, self.source.name, also=count)
        except _LostError:
            return False
        return goes_on

    def _finish(self) -> None:
        """Prune and compact where that is due, and close the job."""
        n_deleted, note = (0, "")
        if self.prunes:
            n_deleted, note = self._prune()
        if needs_compaction(self.index):
            compact(self.index)
        with self.database.step() as connection:
            now = time.time()
            _add(connection, self.job.number, n_deleted=n_deleted)
            _set(connection, self.job.number, state=State.DONE, finished_at=now, note=note)
            if not _row(connection, self.job.number).n_errors:  # or retry needs it
                connection.execute(sa.delete(job_seen).where(job_seen.c.job == self.job.number))
            self._update_mine(connection, FINISH, state="done")

    def _prune(self) -> tuple[int, str]:
        with self.database.read() as connection:
            unnamed = connection.execute(
                sa.select(sa.func.count()).where(
                    job_errors.c.job == self.job.number, job_errors.c.document_id.is_(None)
                )
            ).scalar_one()
            if unnamed:
                return 0, (
                    f"nothing was pruned: {unnamed} rows could not be read, and their documents "
                    "cannot be told from those that are gone; mend them and run again"
                )
            seen = sa.select(job_seen.c.document_id).where(job_seen.c.job == self.job.number)
            gone = list(
                connection.execute(
                    sa.select(documents.c.id).where(
                        documents.c.source == self.source.name, documents.c.id.not_in(seen)
                    )
                ).scalars()
            )
        return self.index.delete(gone), ""


class _LostError(StoreError):
    """A lease that another worker holds now."""


# -- rows ------------------------------------------------------------------------------------------


def _is_free(row: Any) -> bool:
    """Whether a step waits, or its worker is dead or has not been heard of for a lease's time."""
    if row.state == "waiting" or row.leased_until < time.time():
        return True
    host, pid, _ = str(row.worker).split(":")
    return host == socket.gethostname() and not _lives(int(pid))


def _plan_holds(connection: Connection, job: Any, source: DocumentSource) -> bool:
    """Whether others are at a job, or its shards are still those of its source."""
    mine = sa.select(job_shards).where(job_shards.c.job == job.number)
    leased = connection.execute(mine.where(job_shards.c.state == "leased"))
    if not job.planned or not all(_is_free(row) for row in leased):
        return True
    query = mine.where(job_shards.c.shard >= 0).order_by(job_shards.c.shard)
    planned = [(row.shard, row.spec, row.n_rows) for row in connection.execute(query)]
    return planned == [(s.number, dict(s.spec), s.n_rows) for s in source.shards(SHARD_ROWS)]


def _row(connection: Connection, number: int) -> Any:
    row = connection.execute(sa.select(jobs).where(jobs.c.number == number)).first()
    if row is None:
        raise UnknownNameError.of("job", number, ())
    return row


def _shard(job: int, shard: int) -> Any:
    return sa.select(job_shards).where(job_shards.c.job == job, job_shards.c.shard == shard)


def _shard_row(job: Job, shard: Shard) -> dict[str, Any]:
    return {
        "job": job.number,
        "shard": shard.number,
        "state": "waiting",
        "spec": dict(shard.spec),
        "n_rows": shard.n_rows,
        "n_done": 0,
    }


def _set(connection: Connection, number: int, **values: Any) -> None:
    changed = sa.update(jobs).where(jobs.c.number == number)
    connection.execute(changed.values(updated_at=time.time(), **values))


def _add(connection: Connection, number: int, **amounts: float) -> None:
    _set(connection, number, **{name: jobs.c[name] + amount for name, amount in amounts.items()})


def _set_aside(connection: Connection, job: int, shard: int, bad: Iterable[BadRow]) -> None:
    now = time.time()
    rows = [
        {
            "job": job,
            "shard": shard,
            "document_id": row.id,
            "place": row.place,
            "reason": row.reason,
            "made_at": now,
        }
        for row in bad
    ]
    if rows:
        connection.execute(sa.insert(job_errors), rows)


def _remember(
    connection: Connection, job: int, good: Iterable[Document], bad: Iterable[BadRow]
) -> None:
    """What the source still holds, rows that cannot be read now included."""
    ids = {document.id for document in good} | {row.id for row in bad if row.id is not None}
    insert: Any
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert
    if ids:
        rows = [{"job": job, "document_id": one} for one in ids]
        connection.execute(insert(job_seen).on_conflict_do_nothing(), rows)


def _batches(rows: Iterable[Document | BadRow]) -> Iterator[list[Document | BadRow]]:
    batch: list[Document | BadRow] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row.text) if isinstance(row, Document) else 0
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _checked(batch: Iterable[Document | BadRow]) -> tuple[list[Document], list[BadRow]]:
    good: list[Document] = []
    bad: list[BadRow] = []
    for row in batch:
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            good.append(checked_document(row))
        except NlpkitError as error:
            bad.append(BadRow(row.id, f"document {row.id!r:.80}", str(error)))
    return good, bad


def _parts(values: Iterable[Any], n: int) -> Iterator[list[Any]]:
    iterator = iter(values)
    while part := list(islice(iterator, n)):
        yield part


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
