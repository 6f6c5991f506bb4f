"""The page Analyse in a real browser: the journey, hostile texts, two people, accessibility."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import App, launch, new_context, problems, scan, settle
from playwright.sync_api import Browser, Dialog, Page, Playwright, Request, expect

import nlpkit

TEXT = (
    "Ada Lovelace lived in London. Charles Babbage of Cambridge built a wonderful engine, which "
    "the British government paid for."
)
QUESTION = "Where did Ada Lovelace live?"


def open_page(page: Page, app: App, query: str = "") -> None:
    page.goto(f"{app.url}/{query}")
    expect(page.get_by_role("button", name="Analyse", exact=True)).to_be_visible()


def analyse(page: Page, text: str) -> None:
    """Paste a text, click, and wait until its result is there."""
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Analyse", exact=True).click()
    wait_for_result(page)


def wait_for_result(page: Page) -> None:
    expect(page.get_by_role("heading", name="Take it along")).to_be_visible()
    # The result of the text before is grey until the new one has come.
    settle(page)


def unfold(page: Page, *names: str) -> None:
    for name in names:
        box = page.locator("details", has=page.locator("summary", has_text=name))
        if box.get_attribute("open") is None:
            box.locator("summary").click()


def shown_text(page: Page) -> str:
    """The text in the box of entities, as it is laid out: marks' labels are not in it."""
    return page.locator(".nk-text .entities").inner_text()


def marked(page: Page) -> list[tuple[str, str]]:
    found: list[list[str]] = page.locator("mark.entity").evaluate_all(
        "marks => marks.map(mark => [mark.innerText, mark.dataset.label])"
    )
    return [(text, label) for text, label in found]


# -- the journey -----------------------------------------------------------------------------------


def test_a_text_is_read_explained_asked_and_taken_along(
    page: Page, app: App, tmp_path: Path
) -> None:
    kit = nlpkit.load("base-en")
    open_page(page, app)
    analyse(page, TEXT)
    found = kit.analyze(TEXT)
    assert found.entities
    assert shown_text(page) == TEXT
    assert marked(page) == [(e.text, e.label) for e in found.entities]
    for task, labels in found.labels.items():
        table = page.locator(".nk-scores", has_text=task.capitalize())
        assert table.locator("th").all_inner_texts() == [label.name for label in labels]
        assert table.locator("td.n").all_inner_texts() == [f"{x.score:.1%}" for x in labels]

    best = found.labels["sentiment"][0].name
    page.get_by_role("button", name="Show the words").click()
    words = sorted(kit.explain(TEXT, "sentiment", best), key=lambda word: -word.weight)
    said = page.get_by_text(f"For {best} (blue)")
    expect(said).to_contain_text(f"“{words[0].text}” ({words[0].weight:+.2f})")
    assert page.locator(".nk-word").count() == len(words)

    answer = kit.answer(QUESTION, TEXT)
    assert answer
    page.get_by_label("Question about this text").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("mark.answer")).to_have_text(answer.text)
    page.get_by_label("Question about this text").fill("Which bank lent the money for the boat?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("This text holds no answer to that")).to_be_visible()

    unfold(page, "As JSON")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    download.value.save_as(tmp_path / "analysis.json")
    taken = json.loads((tmp_path / "analysis.json").read_text(encoding="utf-8"))
    assert taken["entities"] == [
        {"text": e.text, "label": e.label, "start": e.start, "end": e.end}
        | {"score": pytest.approx(e.score, abs=1e-5)}
        for e in found.entities
    ]
    unfold(page, "In Python")
    lines = page.get_by_test_id("stCode").last.inner_text()
    names: dict[str, Any] = {}
    exec(lines, names)
    assert names["text"] == TEXT
    assert [e.text for e in names["analysis"].entities] == [e["text"] for e in taken["entities"]]


def test_what_is_looked_for_is_in_the_address(page: Page, app: App) -> None:
    open_page(page, app, "?tasks=ner,topic")
    chosen = page.get_by_test_id("stMultiSelect")
    expect(chosen).not_to_contain_text("sentiment")
    analyse(page, TEXT)
    expect(page.locator(".nk-scores")).to_have_count(1)
    assert "tasks=ner%2Ctopic" in page.url
    chosen.get_by_role("combobox").click()
    page.get_by_role("option", name="sentiment").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Analyse", exact=True).click()
    expect(page.locator(".nk-scores")).to_have_count(2)
    expect(page).not_to_have_url(re.compile("tasks"))
    assert "Lovelace" not in page.url


def test_the_keyboard_is_enough(page: Page, app: App) -> None:
    open_page(page, app)
    page.get_by_label("Text", exact=True).focus()
    page.keyboard.insert_text(TEXT)
    page.keyboard.press("Control+Enter")
    wait_for_result(page)
    box = page.get_by_role("region", name="The text, entities marked")
    box.focus()
    expect(box).to_be_focused()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.md", "# Ada Lovelace\n\nlived in *London*.", "# Ada Lovelace\n\nlived in *London*."),
        ("a.txt", "Ada Lovelace\r\nlived\tin  London.", "Ada Lovelace \nlived\tin  London."),
        ("a.html", "<h1>Ada Lovelace</h1><p>lived in London.", "Ada Lovelace\n\nlived in London."),
    ],
)
def test_a_file_is_read(page: Page, app: App, name: str, content: str, text: str) -> None:
    open_page(page, app)
    file: Any = {"name": name, "mimeType": "text/plain", "buffer": content.encode()}
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text(name)).to_be_visible()
    settle(page)
    page.get_by_role("button", name="Analyse", exact=True).click()
    wait_for_result(page)
    assert shown_text(page) == text
    assert ("Ada Lovelace", "PER") in marked(page)


# -- hostile texts ---------------------------------------------------------------------------------

HOSTILE = {
    "script": '<script>document.title = "owned"; alert(1)</script> in London',
    "handlers": '<img src=x onerror="alert(1)"><svg onload=alert(1)></svg> London',
    "broken out": '"></mark></div><iframe src=https://evil.example></iframe> London <!--',
    "entities": "&lt;b&gt; &amp;amp; &#x41; London &nbsp;.",
    "markdown": "**bold** _it_ [a](https://evil.example/a) ![i](https://evil.example/i.png) London",
    "addresses": "https://evil.example/x www.evil.example a@evil.example London",
    "formula": "$$\\frac{1}{2}$$ and $x$ :smile: :red[no] :material/home: `code` London",
    "right to left": "שלום Ada Lovelace מרחבא London\nEnglish again.",
    "override": "London \u202etxet siht\u202c and on",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 Ada \u2764\ufe0f in London \U0001f389",
    "white space": "  London\n\n\n\tand   Paris \n end",
    "style": "<style>body { display: none }</style> <link rel=stylesheet href=//evil.example>",
    "template": "{{7*7}} ${7*7} {text} %s London",
}


@contextmanager
def nothing_runs(page: Page, app: App) -> Iterator[None]:
    """No dialog, no request to elsewhere, nothing in the page that a text has brought."""
    seen: list[str] = []

    def dialog(one: Dialog) -> None:
        seen.append(f"dialog: {one.message}")
        one.dismiss()

    def request(one: Request) -> None:
        if not one.url.startswith((app.url, "data:", "blob:")):
            seen.append(f"request: {one.url}")

    page.on("dialog", dialog)
    page.on("request", request)
    yield
    page.wait_for_timeout(300)  # what a text starts may take a moment
    brought: list[str] = page.evaluate(
        """() => [...document.querySelectorAll(
            '.nk-text :not(div, mark, span, br), [src*=evil], [href*=evil], [onerror], [onload]')]
            .map(one => one.outerHTML)"""
    )
    assert seen + brought == []
    assert page.title() != "owned"


@pytest.fixture(scope="module")
def same_page(chromium: Browser, app: App) -> Iterator[Page]:
    """A page that one text after another goes through."""
    context = new_context(chromium)
    page = context.new_page()
    open_page(page, app)
    yield page
    context.close()


@pytest.mark.filterwarnings("ignore::nlpkit.errors.UnknownTextWarning")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_shown_as_text(same_page: Page, app: App, name: str) -> None:
    text, page = HOSTILE[name], same_page
    with nothing_runs(page, app):
        analyse(page, text)
        # The page shows the text before until this one has been read.
        box = page.locator(".nk-text .entities")
        expect(box).to_have_js_property("innerText", text)
        wait_for_result(page)
        assert [text for text, _ in marked(page)] == [
            e.text for e in nlpkit.load("base-en").ner(text)
        ]
        page.get_by_role("button", name="Show the words").click()
        expect(page.get_by_text("Against it (orange)")).to_be_visible()
        page.get_by_label("Question about this text").fill(text)
        toggle = page.get_by_label("Quote the likeliest passage")
        if not toggle.is_checked():
            page.get_by_text("Quote the likeliest passage").click()
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator("mark.answer")).to_be_visible()
        unfold(page, "As JSON", "In Python")
        expect(page.get_by_test_id("stCode")).to_have_count(2)


def test_a_hostile_name_of_a_file_is_shown_as_text(page: Page, app: App) -> None:
    name = "<img src=x onerror=alert(1)> **b** [a](https:evil.example) www.evil.example $x$.docx"
    open_page(page, app)
    with nothing_runs(page, app):
        file: Any = {"name": name, "mimeType": "", "buffer": b"no Word file"}
        page.locator("input[type=file]").set_input_files(file)
        expect(page.get_by_test_id("stFileChipName")).to_be_visible()
        settle(page)
        page.get_by_role("button", name="Analyse", exact=True).click()
        message = page.get_by_role("alert")
        expect(message).to_contain_text("not a DOCX file")
        assert name in message.inner_text().replace("\u2060", "")
        assert message.locator("a, img, strong, em, .katex").count() == 0


def test_a_text_of_a_megabyte_is_read_whole(page: Page, app: App) -> None:
    """Mostly of words too long for the vocabulary, so that it takes seconds and not minutes."""
    line = f"{'x' * 120} {'y' * 120}\n" * 80 + "Ada Lovelace lived in London <b>then</b>.\n"
    text = line * 52
    assert len(text) > 1_000_000
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_page(page, app)
    with nothing_runs(page, app):
        page.evaluate("text => navigator.clipboard.writeText(text)", text)
        page.get_by_label("Text", exact=True).focus()
        page.keyboard.press("Control+V")
        page.get_by_role("button", name="Analyse", exact=True).click()
        expect(page.get_by_text("Its beginning:")).to_be_visible()  # until all of it is read
        wait_for_result(page)
        expect(page.get_by_text("Its beginning:")).to_have_count(0)
        expect(page.get_by_text(f"{len(text):,} characters")).to_be_visible()
        part = page.get_by_label("Part of the text")
        n_parts = int(part.get_attribute("max") or 0)
        assert n_parts > 50
        assert len(shown_text(page)) < 20_000
        part.fill(str(n_parts))
        part.press("Enter")
        expect(page.locator(".nk-text .entities")).to_contain_text("Ada Lovelace lived in London")
        assert text.endswith(shown_text(page).rstrip("\n") + "\n")


# -- two people ------------------------------------------------------------------------------------


def test_two_browsers_do_not_see_each_other(
    playwright: Playwright, chromium: Browser, app: App
) -> None:
    other = launch(playwright)
    try:
        pages = [new_context(browser).new_page() for browser in (chromium, other)]
        texts = [TEXT, "Marie Curie worked in Paris."]
        for one, text in zip(pages, texts, strict=True):
            open_page(one, app)
            one.get_by_label("Text", exact=True).fill(text)
        for one in pages:  # both at once
            one.get_by_role("button", name="Analyse", exact=True).click()
        for one, text in zip(pages, texts, strict=True):
            wait_for_result(one)
            assert shown_text(one) == text
        pages[1].reload()
        expect(pages[1].get_by_role("button", name="Analyse", exact=True)).to_be_visible()
        expect(pages[1].locator(".nk-text")).to_have_count(0)
        assert shown_text(pages[0]) == TEXT
    finally:
        pages[0].context.close()
        other.close()


# -- accessibility ---------------------------------------------------------------------------------


def test_axe_finds_nothing_serious(page: Page, app: App) -> None:
    open_page(page, app)
    scan(page, "the beginning")
    analyse(page, TEXT)
    page.get_by_role("button", name="Show the words").click()
    expect(page.get_by_text("Against it (orange)")).to_be_visible()
    page.get_by_label("Question about this text").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("mark.answer")).to_be_visible()
    unfold(page, "entities as a table", "All weights as a table", "As JSON", "In Python")
    expect(page.get_by_test_id("stCode")).to_have_count(2)
    expect(page.get_by_test_id("stDataFrame")).to_have_count(2)
    scan(page, "a text")
    page.get_by_label("Text", exact=True).fill(" ")
    page.get_by_role("button", name="Analyse", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()
    scan(page, "a mistake")


def test_the_scan_sees_what_is_wrong(page: Page) -> None:
    page.set_content("<main><button></button><p style='color: #ccc'>pale</p></main>")
    found = problems(page)
    assert any("button-name" in line for line in found)
    assert any("color-contrast" in line for line in found)
