"""Documents that are rows of a file: CSV, JSONL or Parquet.

A shard of a CSV or JSONL file says at which byte its first row begins, one of a Parquet file at
which row; to read it means to go there, not through what stands before. Two kinds of file cannot
be entered in the middle: a gzip file is unpacked up to the place (but not parsed), and of a
Parquet file a row group is decoded from its beginning, so groups of some ten thousand rows are
best.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlpkit.errors import InputError
from nlpkit.sources.base import (
    BadRow,
    Shard,
    check_columns,
    check_size,
    columns_of,
    document_of,
)
from nlpkit.sources.extract import suffix_of
from nlpkit.sources.rows import FORMATS, Format
from nlpkit.types import Document


@dataclass(frozen=True, slots=True)
class TableSource:
    """The rows of a .csv, .jsonl, .ndjson or .parquet file, one document a row.

    The text is that of ``text_column``, or of several columns, those that hold any joined by
    ``joiner``. The id is that of ``id_column``; in a file without a column ``id``, or with
    ``id_column=None``, it is the file's name and the number of the row: ``reviews.csv:17``. All
    other fields become metadata.
    """

    path: Path
    text_column: str | tuple[str, ...] = "text"
    id_column: str | None = "id"
    joiner: str = " "
    name: str = ""

    def __post_init__(self) -> None:
        path = Path(os.path.abspath(Path(self.path).expanduser()))
        if suffix_of(path.name) not in FORMATS:
            raise InputError(f"{path}: expected a name in {', '.join(FORMATS)}")
        columns = columns_of(self.text_column)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "text_column", columns[0] if len(columns) == 1 else columns)
        object.__setattr__(self, "name", self.name or f"table:{path}")

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "table",
            "path": str(self.path),
            "text_column": list(columns_of(self.text_column)),
            "id_column": self.id_column,
            "joiner": self.joiner,
            "name": self.name,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TableSource:
        return cls(
            Path(value["path"]),
            tuple(value["text_column"]),
            value["id_column"],
            value["joiner"],
            value["name"],
        )

    def shards(self, size: int = 1000) -> Iterator[Shard]:
        """Shards say where their first row is, and whether rows go by their numbers.

        Raises:
            InputError: there is no such file, or it lacks a column.
            DataError: the file as a whole is damaged.
        """
        check_size(size)
        columns = self._format.columns(self.path)
        numbered = self.id_column is None or (self.id_column == "id" and "id" not in columns)
        if self._format.has_columns:
            needed = columns_of(self.text_column) + (() if numbered else (str(self.id_column),))
            check_columns(str(self.path), columns, needed)
        row = 1
        for number, place in enumerate(self._format.places(self.path, size)):
            yield Shard(number, {**place.spec, "row": row, "numbered": numbered}, place.n_rows)
            row += place.n_rows

    def read(self, shard: Shard) -> Iterator[Document | BadRow]:
        columns = columns_of(self.text_column)
        id_column = None if shard.spec["numbered"] else self.id_column
        rows = self._format.rows(self.path, shard.spec, shard.n_rows)
        for number, (where, fields) in enumerate(rows, shard.spec["row"]):
            row_id = f"{self.path.name}:{number}"
            place = f"{self.path.name}, {where}"
            if isinstance(fields, str):
                yield BadRow(row_id if id_column is None else None, place, fields)
            else:
                untyped = self._format.untyped
                yield document_of(fields, place, columns, self.joiner, id_column, row_id, untyped)

    @property
    def _format(self) -> Format:
        return FORMATS[suffix_of(self.path.name)]
