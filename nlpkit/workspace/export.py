"""A batch's rows as a file: the source's columns, in its order, and beside them the results.

==============  ===================================================================================
``TASK``        the class of a classification task, as ``sentiment``; of a multi-label task all
                that were given, as ``art; city``
``TASK_score``  the score of that class, from 0 to 1; of several that of the likeliest
``entities``    every entity with ``text``, ``label``, ``start``, ``end`` (characters of the text,
                counted from 0) and ``score``: JSON in CSV, lists in JSON lines and Parquet
``PER``, ...    a column for each label of entities that was found, with the different texts, as
                ``Ada; Charles``; not in JSON lines
``warning``     why the results of a row mean little; there only where a row has one
==============  ===================================================================================

A result whose name the source has for a column of its own is called ``nlpkit_TASK`` and so on.
Rows that were set aside are not in the file.

CSV is UTF-8 with a mark, by which Excel knows it. A text that a spreadsheet would run as a
formula (it begins with ``= + - @``, their full-width forms, a tab or a line end, and is no number)
gets an apostrophe before it, as OWASP advises against CSV injection; JSON lines and Parquet have
every text as it was. Parquet keeps whole numbers, numbers and booleans; a column of several
kinds is text, and so are dates.
"""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nlpkit.errors import MissingExtraError, StoreError, UnknownNameError
from nlpkit.heads import TokenHead
from nlpkit.scoring.base import MULTI_LABEL_THRESHOLD
from nlpkit.workspace import results
from nlpkit.workspace.guesses import is_number
from nlpkit.workspace.results import BatchRow, Filters

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.workspace.batches import Batch

#: What makes a spreadsheet take a text that begins with it for a formula.
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
#: Stands between the values of a cell that has several.
BETWEEN = "; "
#: Rows of a Parquet file that are in memory at a time.
GROUP = 5000


def export_rows(batch: Batch, format: str, file: str | Path | BinaryIO, filters: Filters) -> int:
    """Write the rows that pass; returns how many.

    Raises:
        UnknownNameError: a format that is none of csv, jsonl and parquet.
        StoreError: the file cannot be written.
    """
    if format not in FORMATS:
        raise UnknownNameError.of("format", format, FORMATS)
    with opened(file) as written, batch.database.read() as connection:
        layout = Layout(connection, batch)

        def rows() -> Iterator[BatchRow]:
            return results.read_rows(connection, batch.number, filters)

        return FORMATS[format](rows, layout, written)


@contextmanager
def opened(file: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    """A binary file to write to; one at a path appears when it is whole."""
    if not isinstance(file, str | Path):
        yield file
        return
    path = Path(file)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as written:
            yield written
        os.replace(draft, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)


class Layout:
    """The columns of a batch's export, and the cells of a row."""

    def __init__(self, connection: Connection, batch: Batch) -> None:
        kinds = batch.options["tasks"]
        self.source = batch.columns
        self.text_column = batch.text_column
        self.classes = [task for task, kind in kinds.items() if kind != TokenHead.kind]
        self.multi_label = set(batch.result.get("multi_label", ()))
        self.has_entities = TokenHead.kind in kinds.values()
        self.entity_labels = results.entity_labels_of(connection, batch.number)
        self.has_warnings = results.has_warnings(connection, batch.number)

    def result_columns(self) -> dict[str, str]:
        """The columns of results and their kinds: class, score, entities, names or warning."""
        found: dict[str, str] = {}
        for task in self.classes:
            found |= {task: "class", f"{task}_score": "score"}
        if self.has_entities:
            found |= {"entities": "entities", **dict.fromkeys(self.entity_labels, "names")}
        if self.has_warnings:
            found["warning"] = "warning"
        return {self._free(name): kind for name, kind in found.items()}

    def cells(self, row: BatchRow) -> dict[str, Any]:
        """The cells of the source and all of the results, by column."""
        found = {
            name: row.text if name == self.text_column else row.fields.get(name)
            for name in self.source
        }
        for task in self.classes:
            labels = row.labels.get(task, [])
            given = [one.name for one in labels if one.score >= MULTI_LABEL_THRESHOLD]
            if task not in self.multi_label:
                given = [one.name for one in labels[:1]]
            found[self._free(task)] = BETWEEN.join(given) or None
            found[self._free(f"{task}_score")] = labels[0].score if labels else None
        found[self._free("entities")] = [asdict(entity) for entity in row.entities]
        for label in self.entity_labels:
            texts = dict.fromkeys(e.text for e in row.entities if e.label == label)
            found[self._free(label)] = BETWEEN.join(texts) or None
        found[self._free("warning")] = row.warning
        return found

    def _free(self, name: str) -> str:
        while name in self.source:
            name = f"nlpkit_{name}"
        return name


Rows = Callable[[], Iterable[BatchRow]]


def _write_csv(rows: Rows, layout: Layout, file: BinaryIO) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", write_through=True)
    writer = csv.writer(text)
    names = [*layout.source, *layout.result_columns()]
    writer.writerow([_csv_cell(name) for name in names])
    n = 0
    for row in rows():
        cells = layout.cells(row)
        writer.writerow([_csv_cell(cells[name]) for name in names])
        n += 1
    text.flush()
    text.detach()  # the file is the caller's to close
    return n


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        is_formula = value.startswith(FORMULA) and not is_number(value)
        return f"'{value}" if is_formula else value
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value


def _write_jsonl(rows: Rows, layout: Layout, file: BinaryIO) -> int:
    kinds = layout.result_columns()
    names = [*layout.source, *(name for name, kind in kinds.items() if kind != "names")]
    n = 0
    for row in rows():
        cells = layout.cells(row)
        line = json.dumps({name: cells[name] for name in names}, ensure_ascii=False)
        file.write(line.encode() + b"\n")
        n += 1
    return n


def _write_parquet(rows: Rows, layout: Layout, file: BinaryIO) -> int:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ModuleNotFoundError:
        raise MissingExtraError.of("app", "writing Parquet", "pyarrow") from None
    kinds = _kinds(rows(), layout)
    types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": pa.string()}
    parts = {"text": "str", "label": "str", "start": "int", "end": "int", "score": "float"}
    entity = pa.struct([(name, types[kind]) for name, kind in parts.items()])
    fields = [(name, types[kinds[name]]) for name in layout.source]
    special = {"score": pa.float64(), "entities": pa.list_(entity)}
    for name, kind in layout.result_columns().items():
        fields.append((name, special.get(kind, pa.string())))
    schema = pa.schema(fields)
    n = 0
    with ParquetWriter(file, schema) as writer:
        for group in _groups(rows(), GROUP):
            cells = [layout.cells(row) for row in group]
            for one in cells:
                for name in layout.source:
                    one[name] = _typed(one[name], kinds[name])
            writer.write_table(pa.Table.from_pylist(cells, schema))
            n += len(group)
    return n


def _kinds(rows: Iterable[BatchRow], layout: Layout) -> dict[str, str]:
    """Of each column of the source bool, int, float or str: what all of its values are."""
    found: dict[str, set[str]] = {name: set() for name in layout.source}
    found[layout.text_column].add("str")
    for row in rows:
        for name, value in row.fields.items():
            if value is not None:
                small = not isinstance(value, int) or abs(value) < 2**63
                found[name].add(type(value).__name__ if small else "str")
    return {name: _kind(kinds) for name, kinds in found.items()}


def _kind(kinds: set[str]) -> str:
    if len(kinds) == 1 and kinds <= {"bool", "int", "float"}:
        return next(iter(kinds))
    return "float" if kinds == {"int", "float"} else "str"


def _typed(value: Any, kind: str) -> Any:
    if value is None or kind != "str" or isinstance(value, str):
        return float(value) if kind == "float" and value is not None else value
    return json.dumps(value, ensure_ascii=False)


def _groups(rows: Iterable[BatchRow], n: int) -> Iterator[list[BatchRow]]:
    group: list[BatchRow] = []
    for row in rows:
        group.append(row)
        if len(group) == n:
            yield group
            group = []
    if group:
        yield group


FORMATS: dict[str, Callable[[Rows, Layout, BinaryIO], int]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}
