"""What a source of documents is, and how the fields of a row become a document.

A job asks a source for its shards, hands each to a worker, and every worker reads its own. A row
that cannot become a document comes out as a :class:`BadRow` in its place, so that one bad row
among a million costs one row.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Protocol, cast
from uuid import UUID

from nlpkit.errors import InputError
from nlpkit.types import Document

#: A longer id is refused: it is the key of a table, and of every hit.
LONGEST_ID = 1000


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot become a document: its id where that is known, its place, and why."""

    id: str | None
    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a source that one worker reads on its own.

    ``spec`` is JSON-able and says where the part lies; ``n_rows`` counts documents and bad rows.
    """

    number: int
    spec: Mapping[str, Any]
    n_rows: int


class DocumentSource(Protocol):
    """Where documents come from.

    ``name`` is kept beside each document of an index: what has gone from the source of that name
    can be pruned. It stays the same for as long as the source is the same thing to its owner.
    """

    @property
    def name(self) -> str: ...

    def to_json(self) -> dict[str, Any]:
        """What ``open_source`` makes an equal source of, in another process too. No secrets."""
        ...

    def shards(self, size: int = 1000) -> Iterator[Shard]:
        """Parts of about ``size`` rows that hold every row once, in order; one cheap pass."""
        ...

    def read(self, shard: Shard) -> Iterator[Document | BadRow]:
        """A shard's rows in order: ``shard.n_rows`` of them, unless the source has changed."""
        ...


class UnusableError(Exception):
    """Why something cannot become a document; always caught, and told in a :class:`BadRow`."""


def check_size(size: int) -> None:
    """Refuse a shard size below one."""
    if size < 1:
        raise InputError(f"the shard size is {size}; expected at least 1")


def columns_of(text_column: str | Sequence[str]) -> tuple[str, ...]:
    """The text columns, one or several."""
    columns = (text_column,) if isinstance(text_column, str) else tuple(text_column)
    if not columns or not all(isinstance(name, str) and name for name in columns):
        raise InputError(f"text_column is {text_column!r}; expected a column's name, or several")
    return columns


def check_columns(place: str, columns: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse a table in which no row can have what is needed of it, or two columns one name."""
    known = ", ".join(repr(name) for name in columns)
    for name in needed:
        if name not in columns:
            raise InputError(f"{place} has no column {name!r}; its columns: {known}")
    for name in columns:
        if columns.count(name) > 1:
            raise InputError(f"{place} has two columns {name!r}; its columns: {known}")


def document_of(
    fields: Mapping[str, Any],
    place: str,
    text_columns: Sequence[str],
    joiner: str,
    id_column: str | None,
    row_id: str = "",
    untyped: bool = False,
) -> Document | BadRow:
    """The document of a row: its id, its text, and every other field as metadata.

    Without an ``id_column`` the id is ``row_id``. Of ``untyped`` fields, all strings, metadata
    that reads as a number becomes one.
    """
    id = (row_id or None) if id_column is None else None
    try:
        if id_column is not None:
            id = _id_of(fields.get(id_column))
        text = _text_of(fields, text_columns, joiner)
        read = {*text_columns, id_column}
        meta = {name: value for name, value in fields.items() if name not in read}
        if untyped:
            meta = {name: _number(value) for name, value in meta.items()}
        return checked_document(id or "", text, meta)
    except UnusableError as error:
        return BadRow(id, place, str(error))


def _number(value: str) -> str | int | float:
    """The number that a string writes plainly; "007", "1e5", "+3" and long digits stay strings."""
    if re.fullmatch(r"-?(0|[1-9]\d{0,14})", value, re.ASCII):
        return int(value)
    if re.fullmatch(r"-?(0|[1-9]\d{0,11})\.\d{1,12}", value, re.ASCII):
        return float(value)
    return value


def checked_document(id: str, text: str, meta: Mapping[str, Any]) -> Document:
    """A document that any store can keep.

    Raises:
        UnusableError: an empty text, an id that is too long, a character that not every store can
            hold, or metadata that JSON has no value for.
    """
    if len(id) > LONGEST_ID:
        raise UnusableError(f"an id of {len(id)} characters; expected at most {LONGEST_ID}")
    check_characters("the id", id)
    check_characters("the text", text)
    if not text.strip():
        raise UnusableError("the text is empty; expected at least one character that is no space")
    plain = {}
    for name, value in meta.items():
        check_characters(f"the name of the field {name!r:.60}", name)
        plain[name] = _metadata(name, value)
    return Document(id, text, plain)


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def check_characters(what: str, text: str) -> None:
    """Refuse NUL and lone surrogates: no UTF-8 has the second, PostgreSQL has neither."""
    found = _UNSTORABLE.search(text)
    if found:
        kind = "NUL" if found[0] == "\0" else "a lone surrogate"
        raise UnusableError(
            f"{what} has {kind} (U+{ord(found[0]):04X}) at offset {found.start()}; "
            "expected text that UTF-8 and every database can hold"
        )


def _id_of(value: Any) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        got = "none" if value is None else f"{type(value).__name__} {value!r:.60}"
        raise UnusableError(f"the id is {got}; expected a string or an integer")
    if isinstance(value, str) and not value.strip():
        raise UnusableError("the id is empty; expected a string or an integer")
    return str(value)


def _text_of(fields: Mapping[str, Any], columns: Sequence[str], joiner: str) -> str:
    """The texts of the columns; of several, those that are empty or absent are left out."""
    parts = []
    for name in columns:
        value = fields.get(name)
        if isinstance(value, str):
            if value.strip():
                parts.append(str(value))
        elif value is not None:
            got = f"{type(value).__name__} {value!r:.60}"
            raise UnusableError(f"the field {name!r} is {got}; expected a string")
        elif len(columns) == 1:
            got = f"the field {name!r} is none" if name in fields else f"no field {name!r}"
            known = ", ".join(repr(known) for known in fields)
            raise UnusableError(f"{got} (fields: {known:.200}); expected a string")
    return joiner.join(parts)


def _metadata(name: str, value: Any) -> str | int | float | bool | None:
    """A field as JSON's string, number, boolean or null; nested values as a string of JSON."""
    try:
        plain = plain_value(value)
        if isinstance(plain, dict | list):
            plain = json.dumps(plain, ensure_ascii=False)
    except RecursionError:
        raise UnusableError(f"the field {name!r:.60} is nested too deeply") from None
    except UnusableError as error:
        raise UnusableError(f"the field {name!r:.60} is {error}") from None
    if isinstance(plain, str):
        check_characters(f"the field {name!r:.60}", plain)
    return cast("str | int | float | bool | None", plain)


def plain_value(value: Any) -> Any:
    """What JSON can say of a value; NaN and the infinities, which it does not know, are null.

    Raises:
        UnusableError: a value that JSON cannot say.
        RecursionError: it is nested too deeply.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    match value:
        case None | bool():
            return value
        case str():
            return str(value)
        case int():
            return int(value)
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None
        case datetime() | date() | time():
            # A missing time of pandas is a datetime that does not equal itself.
            return value.isoformat() if value == value else None
        case timedelta():
            return value.total_seconds()
        case UUID():
            return str(value)
        case Mapping():
            return {str(key): plain_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain_value(inner) for inner in value]
    raise UnusableError(
        f"{type(value).__name__}; expected a string, a number, a date, a boolean, none, "
        "or lists and objects of them"
    )
