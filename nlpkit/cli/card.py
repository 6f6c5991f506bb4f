"""``nlpkit card``: a bundle's model card from what ``nlpkit evaluate`` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlpkit.cli.job import Overwrite
from nlpkit.cli.output import console


def card(
    bundle: Annotated[str, typer.Argument(help="A bundle's name or folder.")],
    recipe: Annotated[str, typer.Option(help="The recipe that made it: a name or a file.")],
    reports: Annotated[
        list[Path],
        typer.Option(
            help="A file that nlpkit evaluate --output wrote: of the shipped weights, in int8 where"
            " they are fitted for it and else in fp32, or of the unquantised ones in fp32. May be "
            "repeated."
        ),
    ],
    overwrite: Overwrite = False,
) -> None:
    """Write CARD.md and card.json into a bundle's folder from reports of nlpkit evaluate."""
    from nlpkit.bundle import read_bundle
    from nlpkit.card import BundleFacts, write_card
    from nlpkit.evaluation import read_reports
    from nlpkit.loading import offered_by
    from nlpkit.pipeline import precision_of
    from nlpkit.training.recipe import load_recipe

    found = read_bundle(bundle)
    made_by = load_recipe(recipe)
    best = "int8" if "int8" in offered_by(found.manifest) else "fp32"
    facts = BundleFacts.of_recipe(
        made_by,
        precision=precision_of(found.manifest.storage, best),
        files=found.manifest.files,
    )
    measured = [report for path in reports for report in read_reports(path)]
    for path in write_card(found.path, facts, measured, made_by.known_failures, overwrite):
        console().print(f"written: {path}", soft_wrap=True)
