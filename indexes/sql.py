"""The rows of a query: articles of a database. A template to copy.

Data     One SELECT on any database that SQLAlchemy speaks to; one document a row. SQLite comes
         with Python; PostgreSQL needs the extra "postgres".
Ids      The column ID of the query: unique, and indexed where the table is large.
Fields   All other columns, for filters. Leave out what is no text, number, date or boolean.
Run      nlpkit index build sql --index my.index
Change   URL, QUERY, ID and TEXT. Write the URL without the password, and set the environment
         variable NLPKIT_SOURCE_PASSWORD. NAME is kept beside each document, for --prune to know
         what came from here: choose it once.
"""

from __future__ import annotations

from nlpkit.sources import IndexRecipe, SqlSource

#: Or postgresql+psycopg://user@host/database.
URL = "sqlite:///shop.db"
QUERY = """
SELECT id, title, body, author, published
FROM articles
WHERE published IS NOT NULL
"""
ID = "id"
TEXT: str | tuple[str, ...] = ("title", "body")
NAME = "shop articles"


def source() -> SqlSource:
    return SqlSource(URL, QUERY, ID, TEXT, name=NAME)


def recipe() -> IndexRecipe:
    return IndexRecipe("sql", "The rows of a query", source)
