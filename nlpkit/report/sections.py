"""The parts of the page: the summary, a section for each report, and what the numbers mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nlpkit.evaluation import Report, classes_by_scheme
from nlpkit.report import plots
from nlpkit.report.markup import Child, Markup, tag
from nlpkit.suites import SUITES

#: More classes than these are folded away, or left out of the matrix.
MOST_OPEN, MOST_IN_MATRIX = 12, 20
N_CONFUSIONS = 20
#: Titles of columns of names.
WORDS = ("score", "predicted class")

MEANINGS = {
    "95 %": "The interval in which the score lay in 95 of 100 resamples of the examples "
    "(percentile bootstrap, 1,000 resamples). It tells how much the choice of these examples "
    "matters, and nothing about other kinds of text.",
    "f1, precision, recall of entities": "An entity counts if its words and its class are "
    "exactly right (seqeval's strict mode, IOB2). conlleval_f1 is the shared task's own script, "
    "which also reads an entity off a tag sequence that does not begin with B.",
    "f1, em of answers": "Words shared with the nearest true answer, and whether it is the same, "
    "after SQuAD's normalisation. Where there is no answer, to say so scores 1.",
    "f1_over_never_answer": "What answering by default gains over never answering at all.",
    "auc_answerable": "The chance that a question with an answer looks more answerable than one "
    "without.",
    "calibration": "ECE (15 bins) is the mean distance between score and share that is right: 0 "
    "means that of all results with a score of 0.8, 80 % are right. In the plot such a model's "
    "bars end at the dashed line; darker bars stand for more examples.",
    "(missed), (invented)": "True entities that none was found on the same words for, and found "
    "ones without a true one there. A wrong border makes one of each.",
    "ndcg_at_10, mrr_at_10, recall": "How high the relevant documents stand, as trec_eval counts.",
    "spearman": "The rank correlation of cosines with people's judgments.",
}


def summary(reports: Sequence[Report]) -> Markup:
    """The main score of every report."""
    rows = [
        [
            tag("a", report.suite, href=f"#{_anchor(place)}"),
            report.main[0],
            number(report.main[1]),
            _interval(report, report.main[0]),
            plots.whisker(report.main[1], report.intervals.get(report.main[0])),
            f"{report.n_examples:,}",
        ]
        for place, report in enumerate(reports)
    ]
    return table(("suite", "score", "value", "95 %", "", "examples"), rows)


def section(report: Report, place: int) -> Markup:
    """All of one report."""
    suite = SUITES.get(report.suite)
    measured = (
        f"{report.n_examples:,} examples in {report.seconds:,.1f} s; {report.bundle}, "
        f"{report.engine}, {report.precision}, nlpkit {report.version}"
    )
    return tag(
        "section",
        tag("h2", report.suite),
        None if suite is None else tag("p", suite.measures),
        tag("p", measured, class_="quiet"),
        tag("p", tag("code", report.command), class_="quiet"),
        tag("div", _panels(report), class_="panels"),
        id=_anchor(place),
    )


def explanations() -> Markup:
    """What the numbers mean, in short."""
    entries = [part for name, text in MEANINGS.items() for part in _entry(name, text)]
    return tag("section", tag("h2", "How to read this"), tag("dl", entries))


# Panels --------------------------------------------------------------------------------------


def _panels(report: Report) -> list[Markup]:
    details = report.details
    found = [_scores(report)]
    found += [
        _classes(title, classes) for title, classes in classes_by_scheme(report).items() if classes
    ]
    found += _confusions(details)
    if details.get("errors"):
        found.append(_errors_by_kind(details["errors"]))
    if details.get("calibration"):
        found.append(_calibration(details))
    if details.get("threshold_curve"):
        found.append(_panel("To answer or not", plots.curve(**details["threshold_curve"])))
    found += [_slices(name, rows) for name, rows in details.get("slices", {}).items()]
    if report.worst:
        found.append(_worst(report.worst))
    return found


def _scores(report: Report) -> Markup:
    rows = [
        [
            name,
            number(value),
            _interval(report, name),
            plots.whisker(value, report.intervals.get(name)),
        ]
        for name, value in report.scores.items()
    ]
    return _panel("Scores", table(("score", "value", "95 %", ""), rows))


def _classes(scheme: str, classes: Mapping[str, Mapping[str, float]]) -> Markup:
    rows = [
        [
            name,
            *(number(one[key], 3) for key in ("precision", "recall", "f1")),
            plots.bar(one["f1"]),
            f"{one['n_gold']:,}",
            f"{one['n_predicted']:,}",
        ]
        for name, one in classes.items()
    ]
    title = f"By {scheme}"
    header = ("class", "precision", "recall", "F1", "", "support", "predicted")
    made = table(header, rows)
    return _panel(title, made if len(rows) <= MOST_OPEN else _folded(f"{len(rows)} classes", made))


def _confusions(details: Mapping[str, Any]) -> list[Markup]:
    """The matrix, or the commonest confusions where it would be too large."""
    found = details.get("confusion")
    if found is None and details.get("confusion_matrix"):
        labels, counts = details["labels"], details["confusion_matrix"]
        found = {"rows": labels, "columns": labels, "counts": counts}
    if not found or not found["rows"]:
        return []
    if len(found["rows"]) <= MOST_IN_MATRIX:
        return [_panel("Confusion: true class in rows, predicted in columns", _matrix(**found))]
    pairs = [
        (count, row, column)
        for row, counts in zip(found["rows"], found["counts"], strict=True)
        for column, count in zip(found["columns"], counts, strict=True)
        if count and row != column
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rows = [[row, column, f"{count:,}"] for count, row, column in pairs[:N_CONFUSIONS]]
    made = table(("true class", "predicted class", "examples"), rows)
    return [_panel("Commonest confusions", made)]


def _matrix(rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    body = []
    for row, cells in zip(rows, counts, strict=True):
        total = sum(cells) or 1
        made = [
            tag(
                "td",
                f"{count:,}",
                class_="right" if row == column else None,
                style=f"--share:{count / total:.3f}",
            )
            for column, count in zip(columns, cells, strict=True)
        ]
        body.append(tag("tr", tag("th", row, class_="name", scope="row"), made))
    head = tag("tr", tag("th"), [tag("th", column, scope="col") for column in columns])
    made_table = tag("table", tag("thead", head), tag("tbody", body), class_="heat")
    return tag("div", made_table, class_="scroll")


def _errors_by_kind(errors: Mapping[str, int]) -> Markup:
    total = sum(errors.values()) or 1
    rows = [[name, f"{n:,}", plots.bar(n / total)] for name, n in errors.items()]
    return _panel("Kinds of errors", table(("what", "entities", ""), rows))


def _calibration(details: Mapping[str, Any]) -> Markup:
    return _panel(
        f"Calibration: ECE {number(details['expected_calibration_error'])}",
        plots.reliability(details["calibration"]),
    )


def _slices(name: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    keys = [key for key in rows[0] if key not in ("name", "n")]
    body = [
        [
            row["name"],
            f"{row['n']:,}",
            *(number(row[key], 3) for key in keys),
            plots.bar(_as_number(row[keys[0]])),
        ]
        for row in rows
    ]
    made = table(("group", "n", *keys, ""), body)
    return _panel(f"By {name}", made)


def _worst(worst: Sequence[Mapping[str, Any]]) -> Markup:
    """The errors in words; here alone the page quotes the data."""
    items = [tag("li", _error(one)) for one in worst]
    folded = _folded(f"{len(items)} examples of the data", tag("ol", items, class_="errors"))
    return _panel("Worst errors", folded, class_="panel wide")


def _error(one: Mapping[str, Any]) -> list[Markup]:
    text, start, end = one["text"], one.get("start", 0), one.get("end", 0)
    told = [
        tag("b", f"{_as_number(one['score']):.3f} "),
        tag("bdi", one["predicted"]),
        tag("span", " — true: ", class_="quiet"),
        tag("bdi", one["gold"]),
    ]
    return [
        tag("p", told),
        *([tag("p", one["what"], class_="quiet")] if one.get("what") else []),
        tag(
            "p",
            text[:start],
            tag("mark", text[start:end]) if end > start else None,
            text[end:],
            class_="text",
        ),
    ]


# Helpers -------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    """A table in a frame that scrolls.

    The first column holds names, as do those titled in WORDS; a column without a title holds
    drawings, all others numbers.
    """
    classes = [
        "draw" if not title else "name" if title in WORDS or i == 0 else "n"
        for i, title in enumerate(header)
    ]

    def cells(name: str, values: Sequence[Child]) -> list[Markup]:
        return [tag(name, v, class_=c) for v, c in zip(values, classes, strict=True)]

    head = tag("thead", tag("tr", cells("th", header)))
    body = tag("tbody", [tag("tr", cells("td", row)) for row in rows])
    return tag("div", tag("table", head, body), class_="scroll")


def number(value: Any, places: int = 4) -> str:
    """A score for people."""
    value = _as_number(value)
    return f"{value:.{places}f}" if math.isfinite(value) else "-"


def _as_number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _interval(report: Report, name: str) -> str:
    found = report.intervals.get(name)
    if found is None or not all(map(math.isfinite, found)):
        return ""
    return f"{found[0]:.3f} to {found[1]:.3f}"


def _panel(title: str, *children: Child, class_: str = "panel") -> Markup:
    return tag("div", tag("h3", title), *children, class_=class_)


def _folded(title: str, inside: Markup) -> Markup:
    return tag("details", tag("summary", title), inside)


def _entry(name: str, text: str) -> list[Markup]:
    return [tag("dt", name), tag("dd", text)]


def _anchor(place: int) -> str:
    return f"report-{place}"
