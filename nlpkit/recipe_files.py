"""Recipes are Python files with a function ``recipe()``, found by name or by path.

The project's own lie in ``tasks/`` and ``indexes/``; inside the wheel, in ``nlpkit/recipes``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from nlpkit.errors import InputError, UnknownNameError

T = TypeVar("T")

_HERE = Path(__file__).parent


def recipe_files(folder: str) -> dict[str, Path]:
    """The project's own recipes in ``tasks`` or ``indexes``, by name."""
    places = (_HERE / "recipes" / folder, _HERE.parent / folder)
    return {file.stem: file for place in places for file in sorted(place.glob("*.py"))}


def recipe_of(name_or_path: str | Path, folder: str, kind: type[T]) -> T:
    """What the recipe of a file, or of a name in ``folder``, gives.

    Raises:
        UnknownNameError: no recipe has that name; the message lists the known ones.
        InputError: no such file, or it has no function ``recipe()`` that gives such a thing.
    """
    recipe = recipe_module(name_or_path, folder).recipe()
    if not isinstance(recipe, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise InputError(
            f"{name_or_path}: recipe() gave {type(recipe).__name__}, "
            f"expected {article} {kind.__name__}"
        )
    return recipe


def recipe_module(name_or_path: str | Path, folder: str) -> ModuleType:
    """The module of a recipe, loaded from its file."""
    path = Path(name_or_path).expanduser()
    if path.suffix != ".py":
        known = recipe_files(folder)
        if str(name_or_path) not in known:
            raise UnknownNameError.of(
                "recipe", str(name_or_path), known, "Or give the path of a recipe file (.py)."
            )
        path = known[str(name_or_path)]
    if not path.is_file():
        raise InputError(f"{path}: no such recipe file")
    spec = importlib.util.spec_from_file_location(f"nlpkit_{folder}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "recipe"):
        raise InputError(f"{path} has no function recipe()")
    return module
