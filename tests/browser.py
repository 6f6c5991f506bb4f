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
#: Milliseconds that a page may take; CI machines are slow.
PATIENCE = 60_000

Scheme = Literal["light", "dark"]


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


def problems(page: Page) -> list[str]:
    """What axe-core finds serious or critical on a page, a line for each place."""
    from axe_playwright_python.sync_playwright import Axe

    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{one['impact']}: {one['id']} ({one['help']}): {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
