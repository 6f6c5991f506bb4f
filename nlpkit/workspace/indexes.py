"""Indexes by name, and the jobs that build and keep them: queued here, done by the worker.

The worker runs them as jobs of :mod:`nlpkit.jobs`; how far one is can be read here by everybody
without opening the index.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from nlpkit.errors import InputError, StoreError, UnknownNameError
from nlpkit.index import Embedder, Index, open_index
from nlpkit.index.opening import MARKER
from nlpkit.workspace.models import model_in_use
from nlpkit.workspace.schema import indexes
from nlpkit.workspace.tables import preview
from nlpkit.workspace.uploads import Upload
from nlpkit.workspace.work import State, Work, add_work, list_work

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.pipeline import Pipeline
    from nlpkit.workspace.workspace import Workspace

#: How the folder of an index is called while it is deleted.
REMOVED = ".removed-"


class IndexJob(Work):
    """A job of an index: ``do`` is build, retry, compact, verify, repair or look.

    ``result`` has what came of it: ``added``, ``updated``, ``unchanged`` and ``deleted``
    documents, or the ``problems`` that were found, as sentences.
    """

    kind: ClassVar[str] = "index"

    @property
    def do(self) -> str:
        """What it does."""
        return str(self.options["do"])

    @property
    def index(self) -> IndexEntry:
        """The index that it works on."""
        with self.database.read() as connection:
            query = sa.select(indexes).where(indexes.c.number == self.options["index"])
            return IndexEntry(self.workspace, connection.execute(query).one())

    def retry(self) -> IndexJob:
        """Queue a job that reads the rows again that this one set aside.

        Raises:
            InputError: it set none aside, or is still at work.
        """
        status = self.status()
        if status.state != State.DONE or not status.errors or "job" not in self.result:
            raise InputError(f"{self.name} ({status.state}) has no rows to read again")
        more = {"job": self.result["job"], "uploads": self.options["uploads"]}
        return self.index.queue("retry", **more)


class IndexEntry:
    """An index under a name.

    ``facts`` is what its last job has left behind: ``documents``, ``chunks``, ``bytes``,
    ``model``, ``kind`` and ``recall_at_10`` (None: exact); empty until there is something.
    """

    def __init__(self, workspace: Workspace, row: Any) -> None:
        self.workspace = workspace
        self.number: int = row.number
        self.owner: str = row.owner
        self.name: str = row.name
        self.path = Path(row.path)
        self.made_here = bool(row.made_here)
        self.facts: dict[str, Any] = row.facts
        self.created_at: float = row.created_at

    def __repr__(self) -> str:
        return f"IndexEntry({self.name!r}, {str(self.path)!r})"

    @property
    def is_there(self) -> bool:
        """Whether it can be opened: a new one is not until its first job has begun."""
        return (self.path / MARKER).is_file()

    def open(self, model: Pipeline | Embedder | None = None, *, read_only: bool = False) -> Index:
        """The index; close it, or use it as a context manager.

        ``model`` is a pipeline that is loaded already, to share its memory; where the index was
        made with another one, it is refused.

        Raises:
            StoreError: it is not built yet, damaged, or was made with another model.
        """
        if not self.is_there:
            said = "is not built yet" if self.made_here else f"is no longer in {self.path}"
            raise StoreError(f"the index {self.name} {said}")
        return open_index(self.path, model, create=False, read_only=read_only)

    def jobs(self) -> list[IndexJob]:
        """Its jobs, newest first."""
        numbers = list_work(self.workspace, IndexJob.kind, self.owner)
        found = [IndexJob(self.workspace, number, self.owner) for number in numbers]
        return [job for job in found if job.options["index"] == self.number]

    def add(
        self,
        *,
        uploads: Sequence[Upload] = (),
        folder: str | Path | None = None,
        text_column: str | None = None,
        id_column: str | None = None,
        prune: bool = False,
    ) -> IndexJob:
        """Queue a job that reads uploads, or a folder, into the index.

        Documents go by the names of their files (rows by those and their number), or by
        ``id_column``; what has not changed costs nothing. ``text_column`` is that of tables, by
        default the one with the longest texts. ``prune`` deletes what came from a source of the
        same name and is no longer in it.

        Raises:
            InputError: neither or both are given, or one of them cannot be read.
        """
        source = source_options(uploads, folder, text_column, id_column)
        return self.queue("build", **source, prune=prune)

    def compact(self) -> IndexJob:
        """Queue a job that brings it into the best shape for searching."""
        return self.queue("compact")

    def verify(self) -> IndexJob:
        """Queue a job that looks for damage."""
        return self.queue("verify")

    def repair(self) -> IndexJob:
        """Queue a job that mends what :meth:`verify` finds."""
        return self.queue("repair")

    def look(self) -> IndexJob:
        """Queue a job that brings :attr:`facts` up to date."""
        return self.queue("look")

    def queue(self, do: str, **options: Any) -> IndexJob:
        """Queue a job."""
        with self.workspace.database.step() as connection:
            number = queue_job(connection, self.number, self.owner, self.name, do, options)
        return IndexJob(self.workspace, number, self.owner)


def add_index(
    workspace: Workspace, name: str, owner: str, path: Path | None, source: Mapping[str, Any] | None
) -> IndexEntry:
    """Register an index that is there, or make one and queue its first job."""
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise InputError(f"the name is {name!r:.120}; expected one to hundred letters")
    name = name.strip()
    if path is not None and not (path / MARKER).is_file():
        raise InputError(f"{path} is no index (it has no {MARKER}); expected an index's folder")
    with workspace.database.step() as connection:
        taken = sa.select(indexes.c.number).where(indexes.c.owner == owner, indexes.c.name == name)
        if connection.execute(taken).first() is not None:
            raise InputError(f"there is an index {name!r}; choose another name")
        folder = workspace.folder / "indexes" / uuid.uuid4().hex[:16] if path is None else path
        number = connection.execute(
            sa.insert(indexes)
            .values(
                owner=owner,
                name=name,
                path=str(folder),
                made_here=int(path is None),
                facts={},
                created_at=time.time(),
            )
            .returning(indexes.c.number)
        ).scalar_one()
        if source is not None:
            queue_job(connection, number, owner, name, "build", {**source, "prune": False})
        else:
            queue_job(connection, number, owner, name, "look", {})
    return find_index(workspace, name, owner)


def list_indexes(workspace: Workspace, owner: str) -> list[IndexEntry]:
    """An owner's indexes, by name."""
    query = sa.select(indexes).where(indexes.c.owner == owner).order_by(indexes.c.name)
    with workspace.database.read() as connection:
        return [IndexEntry(workspace, row) for row in connection.execute(query)]


def find_index(workspace: Workspace, name: str, owner: str) -> IndexEntry:
    """An owner's index by name."""
    found = {entry.name: entry for entry in list_indexes(workspace, owner)}
    if name not in found:
        raise UnknownNameError.of("index", name, found)
    return found[name]


def remove_index(workspace: Workspace, name: str, owner: str) -> None:
    """Forget an index and its jobs; the files go if the workspace has made them."""
    entry = find_index(workspace, name, owner)
    for job in entry.jobs():
        job.delete()  # a worker that is at it stops
    with workspace.database.step() as connection:
        connection.execute(sa.delete(indexes).where(indexes.c.number == entry.number))
    clear(entry)


def clear(entry: IndexEntry) -> None:
    """Delete the files of an index that is registered no more, if they were made here."""
    with entry.workspace.database.read() as connection:
        there = sa.select(indexes.c.number).where(indexes.c.number == entry.number)
        if not entry.made_here or connection.execute(there).first() is not None:
            return
    with suppress(FileNotFoundError):  # all at once, for those who still read it
        away = entry.path.rename(entry.path.with_name(f"{REMOVED}{uuid.uuid4().hex}"))
        shutil.rmtree(away, ignore_errors=True)


def set_facts(connection: Connection, number: int, facts: Mapping[str, Any]) -> None:
    """Keep what a job has left behind."""
    changed = sa.update(indexes).where(indexes.c.number == number)
    connection.execute(changed.values(facts=dict(facts)))


def source_options(
    uploads: Sequence[Upload],
    folder: str | Path | None,
    text_column: str | None,
    id_column: str | None,
) -> dict[str, Any]:
    """What a job needs to know of its source."""
    if bool(uploads) == (folder is not None):
        raise InputError("an index is made of uploads or of a folder; expected one of them")
    if folder is not None:
        path = Path(folder).expanduser().absolute()
        if not path.is_dir():
            raise InputError(f"{path}: no such folder")
        return {"folder": str(path), "uploads": []}
    files = [_file(upload, text_column, id_column) for upload in uploads]
    return {"files": files, "id_column": id_column, "uploads": [one.number for one in uploads]}


def _file(upload: Upload, text_column: str | None, id_column: str | None) -> dict[str, Any]:
    if not upload.is_table:
        return {"upload": upload.number}
    seen = preview(upload, 1)
    column = text_column or seen.text_column
    if column is None:
        raise InputError(f"{upload.name} has no column with texts; expected one")
    for name in filter(None, (column, id_column)):
        if name not in seen.columns:
            known = ", ".join(map(repr, seen.columns))
            raise InputError(f"{upload.name} has no column {name!r}; its columns: {known}")
    return {"upload": upload.number, "reading": seen.reading.to_json(), "text_column": column}


def queue_job(
    connection: Connection, index: int, owner: str, name: str, do: str, options: Mapping[str, Any]
) -> int:
    """Queue a job of an index; a new index is made with the model that the workspace has now."""
    model = model_in_use(connection)
    common = {"index": index, "do": do, "bundle": model.bundle}
    return add_work(connection, IndexJob.kind, name, owner, {"uploads": [], **options, **common})
