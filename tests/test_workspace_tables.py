"""Tables: what is detected of a file, what is shown of it, and what is said of a bad one."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from datetime import date, datetime
from itertools import islice
from typing import Any

import pytest
from openpyxl import Workbook
from workspaces import as_csv, as_jsonl, as_parquet, as_xlsx, reviews

from nlpkit.errors import DataError, InputError, NlpkitError
from nlpkit.workspace import Preview, Reading, SetAside, Workspace, guess_reading, preview
from nlpkit.workspace.dates import WAYS, day_of, guess_way
from nlpkit.workspace.tables import Table, open_table

ROWS = reviews(30)
FILES: dict[str, Callable[[Any], bytes]] = {
    "a.csv": as_csv,
    "a.csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "a.tsv": lambda rows: as_csv(rows, "\t"),
    "a.jsonl": as_jsonl,
    "a.ndjson": as_jsonl,
    "a.parquet": as_parquet,
    "a.xlsx": as_xlsx,
}


def seen(workspace: Workspace, name: str, data: bytes, **options: Any) -> Preview:
    return preview(workspace.add_upload(name, data), **options)


@pytest.mark.parametrize("name", FILES)
def test_a_preview_of_each_kind_of_file(workspace: Workspace, name: str) -> None:
    found = seen(workspace, name, FILES[name](ROWS), n=5)
    assert found.columns == ("shop", "review", "day", "stars")
    assert (found.text_column, found.text_columns) == ("review", ("review", "shop"))
    assert found.date_columns == {"day": "2024-12-31"}
    untyped = found.reading.format == "csv"
    expected = [{n: str(v) if untyped else v for n, v in row.items()} for row in ROWS[:5]]
    assert list(found.rows) == expected
    assert found.bad == ()
    is_excel = name == "a.xlsx"
    assert found.sheets == (("Sheet", "Reviews") if is_excel else ())
    # The first of the two has nothing below its header.
    assert found.reading.sheet == ("Reviews" if is_excel else "")


@pytest.mark.parametrize("name", FILES)
def test_a_table_is_entered_anywhere(workspace: Workspace, name: str) -> None:
    upload = workspace.add_upload(name, FILES[name](ROWS))
    reading = guess_reading(upload)
    table = open_table(upload, reading)
    places = list(table.places(7))
    assert [place.n_rows for place in places] == [7, 7, 7, 7, 2]
    read = [row for place in reversed(places) for row in table.rows(place.spec, place.n_rows)]
    texts = [fields["review"] for _, fields in read if not isinstance(fields, str)]
    assert sorted(texts) == sorted(row["review"] for row in ROWS)
    first = next(iter(table.rows(places[1].spec, 1)))[0]
    assert first == {"csv": "line 9", "xlsx": "row 9"}.get(
        reading.format, "row 8" if reading.format == "parquet" else "line 8"
    )


# -- CSV -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("text", ["plain", "a, b; c | d\te", 'with "quotes"\nand lines'])
def test_the_delimiter_is_detected(workspace: Workspace, delimiter: str, text: str) -> None:
    rows = [{"id": i, "review": f"{text} {i}", "stars": 3} for i in range(20)]
    found = seen(workspace, "a.csv", as_csv(rows, delimiter))
    assert found.reading == Reading("csv", delimiter)
    assert [row["review"] for row in found.rows] == [row["review"] for row in rows]


def test_one_column_needs_no_delimiter(workspace: Workspace) -> None:
    assert seen(workspace, "a.csv", b"review\ngood\nbad\n").columns == ("review",)


@pytest.mark.parametrize(
    ("encoding", "text", "detected"),
    [
        ("utf-8", "Äpfel für 5 € – naïve", True),
        ("utf-8-sig", "Äpfel für 5 € – naïve", True),
        ("utf-16", "Äpfel für 5 € – naïve", True),
        ("utf-16-le", "Äpfel für 5 € – naïve", True),
        ("cp1252", "Äpfel für 5 € – naïve", True),
        ("cp1251", "Хорошо, но дорого", False),
        ("shift_jis", "とても良い", False),
        ("gb18030", "非常好", False),
    ],
)
def test_encodings(workspace: Workspace, encoding: str, text: str, detected: bool) -> None:
    rows = [{"id": i, "review": f"{text} {i}"} for i in range(9)]
    upload = workspace.add_upload("a.csv", as_csv(rows, ";").decode().encode(encoding))
    reading = guess_reading(upload) if detected else Reading("csv", ";", encoding)
    for _ in range(2):  # the second time from the file that the first has left
        found = preview(upload, 9, reading)
        assert found.columns == ("id", "review")
        assert [row["review"] for row in found.rows] == [row["review"] for row in rows]


def test_a_wrong_encoding_says_so_or_shows_it(workspace: Workspace) -> None:
    upload = workspace.add_upload("a.csv", "id,review\n1,とても良い\n".encode("shift_jis"))
    with pytest.raises(InputError, match=r"a\.csv is not written in .*choose another encoding"):
        preview(upload, reading=Reading("csv", encoding="euc_kr"))
    assert list(upload.folder.iterdir()) == [upload.path], "a half-written file was left"


def test_a_few_damaged_lines_leave_a_file_utf8(workspace: Workspace) -> None:
    lines = ["id,review", *(f"{i},schön" for i in range(9))]
    data = "\n".join(lines).encode() + b"\n9,sch\xf6n\n10,last\n"
    found = seen(workspace, "a.csv", data)
    assert found.reading.encoding == "utf-8"
    assert found.bad == (SetAside("line 11", "not UTF-8 (byte 0xf6); save the file as UTF-8"),)
    assert len(found.rows) == 10


def test_unknown_ways_to_read_are_refused() -> None:
    with pytest.raises(InputError, match=r"encoding is 'klingon'; expected one of 'utf-8'"):
        Reading("csv", encoding="klingon")
    with pytest.raises(InputError, match="delimiter is 'x'"):
        Reading("csv", delimiter="x")
    with pytest.raises(InputError, match="format is 'xls'"):
        Reading("xls")


# -- Excel -----------------------------------------------------------------------------------------


def workbook(*rows: list[Any], name: str = "Data") -> bytes:
    book = Workbook()
    assert book.active is not None
    book.active.title = name
    for row in rows:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_cells_of_excel(workspace: Workspace) -> None:
    data = workbook(
        [],
        [None, "text ", "when", "n", None],
        [None, "good\nphone", date(2024, 3, 1), 1.5, None],
        [],
        [None, "=1+1", datetime(2024, 3, 1, 12, 30), 7, "surplus"],
        [None, None, None, True, None],
    )
    upload = workspace.add_upload("a.xlsx", data)
    found = preview(upload)
    assert found.sheets == ("Data",)
    assert found.columns == ("text", "when", "n", "column E")
    assert found.rows[0] == {"text": "good\nphone", "when": "2024-03-01", "n": 1.5}
    # The formula was never computed, so there is no value.
    late = {"text": None, "when": "2024-03-01T12:30:00", "n": 7, "column E": "surplus"}
    assert found.rows[1] == late
    table = open_table(upload, found.reading)
    read = table.head(10)
    assert [place for place, _ in read] == ["row 3", "row 5", "row 6"]
    assert [fields for _, fields in read] == list(found.rows)


def test_sheets_are_chosen_by_name(workspace: Workspace) -> None:
    upload = workspace.add_upload("a.xlsx", as_xlsx(ROWS))
    assert preview(upload, reading=Reading("xlsx", sheet="Reviews")).columns[1] == "review"
    for use in (preview, lambda u, reading: open_table(u, reading)):
        with pytest.raises(InputError, match=r"no sheet 'None'; its sheets: 'Sheet', 'Reviews'"):
            use(upload, reading=Reading("xlsx", sheet="None"))


def test_large_sheets_are_shown_by_their_beginning(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlpkit.workspace import excel

    upload = workspace.add_upload("a.xlsx", workbook(["n"], *([i] for i in range(3000))))
    read: list[int] = []

    def counting(*arguments: Any) -> Any:
        for row in islice(excel_rows(*arguments), None):
            read.append(row[0])
            yield row

    excel_rows = excel.rows_of
    monkeypatch.setattr(excel, "rows_of", counting)
    preview(upload)
    assert len(read) == 501  # one of them to choose the sheet


# -- what cannot be read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"review\n", "holds no rows; expected at least one below the header"),
        ("a.csv", b"\n\n", "the file is empty; expected a header"),
        ("a.csv", b"a,b,a\n1,2,3\n", "two columns 'a'.*; give each a name of its own"),
        ("a.jsonl", b"\n", "holds no rows"),
        ("a.parquet", b"PAR1 nothing PAR1", "whole file: .*; expected a Parquet file"),
        ("a.parquet", as_parquet(ROWS)[:-20], "expected a Parquet file"),
        ("a.csv.gz", gzip.compress(as_csv(ROWS))[:-9], "expected a whole gzip file"),
        ("a.xlsx", b"PK nothing", "cannot be opened .*; expected an Excel workbook"),
        ("a.xlsx", as_xlsx(ROWS)[:-300], "expected an Excel workbook"),
        ("a.xlsx", workbook(["a", "a"], [1, 2]), "two columns 'a'; give each a name"),
        ("a.xlsx", workbook(), "holds no rows"),
        ("a.txt", b"a text", "no table; expected CSV, Excel"),
    ],
)
def test_bad_files_get_a_sentence(
    workspace: Workspace, name: str, data: bytes, message: str
) -> None:
    with pytest.raises((InputError, DataError), match=rf"^{name}.*{message}") as caught:
        seen(workspace, name, data)
    assert str(workspace.folder) not in str(caught.value)


def test_bad_rows_are_shown_with_their_reason(workspace: Workspace) -> None:
    found = seen(workspace, "a.csv", b"id,review\n1,good\n2\n3,bad,surplus\n4,fair\n")
    assert [row["id"] for row in found.rows] == ["1", "4"]
    assert [one.place for one in found.bad] == ["line 3", "line 4"]
    assert found.bad[0].reason == "1 columns; expected 2, as in the header"


def test_a_file_that_is_gone(workspace: Workspace) -> None:
    upload = workspace.add_upload("a.csv", as_csv(ROWS))
    upload.path.unlink()
    with pytest.raises(InputError, match=r"a\.csv is no longer there; upload it again"):
        preview(upload)


def test_a_table_tells_no_path(workspace: Workspace) -> None:
    upload = workspace.add_upload("a.csv", as_csv(ROWS))
    table: Table = open_table(upload, Reading("csv"))
    upload.path.unlink()
    with pytest.raises(NlpkitError, match=r"^a\.csv: No such file"):
        table.columns()


# -- dates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "way", "days"),
    [
        (["2024-02-29", "2024-12-01T10:00:00Z", ""], "2024-12-31", ["2024-02-29", "2024-12-01"]),
        (["2/3/2024", "2/13/2024"], "12/31/2024", ["2024-02-03", "2024-02-13"]),
        (["2/3/2024", "13/2/2024"], "31/12/2024", ["2024-03-02", "2024-02-13"]),
        (["01.02.2024 08:15", "31.12.1999"], "31.12.2024", ["2024-02-01", "1999-12-31"]),
        (["Feb 3, 2024", "Dec 31, 2023"], "Dec 31, 2024", ["2024-02-03", "2023-12-31"]),
        (["3 February 2024"], "31 December 2024", ["2024-02-03"]),
        (["12/31/24 11:59 PM"], "12/31/24", ["2024-12-31"]),
        ([1706918400, 1706918400.5], "seconds since 1970", ["2024-02-03", "2024-02-03"]),
        (["1706918400000"], "milliseconds since 1970", ["2024-02-03"]),
        (["20240203"], "20241231", ["2024-02-03"]),
    ],
)
def test_ways_to_write_a_date(values: list[Any], way: str, days: list[str]) -> None:
    assert guess_way(values) == way
    assert way in WAYS
    assert [day_of(value, way) for value in values if value != ""] == days


@pytest.mark.parametrize(
    "values", [[], [None, ""], ["good", "bad"], [1, 2, 5], ["2024-13-01"], ["7"], [True], ["1.5"]]
)
def test_what_is_no_date(values: list[Any]) -> None:
    assert guess_way(values) is None


def test_most_of_a_column_decides() -> None:
    assert guess_way(["2024-01-01"] * 8 + ["unknown"] * 2) == "2024-12-31"
    assert guess_way(["2024-01-01"] * 7 + ["unknown"] * 3) is None
    assert day_of("unknown", "2024-12-31") is None
