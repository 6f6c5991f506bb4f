"""Damage: every altered byte and row is named and mended; what cannot work says so plainly."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from small_index import WordEmbedder, assert_holds, constants, some_documents

import nlpkit
from nlpkit.errors import InputError, InputTypeError, NlpkitError, StoreError
from nlpkit.index import Index, check, open_index, segments, upkeep
from nlpkit.pipeline import Pipeline
from nlpkit.types import Document

DOCUMENTS = some_documents(30)
EMBEDDER = WordEmbedder()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of three segments, the first built by HNSW, with tombstones; read it only."""
    folder = tmp_path_factory.mktemp("made") / "index"
    with open_index(folder, EMBEDDER) as index:
        old = [Document(d.id, "an older text", {}) for d in DOCUMENTS[:4]]
        index.upsert([*DOCUMENTS[4:20], *old], source="here")
        index.compact("hnsw")
        index.upsert(DOCUMENTS[20:], source="here")
        index.upsert(DOCUMENTS[:4], source="here")
        index.upsert([Document("gone", "no longer there")])
        index.delete(["gone"])
        assert [s["kind"] for s in index.status()["segments"]] == ["hnsw", *["flat"] * 3]
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the index, to damage."""
    return Path(shutil.copytree(made, tmp_path / "index"))


def sql(folder: Path, *statements: str) -> None:
    engine = sa.create_engine(f"sqlite:///{folder / 'index.db'}")
    with engine.begin() as connection:
        for statement in statements:
            assert connection.exec_driver_sql(statement).rowcount, f"{statement} hit no row"
    engine.dispose()


def mended(folder: Path, *named: str) -> None:
    """Verify names the damage, repair leaves none, and all is as it was."""
    with open_index(folder, EMBEDDER) as index:
        said = [str(problem) for problem in index.verify()]
        for words in named:
            assert any(words in one for one in said), f"{words!r} is not in {said}"
        assert [str(problem) for problem in index.repair()] == []
        assert_holds(index, DOCUMENTS)
        assert index.search("glacier", keywords=True)
        for kind in ("flat", "hnsw"):  # and it can be worked on
            index.compact(kind)
            assert_holds(index, DOCUMENTS)
    with open_index(folder, EMBEDDER) as index:
        assert_holds(index, DOCUMENTS)


# -- files -------------------------------------------------------------------------------------


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("at", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("name", [segments.VECTORS, segments.ROWS, segments.ANN])
def test_a_flipped_byte_is_named_and_mended(folder: Path, name: str, at: float) -> None:
    (path,) = (p for p in folder.glob(f"segments/*/{name}") if (p.parent / segments.ANN).is_file())
    flip(path, at)
    mended(folder, f"{path} was altered")


@pytest.mark.parametrize("name", [segments.VECTORS, segments.ROWS, segments.ANN])
@pytest.mark.parametrize("size", [None, 0, 1, 200])
def test_a_lost_or_short_file_is_named_and_mended(
    folder: Path, name: str, size: int | None
) -> None:
    path = next(folder.glob(f"segments/*/{name}"))
    if size is None:
        path.unlink()
    else:
        os.truncate(path, size)
    with open_index(folder, EMBEDDER) as index, pytest.raises(StoreError, match="index repair"):
        index.search("engine")
    mended(folder, f"{path} is missing" if size is None else f"{path} has {size} bytes, expected")


def test_all_segments_lost(folder: Path) -> None:
    shutil.rmtree(folder / "segments")
    mended(folder, "is missing")


def test_a_damaged_segment_is_not_carried_on_by_compaction(folder: Path) -> None:
    path = next(folder.glob(f"segments/*/{segments.VECTORS}"))
    path.unlink()
    with open_index(folder, EMBEDDER) as index, pytest.raises(StoreError, match="index repair"):
        index.compact("flat")
    mended(folder, "is missing")


# -- rows --------------------------------------------------------------------------------------

ROWS = {
    "document deleted": ("DELETE FROM documents WHERE id = 'd0002'", "has a copy and no row"),
    "all documents deleted": ("DELETE FROM documents", "has a copy and no row"),
    "text altered": ("UPDATE documents SET text = 'x' WHERE id = 'd0007'", "the text of"),
    "metadata altered": ("UPDATE documents SET meta = '{}' WHERE id = 'd0007'", "the metadata of"),
    "hash altered": ("UPDATE documents SET text_sha256 = x'00' WHERE id = 'd0007'", "the text of"),
    "id altered": ("UPDATE documents SET id = 'other' WHERE id = 'd0007'", "differ"),
    "source altered": ("UPDATE documents SET source = 'x' WHERE id = 'd0007'", "differ"),
    "number altered": ("UPDATE documents SET number = 900 WHERE id = 'd0007'", "no row"),
    "number altered down": ("UPDATE documents SET number = -5 WHERE id = 'd0007'", "no row"),
    "n_chunks altered": ("UPDATE documents SET n_chunks = 9 WHERE id = 'd0007'", "expected 9"),
    "copy deleted": ("DELETE FROM copies WHERE document = 3", "has lost its copy"),
    "all copies deleted": ("DELETE FROM copies", "has lost its copy"),
    "copy altered": ("UPDATE copies SET payload = x'789c00' WHERE document = 3", "differ"),
    "chunk deleted": ("DELETE FROM chunks WHERE number = 8", "chunks, expected"),
    "all chunks deleted": ("DELETE FROM chunks", "chunks, expected"),
    "chunk moved": ("UPDATE chunks SET document = 1 WHERE document = 9", "to another document"),
    "chunk renumbered": ("UPDATE chunks SET number = 9999 WHERE number = 8", "has no vector"),
    "chunk shortened": ('UPDATE chunks SET "end" = "end" - 1 WHERE number = 8', "the bounds"),
    "field deleted": ("DELETE FROM fields WHERE document = 3 AND name = 'lang'", "the fields of"),
    "all fields deleted": ("DELETE FROM fields", "the fields of"),
    "field altered": ("UPDATE fields SET text = 'fr' WHERE text = 'de'", "the fields of"),
    "number of a field": ("UPDATE fields SET number = 1 WHERE name = 'year'", "the fields of"),
    "stray field": ("INSERT INTO fields VALUES (999, 'a', 'b', NULL)", "which is not there"),
    "segment deleted": ("DELETE FROM segments WHERE kind = 'hnsw'", "has no vector"),
    "all segments deleted": ("DELETE FROM segments", "has no vector"),
    "segment renamed": ("UPDATE segments SET name = 'x' WHERE kind = 'hnsw'", "is missing"),
    "segment's rows": ("UPDATE segments SET n_rows = 7 WHERE kind = 'hnsw'", "expected 7"),
    "segment's kind": ("UPDATE segments SET kind = 'hnsw' WHERE kind = 'flat'", "cannot be read"),
    "segment's files": ("""UPDATE segments SET files = '{"a": [1, ""]}'""", "is missing"),
    "tombstones deleted": ("DELETE FROM tombstones", "which is in no table"),
    "tombstone of a live chunk": ("INSERT INTO tombstones VALUES (12, 1)", "has no vector"),
    "tombstone moved": ("UPDATE tombstones SET chunk = 20 WHERE chunk = "
                        "(SELECT max(chunk) FROM tombstones)", "has no vector"),
    "words of a chunk deleted": ("DELETE FROM chunk_words_docsize WHERE id = 8", "keyword index"),
    "words of all deleted": ("DELETE FROM chunk_words_docsize", "keyword index"),
    "words' data deleted": ("DELETE FROM chunk_words_data WHERE id > 10", "keyword index"),
    "words of a stray": ("INSERT INTO chunk_words (rowid, text) VALUES (999, 'x')", "keyword"),
}  # fmt: skip


@pytest.mark.parametrize("what", ROWS)
def test_a_lost_or_altered_row_is_named_and_mended(folder: Path, what: str) -> None:
    statement, named = ROWS[what]
    sql(folder, statement)
    mended(folder, named)


def test_much_at_once(folder: Path) -> None:
    several = ("document deleted", "copy altered", "chunk shortened", "field deleted",
               "number altered", "segment deleted", "tombstones deleted",
               "words of a chunk deleted")  # fmt: skip
    sql(folder, *(ROWS[what][0] for what in several))
    flip(next(folder.glob(f"segments/*/{segments.ROWS}")), 0.5)
    mended(folder, *(ROWS[what][1] for what in several if what != "tombstones deleted"))


def test_a_reader_that_is_open_sees_the_mended_state(folder: Path) -> None:
    """Its masks of deleted rows are of before; numbers once deleted are not used again."""
    with open_index(folder, EMBEDDER) as reader, open_index(folder, EMBEDDER) as writer:
        assert_holds(reader, DOCUMENTS)
        sql(folder, "INSERT INTO tombstones SELECT 12, generation + 1 FROM state",
            "UPDATE state SET generation = generation + 1")  # fmt: skip
        with pytest.raises(AssertionError):
            assert_holds(reader, DOCUMENTS)
        assert writer.repair() == []
        assert_holds(reader, DOCUMENTS)
        assert_holds(writer, DOCUMENTS)


@pytest.mark.parametrize("left", [(), ("chunks",), ("fields",)])
def test_a_document_lost_with_its_copy_is_named_and_its_vectors_go(
    folder: Path, left: tuple[str, ...]
) -> None:
    with open_index(folder, EMBEDDER) as index:
        number = 3
        with index.database.read() as connection:
            query = sa.text(f"SELECT id FROM documents WHERE number = {number}")
            lost = connection.execute(query).scalar_one()
        for table in ("documents", "copies", "chunks", "fields"):
            column = "number" if table == "documents" else "document"
            if table not in left:
                sql(folder, f"DELETE FROM {table} WHERE {column} = {number}")
        assert index.verify() != []
        if "chunks" in left:
            assert "document number 3 is gone with its copy" in str(index.verify()[0])
        assert index.repair() == []
        assert_holds(index, [d for d in DOCUMENTS if d.id != lost])
        index.upsert([d for d in DOCUMENTS if d.id == lost], source="here")
        assert_holds(index, DOCUMENTS)


def test_tombstones_of_no_segment_do_not_pile_up(folder: Path) -> None:
    sql(folder, "DELETE FROM segments WHERE kind = 'hnsw'")
    with open_index(folder, EMBEDDER) as index:
        assert index.repair() == []
        assert index.compact()["deleted_chunks"] == 0


# -- the database and the marker ---------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1, "database": 3}'])
def test_a_damaged_marker_says_how_to_write_it(folder: Path, content: str) -> None:
    marker = folder / "index.json"
    marker.write_text(content)
    with pytest.raises(StoreError, match=r'write \{"format": 1, "database": "sqlite"\}'):
        open_index(folder, EMBEDDER)
    marker.write_text('{"format": 1, "database": "sqlite"}')
    mended(folder)


def test_an_index_of_a_later_format_asks_for_a_later_nlpkit(folder: Path) -> None:
    (folder / "index.json").write_text('{"format": 2, "database": "sqlite"}')
    with pytest.raises(StoreError, match="pip install -U nlpkit-bert"):
        open_index(folder, EMBEDDER)


def test_a_lost_marker_is_written_again(folder: Path) -> None:
    (folder / "index.json").unlink()
    mended(folder)


def test_a_lost_database_is_named_and_not_made_anew(folder: Path) -> None:
    (folder / "index.db").unlink()
    with pytest.raises(StoreError, match="has lost its database"):
        open_index(folder, EMBEDDER)
    assert not (folder / "index.db").exists()


@pytest.mark.parametrize("damage", ["text", "short", "page", "middle"])
def test_a_damaged_database_is_said_plainly(folder: Path, damage: str) -> None:
    path = folder / "index.db"
    data = bytearray(path.read_bytes())
    if damage == "text":
        data[:] = b"not a database at all" * 1000
    elif damage == "short":
        del data[len(data) // 2 :]
    elif damage == "page":
        data[:4096] = bytes(4096)
    else:
        for page in range(4096, len(data), 4096):
            data[page : page + 100] = b"\xff" * 100
    path.write_bytes(data)
    try:
        with open_index(folder, EMBEDDER) as index:
            said = str(index.verify()[0])
    except StoreError as error:
        said = str(error)
    assert "damaged" in said


def test_lost_settings_are_said(folder: Path) -> None:
    sql(folder, "DELETE FROM settings")
    with pytest.raises(StoreError, match="holds no index settings"):
        open_index(folder, EMBEDDER)


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="give a new or empty folder"):
        open_index(tmp_path, EMBEDDER)
    with pytest.raises(StoreError, match="no index"):
        open_index(tmp_path / "absent", EMBEDDER, create=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_killed_maker_has_left_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    (folder / "segments").mkdir(parents=True)
    for name in ("index.db", "index.db-journal", ".index.json.123"):
        (folder / name).touch()
    with open_index(folder, EMBEDDER) as index:
        assert index.count() == 0


# -- what does not fit -------------------------------------------------------------------------


def test_another_model_is_refused_and_both_are_named(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"built with the model words \(.*got letters \("):
        open_index(folder, WordEmbedder(name="letters"))
    with pytest.raises(StoreError, match="built with"):
        open_index(folder, WordEmbedder(size=7))


def test_other_options_are_refused(folder: Path, kit: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind='auto', got 'hnsw'"):
        open_index(folder, EMBEDDER, kind="hnsw")
    with nlpkit.open_index(tmp_path / "own", kit, chunk_tokens=32):
        pass
    with pytest.raises(InputError, match="chunk_tokens=32, got 64"):
        nlpkit.open_index(tmp_path / "own", kit, chunk_tokens=64)
    with pytest.raises(InputError, match="at least 8"):
        nlpkit.open_index(tmp_path / "new", kit, chunk_tokens=3)
    with pytest.raises(InputTypeError, match="whole number"):
        nlpkit.open_index(tmp_path / "new", kit, chunk_overlap=1.5)
    assert not (tmp_path / "new").exists()


class Broken(WordEmbedder):
    """Gives vectors that no index can hold."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def embed(self, texts: Any) -> NDArray[np.float32]:
        made = super().embed(texts)
        made[-1, 3] = self.value
        return made[:, :-1] if self.value == 0 else made


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_vectors_that_no_index_can_hold_are_refused(folder: Path, value: float) -> None:
    files = {path for path in folder.rglob("*") if path.is_file()}
    with open_index(folder, Broken(value)) as index:
        expected = "not finite" if value else "shape"
        with pytest.raises(InputError, match=expected):
            index.upsert([Document("a", "one"), Document("b", "two")])
        assert index.count() == 30
    assert {path for path in folder.rglob("*") if path.is_file()} == files
    mended(folder)


BAD = [
    ({"id": "", "text": "x"}, "has no id"),
    ({"id": "a", "text": " \n"}, "has no text"),
    ({"id": "a", "text": "a\0b"}, "a NUL character at offset 1"),
    ({"id": "a", "text": "ab\ud800"}, "half a surrogate pair at offset 2"),
    ({"id": "a" * 1001, "text": "x"}, "at most 1000"),
    ({"id": "a", "text": 3}, "must be a string"),
    ({"id": "a", "text": "x", "meta": {"a": float("nan")}}, "within floats' range"),
    ({"id": "a", "text": "x", "meta": {"a": 10**400}}, "within floats' range"),
    ({"id": "a", "text": "x", "meta": {"a": "\ud800"}}, "half a surrogate pair"),
    ({"id": "a", "text": "x", "meta": {"a\0": 1}}, "NUL"),
    ({"id": "a", "text": "x", "meta": {"a": object()}}, "cannot be kept as JSON"),
    ({"id": "a", "text": "x", "meta": {1: "a"}}, "strings as keys"),
]


@pytest.mark.parametrize(("bad", "said"), BAD)
def test_a_document_that_no_store_can_keep_is_refused(
    folder: Path, bad: dict[str, Any], said: str
) -> None:
    with open_index(folder, EMBEDDER) as index:
        with pytest.raises(NlpkitError, match=said):
            index.upsert([Document("fine", "text"), Document(**bad)])
        assert index.count() == 30
        assert index.get(["fine"]) == [None]


# -- versions ----------------------------------------------------------------------------------


def test_a_later_revision_of_the_tables_is_refused(folder: Path) -> None:
    sql(folder, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer nlpkit .*revision 9999"):
        open_index(folder, EMBEDDER)
    with pytest.raises(StoreError, match="another version"):
        open_index(folder, EMBEDDER, read_only=True)


def test_an_index_of_the_first_revision_is_brought_up_to_date(folder: Path) -> None:
    """Readers do not touch it; the first opening to write migrates it, with all it holds."""
    tables = ("predictions", "job_shards", "job_errors", "job_seen", "jobs")
    engine = sa.create_engine(f"sqlite:///{folder / 'index.db'}")
    with engine.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    engine.dispose()
    with pytest.raises(StoreError, match="open it once without read_only"):
        open_index(folder, EMBEDDER, read_only=True)
    mended(folder)
    with open_index(folder, EMBEDDER, read_only=True) as index:
        assert_holds(index, DOCUMENTS)


# -- disks, locks and permissions --------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A folder on a disk of its own size; needs to be root on Linux."""
    path = tmp_path / "disk"
    path.mkdir()

    def mounted(options: str) -> Path:
        kind = ["-o", options] if "remount" in options else ["-t", "tmpfs", "-o", options]
        run = subprocess.run(
            ["mount", *kind, "nlpkit-test", str(path)], capture_output=True, check=False
        )
        if run.returncode:
            pytest.skip("needs to mount a tmpfs, as root on Linux")
        return path

    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(path)], capture_output=True, check=False)


def test_a_full_disk_leaves_the_last_state(small_disk: Callable[..., Path], made: Path) -> None:
    """Full in the segment's files, then in the commit; with space again, the writer goes on."""
    disk = small_disk("size=4m")
    folder = Path(shutil.copytree(made, disk / "index"))
    with open_index(folder, EMBEDDER) as index, open_index(folder, EMBEDDER) as reader:
        more = some_documents(3000, seed=1, first=1000)
        for free in (2_000, 30_000, 60_000, 100_000, 150_000):
            fill(disk, free)
            big = Document(f"big{free}", "engine river " * 10_000)
            with pytest.raises(StoreError, match=r"No space|disk is full|disk I/O") as caught:
                index.upsert([big])
            assert any(words in str(caught.value) for words in ("go on", "last good state"))
            assert_holds(reader, DOCUMENTS)
            (disk / "filler").unlink()
            assert upkeep.leftovers(index) == []
        assert_holds(index, DOCUMENTS)
        index.upsert(more[:50])
        assert_holds(reader, [*DOCUMENTS, *more[:50]])


def fill(disk: Path, free: int) -> None:
    """Leave so many bytes free."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        left = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        file.write(b"x" * max(left - free, 0))


def test_a_folder_that_may_not_be_written_to_can_be_read(
    small_disk: Callable[..., Path], made: Path
) -> None:
    disk = small_disk("size=8m")
    folder = Path(shutil.copytree(made, disk / "index"))
    small_disk("remount,ro")
    with open_index(folder, EMBEDDER, read_only=True) as index:
        assert_holds(index, DOCUMENTS)
    with pytest.raises(StoreError, match="read_only=True"), open_index(folder, EMBEDDER) as index:
        index.upsert([Document("a", "text")])


def test_read_only_refuses_to_write(folder: Path) -> None:
    with open_index(folder, EMBEDDER, read_only=True) as index:
        assert_holds(index, DOCUMENTS)
        for write in (
            lambda: index.upsert([Document("a", "text")]),
            lambda: index.delete(["d0001"]),
        ):
            with pytest.raises(StoreError, match="opened read-only"):
                write()
    with pytest.raises(StoreError, match="is no index"):
        open_index(folder / "absent", EMBEDDER, read_only=True)


HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from small_index import WordEmbedder
from nlpkit.index import open_index, upkeep
index = open_index(sys.argv[1], WordEmbedder())
with upkeep.exclusively(index.folder, wait=True), index.database.write() as connection:
    connection.exec_driver_sql("DELETE FROM documents")
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_locks_of_a_dead_process_are_free(folder: Path) -> None:
    """It dies holding the write lock and the merging lock, its transaction half done."""
    command = [sys.executable, "-c", HOLDER, str(folder), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with upkeep.exclusively(folder, wait=False) as ours:
            assert not ours
        holder.send_signal(signal.SIGKILL)
    mended(folder)


def test_leftovers_of_killed_writers_go_with_time(folder: Path) -> None:
    for name in (".0123", "4567"):
        (folder / "segments" / name).mkdir()
        (folder / "segments" / name / segments.VECTORS).write_bytes(b"half a segm")
    with open_index(folder, EMBEDDER) as index:
        assert {path.name for path in upkeep.leftovers(index)} == {".0123", "4567"}
        assert index.verify() == []
        index.compact()
        assert len(upkeep.leftovers(index)) == 2
        with constants(upkeep, LEFTOVER_SECONDS=0.0):
            index.compact()
        assert upkeep.leftovers(index) == []
        assert_holds(index, DOCUMENTS)


def test_verify_says_nothing_false_while_a_writer_writes(folder: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(folder), str(Path(__file__).parent)]
    with (
        open_index(folder, EMBEDDER) as index,
        subprocess.Popen(command, stdin=subprocess.PIPE) as writer,
    ):
        for _ in range(12):
            assert [str(problem) for problem in index.verify()] == []
        assert writer.stdin is not None
        writer.stdin.close()
        assert writer.wait() == 0


def test_verify_says_nothing_false_while_others_compact(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction waits: the files of the state that is being looked at must stay."""
    row_problems = check._row_problems
    with open_index(folder, EMBEDDER) as index, open_index(folder, EMBEDDER) as other:
        compaction = threading.Thread(target=other.compact)

        def slow(*arguments: Any) -> Iterator[check.Problem]:
            compaction.start()
            compaction.join(0.5)
            yield from row_problems(*arguments)

        monkeypatch.setattr(check, "_row_problems", slow)
        assert [str(problem) for problem in index.verify()] == []
        compaction.join()
        monkeypatch.undo()
        assert_holds(index, DOCUMENTS)


WRITER = """
import select, sys
sys.path.insert(0, sys.argv[2])
from small_index import WordEmbedder, some_documents
from nlpkit.index import open_index, upkeep
upkeep.FAN = 2
index = open_index(sys.argv[1], WordEmbedder())
seed = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    seed += 1
    index.upsert(some_documents(8, seed))
    index.delete(["d0003"])
    if not seed % 5:
        index.compact()
"""


def test_index_json_holds_no_password(tmp_path: Path) -> None:
    with open_index(tmp_path / "index", EMBEDDER, database=f"sqlite:///{tmp_path / 'other.db'}"):
        pass
    marker = json.loads((tmp_path / "index" / "index.json").read_text())
    assert marker["database"].endswith("other.db")
    with Index.__enter__(open_index(tmp_path / "index", EMBEDDER)) as index:
        assert index.count() == 0
