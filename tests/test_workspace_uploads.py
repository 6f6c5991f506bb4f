"""Uploads: what lies on the disk, what is refused, and who sees it."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from workspaces import some_batch

from nlpkit.errors import InputError, InputTypeError, StoreError, UnknownNameError
from nlpkit.workspace import Workspace, default_folder, open_workspace
from nlpkit.workspace.schema import WORKSPACE, metadata

CSV = b"review\nAda went to LONDON\n"


def test_the_migrations_make_the_tables_of_the_schema(workspace: Workspace) -> None:
    with workspace.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    assert ScriptDirectory(str(WORKSPACE.migrations)).get_heads() == [WORKSPACE.revision]


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NLPKIT_WORKSPACE", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local/share/nlpkit"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_folder() == Path("/data/nlpkit")
    monkeypatch.setenv("NLPKIT_WORKSPACE", str(tmp_path / "own"))
    with open_workspace() as opened:
        assert opened.folder == tmp_path / "own"
        assert opened.uploads() == []
        assert opened.model().name.startswith("base-en-")


def test_a_file_lies_under_its_hash_once(workspace: Workspace) -> None:
    one = workspace.add_upload("a.csv", CSV)
    two = workspace.add_upload("b.csv", io.BytesIO(CSV), owner="Grace")
    assert one.sha256 == two.sha256 == hashlib.sha256(CSV).hexdigest()
    assert one.path == two.path == workspace.folder / "uploads" / one.sha256 / "upload.csv"
    assert one.path.read_bytes() == CSV
    assert (one.name, one.n_bytes, one.is_table) == ("a.csv", len(CSV), True)
    workspace.remove_upload(one.number)
    assert two.path.is_file()
    workspace.remove_upload(two.number, owner="Grace")
    assert list((workspace.folder / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\Users\\me\\my reviews.CSV", "my reviews.CSV"),
        ("a\nb\x00\u202e.csv", "ab.csv"),
        ("x" * 500 + ".csv.gz", "x" * 193 + ".csv.gz"),
        ("<script>.csv", "<script>.csv"),
    ],
)
def test_a_name_is_for_display_only(workspace: Workspace, name: str, shown: str) -> None:
    upload = workspace.add_upload(name, CSV)
    assert upload.name == shown
    below = (workspace.folder / "uploads").rglob("*")
    assert {path.name for path in below} == {upload.sha256, f"upload{upload.suffix}"}


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(28, "No space left on device")
            return super().read(3)

    with open_workspace(tmp_path, max_upload_bytes=100) as opened:
        with pytest.raises(InputError, match=r"big\.csv has more than 0 MB.*split the file"):
            opened.add_upload("big.csv", b"x" * 101)
        with pytest.raises(InputError, match="is empty"):
            opened.add_upload("empty.csv", b"")
        for name in ("what.exe", "noname", ".csv"):
            with pytest.raises(InputError, match=r"nobody can read such a file; known: \.csv"):
                opened.add_upload(name, CSV)
        with pytest.raises(InputTypeError, match="data must be bytes"):
            opened.add_upload("a.csv", "text")  # type: ignore[arg-type]
        with pytest.raises(StoreError, match=r"No space left on device; make room"):
            opened.add_upload("a.csv", Broken(CSV))
        assert opened.uploads() == []
        opened.add_upload("just.csv", b"x" * 100)
    assert [path.name for path in (tmp_path / "uploads").rglob("*.*")] == ["upload.csv"]


def test_a_large_file_goes_to_the_disk_a_block_at_a_time(workspace: Workspace) -> None:
    class Endless(io.BytesIO):
        blocks = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 < size <= 1 << 20
            self.blocks += 1
            return b"x" * size if self.blocks <= 30 else b""

    upload = workspace.add_upload("large.csv", Endless())
    assert upload.n_bytes == upload.path.stat().st_size == 30 << 20


def test_owners_see_their_own(workspace: Workspace) -> None:
    mine = workspace.add_upload("a.csv", CSV, owner="Ada")
    workspace.add_upload("b.csv", CSV, owner="Grace")
    assert [upload.name for upload in workspace.uploads("Ada")] == ["a.csv"]
    assert workspace.upload(mine.number, "Ada") == mine
    for owner in ("Grace", ""):
        with pytest.raises(UnknownNameError, match=f"unknown upload {mine.number}"):
            workspace.upload(mine.number, owner)
        with pytest.raises(UnknownNameError):
            workspace.remove_upload(mine.number, owner)
    assert mine.path.is_file()


def test_a_file_that_is_still_to_be_read_is_kept(workspace: Workspace) -> None:
    batch = some_batch(workspace, CSV)
    (upload,) = workspace.uploads()
    with pytest.raises(InputError, match=r"reviews\.csv is still to be read .* delete"):
        workspace.remove_upload(upload.number)
    batch.delete()
    workspace.remove_upload(upload.number)


@pytest.fixture
def closed(workspace: Workspace) -> Iterator[Path]:
    workspace.add_upload("a.csv", CSV)
    workspace.close()
    yield workspace.folder
    shutil.rmtree(workspace.folder)


def test_a_lost_database_is_told(closed: Path) -> None:
    for file in closed.glob("workspace.db*"):
        file.unlink()
    with pytest.raises(StoreError, match=r"has lost its database .* backup"):
        open_workspace(closed)
    assert not (closed / "workspace.db").exists()


def test_a_damaged_database_is_told(closed: Path) -> None:
    (closed / "workspace.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match=r"damaged: restore it from a backup, or choose another"):
        open_workspace(closed)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="choose another folder"):
        open_workspace(tmp_path / "file")
