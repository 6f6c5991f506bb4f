"""What a file does not say of itself: its encoding, its delimiter, the column with the texts."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

from nlpkit.workspace.dates import guess_way

_BLOCK = 1 << 20


def guess_encoding(file: BinaryIO) -> str:
    """UTF-16 by its mark or its zeros; UTF-8 where most of what is not ASCII is; else Western.

    So a few damaged lines leave a file what it is, and are set aside one by one.
    """
    start = file.read(_BLOCK)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if start[1::2].count(0) > len(start) / 4:  # of most pairs of bytes the second is zero
        return "utf-16-le"
    n_utf8 = n_other = 0
    for line in _lines(start, file):
        if not line.isascii():
            try:
                line.decode("utf-8")
                n_utf8 += 1
            except UnicodeDecodeError:
                n_other += 1
    return "cp1252" if n_other > n_utf8 else "utf-8"


def guess_delimiter(start: str, delimiters: Sequence[str]) -> str:
    """The one that cuts the first records most evenly, and into the most columns."""

    def evenness(delimiter: str) -> tuple[float, int]:
        records = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
        try:
            widths = [len(record) for record in islice(records, 50) if record]
        except csv.Error:
            return 0.0, 0
        if not widths or widths[0] < 2:
            return 0.0, 0
        return Counter(widths)[widths[0]] / len(widths), widths[0]

    csv.field_size_limit(2**31 - 1)
    return max(delimiters, key=evenness)


def guess_text_columns(
    columns: Iterable[str], rows: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """The columns that hold texts, those with the most characters first; dates are no texts."""
    sizes = {
        name: sum(len(fields[name]) for fields in rows if is_text(fields.get(name)))
        for name in columns
        if guess_way(fields.get(name) for fields in rows) is None
    }
    return tuple(sorted((name for name in sizes if sizes[name]), key=lambda name: -sizes[name]))


_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d+)*|[.,]\d+)([eE][+-]?\d+)?\s*%?\s*")


def is_number(text: str) -> bool:
    """Whether a string writes a number, as spreadsheets do: -5, 1,200.50, 3e-7, 12 %."""
    return _NUMBER.fullmatch(text) is not None


def is_text(value: Any) -> bool:
    """Whether a cell holds a string that is more than a number or blanks."""
    return isinstance(value, str) and bool(value.strip()) and not is_number(value)


def _lines(start: bytes, file: BinaryIO) -> Iterator[bytes]:
    whole, _, rest = start.rpartition(b"\n")
    yield from whole.split(b"\n")
    yield rest + file.readline(_BLOCK)
    while lines := file.readlines(_BLOCK):
        yield from lines
