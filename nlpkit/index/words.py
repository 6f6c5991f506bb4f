"""Keyword search by the database itself: SQLite's FTS5 (BM25), PostgreSQL's text search.

Words are kept for each chunk and change in the same transaction as its row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nlpkit.store.schema import chunks

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Words that are in most texts: left out of a query that has others (they cost time, rank nothing).
_COMMON = frozenset(
    """
    a about an and are as at be been but by can did do does for from had has have how i if in
    into is it its me my no not of on or our so that the their them then there these they this
    to us was we were what when where which who whom whose why will with would you your
    """.split()  # noqa: SIM905
)
_WORD = re.compile(r"\w+")
#: Rows of a ranking that are looked at together when a filter drops some.
PAGE = 1000


def add(connection: Connection, rows: Sequence[tuple[int, str]]) -> None:
    """Keep the words of chunks (number, text)."""
    if not rows:
        return
    if _is_sqlite(connection):
        sql = "INSERT INTO chunk_words (rowid, text) VALUES (:chunk, :text)"
    else:
        sql = (
            "INSERT INTO chunk_words (chunk, words) VALUES (:chunk, to_tsvector('english', :text))"
        )
    connection.execute(sa.text(sql), [{"chunk": c, "text": t} for c, t in rows])


def remove(connection: Connection, rows: Sequence[tuple[int, str]]) -> None:
    """Forget the words of chunks; the text must be the one they were added with."""
    if not rows:
        return
    if _is_sqlite(connection):
        sql = "INSERT INTO chunk_words (chunk_words, rowid, text) VALUES ('delete', :chunk, :text)"
    else:
        sql = "DELETE FROM chunk_words WHERE chunk = :chunk"
    connection.execute(sa.text(sql), [{"chunk": c, "text": t} for c, t in rows])


def clear(connection: Connection) -> None:
    """Forget everything."""
    if _is_sqlite(connection):
        sql = "INSERT INTO chunk_words (chunk_words) VALUES ('delete-all')"
    else:
        sql = "DELETE FROM chunk_words"  # TRUNCATE would empty it for older readers too
    connection.execute(sa.text(sql))


def known_chunks(connection: Connection) -> set[int]:
    """Numbers of the chunks whose words are kept."""
    column = "id FROM chunk_words_docsize" if _is_sqlite(connection) else "chunk FROM chunk_words"
    return set(connection.execute(sa.text(f"SELECT {column}")).scalars())


def problem(connection: Connection) -> str | None:
    """What the database itself finds wrong with its word index."""
    if not _is_sqlite(connection):
        return None
    try:
        with connection.begin_nested():
            connection.execute(
                sa.text("INSERT INTO chunk_words (chunk_words) VALUES ('integrity-check')")
            )
    except sa.exc.DatabaseError as error:
        return str(error.orig)
    return None


def ranked(
    connection: Connection, query: str, n: int, allowed: Callable[[int], bool] | None
) -> list[tuple[int, int, float]]:
    """Up to ``n`` documents as (document, best chunk, score), best first.

    A document that holds any of the words counts; ``allowed`` takes a document's number.
    """
    expression = _expression(query, sqlite=_is_sqlite(connection))
    if not expression:
        return []
    streamed = {"stream_results": True, "max_row_buffer": PAGE}
    statement = _statement(connection)
    rows = connection.execute(statement, {"query": expression}, execution_options=streamed)
    found: dict[int, tuple[int, float]] = {}
    for page in rows.partitions(PAGE):
        for document, chunk, score in page:
            if document not in found and (allowed is None or allowed(document)):
                found[document] = (chunk, float(score))
                if len(found) == n:
                    rows.close()
                    return [(d, c, s) for d, (c, s) in found.items()]
    return [(d, c, s) for d, (c, s) in found.items()]


def searched_words(query: str) -> list[str]:
    """The words of a query that are looked for: all but the most common, where there are others."""
    words = list(dict.fromkeys(_WORD.findall(query.lower())))
    return [word for word in words if word not in _COMMON] or words


def _statement(connection: Connection) -> Any:
    if _is_sqlite(connection):
        found = sa.text(
            "SELECT rowid AS chunk, -bm25(chunk_words) AS score FROM chunk_words "
            "WHERE chunk_words MATCH :query"
        )
    else:
        found = sa.text(
            "SELECT chunk, ts_rank_cd(words, q, 1) AS score FROM chunk_words, "
            "to_tsquery('english', :query) q WHERE words @@ q"
        )
    hits = found.columns(sa.column("chunk"), sa.column("score")).subquery("hits")
    return (
        sa.select(chunks.c.document, hits.c.chunk, hits.c.score)
        .select_from(hits.join(chunks, chunks.c.number == hits.c.chunk))
        .order_by(hits.c.score.desc(), hits.c.chunk)
    )


def _expression(query: str, *, sqlite: bool) -> str:
    """Any of the words, as the database spells it."""
    words = searched_words(query)
    if sqlite:
        return " OR ".join(f'"{word}"' for word in words)
    return " | ".join(f"'{word}'" for word in words)


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"
