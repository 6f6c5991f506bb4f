"""``nlpkit app``: the analyst's app in the browser."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from nlpkit.cli.output import say
from nlpkit.errors import InputError, MissingExtraError

#: Shipped inside the wheel as ``nlpkit/recipes``; in a checkout it is the folder ``apps``.
APP_FOLDERS = (
    Path(__file__).parents[1] / "recipes" / "apps" / "analyst",
    Path(__file__).parents[2] / "apps" / "analyst",
)
#: What the extra ``app`` brings, as far as every page needs it.
MODULES = ("streamlit", "altair", "spacy", "pandas", "openpyxl")

#: The names under which a browser on this machine asks for the app.
LOOPBACK = ("localhost", "127.0.0.1", "::1")

#: Streamlit's options, the same for everybody: nothing is sent anywhere, no file is watched, no
#: traceback reaches a page, no other site may speak to the app. As environment variables they
#: stand above any config.toml, and a Streamlit that lacks one of them does without it.
OPTIONS = {
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    "STREAMLIT_CLIENT_SHOW_ERROR_DETAILS": "none",
    "STREAMLIT_CLIENT_SHOW_ERROR_LINKS": "false",
    "STREAMLIT_CLIENT_TOOLBAR_MODE": "minimal",
    "STREAMLIT_LOGGER_HIDE_WELCOME_MESSAGE": "true",
    "STREAMLIT_RUNNER_MAGIC_ENABLED": "false",
    "STREAMLIT_SERVER_ENABLE_CORS": "true",
    "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION": "true",
    "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none",
    "STREAMLIT_SERVER_RUN_ON_SAVE": "false",
    "STREAMLIT_SERVER_SHOW_EMAIL_PROMPT": "false",
}


def app(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the app listens.")] = 8501,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    workspace: Annotated[
        Path | None,
        typer.Option(
            help="The folder that keeps uploads, jobs and corrections; by default NLPKIT_WORKSPACE "
            "or ~/.local/share/nlpkit."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A bundle's name or folder; by default what the workspace uses, at first base-en.",
        ),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(help="Ask for a name and the password in this file's first line."),
    ] = None,
    user_header: Annotated[
        str | None,
        typer.Option(help="The header in which your proxy names the user: X-Forwarded-User."),
    ] = None,
    max_upload_mb: Annotated[
        int, typer.Option("--max-upload-mb", min=1, help="The largest file one may upload.")
    ] = 200,
) -> None:
    """Open the analyst's app: read, batch, search, correct and retrain in the browser."""
    for module in MODULES:
        if find_spec(module) is None:
            raise MissingExtraError.of("app", "the app", module)
    if password_file is not None and user_header is not None:
        raise InputError("got --password-file and --user-header; expected one of them")
    main = app_folder() / "main.py"
    shared = password_file is not None or user_header is not None
    settings = OPTIONS | {
        "NLPKIT_APP_PASSWORD_FILE": _checked_password_file(password_file),
        "NLPKIT_APP_USER_HEADER": user_header or "",
        "NLPKIT_APP_MAX_UPLOAD_MB": str(max_upload_mb),
        "NLPKIT_WORKSPACE": _ready_workspace(workspace, model),
        "STREAMLIT_SERVER_ADDRESS": host,
        "STREAMLIT_SERVER_PORT": str(port),
        "STREAMLIT_SERVER_HEADLESS": str(is_headless()).lower(),
        "STREAMLIT_SERVER_MAX_UPLOAD_SIZE": str(max_upload_mb),
    }
    if is_loopback(host) and not shared:
        # Else a page elsewhere could reach the app under a name of its own (DNS rebinding).
        settings["STREAMLIT_SERVER_ALLOWED_HOSTS"] = " ".join(LOOPBACK)
    _check_address(host, port)
    os.environ.update(settings)
    _announce(host, port, password_file, user_header)
    _serve(main)


def app_folder() -> Path:
    """Where the app's scripts lie: in an installed wheel or in a checkout."""
    for folder in APP_FOLDERS:
        if (folder / "main.py").is_file():
            return folder
    raise InputError(f"the app is in none of {', '.join(map(str, APP_FOLDERS))}: install again")


def is_headless() -> bool:
    """Whether no browser can be opened here: in CI, or on Linux without a display."""
    if os.environ.get("CI"):
        return True
    shows = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform.startswith(("linux", "freebsd")) and not shows


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _serve(main: Path) -> None:
    """Run Streamlit in this process, as its own command does, until a signal ends it."""
    from streamlit.web.cli import main as streamlit

    streamlit.main(["run", str(main)], prog_name="streamlit", standalone_mode=False)


def _ready_workspace(folder: Path | None, model: str | None) -> str:
    """The workspace's folder, made where absent, with the model it is to use."""
    from nlpkit.workspace import open_workspace

    workspace = open_workspace(folder)
    if model is not None:
        workspace.set_model(model)
    workspace.close()
    return str(workspace.folder.resolve())


def _checked_password_file(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        first = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--password-file {path}: cannot be read ({error})") from None
    if not first:
        raise InputError(f"--password-file {path}: its first line is empty; expected the password")
    return str(path.resolve())


def _check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on, before anything is started."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family):
            pass
    except socket.gaierror as error:
        raise InputError(
            f"--host {host}: {error.strerror}; expected an address of this machine"
        ) from None
    except PermissionError:
        raise InputError(f"--port {port}: not allowed; choose one above 1023") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"--port {port} is taken, perhaps by an app that still runs: end that, or choose "
                f"another port, as in --port {port % 65535 + 1}"
            ) from None
        raise InputError(f"--host {host}, --port {port}: {error.strerror or error}") from None


def _announce(host: str, port: int, password_file: Path | None, user_header: str | None) -> None:
    """Say where the app is, and who else can get there."""
    name = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    say(f"nlpkit app: http://{name}:{port} (Ctrl-C ends it)", "bold")
    if user_header is not None:
        say(
            f"note: the app believes whoever sends the header {user_header}; let nobody but the "
            "proxy reach it",
            "yellow",
        )
    elif password_file is None and not is_loopback(host):
        say(
            "warning: everybody who reaches this address can use the app and see all its data; "
            "--password-file asks for a password",
            "yellow",
        )
