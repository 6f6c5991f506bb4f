"""`nlpkit app` as it runs: whom it lets in, what it sends, how it ends."""

from __future__ import annotations

import signal
import socket
import socketserver
import threading
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from browser import App, new_context, problems, running_app
from playwright.sync_api import Browser, Page, expect


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost", "http://localhost", 101),
        ("127.0.0.1", "http://127.0.0.1", 101),
        ("rebound.example", "http://rebound.example", 403),
        ("localhost", "http://elsewhere.example", 403),
    ],
)
def test_no_other_site_may_speak_to_the_app(app: App, host: str, origin: str, status: int) -> None:
    """A page elsewhere can neither connect nor pass for ours by a name of its own."""
    port = urlsplit(app.url).port
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {
        "Host": f"{host}:{port}",
        "Origin": f"{origin}:{port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    connection.request("GET", "/_stcore/stream", headers=headers)
    assert connection.getresponse().status == status
    connection.close()


def test_a_first_visit_asks_nobody_else(page: Page, app: App) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(app.url)
    expect(page.get_by_role("button", name="Analyse", exact=True)).to_be_visible()
    page.wait_for_timeout(1000)
    assert [url for url in asked if not url.startswith((app.url, "data:", "blob:"))] == []


class NamingProxy(socketserver.BaseRequestHandler):
    """A proxy that has signed somebody in: it says so in each request, and passes the rest on."""

    target: ClassVar[tuple[str, int]]
    user: ClassVar[bytes] = b"ada"

    def handle(self) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            block = self.request.recv(65536)
            if not block:
                return
            received += block
        head, _, body = received.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if line != b"Connection: keep-alive"]
        lines.append(b"X-Forwarded-User: " + self.user)
        if b"Connection: Upgrade" not in lines:
            lines.append(b"Connection: close")  # one request a connection
        with socket.create_connection(self.target) as app:
            app.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            back = threading.Thread(target=passed_on, args=(app, self.request))
            back.start()
            passed_on(self.request, app)
            back.join()


def passed_on(source: socket.socket, target: socket.socket) -> None:
    """Everything from one end to the other, until either is closed."""
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_a_proxy_names_its_users_and_the_app_ends_when_told(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_app(tmp_path / "workspace", "--user-header", "X-Forwarded-User") as app:
        context = new_context(chromium)
        page = context.new_page()
        page.goto(app.url)  # past the proxy
        expect(page.get_by_role("alert")).to_contain_text("through the proxy")
        expect(page.get_by_label("Text", exact=True)).to_have_count(0)
        address = ("127.0.0.1", urlsplit(app.url).port)
        monkeypatch.setattr(NamingProxy, "target", address, raising=False)
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), NamingProxy) as proxy:
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            page.goto(f"http://localhost:{proxy.server_address[1]}")
            expect(page.get_by_label("Text", exact=True)).to_be_visible()
            context.close()
            proxy.shutdown()
        app.process.send_signal(signal.SIGINT)
        assert app.process.wait(20) == 0
        assert "Traceback" not in app.log.read_text(encoding="utf-8")


def test_the_password_opens_every_page(chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame\n", encoding="utf-8")
    with running_app(tmp_path / "workspace", "--password-file", str(file)) as app:
        context = new_context(chromium)
        page = context.new_page()
        page.goto(f"{app.url}/batch")  # by its own address, before anybody has been here
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(page.get_by_role("heading")).to_have_count(1)
        expect(page.get_by_role("navigation")).to_have_count(0)
        assert problems(page) == []
        page.get_by_label("Name").fill("Ada")
        page.get_by_label("Password", exact=True).fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("That is not the password")
        page.get_by_label("Password", exact=True).fill("open sesame")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Signed in as Ada")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        context.close()
