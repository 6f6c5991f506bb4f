"""Excel files, read row by row: sheets, headers and cells as JSON has them.

Formulas give the values that were last saved. The first row that holds anything is the header;
a column without a name there goes by its letter.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, time
from pathlib import Path
from typing import Any

from nlpkit.errors import DataError, InputError, MissingExtraError
from nlpkit.sources.base import UnusableError, plain_value

#: A file that unpacks to more is refused: a small one can hold gigabytes.
LARGEST = 2 * 2**30


def sheets_of(path: Path, name: str) -> tuple[str, ...]:
    """The names of a file's sheets; ``name`` is the file's in messages.

    Raises:
        DataError: it is damaged, or protected by a password.
        InputError: it is too large, or has no sheets.
    """
    with _workbook(path, name) as book:
        return _sheets(book, name)


def rows_of(path: Path, name: str, sheet: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each row below the header, and its cells by column."""
    with _workbook(path, name) as book:
        names = _sheets(book, name)
        if sheet not in names:
            known = ", ".join(map(repr, names))
            raise InputError(f"{name} has no sheet {sheet!r}; its sheets: {known}")
        found = book[sheet]
        found.reset_dimensions()  # what a file says of its own size is often wrong
        try:
            yield from _rows(found, name)
        except (zipfile.BadZipFile, zlib.error, SyntaxError, KeyError) as error:
            got = f"it is damaged ({type(error).__name__}: {error})"
            expected = "a sheet that Excel opens"
            raise DataError.at(name, f"sheet {sheet}", got, expected) from None


def _rows(sheet: Any, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    header: dict[int, str] = {}
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        there = {i: value for i, value in enumerate(cells) if value not in (None, "")}
        if there and not header:
            header = {i: " ".join(str(value).split()) for i, value in there.items()}
            _check_header(header, name)
        elif there:
            for i in there:
                header.setdefault(i, f"column {_letters(i)}")
            yield number, {name: _cell(cells[i]) for i, name in header.items() if i < len(cells)}


def _check_header(header: dict[int, str], name: str) -> None:
    twice = next((column for column, n in Counter(header.values()).items() if n > 1), None)
    if twice is not None:
        raise InputError(
            f"{name} has two columns {twice!r}; give each a name of its own and upload it again"
        )


@contextmanager
def _workbook(path: Path, name: str) -> Iterator[Any]:
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise MissingExtraError.of("app", "reading Excel files", "openpyxl") from None
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > LARGEST:
                raise InputError(
                    f"{name} unpacks to more than {LARGEST >> 30} GB; save its sheet as CSV"
                )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that are not read
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name} is no longer there; upload it again") from None
    except Exception as error:  # openpyxl raises what it stumbles upon
        got = f"it cannot be opened ({type(error).__name__}: {error})"
        expected = "an Excel workbook (.xlsx), saved without a password"
        raise DataError.at(name, "whole file", got, expected) from None
    try:
        yield book
    finally:
        book.close()


def _sheets(book: Any, name: str) -> tuple[str, ...]:
    found = tuple(sheet.title for sheet in book.worksheets)
    if not found:
        raise InputError(f"{name} has no sheet with cells; expected one")
    return found


def _cell(value: Any) -> Any:
    """A cell as JSON has it; a date without a time of day is a date."""
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    try:
        return plain_value(value)
    except UnusableError:
        return str(value)


def _letters(i: int) -> str:
    """The letters over a column, counted from 0: A, B, ..., Z, AA, ..."""
    letters = ""
    while i >= 0:
        letters = chr(ord("A") + i % 26) + letters
        i = i // 26 - 1
    return letters
