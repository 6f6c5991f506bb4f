"""What metadata an index has to filter by: the fields, what they hold, and their values.

Names and bounds are read off the ends of the database's own indexes, so that they cost the same
for ten documents and for a million.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nlpkit.store.schema import documents, fields

if TYPE_CHECKING:
    from sqlalchemy import Connection

# ISO 8601, alone or with a time of day: such strings compare as their dates do.
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?![0-9])")


class FieldKind(StrEnum):
    """What most of a field's values are."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"  #: strings that begin with an ISO date


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata field that can be filtered by, with the least and greatest value of its kind."""

    name: str
    kind: FieldKind
    low: str | float
    high: str | float


def known_fields(connection: Connection) -> list[Field]:
    """The fields that hold a string, number or boolean in some document, by name."""
    found = (_field(connection, name) for name in _names(connection))
    return [field for field in found if field is not None]


def values_of(connection: Connection, name: str, most: int) -> list[tuple[str, int]]:
    """A field's most frequent strings, each with the number of its documents."""
    n = sa.func.count().label("n")
    query = (
        sa.select(fields.c.text, n)
        .where(fields.c.name == name, fields.c.text.is_not(None))
        .group_by(fields.c.text)
        .order_by(n.desc(), fields.c.text)
        .limit(most)
    )
    return [(text, int(count)) for text, count in connection.execute(query)]


def _names(connection: Connection) -> Iterator[str]:
    """The names, each a step along the database's index instead of a walk over all rows."""
    following = sa.select(sa.func.min(fields.c.name))
    name = connection.execute(following).scalar()
    while name is not None:
        yield name
        name = connection.execute(following.where(fields.c.name > name)).scalar()


def _field(connection: Connection, name: str) -> Field | None:
    text, number = fields.c.text, fields.c.number
    low, high = _bounds(connection, name, number)
    first, last = _bounds(connection, name, text, text > "")  # an empty one says nothing
    if low is None and first is None:
        return None
    if low is not None and first is not None:
        counts = sa.select(sa.func.count(number), sa.func.count(text)).where(fields.c.name == name)
        n_numbers, n_texts = connection.execute(counts).one()
        if n_numbers >= n_texts:
            first = None
    if first is not None:
        dates = _DATE.match(first) and _DATE.match(last)
        return Field(name, FieldKind.DATE if dates else FieldKind.TEXT, first, last)
    is_boolean = low >= 0 and high <= 1 and _is_boolean(connection, name, low)
    return Field(name, FieldKind.BOOLEAN if is_boolean else FieldKind.NUMBER, low, high)


def _bounds(connection: Connection, name: str, column: Any, *more: Any) -> tuple[Any, Any]:
    mine = sa.and_(fields.c.name == name, column.is_not(None), *more)
    ends = (sa.select(column).where(mine).order_by(order) for order in (column, column.desc()))
    first, last = (connection.execute(end.limit(1)).scalar() for end in ends)
    return first, last


def _is_boolean(connection: Connection, name: str, value: float) -> bool:
    """Whether a document that has the value wrote it as a boolean: both are numbers here."""
    query = (
        sa.select(documents.c.meta)
        .join(fields, fields.c.document == documents.c.number)
        .where(fields.c.name == name, fields.c.number == value)
        .limit(1)
    )
    meta = connection.execute(query).scalar()
    return meta is not None and isinstance(json.loads(meta).get(name), bool)
