"""The page Batch without a browser: from a table to rows, charts and files, and what it refuses."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from app_script import APP, PATIENCE, open_app, said
from streamlit.dataframe_util import (
    convert_arrow_bytes_to_pandas_df,
    convert_pandas_df_to_arrow_bytes,
)
from streamlit.testing.v1 import AppTest
from workspaces import as_csv, as_jsonl, as_parquet, as_xlsx, reviews, some_batch, worked

from nlpkit.workspace import (
    Batch,
    Filters,
    State,
    Status,
    Workspace,
    open_workspace,
    start_batch,
)
from parts import batch_filters, charts, jobs, table, words

HOSTILE = "<script>alert(1)</script> **bold** [link](http://a.b) :smile: $x^2$"


@pytest.fixture
def workspace(workspace_folder: Path) -> Iterator[Workspace]:
    """The workspace of the app."""
    with open_workspace(workspace_folder) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done where a test says so, and not by a process of its own."""
    monkeypatch.setattr("nlpkit.workspace.ensure_worker", lambda workspace: False)
    monkeypatch.setattr("parts.jobs.ensure_worker", lambda workspace: False)


def opened(**query: int | str | list[str]) -> AppTest:
    """The page at an address, without the menu around it."""
    app = AppTest.from_file(str(APP / "views" / "batch.py"), default_timeout=PATIENCE)
    for name, value in query.items():
        app.query_params[name] = value if isinstance(value, list) else str(value)
    return app.run()


def uploaded(name: str, data: bytes) -> AppTest:
    """The page after a file was given to it."""
    app = opened()
    return app.file_uploader[0].upload(name, data, "application/octet-stream").run()


def asked(app: AppTest) -> AppTest:
    """The page after a click on the form's button."""
    after: AppTest = button(app, "Read all rows").click().run()
    return after


def button(app: AppTest, label: str) -> Any:
    """A button by what stands on it."""
    (found,) = [one for one in app.button if re.search(label, one.label)]
    return found


def showing(app: AppTest, batch: Batch, view: str) -> AppTest:
    """The page with another of its views open."""
    app.session_state[f"view-{batch.number}"] = view
    return app.run()


def address(app: AppTest) -> dict[str, list[str]]:
    """What the page's address says."""
    found = {name: app.query_params[name] for name in app.query_params}
    return {name: value if isinstance(value, list) else [value] for name, value in found.items()}


def markup(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def texts_of(app: AppTest) -> str:
    """What a reader sees of the HTML."""
    return html.unescape(re.sub(r"<[^>]*>", " ", markup(app)))


def errors_of(app: AppTest) -> str:
    return "\n".join(element.value for element in app.error).replace("\\", "")


# -- from a table to a batch -----------------------------------------------------------------------


def test_the_beginning_says_what_to_do(workspace: Workspace) -> None:
    app = open_app("batch")
    assert not app.exception
    assert app.title[0].value == "Batch"
    assert app.info[0].value == "No batches yet: upload a table above."
    assert not app.error


@pytest.mark.parametrize(
    ("name", "data", "detected"),
    [
        ("r.csv", as_csv(reviews(30)), "columns split by comma, Unicode (UTF-8)"),
        ("r.csv", as_csv(reviews(30), ";"), "columns split by semicolon"),
        ("r.jsonl", as_jsonl(reviews(30)), "JSON lines"),
        ("r.parquet", as_parquet(reviews(30)), "Parquet"),
    ],
)
def test_a_table_becomes_a_batch(
    workspace: Workspace, name: str, data: bytes, detected: str
) -> None:
    app = uploaded(name, data)
    assert not app.exception
    assert address(app)["upload"] == ["1"]
    assert detected in said(app)
    assert "First 20 rows of 4 columns." in said(app)
    assert "Dates in day (as 2024-12-31)." in said(app)
    seen = app.dataframe[0].value
    assert seen["review"].tolist() == [row["review"] for row in reviews(20)]
    app = asked(app)
    assert not app.error
    assert address(app)["batch"] == ["1"]
    (batch,) = workspace.batches()
    assert (batch.text_column, batch.date_column) == ("review", "day")
    assert batch.tasks == ("ner", "sentiment", "topic")
    assert "Waiting for the worker to begin." in said(app)
    assert worked(batch).state == State.DONE
    assert "Done: 30 rows." in said(app.run())


def test_what_was_detected_can_be_changed(workspace: Workspace) -> None:
    rows = [{"review": "Zoë went to Århus", "note": "größer"}] * 3
    data = as_csv(rows).decode().encode("mac_roman")
    app = uploaded("r.csv", data)
    assert "Detected: columns split by comma, Western (Windows)." in said(app)
    assert "choose another encoding" in errors_of(app)
    assert app.expander[0].proto.expanded
    (encoding,) = [one for one in app.selectbox if one.label == "Encoding of the letters"]
    app = encoding.set_value("mac_roman").run()
    assert app.dataframe[0].value["review"].tolist() == [row["review"] for row in rows]
    app = asked(app)
    (batch,) = workspace.batches()
    worked(batch)
    assert [row.text for row in batch.rows()] == [row["review"] for row in rows]


def test_a_sheet_can_be_chosen(workspace: Workspace) -> None:
    app = uploaded("r.xlsx", as_xlsx(reviews(5)))
    assert "Excel" in said(app)
    assert "2 sheets" in said(app)
    (sheet,) = [one for one in app.selectbox if one.label == "Sheet"]
    app = sheet.set_value("Reviews").run()
    assert app.dataframe[0].value["review"].tolist() == [row["review"] for row in reviews(5)]


def test_choices_are_kept(workspace: Workspace) -> None:
    app = uploaded("r.csv", as_csv(reviews(3)))
    app.multiselect[0].set_value(["topic"])
    for one in app.selectbox:
        if one.label == "Column with the text":
            one.set_value("shop")
        elif one.label.startswith("Column with the date"):
            one.select_index(1)
    asked(app)
    (batch,) = workspace.batches()
    assert (batch.tasks, batch.text_column, batch.date_column) == (("topic",), "shop", None)


def test_nothing_chosen_is_told(workspace: Workspace) -> None:
    app = uploaded("r.csv", as_csv(reviews(3)))
    app.multiselect[0].set_value([])
    app = asked(app)
    assert "no tasks were chosen" in errors_of(app)
    for one in app.selectbox:
        if one.label == "Column with the text":
            one.set_value("stars")
    app.multiselect[0].set_value(["topic"])
    assert "holds no texts; columns that do: 'review', 'shop'" in errors_of(asked(app))
    assert workspace.batches() == []


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("r.csv", b"", "is empty; expected a file with something in it"),
        ("r.csv", b"review\n", "holds no rows"),
        ("r.csv", b"a,a\n1,2\n", "give each a name of its own"),
        ("r.csv", b"a,b\n1,2\n", "no column of r.csv holds texts"),
        ("r.parquet", b"PAR1 and then nothing", "r.parquet"),
        ("r.xlsx", b"no zip at all", "it cannot be opened"),
        ("r.csv.gz", b"\x1f\x8bnothing", "r.csv.gz"),
    ],
)
def test_a_bad_file_is_told_in_a_sentence(
    workspace: Workspace, name: str, data: bytes, problem: str
) -> None:
    app = uploaded(name, data)
    assert not app.exception
    assert problem in errors_of(app)
    assert "nobody foresaw" not in errors_of(app)
    assert workspace.batches() == []


def test_a_table_of_before_is_taken_again_or_removed(workspace: Workspace) -> None:
    upload = workspace.add_upload("old.csv", as_csv(reviews(3)))
    app = opened()
    (choice,) = [one for one in app.selectbox if one.label.startswith("Or a table")]
    app = choice.select_index(0).run()
    assert address(app)["upload"] == [str(upload.number)]
    assert "First 3 rows" in said(app)
    app = button(app, "Remove the file").click().run()
    assert app.success[0].value.replace("\\", "") == "old.csv is removed."
    assert workspace.uploads() == []


# -- a batch ---------------------------------------------------------------------------------------


def test_the_rows_are_those_of_the_library(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(reviews(120)))
    worked(batch)
    app = showing(opened(batch=batch.number), batch, "Rows")
    assert not app.exception
    shown = app.dataframe[0].value
    found = batch.rows(limit=50)
    assert shown.index.tolist() == [row.number for row in found] == list(range(1, 51))
    assert shown["review"].tolist() == [row.text for row in found]
    assert shown["sentiment"].tolist() == [row.labels["sentiment"][0].name for row in found]
    scores = [row.labels["sentiment"][0].score for row in found]
    assert shown["sentiment_score"].tolist() == pytest.approx(scores, abs=5e-4)
    assert shown["shop"].tolist() == [row.fields["shop"] for row in found]
    assert "entities" not in shown
    (page,) = app.number_input
    assert page.label == "Page, 1 to 3"
    app = page.set_value(3).run()
    assert app.dataframe[0].value.index.tolist() == list(range(101, 121))
    assert "Rows 101 to 120 of 120" in said(app)


def test_the_least_certain_rows_come_first(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(reviews(60)))
    worked(batch)
    app = showing(opened(batch=batch.number), batch, "Rows")
    (order,) = [one for one in app.selectbox if one.label == "Order of the rows"]
    scores = order.set_value("sentiment").run().dataframe[0].value["sentiment_score"].tolist()
    assert scores == sorted(scores)
    assert len(set(scores)) > 1


def test_a_chosen_row_is_shown_whole(workspace: Workspace) -> None:
    rows = reviews(3)
    rows[1]["review"] = f"Ada went to LONDON {HOSTILE}"
    rows[1]["shop"] = HOSTILE
    batch = some_batch(workspace, as_csv(rows))
    worked(batch)
    app = showing(opened(batch=batch.number), batch, "Rows")
    grid = app.dataframe[0]
    assert grid.key is not None
    app.session_state[grid.key] = {"selection": {"rows": [1], "columns": []}}
    app = app.run()
    assert app.subheader[0].value == "Row 2"
    assert HOSTILE in texts_of(app)
    assert "<script>" not in markup(app)
    row = batch.rows()[1]
    for label in (label for found in row.labels.values() for label in found):
        assert f"{label.score:.1%}" in texts_of(app)


def test_filters_choose_rows(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(reviews(60)), date_column="day")
    worked(batch)
    label = batch.rows()[0].labels["sentiment"][0].name
    app = showing(opened(batch=batch.number), batch, "Rows")
    (words_field,) = [one for one in app.text_input if one.label.startswith("Words")]
    words_field.set_value(" great ")
    (sentiment,) = [one for one in app.multiselect if one.label == "Sentiment"]
    sentiment.set_value([label])
    first = app.date_input[0]
    first.set_value(date(2024, 2, 1))
    app = app.run()
    filters = Filters(labels={"sentiment": [label]}, words="great", dates=("2024-02-01", ""))
    expected = [row.number for row in batch.rows(0, None, filters)]
    assert 0 < len(expected) < 50
    assert app.dataframe[0].value.index.tolist() == expected
    assert f"{len(expected)} of 60 rows pass the filters." in said(app)
    assert address(app) == {
        "batch": ["1"],
        "words": ["great"],
        "is.sentiment": [label],
        "from": ["2024-02-01"],
    }
    other = showing(opened(**address(app)), batch, "Rows")
    assert other.dataframe[0].value.index.tolist() == expected
    other = button(other, "Clear all").click().run()
    assert other.dataframe[0].value.index.tolist() == list(range(1, 51))
    assert list(address(other)) == ["batch"]


@pytest.mark.parametrize(
    ("query", "task"),
    [({}, "sentiment"), ({"is.topic": "Sports"}, "topic"), ({"label": "PER"}, "ner")],
)
def test_the_rows_that_pass_are_corrected(
    workspace: Workspace, query: dict[str, str], task: str
) -> None:
    """The page Label opens at the same rows, for the task that the filters are about."""
    batch = some_batch(workspace, as_csv(reviews(60)))
    worked(batch)
    names = {"is.topic": batch.labels("topic")[0]}
    query = {name: names.get(name, value) for name, value in query.items()}
    app = open_app("batch")
    for name, value in {"batch": str(batch.number), **query}.items():
        app.query_params[name] = value
    app = button(app.run(), "Correct these").click().run()
    assert not app.exception
    assert [title.value for title in app.title] == ["Label and retrain"]
    expected = {"task": task, "show": "correct", "batch": str(batch.number), **query}
    assert {name: values[-1] for name, values in address(app).items()} == expected
    n = batch.count(batch_filters.filters_of({name: [value] for name, value in query.items()}))
    assert f"Text 1 of {n}" in said(app)


def test_filters_that_nothing_passes_are_told(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(reviews(5)))
    worked(batch)
    app = opened(batch=batch.number, words="nowhere")
    assert "No row passes these filters" in app.info[0].value
    assert "No row passes these filters" in showing(app, batch, "Rows").info[0].value


def test_charts_have_the_numbers_of_the_library(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(reviews(60)), date_column="day")
    worked(batch)
    summary = batch.summary()
    app = opened(batch=batch.number)
    assert not app.exception
    assert [one.value for one in app.subheader] == [
        "Sentiment",
        "Topic",
        "Most frequent entities",
        "Over time, by week",
    ]
    sentiment, topic, entities, over_time = map(drawn, app.get("vega_lite_chart"))
    for chart, task in ((sentiment, "sentiment"), (topic, "topic")):
        names = chart["label"].str.partition(":")[0]
        assert dict(zip(names, chart["rows"], strict=True)) == summary.classes[task]
    assert entities["rows"].tolist() == [one.rows for one in summary.entities]
    points = {(day, name): n for day, name, n in summary.dates["sentiment"]}
    assert len(over_time) == len(points)
    assert over_time.groupby("class")["rows"].sum().to_dict() == summary.classes["sentiment"]
    for entity in summary.entities:
        assert f"{entity.text}  {entity.label}  {entity.rows}" in texts_of(app)


def drawn(chart: Any) -> Any:
    """The rows that a chart draws, as a table."""
    (data,) = chart.proto.datasets
    return convert_arrow_bytes_to_pandas_df(data.data.data)


def test_rows_that_were_set_aside_are_listed(workspace: Workspace) -> None:
    rows = reviews(10)
    rows[3]["review"] = ""
    batch = some_batch(workspace, as_csv(rows))
    worked(batch)
    app = opened(batch=batch.number)
    assert "Done: 10 rows, 1 of them set aside." in said(app)
    app = showing(app, batch, "Set aside")
    shown = app.dataframe[0].value
    assert shown["place"].tolist() == ["line 5"]
    assert shown["reason"].tolist() == ["'review' is empty; expected a text"]


def test_a_batch_is_paused_gone_on_with_and_cancelled(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(reviews(10)))
    app = opened(batch=batch.number)
    app = button(app, "^Pause").click().run()
    assert batch.status().state == State.PAUSED
    assert "Paused at 0 rows." in said(app)
    app = button(app, "^Go on").click().run()
    assert batch.status().state == State.QUEUED
    app = button(app, "^Cancel").click().run()
    assert batch.status().state == State.CANCELLED
    assert not [one for one in app.button if one.label in ("Pause", "Cancel")]
    button(app, "^Go on").click().run()
    assert worked(batch).state == State.DONE


def test_a_failure_says_why(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(reviews(10)))
    for file in (workspace.folder / "uploads").rglob("upload.csv"):
        file.unlink()
    assert worked(batch).state == State.FAILED
    app = opened(batch=batch.number)
    assert "reviews.csv is no longer there; upload it again" in errors_of(app)
    assert button(app, "^Go on")


@pytest.mark.parametrize("with_file", [True, False])
def test_deleting_asks_first(workspace: Workspace, with_file: bool) -> None:
    batch = some_batch(workspace, as_csv(reviews(10)))
    worked(batch)
    app = opened(batch=batch.number)
    app.checkbox[0].set_value(with_file)
    app = button(app, "^Delete it").click().run()
    assert "Batch 1 (reviews.csv) is deleted." in app.success[0].value.replace("\\", "")
    assert workspace.batches() == []
    assert len(workspace.uploads()) == (0 if with_file else 1)
    assert address(app) == {}


def test_a_file_that_others_read_is_kept(workspace: Workspace) -> None:
    one = some_batch(workspace, as_csv(reviews(10)))
    worked(one)
    upload = workspace.upload(one.upload_number)
    waiting = start_batch(workspace, upload, text_column="review", tasks=["topic"])
    app = button(opened(batch=one.number), "^Delete it").click().run()
    assert "Its file is kept: reviews.csv is still to be read" in app.success[0].value.replace(
        "\\", ""
    )
    assert [batch.number for batch in workspace.batches()] == [waiting.number]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"batch": 7}, "there is no batch 7 here; it may have been deleted"),
        ({"batch": "x*y*"}, "'x*y*'; expected a number"),
        ({"batch": "9" * 40}, "expected a number"),
        ({"upload": 3}, "there is no upload 3 here"),
    ],
)
def test_an_address_that_leads_nowhere(
    workspace: Workspace, query: dict[str, Any], problem: str
) -> None:
    app = opened(**query)
    assert not app.exception
    assert problem in errors_of(app)
    app = button(app, "All batches").click().run()
    assert not app.error
    assert app.info[0].value.startswith("No batches yet")


def test_batches_of_before_are_listed_and_opened(workspace: Workspace) -> None:
    made = [some_batch(workspace, as_csv(reviews(3, seed)), f"*{seed}*.csv") for seed in range(12)]
    worked(made[0])
    app = opened()
    names = [one.label.replace("\\", "") for one in app.button if one.label.startswith("Batch")]
    assert names == [f"Batch {12 - i}: *{11 - i}*.csv" for i in range(10)]
    app = button(app, "Show all 12").click().run()
    assert len([one for one in app.button if one.label.startswith("Batch")]) == 12
    app = button(app, "^Batch 2:").click().run()
    assert address(app)["batch"] == ["2"]
    assert "Done: 3 rows." in said(app)


def test_other_peoples_batches_are_not_there(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = some_batch(workspace, as_csv(reviews(3)), owner="Grace")
    app = opened()
    assert app.info[0].value.startswith("No batches yet")
    assert not [one for one in app.selectbox if one.label.startswith("Or a table")]
    assert f"there is no batch {theirs.number} here" in errors_of(opened(batch=theirs.number))
    assert "there is no upload" in errors_of(opened(upload=theirs.upload_number))


def test_a_hostile_table_is_text(workspace: Workspace) -> None:
    rows = [{"review": f"Ada {HOSTILE}", HOSTILE: HOSTILE, "": "x"}] * 3
    name = "<b>**x**</b> :smile: [a](http://b.c).csv"
    app = asked(uploaded(name, as_csv(rows)))
    assert not app.error
    (batch,) = workspace.batches()
    worked(batch)
    app = showing(opened(batch=batch.number), batch, "Rows")
    assert not app.exception
    assert app.header[0].value.replace("\\", "").replace("\u2060", "") == batch.name
    assert "**x**" not in app.header[0].value
    assert app.dataframe[0].value[HOSTILE].tolist() == [HOSTILE] * 3


# -- files -----------------------------------------------------------------------------------------


def test_files_are_made_only_when_they_are_asked_for(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = some_batch(workspace, as_csv(reviews(10)))
    worked(batch)
    made: list[str] = []
    monkeypatch.setattr(Batch, "export", lambda self, *args: made.append(args[0]))
    app = showing(opened(batch=batch.number), batch, "Download")
    assert not app.exception
    assert [one.label for one in app.download_button] == ["CSV", "Parquet", "JSON lines"]
    assert made == []


# -- parts -----------------------------------------------------------------------------------------


def test_filters_and_addresses_mean_the_same() -> None:
    filters = Filters(
        labels={"sentiment": ["a, b", "c"], "topic": ["d"]},
        scores={"topic": (0.25, 0.8)},
        entity="x-y",
        entity_label="PER",
        words="late refund",
        dates=("2024-01-02", ""),
    )
    found = batch_filters.parameters_of(filters)
    assert found["score.topic"] == ["0.25-0.8"]
    assert batch_filters.filters_of(found) == filters
    assert batch_filters.parameters_of(Filters()) == {}


@pytest.mark.parametrize(
    "address",
    [
        {"from": ["yesterday"]},
        {"from": ["0001-01-01"]},
        {"score.topic": ["high"]},
        {"score.topic": ["0.9-0.1"]},
        {"score.topic": ["-1-2"]},
        {"score.topic": ["nan-inf"]},
    ],
)
def test_nonsense_in_an_address_is_left_out(address: dict[str, list[str]]) -> None:
    found = batch_filters.filters_of(address)
    assert found.dates == ("", "")
    assert found.scores.get("topic", batch_filters.ALL_SCORES) == batch_filters.ALL_SCORES


def test_a_grid_takes_what_people_have() -> None:
    rows = [
        {"n": 1, "mixed": 1, "list": [1], "text": "a\x00\ud800", "big": 2**70, "yes": True},
        {"n": 2.5, "mixed": "x", "list": None, "text": "y" * 900, "big": 3, "yes": None},
    ]
    found = table.grid(["n", "mixed", "list", "text", "big", "yes", "none"], rows)
    assert found["n"].tolist() == [1, 2.5]
    assert found["mixed"].tolist() == ["1", "x"]
    assert found["list"].dropna().tolist() == ["[1]"]
    assert found["text"].tolist() == ["a\ufffd\ufffd", "y" * 500 + "\u2026"]
    assert found["big"].tolist() == [str(2**70), "3"]
    assert found["none"].isna().all()
    assert found.index.tolist() == [1, 2]
    same = table.grid(["a\x00", "a\x01"], [{"a\x00": 1, "a\x01": 2}])
    assert same.iloc[0].tolist() == [1, 2]
    convert_arrow_bytes_to_pandas_df(convert_pandas_df_to_arrow_bytes(found))  # it can be sent


def test_time_has_no_holes() -> None:
    def steps(unit: str, *days: str) -> list[str]:
        return [step.isoformat() for step in charts.steps_of(unit, days)]

    assert steps("day", "2024-02-28", "2024-03-01") == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert steps("week", "2024-01-15", "2024-01-01") == ["2024-01-01", "2024-01-08", "2024-01-15"]
    assert steps("month", "2023-12-01", "2024-02-01") == ["2023-12-01", "2024-01-01", "2024-02-01"]
    assert steps("year", "2022-01-01", "2024-01-01") == ["2022-01-01", "2023-01-01", "2024-01-01"]
    assert steps("day", "2024-01-01") == ["2024-01-01"]


def test_colours_are_apart_and_always_the_same() -> None:
    names = ["topic", "Negative", "other"]
    found = charts.colours_of(names)
    assert len(set(found.values())) == 3
    assert found["Negative"] == charts.KNOWN["negative"]
    assert charts.colours_of(names) == found
    many = charts.colours_of(map(str, range(20)))
    assert list(many.values())[8:] == [charts.REST] * 12


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"state": State.QUEUED}, "Waiting for the worker to begin."),
        ({"state": State.QUEUED, "ahead": 2}, "Waiting: 2 other jobs before this one."),
        ({"state": State.RUNNING}, "Getting ready: the model is loaded and the file looked thr"),
        (
            {"done": 50, "rows_per_second": 10.0, "seconds_left": 125.0, "errors": 3},
            "50 of 1,000 rows (5%), 3 of them set aside, 10 rows a second, about 2 min 5 s left.",
        ),
        ({"state": State.PAUSED, "done": 50}, "Paused at 50 of 1,000 rows (5%)."),
        ({"state": State.DONE, "done": 1000}, "Done: 1,000 rows."),
    ],
)
def test_progress_in_words(change: dict[str, Any], told: str) -> None:
    status = Status(
        number=1,
        kind="batch",
        name="r.csv",
        owner="",
        state=State.RUNNING,
        done=0,
        total=1000,
        errors=0,
        rows_per_second=None,
        seconds_left=None,
        ahead=0,
        note="",
        model="m",
        model_sha256="",
        created_at=0.0,
        started_at=None,
        finished_at=None,
    )
    assert jobs.told(replace(status, **change)).startswith(told)


def test_numbers_in_words() -> None:
    told = [words.roughly(seconds) for seconds in (6.6, 14.0, 54.0, 59.0, 100.0, 7200.0)]
    expected = ["about 7 s", "about 10 s", "about 50 s", "about 1 min", "about 2 min"]
    assert told == [*expected, "about 120 min"]
    assert words.counted(1, "row") == "1 row"
    assert words.counted(2000, "row") == "2,000 rows"
    assert [words.duration(s) for s in (0.2, 59, 125, 4800)] == [
        "0 s",
        "59 s",
        "2 min 5 s",
        "1 h 20 min",
    ]
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.stem("../my.reviews.csv.gz") == "my"
    assert words.stem(".csv") == "table"
    assert [words.size(n) for n in (10, 74_500, 1_250_000)] == ["1 kB", "74 kB", "1.2 MB"]
    assert words.moment(0).startswith("1 Jan 1970, 00:00")
