"""Filters on the metadata of an index, chosen with the mouse: what `where` of a search takes.

Every widget is bound to the address, so that a search can be shared with its filters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import streamlit as st

from nlpkit.index import Field, FieldKind, Index
from parts.safe import plain, visible

#: Keys of the widgets, which are names in the address: a field's name follows the colon.
CHOSEN, ONE_OF, FROM, TO = "filter", "where:", "from:", "to:"
#: Values offered of a text field; others can be typed. Longer ones cannot be read in a list.
MOST_VALUES, LONGEST_VALUE = 100, 100

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)

Where = dict[str, dict[str, Any]]


def forget() -> None:
    """Take all filters away: those of one index mean nothing in another."""
    for key in [*st.session_state]:
        if str(key) == CHOSEN or str(key).startswith((ONE_OF, FROM, TO)):
            del st.session_state[key]


def choose(index: Index, fields: Sequence[Field]) -> Where:
    """Let people choose fields and what they must hold; the conditions, joined by and."""
    by_name = {field.name: field for field in fields}
    chosen = st.multiselect(
        "Filter by",
        [name for name in by_name if visible(name) == name],
        key=CHOSEN,
        placeholder="Choose fields of the documents",
        bind="query-params",
        persist_state="session",
    )
    where: Where = {}
    for name in chosen:
        condition = _condition(index, by_name[name])
        if condition:
            where[name] = condition
    return where


def in_words(where: Mapping[str, Mapping[str, Any]]) -> str:
    """Conditions as one line: ``year >= 2020, lang one of en, de``."""
    said = []
    for name, tests in where.items():
        for operator, value in tests.items():
            if operator == "in":
                said.append(f"{name} is {' or '.join(map(str, value))}")
            else:
                said.append(f"{name} {operator} {value}")
    return visible(", ".join(said))


def _condition(index: Index, field: Field) -> dict[str, Any]:
    match field.kind:
        case FieldKind.TEXT:
            return _one_of(index, field)
        case FieldKind.BOOLEAN:
            return _yes_or_no(field)
        case FieldKind.DATE:
            return _days(field)
        case FieldKind.NUMBER:
            return _range(field)


def _one_of(index: Index, field: Field) -> dict[str, Any]:
    values = [
        value
        for value, _ in index.values(field.name, MOST_VALUES)
        if value and visible(value) == value and len(value) <= LONGEST_VALUE
    ]
    chosen = st.multiselect(
        f"{_label(field)} is",
        values,
        key=f"{ONE_OF}{field.name}",
        accept_new_options=True,
        placeholder="Choose values, or type one",
        bind="query-params",
        persist_state="session",
    )
    # In a table, a value that reads as a number has become one.
    numbers = [float(value) for value in chosen if _NUMBER.fullmatch(value)]
    return {"in": [*chosen, *numbers]} if chosen else {}


def _yes_or_no(field: Field) -> dict[str, Any]:
    chosen = st.selectbox(
        f"{_label(field)} is",
        ["yes", "no"],
        index=None,
        key=f"{ONE_OF}{field.name}",
        placeholder="yes or no",
        bind="query-params",
        persist_state="session",
    )
    return {} if chosen is None else {"=": chosen == "yes"}


def _range(field: Field) -> dict[str, Any]:
    low, high = st.columns(2)
    at_least = _number(low, f"{_label(field)} from", f"{FROM}{field.name}", field.low)
    at_most = _number(high, f"{_label(field)} to", f"{TO}{field.name}", field.high)
    found = {">=": at_least, "<=": at_most}
    return {operator: value for operator, value in found.items() if value is not None}


def _label(field: Field) -> str:
    return plain(" ".join(field.name.split()) or "(no name)")


def _number(place: Any, label: str, key: str, bound: Any) -> int | float | None:
    value: float | None = place.number_input(
        label,
        value=None,
        format="%g",
        key=key,
        placeholder=f"{bound:g}",
        bind="query-params",
        persist_state="session",
    )
    return int(value) if value is not None and value.is_integer() else value


def _days(field: Field) -> dict[str, Any]:
    low, high = st.columns(2)
    first = _day(low, f"{_label(field)} from", f"{FROM}{field.name}", field)
    last = _day(high, f"{_label(field)} to", f"{TO}{field.name}", field)
    found = {}
    if first is not None:
        found[">="] = first.isoformat()
    if last is not None:  # the whole day, where a time of day follows
        found["<"] = (last + timedelta(days=1)).isoformat()
    return found


def _day(place: Any, label: str, key: str, field: Field) -> date | None:
    first, last = (min(max(1, int(str(bound)[:4])), 9998) for bound in (field.low, field.high))
    chosen: date | None = place.date_input(
        label,
        value=None,
        min_value=date(first, 1, 1),
        max_value=date(last, 12, 31),
        key=key,
        format="YYYY-MM-DD",
        bind="query-params",
        persist_state="session",
    )
    return chosen
