"""Uploads as tables: how a file is read, what is in it, and its rows from any place on.

A CSV file in another encoding is rewritten in UTF-8, line by line, and a sheet of an Excel file
as JSON lines, row by row, once and beside the upload. So rows keep their numbers, and a file of
any kind is entered in the middle as :mod:`nlpkit.sources` does.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from nlpkit.errors import DataError, InputError, StoreError
from nlpkit.sources.base import check_columns
from nlpkit.sources.rows import FORMATS, Csv, Fields, Format, Place
from nlpkit.workspace import excel
from nlpkit.workspace.dates import guess_way
from nlpkit.workspace.guesses import guess_delimiter, guess_encoding, guess_text_columns
from nlpkit.workspace.uploads import Upload

#: Encodings that can be chosen, by the names that Python knows them under, in words for people.
ENCODINGS = {
    "utf-8": "Unicode (UTF-8)",
    "utf-16": "Unicode (UTF-16)",
    "utf-16-le": "Unicode (UTF-16, unmarked)",
    "cp1252": "Western (Windows)",
    "iso8859-15": "Western (ISO)",
    "mac_roman": "Western (Mac)",
    "cp1250": "Central European (Windows)",
    "cp1251": "Cyrillic (Windows)",
    "cp1253": "Greek (Windows)",
    "cp1254": "Turkish (Windows)",
    "cp1255": "Hebrew (Windows)",
    "cp1256": "Arabic (Windows)",
    "shift_jis": "Japanese (Shift JIS)",
    "gb18030": "Chinese (GB 18030)",
    "big5": "Chinese (Big 5)",
    "euc_kr": "Korean (EUC)",
}
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
#: Rows that are looked at to guess what a column holds.
SAMPLE = 500
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is read: its format, of CSV the delimiter and encoding, of Excel the sheet."""

    format: str  #: csv, jsonl, parquet or xlsx
    delimiter: str = ","
    encoding: str = "utf-8"
    sheet: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("format", self.format, ("csv", "jsonl", "parquet", "xlsx")),
            ("delimiter", self.delimiter, DELIMITERS),
            ("encoding", self.encoding, ENCODINGS),
        ):
            if value not in known:
                expected = ", ".join(map(repr, known))
                raise InputError(f"{name} is {value!r}; expected one of {expected}")

    def to_json(self) -> dict[str, Any]:
        """The arguments that make it again."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that could not be used: where it stands, and why."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of a table, and what its columns seem to hold.

    ``text_columns`` hold texts, the longest first; ``date_columns`` say how each writes its dates
    (one of :data:`nlpkit.workspace.dates.WAYS`); ``bad`` are rows that cannot be read, ``sheets``
    those of an Excel file.
    """

    reading: Reading
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    text_columns: tuple[str, ...]
    date_columns: Mapping[str, str]
    bad: tuple[SetAside, ...]
    sheets: tuple[str, ...] = ()

    @property
    def text_column(self) -> str | None:
        """The column that is most likely meant."""
        return self.text_columns[0] if self.text_columns else None


@dataclass(frozen=True, slots=True)
class Table:
    """A file that can be read from any place on; ``unit`` is its word for one: line or row.

    All methods raise :class:`DataError` where the file as a whole cannot be read, and
    :class:`InputError` where two columns have the same name.
    """

    path: Path
    format: Format
    name: str
    unit: str

    def columns(self) -> list[str]:
        """The columns, or of JSON the fields of the first objects."""
        with self._named():
            columns = self.format.columns(self.path)
        try:
            check_columns(self.name, columns, ())
        except InputError as error:
            raise InputError(f"{error}; give each a name of its own and upload it again") from None
        return columns

    def places(self, size: int) -> Iterator[Place]:
        """Where parts of ``size`` rows begin."""
        with self._named():
            yield from self.format.places(self.path, size)

    def rows(self, spec: Mapping[str, int], n: int) -> Iterator[tuple[str, Fields]]:
        """The place and the fields of ``n`` rows, or what is wrong with one."""
        with self._named():
            for place, fields in self.format.rows(self.path, spec, n):
                yield f"{self.unit} {place.rpartition(' ')[2]}", fields

    def head(self, n: int) -> list[tuple[str, Fields]]:
        """The first rows."""
        first = next(self.places(n), None)
        return [] if first is None else list(self.rows(first.spec, first.n_rows))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Messages name the file as its owner does, and not the place where it lies."""
        try:
            yield
        except (DataError, InputError) as error:
            raise type(error)(str(error).replace(str(self.path), self.name)) from None


def preview(upload: Upload, n: int = 20, reading: Reading | None = None) -> Preview:
    """The first rows of an upload, and guesses: which column holds texts, which ones dates.

    Raises:
        InputError, DataError: it is no table, or cannot be read (that way); the message says what
            to do.
    """
    reading = reading or guess_reading(upload)
    sheets: tuple[str, ...] = ()
    head: list[tuple[str, Any]]
    if reading.format == "xlsx":  # its beginning alone, where the whole may take a minute
        sheets = excel.sheets_of(upload.path, upload.name)
        rows = excel.rows_of(upload.path, upload.name, reading.sheet)
        head = [(f"row {number}", cells) for number, cells in islice(rows, max(n, SAMPLE))]
        columns = list(dict.fromkeys(name for _, cells in head for name in cells))
    else:
        table = open_table(upload, reading)
        columns = table.columns()
        head = [*table.head(max(n, SAMPLE))]
    if not head:
        raise InputError(f"{upload.name} holds no rows; expected at least one below the header")
    good = [fields for _, fields in head if not isinstance(fields, str)]
    ways = {name: guess_way(fields.get(name) for fields in good) for name in columns}
    return Preview(
        reading=reading,
        columns=tuple(columns),
        rows=tuple(good[:n]),
        text_columns=guess_text_columns(columns, good),
        date_columns={name: way for name, way in ways.items() if way is not None},
        bad=tuple(SetAside(place, fields) for place, fields in head if isinstance(fields, str)),
        sheets=sheets,
    )


def guess_reading(upload: Upload) -> Reading:
    """The format by the file's name; encoding, delimiter and sheet by what is inside."""
    _check_table(upload)
    suffix = upload.suffix.removesuffix(".gz")
    if suffix == ".xlsx":
        return Reading("xlsx", sheet=_first_sheet(upload))
    if suffix in (".jsonl", ".ndjson", ".parquet"):
        return Reading("parquet" if suffix == ".parquet" else "jsonl")
    with _bytes_of(upload) as file:
        encoding = guess_encoding(file)
    with _bytes_of(upload) as file:
        start = file.read(_BLOCK // 4)
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)
    delimiter = guess_delimiter(decoder("replace").decode(start), tuple(DELIMITERS))
    return Reading("csv", "\t" if suffix == ".tsv" else delimiter, encoding)


def _first_sheet(upload: Upload) -> str:
    """The first sheet that has rows below a header, else the first of all."""
    sheets = excel.sheets_of(upload.path, upload.name)
    for sheet in sheets:
        if next(excel.rows_of(upload.path, upload.name, sheet), None) is not None:
            return sheet
    return sheets[0]


def open_table(upload: Upload, reading: Reading) -> Table:
    """The upload as a table; what has to be rewritten for it is rewritten now, once."""
    _check_table(upload)
    if reading.format == "xlsx":
        sheets = excel.sheets_of(upload.path, upload.name)
        number = sheets.index(reading.sheet) if reading.sheet in sheets else len(sheets)
        path = _prepared(upload, reading, f"sheet-{number}.jsonl", _write_sheet)
        return Table(path, FORMATS[".jsonl"], upload.name, "row")
    if reading.format == "csv" and reading.encoding != "utf-8":
        path = _prepared(upload, reading, f"from-{reading.encoding}.csv", _write_utf8)
        return Table(path, Csv(reading.delimiter), upload.name, "line")
    if reading.format == "csv":
        return Table(upload.path, Csv(reading.delimiter), upload.name, "line")
    unit = "row" if reading.format == "parquet" else "line"
    return Table(upload.path, FORMATS[f".{reading.format}"], upload.name, unit)


def _check_table(upload: Upload) -> None:
    if not upload.is_table:
        raise InputError(
            f"{upload.name} is no table; expected CSV, Excel (.xlsx), JSON lines or Parquet"
        )
    if not upload.path.is_file():
        raise InputError(f"{upload.name} is no longer there; upload it again")


# -- files beside the upload -----------------------------------------------------------------------


def _prepared(
    upload: Upload, reading: Reading, name: str, write: Callable[[Upload, Reading, TextIO], None]
) -> Path:
    """A file that is made from the upload where it is not there yet, whole or not at all."""
    path = upload.folder / name
    if path.is_file():
        return path
    draft = upload.folder / f".{name}.{uuid.uuid4().hex}"
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            write(upload, reading, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StoreError(
            f"{upload.name} could not be rewritten in {upload.folder}: {error.strerror or error}; "
            "make room there"
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    return path


def _write_utf8(upload: Upload, reading: Reading, written: TextIO) -> None:
    """The same lines in UTF-8."""
    with (
        _bytes_of(upload) as file,
        io.TextIOWrapper(file, encoding=reading.encoding, newline="") as text,
    ):
        try:
            while block := text.read(_BLOCK):
                written.write(block)
        except UnicodeError as error:
            raise InputError(
                f"{upload.name} is not written in {ENCODINGS[reading.encoding]} ({error}); "
                "choose another encoding"
            ) from None


def _write_sheet(upload: Upload, reading: Reading, written: TextIO) -> None:
    """Each row as JSON on the line of the row's number; all other lines are empty."""
    line = 1
    for number, cells in excel.rows_of(upload.path, upload.name, reading.sheet):
        written.write("\n" * (number - line) + json.dumps(cells, ensure_ascii=False) + "\n")
        line = number + 1


@contextmanager
def _bytes_of(upload: Upload) -> Iterator[BinaryIO]:
    try:
        with upload.path.open("rb") as file:
            if not upload.suffix.endswith(".gz"):
                yield file
            else:
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield cast(BinaryIO, unzipped)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError.at(upload.name, "whole file", str(error), "a whole gzip file") from None
