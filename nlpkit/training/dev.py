"""Dev scores: the model as it stands, measured as a user would meet it.

The model is copied and put behind the public pipeline, so that measuring leaves a training as it
was: no random number is drawn, no switch is turned.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

from torch import Tensor

from nlpkit.engines.torch import TorchEngine
from nlpkit.pipeline import TOKEN_BUDGET, Pipeline, WindowSizes
from nlpkit.text import TextEncoder
from nlpkit.training.finish import plugged_heads
from nlpkit.training.model import MultiTaskModel
from nlpkit.training.recipe import Recipe
from nlpkit.training.scores import evenly

#: Scores by task and name, each with the number of examples it was taken on.
Scores = dict[tuple[str, str], tuple[float, int]]
#: Tokens that a GPU reads at once.
GPU_BUDGET = 16_384


def pipeline_of(
    model: MultiTaskModel,
    encoder: TextEncoder,
    device: str,
    precision: str,
    weights: Mapping[str, Tensor] | None = None,
) -> Pipeline:
    """A pipeline on a copy of the model; ``weights`` take the place of its own by name."""
    twin = copy.deepcopy(model)
    for name, parameter in twin.named_parameters():
        if weights and name in weights:
            parameter.data.copy_(weights[name])
    return Pipeline(
        encoder,
        TorchEngine(twin.backbone, device, precision, twin.own_layers),
        plugged_heads(twin, {}),
        sizes=WindowSizes().within(encoder.max_length),
        token_budget=GPU_BUDGET if device.startswith("cuda") else TOKEN_BUDGET,
    )


def dev_scores(kit: Pipeline, recipe: Recipe, *, whole: bool = False) -> Scores:
    """The scores of every task's dev sets, on some of the examples or on the whole."""
    found: Scores = {}
    for task in recipe.tasks:
        for dev in task.dev:
            examples = dev.examples()
            chosen = examples if whole else evenly(examples, dev.most)
            found[task.name, dev.name] = (float(dev.score(kit, chosen)), len(chosen))
    return found


def mean_score(scores: Scores, recipe: Recipe) -> float:
    """The mean by the weights of the recipe's dev sets; nan where one of them is."""
    weights = {(task.name, dev.name): dev.weight for task in recipe.tasks for dev in task.dev}
    total = sum(weights[name] * value for name, (value, _) in scores.items())
    return total / sum(weights.values()) if sum(weights.values()) else math.nan
