"""Documents that are rows of a query, from any database that SQLAlchemy speaks to.

The query is wrapped and ordered by its id column; a shard is a range of ids, so that workers read
parts that do not overlap, each with a query of its own. An index on the id column makes that
cheap. Ids should be unique; rows of equal ids are never cut apart. The database is asked for a
read-only transaction where it has them (PostgreSQL, SQLite), and nothing is ever committed.

A password is never printed and never stored. One inside the URL serves this process alone; other
processes, such as a job's workers, take it from the environment variable NLPKIT_SOURCE_PASSWORD.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from nlpkit.errors import InputError, InputTypeError, MissingExtraError
from nlpkit.sources.base import (
    BadRow,
    Shard,
    check_columns,
    check_size,
    columns_of,
    document_of,
)
from nlpkit.types import Document

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, CursorResult

PASSWORD_VARIABLE = "NLPKIT_SOURCE_PASSWORD"
#: Rows that are fetched at a time.
FETCHED_ROWS = 1000


@dataclass(frozen=True, slots=True)
class SqlSource:
    """The rows of one SELECT, one document a row.

    The text is that of ``text_column``, or of several columns joined by ``joiner``; all columns
    but these and ``id_column`` become metadata. Unless it is given, ``name`` holds the URL and a
    mark of the query: another query is another source.
    """

    url: str
    query: str
    id_column: str = "id"
    text_column: str | tuple[str, ...] = "text"
    joiner: str = " "
    name: str = ""
    _password: str | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.query, str):
            raise InputTypeError.of("query", self.query, "a string with one SELECT")
        url, password = _parsed(self.url)
        query = _single_select(self.query)
        columns = columns_of(self.text_column)
        mark = hashlib.sha256(query.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        object.__setattr__(self, "url", url)
        object.__setattr__(self, "_password", password)
        object.__setattr__(self, "query", query)
        object.__setattr__(self, "text_column", columns[0] if len(columns) == 1 else columns)
        object.__setattr__(self, "name", self.name or f"{url}#{mark}")

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "sql",
            "url": self.url,
            "query": self.query,
            "id_column": self.id_column,
            "text_column": list(columns_of(self.text_column)),
            "joiner": self.joiner,
            "name": self.name,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SqlSource:
        return cls(
            value["url"],
            value["query"],
            value["id_column"],
            tuple(value["text_column"]),
            value["joiner"],
            value["name"],
        )

    def shards(self, size: int = 1000) -> Iterator[Shard]:
        """Ranges of ids; last, where there are any, the rows without one.

        Raises:
            InputError: the database refuses, or the query lacks a column.
        """
        check_size(size)
        with self._connected() as connection:
            with self._select(connection, "*", "1 = 0") as nothing:
                columns = list(nothing.keys())
            needed = (self.id_column, *columns_of(self.text_column))
            check_columns(f"the query on {self.url}", columns, needed)
            id = self._quoted(connection)
            number = 0
            ids = self._select(connection, id, f"{id} IS NOT NULL", id).scalars()
            for part in _ranges(ids, size):
                yield Shard(number, {"first": _packed(part[0]), "last": _packed(part[1])}, part[2])
                number += 1
            n_without = self._select(connection, "COUNT(*)", f"{id} IS NULL").scalar_one()
            if n_without:
                yield Shard(number, {"first": None, "last": None}, n_without)

    def read(self, shard: Shard) -> Iterator[Document | BadRow]:
        columns = columns_of(self.text_column)
        first, last = _unpacked(shard.spec["first"]), _unpacked(shard.spec["last"])
        with self._connected() as connection:
            id = self._quoted(connection)
            if first is None:
                rows = self._select(connection, "*", f"{id} IS NULL")
            else:
                between = f"{id} >= :first AND {id} <= :last"
                rows = self._select(connection, "*", between, id, first=first, last=last)
            for number, row in enumerate(rows.mappings(), 1):
                fields = {str(name): value for name, value in row.items()}
                place = f"the row of {self.id_column} {fields.get(self.id_column)!r:.60}"
                if first is None:
                    place = f"row {number} of those without {self.id_column}"
                yield document_of(fields, place, columns, self.joiner, self.id_column)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError
        from sqlalchemy.pool import NullPool

        url = make_url(self.url)
        password = self._password or os.environ.get(PASSWORD_VARIABLE)
        if password and (url.username or url.host):
            url = url.set(password=password)
        # SQLite would create the file.
        if url.get_backend_name() == "sqlite" and not _is_there(str(url.database)):
            raise InputError(f"{url.database}: no such file")
        try:
            engine = create_engine(url, poolclass=NullPool)
        except ModuleNotFoundError as error:
            raise _missing_driver(url, error) from None
        except SQLAlchemyError as error:
            raise InputError(f"{self.url}: {_without(password, str(error))}") from None
        try:
            with engine.connect() as connection:
                if engine.dialect.name == "postgresql":
                    connection = connection.execution_options(postgresql_readonly=True)
                elif engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("PRAGMA query_only = ON")
                yield connection
        except DBAPIError as error:
            message = _without(password, str(error.orig).strip())
            if not password and "password" in message:
                message += f"; set {PASSWORD_VARIABLE}"
            raise InputError(f"{self.url}: {message}") from None
        except SQLAlchemyError as error:
            raise InputError(f"{self.url}: {_without(password, str(error))}") from None
        finally:
            engine.dispose()

    def _select(
        self, connection: Connection, what: str, where: str, order: str = "", **values: Any
    ) -> CursorResult[Any]:
        from sqlalchemy import text

        # A colon in the user's query is a colon, never the name of a value. The line feed ends
        # a comment on its last line.
        query = self.query.replace(":", "\\:")
        statement = f"SELECT {what} FROM (\n{query}\n) nlpkit_rows WHERE {where}"
        if order:
            statement += f" ORDER BY {order}"
        return connection.execute(
            text(statement),
            values,
            execution_options={"stream_results": True, "yield_per": FETCHED_ROWS},
        )

    def _quoted(self, connection: Connection) -> str:
        quoted = connection.dialect.identifier_preparer.quote(self.id_column)
        return quoted.replace(":", "\\:")


def _parsed(given: str) -> tuple[str, str | None]:
    """A URL without its password, a SQLite file made absolute; and the password."""
    from sqlalchemy import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise InputError(
            "the URL of the database cannot be read; expected for example sqlite:///shop.db or "
            "postgresql+psycopg://user@host/database"
        ) from None
    for name, value in url.query.items():
        if re.search(r"passw|pwd|secret|token", f"{name} {value}", re.IGNORECASE):
            raise InputError(
                f"the URL's option {name!r} holds a secret; set {PASSWORD_VARIABLE} instead"
            )
    database = url.database
    if url.get_backend_name() == "sqlite":
        if database in (None, "", ":memory:"):
            raise InputError("a SQLite database in memory has no rows for others to read")
        if not str(database).startswith("file:"):
            database = os.path.abspath(os.path.expanduser(str(database)))
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, database, url.query)
    password = None if url.password is None else str(url.password)
    return bare.render_as_string(hide_password=False), password


#: Strings, quoted names, comments: a semicolon inside them ends nothing.
_INERT = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", re.DOTALL)


def _single_select(query: str) -> str:
    """The query without the semicolon at its end.

    Raises:
        InputError: it is not one SELECT.
    """
    bare = _INERT.sub(" ", query).strip().removesuffix(";").strip()
    depth = 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
    if not re.match(r"(?:select|with)\b", bare, re.IGNORECASE) or ";" in bare or depth:
        raise InputError(f"the query is {query.strip()!r:.80}; expected a single SELECT")
    # Whatever stands after a last semicolon is a comment.
    kept = query.strip()
    ends = [found.span() for found in _INERT.finditer(kept)]
    semicolons = [
        place
        for place, character in enumerate(kept)
        if character == ";" and not any(start <= place < end for start, end in ends)
    ]
    return kept[: semicolons[-1]].rstrip() if semicolons else kept


def _ranges(ids: Iterator[Any], size: int) -> Iterator[tuple[Any, Any, int]]:
    """First id, last id and number of rows of parts that don't cut equal ids apart."""
    first = last = None
    n_rows = 0
    for id in ids:
        if n_rows >= size and id != last:
            yield first, last, n_rows
            n_rows = 0
        first = id if n_rows == 0 else first
        last = id
        n_rows += 1
    if n_rows:
        yield first, last, n_rows


#: Ids that JSON has no value for. Rows of all but UUIDs are bad, but lie in some range.
_PACKED: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "uuid": (UUID, str, UUID),
    "decimal": (Decimal, str, Decimal),
    "bytes": (bytes, bytes.hex, bytes.fromhex),
}


def _packed(id: Any) -> Any:
    if isinstance(id, str | int | float):
        return id
    for name, (kind, pack, _) in _PACKED.items():
        if isinstance(id, kind):
            return {name: pack(id)}
    raise InputError(
        f"the ids of the query are of the type {type(id).__name__}; expected strings, integers "
        "or UUIDs: cast the column in the query"
    )


def _unpacked(value: Any) -> Any:
    if isinstance(value, Mapping):
        ((name, packed),) = value.items()
        return _PACKED[name][2](packed)
    return value


def _missing_driver(url: URL, error: ModuleNotFoundError) -> Exception:
    if error.name == "psycopg":
        return MissingExtraError.of("postgres", "reading PostgreSQL", "psycopg")
    return InputError(
        f"{url.drivername} needs the module {error.name!r}, which is not installed; install it "
        "beside nlpkit"
    )


def _is_there(database: str) -> bool:
    return database.startswith("file:") or os.path.isfile(database)


def _without(password: str | None, message: str) -> str:
    return message.replace(password, "***") if password else message
