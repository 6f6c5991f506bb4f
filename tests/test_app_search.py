"""The page Search and ask without a browser: it finds what the library finds, and says so."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from app_script import APP, PATIENCE, open_app, said
from hypothesis import given
from hypothesis import strategies as st
from indexed import ROWS, TEXTS, museum, work
from streamlit.testing.v1 import AppTest
from tiny import texts
from workspaces import as_jsonl

from nlpkit.pipeline import Pipeline
from nlpkit.report.markup import tag
from nlpkit.testing import tiny_bundle
from nlpkit.types import Document
from nlpkit.workspace import Workspace
from parts import filters, passages, safe
from parts.passages import passage_of

TAGS = re.compile(r"<[^>]*>")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> **bold** [a](javascript:b) $x$"


def open_page(**query: Any) -> AppTest:
    """The page as a link with this query opens it."""
    app = AppTest.from_file(str(APP / "main.py"), default_timeout=PATIENCE).run()
    app.switch_page("views/search.py")
    app.query_params.update(query)
    app.run()
    assert not app.exception
    return app


def shown(markup: str) -> str:
    """The text that a browser shows of markup."""
    return html.unescape(TAGS.sub("", markup))


def hits_of(app: AppTest) -> list[str]:
    """Ids of the documents that were found, in order."""
    found = [re.search(r'nk-facts"><bdi>(.*?)</bdi>', e.value) for e in app.html]
    return [html.unescape(match[1]) for match in found if match]


def called(code: str) -> Any:
    """What the lines of Python that a page shows have found."""
    names: dict[str, Any] = {}
    exec(code, names)
    names["index"].close()
    return names["hits"] if "hits" in names else names["answers"]


# -- searching -------------------------------------------------------------------------------------


def test_the_page_finds_what_the_library_finds(library: Workspace, kit: Pipeline) -> None:
    entry = museum(library)
    app = open_page()
    assert app.query_params["index"] == "museum"
    app.text_input(key="q").set_value("engines of the museum").run()
    with entry.open(kit) as index:
        hits = index.search("engines of the museum")
    assert len(hits) == 6
    assert hits_of(app) == [hit.document.id for hit in hits]
    assert called(app.code[0].value) == hits
    for hit, element in zip(hits, app.html, strict=False):
        assert f"score {hit.score:.3f}" in element.value
        passage = re.search(r'<span class="passage">(.*?)</span>', element.value)
        assert passage
        assert shown(passage[1]) == hit.document.text[hit.start : hit.end]
        assert shown(element.value).count(hit.document.text) == 1  # these are short
        assert f"<dt>year</dt><dd><bdi>{hit.document.meta['year']}</bdi></dd>" in element.value


@pytest.mark.parametrize(
    ("query", "where", "options"),
    [
        ({"k": "2"}, {}, {"k": 2}),
        ({"hybrid": "true"}, {}, {"hybrid": True}),
        ({"filter": "lang", "where:lang": "fi"}, {"lang": {"in": ["fi"]}}, {}),
        ({"filter": "open", "where:open": "no"}, {"open": {"=": False}}, {}),
        (
            {"filter": ["year", "open"], "from:year": "2020", "to:year": "2023"},
            {"year": {">=": 2020, "<=": 2023}},
            {},
        ),
        (
            {"filter": "checked", "from:checked": "2024-02-15", "to:checked": "2024-04-15"},
            {"checked": {">=": "2024-02-15", "<": "2024-04-16"}},  # the 15th with its hours
            {},
        ),
        ({"filter": "year", "from:year": "3000"}, {"year": {">=": 3000}}, {}),
        ({"filter": ["nope", "lang"], "from:lang": "3", "k": "x"}, {}, {}),  # made by hand
    ],
)
def test_an_address_brings_its_search_back(
    library: Workspace,
    kit: Pipeline,
    query: dict[str, Any],
    where: dict[str, Any],
    options: dict[str, Any],
) -> None:
    entry = museum(library)
    app = open_page(index="museum", q="where is the lift", **query)
    with entry.open(kit) as index:
        hits = index.search("where is the lift", where=where, **options)
    assert hits_of(app) == [hit.document.id for hit in hits]
    if hits:
        assert called(app.code[0].value) == hits
    else:
        assert "No document meets these filters" in app.info[0].value
    if where:
        assert repr(where) in app.code[0].value


def test_filters_are_chosen_with_the_mouse(library: Workspace) -> None:
    museum(library)
    app = open_page(q="engines")
    app.multiselect(key="filter").set_value(["checked", "lang", "open", "year"]).run()
    assert [box.label for box in app.multiselect] == ["Filter by", "lang is"]
    assert app.multiselect(key="where:lang").options == ["en", "fi"]
    assert len(hits_of(app)) == 6
    app.number_input(key="to:year").set_value(2022.0)
    app.selectbox(key="where:open").set_value("yes")
    app.multiselect(key="where:lang").set_value(["en"]).run()
    wanted = {"lang": {"in": ["en"]}, "open": {"=": True}, "year": {"<=": 2022}}
    assert f"where={wanted!r}" in app.code[0].value
    assert "lang is en, open = True, year <= 2022" in said(app)
    expected = [r["id"] for r in ROWS if r["lang"] == "en" and r["open"] and int(r["year"]) < 2023]
    assert sorted(hits_of(app)) == sorted(expected)


def test_filters_do_not_outlive_their_index(library: Workspace) -> None:
    museum(library)
    museum(library, "other", [{"id": "x", "text": "engines", "shop": "Rome"}])
    app = open_page(index="museum", q="engines", filter="lang", **{"where:lang": "fi"})
    app.selectbox(key="index").set_value("other").run()
    assert "1 document," in said(app)
    assert "where" not in app.code[0].value
    app.selectbox(key="index").set_value("museum").run()
    assert len(hits_of(app)) == 6


def test_a_value_that_reads_as_a_number_is_both(library: Workspace) -> None:
    rows = [{"id": str(i), "text": "engine", "code": c} for i, c in enumerate(["A1", "B2", 7, "7"])]
    museum(library, rows=rows)
    app = open_page(q="engine", filter="code", **{"where:code": "7"})
    assert {hit.document.id for hit in called(app.code[0].value)} == {"2", "3"}


@pytest.mark.filterwarnings("ignore::nlpkit.errors.UnknownTextWarning")  # the page tells it, too
def test_a_script_that_the_model_does_not_know_is_told(library: Workspace) -> None:
    museum(library)
    app = open_page(q="\u4e2d\u6587\u3001\u65e5\u672c\u8a9e")
    assert "a script that the model of this index has not learned" in app.warning[0].value
    assert len(hits_of(app)) == 6


# -- a document ------------------------------------------------------------------------------------


def test_a_document_opens_at_its_passage(library: Workspace) -> None:
    row = {
        **ROWS[0],
        "text": "Nothing here. " * 1500 + "The engine was sold. " + "No more. " * 900,
    }
    museum(library, rows=[row, ROWS[1]])
    start = str(row["text"]).index("The engine")
    app = open_page(q="engine", document="hours", at=f"{start}-{start + 20}")
    box = app.html[-2].value
    assert '<mark class="answer here">The engine was sold.</mark>' in box
    n = app.number_input(key="document-part").max or 0
    assert app.number_input(key="document-part").value == 2
    pieces = []
    for number in range(1, int(n) + 1):
        app.number_input(key="document-part").set_value(number).run()
        pieces.append(shown(app.html[-2].value))
    assert "".join(pieces) == row["text"]


def test_the_button_of_a_hit_opens_it(library: Workspace) -> None:
    museum(library)
    app = open_page(q="engines")
    first = hits_of(app)[0]
    app.button(key="open-1").click().run()
    assert app.query_params["document"] == first
    assert shown(app.html[-2].value) == TEXTS[first]


def test_a_document_that_is_gone_is_missed_kindly(library: Workspace) -> None:
    museum(library)
    for place in ("0-5", "x", "99999-100000", "5-2"):
        app = open_page(document="nope", at=place)
        assert "no longer in the index" in app.info[0].value
    app = open_page(document="hours", at="60-999999")
    assert '<mark class="answer here">' not in app.html[-2].value  # nobody cites so much
    assert shown(app.html[-2].value) == TEXTS["hours"]


# -- asking ----------------------------------------------------------------------------------------


def test_questions_are_answered_as_the_library_does(library: Workspace, kit: Pipeline) -> None:
    entry = museum(library)
    app = open_page(view="Ask")
    with entry.open(kit) as index:
        for number, question in enumerate(("Who designed the house?", "where do engines run")):
            app.chat_input[0].set_value(question).run()
            assert not app.exception
            answers = index.ask(question)
            assert answers
            assert called(app.code[0].value) == answers
            assert len(app.chat_message) == 2 * number + 2
            reply = app.chat_message[2 * number + 1]
            for answer, element in zip(answers, reply.html, strict=True):
                assert (
                    f'<mark class="answer">{html.escape(str(answer.text))}</mark>' in element.value
                )
                assert f"<bdi>{answer.document_id}</bdi>" in element.value
                assert f"score {answer.score:.3f}" in element.value
        first = app.chat_message[1].button[0]
        answer = index.ask("Who designed the house?")[0]
    first.click().run()
    assert app.query_params["document"] == answer.document_id
    assert app.query_params["at"] == f"{answer.start}-{answer.end}"
    assert f'<mark class="answer here">{answer.text}</mark>' in app.html[-2].value


def test_where_there_is_no_answer_the_nearest_passages_are(
    library: Workspace, kit: Pipeline
) -> None:
    blank: list[dict[str, Any]] = [  # the tiny model answers from all that has a word
        {"id": f"blank-{i}", "text": "\u200b" * (i + 1), "title": "Blank", "year": 1900}
        for i in range(4)
    ]
    entry = museum(library, rows=[*ROWS, *blank])
    app = open_page(view="Ask", filter="year", **{"to:year": "1900"})
    app.chat_input[0].set_value("Who designed the house?").run()
    assert "There is no answer to this in this index." in said(app)
    assert "only documents where year <= 1900" in said(app)
    with entry.open(kit) as index:
        hits = index.search("Who designed the house?", 3, {"year": {"<=": 1900}}, hybrid=True)
    assert len(hits) == 3
    assert hits_of(app) == [hit.document.id for hit in hits]
    assert called(app.code[0].value) == []


def test_each_index_has_its_conversation(library: Workspace) -> None:
    museum(library)
    museum(library, "other", ROWS[:2])
    app = open_page(index="museum", view="Ask")
    app.chat_input[0].set_value("Who designed the house?").run()
    app.selectbox(key="index").set_value("other").run()
    assert not app.chat_message
    app.selectbox(key="index").set_value("museum").run()
    assert app.chat_message[0].text[0].value == "Who designed the house?"
    next(b for b in app.button if b.label == "Forget this conversation").click().run()
    assert not app.chat_message


def test_an_empty_and_an_endless_question_are_refused(library: Workspace) -> None:
    museum(library)
    app = open_page(view="Ask")
    for question, said_then in ((" ", "the question is empty"), ("engine " * 280, "tokens")):
        app.chat_input[0].set_value(question).run()
        assert said_then in app.error[0].value
        assert not app.exception
    app.chat_input[0].set_value("Who designed the house?").run()
    assert len(app.chat_message) == 2  # what was refused is not kept


# -- what can be wrong -----------------------------------------------------------------------------


def test_without_an_index_the_page_says_where_to_make_one(workspace_folder: Path) -> None:
    app = open_app("search")
    assert "There is no index yet" in app.info[0].value


def test_an_index_that_is_not_built_or_gone_is_told(library: Workspace) -> None:
    upload = library.add_upload("a.jsonl", as_jsonl(ROWS))
    library.add_index("new", uploads=[upload], text_column="text")
    app = open_page(index="new", q="engines")
    assert "has not been built yet" in app.info[0].value
    work(library)
    shutil.rmtree(library.index("new").path / "segments")
    app = open_page(index="new", q="engines")
    assert "segment" in app.error[0].value
    app = open_page(index="nope")
    assert "There is no index nope here" in app.warning[0].value.replace("\\", "")
    library.remove_index("new")
    app.run()
    assert "There is no index yet" in app.info[0].value


def test_an_index_of_another_model_is_read_with_its_own(library: Workspace, tmp_path: Path) -> None:
    entry = museum(library)
    library.set_model(str(tiny_bundle(tmp_path / "later", seed=7)))
    app = open_page(q="engines")
    assert "belongs to the model it was built with" in app.info[0].value
    with entry.open() as index:
        assert called(app.code[0].value) == index.search("engines")


def test_nobody_sees_the_indexes_of_others(library: Workspace) -> None:
    museum(library, "theirs", owner="Eve")
    app = open_page(index="theirs", q="engines", document="hours")
    assert "There is no index yet" in app.info[0].value
    assert not any("museum" in e.value for e in app.html)


def test_hostile_documents_are_shown_as_text(library: Workspace) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": HOSTILE,
            "text": f"{HOSTILE} engine {HOSTILE}",
            "title": f"On {HOSTILE}",
            HOSTILE: HOSTILE,
        },
        {"id": "b", "text": "a \u202e turned engine", ":red[x]": HOSTILE, "n": 1},
    ]
    museum(library, "*a* <b>", rows)
    app = open_page(q=f"engine {HOSTILE}", filter=HOSTILE, view="Search")
    for element in app.html[:2]:
        known = re.sub(r"</?(article|h2|p|div|span|mark|bdi|dl|dt|dd)\b[^<>]*>", "", element.value)
        assert "<" not in known
    hit = next(e.value for e in app.html if "turned" not in e.value)
    assert shown(hit).count(HOSTILE) == 6  # title, id, twice in the text, a field and its value
    label = next(box.label for box in app.multiselect if box.label != "Filter by")
    assert label == f"{safe.plain(HOSTILE)} is"
    app.button(key="open-1").click().run()
    assert not app.exception


# -- markup ----------------------------------------------------------------------------------------


@given(texts(), st.data())
def test_a_passage_is_the_document_around_it(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    around = data.draw(st.sampled_from([0, 3, 1000]))
    passage = passage_of(Document("d", text), start, end, 0.5, around)
    first, last = max(0, start - around), min(len(text), end + around)
    assert passage.text == text[start:end]
    assert passage.before == ("…" if first else "") + text[first:start]
    assert passage.after == text[end:last] + ("…" if last < len(text) else "")


def test_a_passage_of_any_length_is_bounded() -> None:
    passage = passage_of(Document("d", "x" * 100_000), 10, 90_000, 0.5)
    assert passage.text == "x" * passages.LONGEST_PASSAGE
    assert passage.after == "…"
    assert passage.end == 90_000


@given(texts(), st.lists(st.sampled_from(["lived", "lovelace", "a", "1843", "the"])))
def test_marking_words_changes_no_text(text: str, words: list[str]) -> None:
    pieces = passages.marked_words(text, words)
    markup = tag("p", pieces)
    assert shown(markup) == shown(tag("p", safe.visible(text)))


def test_words_are_marked_with_their_endings() -> None:
    markup = tag("p", passages.marked_words("Engine, engines; engineer of art", ["engines"]))
    marked = re.findall(r"<mark[^>]*>(.*?)</mark>", markup)
    assert marked == ["Engine", "engines"]
    assert "<mark" not in tag("p", passages.marked_words("of an oar", ["o", "a"]))


def test_conditions_in_words() -> None:
    where: Mapping[str, Any] = {"year": {">=": 2020, "<": 2030}, "lang": {"in": ["en", "de"]}}
    assert filters.in_words(where) == "year >= 2020, year < 2030, lang is en or de"


def test_names_of_fields_are_read_aloud_as_they_are() -> None:
    for name in ("created_at", "short-lived", "Größe 2", "年"):
        assert safe.plain(name) == name
    for name in ("_a_", "a__b", "- a", "1. a", "a*b", "#a", ""):
        assert safe.plain(name) == re.sub(r"([^\w\s])|(_)", r"\\\1\2", name)
