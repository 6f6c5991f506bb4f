"""What the analyst's app costs beyond the library: time from click to result, memory, start.

    python benchmarks/app.py [--write]

The app is started as people start it, and looked at in Chromium. Times are medians of rounds in
which the page and the library, called in this process, take turns on the same text. A click's time
ends when its result is on the page, marked text and all; it holds what the browser and its driver
take. The bars: 0.3 s beyond the library, 1.5 times the memory with ten sessions, 5 s to the first
page.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, expect, sync_playwright

import nlpkit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import PATIENCE, App, launch, new_context, running_app  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "app.json"
STARTS, ROUNDS, SESSIONS = 3, 9, 10
SENTENCE = (
    "The Helsinki company Norrwind said on Tuesday that it will build its first wind farm near the "
    "Danish island of Bornholm, and chief executive Maria Lindqvist called it a success. "
)
#: Characters, roughly, of a short text and of one of several pages.
LENGTHS = (300, 6_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch(playwright)
        found: dict[str, float | str] = {
            "first page after `nlpkit app`, seconds": round(
                statistics.median(
                    first_page(browser, Path(folder) / f"start-{i}") for i in range(STARTS)
                ),
                2,
            )
        }
        with running_app(Path(folder) / "workspace") as app:
            found |= clicks(browser, app)
            found |= memory(browser, app)
        browser.close()
    found["machine"] = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    for name, value in found.items():
        print(f"{name:<60} {value}")
    if options.write:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def first_page(browser: Browser, workspace: Path) -> float:
    """Seconds from the command to a page that can be used."""
    start = time.perf_counter()
    with running_app(workspace) as app:
        page = open_page(browser, app)
        seconds = time.perf_counter() - start
        page.context.close()
    return seconds


def clicks(browser: Browser, app: App) -> dict[str, float | str]:
    """From click to result, beyond what the library takes on the same text."""
    kit = nlpkit.load()
    page = open_page(browser, app)
    analyse(page, "Warm up. " + SENTENCE)
    found: dict[str, float | str] = {}
    for length in LENGTHS:
        here, there = [], []
        for number in range(ROUNDS):
            text = f"Number {number}. " + SENTENCE * (length // len(SENTENCE) or 1)
            start = time.perf_counter()
            kit.analyze(text, ["ner", "sentiment", "topic"])
            here.append(time.perf_counter() - start)
            there.append(analyse(page, text))
        beyond = statistics.median(b - a for a, b in zip(here, there, strict=True))
        found[f"library, {length:,} characters, seconds"] = round(statistics.median(here), 3)
        found[f"click to result, {length:,} characters, seconds more"] = round(beyond, 3)
    page.context.close()
    return found


def memory(browser: Browser, app: App) -> dict[str, float | str]:
    """Resident memory of the app with one session that has a result, and with ten."""
    taken = []
    for number in range(SESSIONS):
        page = open_page(browser, app)
        analyse(page, f"Session {number}. " + SENTENCE * 30)
        taken.append(psutil.Process(app.process.pid).memory_info().rss / 2**20)
    return {
        "resident memory with 1 session, MB": round(taken[0]),
        f"resident memory with {SESSIONS} sessions, MB": round(taken[-1]),
        f"{SESSIONS} sessions / 1": round(taken[-1] / taken[0], 2),
    }


def open_page(browser: Browser, app: App) -> Page:
    page = new_context(browser).new_page()
    page.goto(app.url)
    expect(page.get_by_role("button", name="Analyse", exact=True)).to_be_visible()
    return page


def analyse(page: Page, text: str) -> float:
    """Seconds from the click to the result of this text."""
    page.get_by_label("Text", exact=True).fill(text)
    button = page.get_by_role("button", name="Analyse", exact=True)
    start = time.perf_counter()
    button.click()
    page.wait_for_function(
        "start => document.querySelector('.nk-text .entities')?.textContent.startsWith(start)",
        arg=text[:12],
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
