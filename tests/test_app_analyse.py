"""The page Analyse without a browser: what it asks, what it shows, and what it refuses."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from app_script import open_app, said
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest
from tiny import texts

import nlpkit
from nlpkit.pipeline import Pipeline
from nlpkit.types import Answer, Entity, WordWeight
from nlpkit.workspace import open_workspace
from parts import highlight, safe
from parts.look import label_colour

TEXT = "Ada Lovelace lived in LONDON. The old engine was great."
TAGS = re.compile(r"<[^>]*>")


def analysed(text: str, **options: Any) -> AppTest:
    """The page after a click on Analyse."""
    app = open_app()
    for name, value in options.get("query", {}).items():
        app.query_params[name] = value
    app.text_area[0].set_value(text)
    return app.button(key="FormSubmitter:analyse-form-Analyse").click().run()


def shown(markup: Any) -> str:
    """The text that a browser shows of markup, line ends included."""
    source = markup if isinstance(markup, str) else markup._repr_html_()
    return html.unescape(TAGS.sub("", re.sub(r"<br ?/?>", "\n", source)))


def result(app: AppTest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(app.code[0].value)
    return found


# -- what it shows ---------------------------------------------------------------------------------


def test_the_page_says_what_the_library_says(workspace_folder: Path, kit: Pipeline) -> None:
    app = analysed(TEXT)
    assert not app.exception
    assert not app.error
    found = kit.analyze(TEXT)
    assert [(e["text"], e["label"], e["start"], e["end"]) for e in result(app)["entities"]] == [
        (e.text, e.label, e.start, e.end) for e in found.entities
    ]
    for task, labels in found.labels.items():
        told = result(app)["labels"][task]
        assert [x["name"] for x in told] == [x.name for x in labels]
        assert [x["score"] for x in told] == pytest.approx([x.score for x in labels], abs=1e-5)
    table = app.dataframe[0].value
    assert table["entity"].tolist() == [e.text for e in found.entities]
    assert any(shown(element.value) == TEXT for element in app.html)


def test_the_lines_of_python_give_the_same(workspace_folder: Path) -> None:
    text = 'Ada said: "it\'s \\ great"\tin LONDON \U0001f389'
    app = analysed(text)
    names: dict[str, Any] = {}
    exec(app.code[1].value, names)
    assert names["text"] == text
    told = result(app)["entities"]
    assert [e.text for e in names["analysis"].entities] == [e["text"] for e in told]


def test_before_anything_is_asked_nothing_is_shown(workspace_folder: Path) -> None:
    app = open_app()
    assert [title.value for title in app.title] == ["Analyse"]
    assert not app.header
    assert not app.error


def test_the_example_is_one_click(workspace_folder: Path) -> None:
    app = open_app()
    app.button(key="FormSubmitter:analyse-form-Try an example").click().run()
    assert str(app.text_area[0].value).startswith("The Helsinki company")
    assert result(app)["entities"]


def test_the_address_chooses_the_tasks(workspace_folder: Path) -> None:
    app = open_app()
    assert app.multiselect[0].value == ["ner", "sentiment", "topic"]
    app = open_app()
    app.query_params["tasks"] = "topic,nope"
    app.run()
    assert app.multiselect[0].value == ["topic"]
    app.text_area[0].set_value(TEXT)
    app.button(key="FormSubmitter:analyse-form-Analyse").click().run()
    assert list(result(app)["labels"]) == ["topic"]
    assert result(app)["entities"] == []
    app.multiselect[0].set_value(["ner", "topic"])
    app.button(key="FormSubmitter:analyse-form-Analyse").click().run()
    assert app.query_params["tasks"] == "ner,topic"


def test_a_file_is_read_whole(workspace_folder: Path, kit: Pipeline) -> None:
    page = b"<html><head><title>x</title></head><body><p>Ada lived</p><p>in LONDON.</p></body>"
    app = open_app()
    app.file_uploader[0].set_value(("page.html", page, "text/html"))
    app.button(key="FormSubmitter:analyse-form-Analyse").click().run()
    assert not app.error
    assert "page.html" in said(app)
    assert [e["text"] for e in result(app)["entities"]] == ["Ada", "LONDON"]


@pytest.mark.filterwarnings("ignore::nlpkit.errors.UnknownTextWarning")  # the page tells it, too
def test_an_unknown_script_is_told(workspace_folder: Path) -> None:
    app = analysed("\u4e2d\u6587\u3001\u65e5\u672c\u8a9e\u3002")
    assert "unknown to the model" in app.warning[0].value.replace("\\", "")


def test_a_long_text_comes_in_parts(workspace_folder: Path) -> None:
    text = "The old engine in LONDON was great. " * 1000
    app = analysed(text)
    n = app.number_input[0].max
    assert n == len(highlight.parts_of(text, []))
    pieces = []
    for number in range(1, int(n) + 1):
        app.number_input[0].set_value(number).run()
        assert not app.exception
        pieces.append(next(shown(e.value) for e in app.html if "entities" in e.value))
    assert "".join(pieces) == text


# -- why -------------------------------------------------------------------------------------------


def test_of_a_long_text_the_beginning_is_shown_first(
    workspace_folder: Path, kit: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before all of it is read; then it makes room for the result."""
    text = f"{TEXT} {'the old engine ' * 5}\n" * 900
    assert len(text) > 100_000
    analyze = Pipeline.analyze
    seen: list[str] = []

    def watched(self: Pipeline, given: Any, tasks: Any = None) -> Any:
        seen.append(given)
        return analyze(self, given, tasks)

    monkeypatch.setattr(Pipeline, "analyze", watched)
    app = analysed(text)
    assert not app.error
    beginning, whole = seen
    assert text.startswith(beginning)
    assert len(beginning) < 20_000
    assert whole == text
    assert "Its beginning:" not in said(app)
    assert len(app.code) == 1  # thousands of lines of JSON are a file alone


def test_why_shows_the_words_of_the_library(workspace_folder: Path, kit: Pipeline) -> None:
    app = analysed(TEXT)
    chosen = ("topic", "trade")
    app.selectbox[0].set_value(chosen)
    next(b for b in app.button if b.label == "Show the words").click().run()
    assert not app.exception
    words = kit.explain(TEXT, *chosen)
    ranked = sorted(words, key=lambda word: -word.weight)
    assert app.dataframe[1].value["word"].tolist() == [word.text for word in ranked]
    assert f"For trade (blue): “{ranked[0].text}” ({ranked[0].weight:+.2f})" in said(app)
    coloured = next(e.value for e in app.html if "nk-word" in e.value)
    assert shown(coloured) == TEXT
    assert coloured.count("nk-word") == len(words)


# -- questions -------------------------------------------------------------------------------------


def ask(app: AppTest, question: str, always: bool = False) -> AppTest:
    app.text_input[0].set_value(question)
    app.toggle[0].set_value(always)
    return app.button(key="FormSubmitter:analyse-question-Ask").click().run()


def test_an_answer_is_marked_in_the_passage(workspace_folder: Path, kit: Pipeline) -> None:
    app = ask(analysed(TEXT), "Who lived in London?", always=True)
    answer = kit.answer("Who lived in London?", TEXT, no_answer=False)
    passage = next(e.value for e in app.html if "answer" in e.value)
    marked = re.search(r"<mark[^>]*>(.*?)</mark>", passage)
    assert marked is not None
    assert html.unescape(marked[1]) == answer.text
    assert shown(passage) == TEXT
    assert f"characters {answer.start:,} to {answer.end:,}" in said(app)


def test_that_there_is_no_answer_is_said(
    workspace_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "answer", lambda *_, **__: Answer(None, None, None, 0.75))
    app = ask(analysed(TEXT), "Who owns the sea?")
    assert "no answer" in app.info[0].value
    assert "0.75" in app.info[0].value


def test_a_new_text_forgets_the_answer_to_the_last(workspace_folder: Path) -> None:
    app = ask(analysed(TEXT), "Who lived in London?", always=True)
    assert any("mark" in e.value and "answer" in e.value for e in app.html)
    app.text_area[0].set_value("Another text.")
    app.button(key="FormSubmitter:analyse-form-Analyse").click().run()
    assert not any('class="answer"' in e.value for e in app.html)


# -- what it refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "  \n "])
def test_no_text_is_told(workspace_folder: Path, text: str) -> None:
    app = analysed(text)
    assert "there is no text yet" in app.error[0].value
    assert not app.header


def test_nothing_to_look_for_is_told(workspace_folder: Path) -> None:
    app = open_app()
    app.text_area[0].set_value(TEXT)
    app.multiselect[0].set_value([])
    app.button(key="FormSubmitter:analyse-form-Analyse").click().run()
    assert "choose what to look for" in app.error[0].value


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.txt", b"", "holds no text"),
        ("latin.txt", b"caf\xe9", "not UTF"),
        ("broken.pdf", b"%PDF-1.4 nothing", "cannot be read"),
        ("broken.docx", b"PK", "not a DOCX"),
        ("<img src=x onerror=alert(1)>.txt", b" ", "holds no text"),
    ],
)
def test_a_file_without_a_text_is_told(
    workspace_folder: Path, name: str, content: bytes, told: str
) -> None:
    app = open_app()
    app.file_uploader[0].set_value((name, content, ""))
    app.button(key="FormSubmitter:analyse-form-Analyse").click().run()
    assert told in app.error[0].value.replace("\\", "")
    assert not re.search(r"(?<!\\)[<&\[*]", app.error[0].value)
    assert not app.exception


def test_a_text_too_long_for_the_page_is_told(
    workspace_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = analysed("a " * 1_000_001)
    assert "this page takes 2,000,000" in app.error[0].value.replace("\\", "")


def test_a_model_that_has_gone_is_told_and_what_was_done_stays(
    workspace_folder: Path, tmp_path: Path
) -> None:
    from nlpkit.testing import tiny_bundle

    with open_workspace(workspace_folder) as workspace:
        workspace.set_model(str(tiny_bundle(tmp_path / "gone")))
    app = analysed(TEXT)
    assert result(app)["entities"]
    (tmp_path / "gone").rename(tmp_path / "elsewhere")
    app.run()
    assert "gone" in app.error[0].value
    assert not app.exception
    assert result(app)["entities"]
    next(b for b in app.button if b.label == "Show the words").click().run()
    assert len(app.error) == 2
    assert not app.exception
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    app.run()
    assert not app.error
    assert result(app)["entities"]


def test_another_model_does_not_speak_of_the_results_of_the_first(workspace_folder: Path) -> None:
    app = analysed(TEXT)
    with open_workspace(workspace_folder) as workspace:
        workspace.set_model("base-en")
    next(b for b in app.button if b.label == "Show the words").click().run()
    assert "was read by tiny-1" in app.error[0].value.replace("\\", "")
    assert len(ask(app, "Who lived in London?").error) == 1
    assert result(app)["model"] == "tiny-1"


# -- markup ----------------------------------------------------------------------------------------


@given(text=texts(), data=st.data())
def test_marked_texts_are_shown_as_they_are(text: str, data: st.DataObject) -> None:
    """Whatever a text holds, its markup shows the same characters, and holds our tags alone."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    entities = [Entity(text[a:b], "<b>&\"'{x}", a, b, 0.5) for a, b in spans if a < b]
    words = [WordWeight(e.text, e.start, e.end, (-1) ** e.start) for e in entities]
    expected = safe.visible(text)
    assert len(expected) == len(text)
    parts = highlight.parts_of(text, entities, size=10)
    marked = [highlight.marked_entities(text, entities, a, b) for a, b in parts]
    assert "".join(map(shown, marked)) == expected
    assert shown(highlight.weighed_words(text, words)) == expected
    for markup in [*marked, highlight.weighed_words(text, words)]:
        for tag in TAGS.findall(markup._repr_html_()):
            assert re.match(r'</?(div|mark|span|br)( [a-z-]+="[^"<>]*")*/?>', tag)
    if entities:
        one = entities[0]
        passage = shown(highlight.marked_answer(text, Answer(one.text, one.start, one.end, 0.5)))
        assert expected[one.start : one.end] in passage


@given(text=texts(), size=st.integers(1, 40), data=st.data())
def test_parts_cut_no_entity(text: str, size: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8, unique=True)))
    entities = [
        Entity(text[a:b], "X", a, b, 0.5) for a, b in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    parts = highlight.parts_of(text, entities, size)
    assert "".join(text[a:b] for a, b in parts) == text
    assert all(a < b for a, b in parts) or not text
    for entity in entities:
        assert any(a <= entity.start and entity.end <= b for a, b in parts)


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("plain words", "plain words"),
        ("**a** [b](c)", r"\*\*a\*\* \[b\]\(c\)"),
        ("$x$ :red[y]", r"\$x\$ \:red\[y\]"),
        ("<img src=x>", r"\<img src\=x\>"),
        ("http://x.org", "http\\:\\/\\/\u2060x\\.org"),
        ("WWW.x.org", "WWW\u2060\\.x\\.org"),
        ("a@b.org", "a\u2060\\@b\\.org"),
        ("a\u202eb\x00c", "a\ufffdb\ufffdc"),
    ],
)
def test_plain_escapes_all_that_markdown_knows(text: str, markdown: str) -> None:
    assert safe.plain(text) == markdown


def test_a_label_keeps_its_colour() -> None:
    assert label_colour("PER") == label_colour("per") != label_colour("ORG")
    assert label_colour("PRODUCT") == label_colour("PRODUCT")


def test_base_en_is_what_the_app_uses_at_first(
    workspace_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLPKIT_WORKSPACE", str(tmp_path / "new"))
    app = analysed("Ada Lovelace lived in London.")
    assert [e["label"] for e in result(app)["entities"]] == ["PER", "LOC"]
    assert result(app)["model"] == nlpkit.load("base-en").name
