"""What an index says of its documents' metadata, for those who build filters from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_index import WordEmbedder, some_documents

from nlpkit.errors import InputError
from nlpkit.index import Field, FieldKind, Index, open_index
from nlpkit.types import Document


def index_of(folder: Path, *metas: dict[str, Any]) -> Index:
    index = open_index(folder / "index", WordEmbedder())
    index.upsert([Document(f"d{i}", f"text {i}", meta) for i, meta in enumerate(metas)])
    return index


def test_fields_have_kinds_and_bounds(tmp_path: Path) -> None:
    """A worked example: a field of each kind, by name."""
    with index_of(
        tmp_path,
        {"year": 2021, "lang": "en", "day": "2024-03-01", "is_new": True, "stars": 0},
        {"year": 2019, "lang": "de", "day": "2024-01-31T10:00:00", "is_new": False, "stars": 1},
        {"year": 2020.5, "tags": ["a list", "is not searched"], "nothing": None},
    ) as index:
        assert index.fields() == [
            Field("day", FieldKind.DATE, "2024-01-31T10:00:00", "2024-03-01"),
            Field("is_new", FieldKind.BOOLEAN, 0.0, 1.0),
            Field("lang", FieldKind.TEXT, "de", "en"),
            Field("stars", FieldKind.NUMBER, 0.0, 1.0),
            Field("year", FieldKind.NUMBER, 2019.0, 2021.0),
        ]


def test_a_mixed_field_is_what_most_of_its_values_are(tmp_path: Path) -> None:
    metas = [{"stars": value, "code": str(value)} for value in (1, 2, "n/a")] + [{"code": 7}]
    with index_of(tmp_path, *metas) as index:
        assert [(f.name, f.kind, f.low, f.high) for f in index.fields()] == [
            ("code", FieldKind.TEXT, "1", "n/a"),
            ("stars", FieldKind.NUMBER, 1.0, 2.0),
        ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2024-01-01", "2024-12-31 10:00"], FieldKind.DATE),
        (["2024-01-01", ""], FieldKind.DATE),  # a cell left empty
        (["2024-01-01", "unknown"], FieldKind.TEXT),
        (["2024-13-01", "2024-12-01"], FieldKind.TEXT),
        (["2024-01-015", "2024-12-01"], FieldKind.TEXT),
        (["01/02/2024"], FieldKind.TEXT),  # such dates do not sort
    ],
)
def test_dates_are_told_from_texts(tmp_path: Path, values: list[str], kind: FieldKind) -> None:
    with index_of(tmp_path, *({"day": value} for value in values)) as index:
        assert [field.kind for field in index.fields()] == [kind]


def test_values_come_with_their_documents_most_frequent_first(tmp_path: Path) -> None:
    metas = [{"shop": shop} for shop in ("b", "a", "b", "c", 5)]
    with index_of(tmp_path, *metas) as index:
        assert index.values("shop") == [("b", 2), ("a", 1), ("c", 1)]
        assert index.values("shop", most=1) == [("b", 2)]
        assert index.values("none") == []
        with pytest.raises(InputError, match="at least 1"):
            index.values("shop", most=0)
        index.delete(["d0", "d2"])
        assert index.values("shop") == [("a", 1), ("c", 1)]


def test_an_empty_index_and_odd_names(tmp_path: Path) -> None:
    with index_of(tmp_path) as index:
        assert index.fields() == []
        index.upsert([Document("x", "text", {"": 1, "Jahr'\"*": "x", "ünder": 2})])
        assert [field.name for field in index.fields()] == ["", "Jahr'\"*", "ünder"]


def test_every_field_can_be_filtered_by(tmp_path: Path) -> None:
    documents = some_documents(60)
    with open_index(tmp_path / "index", WordEmbedder()) as index:
        index.upsert(documents)
        assert [field.name for field in index.fields()] == ["lang", "mark", "year"]
        for field in index.fields():
            between = {field.name: {">=": field.low, "<=": field.high}}
            assert index.count(between) == sum(field.name in d.meta for d in documents)
        for value, n in index.values("lang"):
            assert index.count({"lang": value}) == n


def test_names_are_not_counted_off_row_by_row(tmp_path: Path) -> None:
    """A statement that walks over all rows takes seconds where there are millions."""
    with index_of(tmp_path, *({"a": i, "b": str(i)} for i in range(50))) as index:
        statements: list[tuple[str, Any]] = []

        def keep(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            statements.append((statement, parameters))

        engine = index.database.engine
        sa.event.listen(engine, "before_cursor_execute", keep)
        index.fields()
        sa.event.remove(engine, "before_cursor_execute", keep)
        with index.database.read() as connection:
            plans = [
                str(row[3])
                for statement, parameters in statements
                if "fields" in statement
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
        assert plans
        assert not [plan for plan in plans if "USE TEMP B-TREE" in plan]
        assert all("SEARCH" in plan for plan in plans), plans
