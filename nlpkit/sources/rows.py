"""Rows of CSV, JSONL and Parquet files, from any place in them.

``FORMATS``, at the end, is a dict you can read. A format finds where shards begin in one pass, and
reads rows from such a place on. It gives the fields of a row, or says in words what is wrong
with it and goes on with the next one.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from nlpkit.errors import DataError, InputError, MissingExtraError

#: A longer row is a bad one: most likely a quote that is never closed.
LONGEST_ROW = 16 * 2**20
#: Rows of a Parquet file that are in memory at a time.
PARQUET_ROWS = 1000
#: Objects of a JSONL file that are looked at to learn its fields.
JSONL_SAMPLE = 100

#: The fields of a row, or what is wrong with it.
Fields = Mapping[str, Any] | str


class Place(NamedTuple):
    """Where a shard begins: what a format needs to go there; and its number of rows."""

    spec: dict[str, int]
    n_rows: int


class Format(Protocol):
    """How a file holds rows."""

    #: Whether every row has the columns, as opposed to fields of its own.
    has_columns: bool
    #: Whether values are all strings, numbers among them.
    untyped: bool

    def columns(self, path: Path) -> list[str]:
        """The columns of a file, or the fields of its first objects."""
        ...

    def places(self, path: Path, size: int) -> Iterator[Place]:
        """Where shards of ``size`` rows begin."""
        ...

    def rows(self, path: Path, spec: Mapping[str, int], n: int) -> Iterator[tuple[str, Fields]]:
        """The place in words and the fields of ``n`` rows."""
        ...


# Lines ---------------------------------------------------------------------------------------


class _Line(NamedTuple):
    data: bytes
    size: int  #: in the file; more than ``data`` where the line was cut


class _Record(NamedTuple):
    """A row that is not looked into yet: a line of JSON, the values of CSV, or what is wrong."""

    line: int
    offset: int
    content: Any
    problem: str = ""


class _Feed:
    """The lines of a file from a place on, as an iterator that can take lines back.

    ``line`` and ``offset`` are those of the current record, which begins with ``begin()``.
    """

    def __init__(self, file: BinaryIO, line: int = 1, offset: int = 0) -> None:
        file.seek(offset)
        self._file = file
        self._again: deque[_Line] = deque()
        self._taken: list[_Line] = []
        self._size = 0
        self.line, self.offset = line, offset

    def begin(self) -> None:
        self.line += len(self._taken)
        self.offset += self._size
        self._taken.clear()
        self._size = 0

    def keep_one(self) -> None:
        """Take back all lines of the record but the first."""
        self._again.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]
        self._size = self._taken[0].size

    def take(self) -> bytes | None:
        """The next line with its end, cut where it is too long; none after the last."""
        line = self._again.popleft() if self._again else self._next()
        if line is None:
            return None
        self._taken.append(line)
        self._size += line.size
        if self.line == 1 and len(self._taken) == 1:
            return line.data.removeprefix(b"\xef\xbb\xbf")
        return line.data

    @property
    def is_too_long(self) -> bool:
        """Whether the record is, so far."""
        return self._size > LONGEST_ROW

    def _next(self) -> _Line | None:
        data = self._file.readline(LONGEST_ROW + 1)
        size = len(data)
        if size > LONGEST_ROW:
            end = data
            while end and not end.endswith(b"\n"):
                end = self._file.readline(LONGEST_ROW)
                size += len(end)
        return _Line(data, size) if data else None

    # The csv module reads the lines of a record from here.

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        data = self.take()
        if data is None:
            raise StopIteration
        if self.is_too_long:
            raise csv.Error(f"more than {LONGEST_ROW >> 20} MiB")
        # What is no UTF-8 is told of its row alone, once the row's fields are apart.
        return data.decode("utf-8", "surrogateescape")


def _places(records: Iterator[_Record], size: int) -> Iterator[Place]:
    first: _Record | None = None
    n_rows = 0
    for record in records:
        first = first or record
        n_rows += 1
        if n_rows == size:
            yield Place({"line": first.line, "offset": first.offset}, n_rows)
            first, n_rows = None, 0
    if first is not None:
        yield Place({"line": first.line, "offset": first.offset}, n_rows)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a plain or gzip file."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() != ".gz":
                yield file
            else:
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield cast(BinaryIO, unzipped)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError.at(path, "whole file", str(error), "a whole gzip file") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


# JSONL ---------------------------------------------------------------------------------------


class Jsonl:
    """One JSON object a line; blank lines are none."""

    has_columns = False
    untyped = False

    def columns(self, path: Path) -> list[str]:
        with _opened(path) as file:
            found = (_json_fields(record) for record in self._records(_Feed(file)))
            objects = islice((fields for fields in found if isinstance(fields, dict)), JSONL_SAMPLE)
            return list(dict.fromkeys(chain.from_iterable(objects)))

    def places(self, path: Path, size: int) -> Iterator[Place]:
        with _opened(path) as file:
            yield from _places(self._records(_Feed(file)), size)

    def rows(self, path: Path, spec: Mapping[str, int], n: int) -> Iterator[tuple[str, Fields]]:
        with _opened(path) as file:
            for record in islice(self._records(_Feed(file, spec["line"], spec["offset"])), n):
                yield f"line {record.line}", _json_fields(record)

    def _records(self, feed: _Feed) -> Iterator[_Record]:
        while (data := feed.take()) is not None:
            if feed.is_too_long:
                problem = f"more than {LONGEST_ROW >> 20} MiB; expected one JSON object a line"
                yield _Record(feed.line, feed.offset, b"", problem)
            elif data.strip():
                yield _Record(feed.line, feed.offset, data)
            feed.begin()


def _json_fields(record: _Record) -> Fields:
    expected = "expected one JSON object a line"
    if record.problem:
        return record.problem
    try:
        fields = json.loads(record.content.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _not_utf8(error)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error}); {expected}"
    if not isinstance(fields, dict):
        return f"got {type(fields).__name__} {fields!r:.60}; {expected}"
    return fields


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 (byte {error.object[error.start]:#04x}); save the file as UTF-8"


# CSV -----------------------------------------------------------------------------------------


class Csv:
    """Comma-separated values under a header; line feeds may stand in quotes.

    A record that cannot be read, such as one whose quote is never closed, costs its first line:
    the lines below it are read as if it were not there. ``delimiter`` may be another character
    than the comma.
    """

    has_columns = True
    untyped = True

    def __init__(self, delimiter: str = ",") -> None:
        self.delimiter = delimiter

    def columns(self, path: Path) -> list[str]:
        with _opened(path) as file:
            return self._header(path, self._records(_Feed(file)))

    def places(self, path: Path, size: int) -> Iterator[Place]:
        with _opened(path) as file:
            records = self._records(_Feed(file))
            self._header(path, records)
            yield from _places(records, size)

    def rows(self, path: Path, spec: Mapping[str, int], n: int) -> Iterator[tuple[str, Fields]]:
        with _opened(path) as file:
            header = self._header(path, self._records(_Feed(file)))
            for record in islice(self._records(_Feed(file, spec["line"], spec["offset"])), n):
                yield f"line {record.line}", _csv_fields(record, header)

    def _header(self, path: Path, records: Iterator[_Record]) -> list[str]:
        record = next(records, None)
        if record is None:
            raise DataError.at(path, 1, "the file is empty", "a header with the columns' names")
        problem = record.problem or _undecoded(record.content)
        if problem:
            got = problem.partition("; ")[0]
            raise DataError.at(path, record.line, got, "a header with the columns' names")
        return cast(list[str], record.content)

    def _records(self, feed: _Feed) -> Iterator[_Record]:
        csv.field_size_limit(2**31 - 1)
        reader = csv.reader(feed, strict=True, delimiter=self.delimiter)
        while True:
            feed.begin()
            try:
                values = next(reader, None)
            except csv.Error as error:
                feed.keep_one()
                expected = "expected quotes in pairs, and line ends only inside them"
                yield _Record(feed.line, feed.offset, None, f"not CSV ({error}); {expected}")
            else:
                if values is None:
                    return
                if values:
                    yield _Record(feed.line, feed.offset, values)


def _csv_fields(record: _Record, header: list[str]) -> Fields:
    if record.problem:
        return record.problem
    values = record.content
    if len(values) != len(header):
        return f"{len(values)} columns; expected {len(header)}, as in the header"
    return _undecoded(values) or dict(zip(header, values, strict=True))


def _undecoded(values: list[str]) -> str:
    """What is said of values whose bytes were not UTF-8."""
    for value in values:
        try:
            value.encode("utf-8", "surrogateescape").decode("utf-8")
        except UnicodeDecodeError as error:
            return _not_utf8(error)
    return ""


# Parquet -------------------------------------------------------------------------------------


class Parquet:
    """A Parquet file, row group by row group."""

    has_columns = True
    untyped = False

    def columns(self, path: Path) -> list[str]:
        with self._table(path) as table:
            return [str(name) for name in table.schema_arrow.names]

    def places(self, path: Path, size: int) -> Iterator[Place]:
        with self._table(path) as table:
            n_rows = table.metadata.num_rows
        for first in range(0, n_rows, size):
            yield Place({"first": first}, min(size, n_rows - first))

    def rows(self, path: Path, spec: Mapping[str, int], n: int) -> Iterator[tuple[str, Fields]]:
        first, left = spec["first"], n
        with self._table(path) as table:
            groups, skipped = [], 0
            end = 0
            for group in range(table.metadata.num_row_groups):
                begin, end = end, end + table.metadata.row_group(group).num_rows
                if begin < first + n and first < end:
                    groups.append(group)
                    skipped = first - begin if len(groups) == 1 else skipped
            if not groups:
                return
            for batch in table.iter_batches(PARQUET_ROWS, row_groups=groups):
                part = batch.slice(min(skipped, batch.num_rows), left)
                skipped = max(0, skipped - batch.num_rows)
                for fields in _parquet_fields(part):
                    yield f"row {first + n - left + 1}", fields
                    left -= 1
                if left == 0:
                    return

    @contextmanager
    def _table(self, path: Path) -> Iterator[Any]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ModuleNotFoundError:
            raise MissingExtraError.of("files", "reading Parquet", "pyarrow") from None
        with _opened(path) as file:
            try:
                with closing(ParquetFile(file)) as table:
                    yield table
            except ArrowException as error:
                raise DataError.at(path, "whole file", str(error), "a Parquet file") from None


def _parquet_fields(batch: Any) -> Iterator[Fields]:
    """Rows of a batch; where one of them has no value in Python, row by row."""
    try:
        yield from batch.to_pylist()
        return
    except (ValueError, OverflowError):
        pass
    for number in range(batch.num_rows):
        try:
            fields = batch.slice(number, 1).to_pylist()[0]
        except (ValueError, OverflowError) as error:
            yield f"{error}; expected values that Python can hold"
        else:
            yield fields


_JSONL, _CSV, _PARQUET = Jsonl(), Csv(), Parquet()

FORMATS: dict[str, Format] = {
    ".csv": _CSV,
    ".csv.gz": _CSV,
    ".jsonl": _JSONL,
    ".jsonl.gz": _JSONL,
    ".ndjson": _JSONL,
    ".ndjson.gz": _JSONL,
    ".parquet": _PARQUET,
}
