"""Pictures of the app's pages, at desktop and phone width, into docs/images: `make screenshots`.

The app is started with a workspace in which somebody has worked already (docs/ferries.py has the
texts); a scene brings a page to what is worth seeing. `python docs/screenshots.py batch ask` makes
the pictures of these scenes alone.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ferries import archive, judged, reviews
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from nlpkit.workspace import open_workspace, start_batch
from nlpkit.workspace.worker import Worker

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import DESKTOP, PATIENCE, PHONE, Scheme, launch, new_context, running_app, settle  # noqa: E402

IMAGES = ROOT / "docs" / "images"
#: The tallest picture, and the largest file.
TALLEST, LARGEST = 2800, 120_000
#: A page is taken at both widths; the phone is dark, so that both themes are seen.
SIZES: tuple[tuple[str, tuple[int, int], Scheme], ...] = (
    ("desktop", DESKTOP, "light"),
    ("phone", PHONE, "dark"),
)


def main() -> None:
    names = sys.argv[1:] or [*SCENES]
    expect.set_options(timeout=PATIENCE)
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        work_in(workspace)
        browser = launch(playwright)
        with running_app(workspace) as app:
            for name in names:
                address, act = SCENES[name]
                for kind, size, scheme in SIZES:
                    picture = taken(browser, f"{app.url}/{address}", act, size, scheme)
                    file = IMAGES / f"{name}-{kind}.png"
                    file.write_bytes(picture)
                    print(f"{file.relative_to(ROOT)}: {len(picture):,} bytes")
        browser.close()


def work_in(folder: Path) -> None:
    """What an analyst has done before: a batch, an index, corrections and a training."""
    with open_workspace(folder) as workspace:
        table = workspace.add_upload("guest reviews.csv", reviews())
        tasks = ["ner", "sentiment"]
        start_batch(workspace, table, text_column="review", tasks=tasks, date_column="day")
        documents = workspace.add_upload("harbour archive.csv", archive())
        workspace.add_index(INDEX, uploads=[documents], text_column="text")
        for number, (text, label) in enumerate(judged()):
            by = "Ada" if number % 3 else "Grace"
            workspace.corrections.add(text, "sentiment", label, by=by)
            if number < N_MARKED:
                workspace.corrections.add(text, "ner", [], by=by)
        Worker(workspace).run()
        workspace.start_training("sentiment", by="Ada")
        Worker(workspace).run()


def taken(
    browser: Browser,
    url: str,
    act: Callable[[Page], None],
    size: tuple[int, int],
    scheme: Scheme,
) -> bytes:
    """A picture of a page, as tall as what it shows."""
    context = new_context(browser, size, scheme)
    page = context.new_page()
    page.goto(url)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    settle(page)
    act(page)
    settle(page)
    block = page.get_by_test_id("stMainBlockContainer")
    height = block.evaluate("block => block.parentElement.scrollHeight")
    page.set_viewport_size({"width": size[0], "height": min(max(height, size[1]), TALLEST)})
    page.mouse.move(0, 0)
    block.evaluate("block => block.parentElement.scrollTo(0, 0)")
    page.wait_for_timeout(1000)  # until nothing moves any more
    picture = optimised(page.screenshot())
    context.close()
    return picture


def optimised(picture: bytes) -> bytes:
    """The picture with as many colours as fit into the largest file."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64, 32):
        made = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
        if made.tell() <= LARGEST:
            break
    return made.getvalue()


def analyse(page: Page) -> None:
    page.get_by_role("button", name="Try an example").click()
    page.get_by_role("button", name="Show the words").click()
    expect(page.get_by_text("Against it (orange)")).to_be_visible()
    page.get_by_label("Question about this text").fill("How many turbines will the farm have?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("mark.answer")).to_be_visible()


def batch(page: Page) -> None:
    drawn = "[data-testid=stVegaLiteChart]:has(svg.marks, canvas.marks)"
    expect(page.locator(drawn)).to_have_count(3)


def rows(page: Page) -> None:
    page.get_by_role("tab", name="Rows").click()
    table = page.locator(".stDataFrameGlideDataEditor").first
    table.click(position={"x": 15, "y": 160})
    expect(page.get_by_role("heading", name=re.compile(r"Row \d"))).to_be_visible()


def search(page: Page) -> None:
    expect(page.locator("article")).to_have_count(3)


def ask(page: Page) -> None:
    for question in ("Who designed the lighthouse?", "What does a ticket cost?"):
        page.get_by_test_id("stChatInputTextArea").fill(question)
        page.keyboard.press("Enter")
        said = page.get_by_test_id("stChatMessageContent").get_by_text(question)
        expect(said).to_be_visible()
        expect(page.get_by_test_id("stSpinner")).to_have_count(0)
    expect(page.get_by_text("There is no answer to this")).to_be_visible()


def indexes(page: Page) -> None:
    expect(page.get_by_role("button", name="Check for damage")).to_be_enabled()
    page.get_by_text("Jobs so far").click()


def label(page: Page) -> None:
    for first, last, told in (
        ("Nordhav", "Ferries", "Nordhav Ferries (ORG)"),
        ("Skerry", "Line", "Picked: Skerry Line"),
    ):
        for text in (first, last):
            page.get_by_role("toolbar").get_by_role("button", name=text).click()
        expect(page.get_by_text(f"Picked: {first} {last}")).to_be_visible()
        settle(page)
        if first == "Nordhav":
            page.get_by_role("button", name="ORG").last.click()
        expect(page.get_by_text(told)).to_be_visible()


def retrain(page: Page) -> None:
    expect(page.get_by_role("heading", name="Text by text")).to_be_visible()


def models(page: Page) -> None:
    page.get_by_role("tab", name="Scores").click()
    expect(page.get_by_role("table", name="Scores")).to_be_visible()


INDEX = "Harbour archive"
#: Texts whose entities were corrected.
N_MARKED = 14
#: Pictures by name: the address at which each begins, and what is done there.
SCENES: dict[str, tuple[str, Callable[[Page], None]]] = {
    "analyse": ("", analyse),
    "batch": ("batch?batch=1", batch),
    "rows": ("batch?batch=1&is.sentiment=negative", rows),
    "search": ("search?index=Harbour+archive&q=a+shipwreck+in+bad+weather&k=3", search),
    "ask": ("search?index=Harbour+archive&view=Ask", ask),
    "indexes": ("indexes?index=Harbour+archive", indexes),
    "label": ("label?task=ner&batch=1", label),
    "retrain": ("label?task=sentiment&show=retrain", retrain),
    "models": ("models", models),
}


if __name__ == "__main__":
    main()
