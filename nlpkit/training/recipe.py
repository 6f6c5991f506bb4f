"""Recipes: what is trained, from which data, on which backbone.

A recipe is a Python file with a function ``recipe()``; the project keeps its own in ``tasks/``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from nlpkit.readers import Example, Source
from nlpkit.recipe_files import recipe_module, recipe_of


@dataclass(frozen=True, slots=True)
class Dev:
    """A score on held-out examples, taken as a training goes and once more at its end.

    ``score(pipeline, examples)`` is one number, the higher the better; nlpkit.training.scores has
    the usual ones. As the training goes at most ``most`` examples are scored, evenly spaced, at
    the end all of them. ``weight`` is the score's share in the mean by which the best weights are
    chosen.
    """

    name: str
    examples: Callable[[], Sequence[Any]]
    score: Callable[[Any, Sequence[Any]], float]
    most: int = 300
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Task:
    """One head and the examples it learns from.

    ``examples(rng)`` gives the examples of one pass; it is called once a pass with a random
    generator of its own, so that a recipe can sample, group and vary them. ``epochs`` is how many
    passes there are: 1.5 reads half of the second, 0 leaves the head as it began, with all that was
    fitted to it unless there is ``calibration`` (of all tasks: a training of no step, which fits
    confidence and int8 to a bundle's weights). ``dev`` and
    ``calibration`` are held-out examples: what the training is watched by, and what the head's
    confidence is fitted on.

    ``own_layers`` is how many of the backbone's last layers the head has for itself, as a branch
    that no other task changes (a BERT's only). Tasks that name the same ``branch`` share one.
    Reading it beside the backbone's own end costs as many layers more. Without ``train_backbone``
    the task teaches its own layers and head alone, which costs less, and holds no embedding.
    """

    name: str
    kind: str
    config: dict[str, Any]
    examples: Callable[[random.Random], Sequence[Example]]
    sources: tuple[Source, ...]
    epochs: float = 1
    max_length: int = 256
    batch_tokens: int = 2048
    weight: float = 1.0
    label_smoothing: float = 0.0
    keep_embedding: bool = True
    own_layers: int = 0
    branch: str = ""
    train_backbone: bool = True
    dev: tuple[Dev, ...] = ()
    calibration: Callable[[], Sequence[Example]] | None = None
    expected: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Tasks that are trained together on one backbone.

    How much: each task its epochs, or with ``tokens`` a total that is divided in proportion
    ``epochs * size ** alpha``, the size being the tokens of one pass. An alpha below 1 gives small
    tasks more than their size.

    How fast: the learning rate rises over the share ``warmup`` of the steps, stays, and falls in a
    line to nothing over the last share ``cooldown`` (1: it falls all the way).

    What is kept: ``ema`` is the decay of an average of the weights over the steps (0: none), which
    then is what is scored and kept. Every ``evaluate_tokens`` tokens and at the end the tasks' dev
    scores are taken; the weights with the best mean are the result (with no dev sets, the last).

    ``published_layers`` is how many of the backbone's last layers begin as they are published,
    where the training goes on from a bundle; its branches go on as they are there.

    ``freeze_layers`` is how many of the backbone's first layers stay as they began, with the
    vectors below them; where it is all of them, so does the embedding of texts.

    With ``heads_only`` nothing but heads learns, in so many passes over features that are read
    once, with no checkpoints; all else is that of the bundle the training goes on from.

    ``keep_start`` is the share of the weights it began from in the result: their weighted mean
    with the trained ones often keeps what each was better at (Wortsman et al. 2022, WiSE-FT). It
    is for a training that goes on from a bundle; own layers count as begun from those they copy.

    ``lower`` and ``upper`` are the chances that a text is read as if it were in lower or upper
    case, ``unpunctuated`` that its last full stop or question mark is left out.

    ``keep_embedding`` weighs the term that holds the pooled vectors near those of the backbone
    the training started from (1 - cosine), on the texts of every task that asks for it; where
    ``keep_every`` is more than 1, at every so manieth step, weighing so much more there. Attention
    weights are dropped out at the rate ``attention_dropout`` (None: the backbone's own).
    ``fit(pipeline)`` runs after training and gives values for heads' configs that are fitted and
    not trained, such as the threshold of "no answer" or the transitions between tags. ``licence``
    says under which terms the weights may be used; it goes beside them as WEIGHTS-LICENSE and, with
    ``intended_use`` and ``known_failures``, into the card.
    """

    name: str
    description: str
    tasks: tuple[Task, ...]
    backbone: str = "sentence-transformers/all-MiniLM-L6-v2"
    version: int = 1
    tokens: int | None = None
    alpha: float = 1.0
    keep_embedding: float = 0.0
    keep_every: int = 1
    attention_dropout: float | None = None
    learning_rate: float = 1.5e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.06
    cooldown: float = 1.0
    ema: float = 0.0
    keep_start: float = 0.0
    published_layers: int = 0
    freeze_layers: int = 0
    heads_only: bool = False
    evaluate_tokens: int = 2_000_000
    lower: float = 0.0
    upper: float = 0.0
    unpunctuated: float = 0.0
    word_shape_types: bool = True
    seed: int = 0
    licence: str = ""
    intended_use: str = ""
    known_failures: tuple[str, ...] = ()
    fit: Callable[[Any], dict[str, dict[str, Any]]] | None = None


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe of a file, or of a name in ``tasks/``; raises as :func:`recipe_of` does."""
    return recipe_of(name_or_path, "tasks", Recipe)


@cache
def load_recipe_module(name: str) -> ModuleType:
    """The module of a recipe in ``tasks/``, for another recipe to build on; loaded once."""
    return recipe_module(name, "tasks")
