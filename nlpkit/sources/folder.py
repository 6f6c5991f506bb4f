"""Documents that are files: all of a folder, or a single one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from nlpkit.errors import InputError
from nlpkit.sources.base import (
    BadRow,
    Shard,
    UnusableError,
    check_characters,
    check_size,
    checked_document,
)
from nlpkit.sources.extract import EXTRACTORS, extract, suffix_of
from nlpkit.types import Document


@dataclass(frozen=True, slots=True)
class FolderSource:
    """The files of a folder and the folders in it, one document a file.

    The id is the path below the folder, with ``/`` between its parts; ``path``, ``suffix``,
    ``bytes`` and ``modified`` are metadata, as is what the file says of itself (``title``,
    ``pages``). ``patterns`` such as ``*.pdf`` or ``2024/*`` choose files by name or path, in any
    case of letters; without them every file that can be read as text is taken. Hidden files and
    folders never are. A link inside the folder is followed under its own path, a linked folder
    through one link only; a link out of the folder is a bad row.
    """

    path: Path
    patterns: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        _settle(self, self.path, "folder")
        patterns = (self.patterns,) if isinstance(self.patterns, str) else tuple(self.patterns)
        if not all(isinstance(pattern, str) and pattern for pattern in patterns):
            raise InputError(f"patterns is {self.patterns!r}; expected strings such as '*.pdf'")
        object.__setattr__(self, "patterns", patterns)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "folder",
            "path": str(self.path),
            "patterns": list(self.patterns),
            "name": self.name,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FolderSource:
        return cls(Path(value["path"]), tuple(value["patterns"]), value["name"])

    def shards(self, size: int = 1000) -> Iterator[Shard]:
        """Shards list their paths, so that all workers read the same folder.

        Raises:
            InputError: there is no such folder, or it cannot be listed.
        """
        check_size(size)
        paths = self._paths()
        number = 0
        while part := list(islice(paths, size)):
            yield Shard(number, {"paths": part}, len(part))
            number += 1

    def read(self, shard: Shard) -> Iterator[Document | BadRow]:
        root = os.path.realpath(self.path)
        for path in shard.spec["paths"]:
            yield file_document(path, os.path.join(self.path, path), root)

    def _paths(self) -> Iterator[str]:
        """Paths in the order of their characters: one sorted folder in memory for each level."""
        real = os.path.realpath(self.path)
        try:
            levels = [(real, iter(self._listed("", real)))]
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from None
        linked: set[str] = set()
        while levels:
            folder, entries = levels[-1]
            entry = next(entries, None)
            if entry is None:
                levels.pop()
                continue
            path, is_folder = entry
            if not is_folder:
                yield path
                continue
            below = os.path.join(folder, path.rstrip("/").rpartition("/")[2])
            if os.path.islink(below):
                below = os.path.realpath(below)
                if below in linked or below in {above for above, _ in levels}:
                    continue
                linked.add(below)
            try:
                levels.append((below, iter(self._listed(path, below))))
            except OSError:
                yield path.removesuffix("/")  # read() finds out why

    def _listed(self, prefix: str, folder: str) -> Sequence[tuple[str, bool]]:
        """Wanted paths of one folder, sorted; those of folders to enter end in a slash.

        The slash puts a folder where its paths belong among those of its neighbours.
        """
        root = os.path.realpath(self.path)
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = prefix + entry.name
                # Not entry.is_dir(), which raises where links go round in a circle.
                is_folder = os.path.isdir(entry.path)
                if is_folder and _contains(root, os.path.realpath(entry.path)):
                    found.append((path + "/", True))
                elif is_folder or self._wants(path):
                    found.append((path, False))
        return sorted(found)

    def _wants(self, path: str) -> bool:
        if not self.patterns:
            return suffix_of(path) in EXTRACTORS
        lower = path.lower()
        name = lower.rpartition("/")[2]
        patterns = [pattern.lower() for pattern in self.patterns]
        return any(fnmatchcase(name, one) or fnmatchcase(lower, one) for one in patterns)


@dataclass(frozen=True, slots=True)
class FileSource:
    """One file as one document, under its name."""

    path: Path
    name: str = ""

    def __post_init__(self) -> None:
        _settle(self, self.path, "file")

    def to_json(self) -> dict[str, Any]:
        return {"kind": "file", "path": str(self.path), "name": self.name}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FileSource:
        return cls(Path(value["path"]), value["name"])

    def shards(self, size: int = 1000) -> Iterator[Shard]:
        """One.

        Raises:
            InputError: there is no such file.
        """
        check_size(size)
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file")
        yield Shard(0, {}, 1)

    def read(self, shard: Shard) -> Iterator[Document | BadRow]:
        yield file_document(self.path.name, str(self.path))


def _settle(source: FolderSource | FileSource, path: Path, kind: str) -> None:
    # Links stay as they were given: /data/current keeps its name when it comes to point elsewhere.
    absolute = Path(os.path.abspath(Path(path).expanduser()))
    object.__setattr__(source, "path", absolute)
    object.__setattr__(source, "name", source.name or f"{kind}:{absolute}")


def file_document(id: str, path: str, root: str | None = None) -> Document | BadRow:
    """The document of a file, read as the suffix of its id says; below a root, if one is given."""
    known_id: str | None = None
    try:
        check_characters("the path", id)
        known_id = id
        if root is not None and not _contains(root, os.path.realpath(path)):
            raise UnusableError("a link out of the folder; expected a file inside it")
        with _opened(path) as file:
            status = os.fstat(file.fileno())
            suffix = suffix_of(id)
            extracted = extract(file, suffix)
        meta = {
            "path": id,
            "suffix": suffix,
            "bytes": status.st_size,
            "modified": _moment(status.st_mtime),
        }
        return checked_document(id, extracted.text, meta | extracted.meta)
    except UnusableError as error:
        return BadRow(known_id, os.fsencode(id).decode("utf-8", "backslashreplace"), str(error))


def _opened(path: str) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
        if not stat.S_ISREG(mode):  # opening a pipe would wait for its other end
            what = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
            raise UnusableError(f"{what}; expected a file")
        return open(path, "rb")
    except OSError as error:
        what = "a link that leads nowhere" if os.path.islink(path) else "cannot be read"
        raise UnusableError(f"{what} ({error.strerror})") from None


def _contains(root: str, path: str) -> bool:
    return os.path.commonpath((root, path)) == root


def _moment(seconds: float) -> str | None:
    """ISO date and time in UTC; none for what no calendar has."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return None
