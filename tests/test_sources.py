"""Where documents come from: folders, tables, databases and recipes, row by row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pickle
import re
import sqlite3
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit.errors import (
    DataError,
    InputError,
    InputTypeError,
    MissingExtraError,
    NlpkitError,
    UnknownNameError,
)
from nlpkit.sources import (
    BadRow,
    DocumentSource,
    FileSource,
    FolderSource,
    IndexRecipe,
    Shard,
    SqlSource,
    TableSource,
    index_recipes,
    load_index_recipe,
    open_recipe,
    open_source,
)
from nlpkit.sources import extract as extracting
from nlpkit.sources import rows as reading
from nlpkit.sources.base import document_of
from nlpkit.types import Document

needs_links = pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")

Row = Document | BadRow
Write = Callable[[str, "str | bytes"], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file below ``tmp_path``, packed where its name ends in .gz."""

    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        return path

    return written


def rows_of(source: DocumentSource, size: int = 1000) -> list[Row]:
    """All rows, shard by shard, each shard read on its own from what JSON keeps of it."""
    found: list[Row] = []
    again = open_source(json.loads(json.dumps(source.to_json())))
    for number, shard in enumerate(source.shards(size)):
        assert shard.number == number
        assert shard.n_rows > 0
        kept = Shard(shard.number, json.loads(json.dumps(dict(shard.spec))), shard.n_rows)
        rows = list(again.read(kept))
        assert len(rows) == shard.n_rows
        found += rows
    return found


def ids(rows: Iterable[Row]) -> list[str | None]:
    return [row.id for row in rows]


def reason(row: Row) -> str:
    assert isinstance(row, BadRow), row
    return row.reason


# Fields --------------------------------------------------------------------------------------


def test_the_document_of_a_row() -> None:
    fields = {"id": 7, "title": "On rain", "text": "It falls.", "year": 1843}
    got = document_of(fields, "a.csv, line 2", ("title", "text"), "\n", "id")
    assert got == Document("7", "On rain\nIt falls.", {"year": 1843})


def test_texts_that_are_absent_are_not_joined() -> None:
    for title in ("", "  ", None):
        fields = {"id": "a", "title": title, "text": "It falls."}
        got = document_of(fields, "", ("title", "text"), " ", "id")
        assert got == Document("a", "It falls.", {})
    assert isinstance(
        document_of({"id": "a", "title": ""}, "", ("title", "text"), " ", "id"), BadRow
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        (float("nan"), None),
        (float("inf"), None),
        (Decimal("12.50"), 12.5),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.bool_(True), True),
        (np.str_("é"), "é"),
        (np.array([1, 2]), "[1, 2]"),
        (np.datetime64("2024-02-29T12:00:00"), "2024-02-29T12:00:00"),
        (date(2024, 2, 29), "2024-02-29"),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), "2024-02-29T12:00:00+00:00"),
        (timedelta(minutes=1), 60.0),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([1, [date(2024, 1, 1), None]], '[1, ["2024-01-01", null]]'),
        ({"é": float("nan"), "b": (1,)}, '{"é": null, "b": [1]}'),
    ],
)
def test_metadata_are_values_of_json(value: Any, expected: Any) -> None:
    got = document_of({"text": "x", "value": value}, "", ("text",), "", None, "a")
    assert got == Document("a", "x", {"value": expected})
    assert isinstance(got, Document)
    assert type(got.meta["value"]) is type(expected)


NESTED: list[Any] = []
for _ in range(2000):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": None}, "the field 'text' is none"),
        ({"text": 3}, "the field 'text' is int 3; expected a string"),
        ({"text": " \n\u00a0"}, "the text is empty"),
        ({"text": "ab\0"}, r"the text has NUL \(U\+0000\) at offset 2"),
        ({"text": "a\udc00"}, r"the text has a lone surrogate \(U\+DC00\) at offset 1"),
        ({"id": None}, "the id is none; expected a string or an integer"),
        ({"id": True}, "the id is bool True"),
        ({"id": 1.5}, "the id is float 1.5"),
        ({"id": ""}, "the id is empty"),
        ({"id": "x" * 1001}, "an id of 1001 characters; expected at most 1000"),
        ({"id": "a\0"}, "the id has NUL"),
        ({"note": "a\ud800"}, "the field 'note' has a lone surrogate"),
        ({"note": [{"a": "\0"}]}, None),  # JSON writes NUL as an escape
        ({"note": b"a"}, "the field 'note' is bytes; expected a string"),
        ({"note": NESTED}, "the field 'note' is nested too deeply"),
        ({"a\0": 1}, "the name of the field .* has NUL"),
    ],
)
def test_a_row_that_cannot_become_a_document(change: dict[str, Any], said: str | None) -> None:
    fields = {"id": "a", "text": "x", **change}
    got = document_of(fields, "a.csv, line 2", ("text",), "", "id")
    if said is None:
        assert got == Document("a", "x", {"note": '[{"a": "\\u0000"}]'})
        return
    assert isinstance(got, BadRow)
    assert got.place == "a.csv, line 2"
    assert re.search(said, got.reason), got.reason
    if "id" not in change:
        assert got.id == "a"


def test_ids_of_any_characters() -> None:
    for id in ("a/b c", "🎉", "x" * 1000, "0"):
        assert document_of({"id": id, "text": "x"}, "", ("text",), "", "id") == Document(id, "x")


# Tables --------------------------------------------------------------------------------------

REVIEWS = [
    {"id": "1", "text": "It fell, and\nfell.", "stars": "2 of 5"},
    {"id": "b/2", "text": 'The "rain" 🎉', "stars": ""},
    {"id": "3", "text": "Blue\r\nskies", "stars": "5 of 5"},
]
DOCUMENTS = [Document(r["id"], r["text"], {"stars": r["stars"]}) for r in REVIEWS]


def csv_of(rows: Sequence[dict[str, Any]], end: str = "\n") -> str:
    file = io.StringIO(newline="")
    # Left to choose, the module writes carriage returns without quotes.
    writer = csv.DictWriter(file, list(rows[0]), lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def jsonl_of(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet_of(
    rows: Sequence[dict[str, Any]], group: int = 1000, n_rows: int | None = None
) -> bytes:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist(list(rows)).slice(0, n_rows)
    file = io.BytesIO()
    parquet.write_table(table, file, row_group_size=group)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", csv_of(REVIEWS)),
        ("a.csv", "\ufeff\n" + csv_of(REVIEWS, "\r\n") + "\n\n"),
        ("a.csv.gz", csv_of(REVIEWS)),
        ("A.CSV", csv_of(REVIEWS).removesuffix("\n")),
        ("a.jsonl", jsonl_of(REVIEWS)),
        ("a.ndjson", "\ufeff" + jsonl_of(REVIEWS).replace("\n", "\r\n \n")),
        ("a.jsonl.gz", jsonl_of(REVIEWS).removesuffix("\n")),
        ("a.parquet", parquet_of(REVIEWS)),
        ("b.parquet", parquet_of(REVIEWS, 2)),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_rows_of_a_table(write: Write, name: str, content: str | bytes, size: int) -> None:
    assert rows_of(open_source(write(name, content)), size) == DOCUMENTS


def test_numbers_of_a_csv_file_are_numbers_in_its_metadata(write: Write) -> None:
    cells = {"0": 0, "-12": -12, "4.50": 4.5, "007": "007", "1e5": "1e5", "": "", "+3": "+3"}
    text = "id,text,n\n" + "".join(f"{i},{i},{cell}\n" for i, cell in enumerate(cells))
    got = rows_of(open_source(write("a.csv", text)))
    assert got == [Document(str(i), str(i), {"n": n}) for i, n in enumerate(cells.values())]
    assert [type(row.meta["n"]) for row in got if isinstance(row, Document)][:3] == [
        int,
        int,
        float,
    ]


FIELDS = st.text(
    st.one_of(st.sampled_from('",\n\r \t;x'), st.characters(codec="utf-8", exclude_characters="\0"))
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@given(
    texts=st.lists(FIELDS, min_size=1, max_size=12),
    size=st.integers(1, 14),
    name=st.sampled_from(["a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet"]),
)
@settings(max_examples=150)
def test_shards_of_any_size_hold_every_row_once(
    scratch: Path, texts: list[str], size: int, name: str
) -> None:
    given_rows = [{"id": str(n), "text": text, "same": "=" + text} for n, text in enumerate(texts)]
    data = {
        ".csv": lambda: csv_of(given_rows).encode(),
        ".jsonl": lambda: jsonl_of(given_rows).encode(),
        ".parquet": lambda: parquet_of(given_rows, 5),
    }[Path(name.removesuffix(".gz")).suffix]()
    (scratch / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    source = TableSource(scratch / name)
    shards = list(source.shards(size))
    assert [shard.n_rows for shard in shards[:-1]] == [size] * (len(shards) - 1)
    got = rows_of(source, size)
    assert ids(got) == [row["id"] for row in given_rows]
    for row, text in zip(got, texts, strict=True):
        if text.strip():
            assert isinstance(row, Document)
            assert (row.text, row.meta) == (text, {"same": "=" + text})
        else:
            assert isinstance(row, BadRow)


@given(
    lines=st.lists(
        st.sampled_from(
            [
                "1,a\n",
                '2,"b\nc"\n',
                '3,"d\n',
                '4,e"f"\n',
                '"5"x,g\n',
                "6\n",
                '7,"h""i"\n',
                "\n",
                "8,\xff\n",
                '"\n',
                "9,j,k\n",
            ]
        ),
        max_size=12,
    ),
    size=st.integers(1, 5),
)
def test_shards_of_a_broken_file_agree(scratch: Path, lines: list[str], size: int) -> None:
    """Where a row begins is the same to all: one pass and many reads give the same rows."""
    path = scratch / "broken.csv"
    path.write_bytes(("id,text\n" + "".join(lines)).encode("latin-1"))
    assert rows_of(TableSource(path), size) == rows_of(TableSource(path), 1000)


def test_a_later_shard_is_read_from_its_own_place(write: Write) -> None:
    """What stands before it is not looked at: here it is no longer there."""
    for name, content in (("a.jsonl", jsonl_of(REVIEWS)), ("a.csv", csv_of(REVIEWS))):
        path = write(name, content)
        source = TableSource(path)
        last = list(source.shards(1))[-1]
        data = bytearray(path.read_bytes())
        begin = path.read_bytes().index(b"\n") + 1 if name == "a.csv" else 0
        data[begin : last.spec["offset"]] = b"?" * (last.spec["offset"] - begin)
        if name == "a.csv":
            data[begin] = ord("\n")
        path.write_bytes(data)
        assert list(source.read(last)) == DOCUMENTS[2:]


def test_rows_without_ids_go_by_number(write: Write) -> None:
    rows = [{"text": "a", "n": "1"}, {"text": "", "n": "2"}, {"text": "c", "n": "3"}]
    path = write("notes.csv", csv_of(rows))
    assert rows_of(TableSource(path), 1) == [
        Document("notes.csv:1", "a", {"n": 1}),
        BadRow(
            "notes.csv:2",
            "notes.csv, line 3",
            "the text is empty; expected at least one character that is no space",
        ),
        Document("notes.csv:3", "c", {"n": 3}),
    ]
    path = write("notes.jsonl", "\n" + jsonl_of(REVIEWS))
    assert rows_of(TableSource(path, id_column=None), 2)[2] == Document(
        "notes.jsonl:3", "Blue\r\nskies", {"id": "3", "stars": "5 of 5"}
    )


def test_other_columns(write: Write) -> None:
    path = write("a.jsonl.gz", jsonl_of([{"_id": 4, "title": "On rain", "text": "It falls."}]))
    source = open_source(path, text_column=["title", "text"], id_column="_id", joiner=": ")
    assert rows_of(source) == [Document("4", "On rain: It falls.", {})]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "not JSON (Expecting value"),
        ('["text"]', "got list ['text']; expected one JSON object a line"),
        ('{"id": 2}', "no field 'text' (fields: 'id'); expected a string"),
        ('{"id": 2, "text": ["x"]}', "the field 'text' is list ['x']; expected a string"),
        ('{"id": [2], "text": "x"}', "the id is list [2]; expected a string or an integer"),
        ('{"text": "x"}', "the id is none"),
        ('{"id": 2, "text": "a\\ud800"}', "the text has a lone surrogate (U+D800) at offset 1"),
        ('{"id": 2, "text": "\\u0000"}', "the text has NUL (U+0000) at offset 0"),
        ("[" * 100_000, "not JSON ("),
        ("1" * 5000, "not JSON ("),
        (b'{"id": 2, "text": "\xe9"}', "not UTF-8 (byte 0xe9); save the file as UTF-8"),
    ],
)
def test_a_bad_line_keeps_its_neighbours(write: Write, line: str | bytes, said: str) -> None:
    bad = line.encode() if isinstance(line, str) else line
    good = jsonl_of([{"id": 1, "text": "a"}]).encode()
    path = write("a.jsonl", good + bad + b"\n" + good.replace(b"1", b"3"))
    first, second, third = rows_of(TableSource(path))
    assert (first, third) == (Document("1", "a"), Document("3", "a"))
    assert isinstance(second, BadRow)
    assert second.place == "a.jsonl, line 2"
    assert second.reason.startswith(said)


@pytest.mark.parametrize(
    ("bad", "n_bad", "said"),
    [
        ("2,x,y\n", 1, "3 columns; expected 2, as in the header"),
        ("2\n", 1, "1 columns; expected 2"),
        ('2,"a\nb",c\n', 1, "3 columns; expected 2"),
        ('2,"x" y\n', 1, "not CSV (',' expected after '\"'); expected quotes in pairs"),
        ('2,"never closed\n', 1, "not CSV (unexpected end of data); expected quotes in pairs"),
        ('2,"never closed\n4,"x"\n', 1, "not CSV (',' expected after '\"')"),
        (b'2,"a\n\xe9"\n', 1, "not UTF-8 (byte 0xe9)"),
        ("2,\0\n", 1, "the text has NUL"),
        ("2,a\rb\n", 1, "not CSV (new-line character seen in unquoted field"),
    ],
)
def test_a_bad_record_keeps_its_neighbours(
    write: Write, bad: str | bytes, n_bad: int, said: str
) -> None:
    data = bad.encode() if isinstance(bad, str) else bad
    path = write("a.csv", b'id,text\n1,"a\nb"\n' + data + b"3,c\n")
    rows = rows_of(TableSource(path), 1)
    assert rows[0] == Document("1", "a\nb")
    assert rows[-1] == Document("3", "c")
    problems = [row for row in rows if isinstance(row, BadRow)]
    assert len(problems) == n_bad
    assert problems[0].place == "a.csv, line 4"
    assert problems[0].reason.startswith(said)
    if b"4," in data:
        assert Document("4", "x") in rows


def test_a_row_that_is_too_long(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_ROW", 100)
    long = "y" * 250
    path = write("a.jsonl", f'{{"id": 1, "text": "x"}}\n{long}\n{{"id": 2, "text": "z"}}\n')
    first, bad, last = rows_of(TableSource(path), 1)
    assert (first, last) == (Document("1", "x"), Document("2", "z"))
    assert reason(bad).startswith("more than 0 MiB")
    path = write("a.csv", f'id,text\n1,x\n2,{long}\n3,"{"y" * 60}\n' + "4,z\n" * 30)
    rows = rows_of(TableSource(path), 1)
    assert ids(rows) == ["1", None, None, *["4"] * 30]
    assert reason(rows[2]).startswith("not CSV (more than 0 MiB)")


def test_numbers_that_json_does_not_know(write: Write) -> None:
    path = write("a.jsonl", '{"id": 1, "text": "x", "score": NaN, "tags": ["a", NaN]}\n')
    assert rows_of(TableSource(path)) == [
        Document("1", "x", {"score": None, "tags": '["a", null]'})
    ]


def test_types_of_parquet(write: Write) -> None:
    row = {
        "id": 2**40,
        "text": "x",
        "day": date(2024, 2, 29),
        "moment": datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        "price": Decimal("1.50"),
        "ratio": float("nan"),
        "tags": ["a", "b"],
        "nested": {"b": 1},
        "nothing": None,
    }
    path = write("a.parquet", parquet_of([row, {**row, "text": None}]))
    good, bad = rows_of(TableSource(path))
    assert good == Document(
        str(2**40),
        "x",
        {
            "day": "2024-02-29",
            "moment": "2024-02-29T12:30:00+00:00",
            "price": 1.5,
            "ratio": None,
            "tags": '["a", "b"]',
            "nested": '{"b": 1}',
            "nothing": None,
        },
    )
    assert bad == BadRow(
        str(2**40),
        "a.parquet, row 2",
        "the field 'text' is none (fields: "
        "'id', 'text', 'day', 'moment', 'price', 'ratio', 'tags', 'nested', 'nothing'); "
        "expected a string",
    )


def test_a_parquet_value_that_python_cannot_hold(write: Write) -> None:
    """Such a row makes its batch fail; the batch is then read row by row."""
    import pyarrow
    from pyarrow import parquet

    moments = pyarrow.array([0, 2**60, 60], pyarrow.int64()).cast(pyarrow.timestamp("ms"))
    table = pyarrow.table({"id": [1, 2, 3], "text": ["a", "b", "c"], "time": moments})
    path = write("a.parquet", b"")
    parquet.write_table(table, path)
    first, bad, last = rows_of(TableSource(path))
    assert first == Document("1", "a", {"time": "1970-01-01T00:00:00"})
    assert last == Document("3", "c", {"time": "1970-01-01T00:00:00.060000"})
    assert isinstance(bad, BadRow)
    assert bad.place == "a.parquet, row 2"


def test_columns_that_are_not_there(write: Write) -> None:
    path = write("a.csv", csv_of(REVIEWS))
    with pytest.raises(InputError, match=r"no column 'body'; its columns: 'id', 'text', 'stars'"):
        list(TableSource(path, "body").shards())
    with pytest.raises(InputError, match="no column '_id'"):
        list(TableSource(path, id_column="_id").shards())
    twice = write("b.csv", "text,text\na,b\n")
    with pytest.raises(InputError, match="two columns 'text'"):
        list(TableSource(twice).shards())
    with pytest.raises(InputError, match="no column 'body'"):
        list(TableSource(write("a.parquet", parquet_of(REVIEWS)), ("text", "body")).shards())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"\xff,text\n"),
        ("a.csv", b'id,"text\n1,a\n'),
        ("a.parquet", b"PAR1 not"),
        ("a.parquet", b""),
    ],
)
def test_a_file_that_is_damaged_as_a_whole(write: Write, name: str, content: bytes) -> None:
    with pytest.raises(DataError, match=rf"{name}, .*; expected"):
        list(TableSource(write(name, content)).shards())


def test_a_truncated_gzip_file(tmp_path: Path) -> None:
    """Not a bad row: a job that prunes must not take the missing rows for deleted ones."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(os.urandom(10_000) + b"\n")[:-20])
    with pytest.raises(DataError, match="expected a whole gzip file"):
        list(TableSource(path).shards())
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match="expected a whole gzip file"):
        list(TableSource(path).shards())


def test_a_table_that_is_empty(write: Write) -> None:
    assert list(TableSource(write("a.jsonl", "\n\n")).shards()) == []
    assert list(TableSource(write("a.csv", "id,text\n")).shards()) == []
    assert list(TableSource(write("a.parquet", parquet_of(REVIEWS, n_rows=0))).shards()) == []


def test_a_large_file_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    line = '{"id": %d, "text": "The row of this number, and some more words."}\n'
    with path.open("w") as file:
        file.writelines(line % n for n in range(200_000))
    source = TableSource(path)
    *_, last = source.shards(20_000)
    assert (last.number, last.spec["row"], last.n_rows) == (9, 180_001, 20_000)
    # Memory is slow while it is watched: a slice is enough.
    tracemalloc.start()
    try:
        first = next(source.shards(5000))
        seen = sum(1 for _ in islice(source.read(last), 5000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (first.n_rows, seen) == (5000, 5000)
    assert peak < 200_000  # of 350,000 bytes


# Folders -------------------------------------------------------------------------------------


def pdf(
    *pages: str, title: str = "", password: str = "", user_password: str | None = None
) -> bytes:
    """A PDF with a line of text on each page."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = stream
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(
            user_password if user_password is not None else password, password, algorithm="RC4-128"
        )
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def docx(build: Callable[[Any], None], title: str = "") -> bytes:
    import docx as library

    document = library.Document()
    document.core_properties.title = title
    build(document)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


MODIFIED = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)


def meta_of(name: str, size: int, **more: Any) -> dict[str, Any]:
    suffix = "." + name.partition(".")[2]
    modified = "2024-02-29T12:30:00+00:00"
    return {"path": name, "suffix": suffix, "bytes": size, "modified": modified, **more}


def test_the_files_of_a_folder(write: Write, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "b.md": "# Notes",
        "a/🎉 party.txt": "\ufeffCome!\r\n",
        "a/b/c.TXT": "deep",
        "a.txt": "first",
        "a b.txt.gz": "packed",
        "a/.hidden.txt": "x",
        ".git/config.txt": "x",
        "a/table.csv": "id,text\n1,x\n",
        "picture.png": b"\x89PNG",
        "README": "x",
    }
    for name, content in files.items():
        path = write(name, content)
        os.utime(path, (MODIFIED.timestamp(),) * 2)
    packed = (tmp_path / "a b.txt.gz").stat().st_size
    assert rows_of(FolderSource(tmp_path), 2) == [
        Document("a b.txt.gz", "packed", {**meta_of("a b.txt.gz", packed)}),
        Document("a.txt", "first", meta_of("a.txt", 5)),
        Document("a/b/c.TXT", "deep", {**meta_of("a/b/c.TXT", 4), "suffix": ".txt"}),
        Document("a/🎉 party.txt", "Come!\r\n", meta_of("a/🎉 party.txt", 10)),
        Document("b.md", "# Notes", meta_of("b.md", 7)),
    ]


NAMES = st.text("ab./ -é", min_size=1, max_size=8).map(lambda name: name + ".txt")


@given(names=st.lists(NAMES, max_size=12), size=st.integers(1, 5))
@settings(max_examples=50)
def test_paths_come_sorted_in_shards_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], size: int
) -> None:
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        path = folder / Path(name.lstrip("/"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        except OSError:
            continue  # one name is both a file and a folder
    found = (path.relative_to(folder.resolve()) for path in folder.resolve().rglob("*.txt"))
    shown = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    expected = sorted(p.as_posix() for p in shown if (folder / p).is_file())
    assert ids(rows_of(FolderSource(folder), size)) == expected


def test_patterns(write: Write, tmp_path: Path) -> None:
    for name in ("a.txt", "2024/B.TXT", "2024/c.md", "d.csv", "e"):
        write(name, "id,text\n1,x\n")
    chosen = open_source(tmp_path, patterns=["*.txt"])
    assert ids(rows_of(chosen)) == ["2024/B.TXT", "a.txt"]
    assert ids(rows_of(FolderSource(tmp_path, ("2024/*",)))) == ["2024/B.TXT", "2024/c.md"]
    table, bare = rows_of(FolderSource(tmp_path, ("*.csv", "e")))
    assert table == BadRow(
        "d.csv",
        "d.csv",
        "no text is read from files named .csv; "
        "known: .txt, .txt.gz, .md, .html, .htm, .pdf, .docx",
    )
    assert reason(bare).startswith("no text is read from files named ...; known:")


def test_bad_files_keep_their_neighbours(write: Write, tmp_path: Path) -> None:
    write("a.txt", "first")
    write("b.txt", "")
    write("c.txt", b"caf\xe9")
    write("d.txt", "a\0b")
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    write("f.docx", b"no zip")
    write("g.pdf", b"%PDF-1.4 broken")
    write("h.pdf", b"")
    write("i.html", "<nav>menu</nav>")
    write("z.txt", "last")
    first, *bad, last = rows_of(FolderSource(tmp_path), 3)
    assert isinstance(first, Document)
    assert isinstance(last, Document)
    assert (first.text, last.text) == ("first", "last")
    assert {row.id: reason(row).partition(";")[0] for row in bad} == {
        "b.txt": "the text is empty",
        "c.txt": "not UTF-8 (byte 0xe9 at offset 3)",
        "d.txt": "the text has NUL (U+0000) at offset 1",
        "e.txt.gz": "Compressed file ended before the end-of-stream marker was reached",
        "f.docx": "not a DOCX file: damaged, encrypted, or an old .doc",
        "g.pdf": reason(bad[5]),
        "h.pdf": reason(bad[6]),
        "i.html": "the text is empty",
    }
    assert reason(bad[5]).startswith("a PDF that cannot be read (Pdf")
    assert reason(bad[6]).startswith("a PDF that cannot be read (EmptyFileError")


def test_a_text_that_is_too_large(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "LARGEST_TEXT", 10)
    for name in ("a.txt", "b.txt.gz", "c.html"):
        (row,) = rows_of(open_source(write(name, "x" * 11)))
        assert reason(row) == "more than 0 MiB of text; split the file"
    (row,) = rows_of(open_source(write("a.txt", "x" * 10)))
    assert isinstance(row, Document)


@needs_links
def test_links(write: Write, tmp_path: Path) -> None:
    write("outside/secret.txt", "secret")
    write("docs/a/real.txt", "real")
    write("docs/.versions/2/new.txt", "new")
    docs = tmp_path / "docs"
    (docs / "again.txt").symlink_to(docs / "a" / "real.txt")
    (docs / "b").symlink_to("a")
    (docs / "c").symlink_to("a")  # the second link to that folder
    (docs / "a" / "up").symlink_to(docs)
    (docs / "current").symlink_to(".versions/2")
    (docs / "gone.txt").symlink_to("nowhere.txt")
    (docs / "loop.txt").symlink_to("loop.txt")
    (docs / "out").symlink_to(tmp_path / "outside")
    (docs / "out.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    rows = rows_of(FolderSource(docs))
    texts = {row.id: row.text for row in rows if isinstance(row, Document)}
    assert texts == {
        "a/real.txt": "real",
        "again.txt": "real",
        "b/real.txt": "real",
        "current/new.txt": "new",
    }
    bad = {row.id: row.reason for row in rows if isinstance(row, BadRow)}
    assert bad.pop("gone.txt") == "a link that leads nowhere (No such file or directory)"
    assert bad.pop("loop.txt").startswith("a link that leads nowhere (")
    assert bad == dict.fromkeys(
        ("out", "out.txt"), "a link out of the folder; expected a file inside it"
    )


@needs_links
def test_a_shard_cannot_name_what_lies_outside(write: Write, tmp_path: Path) -> None:
    write("secret.txt", "secret")
    write("docs/a.txt", "a")
    source = FolderSource(tmp_path / "docs")
    for path in ("../secret.txt", str(tmp_path / "secret.txt")):
        (row,) = source.read(Shard(0, {"paths": [path]}, 1))
        assert reason(row).startswith("a link out of the folder")


@needs_links
def test_files_that_cannot_be_read(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.txt", "a")
    write("closed/b.txt", "b")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    listed = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = FolderSource(tmp_path)
    first, name, closed, pipe = rows_of(source)
    assert isinstance(first, Document)
    assert closed == BadRow("closed", "closed", "cannot be read (Permission denied)")
    assert reason(pipe) == "a pipe, a socket or a device; expected a file"
    assert name == BadRow(
        None,
        "caf\\xe9.txt",
        "the path has a lone surrogate (U+DCE9) at offset 3; "
        "expected text that UTF-8 and every database can hold",
    )
    shard = next(iter(source.shards()))
    (tmp_path / "a.txt").unlink()
    gone = next(iter(source.read(shard)))
    assert gone == BadRow("a.txt", "a.txt", "cannot be read (No such file or directory)")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(write: Write, tmp_path: Path) -> None:
    write("a.txt", "a").chmod(0)
    (row,) = rows_of(FolderSource(tmp_path))
    assert reason(row) == "cannot be read (Permission denied)"


def test_one_file(write: Write) -> None:
    path = write("notes.md", "# Notes\n")
    os.utime(path, (MODIFIED.timestamp(),) * 2)
    source = open_source(str(path))
    assert isinstance(source, FileSource)
    assert rows_of(source) == [Document("notes.md", "# Notes\n", meta_of("notes.md", 8))]


# Extractors ----------------------------------------------------------------------------------


def text_of(path: Path) -> tuple[str, dict[str, Any]]:
    (row,) = rows_of(open_source(path))
    assert isinstance(row, Document), row
    own = ("path", "suffix", "bytes", "modified")
    return row.text, {key: value for key, value in row.meta.items() if key not in own}


def test_html(write: Write) -> None:
    page = """<!doctype html><html><head><title> Rain &amp;
        snow </title><style>p {}</style></head><body>
        <nav><a href="/">Home</a></nav><script>bad('<p>')</script>
        <h1>Weather</h1>It <b>r</b>ained<!-- not --> in
        Paris.<p>Then<br>it stopped.<ul><li>one<li>two</ul>
        <table><tr><td>1<td>2<tr><td>3<td>4</table><pre>a
        b</pre><template><p>unseen</template><svg><text>x</text></svg>&lt;end&gt;"""
    assert text_of(write("a.html", page)) == (
        "Weather\n\nIt rained in Paris.\n\nThen\nit stopped.\n\none\ntwo\n\n"
        "1\t2\n3\t4\n\na\nb\n\n<end>",
        {"title": "Rain & snow"},
    )


def test_html_that_is_hard_to_parse(write: Write) -> None:
    deep = "<div>" * 3000 + "deep" + "</div>" * 3000 + "<p>after"
    assert text_of(write("a.htm", deep)) == ("deep\n\nafter", {})
    assert text_of(write("a.htm", "no tags < at all")) == ("no tags < at all", {})
    long = "a" + " " * 300_000 + "b"
    assert text_of(write("a.htm", f"<pre>{long}</pre>")) == (long, {})
    (row,) = rows_of(open_source(write("a.htm", "<frameset><frame></frameset>")))
    assert reason(row).startswith("the text is empty")


def test_pdf(write: Write) -> None:
    path = write("a.pdf", pdf("The first page.", "The second.", title=" Two  pages "))
    assert text_of(path) == ("The first page.\n\nThe second.", {"pages": 2, "title": "Two pages"})
    assert text_of(write("b.pdf", pdf("One", title="\0"))) == ("One", {"pages": 1})


def test_pdf_that_is_encrypted(write: Write) -> None:
    (row,) = rows_of(open_source(write("a.pdf", pdf("Secret", password="x"))))
    assert row == BadRow("a.pdf", "a.pdf", "encrypted; save it without a password")
    # Only the rights to change it are locked: every viewer opens it.
    path = write("b.pdf", pdf("Open", password="x", user_password=""))
    assert text_of(path) == ("Open", {"pages": 1})


def test_pdf_without_text(write: Write) -> None:
    (row,) = rows_of(open_source(write("a.pdf", pdf("", " "))))
    assert reason(row) == "no text on 2 pages: scanned? Run character recognition first"


def test_pdf_with_a_broken_page(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other pages are not passed off as the whole."""
    from pypdf import PageObject

    whole = PageObject.extract_text

    def fail_on_second(page: Any) -> str:
        if page.page_number == 1:
            raise KeyError("/Contents")
        return whole(page)

    monkeypatch.setattr(PageObject, "extract_text", fail_on_second)
    (row,) = rows_of(open_source(write("a.pdf", pdf("One", "Two", "Three"))))
    assert reason(row) == "page 2 of 3 cannot be read (KeyError: '/Contents')"


def test_docx(write: Write) -> None:
    def build(document: Any) -> None:
        from docx.oxml import parse_xml
        from docx.oxml.ns import nsdecls

        document.add_heading("Rain", 1)
        document.add_paragraph("It fell.")
        table = document.add_table(2, 3)
        for row, texts in zip(table.rows, (("a", "b", "c"), ("d", "", "f")), strict=True):
            for cell, text in zip(row.cells, texts, strict=True):
                cell.text = text
        table.cell(0, 0).merge(table.cell(0, 1))
        table.cell(1, 2).add_table(1, 1).cell(0, 0).text = "inner"
        document.add_paragraph("After\tit.")
        document.element.body.insert(
            0,
            parse_xml(
                f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p><w:r><w:t>Cover</w:t></w:r></w:p>"
                "</w:sdtContent></w:sdt>"
            ),
        )

    text = "Cover\n\nRain\n\nIt fell.\n\na b\tc\nd\t\tf inner\n\nAfter\tit."
    assert text_of(write("a.docx", docx(build, "On rain"))) == (text, {"title": "On rain"})


def test_docx_that_is_damaged(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as parts:
        parts.writestr("a.txt", "x" * 2_000_000)
    (row,) = rows_of(open_source(write("a.docx", file.getvalue())))
    assert reason(row).startswith("a DOCX file that cannot be read (")
    monkeypatch.setattr(extracting, "LARGEST_DOCX", 2**20)
    (row,) = rows_of(open_source(write("a.docx", file.getvalue())))
    assert reason(row) == "unpacks to 1 MiB; expected at most 1 MiB"
    (row,) = rows_of(open_source(write("b.docx", docx(lambda document: None))))
    assert reason(row).startswith("the text is empty")


@pytest.mark.parametrize(
    ("name", "module"),
    [("a.html", "selectolax"), ("a.pdf", "pypdf"), ("a.docx", "docx"), ("a.parquet", "pyarrow")],
)
def test_a_library_that_is_absent_stops_the_job(
    write: Write, name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(name, "x")
    for loaded in [key for key in sys.modules if key.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"'{module}.*nlpkit-bert\[files\]"):
        rows_of(open_source(path))


# Databases -----------------------------------------------------------------------------------

QUERY = "SELECT id, title, body, stars FROM articles"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE articles (id, title TEXT, body TEXT, stars REAL)")
        connection.executemany(
            "INSERT INTO articles VALUES (?, ?, ?, ?)",
            [(n, f"Title {n}", f"Body: {n}%", n / 2) for n in (3, 1, 2, 5, 4)],
        )
    return path


def shop(database: Path, query: str = QUERY, **options: Any) -> DocumentSource:
    options = {"text_column": ["title", "body"], **options}
    return open_source(f"sqlite:///{database}", query=query, **options)


def execute(database: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_the_rows_of_a_query(database: Path, size: int) -> None:
    expected = [Document(str(n), f"Title {n} Body: {n}%", {"stars": n / 2}) for n in range(1, 6)]
    assert rows_of(shop(database), size) == expected


@given(
    given_ids=st.lists(
        st.one_of(st.none(), st.integers(-3, 3), st.text("aA é'", max_size=2)), max_size=12
    ),
    size=st.integers(1, 5),
)
@settings(max_examples=50)
def test_ranges_of_any_ids_hold_every_row_once(
    scratch: Path, given_ids: list[Any], size: int
) -> None:
    """Equal ids, none at all, numbers among strings: no row is lost or read twice."""
    path = scratch / "ids.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE rows (id, text TEXT)")
        values = [(id, f"text {n}") for n, id in enumerate(given_ids)]
        connection.executemany("INSERT INTO rows VALUES (?, ?)", values)
    source = SqlSource(f"sqlite:///{path}", "SELECT id, text FROM rows")
    got = rows_of(source, size)
    good = sorted(row.text for row in got if isinstance(row, Document))
    usable = [n for n, id in enumerate(given_ids) if id is not None and str(id).strip()]
    assert good == sorted(f"text {n}" for n in usable)
    assert len(got) == len(given_ids)


def test_bad_rows_of_a_query(database: Path) -> None:
    execute(database, "INSERT INTO articles VALUES (2.5, 'a', 'b', 0), (NULL, 'a', 'b', 0)")
    execute(database, "INSERT INTO articles VALUES (x'ff', 'a', 'b', 0), (9, NULL, '', 0)")
    rows = rows_of(shop(database), 2)
    assert [row for row in rows if isinstance(row, BadRow)] == [
        BadRow(None, "the row of id 2.5", "the id is float 2.5; expected a string or an integer"),
        BadRow(
            "9",
            "the row of id 9",
            "the text is empty; expected at least one character that is no space",
        ),
        BadRow(
            None,
            r"the row of id b'\xff'",
            r"the id is bytes b'\xff'; expected a string or an integer",
        ),
        BadRow(
            None, "row 1 of those without id", "the id is none; expected a string or an integer"
        ),
    ]
    assert [row.id for row in rows if isinstance(row, Document)] == list("12345")


@pytest.mark.parametrize(
    "query",
    [
        f"{QUERY};",
        f"  {QUERY} ; -- all of them; really",
        f"/* a; b */ {QUERY} -- the end",
        f"WITH a AS ({QUERY}) SELECT * FROM a",
        f"{QUERY} WHERE title <> ';' AND body <> ' :name' AND 'x''y' <> '%s'",
        'SELECT id, title, body, stars AS "a;b:c" FROM articles',
    ],
)
def test_queries(database: Path, query: str) -> None:
    assert ids(rows_of(shop(database, query))) == list("12345")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "DELETE FROM articles",
        f"{QUERY}; DELETE FROM articles",
        "SELECT 1) nlpkit_rows; DELETE FROM articles; --",
        "SELECT 1) UNION (SELECT 2",
        "PRAGMA user_version",
        "selection",
    ],
)
def test_what_is_not_a_single_select(database: Path, query: str) -> None:
    with pytest.raises(InputError, match=r"the query is .*; expected a single SELECT"):
        shop(database, query)


def test_errors_of_the_database(database: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shop\.db: no such table: absent"):
        rows_of(shop(database, "SELECT * FROM absent"))
    with pytest.raises(InputError, match="no column 'body'; its columns: 'id', 'title'"):
        rows_of(shop(database, "SELECT id, title FROM articles"))
    with pytest.raises(InputError, match=r"none\.db: no such file"):
        rows_of(shop(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()
    write = tmp_path / "not.db"
    write.write_text("no database at all, just text" * 100)
    with pytest.raises(InputError, match="not a database"):
        rows_of(shop(write))


def test_the_database_is_only_read(database: Path) -> None:
    from sqlalchemy import text

    source = SqlSource(f"sqlite:///{database}", QUERY, text_column="body")
    with source._connected() as connection, pytest.raises(Exception, match="readonly"):
        connection.execute(text("DELETE FROM articles"))


def test_a_password_is_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SqlSource("postgresql+psycopg://ada:s3cret@db.example:5433/shop", QUERY)
    shown = f"{source!r} {source} {source.name} {json.dumps(source.to_json())}"
    assert "s3cret" not in shown
    assert source.url == "postgresql+psycopg://ada@db.example:5433/shop"
    again = open_source(source.to_json())
    assert again == source
    assert isinstance(again, SqlSource)
    assert (source._password, again._password) == ("s3cret", None)


def test_a_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is taken out of what the database says."""
    import sqlalchemy

    seen = []

    def engine(url: sqlalchemy.URL, **options: Any) -> sqlalchemy.Engine:
        seen.append(url.password)
        raise sqlalchemy.exc.ArgumentError(f"cannot use {url.password}")

    monkeypatch.setattr(sqlalchemy, "create_engine", engine)
    monkeypatch.setenv("NLPKIT_SOURCE_PASSWORD", "other")
    for url in ("postgresql+psycopg://ada@db/shop", "postgresql+psycopg://ada:own@db/shop"):
        with pytest.raises(InputError, match=r"ada@db/shop: cannot use \*\*\*"):
            list(SqlSource(url, QUERY).shards())
    assert seen == ["other", "own"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://ada@db/shop?password=s3cret", "option 'password' holds a secret"),
        ("mssql+pyodbc://?odbc_connect=UID=a;PWD=s3cret", "option 'odbc_connect' holds a secret"),
        ("postgresql://ada:s3cret@db:port/shop", "the URL of the database cannot be read"),
        ("sqlite://", "in memory"),
        ("nosuch://ada:s3cret@db/shop", "nosuch"),
    ],
)
def test_urls_that_cannot_be_used(url: str, said: str) -> None:
    with pytest.raises(NlpkitError) as caught:
        list(open_source(url, query=QUERY).shards())
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_driver_that_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"nlpkit-bert\[postgres\]"):
        list(SqlSource("postgresql+psycopg://ada@db/shop", QUERY).shards())
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(InputError, match="needs the module 'pymysql'"):
        list(SqlSource("mysql+pymysql://ada@db/shop", QUERY).shards())


def test_another_query_is_another_source(database: Path) -> None:
    first, second = shop(database), shop(database, "SELECT id, title FROM articles")
    assert first.name != second.name
    assert first.name == f"{shop(database).name}"
    assert shop(database, name="shop").name == "shop"


# Opening -------------------------------------------------------------------------------------


def test_sources_open_again_in_another_process(write: Write, database: Path) -> None:
    folder = database.parent
    table = write("a.csv", csv_of(REVIEWS))
    note = write("n.txt", "x")
    sources: list[DocumentSource] = [
        FolderSource(folder, ("*.txt", "b/*"), "docs"),
        FileSource(note),
        TableSource(table, ("text", "stars"), None, "\n"),
        shop(database),
    ]
    for source in sources:
        again = open_source(json.loads(json.dumps(source.to_json())))
        assert again == source
        assert type(again) is type(source)
        assert pickle.loads(pickle.dumps(source)) == source
    program = (
        "import json, sys; from nlpkit.sources import open_source\n"
        "for value in json.load(sys.stdin): print(repr(open_source(value)))"
    )
    given_json = json.dumps([source.to_json() for source in sources])
    run = subprocess.run(
        [sys.executable, "-c", program],
        input=given_json,
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert run.stdout.splitlines() == [repr(source) for source in sources]


def test_names_are_places(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("docs/a.csv", csv_of(REVIEWS))
    monkeypatch.chdir(tmp_path)
    assert open_source("docs").name == f"folder:{tmp_path / 'docs'}"
    assert open_source("docs/../docs/a.csv").name == f"table:{tmp_path / 'docs' / 'a.csv'}"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source("~/docs") == open_source(tmp_path / "docs")
    assert open_source("docs", name="mine").name == "mine"


def test_what_nobody_can_open(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown source 'scifakt'; known: folder, scifact"):
        open_source("scifakt")
    with pytest.raises(
        InputError, match=r"no such file or folder; known are folders, files \(\.csv"
    ):
        open_source(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="nobody can read such a file"):
        open_source(write("a.xls", "x"))
    with pytest.raises(InputError, match="needs query="):
        open_source("sqlite:///shop.db")
    with pytest.raises(InputError, match="https:// addresses are not read"):
        open_source("https://example.org/a.csv")
    with pytest.raises(InputTypeError, match="got int: 3"):
        open_source(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="takes no option 'query'; known: patterns, name"):
        open_source(tmp_path, query=QUERY)
    with pytest.raises(UnknownNameError, match="unknown kind of source 'web'; known: file, folder"):
        open_source({"kind": "web"})
    with pytest.raises(InputError, match=r"not a source's to_json\(\): KeyError 'path'"):
        open_source({"kind": "folder"})


def test_shards_of_no_rows(write: Write, database: Path) -> None:
    table = write("a.csv", csv_of(REVIEWS))
    for source in (open_source(table), open_source(database.parent), shop(database)):
        with pytest.raises(InputError, match="the shard size is 0; expected at least 1"):
            next(iter(source.shards(0)))
    for gone in (
        FolderSource(Path("/none")),
        FileSource(Path("/none.txt")),
        TableSource(Path("/none.csv")),
    ):
        with pytest.raises(InputError, match=r"/none.*: [Nn]o such file"):
            next(iter(gone.shards()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: TableSource(Path("a.csv"), ()),
        lambda: TableSource(Path("a.csv"), ("",)),
        lambda: TableSource(Path("a.txt")),
        lambda: FolderSource(Path("a"), (3,)),  # type: ignore[arg-type]
        lambda: SqlSource("sqlite:///a.db", 3),  # type: ignore[arg-type]
    ],
)
def test_options_that_cannot_be_used(make: Callable[[], DocumentSource]) -> None:
    with pytest.raises(NlpkitError, match=r"expected|must be"):
        make()


# Recipes -------------------------------------------------------------------------------------


def test_a_recipe_of_a_path(write: Write, tmp_path: Path) -> None:
    write("docs/a.txt", "a")
    path = write(
        "mine.py",
        "from pathlib import Path\n"
        "from nlpkit.sources import FolderSource, IndexRecipe\n"
        "def recipe():\n"
        f"    source = FolderSource(Path({str(tmp_path / 'docs')!r}), name='mine')\n"
        "    return IndexRecipe('mine', 'My notes', source, chunk_tokens=64)\n",
    )
    recipe = load_index_recipe(path)
    assert (recipe.name, recipe.chunk_tokens, recipe.kind, recipe.hybrid) == (
        "mine",
        64,
        "auto",
        True,
    )
    assert open_recipe(str(path)) == recipe
    assert open_source(path) == FolderSource(tmp_path / "docs", name="mine")
    with pytest.raises(InputError, match="takes no options, got name"):
        open_source(path, name="other")


def test_recipes_that_cannot_be_used(write: Write, tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match="unknown recipe 'none'; known: folder, scifact, sql"
    ):
        load_index_recipe("none")
    with pytest.raises(InputError, match="no such recipe file"):
        load_index_recipe(tmp_path / "none.py")
    with pytest.raises(InputError, match=r"no function recipe\(\)"):
        load_index_recipe(write("a.py", "x = 1\n"))
    with pytest.raises(InputError, match=r"recipe\(\) gave int, expected an IndexRecipe"):
        load_index_recipe(write("b.py", "def recipe():\n    return 3\n"))


def test_a_recipe_and_a_folder_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scifact").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"for that, \./scifact"):
        open_source("scifact")
    assert open_source("./scifact") == FolderSource(tmp_path / "scifact")


def test_a_source_without_a_recipe_is_indexed_as_usual(tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    assert open_recipe(tmp_path) == IndexRecipe(source.name, f"Documents of {source.name}", source)


@pytest.mark.parametrize("name", sorted(index_recipes()))
def test_loading_a_recipe_looks_for_no_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NLPKIT_DATA", raising=False)
    assert load_index_recipe(name).name == name


def test_the_templates_work(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("documents/a.md", "Notes")
    write("reviews.csv", "id,title,text,stars\n1,Good,It works.,5\n")
    execute(tmp_path / "shop.db", "CREATE TABLE articles (id, title, body, author, published)")
    execute(tmp_path / "shop.db", "INSERT INTO articles VALUES (1, 'T', 'B', 'Ada', '2024-01-01')")
    execute(tmp_path / "shop.db", "INSERT INTO articles VALUES (2, 'T', 'B', 'Ada', NULL)")
    assert ids(rows_of(open_source("folder"))) == ["a.md"]
    assert rows_of(open_source("table")) == [Document("1", "Good It works.", {"stars": 5})]
    meta = {"author": "Ada", "published": "2024-01-01"}
    assert rows_of(open_source("sql")) == [Document("1", "T B", meta)]


def test_scifact(data_folder: Path) -> None:
    recipe = load_index_recipe("scifact")
    rows = rows_of(recipe.open(), 500)
    assert len(rows) == recipe.expected["documents"]
    assert all(isinstance(row, Document) for row in rows)
    assert isinstance(rows[0], Document)
    assert rows[0].id == "4983"
    assert rows[0].text.startswith("Microstructural development of human newborn cerebral")
    assert rows[0].meta == {}


def test_importing_sources_is_light() -> None:
    program = "import nlpkit.sources, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"pandas", "pyarrow", "pypdf", "docx", "lxml", "selectolax", "sqlalchemy", "numpy"}
    assert heavy & {name.partition(".")[0] for name in run.stdout.split()} == set()
