"""Batches: what a worker makes of a table is what nlpkit says of its texts, called directly."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tiny import assert_same
from workspaces import (
    as_csv,
    as_jsonl,
    as_parquet,
    as_xlsx,
    reviews,
    some_batch,
    worked,
)

from nlpkit.errors import InputError, StoreError, UnknownNameError
from nlpkit.pipeline import Pipeline
from nlpkit.workspace import (
    Batch,
    BatchRow,
    EntityCount,
    Filters,
    Reading,
    State,
    Workspace,
    open_workspace,
    read_batch,
    start_batch,
)

ROWS = reviews(60)
FILES: dict[str, Callable[[Any], bytes]] = {
    "a.csv": as_csv,
    "a.jsonl": as_jsonl,
    "a.parquet": as_parquet,
    "a.xlsx": as_xlsx,
}


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and parts that a small table has several of."""
    monkeypatch.setattr(read_batch, "PAGE_ROWS", 8)
    monkeypatch.setattr(read_batch, "PART_ROWS", 20)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, empty_workspace: Path) -> Iterator[Batch]:
    """A batch of all of ROWS, read; look at it, don't change it."""
    folder = tmp_path_factory.mktemp("done") / "workspace"
    with open_workspace(shutil.copytree(empty_workspace, folder)) as workspace:
        batch = some_batch(workspace, as_parquet(ROWS), "reviews.parquet", date_column="day")
        assert worked(batch).state == State.DONE
        yield batch


def assert_read(batch: Batch, rows: list[dict[str, Any]], kit: Pipeline) -> None:
    """The batch holds these rows, in order, each with what the pipeline says of its text."""
    found = batch.rows(limit=None)
    assert [one.text for one in found] == [row["review"] for row in rows]
    for one, said in zip(found, kit.analyze([one.text for one in found]), strict=True):
        assert_same(one.entities, said.entities)
        assert_same(dict(one.labels), said.labels)


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_batch_says_what_the_pipeline_says(
    workspace: Workspace, kit: Pipeline, name: str
) -> None:
    batch = some_batch(workspace, FILES[name](ROWS), name, date_column="day")
    before = batch.status()
    assert (before.state, before.done, before.total, before.ahead) == (State.QUEUED, 0, None, 0)
    status = worked(batch)
    assert (status.state, status.done, status.total, status.errors) == (State.DONE, 60, 60, 0)
    assert (status.note, status.seconds_left) == ("", None)
    assert status.rows_per_second is not None
    assert status.rows_per_second > 0
    assert status.model == "tiny-1"
    assert status.model_sha256 == workspace.model().identity
    assert_read(batch, ROWS, kit)
    for number, (one, row) in enumerate(zip(batch.rows(limit=None), ROWS, strict=True), 1):
        stars = str(row["stars"]) if name == "a.csv" else row["stars"]
        assert one.fields == {"shop": row["shop"], "day": row["day"], "stars": stars}
        assert (one.number, one.date, one.warning) == (number, row["day"], None)
    assert batch.columns == ("shop", "review", "day", "stars")
    assert batch.name == name


def test_only_the_tasks_that_were_asked_for(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(ROWS[:5]), tasks=["sentiment"])
    worked(batch)
    assert {name for row in batch.rows() for name in row.labels} == {"sentiment"}
    assert [row.entities for row in batch.rows()] == [[]] * 5
    assert batch.result_columns == ("sentiment", "sentiment_score")


def test_bad_rows_are_set_aside_in_order(workspace: Workspace, kit: Pipeline) -> None:
    lines = [json.dumps(row) for row in ROWS[:30]]
    lines[3] = "no JSON"
    lines[9] = json.dumps({"review": "  ", "shop": "x"})
    lines[10] = json.dumps({"review": 7})
    lines[11] = json.dumps({"shop": "x"})
    lines[17] = json.dumps({"review": "x" * 1_000_001})
    lines[22] = json.dumps({"review": "a \ud800"})
    lines[23] = json.dumps({"review": "good", "shop": ["\0"]})
    bad = {3, 9, 10, 11, 17, 22}
    batch = some_batch(workspace, "\n".join(lines).encode(), "a.jsonl")
    status = worked(batch)
    assert (status.state, status.done, status.total, status.errors) == (State.DONE, 30, 30, 6)
    errors = batch.errors()
    assert [error.place for error in errors] == [f"line {i + 1}" for i in sorted(bad)]
    reasons = [error.reason for error in errors]
    assert "not JSON" in reasons[0]
    assert reasons[1] == reasons[3] == "'review' is empty; expected a text"
    assert reasons[2] == "'review' is 7; expected a text"
    assert reasons[4] == "'review' has 1,000,001 characters; expected at most 1,000,000"
    assert "lone surrogate" in reasons[5]
    assert batch.errors(offset=2, limit=2) == errors[2:4]
    rows = [row for i, row in enumerate(ROWS[:30]) if i not in bad]
    assert_read(batch, [{"review": "good"} if row is ROWS[23] else row for row in rows], kit)
    found = {row.number: row for row in batch.rows(limit=None)}
    assert list(found) == [i + 1 for i in range(30) if i not in bad]
    assert found[24].fields == {"shop": ["\0"]}


def test_a_page_of_nothing_but_bad_rows(workspace: Workspace) -> None:
    rows = [*ROWS[:8], *({**row, "review": ""} for row in ROWS[8:30]), *ROWS[30:40]]
    batch = some_batch(workspace, as_csv(rows))
    status = worked(batch)
    assert (status.state, status.done, status.errors) == (State.DONE, 40, 22)
    assert batch.count() == 18


def test_a_text_that_the_model_refuses_is_set_aside_alone(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze = Pipeline.analyze

    def picky(self: Pipeline, texts: Any, tasks: Any = None) -> Any:
        if any(text.endswith(" 11.") for text in ([texts] if isinstance(texts, str) else texts)):
            raise RuntimeError("cannot take it")
        return analyze(self, texts, tasks)

    monkeypatch.setattr(Pipeline, "analyze", picky)
    batch = some_batch(workspace, as_csv(ROWS[:20]))
    status = worked(batch)
    assert (status.state, status.done, status.errors) == (State.DONE, 20, 1)
    assert batch.errors()[0].place == "line 13"
    assert "cannot take it" in batch.errors()[0].reason


def test_a_model_that_refuses_everything_fails_the_batch(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, kit: Pipeline
) -> None:
    def broken(self: Pipeline, texts: Any, tasks: Any = None) -> Any:
        raise RuntimeError("out of order")

    batch = some_batch(workspace, as_csv(ROWS))
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "analyze", broken)
        status = worked(batch)
    assert (status.state, status.done, status.errors) == (State.FAILED, 0, 0)
    assert "out of order" in status.note
    batch.resume()
    assert worked(batch).state == State.DONE
    assert_read(batch, ROWS, kit)


def test_fields_that_show_up_late_are_columns_too(workspace: Workspace) -> None:
    rows = [dict(row) for row in ROWS]
    rows += [{"review": "good", "late": i} for i in range(100)]
    rows[0]["nested"] = {"a": [1, None, "x"]}
    batch = some_batch(workspace, as_jsonl(rows), "a.jsonl")
    worked(batch)
    assert batch.columns == ("shop", "review", "day", "stars", "nested", "late")
    found = batch.rows(limit=None)
    assert found[0].fields["nested"] == {"a": [1, None, "x"]}
    assert found[-1].fields == {"late": 99}


def test_texts_of_unknown_letters_carry_a_warning(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv([{"review": "все хорошо"}, {"review": "all good"}]))
    worked(batch)
    warning, none = (row.warning for row in batch.rows())
    assert none is None
    assert warning is not None
    assert "unknown to the model's vocabulary" in warning
    assert batch.summary().warned == 1
    assert batch.result_columns[-1] == "warning"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_column": "text"}, "has no column 'text'; its columns: 'shop', 'review', 'day'"),
        ({"text_column": "stars"}, "'stars' .* holds no texts; columns that do: 'review', 'shop'"),
        ({"text_column": "day"}, "'day' .* holds no texts"),
        ({"date_column": "shop"}, "'shop' .* holds no dates.*; columns that do: 'day'"),
        ({"date_column": "when"}, "'when' .* holds no dates"),
        ({"tasks": []}, "no tasks were chosen; expected some of ner, sentiment, topic"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(
    workspace: Workspace, options: dict[str, Any], message: str
) -> None:
    upload = workspace.add_upload("a.csv", as_csv(ROWS))
    given = {"text_column": "review", "tasks": ["sentiment"]} | options
    with pytest.raises(InputError, match=message):
        start_batch(workspace, upload, **given)
    assert workspace.batches() == []


@pytest.mark.parametrize("task", ["qa", "embedding", "nothing"])
def test_tasks_that_read_no_single_texts_are_refused(workspace: Workspace, task: str) -> None:
    with pytest.raises(UnknownNameError, match=f"task '{task}'; known: ner, sentiment, topic"):
        some_batch(workspace, as_csv(ROWS), tasks=[task])


def test_owners_see_their_own(workspace: Workspace) -> None:
    ada = some_batch(workspace, as_csv(ROWS), owner="Ada")
    grace = some_batch(workspace, as_csv(ROWS), owner="Grace")
    later = some_batch(workspace, as_csv(ROWS), owner="Ada")
    assert [one.number for one in workspace.batches("Ada")] == [later.number, ada.number]
    assert workspace.batch(grace.number, "Grace").status().ahead == 1
    for owner in ("Ada", ""):
        with pytest.raises(UnknownNameError, match=f"unknown batch {grace.number}"):
            workspace.batch(grace.number, owner)


# -- pages, filters, sums --------------------------------------------------------------------------


def matches(rows: list[BatchRow], test: Callable[[BatchRow], bool]) -> list[int]:
    return [row.number for row in rows if test(row)]


def best(row: BatchRow, task: str) -> tuple[str, float]:
    return row.labels[task][0].name, row.labels[task][0].score


def test_pages_follow_one_another(done: Batch) -> None:
    assert done.count() == 60
    pages = [done.rows(offset=at, limit=7) for at in range(0, 60, 7)]
    assert [row for page in pages for row in page] == done.rows(limit=None)
    assert done.rows(offset=60) == []


FILTERS: dict[str, tuple[Filters, Callable[[BatchRow], bool]]] = {
    "a class": (
        Filters(labels={"sentiment": ["neutral"]}),
        lambda row: best(row, "sentiment")[0] == "neutral",
    ),
    "one of two classes": (
        Filters(labels={"sentiment": ["negative", "positive"]}),
        lambda row: best(row, "sentiment")[0] != "neutral",
    ),
    "a class of several": (
        Filters(labels={"topic": ["art"]}),
        lambda row: any(
            label.name == "art" and label.score >= 0.5 for label in row.labels["topic"]
        ),
    ),
    "a score": (
        Filters(scores={"sentiment": (0.4, 0.6)}),
        lambda row: 0.4 <= best(row, "sentiment")[1] <= 0.6,
    ),
    "an entity": (
        Filters(entity="lond"),
        lambda row: any("LOND" in entity.text.upper() for entity in row.entities),
    ),
    "a label and an entity": (
        Filters(entity="a", entity_label="LOC"),
        lambda row: any("A" in e.text.upper() and e.label == "LOC" for e in row.entities),
    ),
    "an entity's score": (
        Filters(entity_label="PER", entity_score=0.9994),
        lambda row: any(e.label == "PER" and e.score >= 0.9994 for e in row.entities),
    ),
    "words": (
        Filters(words="GOOD  engine"),
        lambda row: "good" in row.text and "engine" in row.text,
    ),
    "days": (
        Filters(dates=("2024-03-01", "2024-05-31")),
        lambda row: "2024-03-01" <= str(row.date) <= "2024-05-31",
    ),
    "all together": (
        Filters(labels={"sentiment": ["positive"]}, words="good", dates=("", "2024-06-30")),
        lambda row: (
            best(row, "sentiment")[0] == "positive"
            and "good" in row.text
            and str(row.date) <= "2024-06-30"
        ),
    ),
    "signs in words": (Filters(words="100% _"), lambda row: False),
}

#: No row of ROWS passes this one.
NOBODY = ("signs in words",)


@pytest.mark.parametrize("name", FILTERS)
def test_filters(done: Batch, name: str) -> None:
    filters, test = FILTERS[name]
    rows = done.rows(limit=None)
    expected = matches(rows, test)
    found = done.rows(limit=None, filters=filters)
    assert [row.number for row in found] == expected
    assert done.count(filters) == len(expected)
    assert done.rows(offset=1, limit=2, filters=filters) == found[1:3]
    if name not in NOBODY:
        assert 0 < len(expected) < 60, "the case is a weak one"


def test_words_in_other_scripts_and_cases(workspace: Workspace) -> None:
    texts = ["ÉCOLE fermée", "l'école", "Straße", "100% _good_"]
    batch = some_batch(workspace, as_csv([{"review": text} for text in texts]))
    worked(batch)

    def found(words: str) -> list[str]:
        return [row.text for row in batch.rows(filters=Filters(words=words))]

    assert found("école") == found("ÉCOLE") == texts[:2]
    assert found("straße") == ["Straße"]
    assert found("0% _g") == [texts[3]]
    assert found("%") == [texts[3]]


def test_a_filter_by_what_is_no_day() -> None:
    with pytest.raises(InputError, match="dates has 'yesterday'; expected days like 2024-12-31"):
        Filters(dates=("yesterday", ""))


@pytest.mark.parametrize("filters", [Filters(), Filters(words="good")])
def test_sums(done: Batch, filters: Filters) -> None:
    rows = done.rows(limit=None, filters=filters)
    summary = done.summary(filters, top=5)
    assert (summary.rows, summary.undated, summary.warned) == (len(rows), 0, 0)
    classes = Counter(best(row, "sentiment")[0] for row in rows)
    assert summary.classes["sentiment"] == dict(classes)
    assert list(summary.classes["sentiment"].values()) == sorted(classes.values(), reverse=True)
    given = Counter(
        label.name for row in rows for label in row.labels["topic"] if label.score >= 0.5
    )
    assert summary.classes["topic"] == dict(given)
    mean = sum(best(row, "sentiment")[1] for row in rows) / len(rows)
    assert summary.mean_scores["sentiment"] == pytest.approx(mean)
    named = Counter(pair for row in rows for pair in {(e.text, e.label) for e in row.entities})
    assert [one.rows for one in summary.entities] == sorted(named.values(), reverse=True)[:5]
    assert all(named[one.text, one.label] == one.rows for one in summary.entities)
    assert summary.date_unit == "week"
    assert sum(n for _, _, n in summary.dates["sentiment"]) == len(rows)


def test_the_unit_of_time_follows_the_span(workspace: Workspace) -> None:
    for last, unit, days in (
        ("2024-01-31", "day", ["2024-01-10", "2024-01-31"]),
        ("2024-12-31", "week", ["2024-01-08", "2024-12-30"]),
        ("2026-12-31", "month", ["2024-01-01", "2026-12-01"]),
        ("2044-12-31", "year", ["2024-01-01", "2044-01-01"]),
    ):
        rows = [{"review": "good", "day": "2024-01-10"}, {"review": "good", "day": last}]
        batch = some_batch(workspace, as_csv(rows), tasks=["sentiment"], date_column="day")
        worked(batch)
        summary = batch.summary()
        assert summary.date_unit == unit
        assert [day for day, _, _ in summary.dates["sentiment"]] == days


def test_rows_without_a_date_are_counted(workspace: Workspace) -> None:
    rows = [{"review": "good", "day": "2024-01-10"}] * 9 + [{"review": "good", "day": "soon"}]
    batch = some_batch(workspace, as_csv(rows), tasks=["sentiment"], date_column="day")
    worked(batch)
    assert batch.summary().undated == 1
    assert batch.rows(offset=9)[0].date is None
    assert batch.rows(offset=9)[0].fields == {"day": "soon"}


def test_labels_that_were_found(done: Batch) -> None:
    assert set(done.labels("sentiment")) <= {"negative", "neutral", "positive"}
    assert done.labels("topic") == sorted(done.labels("topic"))
    assert done.entity_labels() == ["LOC", "PER"]
    assert done.summary(top=1).entities[0] in [
        EntityCount(text, "LOC", n)
        for text, n in Counter(
            e.text for row in done.rows(limit=None) for e in row.entities if e.label == "LOC"
        ).items()
    ]


# -- exports ---------------------------------------------------------------------------------------


def exported(batch: Batch, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    batch.export(format, file, **options)
    return file.getvalue()


def read_csv(data: bytes) -> list[dict[str, str]]:
    assert data.startswith(b"\xef\xbb\xbf"), "Excel would not know it for UTF-8"
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_csv_has_the_source_and_the_results(done: Batch, kit: Pipeline) -> None:
    written = read_csv(exported(done, "csv"))
    assert list(written[0]) == [
        *("shop", "review", "day", "stars", "sentiment", "sentiment_score"),
        *("topic", "topic_score", "entities", "LOC", "PER"),
    ]
    for got, row, said in zip(
        written, ROWS, kit.analyze([row["review"] for row in ROWS]), strict=True
    ):
        assert {name: got[name] for name in row} == {n: str(v) for n, v in row.items()}
        assert got["sentiment"] == said.labels["sentiment"][0].name
        assert float(got["sentiment_score"]) == pytest.approx(
            said.labels["sentiment"][0].score, abs=1e-5
        )
        given = [label.name for label in said.labels["topic"] if label.score >= 0.5]
        assert got["topic"] == "; ".join(given)
        entities = json.loads(got["entities"])
        assert [(e["text"], e["label"], e["start"], e["end"]) for e in entities] == [
            (e.text, e.label, e.start, e.end) for e in said.entities
        ]
        for label in ("LOC", "PER"):
            texts = dict.fromkeys(e.text for e in said.entities if e.label == label)
            assert got[label] == "; ".join(texts)


def test_jsonl_has_values_as_they_were(done: Batch) -> None:
    written = [json.loads(line) for line in exported(done, "jsonl").splitlines()]
    assert [{n: got[n] for n in ROWS[0]} for got in written] == ROWS
    for got, row in zip(written, done.rows(limit=None), strict=True):
        assert list(got)[4:] == [
            *("sentiment", "sentiment_score", "topic", "topic_score", "entities")
        ]
        assert (got["sentiment"], got["sentiment_score"]) == best(row, "sentiment")
        assert got["entities"] == [asdict(entity) for entity in row.entities]


def test_parquet_keeps_types(done: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    from nlpkit.workspace import export

    monkeypatch.setattr(export, "GROUP", 25)
    table = pq.read_table(io.BytesIO(exported(done, "parquet")))
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["stars"], types["review"], types["sentiment_score"]) == (
        *("int64", "string"),
        "double",
    )
    assert types["entities"].startswith("list<")
    written = table.to_pylist()
    assert [{n: got[n] for n in ROWS[0]} for got in written] == ROWS
    lines = [json.loads(line) for line in exported(done, "jsonl").splitlines()]
    assert [{n: got[n] for n in lines[0]} for got in written] == lines


def test_parquet_of_mixed_columns(workspace: Workspace) -> None:
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {
        "whole": [1, None, 3],
        "number": [1, 2.5, None],
        "flag": [True, False, None],
        "mixed": [1, "x", None],
        "nested": [{"a": 1}, [2], None],
        "huge": [2**70, 1, None],
        "nothing": [None, None, None],
    }
    rows = [{"review": "good", **{n: v[i] for n, v in columns.items()}} for i in range(3)]
    batch = some_batch(workspace, as_jsonl(rows), "a.jsonl", tasks=["sentiment"])
    worked(batch)
    table = pq.read_table(io.BytesIO(exported(batch, "parquet")))
    found = {name: table.column(name).to_pylist() for name in columns}
    assert found == {
        "whole": [1, None, 3],
        "number": [1.0, 2.5, None],
        "flag": [True, False, None],
        "mixed": ["1", "x", None],
        "nested": ['{"a": 1}', "[2]", None],
        "huge": [str(2**70), "1", None],
        "nothing": [None, None, None],
    }


def test_names_that_the_source_has_are_kept(workspace: Workspace) -> None:
    rows = [{"sentiment": "mine", "nlpkit_sentiment": "also", "review": "Ada in ROME", "PER": 1}]
    batch = some_batch(workspace, as_csv(rows))
    worked(batch)
    (got,) = read_csv(exported(batch, "csv"))
    assert (got["sentiment"], got["nlpkit_sentiment"], got["PER"]) == ("mine", "also", "1")
    assert got["nlpkit_nlpkit_sentiment"] == best(batch.rows()[0], "sentiment")[0]
    assert (got["nlpkit_PER"], got["LOC"]) == ("Ada", "ROME")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+good", "'+good"),
        ("-bad", "'-bad"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tgood", "'\tgood"),
        ("\rgood", "'\rgood"),
        ("＝1+1", "'＝1+1"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("good = bad", "good = bad"),
        ("'=quoted", "'=quoted"),
    ],
)
def test_csv_runs_no_formulas(workspace: Workspace, text: str, written: str) -> None:
    """In the text, in other columns and in the header; JSON lines have what was given."""
    row = {"review": text, "note": text, "n": "-5", "phone": "+49 170", text: "x"}
    batch = some_batch(workspace, as_jsonl([row, {"review": "fine"}]), "a.jsonl", tasks=["ner"])
    worked(batch)
    got = read_csv(exported(batch, "csv"))[0]
    assert (got["review"], got["note"], got[written]) == (written, written, "x")
    assert (got["n"], got["phone"]) == ("-5", "'+49 170")
    line = json.loads(exported(batch, "jsonl").splitlines()[0])
    assert {name: line[name] for name in row} == row


def test_numbers_are_no_formulas(workspace: Workspace) -> None:
    numbers = ["-5", "+5", "-1,200.50", "-3e-7", "-12 %", "-.5"]
    rows = [{"review": "good", "n": number} for number in numbers]
    batch = some_batch(workspace, as_csv(rows), tasks=["sentiment"])
    worked(batch)
    assert [got["n"] for got in read_csv(exported(batch, "csv"))] == numbers


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_what_is_filtered_is_exported(done: Batch, tmp_path: Path, format: str) -> None:
    filters = Filters(words="good")
    path = tmp_path / f"out.{format}"
    assert done.export(format, path, filters) == done.count(filters)
    assert path.read_bytes() == exported(done, format, filters=filters)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [path.name]
    assert done.export(format, path, Filters(words="nowhere")) == 0


def test_what_cannot_be_exported(done: Batch, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="format 'xls'; known: csv, jsonl, parquet"):
        done.export("xls", tmp_path / "out.xls")
    with pytest.raises(StoreError, match="cannot be written"):
        done.export("csv", tmp_path / "absent" / "out.csv")


def test_a_batch_is_deleted_whole(workspace: Workspace) -> None:
    from nlpkit.workspace.schema import metadata

    batch = some_batch(workspace, as_csv([*ROWS[:9], {**ROWS[9], "review": ""}]))
    assert (worked(batch).done, batch.count(), len(batch.errors())) == (10, 9, 1)
    batch.delete()
    assert workspace.batches() == []
    with pytest.raises(UnknownNameError):
        batch.status()
    with workspace.database.read() as connection:
        for table in metadata.sorted_tables:
            if table.name not in ("state", "uploads", "workers"):
                assert connection.execute(table.select()).all() == [], table.name


def test_the_reading_that_was_shown_is_used(workspace: Workspace) -> None:
    data = as_csv([{"id": i, "review": "schön gut"} for i in range(5)], ";")
    upload = workspace.add_upload("a.csv", data.decode().encode("cp1252"))
    batch = start_batch(
        workspace,
        upload,
        text_column="review",
        tasks=["sentiment"],
        reading=Reading("csv", ";", "cp1250"),
    )
    worked(batch)
    assert batch.rows()[0].text == "schön gut"
