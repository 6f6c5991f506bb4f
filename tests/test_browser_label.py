"""The pages Label and retrain, and Models, in a real browser: from a wrong answer to a better head.

The tiny bundle reads here: its features are enough to learn a simple rule from, in seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import PHONE, WORK, App, new_context, running_app, scan, settle
from playwright.sync_api import Browser, Dialog, Locator, Page, expect
from test_browser_shell import NamingProxy
from workspaces import as_csv

from nlpkit.card import BundleFacts, write_card
from nlpkit.evaluation import Report
from nlpkit.workspace import Batch, Workspace, open_workspace, start_batch, worker_status
from nlpkit.workspace.worker import Worker

#: Texts that are corrected beforehand, and those that the browser corrects.
N_BEFORE, N_HERE = 28, 12
HOSTILE = (
    "<script>window.hit = 1</script> <img src=x onerror='window.hit = 1'> **bold** :red[y] "
    "[x](javascript:window.hit=1) `code` $z$ \u05e9\u05dc\u05d5\u05dd"
)


@contextmanager
def prepared(folder: Path, model: Path, *options: str) -> Iterator[App]:
    """An app on a workspace that reads with a model; its worker ends with the block."""
    with open_workspace(folder) as workspace:
        workspace.set_model(model)
    with running_app(folder, *options) as running:
        try:
            yield running
        finally:
            with open_workspace(folder) as workspace:
                pid = worker_status(workspace).pid
            if pid is not None:
                os.kill(pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def labels(
    chromium: Browser, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    """An app for tests that do not mind each other; its bundle has a card."""
    place = tmp_path_factory.mktemp("labels")
    bundle = Path(shutil.copytree(tiny_folder, place / "bundle"))
    write_card(bundle, a_card(), [a_report("sst2"), a_report("conll2003")], ["Irony."])
    with prepared(place / "workspace", bundle) as running:
        yield running


def a_card() -> BundleFacts:
    return BundleFacts(
        name="tiny",
        version=1,
        description="A bundle for tests",
        backbone="none",
        seed=0,
        precision="fp32",
        licence="Apache-2.0",
        intended_use="Tests.",
        tasks=(),
        files={},
    )


def a_report(suite: str) -> Report:
    scores = {"precision": 0.8, "recall": 0.7, "f1": 0.75, "n_gold": 40, "n_predicted": 38}
    bins = [
        {"low": i / 5, "high": (i + 1) / 5, "n": 9, "confidence": i / 5 + 0.1, "accuracy": i / 5}
        for i in range(5)
    ]
    return Report(
        suite=suite,
        scores={"accuracy": 0.75},
        n_examples=80,
        seconds=1.0,
        bundle="tiny-1",
        engine="onnx",
        precision="fp32",
        version="0.1.0",
        command="nlpkit evaluate tiny",
        details={
            "labels": ["negative", "positive"],
            "per_class": {"negative": scores, "positive": scores},
            "confusion_matrix": [[30, 10], [12, 28]],
            "expected_calibration_error": 0.1,
            "calibration": bins,
        },
        intervals={"accuracy": [0.7, 0.8]},
    )


def rule(text: str) -> str:
    """What is right, here: the good are positive, the poor negative."""
    return "positive" if "good" in text else "negative"


def sentences(first: int, n: int) -> list[str]:
    words = ("good", "poor")
    return [f"the {words[i % 2]} engine {i} in town" for i in range(first, first + n)]


def a_batch(workspace: Workspace, texts: Sequence[str], owner: str = "") -> Batch:
    """A batch of texts, read."""
    table = as_csv([{"review": text} for text in texts])
    upload = workspace.add_upload("reviews.csv", table, owner)
    tasks = ["ner", "sentiment", "topic"]
    batch = start_batch(workspace, upload, text_column="review", tasks=tasks, owner=owner)
    Worker(workspace).run()
    return batch


def open_page(page: Page, app: App, query: str = "") -> None:
    page.goto(f"{app.url}/label{query}")
    expect(page.get_by_role("heading", name="Label and retrain")).to_be_visible()
    settle(page)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=re.compile(rf"^{name}"))


def word(page: Page, text: str) -> Locator:
    """A word of the text, by what it says."""
    words = page.get_by_role("toolbar").get_by_role("button")
    return words.filter(has_text=re.compile(rf"^{text}[\u2060\u200b]*$"))


def type_text(page: Page, app: App, task: str, text: str) -> None:
    """Give a text to be judged."""
    open_page(page, app, f"?task={task}")
    unfold(page)
    page.get_by_role("radio", name="One text").click()
    page.get_by_label("Text", exact=True).fill(text)
    button(page, "Take this text").click()
    expect(page.get_by_text("Text 1 of 1")).to_be_visible()
    expect(page.locator(".st-key-label-bar button").first).to_be_visible()
    settle(page)


def unfold(page: Page) -> None:
    """Open what is folded away once there are texts."""
    folded = page.locator("details", has_text="Texts and settings")
    expect(folded).to_be_visible()
    if folded.get_attribute("open") is None:
        folded.locator("summary").first.click()
    expect(page.get_by_role("radiogroup", name="Texts from")).to_be_visible()


def best_class(page: Page, app: App, text: str) -> str:
    """What the page Analyse says of a text."""
    page.goto(f"{app.url}/?tasks=sentiment")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Analyse", exact=True).click()
    best = page.locator(".nk-scores tr.best th")
    expect(best).to_be_visible()
    return best.inner_text()


# -- from a wrong answer to a better head ----------------------------------------------------------


def test_correct_retrain_throw_away_retrain_and_accept(
    page: Page, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "workspace"
    with prepared(folder, tiny_folder) as app, open_workspace(folder) as workspace:
        for text in sentences(0, N_BEFORE):
            workspace.corrections.add(text, "sentiment", rule(text), by="Ada")
        a_batch(workspace, sentences(100, N_HERE))
        correct_by_keys(page, app)
        assert workspace.corrections.texts("sentiment") == N_BEFORE + N_HERE
        for one in workspace.corrections.list("sentiment", limit=N_HERE):
            assert one.value == rule(one.text)

        retrain(page, 1)
        training = workspace.trainings()[0]
        compared = training.comparison()
        differing = next(one for one in compared if one.before != one.after)
        assert best_class(page, app, differing.text) == differing.before

        open_page(page, app, "?task=sentiment&show=retrain")
        button(page, "Throw it away").click()
        button(page, "Throw away").click()
        expect(page.get_by_text("The old head stays in use")).to_be_visible()
        assert best_class(page, app, differing.text) == differing.before

        open_page(page, app, "?task=sentiment&show=retrain")
        retrain(page, 2)
        button(page, "Accept the new head").click()
        expect(page.get_by_text("From now on texts are read with the new head")).to_be_visible()
        assert best_class(page, app, differing.text) == differing.after

        page.goto(f"{app.url}/models")
        pack = workspace.trainings()[0].pack.name
        expect(page.get_by_text(f"tiny-1 + {pack}", exact=True)).to_be_visible()
        page.get_by_text("sentiment (sentiment)").click()
        button(page, "Use this model").click()
        expect(page.get_by_text("tiny-1 is in use now")).to_be_visible()
        assert best_class(page, app, differing.text) == differing.before


def correct_by_keys(page: Page, app: App) -> None:
    """Answer what is in line with the keys 1 (negative) and 3 (positive)."""
    open_page(page, app, "?task=sentiment")
    for place in range(1, N_HERE + 1):
        expect(page.get_by_text(f"Text {place} of {N_HERE}")).to_be_visible()
        expect(page.get_by_role("button", name="positive")).to_be_visible()
        settle(page)
        text = page.locator(".nk-text").inner_text()
        page.wait_for_timeout(300)  # two answers within less are one, a double click
        page.keyboard.press("3" if rule(text) == "positive" else "1")
    expect(page.get_by_text("That was the last text in line")).to_be_visible()
    n = N_BEFORE + N_HERE
    expect(page.get_by_text(f"{n} texts corrected, enough to retrain")).to_be_visible()
    page.get_by_role("radio", name="Retrain").click()


def retrain(page: Page, number: int) -> None:
    """Start a training, the first or another of the app's, and watch it end."""
    page.get_by_role("button", name="Retrain", exact=True).click()
    if number == 1:  # the worker starts, which takes its time; later ones may be over at once
        expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Trained for \d+ epochs"))).to_be_visible(timeout=WORK)
    expect(button(page, "Accept the new head")).to_be_visible()
    settle(page)
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    expect(page.get_by_role("table", name="Scores on the held-out texts")).to_be_visible()
    expect(page.get_by_text(re.compile(r"The two differ on \d"))).to_be_visible()


# -- entities --------------------------------------------------------------------------------------


def test_entities_by_mouse_and_by_keys(page: Page, labels: App) -> None:
    text = "Ada Lovelace saw the old bridge of LONDON.\nthe the"
    type_text(page, labels, "ner", text)
    assert re.sub(r"[\u2060\u200b]", "", word(page, ".*").first.inner_text()) == "Ada"
    expect(word(page, "the")).to_have_count(3)
    word(page, "old").click()
    expect(page.get_by_text("Picked: old", exact=True)).to_be_visible()
    expect(word(page, "old")).to_have_attribute("aria-pressed", "true")
    word(page, "bridge").click()
    expect(page.get_by_text("Picked: old bridge", exact=True)).to_be_visible()
    page.keyboard.press("2")
    told = "3 entities: Ada Lovelace (PER), old bridge (LOC), LONDON (LOC)"
    expect(page.get_by_text(told)).to_be_visible()
    # The focus has stayed where it was, so that the keyboard goes on from there.
    expect(word(page, "bridge")).to_be_focused()
    expect(word(page, "bridge")).to_have_attribute("aria-pressed", "false")
    after = word(page, "bridge").evaluate("e => getComputedStyle(e, '::after').content")
    assert after == '"LOC"'
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(word(page, "LONDON")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("0")  # before the page has followed: what counts is what is picked
    expect(page.get_by_text("2 entities: Ada Lovelace (PER), old bridge (LOC)")).to_be_visible()
    settle(page)
    page.keyboard.press("s")
    expect(page.get_by_text("That was the last text in line")).to_be_visible()
    with open_workspace(labels.workspace) as workspace:
        [correction] = workspace.corrections.list("ner", limit=1)
    assert correction.text == text
    assert correction.value == [
        {"start": 0, "end": 12, "label": "PER"},
        {"start": 21, "end": 31, "label": "LOC"},
    ]


def test_keys_do_nothing_where_one_types(page: Page, labels: App) -> None:
    type_text(page, labels, "sentiment", "an engine for keys")
    page.get_by_role("textbox", name="Your name").press_sequentially("s1n2b")
    page.keyboard.press("Tab")
    settle(page)
    expect(page.get_by_text("Text 1 of 1")).to_be_visible()
    with open_workspace(labels.workspace) as workspace:
        texts = [one.text for one in workspace.corrections.list("sentiment")]
    assert "an engine for keys" not in texts


# -- hostile texts ---------------------------------------------------------------------------------


def test_a_hostile_text_is_shown_as_text_and_runs_nothing(page: Page, labels: App) -> None:
    dialogs: list[str] = []

    def seen(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", seen)
    type_text(page, labels, "ner", HOSTILE)
    shown = "".join(word(page, ".*").all_inner_texts())
    assert re.sub(r"[\u2060\u200b\s]", "", shown) == re.sub(r"\s", "", HOSTILE)
    assert page.get_by_role("toolbar").locator("strong, em, code, a, img, .katex").count() == 0
    button(page, "Save and next").click()
    expect(page.get_by_text("That was the last text in line")).to_be_visible()
    type_text(page, labels, "sentiment", HOSTILE)
    assert page.locator(".nk-text").inner_text() == HOSTILE
    page.get_by_role("button", name="neutral").click()
    expect(page.get_by_text("That was the last text in line")).to_be_visible()
    page.get_by_role("radio", name="Corrections").click()
    expect(page.get_by_text("All corrections")).to_be_visible()
    settle(page)
    page.locator(".stDataFrameGlideDataEditor").first.click(position={"x": 15, "y": 55})
    expect(page.get_by_test_id("stText").filter(has_text=HOSTILE)).to_be_visible()
    assert page.evaluate("window.hit") is None
    assert dialogs == []


# -- files -----------------------------------------------------------------------------------------


def test_corrections_are_taken_along(page: Page, labels: App) -> None:
    from spacy import blank
    from spacy.tokens import DocBin

    with open_workspace(labels.workspace) as workspace:
        value = [{"start": 0, "end": 3, "label": "PER"}]
        workspace.corrections.add("Ada wrote it.", "ner", value, by="Grace")
    open_page(page, labels, "?task=ner&show=corrections")
    found = {}
    for name in ("JSON lines", "CoNLL", "spaCy DocBin"):
        with page.expect_download() as download:
            button(page, name).click()
        found[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    assert b'"text": "Ada wrote it."' in found["corrections-ner.jsonl"]
    assert b"Ada\tB-PER\nwrote\tO\n" in found["corrections-ner.conll"]
    docs = list(DocBin().from_bytes(found["corrections-ner.spacy"]).get_docs(blank("en").vocab))
    [doc] = [doc for doc in docs if doc.text == "Ada wrote it."]
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("Ada", "PER")]


# -- two people ------------------------------------------------------------------------------------


def test_two_people_see_their_own(chromium: Browser, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    options = ("--user-header", "X-Forwarded-User")
    with (
        prepared(folder, tiny_folder, *options) as app,
        open_workspace(folder) as workspace,
        ExitStack() as stack,
    ):
        people = ("ada", "ben")
        for name in people:
            a_batch(workspace, [f"a text of {name} {i}" for i in range(3)], name)
        pages = {name: stack.enter_context(signed_in(chromium, app, name)) for name in people}
        for name, page in pages.items():
            expect(page.get_by_text("Text 1 of 3")).to_be_visible()
            assert f"a text of {name}" in page.locator(".nk-text").inner_text()
            page.get_by_role("button", name="neutral").click()
            expect(page.get_by_text("1 text corrected")).to_be_visible()
            unfold(page)
            expect(page.get_by_role("textbox", name="Your name")).to_have_count(0)
        for name in people:
            [correction] = workspace.corrections.list("sentiment", name)
            assert (correction.by, correction.owner) == (name, name)
        some_training_of_ada(workspace)
        for name, page in pages.items():
            page.get_by_role("radio", name="Retrain").click()
            expect(page.get_by_role("heading", name="Training")).to_have_count(int(name == "ada"))
        pages["ada"].get_by_role("button", name="Accept the new head").click()
        expect(pages["ada"].get_by_text("Accepted.")).to_be_visible()
        # The model is everybody's; what it was trained on stays hers.
        page = pages["ben"]
        page.get_by_role("link", name="Models").click()
        expect(page.get_by_text("pack sentiment").first).to_be_visible()
        page.get_by_role("link", name="Label and retrain").click()
        page.get_by_role("radio", name="sentiment").click()
        page.get_by_role("radio", name="Corrections").click()
        expect(page.get_by_text("All corrections")).to_be_visible()
        settle(page)
        cells = page.locator("[data-testid^=glide-cell]")
        expect(cells.filter(has_text=re.compile("^ben$"))).to_have_count(1)
        expect(cells.filter(has_text=re.compile("^ada$"))).to_have_count(0)


def some_training_of_ada(workspace: Workspace) -> None:
    for text in sentences(0, 40):
        workspace.corrections.add(text, "sentiment", rule(text), by="ada", owner="ada")
    workspace.start_training("sentiment", "ada", "ada")
    Worker(workspace).run()


@contextmanager
def signed_in(browser: Browser, app: App, name: str) -> Iterator[Page]:
    """The page of somebody whom a proxy has signed in."""
    address = ("127.0.0.1", urlsplit(app.url).port)
    named = type("Proxy", (NamingProxy,), {"target": address, "user": name.encode()})
    context = new_context(browser)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), named) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            page = context.new_page()
            page.goto(f"http://localhost:{proxy.server_address[1]}/label?task=sentiment")
            expect(page.get_by_role("heading", name="Label and retrain")).to_be_visible()
            yield page
        finally:
            context.close()
            proxy.shutdown()


# -- accessibility ---------------------------------------------------------------------------------


def test_axe_finds_nothing_serious_in_label(page: Page, labels: App) -> None:
    for task in ("ner", "sentiment", "topic"):
        type_text(page, labels, task, "Ada Lovelace saw the old bridge of LONDON.")
        if task == "ner":
            word(page, "old").click()
            word(page, "bridge").click()
            expect(page.get_by_text("Picked: old bridge", exact=True)).to_be_visible()
        scan(page, task)
    with open_workspace(labels.workspace) as workspace:
        for text in sentences(0, 30):
            workspace.corrections.add(text, "sentiment", rule(text), by="Ada")
            workspace.corrections.add(text, "sentiment", "neutral", by="Ben")
    open_page(page, labels, "?task=sentiment&show=corrections")
    scan(page, "corrections")
    page.get_by_role("radio", name="Retrain").click()
    retrain(page, 1)
    page.get_by_text("Show those on which they agree, too").click()
    scan(page, "retrain")


def test_axe_finds_nothing_serious_in_models(page: Page, labels: App) -> None:
    page.goto(f"{labels.url}/models")
    expect(page.get_by_role("heading", name="What is known")).to_be_visible()
    page.get_by_text("Take one from a folder").click()
    for view in ("About", "Scores", "By class", "Confusion", "Calibration"):
        page.get_by_role("tab", name=view).click()
        expect(page.get_by_role("tab", name=view)).to_have_attribute("aria-selected", "true")
        scan(page, view)


def test_pages_fit_a_telephone(chromium: Browser, labels: App) -> None:
    context = new_context(chromium, PHONE)
    page = context.new_page()
    type_text(page, labels, "ner", "Ada Lovelace saw the " + "x" * 200 + " of LONDON. " * 40)
    for address in ("label?task=ner", "label?show=corrections", "label?show=retrain", "models"):
        if address != "label?task=ner":
            page.goto(f"{labels.url}/{address}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        settle(page)
        too_wide = page.evaluate(
            "[...document.querySelectorAll('.stMain *')].filter(e => "
            "e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.nk-scroll')"
            " && !e.closest('.stDataFrame') && !e.closest('[role=tablist]')"
            " && getComputedStyle(e).visibility != 'hidden').map(e => e.outerHTML.slice(0, 120))"
        )
        assert too_wide == []
    context.close()
