"""Rows from the command line, files and standard input, read one at a time.

A file of ten million lines passes through in the memory of a few: nothing here keeps a row.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, cast

from nlpkit.errors import DataError, InputError, MissingExtraError, NlpkitWarning

T = TypeVar("T")

STDIN = Path("-")
#: Rows of a Parquet file that are in memory at a time.
PARQUET_ROWS = 1000
#: The csv module refuses longer fields; a document may be one.
LONGEST_FIELD = 2**31 - 1


class Format(StrEnum):
    """How a file holds texts."""

    TXT = "txt"  #: one text a line
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    WHOLE = "whole"  #: the whole file is one text


SUFFIXES = {
    ".txt": Format.TXT,
    ".csv": Format.CSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of input: its fields, and where it stood."""

    file: str
    line: int | str
    fields: dict[str, Any]

    def string(self, column: str) -> str:
        """The text in a column.

        Raises:
            DataError: there is none, or it is not a string.
        """
        value = self.fields.get(column)
        if isinstance(value, str):
            return value
        got = f"{column!r} is {value!r:.60}" if column in self.fields else f"no {column!r}"
        known = ", ".join(repr(name) for name in self.fields)
        raise DataError.at(
            self.file, self.line, f"{got} (fields: {known})", f"a string {column!r}; see --column"
        )


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """What the pipeline reads of a row, and what the output repeats of it."""

    value: T
    fields: dict[str, Any]


class Inputs:
    """The rows of a text, of files or of standard input.

    Raises:
        InputError: nothing to read, too much, or a file that is not there.
    """

    def __init__(
        self, text: str | None, files: Sequence[Path] | None, given: Format | None = None
    ) -> None:
        if text is not None and text != "-" and files:
            raise InputError("got a text and --file; expected one of them")
        self.text = None if text == "-" else text
        self.files = list(files or ())
        if self.text is None and not self.files:
            if text != "-" and sys.stdin.isatty():
                raise InputError("nothing to read: give a text or --file PATH, or pipe texts in")
            self.files = [STDIN]
        self.given = given
        for path in self.files:
            self._format(path)
        sizes = [_size(path) for path in self.files]
        self._total = None if None in sizes else sum(size or 0 for size in sizes)
        self._before = 0
        self._position: Callable[[], int] = lambda: 0

    def __iter__(self) -> Iterator[Row]:
        if self.text is not None:
            yield Row("the command line", 1, {"text": self.text})
        for path in self.files:
            yield from _READERS[self._format(path)](self, path)
            self._before += _size(path) or 0
            self._position = lambda: 0

    @property
    def fraction(self) -> float | None:
        """How much has been read, from 0 to 1; None where nobody can tell."""
        if not self._total:
            return None
        return min(1.0, (self._before + self._position()) / self._total)

    def _format(self, path: Path) -> Format:
        if path == STDIN:
            if self.given is Format.PARQUET:
                raise InputError("standard input cannot be Parquet; give the file by --file")
            return self.given or Format.TXT
        if self.given is not None:
            return self.given
        suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
        if suffix not in SUFFIXES:
            raise InputError(
                f"{path}: expected a name in {', '.join(SUFFIXES)} (or one of these and .gz); "
                "--format says what it holds"
            )
        return SUFFIXES[suffix]

    # -- readers --------------------------------------------------------------------------------

    def _txt(self, path: Path) -> Iterator[Row]:
        for number, line in self._lines(path):
            yield Row(_name(path), number, {"text": line.removesuffix("\n").removesuffix("\r")})

    def _whole(self, path: Path) -> Iterator[Row]:
        text = "".join(line for _, line in self._lines(path))
        yield Row(_name(path), "whole file", {"text": text})

    def _jsonl(self, path: Path) -> Iterator[Row]:
        expected = "one JSON object a line"
        for number, line in self._lines(path):
            if not line.strip():
                continue
            try:
                fields = json.loads(line, parse_constant=_refuse)
            except (ValueError, RecursionError) as error:
                raise DataError.at(_name(path), number, f"not JSON ({error})", expected) from None
            if not isinstance(fields, dict):
                raise DataError.at(_name(path), number, f"got {line.strip()!r:.60}", expected)
            yield Row(_name(path), number, fields)

    def _csv(self, path: Path) -> Iterator[Row]:
        csv.field_size_limit(LONGEST_FIELD)
        with closing(self._lines(path)) as lines:
            reader = csv.reader((line for _, line in lines), strict=True)
            try:
                filled = (values for values in reader if values)
                header = next(filled, [])
                for values in filled:
                    if len(values) != len(header):
                        raise DataError.at(
                            _name(path),
                            reader.line_num,
                            f"{len(values)} columns",
                            f"{len(header)}, as in the header",
                        )
                    fields = dict(zip(header, values, strict=True))
                    yield Row(_name(path), reader.line_num, fields)
            except csv.Error as error:
                raise DataError.at(
                    _name(path), reader.line_num, str(error), "comma-separated values"
                ) from None

    def _parquet(self, path: Path) -> Iterator[Row]:
        try:
            from pyarrow import ArrowInvalid
            from pyarrow.parquet import ParquetFile
        except ModuleNotFoundError:
            raise MissingExtraError.of("files", "reading Parquet", "pyarrow") from None
        with _opened(path) as file:
            try:
                table = ParquetFile(file)
            except ArrowInvalid as error:
                raise DataError.at(path, "whole file", str(error), "a Parquet file") from None
            size, n_rows, n_read = _size(path) or 0, table.metadata.num_rows, 0
            self._position = lambda: size * n_read // max(n_rows, 1)
            for batch in table.iter_batches(PARQUET_ROWS):
                for fields in batch.to_pylist():
                    n_read += 1
                    yield Row(_name(path), f"row {n_read}", fields)

    def _lines(self, path: Path) -> Generator[tuple[int, str]]:
        """Line numbers from 1, and lines with their ends; only a line feed ends one."""
        number = 0
        with _opened(path) as file:
            self._position = file.tell if _size(path) is not None else lambda: 0
            zipped = path.suffix == ".gz"
            lines = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file
            try:
                for number, line in enumerate(lines, 1):
                    text = line.decode("utf-8")
                    yield number, text.removeprefix("\ufeff") if number == 1 else text
            except UnicodeDecodeError as error:
                raise DataError.at(
                    _name(path), number, f"not UTF-8 ({error.reason})", "UTF-8 text"
                ) from None
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise DataError.at(
                    _name(path), number + 1, str(error), "a whole gzip file"
                ) from None


_READERS: dict[Format, Callable[[Inputs, Path], Iterator[Row]]] = {
    Format.TXT: Inputs._txt,
    Format.CSV: Inputs._csv,
    Format.JSONL: Inputs._jsonl,
    Format.PARQUET: Inputs._parquet,
    Format.WHOLE: Inputs._whole,
}


def text_items(rows: Iterator[Row], column: str | None) -> Iterator[Item[str]]:
    """A text of each row, from the column (by default ``text``)."""
    for row in rows:
        text = row.string(column or "text")
        yield Item(text, _repeated(row, {"text": text}, {column or "text"}))


def pair_items(
    rows: Iterator[Row], question: str | None, column: str | None
) -> Iterator[Item[tuple[str, str]]]:
    """A question and a context of each row; a question that is given is asked of every context.

    The context is in the column, by default ``context``, or ``text`` where there is none.
    """
    for row in rows:
        held = column or ("context" if "context" in row.fields else "text")
        asked = row.string("question") if question is None else question
        context = row.string(held)
        fields = _repeated(row, {"question": asked, "context": context}, {"question", held})
        yield Item((asked, context), fields)


def _repeated(row: Row, read: dict[str, str], columns: set[str]) -> dict[str, Any]:
    """The output's part of a row: id, what was read, then every other field."""
    fields = {"id": row.fields["id"], **read} if "id" in row.fields else dict(read)
    for name, value in row.fields.items():
        if name in read and name not in columns:
            warnings.warn(
                f"the field {name!r} of {row.file} is left out: --column takes its name",
                NlpkitWarning,
                stacklevel=2,
            )
        elif name not in columns:
            fields[name] = value
    return fields


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with file:
        yield file


def _size(path: Path) -> int | None:
    """Bytes of a plain file; None for a pipe.

    Raises:
        InputError: there is no such file.
    """
    if path == STDIN:
        return None
    if not path.exists() or path.is_dir():
        raise InputError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    return path.stat().st_size if path.is_file() else None


def _name(path: Path) -> str:
    return "standard input" if path == STDIN else str(path)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
