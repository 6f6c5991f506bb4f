"""Index recipes: what is indexed, from which source, in chunks of which size.

A recipe is a Python file with a function ``recipe()``; the project keeps its own in ``indexes/``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nlpkit.errors import InputError, UnknownNameError
from nlpkit.sources.base import DocumentSource

#: Shipped inside the wheel as ``nlpkit/recipes``; in a checkout they are the folder ``indexes``.
INDEX_FOLDERS = (
    Path(__file__).parents[1] / "recipes" / "indexes",
    Path(__file__).parents[2] / "indexes",
)


@dataclass(frozen=True, slots=True)
class IndexRecipe:
    """A source of documents and how an index of it is built.

    ``source`` may be a function, so that loading a recipe looks for no file. ``chunk_tokens`` is
    the longest part of a document that is one vector, ``kind`` the kind of index, ``hybrid``
    whether words count beside vectors. ``expected`` holds values to check an index by.
    """

    name: str
    description: str
    source: DocumentSource | Callable[[], DocumentSource]
    chunk_tokens: int = 256
    kind: str = "auto"
    hybrid: bool = True
    expected: dict[str, float] = field(default_factory=dict)

    def open(self) -> DocumentSource:
        """The source; here a recipe that needs a data set looks for it."""
        return self.source() if callable(self.source) else self.source


def index_recipes() -> dict[str, Path]:
    """The files of the project's own recipes, by name."""
    return {file.stem: file for folder in INDEX_FOLDERS for file in sorted(folder.glob("*.py"))}


def load_index_recipe(name_or_path: str | Path) -> IndexRecipe:
    """The recipe of a file, or of a name in ``indexes/``.

    Raises:
        UnknownNameError: no recipe has that name; the message lists the known ones.
        InputError: no such file, or it has no function ``recipe()`` that gives an IndexRecipe.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix != ".py":
        known = index_recipes()
        if str(name_or_path) not in known:
            raise UnknownNameError.of(
                "recipe", str(name_or_path), known, "Or give the path of a recipe file (.py)."
            )
        path = known[str(name_or_path)]
    if not path.is_file():
        raise InputError(f"{path}: no such recipe file")
    spec = importlib.util.spec_from_file_location(f"nlpkit_index_recipe_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "recipe"):
        raise InputError(f"{path} has no function recipe()")
    recipe = module.recipe()
    if not isinstance(recipe, IndexRecipe):
        raise InputError(f"{path}: recipe() gave {type(recipe).__name__}, expected an IndexRecipe")
    return recipe
