"""What a bundle's card says, drawn: terms, scores, confusions, calibration.

A card comes with its bundle, perhaps from elsewhere: nothing in it is read as markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import streamlit as st

from nlpkit.card import Card, Comparison, compare
from nlpkit.evaluation import Report, classes_by_scheme
from nlpkit.report.markup import Markup, tag
from nlpkit.suites import SUITES
from parts.charts import COLOURS, letters
from parts.safe import Html, visible
from parts.table import figures, grid
from parts.words import counted

#: A matrix with more classes does not fit a page; its commonest confusions do.
MOST_IN_MATRIX, N_CONFUSIONS = 20, 20

STYLE = """
<style>
.nk-heat { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.nk-heat caption { text-align: left; padding-bottom: .5rem; }
.nk-heat th, .nk-heat td { padding: .3rem .6rem; border: 0; text-align: right; }
.nk-heat tbody th { text-align: left; font-weight: 400; white-space: nowrap; }
.nk-heat td { background: color-mix(in srgb, #4a8fd6 calc(var(--share) * 45%), transparent); }
.nk-words th, .nk-words td {
  text-align: left !important; vertical-align: top; overflow-wrap: normal;
}
.nk-scroll { max-height: none; }
.nk-heat td.right { outline: 1px solid currentColor; outline-offset: -1px; }
</style>
"""


def about(card: Card) -> None:
    """Who made it of what, for what, and on which terms."""
    facts = card.facts
    st.text(
        visible(
            f"{facts.description}. Made from {facts.backbone} with seed {facts.seed}; "
            f"shipped as {facts.precision}."
        )
    )
    st.subheader("Intended use")
    st.text(visible(facts.intended_use))
    st.subheader("Known failures")
    st.html(bullets(card.known_failures or ("None was recorded.",)))
    st.subheader("Terms")
    st.text(visible(facts.licence))
    st.subheader("Training data")
    st.text("None of these texts is part of the bundle.")
    rows = [
        {"task": task.name, "data": one.name, "terms": one.licence, "from": one.address}
        for task in facts.tasks
        for one in task.sources
    ]
    st.dataframe(
        grid(("task", "data", "terms", "from"), rows), hide_index=True, alt="Training data"
    )


def scores(card: Card) -> None:
    """The main score of each test with its interval, as a chart and as a table."""
    compared = compare(card.facts, card.reports)
    shipped = [one.shipped for one in compared if one.shipped is not None]
    if not shipped:
        st.info("This card has no scores: nothing was measured.", icon=":material/info:")
        return
    st.altair_chart(_score_chart(shipped), alt="The main score of each test, as points")
    known = [one for one in shipped if one.main[0] in one.intervals]
    if not known:
        st.text("This card has no intervals: how much chance is in these scores is not recorded.")
    elif len(known) < len(shipped):
        st.text("Lines are 95 % intervals; where there is none, the card has no interval.")
    else:
        st.text("Lines are 95 % intervals over 1,000 resamples of the examples.")
    parts = {
        "Value": [_value(one.shipped) for one in compared],
        "95 %": [_interval(one.shipped) for one in compared],
        "In fp32": [_value(one.reference) for one in compared],
        "Loss": ["" if one.loss is None else f"{one.loss:.2f}" for one in compared],
        "Examples": [f"{_either(one).n_examples:,}" for one in compared],
    }
    told = {name: cells for name, cells in parts.items() if any(cells)}
    rows = [(_test(one), *cells) for one, *cells in zip(compared, *told.values(), strict=True)]
    st.html(figures("Scores", ("Test", *told), rows))
    if "Loss" in told:
        st.text(
            "Loss: what the shipped numbers lose against full ones (fp32), in hundredths of the "
            "score; a gain is negative."
        )


def choose_report(card: Card, place: str, has: Callable[[Report], bool]) -> Report | None:
    """One of the tests that have something to show; None, and why, where none has."""
    found = [one for one in card.reports if one.precision == card.facts.precision and has(one)]
    if not found:
        return None
    chosen: Report = st.selectbox(
        "Test", found, format_func=lambda one: visible(one.suite), key=f"{place}-test"
    )
    suite = SUITES.get(chosen.suite)
    if suite is not None:
        st.text(f"{suite.measures}. {counted(chosen.n_examples, 'example')}.")
    return chosen


def classes(card: Card, place: str) -> None:
    """Precision, recall and F1 of each class or kind of entity."""
    report = choose_report(card, place, lambda one: bool(classes_by_scheme(one)))
    if report is None:
        st.info("This card has no scores by class.", icon=":material/info:")
        return
    for scheme, found in classes_by_scheme(report).items():
        rows = [
            (
                name,
                *(_number(one.get(key), 3) for key in ("precision", "recall", "f1")),
                f"{one['n_gold']:,}",
                f"{one['n_predicted']:,}",
            )
            for name, one in found.items()
        ]
        header = ("Class", "Precision", "Recall", "F1", "In the data", "Found")
        st.altair_chart(_class_chart(found), alt=f"F1 by {scheme}, as bars")
        st.html(figures(f"Scores by {scheme}", header, rows))


def confusions(card: Card, place: str) -> None:
    """Which class was taken for which."""
    report = choose_report(card, place, lambda one: _confusion(one) is not None)
    found = None if report is None else _confusion(report)
    if found is None:
        st.info("This card has no confusion matrix.", icon=":material/info:")
        return
    rows, columns, counts = found
    if max(len(rows), len(columns)) <= MOST_IN_MATRIX:
        st.html(_matrix(rows, columns, counts))
        return
    pairs = [
        (count, row, column)
        for row, cells in zip(rows, counts, strict=True)
        for column, count in zip(columns, cells, strict=True)
        if count and row != column
    ]
    pairs.sort(key=lambda pair: -pair[0])
    body = [(row, column, f"{count:,}") for count, row, column in pairs[:N_CONFUSIONS]]
    caption = f"The commonest confusions among {len(rows):,} classes"
    st.html(texts(caption, ("Right class", "Model's class", "Examples"), body))


def calibration(card: Card, place: str) -> None:
    """Whether of results with a score of 0.8 eight in ten are right."""
    report = choose_report(card, place, lambda one: _ece(one) is not None)
    if report is None:
        st.info("This card says nothing about calibration.", icon=":material/info:")
        return
    error = _ece(report)
    assert error is not None
    st.text(
        f"Calibration error (ECE, 15 bins): {error:.3f}. On average the share that is right is so "
        "far from the score: at 0, eight in ten are right where the model says 80 %."
    )
    bins: Sequence[Mapping[str, Any]] = report.details.get("calibration") or ()
    if not bins:
        st.info(
            "This card has no calibration curve for this test, only the error.",
            icon=":material/info:",
        )
        if report.suite in SUITES:
            st.text("To have one, measure again where the test's data are:")
            command = f"nlpkit evaluate {card.facts.id} --suite {report.suite} --html page.html"
            st.code(command, language=None, wrap_lines=True)
        return
    st.altair_chart(_reliability(bins), alt="The share that is right for each range of scores")
    header = ("Scores", "Results", "Mean score", "Right")
    rows = [
        (
            f"{one['low']:.2f} to {one['high']:.2f}",
            int(one["n"]),
            f"{one['confidence']:.3f}",
            f"{one['accuracy']:.3f}",
        )
        for one in bins
    ]
    st.html(figures("Calibration", header, rows))


def texts(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table of words; the first column names the rows."""
    head = tag("tr", [tag("th", name, scope="col") for name in header])
    body = [
        tag("tr", tag("th", visible(row[0]), scope="row"), [tag("td", visible(x)) for x in row[1:]])
        for row in rows
    ]
    return _scrolling(caption, tag("thead", head), tag("tbody", body), "nk-figures nk-words")


def bullets(points: Sequence[str]) -> Html:
    """A list."""
    return Html(tag("ul", [tag("li", visible(point)) for point in points]))


def style() -> None:
    """Put the styles of this part into the page."""
    st.html(Html(Markup(STYLE)))


# -- scores ----------------------------------------------------------------------------------------


def _test(compared: Comparison) -> str:
    """A test in words, with the name under which it is run."""
    suite = SUITES.get(compared.suite)
    measured = _either(compared).main[0] if suite is None else suite.measures
    return f"{measured} ({compared.suite})"


def _either(compared: Comparison) -> Report:
    found = compared.shipped or compared.reference
    assert found is not None
    return found


def _value(report: Report | None) -> str:
    return "" if report is None else _number(report.main[1])


def _interval(report: Report | None) -> str:
    found = None if report is None else report.intervals.get(report.main[0])
    return "" if found is None else f"{_number(found[0], 3)} to {_number(found[1], 3)}"


def _score_chart(reports: Sequence[Report]) -> alt.LayerChart:
    """A point for each test, with its interval as a line."""
    values = []
    for one in reports:
        name, value = one.main
        low, high = one.intervals.get(name, (value, value))
        if all(map(math.isfinite, (value, low, high))):
            label = f"{visible(one.suite)} ({visible(name)}): {value:.3f}"
            values.append({"label": label, "value": value, "low": low, "high": high})
    base = alt.Chart(_data(values)).encode(
        y=alt.Y(
            "label:N",
            title=None,
            sort=None,
            scale=alt.Scale(type="band"),
            axis=alt.Axis(labelLimit=280, labelFlush=False, ticks=False),
        )
    )
    scale = alt.Scale(domain=[0, 1])
    lines = base.mark_rule(color=COLOURS[0], strokeWidth=4, opacity=0.5).encode(
        x=alt.X("low:Q", title=None, scale=scale), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=90, color=COLOURS[0], opacity=1).encode(
        x=alt.X("value:Q", title=None, scale=scale), tooltip=alt.Tooltip("label:N", title=" ")
    )
    layers = (lines + points).properties(height=alt.Step(28))
    chart: alt.LayerChart = layers.configure_axis(**letters())
    return chart


def _class_chart(found: Mapping[str, Mapping[str, float]]) -> alt.Chart:
    values = [
        {"label": f"{visible(name)}: {one['f1']:.3f}", "f1": one["f1"]}
        for name, one in list(found.items())[:MOST_IN_MATRIX]
        if _is_finite(one.get("f1"))
    ]
    chart: alt.Chart = (
        alt.Chart(_data(values))
        .mark_bar(color=COLOURS[0])
        .encode(
            x=alt.X("f1:Q", title="F1", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=240, ticks=False)),
            tooltip=alt.Tooltip("label:N", title=" "),
        )
        .configure_axis(**letters())
        .properties(height=alt.Step(28))
    )
    return chart


# -- confusions and calibration --------------------------------------------------------------------


def _confusion(report: Report) -> tuple[list[str], list[str], list[list[int]]] | None:
    details = report.details
    if details.get("confusion", {}).get("rows"):
        found = details["confusion"]
        return found["rows"], found["columns"], found["counts"]
    if details.get("confusion_matrix"):
        return details["labels"], details["labels"], details["confusion_matrix"]
    return None


def _matrix(rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]]) -> Html:
    """The matrix; the darker a field, the larger its part of the row."""
    body = []
    for row, cells in zip(rows, counts, strict=True):
        total = sum(cells) or 1
        fields = [
            tag(
                "td",
                f"{count:,}",
                class_="right" if row == column else None,
                style=f"--share: {count / total:.3f}",
            )
            for column, count in zip(columns, cells, strict=True)
        ]
        body.append(tag("tr", tag("th", visible(row), scope="row"), fields))
    names = [tag("th", visible(column), scope="col") for column in columns]
    caption = "Rows: the right class. Columns: the model's class."
    head = tag("thead", tag("tr", tag("td"), names))
    return _scrolling(caption, head, tag("tbody", body), "nk-heat")


def _scrolling(caption: str, head: Markup, body: Markup, style: str) -> Html:
    """A table in a box that scrolls, by the keyboard too."""
    made = tag("table", tag("caption", caption), head, body, class_=style)
    box = tag("div", made, class_="nk-scroll", role="region", tabindex=0, aria_label=caption)
    return Html(box)


def _ece(report: Report) -> float | None:
    found = report.details.get("expected_calibration_error")
    return found if isinstance(found, float) and math.isfinite(found) else None


def _reliability(bins: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Bars of the share that is right; those of a calibrated model end at the dashed line."""
    total = sum(one["n"] for one in bins) or 1
    values = [
        {
            "low": one["low"],
            "high": one["high"],
            "right": one["accuracy"],
            "shade": 0.3 + 0.7 * math.sqrt(one["n"] / total),  # a bin of three says little
            "said": f"{one['low']:.2f} to {one['high']:.2f}: {one['n']:,} results, "
            f"{one['accuracy']:.1%} right",
        }
        for one in bins
    ]
    scale = alt.Scale(domain=[0, 1])
    bars = (
        alt.Chart(_data(values))
        .mark_rect(color=COLOURS[0])
        .encode(
            x=alt.X("low:Q", title="Score", scale=scale),
            x2="high:Q",
            y=alt.Y("zero:Q", title="Share that is right", scale=scale),
            y2="right:Q",
            opacity=alt.Opacity("shade:Q", scale=None),
            tooltip=alt.Tooltip("said:N", title=" "),
        )
        .transform_calculate(zero="0")
    )
    diagonal = (
        alt.Chart(_data([{"x": 0, "y": 0}, {"x": 1, "y": 1}]))
        .mark_line(color=COLOURS[1], strokeDash=[6, 4])
        .encode(x=alt.X("x:Q", scale=scale), y=alt.Y("y:Q", scale=scale))
    )
    layers = (bars + diagonal).properties(height=320)
    chart: alt.LayerChart = layers.configure_axis(**letters())
    return chart


def _data(values: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=values)


def _number(value: Any, places: int = 4) -> str:
    return f"{float(value):.{places}f}" if _is_finite(value) else "-"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
