"""The page Indexes without a browser: making, watching, looking after and deleting indexes."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from app_script import APP, PATIENCE, open_app, said
from hypothesis import given
from hypothesis import strategies as st
from indexed import ROWS, TEXTS, museum, work
from streamlit.testing.v1 import AppTest
from workspaces import as_csv, as_jsonl

import nlpkit
from nlpkit import jobs
from nlpkit.errors import InputError
from nlpkit.pipeline import Pipeline
from nlpkit.store.schema import chunks
from nlpkit.types import Document
from nlpkit.workspace import IndexEntry, State, Workspace
from nlpkit.workspace.worker import Worker
from parts import numbers, settings, users

TAGS = re.compile(r"<[^>]*>")


def open_page(**query: Any) -> AppTest:
    """The page as a link with this query opens it."""
    app = AppTest.from_file(str(APP / "main.py"), default_timeout=PATIENCE).run()
    app.switch_page("views/indexes.py")
    app.query_params.update(query)
    return run(app)


def run(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def click(app: AppTest, label: str) -> AppTest:
    """Click the button with this label."""
    [button] = [button for button in app.button if button.label == label]
    button.click().run()
    assert not app.exception
    return app


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader[0].set_value([(name, data, "") for name, data in files])
    return run(app)


def listed(app: AppTest) -> list[str]:
    """The names of the indexes in the list, as Markdown."""
    return [button.label for button in app.button if (button.key or "").startswith("open-")]


def figures(app: AppTest) -> dict[str, str]:
    """The table of figures, as it is read."""
    table = next(e.value for e in app.html if "In figures" in e.value)
    cells = [html.unescape(TAGS.sub("", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", table)]
    return dict(zip(cells[2::2], cells[3::2], strict=True))


def documents(entry: IndexEntry) -> dict[str, str]:
    with entry.open(read_only=True) as index:
        return {document.id: document.text for document in index.documents()}


# -- making an index -------------------------------------------------------------------------------


def test_files_become_an_index(library: Workspace, kit: Pipeline) -> None:
    app = upload(open_page(), *((f"{id}.txt", text.encode()) for id, text in TEXTS.items()))
    assert app.query_params["uploads"] == "1-6"
    assert said(app).startswith("6 files, 1 kB: hours.txt, begin.txt")
    app.text_input[0].set_value("museum")
    click(app, "Build the index")
    assert app.query_params == {"index": "museum"}
    assert "Waiting for the worker to begin." in said(app)
    work(library)
    run(app)
    entry = library.index("museum")
    assert documents(entry) == {f"{id}.txt": text for id, text in TEXTS.items()}
    told = figures(app)
    with entry.open(kit) as index:
        status = index.status()
    assert (told["Documents"], told["Passages (chunks)"]) == ("6", str(status["chunks"]))
    assert (told["Search"], told["Recall at 10"]) == ("exact", "100% (exact)")
    assert told["Model"] == "tiny-1"
    assert told["Changes so far (generation)"] == str(status["generation"])
    app = open_page()
    assert "6 documents" in said(app)
    app.button(key=f"open-{entry.number}").click().run()
    assert app.query_params["index"] == "museum"


def test_a_table_becomes_an_index(library: Workspace) -> None:
    rows = [{"nr": i, "note": "short", "review": f"The engine {i} was good."} for i in range(5)]
    app = upload(open_page(), ("reviews.csv", as_csv(rows)))
    assert app.dataframe[0].value["review"].tolist() == [row["review"] for row in rows]
    assert [box.value for box in app.selectbox] == ["review", None]
    app.selectbox[1].set_value("nr")
    click(app, "Build the index")
    work(library)
    entry = library.index("reviews")
    with entry.open(read_only=True) as index:
        found = list(index.documents())
    assert found == [Document(str(r["nr"]), str(r["review"]), {"note": "short"}) for r in rows]


def test_what_cannot_be_used_is_named_and_the_rest_is_used(library: Workspace) -> None:
    app = upload(open_page(), ("a.txt", b"The engine."), ("empty.txt", b""), ("b.txt.gz", b""))
    assert said(app).startswith("1 file, ")
    told = " ".join(warning.value for warning in app.warning).replace("\\", "")
    assert "empty.txt is empty" in told
    assert "b.txt.gz is empty" in told
    app = upload(open_page(), ("empty.txt", b""))
    assert "empty" in app.error[0].value
    assert "uploads" not in app.query_params
    app = upload(open_page(), ("a.csv", b"x,y\n1,2\n3,4\n"))
    assert "no column of a.csv holds texts" in app.error[0].value.replace("\\", "")


def test_files_of_before_can_be_used_again(library: Workspace) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        library.add_upload(name, name.encode())
    app = open_page()
    chosen = app.multiselect[0]
    assert [option.partition(",")[0] for option in chosen.options] == ["c.txt", "b.txt", "a.txt"]
    chosen.set_value([one for one in library.uploads() if one.name != "b.txt"])
    click(app, "Use these files")
    assert app.query_params["uploads"] == "1,3"
    assert "2 files, 1 kB: a.txt and c.txt" in said(app)


def test_a_folder_becomes_an_index_and_is_read_again(library: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a.txt", "b.md"):
        (folder / name).write_text(f"The engine of {name}.", encoding="utf-8")
    app = open_page()
    app.segmented_control(key="indexes-from").set_value("A folder on this machine").run()
    app.text_input[0].set_value(f" {folder}/ ")
    click(app, "Build the index")
    assert app.query_params["index"] == "notes"
    work(library)
    assert len(documents(library.index("notes"))) == 2
    (folder / "a.txt").unlink()
    (folder / "c.txt").write_text("Another engine.", encoding="utf-8")
    run(app)
    app.checkbox[0].check()
    click(app, "Read the folder again")
    work(library)
    assert sorted(documents(library.index("notes"))) == ["b.md", "c.txt"]
    assert "Read documents: 1 added, 1 unchanged, 1 deleted." in said(run(app))


def test_an_index_that_is_there_joins_the_list(
    library: Workspace, tmp_path: Path, kit: Pipeline
) -> None:
    path = tmp_path / "theirs.index"
    with nlpkit.open_index(path, kit) as index:
        index.upsert([Document("a", "The engine.")])
    app = open_page()
    app.segmented_control(key="indexes-from").set_value("An index that is there").run()
    click(app, "Add it to the list")
    assert "there is no path yet" in app.error[0].value
    app.text_input[0].set_value(str(tmp_path))
    click(app, "Add it to the list")
    assert "is no index" in app.error[0].value.replace("\\", "")
    app.text_input[0].set_value(str(path))
    click(app, "Add it to the list")
    work(library)
    assert figures(run(app))["Documents"] == "1"
    app.text_input[-1].set_value("theirs.index")
    click(app, "Delete")
    assert "is deleted" in app.success[0].value
    assert (path / "index.json").is_file()
    assert library.indexes() == []


def test_paths_are_for_those_who_have_the_machine(
    library: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLPKIT_APP_USER_HEADER", "X-User")
    settings.settings.cache_clear()
    monkeypatch.setattr(users, "_named_by_proxy", lambda header: "Ada")
    museum(library, "hers", owner="Ada")
    museum(library, "his", owner="Charles")
    app = open_page()
    assert not app.segmented_control
    assert [e.name for e in library.indexes("Ada")] == ["hers"]
    assert listed(app) == ["hers"]
    app = open_page(index="his")
    assert "unknown index" in app.error[0].value
    app = open_page(uploads="2")  # his
    assert "unknown upload" in app.error[0].value


# -- an index and its jobs -------------------------------------------------------------------------


def test_a_job_is_paused_goes_on_and_is_cancelled(
    library: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SHARD_ROWS", 2)
    given = library.add_upload("museum.jsonl", as_jsonl(ROWS))
    library.add_index("museum", uploads=[given], text_column="text", id_column="id")
    [job] = library.index("museum").jobs()
    app = click(open_page(index="museum"), "Pause")
    assert job.status().state == State.PAUSED
    assert Worker(library).step() is False
    click(app, "Go on")
    assert job.status().state == State.QUEUED
    click(app, "Cancel")
    assert job.status().state == State.CANCELLED
    assert "Cancelled at 0 documents." in said(app)
    click(app, "Go on")
    work(library)
    assert figures(run(app))["Documents"] == "6"
    assert not [b.label for b in app.button if b.label in ("Pause", "Go on", "Cancel")]


def test_what_was_set_aside_is_listed_and_read_again(library: Workspace) -> None:
    entry = museum(library, rows=[*ROWS[:3], {"id": "x", "text": " "}, {"id": "y", "text": 7}])
    app = open_page(index="museum")
    table = next(e.value for e in app.dataframe if "reason" in e.value)
    assert len(table) == 2
    assert "the text is empty" in table["reason"].iloc[0]
    click(app, "Read these again")
    job = entry.jobs()[0]
    assert (job.do, job.status().state) == ("retry", State.QUEUED)
    work(library)
    assert job.status().errors == 2  # nothing has mended them
    assert "Read rows again: in all 3 added, 2 set aside." in said(run(app))


def test_documents_are_added(library: Workspace) -> None:
    museum(library)
    app = upload(open_page(index="museum"), ("new.txt", b"The engine is new."))
    assert app.query_params == {"index": "museum", "uploads": "2"}
    assert app.header[0].value == "Add to museum"
    click(app, "Read these files")
    work(library)
    assert documents(library.index("museum"))["new.txt"] == "The engine is new."
    assert figures(run(app))["Documents"] == "7"


def test_damage_is_found_and_repaired(library: Workspace, kit: Pipeline) -> None:
    entry = museum(library)
    app = click(open_page(index="museum"), "Check for damage")
    assert "Check for damage" in said(app)
    assert all(b.disabled for b in app.button if b.label in ("Check for damage", "Compact"))
    work(library)
    assert "no problems" in run(app).success[0].value
    assert "Repair" not in [b.label for b in app.button]
    with entry.open(kit) as index, index.database.write() as connection:
        connection.execute(sa.delete(chunks).where(chunks.c.document == 1))
    click(app, "Check for damage")
    work(library)
    assert "Repair mends what can be mended" in run(app).error[0].value
    assert len(app.dataframe[0].value["problem"])
    click(app, "Repair")
    work(library)
    assert "no problems" in run(app).success[0].value
    with entry.open(kit) as index:
        assert index.verify() == []
    assert "Repair: No problems are left." in said(app)


def test_compacting_takes_what_is_deleted_away(library: Workspace, kit: Pipeline) -> None:
    entry = museum(library)
    with entry.open(kit) as index:
        index.delete(["hours", "cafe", "begin"])
        assert index.status()["deleted_chunks"]
    app = open_page(index="museum")
    assert "compacting it would make searches faster" in app.info[0].value
    click(app, "Compact")
    work(library)
    assert not run(app).info
    with entry.open(kit) as index:
        assert not index.status()["deleted_chunks"]


def test_deleting_wants_the_name(library: Workspace) -> None:
    entry = museum(library, "news & *more*")
    app = open_page(index="news & *more*")
    for typed in ("", "news", "NEWS & *MORE*"):
        app.text_input[-1].set_value(typed)
        click(app, "Delete")
        assert "that is not the name of the index" in app.error[0].value
        assert entry.path.is_dir()
    app.text_input[-1].set_value(" news & *more* ")
    click(app, "Delete")
    assert app.success[0].value == r"The index news \& \*more\* is deleted\."
    assert not entry.path.exists()
    assert not app.query_params
    assert library.uploads()  # they stay


def test_what_is_lost_is_told_and_can_be_deleted(library: Workspace) -> None:
    entry = museum(library)
    (entry.path / "index.db").unlink()
    app = open_page(index="museum")
    assert "has lost its database" in app.error[0].value
    click(app, "Check for damage")
    work(library)
    assert any("has lost its database" in error.value for error in run(app).error)
    app.text_input[-1].set_value("museum")
    click(app, "Delete")
    assert library.indexes() == []


def test_an_address_made_by_hand_is_refused_kindly(library: Workspace) -> None:
    for query, told in (
        ({"index": "nope"}, "unknown index"),
        ({"uploads": "7"}, "unknown upload"),
        ({"uploads": "1-999999999"}, "expected such as"),
        ({"uploads": "<b>"}, "expected such as"),
    ):
        app = open_page(**query)
        assert told in app.error[0].value.replace("\\", "")
        assert click(app, "All indexes").query_params == {}


def test_names_of_all_kinds_are_shown_as_text(library: Workspace) -> None:
    name = "<img src=x onerror=alert(1)> **b** :red[x] [a](b)"
    app = upload(open_page(), (f"{name}.txt", b"The engine."))
    assert f"{name}.txt" in said(app)
    app.text_input[0].set_value(name)
    click(app, "Build the index")
    work(library)
    run(app)
    assert app.header[0].value == (
        r"\<img src\=x onerror\=alert\(1\)\> \*\*b\*\* \:red\[x\] \[a\]\(b\)"
    )
    run(app := open_page())
    assert listed(app) == [r"\<img src\=x onerror\=alert\(1\)\> \*\*b\*\* \:red\[x\] \[a\]\(b\)"]


def test_a_long_name_of_a_file_makes_a_name_that_fits(library: Workspace) -> None:
    app = upload(open_page(), (f"{'long ' * 40}.txt", b"The engine."))
    click(app, "Build the index")
    assert [len(entry.name) for entry in library.indexes()] == [99]  # spaces at the end are lost


def test_before_there_is_one_the_page_begins_with_making_one(workspace_folder: Path) -> None:
    app = open_app("indexes")
    assert [one.value for one in app.subheader] == ["Make an index"]


@given(st.sets(st.integers(1, 60)))
def test_numbers_come_back_from_an_address(some: set[int]) -> None:
    text = numbers.ranges_text(some)
    assert re.fullmatch(r"[0-9,-]*", text)
    if some:
        assert numbers.ranges_of(text) == sorted(some)
    else:
        with pytest.raises(InputError):
            numbers.ranges_of(text)


def test_neighbours_are_drawn_together() -> None:
    assert numbers.ranges_text([3, 5, 4, 9, 4]) == "3-5,9"
    for wrong in ("", "3-", "5-3", "1-10001", "3,,4", "１", "-1"):
        with pytest.raises(InputError, match="expected such as 3-12,15"):
            numbers.ranges_of(wrong)
