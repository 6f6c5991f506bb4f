"""``nlpkit train``: a recipe to a bundle, or a user's own data to a task pack."""

from __future__ import annotations

import dataclasses
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from nlpkit.cli import progress
from nlpkit.cli.job import AsJson, Device, Model, Overwrite
from nlpkit.cli.output import console, json_line, table
from nlpkit.errors import InputError, MissingExtraError


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's name (base_en, ner, ...) or file.", show_default=False),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="classification, ner or qa: learn from --train instead of a recipe."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The new task's name; by default that of --output.")
    ] = None,
    train_file: Annotated[
        Path | None,
        typer.Option(
            "--train",
            help="JSONL or CSV for classification, CoNLL columns for ner, SQuAD JSON for qa.",
        ),
    ] = None,
    dev_file: Annotated[
        Path | None, typer.Option("--dev", help="A file of the same kind, to score the result.")
    ] = None,
    tune: Annotated[
        str,
        typer.Option(
            help="head: a head on the frozen backbone; lora: an adapter too; full: a whole bundle."
        ),
    ] = "head",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Times over the data; by default as --tune needs.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="The field that holds the text.")] = "text",
    label_column: Annotated[
        str,
        typer.Option(
            "--label-column", "--labels-column", help="The field that holds a label, or a list."
        ),
    ] = "label",
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="A text may have any number of labels.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The bundle or pack to write. Checkpoints: OUTPUT.training."
        ),
    ] = None,
    model: Model = "base-en",
    begin_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Let a recipe go on from this bundle's weights, not from the published backbone.",
        ),
    ] = None,
    heads: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            metavar="TASK=BUNDLE",
            help="With --from: where this task's head and own layers come from. Repeat it.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="By default the recipe's, or 0.", show_default=False)
    ] = None,
    device: Device = "auto",
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Minutes between two checkpoints of a recipe.")
    ] = 5.0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe, or a task on data of your own.

    A training that was interrupted goes on from its last checkpoint when the same command is
    given again.
    """
    if (recipe is None) == (task is None):
        raise InputError("expected either a recipe or --task; see nlpkit train --help")
    if recipe is not None:
        given = {"--name": name, "--train": train_file, "--dev": dev_file, "--epochs": epochs}
        for option, value in given.items():
            if value is not None:
                raise InputError(f"{option} goes with --task; the recipe {recipe} says it itself")
        path, scores = _recipe(
            recipe, output, begin_from, heads or [], seed, device, checkpoint_minutes, overwrite
        )
    else:
        if begin_from or heads:
            raise InputError("--from and --head go with a recipe; --task begins from --model")
        _require("train", "torch", "transformers", *(["peft"] if tune == "lora" else []))
        from nlpkit.engines import choose
        from nlpkit.training.run import train_pack

        if train_file is None:
            raise InputError(f"--task {task} needs --train FILE")
        if output is None and name is None:
            raise InputError(f"--task {task} needs --name, or --output FOLDER")
        output = output or Path("packs") / str(name)
        assert task is not None
        with progress.training(progress.is_watched(between_lines=True)) as report:
            trained = train_pack(
                task,
                name or output.name,
                train_file,
                output,
                dev_file=dev_file,
                tune=tune,
                model=model,
                epochs=epochs,
                seed=seed or 0,
                text_column=text_column,
                label_column=label_column,
                multi_label=multi_label,
                device=choose(device).device,
                overwrite=overwrite,
                report=report,
            )
        path, scores = trained.path, trained.scores
    _show(path, scores, as_json)


def _recipe(
    name: str,
    output: Path | None,
    begin_from: str | None,
    heads: list[str],
    seed: int | None,
    device: str,
    checkpoint_minutes: float,
    overwrite: bool,
) -> tuple[Path, dict[str, float]]:
    from nlpkit.training.recipe import load_recipe

    heads_from = dict(one.partition("=")[::2] for one in heads)
    if not all(heads_from.values()):
        raise InputError(f"--head {' --head '.join(heads)}: expected TASK=BUNDLE, as qa=base-en")
    if heads_from and begin_from is None:
        raise InputError("--head goes with --from, which gives the backbone")
    recipe = load_recipe(name)
    _require("train", "torch", "transformers")
    from nlpkit.engines import choose
    from nlpkit.training.run import train_recipe

    if seed is not None:
        recipe = dataclasses.replace(recipe, seed=seed)
    with progress.training(progress.is_watched(between_lines=True)) as report:
        path = train_recipe(
            recipe,
            output or Path(f"{recipe.name}-{recipe.version}"),
            begin_from=begin_from,
            heads_from=heads_from,
            device=choose(device).device,
            checkpoint_minutes=checkpoint_minutes,
            overwrite=overwrite,
            report=report,
        )
    return path, {}


def _show(path: Path, scores: dict[str, float], as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(json_line({"path": str(path), "scores": scores}))
        sys.stdout.buffer.flush()
        return
    screen = console()
    screen.print(f"written: {path}", soft_wrap=True)
    if scores:
        rows = [(name, f"{value:.4f}") for name, value in scores.items()]
        screen.print(table(("on --dev", "score"), rows))


def _require(extra: str, *modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtraError.of(extra, "training", module)
