"""The workspace: a folder with a database, and all that is kept in it, by owner."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from nlpkit.errors import StoreError
from nlpkit.store.database import Database
from nlpkit.workspace import indexes, models, trainings, uploads
from nlpkit.workspace.batches import Batch
from nlpkit.workspace.corrections import Corrections
from nlpkit.workspace.indexes import IndexEntry
from nlpkit.workspace.models import Model
from nlpkit.workspace.schema import WORKSPACE
from nlpkit.workspace.trainings import Training
from nlpkit.workspace.uploads import Upload
from nlpkit.workspace.work import list_work

DATABASE = "workspace.db"
#: Bytes of an upload, at most, unless told.
MOST_BYTES = 200 * 2**20


def default_folder() -> Path:
    """``NLPKIT_WORKSPACE``, else ``nlpkit`` where the system keeps a user's data."""
    named = os.environ.get("NLPKIT_WORKSPACE")
    if named:
        return Path(named).expanduser()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "nlpkit"


def open_workspace(
    folder: str | Path | None = None, *, max_upload_bytes: int = MOST_BYTES
) -> Workspace:
    """The workspace in a folder, made there if it is absent; by default :func:`default_folder`.

    Cheap; any number of processes and threads may have it open.

    Raises:
        StoreError: the folder cannot be written to, or its database is lost or damaged.
    """
    path = Path(folder) if folder is not None else default_folder()
    path = path.expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        is_new = not (path / DATABASE).exists()
        if is_new and any((path / name).exists() for name in ("uploads", "indexes", "packs")):
            raise StoreError(
                f"{path} has lost its database {DATABASE}: put it back from a backup, or move the "
                "folder away to begin with an empty workspace"
            )
    except OSError as error:
        raise StoreError(
            f"{path} cannot be a workspace: {error.strerror or error}; choose another folder"
        ) from None
    database = Database(f"sqlite:///{path / DATABASE}", tables=WORKSPACE)
    return Workspace(path, database, max_upload_bytes)


class Workspace:
    """An analyst's uploads, batches, indexes, corrections, trainings, and the model in use.

    Made by :func:`open_workspace`; close it, or use it as a context manager. What belongs to an
    ``owner`` ("" where users are off) is shown to no other.
    """

    def __init__(self, folder: Path, database: Database, max_upload_bytes: int) -> None:
        self.folder = folder
        self.database = database
        self.max_upload_bytes = max_upload_bytes
        #: What people say that texts should have got.
        self.corrections = Corrections(self)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Workspace({str(self.folder)!r})"

    def close(self) -> None:
        """Give back all connections."""
        self.database.close()

    # -- uploads ----------------------------------------------------------------------------------

    def add_upload(self, name: str, data: bytes | BinaryIO, owner: str = "") -> Upload:
        """Store a file; ``name`` says by its suffix what it is, and is otherwise for display.

        Raises:
            InputError: it is empty, too large, or a kind of file that nobody reads.
            StoreError: it cannot be written.
        """
        return uploads.add_upload(self, name, data, owner)

    def uploads(self, owner: str = "") -> list[Upload]:
        """The uploads, newest first."""
        return uploads.list_uploads(self, owner)

    def upload(self, number: int, owner: str = "") -> Upload:
        """An upload by number.

        Raises:
            UnknownNameError: there is none.
        """
        return uploads.find_upload(self, number, owner)

    def remove_upload(self, number: int, owner: str = "") -> None:
        """Forget an upload, and the file if it is the last of its content.

        What was read of it stays.

        Raises:
            UnknownNameError: there is none.
            InputError: a batch or index still has to read it.
        """
        uploads.remove_upload(self, number, owner)

    # -- batches ----------------------------------------------------------------------------------

    def batches(self, owner: str = "") -> list[Batch]:
        """The batches, newest first; :func:`nlpkit.workspace.start_batch` makes one."""
        return [Batch(self, number, owner) for number in list_work(self, Batch.kind, owner)]

    def batch(self, number: int, owner: str = "") -> Batch:
        """A batch by number.

        Raises:
            UnknownNameError: there is none.
        """
        return Batch(self, number, owner)

    # -- indexes ----------------------------------------------------------------------------------

    def add_index(
        self,
        name: str,
        *,
        uploads: Sequence[Upload] = (),
        folder: str | Path | None = None,
        path: str | Path | None = None,
        text_column: str | None = None,
        id_column: str | None = None,
        owner: str = "",
    ) -> IndexEntry:
        """Make an index of uploads or of a folder's files, or register the one in ``path``.

        What is made is made by the worker; :meth:`IndexEntry.jobs` has the job. See
        :meth:`IndexEntry.add` for the columns.

        Raises:
            InputError: the name is taken, or there is no such source or index.
        """
        if path is not None:
            there = Path(path).expanduser().absolute()
            return indexes.add_index(self, name, owner, there, None)
        source = indexes.source_options(uploads, folder, text_column, id_column)
        return indexes.add_index(self, name, owner, None, source)

    def indexes(self, owner: str = "") -> list[IndexEntry]:
        """The indexes, by name."""
        return indexes.list_indexes(self, owner)

    def index(self, name: str, owner: str = "") -> IndexEntry:
        """An index by name.

        Raises:
            UnknownNameError: there is none.
        """
        return indexes.find_index(self, name, owner)

    def remove_index(self, name: str, owner: str = "") -> None:
        """Forget an index and its jobs; its files are deleted only if they were made here.

        Raises:
            UnknownNameError: there is none.
        """
        indexes.remove_index(self, name, owner)

    # -- the model --------------------------------------------------------------------------------

    def model(self) -> Model:
        """The model that texts are read with."""
        with self.database.read() as connection:
            return models.model_in_use(connection)

    def set_model(self, bundle: str | Path, packs: Sequence[str | Path] | None = None) -> Model:
        """Read with another model from now on.

        Args:
            bundle: a bundle's name or folder.
            packs: folders of task packs; by default those of accepted trainings that fit.

        Raises:
            UnknownNameError, BundleError: one of them is not there, or broken.
            InputError: a pack was made for another backbone.
        """
        if packs is None:
            packs = trainings.accepted_packs(self, models.model_of(bundle))
        return models.set_model(self, bundle, packs)

    # -- trainings --------------------------------------------------------------------------------

    def start_training(self, task: str, owner: str = "", by: str = "", seed: int = 0) -> Training:
        """Queue a training of a task's head on what was corrected.

        Raises:
            UnknownNameError: the model has no such task.
            InputError: fewer than MIN_TEXTS texts are corrected.
        """
        return trainings.start_training(self, task, owner, by, seed)

    def trainings(self, owner: str = "") -> list[Training]:
        """The trainings, newest first."""
        return [Training(self, number, owner) for number in list_work(self, Training.kind, owner)]

    def training(self, number: int, owner: str = "") -> Training:
        """A training by number.

        Raises:
            UnknownNameError: there is none.
        """
        return Training(self, number, owner)
