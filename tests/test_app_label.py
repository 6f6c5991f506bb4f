"""The page Label and retrain without a browser: texts, answers, corrections, trainings."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from app_script import open_app, said
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest
from tiny import texts
from workspaces import as_csv, reviews, some_batch, worked

from nlpkit.bundle import bundles
from nlpkit.pipeline import Pipeline
from nlpkit.testing import tiny_bundle
from nlpkit.workspace import Filters, State, Workspace, open_workspace
from nlpkit.workspace.worker import Worker
from parts import judging, marking, to_label
from parts.marking import Mark

TAGS = re.compile(r"<[^>]*>")
TEXT = "Ada Lovelace lived in LONDON. the old engine was great."
HOSTILE = (
    "<script>window.hit = 1</script> <img src=x onerror='window.hit = 1'> **bold** :red[y] $z$ "
    "[x](javascript:alert) `code` https://example.org \U0001f389 \u05e9\u05dc\u05d5\u05dd"
)


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done by the tests themselves, and clicks follow each other at once."""
    for part in ("trainings", "jobs"):
        monkeypatch.setattr(f"parts.{part}.ensure_worker", lambda workspace: False)
    monkeypatch.setattr(judging, "DOUBLE_CLICK", 0.0)


@pytest.fixture
def workspace(workspace_folder: Path) -> Iterator[Workspace]:
    """The app's workspace, opened a second time."""
    with open_workspace(workspace_folder) as opened:
        yield opened


def label_page(**address: str) -> AppTest:
    """The page at an address."""
    app = open_app()
    for name, value in address.items():
        app.query_params[name] = value
    return app.switch_page("views/label.py").run()


def typed(text: str, task: str = "ner") -> AppTest:
    """The page with a text that somebody has typed."""
    app = label_page(task=task)
    app.segmented_control(key="label-from").set_value("One text").run()
    app.text_area[0].set_value(text)
    return press(app, "Take this text")


def press(app: AppTest, label: str) -> AppTest:
    found = [button for button in app.button if button.label.startswith(label)]
    assert found, f"no button {label!r} among {[button.label for button in app.button]}"
    return found[0].click().run()


def pick(app: AppTest, text: str, kit: Pipeline, *words: str) -> AppTest:
    """Pick words of a text, each where it stands first."""
    spans = marking.spans_of(kit, text)
    numbers = [next(i for i, (a, b) in enumerate(spans) if text[a:b] == word) for word in words]
    return app.pills(key="label-words").set_value(numbers).run()


def chosen_classes(app: AppTest) -> set[str]:
    found = app.pills(key="label-classes").value
    assert isinstance(found, list)
    return set(found)


def downloads(app: AppTest) -> list[str]:
    return [element.proto.label for element in app.get("download_button")]


def shown(app: AppTest) -> str:
    """The text of what the page draws itself."""
    found = [element.value for element in app.html if "<style>" not in element.value]
    return html.unescape(TAGS.sub("", "\n".join(found)))


def is_fine(app: AppTest) -> bool:
    return not app.exception and not app.error


def spans(*found: tuple[int, int, str]) -> list[dict[str, Any]]:
    return [{"start": start, "end": end, "label": label} for start, end, label in found]


# -- one text: entities ----------------------------------------------------------------------------


def test_an_empty_workspace_asks_for_texts(workspace: Workspace) -> None:
    app = label_page()
    assert is_fine(app)
    assert "Upload a file" in app.info[0].value
    assert not app.pills


def test_the_model_s_entities_are_shown_and_saved_as_they_are(
    workspace: Workspace, kit: Pipeline
) -> None:
    app = typed(TEXT)
    assert is_fine(app)
    assert "2 entities: Ada Lovelace (PER), LONDON (LOC)" in said(app)
    assert "10 needed to retrain" in said(app)
    press(app, "Save and next")
    [correction] = workspace.corrections.list("ner")
    expected = spans(*((one.start, one.end, one.label) for one in kit.ner(TEXT)))
    assert correction.text == TEXT
    assert correction.value == correction.model_value == expected
    assert correction.by == "somebody"
    assert correction.model_sha256 == workspace.model().identity
    assert "1 text corrected" in said(app)
    assert "last text in line" in app.success[0].value


def test_two_clicks_and_a_label_make_an_entity(workspace: Workspace, kit: Pipeline) -> None:
    app = press(typed(TEXT), "LOC")  # with nothing picked it does nothing
    assert "2 entities: Ada Lovelace (PER), LONDON (LOC)" in said(app)
    pick(app, TEXT, kit, "the", "engine")
    assert "Picked: the old engine" in said(app)
    press(app, "LOC")
    assert "3 entities: Ada Lovelace (PER), LONDON (LOC), the old engine (LOC)" in said(app)
    assert "Picked: nothing yet" in said(app)
    press(app, "Save and next")
    [correction] = workspace.corrections.list("ner")
    assert correction.value == spans((0, 12, "PER"), (22, 28, "LOC"), (30, 44, "LOC"))
    assert correction.model_value == spans((0, 12, "PER"), (22, 28, "LOC"))


def test_one_word_of_an_entity_stands_for_all_of_it(workspace: Workspace, kit: Pipeline) -> None:
    app = pick(typed(TEXT), TEXT, kit, "Lovelace")
    assert "Picked: Ada Lovelace" in said(app)
    press(app, "LOC")
    assert "Ada Lovelace (LOC)" in said(app)
    pick(app, TEXT, kit, "Ada")
    press(app, "No entity")
    assert "1 entity: LONDON (LOC)" in said(app)
    pick(app, TEXT, kit, "Lovelace")
    press(app, "PER")
    assert "2 entities: Lovelace (PER), LONDON (LOC)" in said(app)
    pick(app, TEXT, kit, "LONDON")
    press(app, "No entity")
    pick(app, TEXT, kit, "Lovelace")
    press(app, "No entity")
    assert "No entities in this text." in said(app)
    press(app, "Save and next")
    assert workspace.corrections.list("ner")[0].value == []


def test_the_words_are_those_of_the_text(workspace: Workspace, kit: Pipeline) -> None:
    text = "Ada won't\r\ngo to LONDON-Soho, the the."
    app = typed(text)
    words = [text[a:b] for a, b in marking.spans_of(kit, text)]
    labels = [re.sub("[\u2060\u200b\\\\]", "", option) for option in app.pills[0].options]
    assert [label for label in labels if label != "\u00b6"] == words
    assert labels.count("\u00b6") == 1
    assert len(set(app.pills[0].options)) == len(labels)


def test_a_long_text_comes_in_parts(workspace: Workspace, kit: Pipeline) -> None:
    text = "The old engine in LONDON was great. " * 100
    app = typed(text)
    n = int(app.number_input[0].max or 0)
    assert n == len(marking.parts_of(text, marking.spans_of(kit, text))) > 1
    app.number_input[0].set_value(n).run()
    last = len(marking.spans_of(kit, text)) - 2
    app.pills(key="label-words").set_value([last]).run()
    assert "Picked: great" in said(app)
    press(app, "PER")
    press(app, "Save and next")
    [correction] = workspace.corrections.list("ner")
    assert isinstance(correction.model_value, list)
    added = (text.rindex("great"), text.rindex("great") + 5, "PER")
    assert correction.value == [*correction.model_value, *spans(added)]


# -- one text: classes -----------------------------------------------------------------------------


def test_a_class_is_one_click(workspace: Workspace, kit: Pipeline) -> None:
    app = typed(TEXT, "sentiment")
    best = kit.classify(TEXT)[0]
    labels = [b.label for b in app.button if str(b.key).startswith("label-class-")]
    assert [label.split()[0] for label in labels] == ["negative", "neutral", "positive"]
    assert f"{best.name} {best.score:.0%}".replace("%", "%") in labels
    press(app, "neutral")
    [correction] = workspace.corrections.list("sentiment")
    assert (correction.value, correction.model_value) == ("neutral", best.name)
    press(app, "Back")
    assert "You said: neutral." in said(app)
    press(app, "positive")
    assert [one.value for one in workspace.corrections.list("sentiment")] == ["positive", "neutral"]
    assert workspace.corrections.latest("sentiment")[0].value == "positive"


def test_several_classes_are_saved_together(workspace: Workspace, kit: Pipeline) -> None:
    app = typed(TEXT, "topic")
    given = [one.name for one in kit.classify(TEXT, "topic") if one.score >= 0.5]
    assert chosen_classes(app) == set(given)
    app.pills(key="label-classes").set_value(["trade", "city"]).run()
    press(app, "Save and next")
    [correction] = workspace.corrections.list("topic")
    assert correction.value == ["city", "trade"]
    press(app, "Back")
    assert chosen_classes(app) == {"city", "trade"}


def test_many_classes_are_buttons_and_a_list(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "MOST_BUTTONS", 2)
    monkeypatch.setattr(judging, "LIKELIEST", 2)
    app = typed(TEXT, "sentiment")
    assert sum(str(b.key).startswith("label-class-") for b in app.button) == 2
    [other] = app.selectbox[-1].options
    app.selectbox[-1].set_value(other).run()
    press(app, "Save and next")
    assert workspace.corrections.list("sentiment")[0].value == other


def test_a_double_click_counts_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    worked(some_batch(workspace, as_csv(reviews(5))))
    monkeypatch.setattr(judging, "DOUBLE_CLICK", 60.0)
    app = press(press(label_page(task="sentiment"), "neutral"), "neutral")
    assert workspace.corrections.count("sentiment") == 1
    assert "Text 2 of 5" in said(app)


# -- texts in line ---------------------------------------------------------------------------------


def test_a_batch_comes_least_certain_first(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(reviews(12)))
    assert worked(batch).state == State.DONE
    app = label_page(task="sentiment")
    assert app.query_params["batch"] == str(batch.number)
    for place, row in enumerate(batch.rows(0, 3, least_certain="sentiment"), 1):
        assert f"Text {place} of 12: reviews.csv, row {row.number}" in said(app)
        assert row.text in shown(app)
        press(app, "negative")
    assert [one.source for one in workspace.corrections.list("sentiment")] == [
        {"batch": batch.number, "row": row.number}
        for row in reversed(batch.rows(0, 3, least_certain="sentiment"))
    ]
    app.radio(key="label-order").set_value("In order").run()
    assert "of 9: reviews.csv, row" in said(app)
    app = label_page(task="sentiment")
    assert "Text 1 of 9" in said(app)


def test_skipped_texts_come_back(workspace: Workspace) -> None:
    worked(some_batch(workspace, as_csv(reviews(3))))
    app = label_page(task="sentiment")
    for _ in range(2):
        press(app, "Skip")
    press(app, "neutral")
    assert "last text in line" in app.success[0].value
    press(app, "Look for more")
    assert "Text 1 of 2" in said(app)


def test_the_filters_of_a_batch_are_kept_in_the_address(workspace: Workspace) -> None:
    batch = some_batch(workspace, as_csv(reviews(20)))
    worked(batch)
    app = label_page(task="ner", batch=str(batch.number), words="engine")
    n = batch.count(Filters(words="engine"))
    assert 0 < n < 20
    assert f"Text 1 of {n}:" in said(app)


def test_a_batch_that_was_not_read_for_the_task_comes_in_order(workspace: Workspace) -> None:
    worked(some_batch(workspace, as_csv(reviews(4)), tasks=["ner"]))
    app = label_page(task="sentiment")
    assert "not read for this task" in said(app)
    assert "Text 1 of 4: reviews.csv, row 1" in said(app)


def test_a_table_gives_its_rows(workspace: Workspace) -> None:
    app = label_page(task="sentiment")
    rows = [*reviews(3), {"shop": "x", "review": "", "day": "", "stars": 1}]
    app.file_uploader[0].set_value(("table.csv", as_csv(rows), "text/csv")).run()
    assert is_fine(app)
    assert app.selectbox[1].value == "review"
    assert "Text 1 of 3: table.csv, row 1" in said(app)
    press(app, "neutral")
    [correction] = workspace.corrections.list("sentiment")
    assert correction.source == {"upload": 1, "row": 1}
    assert app.query_params["upload"] == "1"


def test_a_document_is_one_text_or_a_text_a_line(workspace: Workspace) -> None:
    app = label_page(task="sentiment")
    content = b"The first text.\n\nThe second one.\n"
    app.file_uploader[0].set_value(("lines.txt", content, "text/plain")).run()
    assert "Text 1 of 2: lines.txt, line 1" in said(app)
    press(app, "Skip")
    assert "The second one." in shown(app)
    app.toggle(key="label-lines-1").set_value(False).run()
    assert "Text 1 of 1: lines.txt" in said(app)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.csv", b"", "empty"),
        ("numbers.csv", b"a,b\n1,2\n3,4\n", "no column of numbers.csv holds texts"),
        ("broken.parquet", b"PAR1 nothing", "broken.parquet"),
        ("broken.pdf", b"%PDF-1.4 nothing", "broken.pdf"),
    ],
)
def test_a_file_without_texts_is_told(
    workspace: Workspace, name: str, content: bytes, told: str
) -> None:
    app = label_page(task="sentiment")
    app.file_uploader[0].set_value((name, content, "application/octet-stream")).run()
    assert not app.exception
    assert told in app.error[0].value.replace("\\", "")


def test_texts_that_are_too_long_are_left_out(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_label, "LONGEST_TEXT", 20)
    app = label_page(task="sentiment")
    content = b"A short text.\nA text that is longer than that.\n"
    app.file_uploader[0].set_value(("lines.txt", content, "text/plain")).run()
    assert "1 text of more than 20 characters left out" in said(app)
    assert "Text 1 of 1" in said(app)
    app = typed("A text that is longer than that.")
    assert "take a part of it" in app.error[0].value


def test_nothing_typed_is_told(workspace: Workspace) -> None:
    assert "no text yet" in typed("  ").error[0].value


def test_a_text_that_cannot_be_kept_is_told(workspace: Workspace) -> None:
    app = press(typed("Ada \x00 lived", "sentiment"), "neutral")
    assert not app.exception
    assert app.error
    assert not workspace.corrections.count()
    assert "Text 1 of 1" in said(app)


@pytest.mark.parametrize(
    "address",
    [
        {"task": "nope", "show": "nope", "batch": "9"},
        {"batch": "-1"},
        {"upload": "9" * 30},
        {"task": "<script>"},
    ],
)
def test_an_address_that_makes_no_sense_is_mended(
    workspace: Workspace, address: dict[str, str]
) -> None:
    worked(some_batch(workspace, as_csv(reviews(3))))
    app = label_page(**address)
    assert is_fine(app)
    assert app.query_params["task"] == "ner"


def test_a_model_without_heads_to_correct_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "tasks", {"qa": "question-answering"})
    app = label_page()
    assert "nothing to correct" in app.info[0].value


# -- hostile texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["ner", "sentiment"])
def test_a_hostile_text_is_shown_as_text(workspace: Workspace, task: str) -> None:
    app = typed(HOSTILE, task)
    assert is_fine(app)
    assert not app.markdown
    assert not any("<script>" in element.value for element in app.html)
    if task == "sentiment":
        assert HOSTILE in shown(app)
    else:
        labels = "".join(app.pills[0].options)
        assert re.sub(r"\\[!-/:-@\[-`{-~]", "", labels).isascii() is False
        assert not re.search(r"(?<!\\)[<>*\[\]`$]", labels)
    press(app, "neutral" if task == "sentiment" else "Save and next")
    app.segmented_control(key="label-show").set_value("corrections").run()
    assert is_fine(app)
    assert app.dataframe[0].value["text"].tolist() == [HOSTILE]


@given(texts())
def test_words_of_any_text_are_whole_and_apart(kit: Pipeline, text: str) -> None:
    words = marking.spans_of(kit, text)
    last = 0
    for start, end in words:
        assert last <= start < end <= len(text)
        last = end
    parts = marking.parts_of(text, words, 7)
    assert [i for part in parts for i in part] == list(range(len(words)))
    assert all(len(part) <= 7 for part in parts)


@given(st.data())
def test_marks_never_overlap(data: st.DataObject) -> None:
    marks: list[Mark] = []
    for _ in range(data.draw(st.integers(0, 8))):
        start = data.draw(st.integers(0, 30))
        span = start, start + data.draw(st.integers(1, 8))
        label = data.draw(st.sampled_from(["PER", "LOC", ""]))
        marks = marking.marked(marks, span, label)
        assert (Mark(*span, label) in marks) == bool(label)
    for one, other in pairwise(marks):
        assert one.end <= other.start


@given(texts(), st.text(max_size=8))
def test_styles_hold_nothing_but_styles(kit: Pipeline, text: str, label: str) -> None:
    words = marking.spans_of(kit, text)
    marks = [Mark(*words[0], label)] if words else []
    options = list(range(len(words)))
    made = marking.styles(text, words, options, marks, words[0] if words else None, "label-words")
    assert made.startswith("<style>")
    assert made.endswith("</style>")
    inside = made.removeprefix("<style>").removesuffix("</style>")
    assert "<" not in inside
    for content in re.findall(r'content: "([^"]*)"', inside):
        assert re.fullmatch(r"(\\[0-9a-f]{6})*", content)


# -- corrections -----------------------------------------------------------------------------------


def some_corrections(workspace: Workspace, n: int = 12, by: str = "Ada", **more: Any) -> None:
    """Texts of two sorts that the tiny model tells apart, judged by which they are."""
    for i in range(n):
        text = f"{'LONDON ' * 8 if i % 2 else '1843 ? ' * 4}{'x' * (i // 2)}"
        value = "positive" if i % 2 else "negative"
        workspace.corrections.add(text, "sentiment", value, by=by, **more)


def test_the_list_says_who_said_what(workspace: Workspace) -> None:
    workspace.corrections.add(TEXT, "sentiment", "neutral", by="Ada", model_value="positive")
    workspace.corrections.add(
        TEXT, "ner", spans((0, 3, "PER")), by="Ben", model_value=spans((0, 12, "PER"))
    )
    app = label_page(task="ner", show="corrections")
    [row] = app.dataframe[0].value.to_dict("records")
    assert (row["who"], row["corrected"], row["model"], row["text"]) == (
        "Ben",
        "Ada (PER)",
        "Ada Lovelace (PER)",
        TEXT,
    )
    app = label_page(task="sentiment", show="corrections")
    [row] = app.dataframe[0].value.to_dict("records")
    assert (row["who"], row["corrected"], row["model"]) == ("Ada", "neutral", "positive")


def test_agreement_is_that_of_the_library(workspace: Workspace) -> None:
    some_corrections(workspace, 6)
    app = label_page(task="sentiment", show="corrections")
    assert "No text was judged by two people yet" in said(app)
    some_corrections(workspace, 4, "Ben")
    workspace.corrections.add("LONDON " * 8, "sentiment", "neutral", by="Ben")
    app = label_page(task="sentiment", show="corrections")
    agreement = workspace.corrections.agreement("sentiment")
    assert agreement.value is not None
    assert agreement.value < 1
    assert f"4 texts judged by more than one. Cohen's kappa: {agreement.value:.2f}" in said(app)
    assert "Ada and Ben4" in shown(app)


def test_a_correction_can_be_removed(workspace: Workspace) -> None:
    some_corrections(workspace, 3)
    app = label_page(task="sentiment", show="corrections")
    key = app.dataframe[0].proto.id
    assert key
    app.session_state["judged-3-1-3"] = {"selection": {"rows": [1], "columns": [], "cells": []}}
    app.run()
    assert "Ada: positive" in said(app)
    press(app, "Remove this correction")
    assert [one.number for one in workspace.corrections.list("sentiment")] == [3, 1]


def test_the_name_is_kept_with_what_is_said(workspace: Workspace) -> None:
    app = typed(TEXT, "sentiment")
    app.text_input(key="label-name").set_value("Grace").run()
    press(app, "neutral")
    assert workspace.corrections.list("sentiment")[0].by == "Grace"


def test_two_people_judge_the_same_texts(workspace: Workspace) -> None:
    worked(some_batch(workspace, as_csv(reviews(3))))
    for name, answer in (("Ada", "neutral"), ("Ben", "negative")):
        app = label_page(task="sentiment")
        app.text_input(key="label-name").set_value(name).run()
        for place in range(1, 4):
            assert f"Text {place} of 3" in said(app)
            press(app, answer)
    agreement = workspace.corrections.agreement("sentiment")
    assert agreement.pairs[0][:3] == ("Ada", "Ben", 3)


# -- trainings -------------------------------------------------------------------------------------


def trained(workspace: Workspace, n: int = 40) -> AppTest:
    """The page once a training that was started there has ended."""
    some_corrections(workspace, n)
    app = press(label_page(task="sentiment", show="retrain"), "Retrain")
    assert is_fine(app)
    assert "Waiting for the worker" in said(app)
    assert next(b for b in app.button if b.label == "Retrain").disabled
    Worker(workspace).run()
    return app.run()


def test_too_few_texts_cannot_be_trained_on(workspace: Workspace) -> None:
    some_corrections(workspace, 9)
    app = label_page(task="sentiment", show="retrain")
    assert "9 texts corrected; 10 are needed" in said(app)
    assert next(b for b in app.button if b.label == "Retrain").disabled


def test_a_training_is_compared_with_what_was(workspace: Workspace) -> None:
    app = trained(workspace)
    assert is_fine(app)
    [training] = workspace.trainings()
    scores = training.scores()
    assert scores is not None
    assert f"compared on {scores.n_held_out} others" in said(app)
    for name, value in scores.after.items():
        assert f"{scores.before[name]:.3f}" in shown(app)
        assert f"{value:.3f}" in shown(app)
    compared = training.comparison()
    differing = [one for one in compared if one.before != one.after]
    assert differing
    assert f"differ on {len(differing)} of {len(compared)}" in said(app)
    for one in compared:
        assert (one.text in shown(app)) == (one in differing)
    app.toggle(key=f"all-{training.number}").set_value(True).run()
    assert all(one.text in shown(app) for one in compared)


def test_an_accepted_head_answers_from_then_on(workspace: Workspace, kit: Pipeline) -> None:
    app = trained(workspace)
    press(app, "Accept the new head")
    assert is_fine(app)
    assert "Accepted" in app.success[0].value
    [training] = workspace.trainings()
    assert training.decision == "accepted"
    assert workspace.model().packs == (training.pack,)
    differing = [one for one in training.comparison() if one.before != one.after]
    text, after = differing[0].text, differing[0].after
    assert kit.classify(text)[0].name != after
    app = typed(text, "sentiment")
    best = next(b for b in app.button if b.proto.type == "primary" and "%" in b.label)
    assert best.label.startswith(str(after))
    app = label_page(task="sentiment", show="retrain")
    assert "accepted by somebody" in app.info[0].value
    assert not any(b.label == "Accept the new head" for b in app.button)


def test_a_head_that_is_thrown_away_changes_nothing(workspace: Workspace) -> None:
    before = workspace.model().identity
    app = press(trained(workspace), "Throw away")
    assert is_fine(app)
    [training] = workspace.trainings()
    assert training.decision == "discarded"
    assert workspace.model().identity == before
    assert not training.pack.exists()
    assert "Thrown away by somebody" in label_page(task="sentiment", show="retrain").info[0].value
    assert workspace.corrections.texts("sentiment") == 40


def test_entities_are_trained_and_compared(workspace: Workspace, kit: Pipeline) -> None:
    for i in range(20):
        text = f"Ada went to LONDON and the river {i}."
        start = text.index("river")
        marked = [*kit.ner(text)]
        value = spans(*((e.start, e.end, e.label) for e in marked), (start, start + 5, "LOC"))
        workspace.corrections.add(text, "ner", value, by="Ada")
    app = press(label_page(task="ner", show="retrain"), "Retrain")
    Worker(workspace).run()
    app.run()
    assert is_fine(app)
    [training] = workspace.trainings()
    app.toggle(key=f"all-{training.number}").set_value(True).run()
    assert is_fine(app)
    assert shown(app).count(training.comparison()[0].text) == 3


def test_what_goes_wrong_in_a_training_is_told(workspace: Workspace, tmp_path: Path) -> None:
    some_corrections(workspace, 12)
    app = press(label_page(task="sentiment", show="retrain"), "Retrain")
    pack = bundles()["base-en"]
    workspace.set_model(str(pack))
    other = tiny_bundle(tmp_path / "other", seed=1)
    workspace.set_model(other)
    Worker(workspace).run()
    app = label_page(task="sentiment", show="retrain")
    press(app, "Accept the new head")
    assert "was made for" in app.error[0].value.replace("\\", "")


# -- files -----------------------------------------------------------------------------------------


def test_files_hold_what_the_library_writes(workspace: Workspace) -> None:
    some_corrections(workspace, 4)
    app = label_page(task="sentiment", show="corrections")
    assert downloads(app) == ["JSON lines", "spaCy DocBin"]
    from parts.judged import exporting

    file = io.BytesIO()
    workspace.corrections.export("jsonl", file, "sentiment")
    assert exporting("jsonl", "sentiment", "")() == file.getvalue()
    workspace.corrections.add(TEXT, "ner", [], by="Ada")
    app = label_page(task="ner", show="corrections")
    assert downloads(app) == ["JSON lines", "CoNLL", "spaCy DocBin"]
