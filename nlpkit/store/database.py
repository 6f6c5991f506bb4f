"""Connections and transactions: one way to read a consistent state, one way to change it.

A write transaction holds the store's only write lock from its first statement, so that commits
have an order; a read transaction sees one commit's state to its end, whatever is written
meanwhile.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from nlpkit.errors import MissingExtraError, StoreError
from nlpkit.store.schema import state

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: The newest revision under migrations/versions; a test holds the two together.
REVISION = "0002"
#: Seconds a writer waits for another's transaction.
LOCK_TIMEOUT = 60.0

_WRITES = "nlpkit_writes"


@dataclass(frozen=True, slots=True)
class Tables:
    """Tables that are made and brought up to date together.

    ``state`` has one row, whose lock orders the writers: the columns ``one`` and ``generation``,
    and whatever else ``first`` begins it with. ``name`` and ``remedy`` are for messages: what the
    tables are, and what to do where they are lost.
    """

    migrations: Path
    revision: str
    state: sa.Table
    first: Mapping[str, Any]
    name: str
    remedy: str


INDEX = Tables(
    migrations=Path(__file__).parent / "migrations",
    revision=REVISION,
    state=state,
    first={"one": 1, "generation": 0, "next_document": 1, "next_chunk": 1},
    name="an index",
    remedy="build the index anew",
)


class Database:
    """A database at a SQLAlchemy URL, with its tables made or brought up to date.

    ``schema`` is the PostgreSQL schema that holds the tables; SQLite has a file for each index.
    With ``read_only`` nothing is made, migrated or written. ``tables`` are an index's unless told.

    Raises:
        StoreError: it cannot be opened, is damaged, or was made by a newer nlpkit.
        MissingExtraError: the URL's driver is not installed.
    """

    def __init__(
        self,
        url: str,
        schema: str | None = None,
        *,
        read_only: bool = False,
        tables: Tables = INDEX,
    ) -> None:
        self.tables = tables
        try:
            self.url = sa.make_url(url)
        except exc.ArgumentError as error:
            raise StoreError(f"{url!r:.200} is no database URL: {error}") from None
        self.schema = schema
        self.read_only = read_only
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._engine()
        with self._said_plainly():
            self._bring_up_to_date()

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent state for all statements inside."""
        with self._said_plainly(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing of what is done inside, alone among writers; counts a generation."""
        with self.step() as connection:
            own = self.tables.state
            connection.execute(sa.update(own).values(generation=own.c.generation + 1))
            yield connection

    @contextmanager
    def step(self) -> Iterator[Connection]:
        """Like :meth:`write`, for what readers of the index need not notice (jobs, numbers)."""
        if self.read_only:
            raise StoreError(f"{self.shown} was opened read-only; open it without read_only")
        with self._said_plainly(), self.engine.connect() as connection:
            connection.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    # -- inside -----------------------------------------------------------------------------------

    def _engine(self) -> Engine:
        try:
            if self.is_sqlite and self.read_only and not self._may_write():
                made = sa.create_engine(
                    self.url, creator=self._connect_unwritable, poolclass=sa.NullPool
                )
            elif self.is_sqlite:
                made = sa.create_engine(self.url, connect_args={"timeout": LOCK_TIMEOUT})
            else:
                made = sa.create_engine(self.url, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise MissingExtraError.of("postgres", self.shown, error.name or "") from None
        except exc.ArgumentError as error:
            raise StoreError(f"{self.shown} is no database URL: {error}") from None
        event.listen(made, "connect", self._on_connect)
        event.listen(made, "begin", self._on_begin)
        return made

    def _may_write(self) -> bool:
        return os.access(Path(self.url.database or "").parent, os.W_OK)

    def _connect_unwritable(self) -> Any:
        """SQLite wants a file beside a database to read it, unless told that it stays as it is.

        It does where no writer has left its log open; asked anew for each connection.
        """
        import sqlite3

        path = Path(self.url.database or "").absolute()
        still = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
        uri = f"{path.as_uri()}?mode=ro{still}"
        return sqlite3.connect(uri, timeout=LOCK_TIMEOUT, uri=True, check_same_thread=False)

    def _on_connect(self, raw: Any, _record: Any) -> None:
        if not self.is_sqlite:
            if self.schema is not None:
                with raw.cursor() as cursor:
                    cursor.execute(f'SET search_path TO "{self.schema}"')
                raw.commit()
            return
        raw.isolation_level = None  # BEGIN is ours to say
        cursor = raw.cursor()
        if self.read_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.close()

    def _on_begin(self, connection: Connection) -> None:
        if self.is_sqlite:
            writes = connection.get_execution_options().get(_WRITES)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
        elif connection.get_execution_options().get(_WRITES):
            # The row's lock orders the writers; before the tables exist there is none to order.
            found = connection.exec_driver_sql("SELECT to_regclass('state')").scalar()
            if found is not None:
                connection.exec_driver_sql("SELECT one FROM state FOR UPDATE")

    def _bring_up_to_date(self) -> None:
        if self._revision() == self.tables.revision:
            return
        if self.read_only:
            raise StoreError(
                f"{self.shown} is of another version and was opened read-only; "
                "open it once without read_only to bring it up to date"
            )
        if not self.is_sqlite and self.schema is not None:
            with self.engine.begin() as connection:
                connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"')
        with self.step() as connection:
            found = self._revision_in(connection)
            known = self.tables.revision
            if found is not None and not found <= known:
                raise StoreError(
                    f"{self.shown} was made by a newer nlpkit (its tables are of revision {found}, "
                    f"this nlpkit knows {known}); run: pip install -U nlpkit-bert"
                )
            if found != known:
                _migrate(connection, self.tables)

    def _revision(self) -> str | None:
        with self.engine.connect() as connection, connection.begin():
            return self._revision_in(connection)

    def _revision_in(self, connection: Connection) -> str | None:
        if self.is_sqlite:
            known = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        else:
            known = "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL"
        if connection.exec_driver_sql(known).scalar() is None:
            return None
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return None if found is None else str(found)

    @contextmanager
    def _said_plainly(self) -> Iterator[None]:
        """The driver's errors in words that say what to do."""
        try:
            yield
        except exc.DBAPIError as error:
            said = str(error.orig)
            raise StoreError(f"{self.shown}: {said}{_advice(said, self.tables)}") from error


def _migrate(connection: Connection, tables: Tables) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(tables.migrations))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        command.upgrade(config, "head")
    if connection.execute(sa.select(tables.state.c.one)).scalar() is None:
        connection.execute(sa.insert(tables.state).values(**tables.first))


def _advice(said: str, tables: Tables) -> str:
    """What to do about a driver's message, where we know it."""
    damaged = f"the file is damaged: restore it from a backup, or {tables.remedy}"
    advice = {
        "locked": "another process has been writing for long; try again, or see who holds it",
        "readonly": "it may not be written to: check permissions, or open it with read_only=True",
        "unable to open": "check that the folder is there and may be written to, or open it with "
        "read_only=True",
        "disk is full": "free some space; the last good state is kept",
        "disk I/O": "check the disk; the last good state is kept",
        "malformed": damaged,
        "not a database": damaged,
        "no such table": f"it is not {tables.name} of nlpkit's, or damaged: {tables.remedy}",
    }
    for words, what in advice.items():
        if words in said:
            return f" ({what})"
    return ""
