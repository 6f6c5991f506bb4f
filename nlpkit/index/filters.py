"""Filters on metadata: a mapping of conditions becomes the numbers of the documents that pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from nlpkit.errors import InputError, InputTypeError, UnknownNameError
from nlpkit.store.schema import fields

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in")

Scalar = str | int | float | bool | None
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def field_rows(number: int, meta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of the table ``fields`` for a document: its scalars; True counts as 1."""
    for name, value in meta.items():
        if isinstance(value, str):
            yield {"document": number, "name": name, "text": value, "number": None}
        elif isinstance(value, bool | int | float):
            yield {"document": number, "name": name, "text": None, "number": float(value)}
        elif value is None:
            yield {"document": number, "name": name, "text": None, "number": None}


def check_scalar(place: str, value: Any) -> None:
    """Refuse what no column can hold: half surrogate pairs, NUL, NaN, integers beyond floats."""
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise InputError(f"{place} has NUL or half a surrogate pair; databases keep none")
    if isinstance(value, int | float):
        try:
            known = float(value) == value or not isinstance(value, float)
        except OverflowError:
            known = False
        if not known:
            raise InputError(f"{place} is {value!r:.40}; expected a number within floats' range")


def checked(where: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The conditions of a filter, a bare value spelled out as ``=``.

    Raises:
        InputTypeError: not a mapping, or a value that no field can have.
        InputError: an unknown operator.
    """
    if where is None:
        return {}
    if not isinstance(where, Mapping):
        raise InputTypeError.of("where", where, "a mapping such as {'year': {'>=': 2020}}")
    conditions: dict[str, dict[str, Any]] = {}
    for name, given in where.items():
        if not isinstance(name, str):
            raise InputTypeError.of("where", name, "names of fields as keys")
        spelled = dict(given) if isinstance(given, Mapping) else {"=": given}
        for operator, value in spelled.items():
            if (
                operator == "in"
                and not isinstance(value, str | bytes | Mapping)
                and hasattr(value, "__iter__")
            ):
                spelled[operator] = value = list(value)  # an iterator could be read only once
            _check(name, operator, value)
        conditions[name] = spelled
    return conditions


def _check(name: str, operator: Any, value: Any) -> None:
    if operator not in OPERATORS:
        raise InputError(
            f"where[{name!r}] has the operator {operator!r}; known: {' '.join(OPERATORS)}"
        )
    if operator == "in":
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
            raise InputTypeError.of(f"where[{name!r}]['in']", value, "a list of values")
        values = list(value)
    else:
        values = [value]
    for one in values:
        if not isinstance(one, Scalar):
            raise InputTypeError.of(f"where[{name!r}]", one, "a string, number, bool or None")
        check_scalar(f"where[{name!r}]", one)
    if operator in ("<", "<=", ">", ">=") and value is None:
        raise InputError(f"where[{name!r}] compares with None; expected a string or a number")


def passing(
    connection: Connection, conditions: Mapping[str, Mapping[str, Any]]
) -> NDArray[np.int64]:
    """Numbers of the documents that meet every condition, ascending.

    A document without a field meets no condition on it, ``!=`` included.

    Raises:
        UnknownNameError: a field that no document has.
    """
    found: NDArray[np.int64] | None = None
    for name, tests in conditions.items():
        _check_known(connection, name)
        query = sa.select(fields.c.document).where(
            fields.c.name == name, *(_condition(op, value) for op, value in tests.items())
        )
        rows = connection.execute(query, execution_options={"stream_results": True})
        numbers = np.sort(np.fromiter((row[0] for row in rows), dtype=np.int64))
        found = numbers if found is None else np.intersect1d(found, numbers, assume_unique=True)
    return np.zeros(0, np.int64) if found is None else found


def _check_known(connection: Connection, name: str) -> None:
    known = sa.select(fields.c.name).where(fields.c.name == name).limit(1)
    if connection.execute(known).scalar() is None:
        every = connection.execute(sa.select(fields.c.name).distinct()).scalars().all()
        if every:
            raise UnknownNameError.of("field", name, every)


def _condition(operator: str, value: Any) -> ColumnElement[bool]:
    if operator == "in":
        return sa.or_(sa.false(), *(_condition("=", one) for one in dict.fromkeys(value)))
    if value is None:
        absent = sa.and_(fields.c.text.is_(None), fields.c.number.is_(None))
        return absent if operator == "=" else sa.not_(absent)
    if isinstance(value, str):
        column: Any = fields.c.text
    else:
        column, value = fields.c.number, float(value)
    if operator == "!=":  # a value of another type is another value
        return sa.or_(column != value, column.is_(None))
    tests: dict[str, ColumnElement[bool]] = {
        "=": column == value,
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
    }
    return tests[operator]
