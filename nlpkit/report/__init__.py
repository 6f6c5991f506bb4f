"""The reports of ``nlpkit evaluate`` as one HTML page that needs nothing but itself.

No script, no network, no font: a policy in the page's head forbids them. Every text that comes
from data or from the user is escaped (nlpkit/report/markup.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from nlpkit.evaluation import Report
from nlpkit.report.markup import Markup, tag
from nlpkit.report.sections import explanations, section, summary
from nlpkit.report.style import STYLE

__all__ = ["html_page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html_page(reports: Sequence[Report]) -> str:
    """The page, in full."""
    bundles = ", ".join(dict.fromkeys(report.bundle for report in reports)) or "nothing"
    title = f"Evaluation of {bundles}"
    head = [
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", title),
        tag("style", Markup(STYLE)),
    ]
    body = [
        tag("header", tag("h1", title), summary(reports)),
        tag("main", [section(report, place) for place, report in enumerate(reports)]),
        tag("footer", explanations()),
    ]
    page = tag("html", tag("head", head), tag("body", body), lang="en")
    return f"<!doctype html>\n{page}\n"
