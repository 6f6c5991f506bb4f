"""Files under names of their own: documents and tables that lie anywhere on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nlpkit.errors import InputError
from nlpkit.sources.base import BadRow, Shard, check_columns, check_size, document_of
from nlpkit.sources.extract import EXTRACTORS, suffix_of
from nlpkit.sources.folder import file_document
from nlpkit.sources.rows import FORMATS, Csv, Format
from nlpkit.types import Document


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file and what it is called; with a ``text_column`` a table, without one a document.

    A table is read as the suffix of its path says, a document as that of its name does.
    ``delimiter`` is that of a CSV file.
    """

    path: str
    name: str
    text_column: str | None = None
    delimiter: str = ","

    @property
    def format(self) -> Format:
        """How its rows are read, if it is a table."""
        suffix = suffix_of(self.path)
        return Csv(self.delimiter) if suffix.startswith((".csv", ".tsv")) else FORMATS[suffix]


@dataclass(frozen=True, slots=True)
class ListedSource:
    """Files whose documents go by the files' names, which must differ: ``report.pdf``.

    A row is a document of its own: ``reviews.csv:17`` by its number, or what stands in
    ``id_column``. All other columns become metadata.
    """

    files: tuple[ListedFile, ...]
    id_column: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        names = [file.name for file in self.files]
        if not names or len(set(names)) != len(names):
            raise InputError(f"files are {names}; expected at least one, each of another name")
        for file in self.files:
            known = EXTRACTORS if file.text_column is None else {**FORMATS, ".tsv": None}
            suffix = suffix_of(file.name if file.text_column is None else file.path)
            if suffix not in known:
                raise InputError(f"{file.name}: nobody can read it; known: {' '.join(known)}")
        object.__setattr__(self, "name", self.name or f"files:{', '.join(names)}")

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "listed",
            "files": [asdict(file) for file in self.files],
            "id_column": self.id_column,
            "name": self.name,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ListedSource:
        files = tuple(ListedFile(**file) for file in value["files"])
        return cls(files, value["id_column"], value["name"])

    def shards(self, size: int = 1000) -> Iterator[Shard]:
        """A shard for each document, and shards of rows.

        Raises:
            InputError: a file is not there, or a table lacks a column.
            DataError: a table as a whole is damaged.
        """
        check_size(size)
        number = 0
        for place, file in enumerate(self.files):
            for spec, n_rows in _parts(file, self.id_column, size):
                yield Shard(number, {"file": place, **spec}, n_rows)
                number += 1

    def read(self, shard: Shard) -> Iterator[Document | BadRow]:
        file = self.files[shard.spec["file"]]
        if file.text_column is None:
            yield file_document(file.name, file.path)
            return
        rows = file.format.rows(Path(file.path), shard.spec, shard.n_rows)
        for number, (where, fields) in enumerate(rows, shard.spec["row"]):
            id, place = f"{file.name}:{number}", f"{file.name}, {where}"
            if isinstance(fields, str):
                yield BadRow(id if self.id_column is None else None, place, fields)
                continue
            columns: Sequence[str] = (file.text_column,)
            untyped = file.format.untyped
            yield document_of(fields, place, columns, " ", self.id_column, id, untyped)


def _parts(
    file: ListedFile, id_column: str | None, size: int
) -> Iterator[tuple[dict[str, int], int]]:
    """Where parts of a file begin, and how many documents are in each."""
    path = Path(file.path)
    if not path.is_file():
        raise InputError(f"{file.name} ({path}): no such file")
    if file.text_column is None:
        yield {}, 1
        return
    columns = file.format.columns(path)
    if file.format.has_columns:
        needed = [name for name in (file.text_column, id_column) if name is not None]
        check_columns(file.name, columns, needed)
    row = 1
    for place in file.format.places(path, size):
        yield {**place.spec, "row": row}, place.n_rows
        row += place.n_rows
