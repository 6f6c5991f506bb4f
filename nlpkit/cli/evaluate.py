"""``nlpkit evaluate``: scores on the benchmark suites, or on a file of your own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from nlpkit.cli import progress
from nlpkit.cli.job import AsJson, Device, Output, Overwrite, Packs, Precision, load
from nlpkit.cli.output import check_output, console, replaced
from nlpkit.errors import InputError

if TYPE_CHECKING:
    from nlpkit.evaluation import Measured, Report

    Measure = Callable[[Callable[[int, int], None]], Measured]


def evaluate(
    bundle: Annotated[str, typer.Argument(help="A bundle's name or folder.")] = "base-en",
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="A benchmark suite; may be repeated. By default all.", show_default=False
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
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    pack: Packs = None,
) -> None:
    """Score a bundle on benchmark suites, or a task of it on a file of your own.

    The suites' data are looked for in the folder that NLPKIT_DATA names.
    """
    from nlpkit.evaluation import SUITES, evaluate_files, find_suite, make_report

    if (task is None) != (data is None):
        raise InputError("--task and --data go together; or name a --suite")
    if data is not None and (suite or limit is not None):
        raise InputError("--data goes without --suite and --limit")
    check_output(output, overwrite)
    chosen = [] if data is not None else [find_suite(name) for name in suite or SUITES]
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
    with ExitStack() as stack:
        file = stack.enter_context(replaced(output, overwrite)) if output else None
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
            _show(report, as_json, file)


def _given(
    limit: int | None, device: str, precision: str, packs: Sequence[Path] | None
) -> list[str]:
    """The options that change a score, as they were given."""
    words = [] if limit is None else ["--limit", str(limit)]
    words += [] if device == "auto" else ["--device", device]
    words += [] if precision == "auto" else ["--precision", precision]
    return words + [word for path in packs or () for word in ("--pack", str(path))]


def _show(report: Report, as_json: bool, file: BinaryIO | None) -> None:
    line = report.to_json().encode() + b"\n"
    if file is not None:
        file.write(line)
    if not as_json:
        console().print(report.line(), soft_wrap=True)
    elif file is None:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
