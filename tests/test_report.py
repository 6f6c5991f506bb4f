"""The page says what the reports say, needs nothing but itself, and lets no text become markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from nlpkit.evaluation import Report
from nlpkit.report import html_page
from nlpkit.report.markup import Markup, tag
from nlpkit.report.plots import bar, curve, reliability, whisker

EVIL = "<script>alert('x')</script><b>&amp;\x00\ud800"
SCORES = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "n_gold": 10, "n_predicted": 9}


def a_report(**changes: Any) -> Report:
    report = Report(
        suite="conll2003_dev",
        scores={"f1": 0.85, "precision": float("nan")},
        n_examples=1234,
        seconds=2.5,
        bundle="base-xx-1",
        engine="onnx",
        precision="fp32",
        version="0.1.0",
        command="nlpkit evaluate --suite conll2003_dev",
        details={
            "per_class": {"PER": SCORES},
            "per_class_conlleval": {"PER": SCORES},
            "confusion": {
                "rows": ["PER", "(invented)"],
                "columns": ["PER", "(missed)"],
                "counts": [[8, 2], [1, 0]],
            },
            "errors": {"right": 8, "missed": 2},
            "expected_calibration_error": 0.0123,
            "calibration": [{"low": 0.8, "high": 0.9, "n": 9, "confidence": 0.85, "accuracy": 0.7}],
            "slices": {"words of the entity": [{"name": "1", "n": 5, "f1": None, "em": 0.25}]},
            "threshold_curve": {"lead": [-1, 0, 2], "f1": [0.5, 0.6, 0.4], "answered": [0, 0.5, 1]},
        },
        intervals={"f1": [0.8, 0.875]},
        worst=[
            {
                "score": 0.99,
                "predicted": "PER: Paris",
                "gold": "LOC: Paris",
                "what": "wrong class",
                "text": "In Paris today",
                "start": 3,
                "end": 8,
            }
        ],
    )
    return replace(report, **changes)


class Elements(HTMLParser):
    """The start tags of a page with their attributes, and whether all are closed in order."""

    VOID = ("meta",)

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_shows_every_part_of_a_report() -> None:
    page = html_page([a_report()])
    said = " ".join(Elements(page).words)
    for part in (
        "Evaluation of base-xx-1",
        "CoNLL-2003 dev, strict entity F1, one sentence a call",  # what the suite measures
        "1,234 examples in 2.5 s; base-xx-1, onnx, fp32, nlpkit 0.1.0",
        "nlpkit evaluate --suite conll2003_dev",
        "0.8500",
        "0.800 to 0.875",
        "By class (strict IOB2 and conlleval)",
        "Confusion",
        "(missed)",
        "Kinds of errors",
        "Calibration: ECE 0.0123",
        "scores 0.80 to 0.90: 9 examples, mean score 0.850, 0.700 right",
        "To answer or not",
        "By words of the entity",
        "PER: Paris",
        "wrong class",
        "How to read this",
    ):
        assert part in said, part
    assert "<mark>Paris</mark>" in page


def test_the_page_needs_nothing_but_itself() -> None:
    page = html_page([a_report()])
    elements = Elements(page)
    assert {"script", "link", "img", "iframe", "object"} & {name for name, _ in elements.found} == (
        set()
    )
    for _, attributes in elements.found:
        assert not attributes.keys() & {"src", "onload", "onclick", "srcset", "data"}
        assert (attributes.get("href") or "#").startswith("#")
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_links_of_the_summary_lead_to_sections() -> None:
    elements = Elements(html_page([a_report(), a_report(suite="mine")])).found
    places = {a["id"] for _, a in elements if "id" in a}
    assert {(a["href"] or "")[1:] for name, a in elements if name == "a"} == places
    assert len(places) == 2


def test_no_text_becomes_markup() -> None:
    worst = dict.fromkeys(("predicted", "gold", "what", "text"), EVIL) | {"score": 0.5}
    evil = a_report(
        suite=EVIL,
        bundle=EVIL,
        engine=EVIL,
        command=EVIL,
        scores={EVIL: 0.5},
        details={
            "per_class": {EVIL: SCORES},
            "labels": [EVIL, "b"],
            "confusion_matrix": [[1, 2], [3, 4]],
            "errors": {EVIL: 3},
            "slices": {EVIL: [{"name": EVIL, "n": 1, EVIL: 0.5}]},
        },
        worst=[worst, {**worst, "start": 2, "end": 9}],
    )
    page = html_page([evil])
    names = {name for name, _ in Elements(page).found}
    assert "script" not in names
    assert page.count("&lt;script&gt;") >= 15
    assert re.search("[\x00\ud800]", page) is None
    page.encode()


def test_many_classes_are_folded_and_their_confusions_ranked() -> None:
    labels = [f"intent {i}" for i in range(30)]
    matrix = [[5 if i == j else 0 for j in range(30)] for i in range(30)]
    matrix[3][4], matrix[7][8] = 2, 9
    details = {
        "labels": labels,
        "per_class": dict.fromkeys(labels, SCORES),
        "confusion_matrix": matrix,
    }
    page = html_page([a_report(details=details)])
    assert "<summary>30 classes</summary>" in page
    said = " ".join(Elements(page).words)
    assert "Commonest confusions" in said
    first, second = (said.rindex(f"intent {i} intent {i + 1}") for i in (7, 3))
    assert first < second


def test_a_report_of_old_and_an_empty_one() -> None:
    old = a_report(details={}, intervals={}, worst=[])
    assert "0.8500" in html_page([old])
    assert "Evaluation of nothing" in html_page([])
    nothing = a_report(scores={"f1": float("nan")}, intervals={"f1": [float("nan")] * 2})
    assert not re.search(r"\bnan\b", html_page([nothing]))


# -- markup and plots ------------------------------------------------------------------------------


def test_children_are_escaped_unless_they_are_markup() -> None:
    assert tag("p", "<b>", tag("b", 1), None, ["x", Markup("<i/>")]) == (
        "<p>&lt;b&gt;<b>1</b>x<i/></p>"
    )
    assert tag("p", class_='a"b', title=None, aria_hidden="true") == (
        '<p class="a&quot;b" aria-hidden="true"></p>'
    )


def number(svg: str, attribute: str, place: int = 0) -> float:
    return float(re.findall(rf'\b{attribute}="([-\d.]+)"', svg)[place])


def test_a_bar_is_as_long_as_its_share() -> None:
    assert number(bar(0.25), "width", 1) == 25
    assert number(bar(7), "width", 1) == 100
    assert number(bar(float("nan")), "width", 1) == 0


def test_a_whisker_stands_at_its_score() -> None:
    drawn = whisker(0.5, [0.25, 0.75])
    assert number(drawn, "cx") == 80
    assert 'x1="42.0" x2="118.0"' in drawn
    assert whisker(-0.1, None) == ""
    assert "range" not in whisker(0.5, None)


def test_bars_of_the_reliability_plot_end_at_the_accuracy() -> None:
    bins = [
        {"low": 0.0, "high": 0.5, "n": 1, "confidence": 0.3, "accuracy": 1.0},
        {"low": 0.5, "high": 1.0, "n": 3, "confidence": 0.9, "accuracy": 0.5},
    ]
    whole, half = re.findall(r'<rect[^>]*height="([\d.]+)"', reliability(bins))
    assert float(whole) == pytest.approx(2 * float(half))


def test_the_curve_marks_the_default_where_it_is_in_sight() -> None:
    assert "default" in curve([-1, 0, 1], [0.5, 0.6, 0.5], [0.1, 0.5, 1])
    assert "default" not in curve([1, 2], [0.5, 0.6], [0.1, 0.5])
    assert "polyline" in curve([0], [0.5], [1])
