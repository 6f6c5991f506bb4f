"""Indexes, search and questions in a real browser: the journey, a reload, hostile documents."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from browser import WORK, App, choose, new_context, scan, settle
from indexed import TEXTS
from playwright.sync_api import Browser, Page, expect
from test_browser_analyse import HOSTILE, nothing_runs

import nlpkit
from nlpkit.types import Document
from nlpkit.workspace import State, Workspace, open_workspace

LONG = "The archive holds nothing of interest. " * 600
PAGES = TEXTS | {"archive": f"{LONG}Otto Virtanen sold the albatross to the museum in 1952. {LONG}"}


@pytest.fixture(scope="module")
def library(app: App) -> Iterator[Workspace]:
    """The workspace of the app, from the side."""
    with open_workspace(app.workspace) as workspace:
        yield workspace


@pytest.fixture(scope="module")
def museum(chromium: Browser, app: App, library: Workspace) -> str:
    """The name of an index that the page itself has built from uploads."""
    context = new_context(chromium)
    files = [file(f"{id}.html", f"<title>The {id}</title><p>{text}") for id, text in PAGES.items()]
    build(context.new_page(), app, "museum", [*files, file("empty.txt", "  ")])
    context.close()
    return "museum"


def file(name: str, content: str) -> Any:
    return {"name": name, "mimeType": "", "buffer": content.encode()}


def set_up(page: Page, app: App, name: str, files: list[Any]) -> None:
    """Upload files and click on Build, under a name."""
    page.goto(f"{app.url}/indexes")
    expect(page.get_by_role("heading", name="Make an index")).to_be_visible()
    page.locator("input[type=file]").set_input_files(files)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Build the index").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def build(page: Page, app: App, name: str, files: list[Any]) -> None:
    """The same, and wait until the index is there."""
    set_up(page, app, name, files)
    wait_for_index(page)


def wait_for_index(page: Page) -> None:
    """Wait until an index is there and no job is at it."""
    expect(page.get_by_role("button", name="Check for damage")).to_be_enabled(timeout=WORK)
    settle(page)


def open_search(page: Page, app: App, query: str) -> None:
    page.goto(f"{app.url}/search?{query}")
    expect(page.get_by_role("heading", name="Search and ask")).to_be_visible()


def expect_hits(page: Page, ids: list[str]) -> None:
    """Wait until these are found; all documents have a title here."""
    expect(page.locator("article .nk-facts bdi:first-child")).to_have_text(ids)
    settle(page)


def ask(page: Page, question: str) -> None:
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill(question)
    box.press("Enter")
    expect(page.get_by_test_id("stChatMessageContent").get_by_text(question)).to_be_visible()
    expect(page.get_by_text("Forget this conversation")).to_be_visible()
    settle(page)


def is_in_sight(page: Page, selector: str) -> bool:
    """Whether the first such element lies inside its box that scrolls, and on the screen."""
    return bool(
        page.evaluate(
            """selector => {
                const mark = document.querySelector(selector).getBoundingClientRect();
                const box = document.querySelector(selector).closest('.nk-text')
                    .getBoundingClientRect();
                return mark.top >= box.top && mark.bottom <= box.bottom
                    && mark.top >= 0 && mark.bottom <= innerHeight;
            }""",
            selector,
        )
    )


# -- the journey -----------------------------------------------------------------------------------


def test_an_index_is_searched_and_asked(
    page: Page, app: App, museum: str, library: Workspace, chromium: Browser
) -> None:
    entry = library.index(museum)
    with entry.open(read_only=True) as index:
        assert sorted(d.id for d in index.documents()) == sorted(f"{id}.html" for id in PAGES)
    page.goto(f"{app.url}/indexes?index={museum}")
    page.get_by_role("link", name="Search and ask").last.click()
    query = "machines driven by steam"
    page.get_by_label("Search for").fill(query)
    page.keyboard.press("Enter")
    expect(page.locator("article").first).to_contain_text("engines")
    with entry.open(read_only=True) as index:
        hits, hybrid = index.search(query), index.search(query, hybrid=True)
        answers = index.ask("Who sold the albatross?")
    expect_hits(page, [hit.document.id for hit in hits])
    assert page.locator(".passage").first.inner_text() == hits[0].document.text
    assert "q=machines+driven+by+steam" in page.url
    page.get_by_text("Hybrid: by words, too").click()
    expect(page).to_have_url(re.compile("hybrid=true"))
    expect(page.get_by_text("adds up the places")).to_be_visible()
    expect_hits(page, [hit.document.id for hit in hybrid])

    shared = new_context(chromium).new_page()  # somebody else gets the address
    shared.goto(page.url)
    expect_hits(shared, [hit.document.id for hit in hybrid])
    shared.context.close()
    page.get_by_text("Hybrid: by words, too").click()
    expect(page).not_to_have_url(re.compile("hybrid"))
    expect_hits(page, [hit.document.id for hit in hits])

    page.get_by_text("Ask", exact=True).click()
    ask(page, "Who sold the albatross?")
    best = answers[0]
    quoted = page.locator("mark.answer").first
    expect(quoted).to_have_text(str(best.text))
    page.get_by_role("button", name="Open the document").first.click()
    window = page.get_by_role("dialog")
    expect(window.locator("mark.here")).to_have_text(str(best.text))
    expect(window).to_contain_text(f"The {str(best.document_id).removesuffix('.html')}")
    page.wait_for_timeout(500)  # it moves there
    assert is_in_sight(page, "[role=dialog] mark.here")
    assert f"document={best.document_id}&at={best.start}-{best.end}" in page.url
    page.keyboard.press("Escape")
    expect(window).to_have_count(0)
    expect(page).not_to_have_url(re.compile("document="))
    ask(page, "What is the capital of Peru?")
    expect(page.get_by_text("There is no answer to this in this index.")).to_be_visible()
    page.get_by_text("The nearest of the 5 documents").click()
    expect(page.locator("article")).to_have_count(3)
    page.get_by_role("link", name="Indexes").click()
    expect(page.get_by_role("heading", name="Your indexes")).to_be_visible()
    page.get_by_role("link", name="Search and ask").first.click()  # the conversation is kept
    expect(page.get_by_test_id("stChatMessage")).to_have_count(4)


def test_filters_are_chosen_and_shared(page: Page, app: App, museum: str) -> None:
    open_search(page, app, f"index={museum}&q=engines")
    expect(page.locator("article")).to_have_count(7)
    page.get_by_text("Filters", exact=True).click()
    choose(page, "Filter by", "title")
    expect(page.get_by_role("combobox", name="title is")).to_be_visible()
    settle(page)
    choose(page, "title is", "The cafe")
    expect(page.locator("article")).to_have_count(1)
    expect_hits(page, ["cafe.html"])
    assert "filter=title" in page.url
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    expect(page.get_by_text("Only documents where title is The cafe.")).to_be_visible()
    expect_hits(page, ["cafe.html"])


def test_a_job_outlives_the_page(page: Page, app: App, library: Workspace) -> None:
    name = f"reviews-{uuid4().hex[:8]}"  # a second try does not meet the index of the first
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["id", "text", "shop"])
    writer.writerows([f"r{i}", f"Review {i} of the old engine", i % 3] for i in range(8000))
    set_up(page, app, name, [file("reviews.csv", table.getvalue())])
    [job] = library.index(name).jobs()
    page.reload()
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    assert job.status().state == State.PAUSED
    page.goto(f"{app.url}/indexes")
    expect(page.get_by_text("Paused at")).to_be_visible()
    page.get_by_role("button", name=name).click()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.goto("about:blank")  # nobody looks
    page.goto(f"{app.url}/indexes?index={name}")
    wait_for_index(page)
    expect(page.get_by_role("row", name="Documents 8,000")).to_be_visible()
    with library.index(name).open(read_only=True) as index:
        assert index.count() == 8000
        assert index.get(["r7"]) == [Document("r7", "Review 7 of the old engine", {"shop": 1})]
    page.get_by_role("button", name="Check for damage").click()
    expect(page.get_by_text(re.compile("^Checked on .*: no problems"))).to_be_visible()


def test_an_index_is_deleted_by_its_name(page: Page, app: App, library: Workspace) -> None:
    build(page, app, "short-lived", [file("a.txt", "The engine.")])
    path = library.index("short-lived").path
    assert path.is_dir()
    page.get_by_text("Delete this index").click()
    page.get_by_label("Type short-lived to confirm").fill("short")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("that is not the name")).to_be_visible()
    page.get_by_label("Type short-lived to confirm").fill("short-lived")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("The index short-lived is deleted.")).to_be_visible()
    assert not path.exists()
    open_search(page, app, "index=short-lived&q=engine")
    expect(page.get_by_text("There is no index short-lived here")).to_be_visible()


# -- hostile documents -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::nlpkit.errors.UnknownTextWarning")
def test_hostile_documents_are_shown_as_text(
    page: Page, app: App, library: Workspace, tmp_path: Path
) -> None:
    """Their texts, ids, titles, fields and values, and the name of the index."""
    path = tmp_path / "hostile.index"
    with nlpkit.open_index(path) as index:
        index.upsert(
            [
                Document(text, f"{text} engine {text}", {"title": f"On {text}", text: text})
                for text in HOSTILE.values()
            ]
        )
    name = "<img src=x onerror=alert(1)> **b** [a](https:evil.example) :red[x] $x$"
    library.add_index(name, path=path)
    with nothing_runs(page, app):
        page.goto(f"{app.url}/indexes")
        page.get_by_role("button", name=name).click()
        wait_for_index(page)
        page.get_by_text("Delete this index").click()
        fields = "".join(f"&filter={quote(text)}" for text in HOSTILE.values())
        open_search(page, app, f"index={quote(name)}&k=20&q={quote(HOSTILE['script'])}{fields}")
        expect(page.locator("article")).to_have_count(len(HOSTILE))
        settle(page)
        shown = page.locator("article").all_inner_texts()
        for text in HOSTILE.values():
            if "\n" not in text and "  " not in text:  # inner_text() folds them outside of boxes
                assert any(one.count(text) >= 4 for one in shown), text
        page.get_by_text("Filters", exact=True).click()
        page.get_by_text("In Python").click()
        expect(page.get_by_test_id("stCode")).to_be_visible()
        page.get_by_role("button", name="Show the whole document").first.click()
        expect(page.get_by_role("dialog").locator("mark")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_text("Ask", exact=True).click()
        ask(page, HOSTILE["handlers"])
        brought = "article :not(h2, p, div, span, mark, bdi, dl, dt, dd, br)"
        assert page.locator(brought).count() == 0
        assert page.locator("label :is(img, a, strong, em, .katex)").count() == 0


# -- accessibility ---------------------------------------------------------------------------------


def test_axe_finds_nothing_serious(page: Page, app: App, museum: str) -> None:
    open_search(page, app, f"index={museum}&q=engines&filter=title")
    expect(page.locator("article").first).to_be_visible()
    page.get_by_text("Filters", exact=True).click()
    page.get_by_text("In Python").click()
    expect(page.get_by_test_id("stCode")).to_be_visible()
    scan(page, "hits")
    page.get_by_role("button", name="Show the whole document").first.click()
    expect(page.get_by_role("dialog").locator("mark")).to_be_visible()
    scan(page, "a document")
    page.keyboard.press("Escape")
    page.get_by_text("Ask", exact=True).click()
    ask(page, "Who sold the albatross?")
    ask(page, "What is the capital of Peru?")
    page.get_by_text("The nearest of the 5 documents").click()
    expect(page.locator("article")).to_have_count(3)
    scan(page, "a conversation")

    page.goto(f"{app.url}/indexes")
    expect(page.get_by_role("heading", name="Your indexes")).to_be_visible()
    scan(page, "the list")
    page.locator("input[type=file]").set_input_files(file("a.csv", "id,text\n1,One engine here\n"))
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    scan(page, "a new index")
    page.goto(f"{app.url}/indexes?index={museum}")
    wait_for_index(page)
    for name in ("Add documents", "1 document set aside", "Jobs so far", "Delete this index"):
        page.get_by_text(name, exact=True).click()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    scan(page, "an index")
