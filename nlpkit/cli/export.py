"""``nlpkit export``: a trained head for transformers or sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlpkit.cli.job import Overwrite
from nlpkit.cli.output import console


def export(
    format: Annotated[
        str,
        typer.Option(
            help="transformers: one task on a plain BERT. sentence-transformers: the embedding."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    task: Annotated[
        str | None,
        typer.Option(help="The head to export; of an embedding it may be left out."),
    ] = None,
    bundle: Annotated[str, typer.Option(help="A bundle's name or folder.")] = "base-en",
    pack: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A task pack for the bundle that holds the task."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a folder that another library loads: float32 weights, tokenizer, README.md.

    The README.md says how to use it, and what the other library does not do as nlpkit does.
    """
    from nlpkit.export import export as write

    path = write(format, output, bundle=bundle, task=task, pack=pack, overwrite=overwrite)
    console().print(f"written: {path}", soft_wrap=True)
