"""Where the documents of an index come from: folders, tables, databases, recipes."""

from __future__ import annotations

from nlpkit.sources.base import BadRow, DocumentSource, Shard
from nlpkit.sources.folder import FileSource, FolderSource
from nlpkit.sources.listed import ListedFile, ListedSource
from nlpkit.sources.opening import open_recipe, open_source
from nlpkit.sources.recipe import IndexRecipe, index_recipes, load_index_recipe
from nlpkit.sources.sql import SqlSource
from nlpkit.sources.table import TableSource

__all__ = [
    "BadRow",
    "DocumentSource",
    "FileSource",
    "FolderSource",
    "IndexRecipe",
    "ListedFile",
    "ListedSource",
    "Shard",
    "SqlSource",
    "TableSource",
    "index_recipes",
    "load_index_recipe",
    "open_recipe",
    "open_source",
]
