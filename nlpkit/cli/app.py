"""The command ``nlpkit``: its subcommands, and how errors become messages and exit statuses."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TextIO

import typer
from typer.main import get_command

from nlpkit.cli import (
    app_command,
    bench,
    bundles,
    card,
    doctor,
    evaluate,
    export,
    index,
    optimize,
    quickstart,
    texts,
    train,
)
from nlpkit.cli.output import say
from nlpkit.errors import JobError, NlpkitError, NlpkitWarning, TrainingError
from nlpkit.version import library_version

app = typer.Typer(
    help="One small BERT backbone, many answers: entities, classes, quoted answers, embeddings.",
    epilog="Every command explains itself: nlpkit ner --help",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    texts.ner,
    texts.classify,
    texts.answer,
    texts.embed,
    texts.analyze,
    train.train,
    evaluate.evaluate,
    card.card,
    export.export,
    optimize.optimize,
    doctor.doctor,
    bundles.bundles,
    quickstart.quickstart,
    bench.bench,
    app_command.app,
):
    app.command()(command)
app.add_typer(index.index, name="index")


def app_main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (by default the process's own) and return its exit status.

    0 success; 1 a job that failed; 2 input or usage that cannot be used; 130 Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal without the character gets its code
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _warnings_as_lines(), _cleaning_up_on_sigterm():
            get_command(app)(args=arguments, prog_name="nlpkit")
        return 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except NlpkitError as error:
        say(f"error: {error}", "bold red")
        return 1 if isinstance(error, JobError | TrainingError) else 2
    except OSError as error:  # a disk that is full, a folder one may not write to
        place = f"{error.filename}: " if error.filename else ""
        say(f"error: {place}{error.strerror or error}", "bold red")
        return 1


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nlpkit {library_version()}")
        raise typer.Exit


@app.callback()
def _nlpkit(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Our warnings become one line on stderr each, without the place in our code."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", NlpkitWarning)
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, NlpkitWarning):
                say(f"warning: {message}", "yellow")
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


@contextmanager
def _cleaning_up_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the command as an exception does, so that no half-written file stays."""

    def stop(*_: Any) -> None:
        sys.exit(128 + signal.SIGTERM)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
