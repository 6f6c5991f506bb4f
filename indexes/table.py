"""The rows of a table: reviews, tickets, abstracts. A template to copy.

Data     A .csv, .jsonl, .ndjson or .parquet file, the first three also as .gz, in UTF-8; one
         document a row. Parquet needs the extra "files".
Ids      The column ID; with None, the file's name and the number of the row: reviews.csv:17.
Fields   All other columns, for filters.
Run      nlpkit index build table --index my.index
         Without a recipe: nlpkit index build reviews.csv --index my.index
Change   FILE, TEXT and ID. NAME is kept beside each document, for --prune to know what came from
         here: choose it once.
"""

from __future__ import annotations

from pathlib import Path

from nlpkit.sources import IndexRecipe, TableSource

#: A relative path is looked for in the folder the command runs in.
FILE = Path("reviews.csv")
#: One column, or several that are read as one text.
TEXT: str | tuple[str, ...] = ("title", "text")
ID: str | None = "id"
NAME = "reviews"


def source() -> TableSource:
    return TableSource(FILE, TEXT, ID, name=NAME)


def recipe() -> IndexRecipe:
    # Reviews are short: most are one chunk.
    return IndexRecipe("table", "The rows of a table", source, chunk_tokens=128)
