"""Pictures of the app's pages, at desktop and phone width, into docs/images: `make screenshots`.

The app is started with a fresh workspace; a scene brings each page to what is worth seeing. A page
without a scene is taken as it opens.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import DESKTOP, PATIENCE, PHONE, Scheme, launch, new_context, running_app  # noqa: E402

IMAGES = ROOT / "docs" / "images"
VIEWS = ROOT / "apps" / "analyst" / "views"
#: The tallest picture, and the largest file.
TALLEST, LARGEST = 2800, 150_000
#: A page is taken at both widths; the phone is dark, so that both themes are seen.
SIZES: tuple[tuple[str, tuple[int, int], Scheme], ...] = (
    ("desktop", DESKTOP, "light"),
    ("phone", PHONE, "dark"),
)


def main() -> None:
    expect.set_options(timeout=PATIENCE)
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch(playwright)
        with running_app(Path(folder) / "workspace") as app:
            for name in sorted(file.stem for file in VIEWS.glob("*.py")):
                url = app.url if name == "analyse" else f"{app.url}/{name}"  # the one it opens with
                for kind, size, scheme in SIZES:
                    picture = taken(browser, url, name, size, scheme)
                    file = IMAGES / f"{name}-{kind}.png"
                    file.write_bytes(picture)
                    print(f"{file.relative_to(ROOT)}: {len(picture):,} bytes")
        browser.close()


def taken(browser: Browser, url: str, name: str, size: tuple[int, int], scheme: Scheme) -> bytes:
    """A picture of a page, as tall as what it shows."""
    context = new_context(browser, size, scheme)
    page = context.new_page()
    page.goto(url)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    SCENES.get(name, lambda _: None)(page)
    height = page.evaluate(
        "document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight"
    )
    page.set_viewport_size({"width": size[0], "height": min(max(height, size[1]), TALLEST)})
    page.mouse.move(0, 0)
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
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


SCENES: dict[str, Callable[[Page], None]] = {"analyse": analyse}


if __name__ == "__main__":
    main()
