"""Indexes of a workspace: what the worker builds is what nlpkit.jobs would have built."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workspaces import as_csv, as_xlsx, reviews

import nlpkit
from nlpkit import jobs
from nlpkit.errors import InputError, StoreError, UnknownNameError
from nlpkit.index import Index
from nlpkit.index.embedder import PipelineEmbedder
from nlpkit.jobs import list_jobs
from nlpkit.pipeline import Pipeline
from nlpkit.sources import BadRow, ListedFile, ListedSource, open_source
from nlpkit.types import Document
from nlpkit.workspace import IndexEntry, IndexJob, State, Status, Workspace, worker
from nlpkit.workspace.worker import Worker

ROWS = reviews(60)
SLOW = """
import sys, time
from nlpkit import jobs
from nlpkit.index.embedder import PipelineEmbedder
from nlpkit.workspace.worker import run_worker
jobs.SHARD_ROWS, jobs.BATCH_ROWS = 20, 4
embed = PipelineEmbedder.embed
def slowly(self, texts):
    time.sleep(0.05)
    return embed(self, texts)
PipelineEmbedder.embed = slowly
sys.exit(not run_worker(sys.argv[1], idle_seconds=0))
"""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SHARD_ROWS", 20)
    monkeypatch.setattr(jobs, "BATCH_ROWS", 8)


def built(workspace: Workspace, name: str = "news", **source: Any) -> IndexEntry:
    """An index once its first job is done."""
    if not source:
        source = {"uploads": [workspace.add_upload("a.csv", as_csv(ROWS))]}
    entry = workspace.add_index(name, **source)
    (job,) = entry.jobs()
    assert (job.do, job.status().state) == ("build", State.QUEUED)
    done(job)
    return workspace.index(name)


def done(job: IndexJob) -> Status:
    """The job's status once it is done."""
    Worker(job.workspace).run()
    status = job.status()
    assert status.state == State.DONE, status.note
    return status


def texts(index: Index) -> dict[str, str]:
    return {document.id: document.text for document in index.documents()}


def named(rows: list[dict[str, Any]], name: str = "a.csv") -> dict[str, str]:
    """The texts of a table's rows under the ids that they get."""
    return {f"{name}:{number}": row["review"] for number, row in enumerate(rows, 1)}


# -- making ----------------------------------------------------------------------------------------


def test_an_index_of_an_upload(workspace: Workspace, kit: Pipeline, tmp_path: Path) -> None:
    entry = built(workspace)
    (job,) = entry.jobs()
    status = job.status()
    assert (status.done, status.total, status.errors, status.kind) == (60, 60, 0, "index")
    assert job.result == {"job": 1, "added": 60, "updated": 0, "unchanged": 0, "deleted": 0}
    assert entry.facts["documents"] == 60
    assert (entry.facts["model"], entry.facts["recall_at_10"]) == ("tiny-1", None)
    assert entry.facts["bytes"] > 0
    with entry.open() as index, nlpkit.open_index(tmp_path / "direct", kit) as direct:
        assert index.verify() == []
        direct.upsert(list(index.documents()))
        assert texts(index) == named(ROWS)
        assert next(index.documents()).meta["stars"] == 1
        for query in ("great engine", "LONDON"):
            assert [(hit.document.id, hit.score) for hit in index.search(query, 5)] == [
                (hit.document.id, pytest.approx(hit.score, abs=1e-5))
                for hit in direct.search(query, 5)
            ]


def test_an_index_shares_the_pages_model(workspace: Workspace, kit: Pipeline) -> None:
    with built(workspace).open(kit) as index:
        assert index.pipeline is kit


def test_an_index_of_files_of_every_kind(workspace: Workspace) -> None:
    given = {
        "a.txt": b"Ada went to LONDON",
        "b.md": b"# Charles",
        "reviews.xlsx": as_xlsx(ROWS[:5]),
        "semicolons.csv": as_csv(ROWS[5:9], ";").replace(b"great", "gr\xf6\xdfe".encode("cp1252")),
    }
    uploads = [workspace.add_upload(name, data) for name, data in given.items()]
    uploads.append(workspace.add_upload("a.txt", b"another of that name"))
    with built(workspace, uploads=uploads).open() as index:
        found = texts(index)
    assert found.pop("a.txt") == "Ada went to LONDON"
    assert found.pop("a (2).txt") == "another of that name"
    assert found.pop("b.md") == "# Charles"
    german = [{**row, "review": row["review"].replace("great", "größe")} for row in ROWS[5:9]]
    assert found == named(ROWS[:5], "reviews.xlsx") | named(german, "semicolons.csv")


def test_an_index_of_a_folder(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "below").mkdir(parents=True)
    (folder / "one.txt").write_text("Ada went to LONDON")
    (folder / "below" / "two.md").write_text("Charles built it")
    with built(workspace, folder=folder).open() as index:
        assert texts(index) == {"one.txt": "Ada went to LONDON", "below/two.md": "Charles built it"}


def test_columns_can_be_chosen(workspace: Workspace) -> None:
    upload = workspace.add_upload("a.csv", as_csv(ROWS[:3]))
    entry = built(workspace, uploads=[upload], text_column="shop", id_column="day")
    with entry.open() as index:
        assert texts(index) == {row["day"]: row["shop"] for row in ROWS[:3]}


def test_an_index_that_is_there_is_registered(
    workspace: Workspace, tmp_path: Path, tiny_folder: Path
) -> None:
    with nlpkit.open_index(tmp_path / "own.index", str(tiny_folder)) as index:
        index.upsert([Document("a", "Ada went to LONDON")])
    entry = workspace.add_index("own", path=tmp_path / "own.index")
    assert (entry.made_here, entry.is_there, entry.facts) == (False, True, {})
    done(entry.jobs()[0])
    assert workspace.index("own").facts["documents"] == 1
    workspace.remove_index("own")
    assert workspace.indexes() == []
    with nlpkit.open_index(tmp_path / "own.index") as index:
        assert index.count() == 1


# -- adding, keeping, removing ---------------------------------------------------------------------


def test_adding_costs_what_changed(workspace: Workspace) -> None:
    entry = built(workspace)
    changed = [{**row, "review": "new"} if i == 7 else row for i, row in enumerate(ROWS)]
    job = entry.add(uploads=[workspace.add_upload("a.csv", as_csv([*changed, ROWS[0]]))])
    done(job)
    assert job.result["job"] == 2
    assert {n: job.result[n] for n in ("added", "updated", "unchanged")} == {
        "added": 1,
        "updated": 1,
        "unchanged": 59,
    }
    job = entry.add(uploads=[workspace.add_upload("a.csv", as_csv(ROWS[:10]))], prune=True)
    done(job)
    assert job.result["deleted"] == 51
    assert [one.number for one in entry.jobs()] == [3, 2, 1]
    with entry.open() as index:
        assert texts(index) == named(ROWS[:10])


def test_rows_that_are_set_aside_are_listed_and_read_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, "review": ""} if i in (3, 40) else row for i, row in enumerate(ROWS)]
    embed = PipelineEmbedder.embed

    def picky(self: PipelineEmbedder, some: Any) -> Any:
        if any(text.endswith(" 11.") for text in some):
            raise RuntimeError("cannot take it")
        return embed(self, some)

    upload = workspace.add_upload("a.csv", as_csv(rows))
    with monkeypatch.context() as patch:
        patch.setattr(PipelineEmbedder, "embed", picky)
        entry = built(workspace, uploads=[upload])
    (job,) = entry.jobs()
    assert (job.status().done, job.status().errors) == (60, 3)
    assert [error.place for error in job.errors()] == [
        "a.csv, line 5",
        "document 'a.csv:12'",
        "a.csv, line 42",
    ]
    again = job.retry()
    assert (again.do, done(again).errors) == ("retry", 2)
    assert again.result["added"] == 58
    assert [error.place for error in again.errors()] == ["a.csv, line 5", "a.csv, line 42"]
    with entry.open() as index:
        assert index.count() == 58
    with pytest.raises(InputError, match="has no rows to read again"):
        entry.compact().retry()


def test_verify_and_repair(workspace: Workspace) -> None:
    entry = built(workspace)
    job = entry.verify()
    done(job)
    assert job.result == {"problems": []}
    segment = next(path for path in (entry.path / "segments").rglob("*") if path.is_file())
    segment.write_bytes(segment.read_bytes()[:-1])
    job = entry.verify()
    assert done(job).errors == len(job.result["problems"]) > 0
    job = entry.repair()
    done(job)
    assert job.result == {"problems": []}
    job = entry.verify()
    done(job)
    assert job.result == {"problems": []}


def test_compact(workspace: Workspace) -> None:
    entry = built(workspace)
    with entry.open() as index:
        index.delete([f"a.csv:{i}" for i in range(1, 31)])
    done(entry.look())
    assert workspace.index("news").facts["needs_compaction"] is True
    done(entry.compact())
    facts = workspace.index("news").facts
    assert (facts["documents"], facts["needs_compaction"]) == (30, False)


def test_what_was_made_here_goes_with_its_name(workspace: Workspace) -> None:
    entry = built(workspace)
    assert entry.path.is_dir()
    workspace.remove_index("news")
    assert list((workspace.folder / "indexes").iterdir()) == []
    assert workspace.indexes() == []
    with pytest.raises(UnknownNameError, match="unknown index 'news'; known: none"):
        workspace.index("news")
    built(workspace)


# -- stopped in the middle -------------------------------------------------------------------------


def process(workspace: Workspace) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SLOW, str(workspace.folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_a_killed_build_goes_on(workspace: Workspace, until: Callable[..., None]) -> None:
    entry = workspace.add_index("news", uploads=[workspace.add_upload("a.csv", as_csv(ROWS))])
    (job,) = entry.jobs()
    for least in (1, 30):
        running = process(workspace)
        until(lambda least=least: job.status().done >= least)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        assert least <= job.status().done < 60
    assert (done(job).done, job.result["added"], job.result["unchanged"]) == (60, 60, 0)
    with entry.open() as index:
        assert index.verify() == []
        assert texts(index) == named(ROWS)
        assert len(list_jobs(index)) == 1


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_a_build_is_paused_or_cancelled(
    workspace: Workspace, until: Callable[..., None], how: str
) -> None:
    entry = workspace.add_index("news", uploads=[workspace.add_upload("a.csv", as_csv(ROWS))])
    (job,) = entry.jobs()
    running = process(workspace)
    until(lambda: job.status().done > 0)
    getattr(job, how)()
    assert running.wait(60) == 0
    running.communicate()
    state = {"pause": "paused", "cancel": "cancelled"}[how]
    assert job.status().state == state
    assert job.status().done < 60
    with entry.open() as index:
        assert list_jobs(index)[0].status().state == state
    job.resume()
    done(job)
    with entry.open() as index:
        assert texts(index) == named(ROWS)


def test_an_index_that_is_removed_under_the_worker(
    workspace: Workspace, until: Callable[..., None]
) -> None:
    entry = workspace.add_index("news", uploads=[workspace.add_upload("a.csv", as_csv(ROWS))])
    (job,) = entry.jobs()
    running = process(workspace)
    until(lambda: job.status().done > 0)
    workspace.remove_index("news")
    assert running.wait(60) == 0
    assert running.communicate()[1] == b""
    assert list((workspace.folder / "indexes").iterdir()) == []


def test_builds_take_turns(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SLICE_SECONDS", 0.0)
    for owner in ("Ada", "Grace"):
        upload = workspace.add_upload("a.csv", as_csv(ROWS[:20]), owner)
        workspace.add_index("news", uploads=[upload], owner=owner)
    one, order = Worker(workspace), []
    while one.step():
        done_by = [workspace.index("news", o).jobs()[0].status().done for o in ("Ada", "Grace")]
        order.append(done_by)
    assert all(abs(ada - grace) <= 8 for ada, grace in order)
    assert order[-1] == [20, 20]
    for owner in ("Ada", "Grace"):
        with workspace.index("news", owner).open() as index:
            assert len(list_jobs(index)) == 1
            assert texts(index) == named(ROWS[:20])


# -- what is refused -------------------------------------------------------------------------------


def test_what_makes_no_index_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    upload = workspace.add_upload("a.csv", as_csv(ROWS))
    numbers = workspace.add_upload("n.csv", b"n\n1\n2\n")
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("x", {}, "made of uploads or of a folder; expected one of them"),
        ("x", {"uploads": [upload], "folder": tmp_path}, "expected one of them"),
        ("x", {"folder": tmp_path / "none"}, "no such folder"),
        ("x", {"path": tmp_path}, r"is no index \(it has no index.json\)"),
        ("x", {"uploads": [upload], "text_column": "no"}, "no column 'no'; its columns: 'shop'"),
        ("x", {"uploads": [upload], "id_column": "no"}, "no column 'no'"),
        ("x", {"uploads": [numbers]}, r"n\.csv has no column with texts"),
        (" ", {"uploads": [upload]}, "the name is ' '"),
        ("a\nb", {"uploads": [upload]}, "the name is"),
    ]
    for name, source, message in cases:
        with pytest.raises(InputError, match=message):
            workspace.add_index(name, **source)
    assert workspace.indexes() == []
    built(workspace, uploads=[upload])
    with pytest.raises(InputError, match="there is an index 'news'; choose another name"):
        workspace.add_index("news", uploads=[upload])


def test_an_index_that_is_not_there_yet_or_any_more(
    workspace: Workspace, tmp_path: Path, tiny_folder: Path
) -> None:
    upload = workspace.add_upload("a.csv", as_csv(ROWS))
    entry = workspace.add_index("news", uploads=[upload])
    with pytest.raises(StoreError, match="the index news is not built yet"):
        entry.open()
    nlpkit.open_index(tmp_path / "own", str(tiny_folder)).close()
    other = workspace.add_index("own", path=tmp_path / "own")
    shutil.rmtree(tmp_path / "own")
    with pytest.raises(StoreError, match="the index own is no longer in"):
        other.open()
    Worker(workspace).run()
    assert other.jobs()[0].status().state == State.FAILED
    assert "is no index" in other.jobs()[0].status().note
    assert entry.jobs()[0].status().state == State.DONE


def test_owners_have_names_of_their_own(workspace: Workspace) -> None:
    for owner in ("Ada", "Grace"):
        upload = workspace.add_upload("a.csv", as_csv(ROWS[:3]), owner)
        workspace.add_index("news", uploads=[upload], owner=owner)
    ada, grace = (workspace.index("news", owner) for owner in ("Ada", "Grace"))
    assert ada.path != grace.path
    with pytest.raises(UnknownNameError):
        workspace.index("news")
    workspace.remove_index("news", "Ada")
    assert [len(workspace.indexes(owner)) for owner in ("Ada", "Grace")] == [0, 1]
    with pytest.raises(UnknownNameError):
        IndexJob(workspace, grace.jobs()[0].number, "Ada")


# -- the source ------------------------------------------------------------------------------------


def test_a_listed_source_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "x1").write_text("Ada went to LONDON")
    (tmp_path / "x2.csv").write_bytes(as_csv(ROWS[:5], ";") + b"short\n")
    files = (
        ListedFile(str(tmp_path / "x1"), "letter.txt"),
        ListedFile(str(tmp_path / "x2.csv"), "reviews.xlsx", "review", ";"),
    )
    source = ListedSource(files)
    assert source.name == "files:letter.txt, reviews.xlsx"
    assert open_source(json.loads(json.dumps(source.to_json()))) == source
    shards = list(source.shards(2))
    assert [shard.n_rows for shard in shards] == [1, 2, 2, 2]
    read = [row for shard in reversed(shards) for row in source.read(shard)]
    found = {row.id: row.text for row in read if isinstance(row, Document)}
    assert found == {"letter.txt": "Ada went to LONDON"} | named(ROWS[:5], "reviews.xlsx")
    assert [(row.id, row.place) for row in read if isinstance(row, BadRow)] == [
        ("reviews.xlsx:6", "reviews.xlsx, line 7")
    ]


def test_a_listed_source_refuses_what_it_cannot_tell_apart(tmp_path: Path) -> None:
    one = ListedFile(str(tmp_path / "a"), "a.txt")
    for files in ((), (one, one)):
        with pytest.raises(InputError, match="expected at least one, each of another name"):
            ListedSource(files)
    with pytest.raises(InputError, match=r"a\.exe: nobody can read it"):
        ListedSource((ListedFile("a", "a.exe"),))
    with pytest.raises(InputError, match="no such file"):
        list(ListedSource((one,)).shards())
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="has no column 'text'"):
        list(ListedSource((ListedFile(str(tmp_path / "a.csv"), "a", "text"),)).shards())
