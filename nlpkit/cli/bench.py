"""``nlpkit bench``: how fast it is here, beside its peers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nlpkit.cli.job import AsJson, Device, Precision
from nlpkit.cli.output import console, json_line, say, table
from nlpkit.errors import InputError, JobError

if TYPE_CHECKING:
    from nlpkit.bench.results import Results

#: Where results go by default, in a checkout.
RESULTS = Path("benchmarks") / "results"


def bench(
    peers: Annotated[
        str | None,
        typer.Option(help="all, or names with commas: transformers,sentence-transformers,..."),
    ] = None,
    install: Annotated[
        str | None,
        typer.Option(help="Make the environments of these peers (all, or names), and end."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Only this row; may be repeated.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, to see it run: no figure counts.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="For JSON, Markdown and pictures. By default a whole run goes to "
            "benchmarks/results in a checkout, else here; a quick or partial one is only printed.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Also put the tables between the markers of this page.")
    ] = None,
    from_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Show the results of this JSON file; measure nothing. May be repeated: rows of a "
            "later file stand for those of the ones before.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A bundle's name or folder.")
    ] = "base-en",
    device: Device = "cpu",
    precision: Precision = "auto",
    python: Annotated[
        Path | None, typer.Option(help="An interpreter that has all peers, to be taken for each.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="For environments, exported models and texts.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this machine, nlpkit, and with --peers other libraries on the same weights."""
    from nlpkit.bench.bench import QUICK, Bench, Sizes
    from nlpkit.bench.run import FAILED, read, run, write
    from nlpkit.bench.sides import WORK, find_peers
    from nlpkit.bench.texts import Texts
    from nlpkit.engines import choose

    folder = work or WORK
    if install is not None:
        _install(install, folder)
        return
    for name, path in (("--page", page), ("--python", python)):
        if path is not None and not path.is_file():
            raise InputError(f"{name} {path}: there is no such file")
    if from_file:
        found, target = read(from_file[0]), output
        for later in from_file[1:]:
            found = found.with_rows_of(read(later))
    else:
        whole = not (quick or only)
        target = output or (_default_folder() if whole else None)
        setting = Bench(
            model,
            folder,
            find_peers(peers) if peers is not None else (),
            QUICK if quick else Sizes(),
            Texts.found(),
            choose(device).device,
            precision,
            python,
            say,
        )
        for found in run(setting, only or ()):
            if target is not None:
                write(found, target)  # after every row: a run takes long, and may be killed
    if target is not None:
        files = write(found, target)
        say(f"written to {target}: {', '.join(file.name for file in files)}")
    if page is not None:
        _put(found, page, target)
    if as_json:
        sys.stdout.buffer.write(json_line(found.to_json()))
    else:
        _show(found)
    failed = [row.name for row in found.rows if FAILED in row.refused]
    if failed:
        raise JobError(f"rows that broke off: {', '.join(failed)}")


def _install(names: str, folder: Path) -> None:
    """Make environments; those that cannot be made are named, and the others made all the same."""
    from nlpkit.bench.sides import find_peers, install

    failed = []
    for peer in find_peers(names):
        say(f"{peer.name}: its environment is made or completed (minutes)")
        try:
            say(f"{peer.name}: {install(peer, folder)}")
        except JobError as error:
            failed.append(peer.name)
            say(f"error: {error}", "bold red")
    if failed:
        raise JobError(f"not installed: {', '.join(failed)}")


def _default_folder() -> Path:
    return RESULTS if RESULTS.is_dir() else Path()


def _put(found: Results, page: Path, pictures: Path | None) -> None:
    """The tables into a page, with links to the pictures where some were written."""
    from nlpkit.bench.tables import markdown, update_page

    drawn = sorted(pictures.glob("speed-*.svg")) if pictures is not None else []
    links = [Path(os.path.relpath(file, page.parent)).as_posix() for file in drawn]
    update_page(page, markdown(found, links))


def _show(found: Results) -> None:
    """For people: what each side did, then what is asked and reached, then who is missing."""
    from nlpkit.bench.tables import figure, short, spread

    screen = console()
    lines: list[list[str]] = []
    for row in found.rows:
        name = row.name
        for side, runs in row.sides.items():
            told = "; ".join(f"{spread(value)} {what}" for what, value in runs.figures.items())
            lines.append([name, side, told])
            name = ""
    screen.print(table(("row", "side", "figures: median (least to most)"), lines))
    asked = [
        [
            check.what,
            check.against,
            figure(check),
            f"{'<=' if check.at_most else '>='} {short(check.floor)}"
            if check.floor is not None
            else "",
            check.reached,
        ]
        for row in found.rows
        for check in row.checks
    ]
    screen.print(table(("what", "against", "here", "asked", "reached"), asked))
    for row in found.rows:
        for name, why in row.refused.items():
            say(f"{row.name}: not shown: {f'{name}: ' if name else ''}{why}", "yellow")
