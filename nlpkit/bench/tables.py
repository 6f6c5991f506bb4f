"""Results as Markdown, and between the markers of a page of the manual."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nlpkit.bench.results import Check, Results, Row, Spread
from nlpkit.errors import InputError

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_MARKS = {"aim": "yes, and the aim", "floor": "yes", "no": "**no**", "": ""}


def markdown(results: Results, plots: Sequence[str] = ()) -> str:
    """All tables; ``plots`` are the paths of pictures to show."""
    parts = [
        "## Asked and reached",
        asked(results),
        *(f"![{Path(plot).stem.replace('-', ' ')}]({plot})" for plot in plots),
        "## The machine",
        facts({**results.machine, **results.setup}),
        facts(results.roofline),
        *(part for row in results.rows for part in _of_row(row)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def asked(results: Results) -> str:
    """A line for each figure that something is asked of."""
    rows = [
        [
            f"{check.what}, against {check.against}" if check.against else check.what,
            figure(check),
            f"{'at most' if check.at_most else 'at least'} {short(check.floor or 0)}",
            short(check.aim or 0),
            _MARKS[check.reached],
        ]
        for row in results.rows
        for check in row.checks
        if check.reached
    ]
    return table(("what", "here", "asked", "aim", "reached"), rows) if rows else ""


def figure(check: Check) -> str:
    """A value with its spread and unit."""
    return f"{spread(check.value)} {check.unit}".strip()


def spread(value: Spread) -> str:
    """The median, and in brackets the least and the most where they differ."""
    middle, low, high = short(value.median), short(value.low), short(value.high)
    return middle if low == high else f"{middle} ({low} to {high})"


def short(value: float) -> str:
    """Three digits that count, just below 1 four."""
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4g}" if 0.9 <= abs(value) < 1 else f"{value:.3g}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def facts(found: dict[str, Any]) -> str:
    """Names and values in two columns; nested ones joined."""
    return table(("", ""), [[name, str(value)] for name, value in _flat(found)]) if found else ""


def update_page(page: Path, text: str) -> None:
    """Put a text between the markers of a page.

    Raises:
        InputError: the page is not there, or has no markers.
    """
    if not page.is_file():
        raise InputError(f"--page {page}: there is no such file")
    content = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(content):
        raise InputError(f"--page {page} has no lines {BEGIN} and {END}; add them")
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n{END}", content), encoding="utf-8")


def _of_row(row: Row) -> Iterator[str]:
    """A heading, what each side did, comparisons that nothing is asked of, who is missing."""
    yield f"## {row.name}: {row.title}"
    names = list(dict.fromkeys(name for runs in row.sides.values() for name in runs.figures))
    if names:
        times = {check.against: check for check in row.checks if check.against}
        columns = ["", *names, *(["nlpkit is"] if times else []), "with", "agrees"]
        lines: list[list[str]] = []
        for side, runs in row.sides.items():
            cells = [spread(runs.figures[name]) if name in runs.figures else "" for name in names]
            against = [figure(times[side]) if side in times else ""] if times else []
            lines.append([side, *cells, *against, runs.ran_with, runs.agreement])
        yield table(columns, lines)
    for plot, lines_of in row.curves.items():
        places = sorted({x for line in lines_of.values() for x, _ in line})
        timed = [
            [name, *(f"{dict(line)[x]:.3g} s" if x in dict(line) else "" for x in places)]
            for name, line in lines_of.items()
        ]
        yield table((plot, *(f"{x:,.0f}" for x in places)), timed)
    if row.details:
        yield facts(row.details)
    if row.refused:
        yield "Not shown:\n\n" + "\n".join(
            f"- {name}: {why}" if name else f"- {why}" for name, why in row.refused.items()
        )


def _flat(found: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}, ")
        else:
            yield f"{before}{name}", value


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
