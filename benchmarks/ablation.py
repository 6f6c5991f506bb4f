"""What each choice of a recipe is worth: one thing changed at a time, on a small budget.

    python benchmarks/ablation.py --tokens 1_000_000 --seeds 0 1 --only label_smoothing,ema

Every run is the recipe with one change, scored on its dev sets and never on a test set. Results go
into results/ablation.jsonl, a line a run; runs that are there already are not made again, and one
that was broken off goes on from its checkpoint. Processors without bf16 train in fp32: their runs
stand apart. At the end the table for the docs is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from masked import MASKED
from variants import CrfHead, CrfTaughtHead, mixed

from nlpkit.engines import choose
from nlpkit.engines.torch import training_precision
from nlpkit.errors import UnknownNameError
from nlpkit.heads import TokenHead
from nlpkit.readers import TextExample, TokenExample, join_sentences, read_conll
from nlpkit.training.recipe import Recipe, Task, load_recipe, load_recipe_module
from nlpkit.training.scores import evenly
from nlpkit.training.trainer import Progress, Start, start_of, train

RESULTS = Path(__file__).parent / "results" / "ablation.jsonl"
WORK = Path("runs") / "ablation"
BASE = "as it is"

Run = dict[str, Any]
Change = Callable[[Recipe], Recipe]


def tasks_changed(recipe: Recipe, change: Callable[[Task], Task]) -> Recipe:
    return replace(recipe, tasks=tuple(change(task) for task in recipe.tasks))


def smoothed(recipe: Recipe, share: float, kind: str = "") -> Recipe:
    """Another label smoothing, of the heads of a kind or of those that have some."""

    def change(task: Task) -> Task:
        concerned = task.kind == kind if kind else task.label_smoothing > 0
        return replace(task, label_smoothing=share) if concerned else task

    return tasks_changed(recipe, change)


def learning_from(recipe: Recipe, name: str, examples: Callable[..., Sequence[Any]]) -> Recipe:
    """Other examples for one task; as many tokens in all."""
    return tasks_changed(recipe, lambda t: replace(t, examples=examples) if t.name == name else t)


def untaught(recipe: Recipe) -> Recipe:
    """Entities from their own examples alone, without what teachers read."""
    return learning_from(recipe, "ner", load_recipe_module("ner").examples)


def one_sentence(recipe: Recipe) -> Recipe:
    """Entities from sentences alone, never from windows of several."""
    ner = load_recipe_module("ner")

    def sentences(rng: random.Random) -> list[TokenExample]:
        return [join_sentences([sentence]) for sentence in read_conll(ner.TRAIN.path())]

    return learning_from(recipe, "ner", sentences)


def without_tweets(recipe: Recipe) -> Recipe:
    """Sentiment from sentences and phrases of reviews alone."""

    def reviews(rng: random.Random) -> list[TextExample]:
        sentences, phrases = load_recipe_module("sentiment").sst()
        return [*phrases, *sentences]

    return learning_from(recipe, "sentiment", reviews)


def with_crf(recipe: Recipe, head: type[CrfHead]) -> Recipe:
    """Tags whose order is learned too, from sequences; they are not smoothed."""

    def change(task: Task) -> Task:
        return replace(task, kind=head.kind) if task.kind == TokenHead.kind else task

    return tasks_changed(recipe, change)


def after_masking(recipe: Recipe) -> Recipe:
    """Beginning with what masked.py made of the backbone."""
    if not MASKED.is_dir():
        raise SystemExit(f"{MASKED} is not there; run python benchmarks/masked.py first")
    return replace(recipe, backbone=str(MASKED))


def without_way(recipe: Recipe, *ways: str) -> Recipe:
    """QA without these ways to make a question unanswerable."""

    def change(task: Task) -> Task:
        if not isinstance(task.examples, partial) or "unanswerable" not in task.examples.keywords:
            return task
        kept = {k: v for k, v in task.examples.keywords["unanswerable"].items() if k not in ways}
        return replace(task, examples=partial(task.examples, unanswerable=kept))

    return tasks_changed(recipe, change)


#: What is changed, by name.
CHANGES: dict[str, Change] = {
    BASE: lambda r: r,
    "word_shapes": lambda r: replace(r, word_shape_types=False),
    "teachers": untaught,
    "windows": one_sentence,
    "tweets": without_tweets,
    "label_smoothing": lambda r: smoothed(r, 0.0),
    "label_smoothing_ner": lambda r: smoothed(r, 0.05, "token-classification"),
    "ema": lambda r: replace(r, ema=0.0),
    "casing": lambda r: replace(r, lower=0.0, upper=0.0),
    "punctuation": lambda r: replace(r, unpunctuated=0.0),
    "linear_decay": lambda r: replace(r, cooldown=1.0),
    "late_decay": lambda r: replace(r, cooldown=0.25),
    "learning_rate_low": lambda r: replace(r, learning_rate=r.learning_rate / 1.5),
    "learning_rate_high": lambda r: replace(r, learning_rate=r.learning_rate * 1.5),
    "head_rate_low": lambda r: replace(r, head_learning_rate=r.head_learning_rate / 2),
    "keep_embedding_half": lambda r: replace(r, keep_embedding=r.keep_embedding / 2),
    "keep_embedding_double": lambda r: replace(r, keep_embedding=r.keep_embedding * 2),
    "alpha_0.75": lambda r: replace(r, alpha=0.75),
    "alpha_0.5": lambda r: replace(r, alpha=0.5),
    "own_layers": lambda r: tasks_changed(r, lambda t: replace(t, own_layers=0)),
    "large_batches": lambda r: tasks_changed(r, lambda t: replace(t, batch_tokens=3072)),
    "near_negatives": lambda r: without_way(r, "near"),
    "altered_negatives": lambda r: without_way(r, "altered"),
    "crf": lambda r: with_crf(r, CrfHead),
    "crf_taught": lambda r: with_crf(r, CrfTaughtHead),
    "masked_language": after_masking,
    "layer_mix": lambda r: r,
}

#: What is changed in the backbone that is begun with.
BACKBONES: dict[str, Callable[[Any], None]] = {"layer_mix": mixed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--recipe", default="base_en", help="a recipe's name or file")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="the budget of a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", default="", help=f"some of {', '.join([*CHANGES][1:])}")
    parser.add_argument("--examples", type=int, default=600, help="at most, of each dev set")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, default=WORK, help="where checkpoints lie")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    names = [BASE, *filter(None, options.only.split(","))] if options.only else [*CHANGES]
    for name in names:
        if name not in CHANGES:
            raise SystemExit(str(UnknownNameError.of("change", name, CHANGES)))
    recipe = load_recipe(options.recipe)
    device = choose(options.device).device
    precision = training_precision(device)
    for seed in options.seeds:
        for name in names:
            key = {
                "recipe": f"{recipe.name}-{recipe.version}",
                "change": name,
                "seed": seed,
                "tokens": options.tokens,
                "examples": options.examples,
                "precision": precision,
            }
            if any(key.items() <= run.items() for run in read(options.results)):
                continue
            small = shortened(recipe, options.tokens, options.examples)
            changed = CHANGES[name](replace(small, seed=seed))
            start = start_of(changed)
            if name in BACKBONES:
                BACKBONES[name](start.backbone)
            found = run_one(changed, start, options.work, key, device)
            options.results.parent.mkdir(parents=True, exist_ok=True)
            with options.results.open("a") as file:
                file.write(json.dumps(key | found) + "\n")
    same = {"tokens": options.tokens, "examples": options.examples, "precision": precision}
    same["recipe"] = f"{recipe.name}-{recipe.version}"
    print(table([run for run in read(options.results) if same.items() <= run.items()]))


def shortened(recipe: Recipe, tokens: int, examples: int) -> Recipe:
    """The recipe on this many tokens, scored at the end alone."""

    def change(task: Task) -> Task:
        devs = [
            replace(dev, examples=partial(some, dev.examples, examples), most=1) for dev in task.dev
        ]
        return replace(task, dev=tuple(devs))

    return replace(tasks_changed(recipe, change), tokens=tokens, evaluate_tokens=100 * tokens)


def some(examples: Callable[[], Sequence[Any]], most: int) -> list[Any]:
    return evenly(examples(), most)


def run_one(recipe: Recipe, start: Start, work: Path, key: Run, device: str) -> Run:
    """The dev scores of one training."""
    folder = work / "-".join(str(value) for value in key.values()).replace(" ", "_")

    def say(progress: Progress) -> None:
        line = f"{key['change']}, seed {key['seed']}: step {progress.step} of {progress.steps}"
        print(line, end="\n" if progress.step == progress.steps else "\r", flush=True)

    record = train(recipe, folder, start, device=device, report=say).record
    shutil.rmtree(folder)
    scores = {name: one["score"] for name, one in record["dev"].items()}
    return {"scores": scores, "minutes": record["minutes"]}


def read(path: Path) -> list[Run]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def table(runs: Sequence[Run]) -> str:
    """Means over the seeds in hundredths, each change with its difference to the recipe as it is.

    The last column is the mean difference, with the half range over the seeds that both have.
    """
    by_change: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        by_change.setdefault(run["change"], {})[run["seed"]] = run["scores"]
    if BASE not in by_change:
        return "no runs"
    base = by_change[BASE]
    names = [*next(iter(base.values()))]
    lines = [["change", *names, "mean"], ["---"] * (len(names) + 2)]
    for change, seeds in by_change.items():
        both = [seed for seed in seeds if seed in base]
        cells = []
        for name in names:
            value = 100 * mean(seeds[seed][name] for seed in seeds)
            if change == BASE or not both:
                cells.append(f"{value:.1f}")
            else:
                gap = 100 * mean(seeds[seed][name] - base[seed][name] for seed in both)
                cells.append(f"{value:.1f} ({gap:+.1f})")
        gaps = [100 * mean(seeds[s][n] - base[s][n] for n in names) for s in both]
        total = f"{mean(gaps):+.2f} ± {(max(gaps) - min(gaps)) / 2:.2f}" if gaps else ""
        lines.append([change, *cells, "" if change == BASE else total])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
