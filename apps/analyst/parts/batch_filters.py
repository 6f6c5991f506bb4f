"""The filters over a batch's rows: the fields on the page, and the same in the page's address.

``?batch=3&words=late&is.sentiment=negative&score.sentiment=0.5-1`` shows a colleague the same rows.
Where the address changes on its own (by the browser's way back), the fields follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import streamlit as st

from nlpkit.errors import InputError
from nlpkit.heads import TokenHead
from nlpkit.workspace import Batch, Filters
from parts.safe import plain, visible
from parts.words import heading

#: The days that can be chosen.
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2200, 12, 31)
ALL_SCORES = (0.0, 1.0)

Parameters = dict[str, list[str]]  #: as they stand in the address


@dataclass(frozen=True, slots=True)
class Fields:
    """A set of fields: what they began with, and the address that belongs to what is in them."""

    number: int
    start: Filters
    address: Parameters

    def is_forgotten(self, place: str) -> bool:
        """Whether another page was shown since: what is in fields goes with them."""
        return f"{place}-{self.number}-words" not in st.session_state


def ask(batch: Batch) -> Filters:
    """Show the fields and give what is in them."""
    place = f"filters-{batch.number}"
    address = parameters_of_page()
    fields: Fields | None = st.session_state.get(place)
    if fields is None or fields.address != address or fields.is_forgotten(place):
        number = 0 if fields is None else fields.number + 1
        fields = Fields(number, filters_of(address), address)
    with st.expander("Filters", icon=":material/filter_alt:", expanded=bool(address)):
        filters = _filled_in(batch, fields.start, f"{place}-{fields.number}")
        if parameters_of(filters):
            st.button("Clear all filters", on_click=clear)
    now = parameters_of(filters)
    if now != address:
        others = {name: st.query_params.get_all(name) for name in st.query_params}
        kept = {name: values for name, values in others.items() if name not in address}
        st.query_params.from_dict(kept | now)
    st.session_state[place] = replace(fields, address=now)
    return filters


def clear() -> None:
    """Take all filters out of the address; the fields follow."""
    for name in parameters_of_page():
        del st.query_params[name]


def parameters_of_page() -> Parameters:
    """The part of the address that means filters."""
    return {
        name: st.query_params.get_all(name)
        for name in st.query_params
        if name in ("words", "entity", "label", "from", "to") or name.startswith(("is.", "score."))
    }


def parameters_of(filters: Filters) -> Parameters:
    """Filters as an address has them; those that let everything pass are left out."""
    found: Parameters = {
        "words": [filters.words],
        "entity": [filters.entity],
        "label": [filters.entity_label],
        "from": [filters.dates[0]],
        "to": [filters.dates[1]],
    }
    found |= {f"is.{task}": [*names] for task, names in filters.labels.items()}
    found |= {
        f"score.{task}": [f"{low:g}-{high:g}"] for task, (low, high) in filters.scores.items()
    }
    return {name: values for name, values in found.items() if any(values)}


def filters_of(parameters: Parameters) -> Filters:
    """The filters that an address means; what makes no sense in it is left out."""

    def one(name: str) -> str:
        return parameters.get(name, [""])[-1]

    def of_tasks(start: str) -> list[tuple[str, list[str]]]:
        found = parameters.items()
        return [(name.removeprefix(start), v) for name, v in found if name.startswith(start)]

    return Filters(
        labels=dict(of_tasks("is.")),
        scores={task: _scores(values[-1]) for task, values in of_tasks("score.")},
        entity=one("entity"),
        entity_label=one("label"),
        words=one("words"),
        dates=(_day(one("from")), _day(one("to"))),
    )


def _filled_in(batch: Batch, start: Filters, place: str) -> Filters:
    """The fields, which begin with the values of ``start``."""
    words = st.text_input(
        "Words in the text", start.words, key=f"{place}-words", help="A row must have all of them."
    )
    labels: dict[str, Sequence[str]] = {}
    scores: dict[str, tuple[float, float]] = {}
    for task in (task for task, kind in batch.kinds.items() if kind != TokenHead.kind):
        names = batch.labels(task)
        left, right = st.columns(2)
        labels[task] = left.multiselect(
            plain(heading(task)),
            names,
            [name for name in start.labels.get(task, ()) if name in names],
            key=f"{place}-is-{task}",
            format_func=visible,
            placeholder="any",
        )
        scores[task] = right.slider(
            f"Score of {plain(task)}",
            *ALL_SCORES,
            start.scores.get(task, ALL_SCORES),
            0.05,
            key=f"{place}-score-{task}",
        )
    entity, label = _entity(batch.entity_labels(), start, place)
    return Filters(
        labels={task: names for task, names in labels.items() if names},
        scores={task: both for task, both in scores.items() if both != ALL_SCORES},
        entity=entity,
        entity_label=label,
        words=words.strip(),
        dates=_days(start, place) if batch.date_column is not None else ("", ""),
    )


def _entity(labels: Sequence[str], start: Filters, place: str) -> tuple[str, str]:
    """A part of an entity's text, and its label."""
    if not labels:
        return "", ""
    left, right = st.columns(2)
    text = left.text_input("Entity, or a part of it", start.entity, key=f"{place}-entity")
    label = right.selectbox(
        "Label of the entity",
        labels,
        labels.index(start.entity_label) if start.entity_label in labels else None,
        key=f"{place}-label",
        format_func=visible,
        placeholder="any",
    )
    return text.strip(), label or ""


def _days(start: Filters, place: str) -> tuple[str, str]:
    """The first and the last day, each "" where it is open."""
    days = [
        column.date_input(
            label,
            day or None,
            min_value=FIRST_DAY,
            max_value=LAST_DAY,
            key=f"{place}-{label}",
            format="YYYY-MM-DD",
        )
        for column, label, day in zip(
            st.columns(2), ("First day", "Last day"), start.dates, strict=True
        )
    ]
    first, last = ("" if day is None else day.isoformat() for day in days)
    return first, last


def _scores(text: str) -> tuple[float, float]:
    """``0.5-1`` as two scores, on the slider's steps."""
    try:
        low, high = (round(20 * float(part)) / 20 for part in text.split("-"))
    except (ValueError, OverflowError):
        return ALL_SCORES
    return (low, high) if 0 <= low <= high <= 1 else ALL_SCORES


def _day(text: str) -> str:
    try:
        Filters(dates=(text, ""))
        return text if not text or FIRST_DAY <= date.fromisoformat(text) <= LAST_DAY else ""
    except InputError:
        return ""
