"""Fixtures of the browser tests: a real Chromium, and the app as `nlpkit app` starts it.

Without Chromium the tests are skipped, except in CI, where that is a failure.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    TimeoutError,
    expect,
    sync_playwright,
)

#: What Chromium needs to run as root in a container, quietly and without a network.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP, PHONE = (1280, 900), (390, 844)
#: Milliseconds that a page, and what it has the models do, may take; CI machines are slow.
PATIENCE, WORK = 60_000, 180_000

Scheme = Literal["light", "dark"]
#: The themes' backgrounds, as in the app's config.toml.
BACKGROUNDS: dict[Scheme, str] = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}
#: What a scan looks at: colours change with the theme, and what is where with the width.
LOOKS: tuple[tuple[tuple[int, int], Scheme], ...] = (
    (DESKTOP, "light"),
    (DESKTOP, "dark"),
    (PHONE, "dark"),
)


@dataclass(frozen=True)
class App:
    """A running app: where it is, its workspace, its process and what it has said."""

    url: str
    workspace: Path
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def running_app(workspace: Path, *options: str) -> Iterator[App]:
    """The app in a process of its own, on a free port, until the block ends."""
    port = free_port()
    log = workspace.with_suffix(".log")
    command = [sys.executable, "-m", "nlpkit.cli", "app", "--port", str(port), *options]
    environment = {**os.environ, "NLPKIT_WORKSPACE": str(workspace), "CI": "true"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=workspace.parent
        )
    try:
        url = f"http://localhost:{port}"
        wait_for(url, process, log)
        yield App(url, workspace, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the app answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
                return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    pytest.fail(f"the app did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def launch(playwright: Playwright) -> Browser:
    """A Chromium of one's own."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        reason = "needs Chromium (on Debian and Ubuntu: apt install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return playwright.chromium.launch(executable_path=found, args=ARGUMENTS)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """A browser for all tests; each takes contexts of its own from it."""
    browser = launch(playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def app(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One app with base-en and a fresh workspace, for tests that do not mind each other."""
    with running_app(tmp_path_factory.mktemp("app") / "workspace") as running:
        yield running


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page of desktop width in a session of its own."""
    context = new_context(chromium)
    yield context.new_page()
    context.close()


def new_context(
    browser: Browser, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light"
) -> BrowserContext:
    """A session of a browser, as if on another machine."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    context.set_default_timeout(PATIENCE)
    return context


def choose(page: Page, box: str, option: str) -> None:
    """Choose an option of a list; a list that a redraw of the page closes is opened again."""
    for left in reversed(range(5)):
        page.get_by_role("combobox", name=box).fill(option)
        try:
            page.get_by_role("option", name=option).click(timeout=PATIENCE / 10)
            break
        except TimeoutError:
            if not left:
                raise
            page.keyboard.press("Escape")
    page.keyboard.press("Escape")


def settle(page: Page) -> None:
    """Wait until the page rests and all of it is there."""
    for marker in ("[data-testid=stStatusWidget]", "[data-stale=true]", "[data-testid=stSkeleton]"):
        expect(page.locator(marker)).to_have_count(0)


def scan(page: Page, state: str) -> None:
    """Look with axe at a state of the page, in both themes and at both widths."""
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    for size, scheme in LOOKS:
        show_as(page, size, scheme)
        assert problems(page) == [], f"{state}, {size[0]} pixels wide, {scheme}"
        sideways = page.evaluate("document.documentElement.scrollWidth")
        assert sideways <= size[0], f"{state}: the page scrolls sideways"
    show_as(page, *LOOKS[0])


def show_as(page: Page, size: tuple[int, int], scheme: Scheme) -> None:
    """Change the width and the theme, and wait until the page has followed."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=scheme)
    expect(page.locator(".stApp")).to_have_css("background-color", BACKGROUNDS[scheme])
    settle(page)


def problems(page: Page) -> list[str]:
    """What axe-core finds serious or critical on a page, a line for each place."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    # Only what matters crosses over: the whole report is large.
    found: list[dict[str, Any]] = page.evaluate(
        """async () => (await axe.run({resultTypes: ['violations']})).violations
            .filter(one => ['serious', 'critical'].includes(one.impact))"""
    )
    return [
        f"{one['impact']}: {one['id']} ({one['help']}): {node['html'][:200]}"
        for one in found
        for node in one["nodes"]
    ]
