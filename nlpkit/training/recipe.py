"""Recipes: what is trained, from which data, on which backbone.

A recipe is a Python file with a function ``recipe()``; the project keeps its own in ``tasks/``.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from nlpkit.errors import InputError, UnknownNameError
from nlpkit.readers import Example, Source

#: Shipped inside the wheel as ``nlpkit/recipes``; in a checkout they are the folder ``tasks``.
TASK_FOLDERS = (
    Path(__file__).parents[1] / "recipes" / "tasks",
    Path(__file__).parents[2] / "tasks",
)


@dataclass(frozen=True, slots=True)
class Task:
    """One head and the examples it learns from.

    ``examples(rng)`` gives the examples of one epoch; it is called once an epoch with a random
    generator of its own, so that a recipe can sample, group and vary them.
    """

    name: str
    kind: str
    config: dict[str, Any]
    examples: Callable[[random.Random], Sequence[Example]]
    sources: tuple[Source, ...]
    epochs: int = 1
    max_length: int = 256
    batch_tokens: int = 2048
    weight: float = 1.0
    keep_embedding: bool = True
    expected: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Tasks that are trained together on one backbone.

    ``keep_embedding`` weighs the term that holds the pooled vectors near those of the backbone
    the training started from (1 - cosine), on the texts of every task that asks for it.
    ``fit(pipeline)`` runs after training and gives values for heads' configs that are fitted and
    not trained, such as the threshold of "no answer". ``licence`` says under which terms the
    weights may be used; it goes beside them as WEIGHTS-LICENSE and, with ``intended_use`` and
    ``known_failures``, into the card. ``then`` is a second stage: a recipe for the same heads that
    starts from the model this one ends with.
    """

    name: str
    description: str
    tasks: tuple[Task, ...]
    backbone: str = "sentence-transformers/all-MiniLM-L6-v2"
    version: int = 1
    keep_embedding: float = 0.0
    learning_rate: float = 1.5e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.06
    word_shape_types: bool = True
    seed: int = 0
    licence: str = ""
    intended_use: str = ""
    known_failures: tuple[str, ...] = ()
    fit: Callable[[Any], dict[str, dict[str, Any]]] | None = None
    then: Recipe | None = None

    @property
    def stages(self) -> list[Recipe]:
        """This recipe and those that go on where it ends."""
        return [self, *(self.then.stages if self.then else ())]


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe of a file, or of a name in ``tasks/``."""
    module = load_recipe_module(name_or_path)
    recipe = module.recipe()
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"{name_or_path}: recipe() gave {type(recipe).__name__}, expected a Recipe"
        )
    return recipe


@cache
def load_recipe_module(name_or_path: str | Path) -> ModuleType:
    """The module of a recipe, loaded from its file."""
    path = Path(name_or_path)
    if path.suffix != ".py":
        known = {file.stem: file for folder in TASK_FOLDERS for file in sorted(folder.glob("*.py"))}
        if str(name_or_path) not in known:
            raise UnknownNameError.of(
                "recipe", str(name_or_path), known, "Or give the path of a recipe file (.py)."
            )
        path = known[str(name_or_path)]
    if not path.is_file():
        raise InputError(f"{path}: no such recipe file")
    spec = importlib.util.spec_from_file_location(f"nlpkit_recipe_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "recipe"):
        raise InputError(f"{path} has no function recipe()")
    return module
