"""Progress of long work on stderr, only where a person is looking."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from nlpkit.cli.inputs import Inputs
from nlpkit.cli.output import console, say

if TYPE_CHECKING:
    from nlpkit.training.trainer import Progress as Trained

#: Seconds between two changes of a bar, and between two lines of a training's log.
REDRAW = 0.2
LOG_SECONDS = 60.0


def is_watched(output: Path | None = None, *, between_lines: bool = False) -> bool:
    """Whether a person sees stderr and nothing else is drawn there.

    On a terminal results and a bar get into each other's way, unless the bar is gone before a line
    is printed (``between_lines``); in a pipe another program may own the screen.
    """
    if not sys.stderr.isatty():
        return False
    try:
        is_file = stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        is_file = False
    return output is not None or is_file or (between_lines and sys.stdout.isatty())


@contextmanager
def counting(inputs: Inputs, shown: bool) -> Iterator[Callable[[], None]]:
    """Call what this yields once a text: a bar with their number and the share of bytes read."""
    if not shown or inputs.text is not None:
        yield lambda: None
        return
    with _bar() as bar:
        task = bar.add_task("", total=None)
        count, drawn = 0, 0.0

        def advance() -> None:
            nonlocal count, drawn
            count += 1
            if time.monotonic() - drawn > REDRAW:
                drawn = time.monotonic()
                draw()

        def draw() -> None:
            fraction = inputs.fraction
            total = None if fraction is None else 1.0
            bar.update(task, description=f"{count:,} texts", total=total, completed=fraction or 0.0)

        yield advance
        draw()


@contextmanager
def stepping(name: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Call what this yields with the number of texts done and of all."""
    if not shown:
        yield lambda done, total: None
        return
    with _bar(transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def training(shown: bool) -> Iterator[Callable[[Trained], None]]:
    """Call what this yields as a training goes on: a live line, or one a minute in a log."""
    said = 0.0

    def log(progress: Trained) -> None:
        nonlocal said
        if progress.step == progress.steps or time.monotonic() - said > LOG_SECONDS:
            said = time.monotonic()
            say(training_line(progress))

    if not shown:
        yield log
        return
    words = TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold"))
    with Progress(words, console=console(stderr=True)) as live:
        task = live.add_task("preparing")
        yield lambda progress: live.update(task, description=training_line(progress))


def training_line(progress: Trained) -> str:
    """Step, losses, speed and time left on one line."""
    parts = [f"step {progress.step:,} of {progress.steps:,}"]
    if progress.tokens_per_second:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts += [f"{minutes}:{seconds:02d} left", f"{progress.tokens_per_second:,.0f} tokens/s"]
    losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
    return " · ".join([*parts, f"losses: {losses}"])


def _bar(*, transient: bool = False) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=transient,
    )
