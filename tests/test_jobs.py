"""Jobs: build, go on where one was, share the work, and set aside what cannot be read."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from small_index import WordEmbedder, assert_holds, constants, some_documents, write_jsonl

from nlpkit import jobs
from nlpkit.errors import InputError, StoreError, UnknownNameError
from nlpkit.index import Index, open_index
from nlpkit.jobs import Job, JobStatus, State, find_job, list_jobs, start_job
from nlpkit.store.schema import job_seen, job_shards
from nlpkit.types import Document

DOCUMENTS = some_documents(60)
TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    """Five shards of four batches."""
    with constants(jobs, SHARD_ROWS=12, BATCH_ROWS=3):
        yield


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def index(tmp_path: Path, embedder: WordEmbedder) -> Iterator[Index]:
    with open_index(tmp_path / "index", embedder) as opened:
        yield opened


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "source.jsonl", DOCUMENTS)


def build(index: Index, source: Path, *, prune: bool = False) -> JobStatus:
    status = start_job(index, str(source), prune=prune).run()
    assert_adds_up(status)
    return status


def assert_adds_up(status: JobStatus) -> None:
    assert status.done == status.added + status.updated + status.unchanged + status.errors
    assert status.total is not None
    assert status.done <= status.total
    if status.state == State.DONE:
        assert status.done == status.total


class Stopped(Exception):  # noqa: N818
    """What breaks a job off in these tests."""


def stop_after(n: int) -> Callable[[JobStatus], None]:
    """A progress function that raises at the n-th call."""
    calls = iter(range(1, n + 1))

    def report(_status: JobStatus) -> None:
        if next(calls) == n:
            raise Stopped

    return report


# -- one worker --------------------------------------------------------------------------------


def test_a_job_indexes_its_source_and_says_how_far_it_is(index: Index, source: Path) -> None:
    seen: list[JobStatus] = []
    status = start_job(index, str(source)).run(seen.append)
    assert (status.state, status.done, status.total, status.added) == (State.DONE, 60, 60, 60)
    assert (status.updated, status.unchanged, status.errors, status.deleted) == (0, 0, 0, 0)
    done = [one.done for one in seen]
    assert done == sorted(done)
    assert {one.total for one in seen} == {60}
    for one in seen:
        assert_adds_up(one)
    working = next(one for one in seen if 0 < one.done < 60 and one.workers)
    assert working.rows_per_second
    assert working.seconds_left
    assert working.seconds_left > 0
    assert status.seconds_left is None
    assert_holds(index, DOCUMENTS)


@pytest.mark.parametrize("after", [1, 2, 6, 7, 20, 25])
def test_a_job_that_broke_off_goes_on_where_it_was(
    index: Index, source: Path, embedder: WordEmbedder, after: int
) -> None:
    job = start_job(index, str(source))
    with pytest.raises(Stopped):
        job.run(stop_after(after))
    again = start_job(index, str(source))
    assert again.number == job.number
    status = again.run()
    assert (status.state, status.added, status.unchanged) == (State.DONE, 60, 0)
    assert_adds_up(status)
    chunks = sum(len(bounds) for bounds in embedder.chunks([d.text for d in DOCUMENTS]))
    assert embedder.n_texts == chunks, "something was embedded twice"
    assert_holds(index, DOCUMENTS)


def test_a_second_run_embeds_nothing(index: Index, source: Path, embedder: WordEmbedder) -> None:
    build(index, source)
    before, generation = embedder.n_texts, index.status()["generation"]
    status = build(index, source)
    assert (status.number, status.added, status.unchanged) == (2, 0, 60)
    assert embedder.n_texts == before
    assert index.status()["generation"] == generation


def test_only_what_changed_is_embedded_again(
    index: Index, source: Path, embedder: WordEmbedder
) -> None:
    build(index, source)
    changed = list(DOCUMENTS)
    changed[5] = Document("d0005", "copper violin", DOCUMENTS[5].meta)
    changed[40] = Document("d0040", DOCUMENTS[40].text, {"year": 1})
    write_jsonl(source, changed)
    before = embedder.n_texts
    status = build(index, source)
    assert (status.added, status.updated, status.unchanged) == (0, 2, 58)
    assert embedder.n_texts == before + 1
    assert_holds(index, changed)


def test_ids_that_come_twice_count_once_each_row(index: Index, tmp_path: Path) -> None:
    """Thrice in one batch, and again in another: the last one stays."""
    rows = [*(Document("same", f"number {i}") for i in range(3)), *DOCUMENTS[:20]]
    path = write_jsonl(tmp_path / "twice.jsonl", [*rows, Document("same", "the last")])
    status = build(index, path)
    assert (status.done, status.added, status.updated, status.unchanged) == (24, 21, 1, 2)
    assert_holds(index, [*DOCUMENTS[:20], Document("same", "the last")])


def test_an_empty_source_is_done_at_once(index: Index, tmp_path: Path) -> None:
    status = build(index, write_jsonl(tmp_path / "none.jsonl", []))
    assert (status.state, status.total) == (State.DONE, 0)


# -- bad rows ----------------------------------------------------------------------------------


def spoil(source: Path, line: int, content: str) -> None:
    lines = source.read_text().splitlines()
    lines[line - 1] = content
    source.write_text("\n".join(lines) + "\n")


def test_bad_rows_are_set_aside_with_place_and_reason(index: Index, source: Path) -> None:
    spoil(source, 4, "{not json")
    spoil(source, 30, json.dumps({"id": "d0029", "text": "  "}))
    job = start_job(index, str(source))
    status = job.run()
    assert (status.state, status.added, status.errors) == (State.DONE, 58, 2)
    assert_adds_up(status)
    assert [(e.document_id, e.place) for e in job.errors()] == [
        (None, "source.jsonl, line 4"),
        ("d0029", "source.jsonl, line 30"),
    ]
    assert "expected one JSON object a line" in job.errors()[0].reason
    assert "the text is empty" in job.errors()[1].reason
    assert len(job.errors(limit=1)) == 1
    assert_holds(index, [d for i, d in enumerate(DOCUMENTS, 1) if i not in (4, 30)])


class Picky(WordEmbedder):
    """Refuses texts that hold a word; all texts where it is empty."""

    def __init__(self, word: str, error: type[Exception] = RuntimeError) -> None:
        super().__init__()
        self.word, self.error = word, error

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        for text in texts:
            if self.word in text.split() or not self.word:
                raise self.error(f"cannot take {self.word}")
        return super().embed(texts)


def test_a_text_that_the_model_refuses_is_set_aside_alone(tmp_path: Path, source: Path) -> None:
    with open_index(tmp_path / "index", Picky("n7")) as index:
        job = start_job(index, str(source))
        status = job.run()
        assert (status.state, status.added, status.errors) == (State.DONE, 59, 1)
        assert_adds_up(status)
        (error,) = job.errors()
        assert (error.document_id, error.place) == ("d0007", "document 'd0007'")
        assert "cannot take n7" in error.reason
        assert_holds(index, [d for d in DOCUMENTS if d.id != "d0007"])


@pytest.mark.parametrize("error", [RuntimeError, StoreError, OSError])
def test_a_model_that_takes_nothing_breaks_the_job_off(
    tmp_path: Path, source: Path, error: type[Exception]
) -> None:
    with open_index(tmp_path / "index", Picky("", error)) as index:
        job = start_job(index, str(source))
        with pytest.raises(error, match="cannot take"):
            job.run()
        status = job.status()
        assert (status.state, status.done, status.errors) == (State.RUNNING, 0, 0)
    with open_index(tmp_path / "index", WordEmbedder()) as index:
        assert build(index, source).number == job.number
        assert_holds(index, DOCUMENTS)


def test_retry_takes_the_rows_that_were_set_aside_up_again(index: Index, source: Path) -> None:
    good = source.read_text().splitlines()[3]
    spoil(source, 4, "x" * len(good))
    job = start_job(index, str(source))
    assert job.run().errors == 1
    spoil(source, 4, good)
    assert job.retry() == 1
    assert job.status().state == State.RUNNING
    status = job.run()
    assert (status.state, status.errors, status.added) == (State.DONE, 0, 60)
    assert_adds_up(status)
    assert job.retry() == 0
    assert job.status().state == State.DONE
    assert_holds(index, DOCUMENTS)


# -- prune -------------------------------------------------------------------------------------


def test_prune_deletes_what_has_gone_from_this_source_alone(index: Index, source: Path) -> None:
    other = Document("other", "of another source")
    index.upsert([other])
    build(index, source)
    write_jsonl(source, DOCUMENTS[10:])
    assert build(index, source).deleted == 0
    assert_holds(index, [*DOCUMENTS, other])
    status = build(index, source, prune=True)
    assert (status.deleted, status.unchanged) == (10, 50)
    assert_holds(index, [*DOCUMENTS[10:], other])
    with index.database.read() as connection:
        assert connection.execute(sa.select(job_seen)).all() == []


def test_a_pruning_job_that_broke_off_prunes_no_more_than_it_should(
    index: Index, source: Path
) -> None:
    build(index, source)
    write_jsonl(source, DOCUMENTS[10:])
    for after in (3, 7, 8):
        with pytest.raises(Stopped):
            start_job(index, str(source), prune=True).run(stop_after(after))
    assert build(index, source, prune=True).deleted == 10
    assert_holds(index, DOCUMENTS[10:])


def test_an_unreadable_row_with_an_id_is_not_pruned(index: Index, source: Path) -> None:
    build(index, source)
    spoil(source, 8, json.dumps({"id": "d0007", "text": ""}))
    status = build(index, source, prune=True)
    assert (status.deleted, status.errors, status.note) == (0, 1, "")
    assert_holds(index, DOCUMENTS)


@pytest.mark.parametrize("row", ["{", '{"text": "x"}', '{"id": "", "text": "x"}', '{"id": 0.5}'])
def test_nothing_is_pruned_where_a_row_has_no_id(index: Index, source: Path, row: str) -> None:
    build(index, source)
    write_jsonl(source, DOCUMENTS[10:])
    spoil(source, 8, row)
    status = build(index, source, prune=True)
    assert (status.deleted, status.errors) == (0, 1)
    assert "nothing was pruned: 1 rows could not be read" in status.note
    assert_holds(index, DOCUMENTS)


def test_retry_of_a_pruning_job_prunes_no_more(index: Index, source: Path) -> None:
    """It reads one shard again, and must not take the others' documents for gone."""
    build(index, source)
    good = source.read_text().splitlines()[7]
    spoil(source, 8, json.dumps({"id": "d0007", "text": ""}))
    job = start_job(index, str(source), prune=True)
    assert job.run().errors == 1
    assert job.retry() == 1
    assert job.run().deleted == 0
    spoil(source, 8, good)
    assert job.retry() == 1
    status = job.run()
    assert (status.deleted, status.errors) == (0, 0)
    assert job.retry() == 0
    assert job.run().deleted == 0
    assert_holds(index, DOCUMENTS)


# -- a source that changes ---------------------------------------------------------------------


def test_a_job_whose_source_changed_since_is_started_anew(index: Index, source: Path) -> None:
    """Its plan would miss the new rows, and prune would take them for gone."""
    build(index, source)
    write_jsonl(source, DOCUMENTS[:30])
    first = start_job(index, str(source), prune=True)
    with pytest.raises(Stopped):
        first.run(stop_after(4))
    write_jsonl(source, DOCUMENTS)
    status = build(index, source, prune=True)
    assert status.number > first.number
    assert first.status().state == State.CANCELLED
    assert "the source has changed" in first.status().note
    assert status.deleted == 0
    assert_holds(index, DOCUMENTS)


@pytest.mark.parametrize("n", [5, 30, 59])
def test_a_source_that_shrinks_meanwhile(index: Index, source: Path, n: int) -> None:
    """Rows that are no longer there are not counted; what is left is indexed."""
    calls = iter(range(1000))

    def report(status: JobStatus) -> None:
        if next(calls) == 0:  # the plan is written down
            assert status.total == 60
            write_jsonl(source, DOCUMENTS[:n])

    status = start_job(index, str(source)).run(report)
    assert (status.state, status.done, status.total) == (State.DONE, n, n)
    assert_holds(index, DOCUMENTS[:n])


def test_a_source_that_grows_meanwhile_is_whole_the_next_time(index: Index, source: Path) -> None:
    calls = iter(range(1000))

    def report(_status: JobStatus) -> None:
        if next(calls) == 0:
            write_jsonl(source, [*DOCUMENTS, *some_documents(20, first=100)])

    status = start_job(index, str(source)).run(report)
    assert (status.done, status.total) == (60, 60)
    assert build(index, source).added == 20


# -- pause, cancel, list -----------------------------------------------------------------------


def test_pause_resume_and_cancel(index: Index, source: Path) -> None:
    job = start_job(index, str(source))

    def pause(status: JobStatus) -> None:
        if status.done >= 9:
            find_job(index).pause()

    status = job.run(pause)
    assert status.state == State.PAUSED
    assert 9 <= status.done < 60
    assert job.run().done == status.done, "a paused job was worked on"
    job.resume()
    assert job.run(lambda s: job.cancel() if s.done > 30 else None).state == State.CANCELLED
    assert 30 < index.count() < 60
    with pytest.raises(InputError, match="is cancelled; it cannot become running"):
        job.resume()
    assert build(index, source).number == 2
    assert_holds(index, DOCUMENTS)


def test_start_lets_a_paused_job_go_on(index: Index, source: Path) -> None:
    job = start_job(index, str(source))
    job.pause()
    assert start_job(index, str(source)).number == job.number
    assert job.status().state == State.RUNNING
    assert start_job(index, str(source), prune=True).number != job.number


def test_the_list_of_jobs(index: Index, source: Path) -> None:
    with pytest.raises(UnknownNameError, match="job None; known: none"):
        find_job(index)
    build(index, source)
    build(index, source)
    assert [job.number for job in list_jobs(index)] == [1, 2]
    assert (find_job(index).number, find_job(index, 1).number) == (2, 1)
    with pytest.raises(UnknownNameError, match="job 3; known: 1, 2"):
        find_job(index, 3)


# -- many workers ------------------------------------------------------------------------------

WORKER = """
import json, os, pathlib, sys, time
sys.path.insert(0, sys.argv[4])
from small_index import WordEmbedder
from nlpkit import jobs
from nlpkit.index import open_index
jobs.SHARD_ROWS, jobs.BATCH_ROWS = 12, 3
embedder = WordEmbedder()
folder = pathlib.Path(sys.argv[3])

def wait_for_all(_):  # whoever has a shard waits until all have one
    if embedder.n_texts:
        (folder / f"{os.getpid()}.at_work").touch()
        while len(list(folder.glob("*.at_work"))) < int(sys.argv[5]):
            time.sleep(0.01)

with open_index(sys.argv[1], embedder) as index:
    status = jobs.start_job(index, sys.argv[2]).run(wait_for_all)
print(json.dumps({"state": status.state, "embedded": embedder.n_texts}))
"""


@pytest.mark.parametrize("n_workers", [2, 4])
def test_workers_share_a_job(tmp_path: Path, n_workers: int) -> None:
    """They make the index, too, all at once; each document is embedded once, nobody is idle."""
    documents = some_documents(120)
    source = write_jsonl(tmp_path / "source.jsonl", documents)
    arguments = map(str, (tmp_path / "index", source, tmp_path, TESTS, n_workers))
    command = [sys.executable, "-c", WORKER, *arguments]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n_workers)
    ]
    results = [json.loads(worker.communicate(timeout=600)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * n_workers
    with open_index(tmp_path / "index", WordEmbedder()) as index:
        chunks = index.status()["chunks"]
        assert [result["state"] for result in results] == ["done"] * n_workers
        assert sum(result["embedded"] for result in results) == chunks
        assert min(result["embedded"] for result in results) > 0
        (job,) = list_jobs(index)
        assert (job.status().added, job.status().workers) == (120, 0)
        assert_adds_up(job.status())
        assert_holds(index, documents)


def leave_leased(job: Job, worker: str, seconds: float) -> None:
    """As if a worker held the first shard that is not done."""
    with job.index.database.step() as connection:
        first = sa.select(sa.func.min(job_shards.c.shard)).where(
            job_shards.c.shard >= 0, job_shards.c.state != "done"
        )
        connection.execute(
            sa.update(job_shards)
            .where(job_shards.c.shard == first.scalar_subquery())
            .values(state="leased", worker=worker, leased_until=time.time() + seconds)
        )


def test_the_shard_of_a_dead_process_is_taken_over_at_once(index: Index, source: Path) -> None:
    job = start_job(index, str(source))
    with pytest.raises(Stopped):
        job.run(stop_after(7))
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    leave_leased(job, f"{socket.gethostname()}:{dead.pid}:abc", 3600)
    assert job.status().workers == 1
    began = time.monotonic()
    assert job.run().state == State.DONE
    assert time.monotonic() - began < 30
    assert_holds(index, DOCUMENTS)


@pytest.mark.parametrize(
    "holder",
    ["elsewhere:1:abc", f"{socket.gethostname()}:{os.getpid()}:abc"],
    ids=["elsewhere", "here"],
)
def test_the_shard_of_a_worker_that_may_live_is_waited_for(
    index: Index, source: Path, holder: str
) -> None:
    job = start_job(index, str(source))
    with pytest.raises(Stopped):
        job.run(stop_after(7))
    leave_leased(job, holder, 1.5)
    began = time.monotonic()
    waited: list[JobStatus] = []
    assert job.run(waited.append).state == State.DONE
    assert time.monotonic() - began > 1.0
    assert max(status.workers for status in waited) >= 1
    assert_holds(index, DOCUMENTS)


def test_a_worker_that_lost_its_lease_commits_nothing_more(index: Index, source: Path) -> None:
    """It was thought dead (a laptop asleep): what it has read since belongs to another."""
    job = start_job(index, str(source))

    def stolen(status: JobStatus) -> None:
        if status.done == 6 and status.workers == 1:
            leave_leased(job, "elsewhere:1:abc", 0.3)

    status = job.run(stolen)
    assert (status.state, status.added, status.unchanged) == (State.DONE, 60, 0)
    assert_adds_up(status)
    assert_holds(index, DOCUMENTS)


def test_a_planner_that_lost_its_lease_writes_nothing_down(
    index: Index, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlpkit.sources import TableSource

    job = start_job(index, str(source))
    shards = TableSource.shards
    rival: list[JobStatus] = []

    def slow(self: TableSource, size: int) -> Any:
        yield from shards(self, size)
        if not rival:
            rival.append(job.status())
            with index.database.step() as connection:
                connection.execute(sa.update(job_shards).values(leased_until=0.0))
            rival[0] = job.run()

    monkeypatch.setattr(TableSource, "shards", slow)
    assert job.run().state == State.DONE
    assert rival[0].state == State.DONE
    assert (rival[0].total, job.status().added) == (60, 60)
    assert_holds(index, DOCUMENTS)


def test_a_lease_is_renewed_while_its_worker_works(tmp_path: Path, source: Path) -> None:
    class Slow(WordEmbedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            time.sleep(0.12)
            return super().embed(texts)

    write_jsonl(source, DOCUMENTS[:12])
    with constants(jobs, LEASE_SECONDS=0.3), open_index(tmp_path / "i", Slow()) as index:
        job = start_job(index, str(source))
        results: list[JobStatus] = []
        threads = [threading.Thread(target=lambda: results.append(job.run())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result.state for result in results] == [State.DONE] * 2
        assert (job.status().added, job.status().unchanged) == (12, 0)
        assert_holds(index, DOCUMENTS[:12])


def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    """benchmarks/kill.py in small: see there; two hundred and more are run by hand."""
    output = tmp_path / "kills.json"
    script = TESTS.parent / "benchmarks" / "kill.py"
    command = [sys.executable, str(script), "--kills", "20", "--documents", "80"]
    run = subprocess.run(
        [*command, "--output", str(output)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    table = json.loads(output.read_text())
    assert table["kills"] >= 20
    assert table["losses"] == []
