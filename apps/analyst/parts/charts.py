"""Charts of what rows add up to, each with its figures as a table below it.

The colours stand out from the light and the dark background alike (a contrast of 3 or more), and
numbers are written beside the names, where the theme colours them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import altair as alt
import streamlit as st

from nlpkit.workspace import EntityCount
from parts.safe import one_line, visible
from parts.table import figures
from parts.words import share

#: Colours of series, in this order. Classes that mean good or bad have their own, and so have
#: labels of entities, as in a marked text (parts/look.py).
COLOURS = (
    "#3f86d0",
    "#d2691e",
    "#2f9e77",
    "#a768c9",
    "#b07d1e",
    "#c94f7c",
    "#17919b",
    "#7a8f1d",
)
KNOWN = {
    "negative": "#d2691e",
    "neutral": "#808993",
    "positive": "#3f86d0",
    "per": "#3f86d0",
    "org": "#d2691e",
    "loc": "#2f9e77",
    "misc": "#a768c9",
}
REST, OTHERS = "#808993", "all others"
#: Bars of a chart, at most.
MOST_BARS = 20

Points = Sequence[tuple[str, str, int]]  #: (first day, class, rows), as a summary has them


def classes(title: str, counts: Mapping[str, int], n_rows: int) -> None:
    """How many rows have each class."""
    colours = colours_of(counts)
    shown = list(counts.items())[:MOST_BARS]
    bars = [(f"{visible(name)}: {n:,} ({share(n, n_rows)})", n, colours[name]) for name, n in shown]
    st.altair_chart(_bars(bars), alt=f"{title}: rows by class, as bars")
    if len(counts) > MOST_BARS:
        st.text(f"The {MOST_BARS} most frequent of {len(counts):,} classes; the table has all.")
    rows = [(name, n, share(n, n_rows)) for name, n in counts.items()]
    _as_table(title, ("Class", "Rows", "Share"), rows)


def entities(title: str, found: Sequence[EntityCount], labels: Sequence[str]) -> None:
    """The entities that most rows name."""
    colours = colours_of(labels)
    bars = [
        (
            f"{one_line(one.text)} ({visible(one.label)}): {one.rows:,}",
            one.rows,
            colours[one.label],
        )
        for one in found
    ]
    st.altair_chart(_bars(bars), alt=f"{title}: rows by entity, as bars")
    rows = [(one_line(one.text), visible(one.label), one.rows) for one in found]
    _as_table(title, ("Entity", "Label", "Rows"), rows, n_texts=2)


def over_time(title: str, points: Points, unit: str, *, as_share: bool) -> None:
    """How many rows, or which share of them, have each class at each time."""
    totals = Counter[str]()
    for _, name, n in points:
        totals[name] += n
    kept = [name for name, _ in totals.most_common(len(COLOURS))]
    kept = sorted(kept, key=[*KNOWN, *kept].index)
    colours = {visible(name): colour for name, colour in colours_of(kept).items()}
    if len(totals) > len(kept):
        colours[OTHERS] = REST
    counts = Counter[tuple[str, str]]()
    for day, name, n in points:
        counts[day, visible(name) if name in kept else OTHERS] += n
    steps = [step.isoformat() for step in steps_of(unit, {day for day, _, _ in points})]
    values = [
        {"time": _time(day, unit), "class": name, "rows": n, "order": list(colours).index(name)}
        for (day, name), n in counts.items()
    ]
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar()
        .encode(
            x=alt.X("time:O", title=None, scale=alt.Scale(domain=[_time(s, unit) for s in steps])),
            y=alt.Y(
                "sum(rows):Q",
                title="Share" if as_share else "Rows",
                stack="normalize" if as_share else "zero",
                axis=alt.Axis(
                    format="%" if as_share else ",d", tickCount=5, tickMinStep=0 if as_share else 1
                ),
            ),
            color=alt.Color(
                "class:N",
                title=None,
                scale=alt.Scale(domain=list(colours), range=list(colours.values())),
                legend=alt.Legend(orient="top", columns=3),
            ),
            order="order:Q",
            tooltip=["time:O", "class:N", "rows:Q"],
        )
        .configure_axis(**letters())
        .configure_axisX(labelAngle=0, labelOverlap="parity", labelSeparation=12)
        .configure_legend(**letters())
        .properties(height=300)
    )
    st.altair_chart(chart, alt=f"{title}: rows by {unit} and class, as stacked bars")
    rows: list[list[str | int]]
    rows = [[_time(day, unit), *(counts[day, name] for name in colours)] for day in steps]
    _as_table(title, (unit.capitalize(), *colours), rows)


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each; the same names in the same order have the same ones."""
    found = {name: KNOWN.get(name.casefold(), "") for name in names}
    free = [colour for colour in COLOURS if colour not in found.values()]
    for name, colour in found.items():
        if not colour:
            found[name] = free.pop(0) if free else REST
    return found


def steps_of(unit: str, days: Iterable[str]) -> list[date]:
    """Every day, week, month or year from the first to the last, the empty ones included."""
    there = sorted(map(date.fromisoformat, days))
    found = [there[0]]
    while found[-1] < there[-1]:
        found.append(_next(found[-1], unit))
    return found


def _next(day: date, unit: str) -> date:
    if unit in ("day", "week"):
        return day + timedelta(days=1 if unit == "day" else 7)
    if unit == "month" and day.month < 12:
        return day.replace(month=day.month + 1)
    return day.replace(year=day.year + 1, month=1)


def _time(day: str, unit: str) -> str:
    """``2024``, ``Mar 2024``, or ``4 Mar 2024`` for a day and for a week by its first."""
    when = date.fromisoformat(day)
    if unit == "year":
        return f"{when:%Y}"
    return f"{when:%b %Y}" if unit == "month" else f"{when.day} {when:%b %Y}"


def _bars(bars: Sequence[tuple[str, int, str]]) -> alt.Chart:
    """Horizontal bars of (label, length, colour), the first on top."""
    values = [{"label": label, "rows": n, "colour": colour} for label, n, colour in bars]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar()
        .encode(
            x=alt.X("rows:Q", title=None, axis=None),
            y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=240, ticks=False)),
            color=alt.Color("colour:N", scale=None),
            tooltip=alt.Tooltip("label:N", title=" "),
        )
        .configure_axis(**letters())
        .properties(height=alt.Step(28))
    )
    return chart


def letters() -> dict[str, Any]:
    """The letters at an axis, large and dark enough to be read."""
    theme = "dark" if st.context.theme.type == "dark" else "light"
    colour = st.get_option(f"theme.{theme}.textColor")
    return {"labelFontSize": 14, "labelColor": colour, "titleFontSize": 14, "titleColor": colour}


def _as_table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[str | int]], n_texts: int = 1
) -> None:
    with st.expander("As a table"):
        st.html(figures(title, header, rows, n_texts))
