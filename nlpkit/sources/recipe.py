"""Index recipes: what is indexed, from which source, in chunks of which size.

A recipe is a Python file with a function ``recipe()``; the project keeps its own in ``indexes/``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nlpkit.recipe_files import recipe_files, recipe_of
from nlpkit.sources.base import DocumentSource


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
    return recipe_files("indexes")


def load_index_recipe(name_or_path: str | Path) -> IndexRecipe:
    """The recipe of a file, or of a name in ``indexes/``; raises as :func:`recipe_of` does."""
    return recipe_of(name_or_path, "indexes", IndexRecipe)
