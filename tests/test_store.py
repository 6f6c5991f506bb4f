"""The store: its tables are those of the migrations, and its transactions are what they say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import nlpkit.store
from nlpkit.errors import MissingExtraError, StoreError
from nlpkit.store import database
from nlpkit.store.database import REVISION, Database
from nlpkit.store.schema import metadata, settings, state

MIGRATIONS = Path(nlpkit.store.__file__).parent / "migrations"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def put(connection: sa.Connection, name: str) -> None:
    connection.execute(sa.insert(settings), {"name": name, "value": {}})


def names(store: Database) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(sa.select(settings.c.name)).scalars())


def test_the_migrations_make_the_tables_of_the_schema(store: Database) -> None:
    with store.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_object": lambda _, name, *__: not str(name).startswith("chunk_words"),
            },
        )
        assert compare_metadata(context, metadata) == []


def test_the_revision_is_that_of_the_newest_script() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    assert script.get_heads() == [REVISION]


def test_opening_again_changes_nothing(store: Database, tmp_path: Path) -> None:
    with store.write() as connection:
        put(connection, "a")
    path = tmp_path / "store.db"
    again = Database(f"sqlite:///{path}")
    assert names(again) == ["a"]
    again.close()


def test_a_transaction_is_all_or_nothing(store: Database) -> None:
    with pytest.raises(StoreError, match="UNIQUE"), store.write() as connection:
        connection.execute(sa.insert(settings), [{"name": "lost", "value": {}}] * 2)
    assert names(store) == []
    with store.write() as connection:
        put(connection, "kept")
    assert names(store) == ["kept"]


def test_writes_count_generations_and_steps_do_not(store: Database) -> None:
    def generation() -> int:
        with store.read() as connection:
            return int(connection.execute(sa.select(state.c.generation)).scalar_one())

    assert generation() == 0
    with store.write():
        pass
    with store.step():
        pass
    assert generation() == 1


def test_a_reader_keeps_its_state(store: Database) -> None:
    with store.read() as reader:
        assert reader.execute(sa.select(settings)).all() == []
        with store.write() as connection:
            put(connection, "later")
        assert reader.execute(sa.select(settings)).all() == []
    assert names(store) == ["later"]


def test_writers_wait_for_one_another(store: Database) -> None:
    """Each adds one to a number that it has read: none is lost."""

    def add() -> None:
        for _ in range(20):
            with store.step() as connection:
                n = connection.execute(sa.select(state.c.next_document)).scalar_one()
                connection.execute(sa.update(state).values(next_document=n + 1))

    threads = [threading.Thread(target=add) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as connection:
        assert connection.execute(sa.select(state.c.next_document)).scalar_one() == 101


def test_a_writer_that_waits_too_long_says_so(
    store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.05)
    other = Database(f"sqlite:///{tmp_path / 'store.db'}")
    with (
        store.step(),
        pytest.raises(StoreError, match=r"locked \(another process has been writing"),
        other.step(),
    ):
        pass
    other.close()


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="check that the folder is there"):
        Database(f"sqlite:///{tmp_path / 'absent' / 'store.db'}")
    for url in ("nonsense", "nonsense+nothing://x"):
        with pytest.raises(StoreError, match="no database URL"):
            Database(url)
    with pytest.raises(MissingExtraError, match=r"nlpkit-bert\[postgres\]"):
        Database("postgresql+pg8000://somebody@nowhere/nothing")


def test_messages_hide_the_password() -> None:
    with pytest.raises(StoreError) as caught:
        Database("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)
    assert "me:***@127.0.0.1" in str(caught.value)
