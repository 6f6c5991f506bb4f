"""``nlpkit evaluate``: scores on the benchmark suites, or on a file of your own."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from nlpkit.cli import progress
from nlpkit.cli.job import AsJson, Device, Output, Overwrite, Packs, Precision, load
from nlpkit.cli.output import check_output, console, replaced, table
from nlpkit.errors import InputError

if TYPE_CHECKING:
    from nlpkit.evaluation import Measured, Report

    Measure = Callable[[Callable[[int, int], None]], Measured]

#: The terminal shows the classes of a head that has no more than these.
MOST_CLASSES = 30


def evaluate(
    bundle: Annotated[str, typer.Argument(help="A bundle's name or folder.")] = "base-en",
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="A benchmark suite, or dev (to choose by) or test (to report) for all of a kind; "
            "may be repeated. By default test.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first examples of each suite.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="With --data: the task to score.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A file of your own: CoNLL columns, JSONL or CSV with text and label, or SQuAD."
        ),
    ] = None,
    as_json: AsJson = False,
    output: Output = None,
    html: Annotated[
        Path | None,
        typer.Option(help="A page with tables and plots to write. It quotes the data."),
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    pack: Packs = None,
) -> None:
    """Score a bundle on benchmark suites, or a task of it on a file of your own.

    The suites' data are looked for in the folder that NLPKIT_DATA names. Of one suite or file
    the details are shown; --json and --html have those of all. Files are written after each suite,
    so that a run that is stopped keeps those that it has measured.
    """
    from nlpkit.evaluation import evaluate_files, find_suites, make_report

    if (task is None) != (data is None):
        raise InputError("--task and --data go together; or name a --suite")
    if data is not None and (suite or limit is not None):
        raise InputError("--data goes without --suite and --limit")
    check_output(output, overwrite)
    _check_page(html, output, overwrite)
    chosen = [] if data is not None else find_suites(suite or ["test"])
    for one in chosen:
        for source in one.sources:
            source.path()  # what is missing is said now, not after an hour

    kit = load(bundle, device, precision, pack)
    measures: list[tuple[str, list[str], Measure]] = [
        (one.name, ["--suite", one.name], partial(one.run, kit, limit)) for one in chosen
    ]
    if task is not None and data is not None:
        words = ["--task", task, "--data", str(data)]
        measures.append((task, words, partial(evaluate_files, kit, task, data)))
    options = _given(limit, device, precision, pack)
    reports: list[Report] = []
    for name, words, measure in measures:
        with progress.stepping(name, progress.is_watched(between_lines=True)) as done:
            report = make_report(
                name,
                partial(measure, done),
                bundle=kit.name,
                engine=kit.engine.name,
                precision=kit.precision,
                command=shlex.join(["nlpkit", "evaluate", bundle, *words, *options]),
            )
        reports.append(report)
        # After each, so that a run of hours that is stopped keeps what it has measured.
        _write(reports, output, html, overwrite or len(reports) > 1)
        if not (as_json and output is not None):
            _show(report, as_json, with_details=len(measures) == 1)


def _write(
    reports: Sequence[Report], output: Path | None, html: Path | None, overwrite: bool
) -> None:
    """The reports until now, each file complete before it takes the place of the one before."""
    if output is not None:
        with replaced(output, overwrite) as file:
            file.writelines(_line(report) for report in reports)
    if html is not None:
        from nlpkit.report import html_page

        with replaced(html, overwrite) as file:
            file.write(html_page(reports).encode())


def _given(
    limit: int | None, device: str, precision: str, packs: Sequence[Path] | None
) -> list[str]:
    """The options that change a score, as they were given."""
    words = [] if limit is None else ["--limit", str(limit)]
    words += [] if device == "auto" else ["--device", device]
    words += [] if precision == "auto" else ["--precision", precision]
    return words + [word for path in packs or () for word in ("--pack", str(path))]


def _check_page(html: Path | None, output: Path | None, overwrite: bool) -> None:
    if html is None:
        return
    if html.suffix not in (".html", ".htm"):
        raise InputError(f"--html {html}: the page is HTML; expected a name in .html")
    if output is not None and html.resolve() == output.resolve():
        raise InputError(f"--html and --output are both {html}; expected two files")
    check_output(html, overwrite)


def _line(report: Report) -> bytes:
    return report.to_json().encode() + b"\n"


def _show(report: Report, as_json: bool, *, with_details: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(_line(report))
        sys.stdout.buffer.flush()
        return
    console().print(report.line(), soft_wrap=True)
    for part in _details(report) if with_details else ():
        console().print(part)


def _details(report: Report) -> Iterator[Table]:
    """The scores with their intervals, the classes, the slices."""
    scores = [
        [name, _number(value), *map(_number, report.intervals.get(name, ("", "")))]
        for name, value in report.scores.items()
    ]
    if error := report.details.get("expected_calibration_error"):
        scores.append(["calibration error (ECE)", _number(error), "", ""])
    yield _numbers(("measure", "value", "95 % from", "to"), scores)
    from nlpkit.evaluation import classes_by_scheme

    keys = ("precision", "recall", "f1", "n_gold", "n_predicted")
    for title, classes in classes_by_scheme(report).items():
        if 0 < len(classes) <= MOST_CLASSES:
            rows = [[name, *(_number(one[key]) for key in keys)] for name, one in classes.items()]
            yield _numbers((title, *keys), rows)
    for title, found in report.details.get("slices", {}).items():
        names = [name for name in found[0] if name != "name"]
        yield _numbers(
            (title, *names), [[one["name"], *(_number(one[n]) for n in names)] for one in found]
        )


def _numbers(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of numbers, names on their left."""
    made = table(columns, rows)
    for column in made.columns[1:]:
        column.justify = "right"
    return made


def _number(value: float | str) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else "-"
    return value if isinstance(value, str) else f"{value:,}"
