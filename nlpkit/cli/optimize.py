"""``nlpkit optimize``: a bundle made ready for the fastest arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlpkit.cli.inputs import Format, Inputs
from nlpkit.cli.job import Overwrite
from nlpkit.cli.output import console


def optimize(
    bundle: Annotated[str, typer.Argument(help="A bundle's name or folder.")],
    texts: Annotated[
        list[Path],
        typer.Option(
            "--texts", metavar="PATH", help="Some hundred texts like those to be read; repeatable."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new bundle's folder.")],
    format: Annotated[
        Format | None, typer.Option(help="What the files hold; by default the suffix says.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The column that holds the text.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit int8 arithmetic on your texts, and write the bundle with it.

    Weights and heads stay as they are; int8 becomes one of the precisions to choose from.
    """
    from nlpkit.quantise import optimize as fit

    found = (row.string(column or "text") for row in Inputs(None, texts, format))
    path = fit(bundle, found, output, overwrite=overwrite)
    console().print(f"written: {path}; compare: nlpkit evaluate {path} --precision int8")
