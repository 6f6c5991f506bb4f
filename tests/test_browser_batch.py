"""The page Batch in a real browser: journeys, a reload in mid-job, two people, accessibility."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from browser import WORK, App, choose, launch, new_context, problems, running_app, scan, settle
from playwright.sync_api import Browser, Dialog, Locator, Page, Playwright, expect
from workspaces import as_csv, reviews

from nlpkit.pipeline import Pipeline
from nlpkit.scoring.base import MULTI_LABEL_THRESHOLD
from nlpkit.types import Analysis
from nlpkit.workspace import open_workspace, worker_status

N_ROWS = 2000
#: Rows that take long enough for a reload, a pause and a few looks.
MANY_ROWS = 20_000
TASKS = ("ner", "sentiment", "topic")


@pytest.fixture(scope="module")
def batches(
    chromium: Browser, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    """An app that reads with the tiny bundle, so that thousands of rows take seconds."""
    folder = tmp_path_factory.mktemp("batches") / "workspace"
    with running_app(folder, "--model", str(tiny_folder)) as running, no_worker_after(folder):
        yield running


@contextmanager
def no_worker_after(folder: Path) -> Iterator[None]:
    """The worker ends with the block, and not only once it has been idle for a while."""
    try:
        yield
    finally:
        with open_workspace(folder) as workspace:
            pid = worker_status(workspace).pid
        if pid is not None:
            os.kill(pid, signal.SIGTERM)


def open_page(page: Page, app: App, query: str = "") -> None:
    page.goto(f"{app.url}/batch{query}")
    expect(page.get_by_role("heading", name="Batch", exact=True)).to_be_visible()


def upload(page: Page, name: str, data: bytes) -> None:
    file: Any = {"name": name, "mimeType": "text/csv", "buffer": data}
    page.locator("input[type=file]").set_input_files(file)
    expect(button(page, "Read all rows")).to_be_visible()


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def show(page: Page, view: str) -> None:
    """Open one of the views of the results."""
    page.get_by_role("tab", name=view).click()
    expect(page.get_by_role("tab", name=view)).to_have_attribute("aria-selected", "true")
    settle(page)


def wait_until_done(page: Page, n_rows: int) -> None:
    expect(page.get_by_text(f"Done: {n_rows:,} rows")).to_be_visible(timeout=WORK)
    settle(page)


def downloaded(page: Page, name: str) -> bytes:
    with page.expect_download() as download:
        button(page, name).click()
    return Path(download.value.path()).read_bytes()


def expected(kit: Pipeline, rows: list[dict[str, Any]]) -> list[Analysis]:
    return list(kit.analyze([row["review"] for row in rows], TASKS))


def classes(said: Analysis) -> tuple[str, str | None]:
    """The class of sentiment, and all likely ones of the topic, which may be several."""
    topics = [label.name for label in said.labels["topic"] if label.score >= MULTI_LABEL_THRESHOLD]
    return said.labels["sentiment"][0].name, "; ".join(topics) or None


# -- journeys --------------------------------------------------------------------------------------


def test_two_thousand_rows_from_the_upload_to_the_files(
    page: Page, batches: App, kit: Pipeline
) -> None:
    rows = reviews(N_ROWS, seed=1)
    open_page(page, batches)
    upload(page, "two thousand.csv", as_csv(rows))
    expect(page.get_by_text("Dates in day (as 2024-12-31)")).to_be_visible()
    button(page, "Read all rows").click()
    wait_until_done(page, N_ROWS)
    expect(page.get_by_role("heading", name="Over time, by week")).to_be_visible()
    expect(page.locator("[data-testid=stVegaLiteChart]")).to_have_count(4)

    said = expected(kit, rows)
    show(page, "Download")
    lines = [json.loads(line) for line in downloaded(page, "JSON lines").splitlines()]
    assert len(lines) == N_ROWS
    for line, row, one in zip(lines, rows, said, strict=True):
        assert (line["review"], line["day"], line["shop"]) == (
            row["review"],
            row["day"],
            row["shop"],
        )
        assert (line["sentiment"], line["topic"]) == classes(one)
        for task in ("sentiment", "topic"):
            # In low precision a text may differ by this from itself in another batch.
            assert line[f"{task}_score"] == pytest.approx(one.labels[task][0].score, abs=5e-3)
        assert [(e["text"], e["label"], e["start"], e["end"]) for e in line["entities"]] == [
            (e.text, e.label, e.start, e.end) for e in one.entities
        ]

    from pyarrow.parquet import read_table

    table = read_table(io.BytesIO(downloaded(page, "Parquet"))).to_pylist()
    assert [row["sentiment"] for row in table] == [line["sentiment"] for line in lines]
    assert [row["entities"] for row in table] == [line["entities"] for line in lines]

    label = lines[0]["sentiment"]
    page.get_by_text("Filters").click()
    page.get_by_role("textbox", name="Words in the text").fill("great")
    page.keyboard.press("Enter")
    n_great = sum("great" in row["review"] for row in lines)
    expect(page.get_by_text(f"{n_great:,} of 2,000 rows pass the filters")).to_be_visible()
    settle(page)
    choose(page, "Sentiment", label)
    chosen = [r for r in lines if r["sentiment"] == label and "great" in r["review"]]
    assert 0 < len(chosen) < N_ROWS
    expect(page.get_by_text(f"{len(chosen):,} of 2,000 rows pass the filters")).to_be_visible()
    settle(page)
    found = csv.DictReader(io.StringIO(downloaded(page, "CSV").decode("utf-8-sig")))
    assert [row["review"] for row in found] == [row["review"] for row in chosen]
    expect(page).to_have_url(re.compile(r"batch=\d+&words=great&is.sentiment="))

    with open_workspace(batches.workspace) as workspace:
        workspace.batches()[0].delete()  # by somebody else
    button(page, "CSV").click()
    refused = page.get_by_test_id("stDownloadButtonError")
    expect(refused).to_be_visible()
    told = refused.evaluate("refused => getComputedStyle(refused, '::after').content")
    assert "Reload this page" in told
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("it may have been deleted")


def test_a_job_goes_on_without_the_page(page: Page, batches: App, chromium: Browser) -> None:
    open_page(page, batches)
    upload(page, "many.csv", as_csv(reviews(MANY_ROWS, seed=2)))
    button(page, "Read all rows").click()
    expect(page.get_by_text("rows a second")).to_be_visible(timeout=WORK)
    address, before = page.url, share_done(page)
    assert re.search(r"batch\?batch=\d+$", address)

    page.reload()
    expect(page.get_by_text("rows a second")).to_be_visible()
    expect(button(page, "Pause")).to_be_visible()

    page.close()  # nobody looks on
    context = new_context(chromium)
    other = context.new_page()
    other.goto(address)
    expect(other.get_by_text("rows a second")).to_be_visible()
    assert share_done(other) >= before
    button(other, "Show what is read so far").click()
    expect(other.get_by_role("heading", name="Sentiment")).to_be_visible()
    settle(other)  # a click into the midst of a redraw can be lost

    button(other, "Pause").click()
    expect(other.get_by_text("Paused at")).to_be_visible()
    paused_at = n_done(other)
    assert 0 < paused_at < MANY_ROWS
    other.reload()
    expect(other.get_by_text("Paused at")).to_be_visible()
    button(other, "Go on").click()
    expect(other.get_by_text("rows a second")).to_be_visible()
    settle(other)
    button(other, "Cancel").click()
    expect(other.get_by_text("Cancelled at")).to_be_visible()
    assert paused_at <= n_done(other) < MANY_ROWS

    button(other, "Delete this batch").click()
    button(other, "Delete it").click()
    expect(other.get_by_text("(many.csv) is deleted.")).to_be_visible()
    other.goto(address)
    expect(other.get_by_role("alert")).to_contain_text("it may have been deleted")
    context.close()


def share_done(page: Page) -> int:
    """What the bar says, in percent."""
    return int(page.get_by_role("progressbar").get_attribute("aria-valuenow") or 0)


def n_done(page: Page) -> int:
    """The rows that the sentence about progress counts."""
    sentence = page.get_by_text(re.compile(r"(Paused|Cancelled) at [\d,]+ of")).inner_text()
    found = re.search(r"at ([\d,]+) of", sentence)
    assert found is not None
    return int(found[1].replace(",", ""))


def test_a_row_is_looked_at_whole(page: Page, batches: App, kit: Pipeline) -> None:
    rows = reviews(60, seed=3)
    rows[1]["review"] = HOSTILE
    open_page(page, batches)
    upload(page, "sixty.csv", as_csv(rows))
    button(page, "Read all rows").click()
    wait_until_done(page, 60)
    show(page, "Rows")
    grid = page.locator(".stDataFrameGlideDataEditor").first
    grid.click(position={"x": 15, "y": 90})  # the box before the second row
    expect(page.get_by_role("heading", name="Row 2")).to_be_visible()
    assert page.locator(".nk-text .entities").inner_text() == HOSTILE
    marked = page.locator("mark.entity").all_inner_texts()
    assert marked == [e.text for e in kit.ner(HOSTILE)]
    page.get_by_label("Page, 1 to 2").fill("2")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Rows 51 to 60 of 60")).to_be_visible()
    expect(page.get_by_role("heading", name="Row 2")).to_have_count(0)


HOSTILE = (
    "Ada went to LONDON <script>alert(1)</script> <img src=x onerror=alert(1)> **b** "
    "[a](https://evil.example) ![i](https://evil.example/i.png) $x^2$ :smile: שלום \U0001f389"
)


def test_a_hostile_table_runs_nothing(page: Page, batches: App) -> None:
    seen: list[str] = []

    def dialog(one: Dialog) -> None:
        seen.append(one.message)
        one.dismiss()

    page.on("dialog", dialog)
    page.on("request", lambda one: seen.extend({one.url} if "evil" in one.url else ()))
    rows = [{"review": HOSTILE, HOSTILE: HOSTILE, "day": f"2024-01-{i + 1:02}"} for i in range(3)]
    open_page(page, batches)
    upload(page, f"{HOSTILE.replace('/', '_')}.csv", as_csv([*rows, {**rows[0], "review": ""}]))
    button(page, "Read all rows").click()
    wait_until_done(page, 4)
    for view in ("Charts", "Rows", "Download", "Set aside"):
        show(page, view)
        for closed in reversed(page.locator("details:not([open]) > summary").all()):
            closed.click()
        page.wait_for_timeout(300)  # what a text starts may take a moment
        brought: list[str] = page.evaluate(
            """() => [...document.querySelectorAll(
                '[src*=evil], [href*=evil], [onerror], .stMain strong, .stMain .katex')]
                .map(one => one.outerHTML)"""
        )
        assert seen + brought == []


# -- two people ------------------------------------------------------------------------------------


def test_two_people_work_at_once_and_apart(
    playwright: Playwright, chromium: Browser, tiny_folder: Path, tmp_path: Path, kit: Pipeline
) -> None:
    (tmp_path / "password").write_text("open sesame")
    options = ["--model", str(tiny_folder), "--password-file", str(tmp_path / "password")]
    tables = {name: reviews(300, seed) for seed, name in enumerate(("Ada", "Grace"), 10)}
    other = launch(playwright)
    folder = tmp_path / "workspace"
    with running_app(folder, *options) as app, no_worker_after(folder):
        try:
            pages = [new_context(browser).new_page() for browser in (chromium, other)]
            people = list(zip(pages, tables.items(), strict=True))
            for page, (name, rows) in people:
                page.goto(f"{app.url}/batch")
                sign_in(page, name)
                upload(page, f"{name}.csv", as_csv(rows))
            for page, _ in people:  # both at once
                button(page, "Read all rows").click()
            for page, (name, rows) in people:
                wait_until_done(page, 300)
                show(page, "Download")
                lines = [json.loads(x) for x in downloaded(page, "JSON lines").splitlines()]
                assert [line["review"] for line in lines] == [row["review"] for row in rows]
                assert [(line["sentiment"], line["topic"]) for line in lines] == [
                    classes(one) for one in expected(kit, rows)
                ]
                page.get_by_role("button", name="All batches").click()
                expect(page.get_by_role("button", name=re.compile("^Batch"))).to_have_count(1)
                expect(page.get_by_role("button", name=f"{name}.csv")).to_be_visible()
        finally:
            pages[0].context.close()
            other.close()


def sign_in(page: Page, name: str) -> None:
    page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_role("textbox", name="Password").fill("open sesame")
    button(page, "Sign in").click()
    expect(page.get_by_role("heading", name="Batch", exact=True)).to_be_visible()


# -- accessibility ---------------------------------------------------------------------------------


def test_axe_finds_nothing_serious(page: Page, batches: App) -> None:
    rows = reviews(200, seed=4)
    rows[7]["review"] = ""
    rows[8]["review"] = "中文" * 20
    open_page(page, batches)
    scan(page, "the beginning")
    upload(page, "axe.csv", as_csv(rows))
    page.get_by_text("Read it another way").click()
    scan(page, "before the start")
    button(page, "Read all rows").click()
    wait_until_done(page, 200)
    for closed in page.get_by_text("As a table").all():
        closed.click()
    scan(page, "charts")
    page.get_by_text("Filters").click()
    page.get_by_role("textbox", name="Words in the text").fill("the")
    page.keyboard.press("Enter")
    expect(page.get_by_text("pass the filters")).to_be_visible()
    show(page, "Download")
    scan(page, "filters and downloads")
    show(page, "Set aside")
    scan(page, "rows that were set aside")
    show(page, "Rows")
    page.locator(".stDataFrameGlideDataEditor").first.click(position={"x": 15, "y": 55})
    expect(page.get_by_role("heading", name=re.compile(r"Row \d"))).to_be_visible()
    scan(page, "a row")
    button(page, "Delete this batch").click()
    expect(button(page, "Delete it")).to_be_visible()
    scan(page, "before it is deleted")


def test_axe_finds_nothing_serious_while_a_job_runs(page: Page, batches: App) -> None:
    name = f"axe {uuid4().hex}.csv"  # another one when the test is tried again
    open_page(page, batches)
    upload(page, name, as_csv(reviews(MANY_ROWS, seed=5)))
    button(page, "Read all rows").click()
    expect(page.get_by_text("rows a second")).to_be_visible(timeout=WORK)
    assert problems(page) == []
    settle(page)  # a click into the midst of a redraw can be lost
    button(page, "Pause").click()
    expect(page.get_by_text("Paused at")).to_be_visible()
    scan(page, "paused")
    page.get_by_role("button", name="All batches").click()
    expect(page.get_by_role("button", name=name)).to_be_visible()
    scan(page, "the list")
