"""Uploads: files as they were given, stored under the SHA-256 of their content.

The name a file came under is kept to be shown and is never part of a path; of it only the
suffix counts, and only if it is one of those we know.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import sqlalchemy as sa

from nlpkit.errors import InputError, InputTypeError, StoreError, UnknownNameError
from nlpkit.sources.extract import EXTRACTORS, suffix_of
from nlpkit.sources.rows import FORMATS
from nlpkit.workspace.schema import uploads, work

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.workspace.workspace import Workspace

#: Files of rows beyond those that ``nlpkit.sources`` reads as they are.
TABLES = (*FORMATS, ".tsv", ".xlsx")
#: Bytes that are in memory at a time.
BLOCK = 1 << 20
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was given; ``folder`` holds it, and what is made from it to read it faster."""

    number: int
    owner: str
    name: str
    sha256: str
    suffix: str
    n_bytes: int
    uploaded_at: float
    folder: Path

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"upload{self.suffix}"

    @property
    def is_table(self) -> bool:
        """Whether it holds rows, as opposed to one text."""
        return self.suffix in TABLES


def add_upload(workspace: Workspace, name: str, data: bytes | BinaryIO, owner: str) -> Upload:
    """Store a file, a block at a time; the same content twice lies on the disk once."""
    if not isinstance(data, bytes) and not hasattr(data, "read"):
        raise InputTypeError.of("data", data, "bytes or an open binary file")
    shown = shown_name(name)
    suffix = suffix_of(shown)
    if suffix not in TABLES and suffix not in EXTRACTORS:
        known = " ".join(dict.fromkeys((*TABLES, *EXTRACTORS)))
        raise InputError(f"{shown}: nobody can read such a file; known: {known}")
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    root = workspace.folder / "uploads"
    draft = root / f".draft-{uuid.uuid4().hex}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        sha256, n_bytes = _copy(file, draft, shown, workspace.max_upload_bytes)
        folder = root / sha256
        with workspace.database.step() as connection:  # in which none is removed, either
            folder.mkdir(exist_ok=True)
            draft.replace(folder / f"upload{suffix}")
            number = connection.execute(
                sa.insert(uploads)
                .values(
                    owner=owner,
                    name=shown,
                    sha256=sha256,
                    suffix=suffix,
                    n_bytes=n_bytes,
                    uploaded_at=time.time(),
                )
                .returning(uploads.c.number)
            ).scalar_one()
    except OSError as error:
        raise StoreError(
            f"{shown} could not be stored in {root}: {error.strerror or error}; make room there, "
            "or check who may write to it"
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    return find_upload(workspace, number, owner)


def list_uploads(workspace: Workspace, owner: str) -> list[Upload]:
    """An owner's uploads, newest first."""
    query = sa.select(uploads).where(uploads.c.owner == owner).order_by(uploads.c.number.desc())
    with workspace.database.read() as connection:
        return [_upload(workspace, row) for row in connection.execute(query)]


def find_upload(workspace: Workspace, number: int, owner: str) -> Upload:
    """An owner's upload by number."""
    with workspace.database.read() as connection:
        return _upload(workspace, _row(connection, number, owner))


def remove_upload(workspace: Workspace, number: int, owner: str) -> None:
    """Forget an upload; the file goes with the last upload of its content."""
    with workspace.database.step() as connection:
        row = _row(connection, number, owner)
        unread = sa.select(work.c.name, work.c.options).where(work.c.state != "done")
        for name, options in connection.execute(unread):
            if number in options.get("uploads", ()):
                raise InputError(
                    f"{row.name} is still to be read for {name!r}; let that come to its end, or "
                    "delete it first"
                )
        connection.execute(sa.delete(uploads).where(uploads.c.number == number))
        same = sa.select(uploads.c.suffix).where(uploads.c.sha256 == row.sha256)
        suffixes = set(connection.execute(same).scalars())
        upload = _upload(workspace, row)
        if not suffixes:
            shutil.rmtree(upload.folder, ignore_errors=True)
        elif upload.suffix not in suffixes:
            upload.path.unlink(missing_ok=True)


def shown_name(name: str) -> str:
    """A file's name without folders and control characters, not too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(c for c in last if c.isprintable()).strip() or "upload"
    if len(plain) <= LONGEST_NAME:
        return plain
    suffix = suffix_of(plain)[:LONGEST_NAME]
    return plain[: LONGEST_NAME - len(suffix)] + suffix


def _copy(file: BinaryIO, draft: Path, name: str, most: int) -> tuple[str, int]:
    """Write a file to the disk; its SHA-256 and size."""
    digest, n_bytes = hashlib.sha256(), 0
    with draft.open("xb") as written:
        while block := file.read(BLOCK):
            n_bytes += len(block)
            if n_bytes > most:
                raise InputError(
                    f"{name} has more than {most / 2**20:,.0f} MB, which is the most that is taken "
                    "here; split the file, or let whoever runs the app raise the limit"
                )
            digest.update(block)
            written.write(block)
        if not n_bytes:
            raise InputError(f"{name} is empty; expected a file with something in it")
        written.flush()
        os.fsync(written.fileno())
    return digest.hexdigest(), n_bytes


def _row(connection: Connection, number: int, owner: str) -> Any:
    mine = sa.and_(uploads.c.number == number, uploads.c.owner == owner)
    row = connection.execute(sa.select(uploads).where(mine)).first()
    if row is None:
        known = sa.select(uploads.c.number).where(uploads.c.owner == owner)
        raise UnknownNameError.of(
            "upload", number, map(str, connection.execute(known).scalars()), "Upload it again."
        )
    return row


def _upload(workspace: Workspace, row: Any) -> Upload:
    folder = workspace.folder / "uploads" / row.sha256
    return Upload(
        row.number,
        row.owner,
        row.name,
        row.sha256,
        row.suffix,
        row.n_bytes,
        row.uploaded_at,
        folder,
    )
