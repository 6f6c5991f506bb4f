"""`nlpkit app` and what surrounds every page: options, sign-in, errors, one model for all."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from app_script import APP, open_app, said
from streamlit.runtime.context import ContextProxy, StreamlitHeaders
from streamlit.testing.v1 import AppTest

from nlpkit.cli import app_command, app_main
from nlpkit.pipeline import Pipeline
from nlpkit.workspace import Model, open_workspace
from parts import settings, users

TEXT = "Ada Lovelace lived in LONDON."


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, dict[str, str]]]:
    """Runs `nlpkit app` up to where Streamlit would begin: exit status and what it was told."""
    told: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", {**os.environ})
    monkeypatch.setattr(app_command, "_serve", lambda main: told.update(os.environ, main=str(main)))

    def run(*options: object) -> tuple[int, dict[str, str]]:
        given = [str(option) for option in options]
        if "--workspace" not in given:
            given += ["--workspace", str(tmp_path / "workspace")]
        return app_main(["app", *given]), told

    return run


def test_the_command_shuts_all_doors(start: Any, tmp_path: Path) -> None:
    status, told = start("--port", 8642, "--max-upload-mb", 7)
    assert status == 0
    assert told["main"] == str(APP / "main.py")
    expected = {
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        "STREAMLIT_CLIENT_SHOW_ERROR_DETAILS": "none",
        "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
        "STREAMLIT_SERVER_ALLOWED_HOSTS": "localhost 127.0.0.1 ::1",
        "STREAMLIT_SERVER_ENABLE_CORS": "true",
        "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION": "true",
        "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none",
        "STREAMLIT_SERVER_MAX_UPLOAD_SIZE": "7",
        "STREAMLIT_SERVER_PORT": "8642",
        "NLPKIT_APP_MAX_UPLOAD_MB": "7",
        "NLPKIT_APP_PASSWORD_FILE": "",
        "NLPKIT_APP_USER_HEADER": "",
        "NLPKIT_WORKSPACE": str(tmp_path / "workspace"),
    }
    assert {name: told[name] for name in expected} == expected


def test_streamlit_knows_the_options_and_understands_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Misspelled environment variables would be passed over in silence."""
    from streamlit import config
    from streamlit.web import cli

    told: dict[str, Any] = {}
    monkeypatch.setattr(cli, "_main_run", lambda *_, flag_options: told.update(flag_options))
    hosts = {"STREAMLIT_SERVER_ALLOWED_HOSTS": " ".join(app_command.LOOPBACK)}
    for name, value in (app_command.OPTIONS | hosts).items():
        monkeypatch.setenv(name, value)
    app_command._serve(APP / "main.py")
    keys = {option.env_var: key for key, option in config.get_config_options().items()}
    for name, value in app_command.OPTIONS.items():
        assert str(told[keys[name].replace(".", "_")]).lower() == value
    assert told["server_allowedHosts"] == app_command.LOOPBACK


def test_the_model_is_kept_in_the_workspace(start: Any, tmp_path: Path, tiny_folder: Path) -> None:
    assert start("--model", tiny_folder, "--port", 8642)[0] == 0
    assert start("--port", 8642)[0] == 0  # without --model it stays
    with open_workspace(tmp_path / "workspace") as workspace:
        assert workspace.model() == Model(str(tiny_folder))


def test_users_may_come_by_other_names(start: Any, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\nnot this\n")
    status, told = start("--port", 8642, "--password-file", file)
    assert status == 0
    assert told["NLPKIT_APP_PASSWORD_FILE"] == str(file)
    assert "STREAMLIT_SERVER_ALLOWED_HOSTS" not in told
    assert "secret" not in "".join(told.values())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "0.0.0.0", "--port", "8642"], "everybody who reaches this address"),
        (["--user-header", "X-User", "--port", "8642"], "let nobody but the proxy"),
    ],
)
def test_who_else_may_come_in_is_said(
    start: Any, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert start(*options)[0] == 0
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "no.such.host.invalid"], "expected an address of this machine"),
        (["--host", "192.0.2.7"], "--host 192.0.2.7"),
        (["--model", "nope"], "unknown bundle"),
        (["--password-file", "nowhere"], "cannot be read"),
        (["--password-file", os.devnull], "its first line is empty"),
        (["--password-file", __file__, "--user-header", "X-User"], "expected one of them"),
        (["--workspace", __file__], "cannot be a workspace"),
    ],
)
def test_options_that_will_not_do_are_told(
    start: Any, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    status, seen = start("--port", 8642, *options)
    assert (status, seen) == (2, {})
    assert told in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert start("--port", port) == (2, {})
    assert f"--port {port} is taken" in capsys.readouterr().err


def test_a_missing_extra_is_told(
    start: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_command, "find_spec", lambda name: None)
    assert start() == (2, {})
    assert "pip install 'nlpkit-bert[app]'" in capsys.readouterr().err


def test_the_app_is_found_in_a_wheel_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[1]
    installed, checkout = app_command.APP_FOLDERS
    assert installed == root / "nlpkit" / "recipes" / "apps" / "analyst"
    assert app_command.app_folder() == checkout == root / "apps" / "analyst"
    monkeypatch.setattr(app_command, "APP_FOLDERS", (tmp_path, checkout))
    (tmp_path / "main.py").touch()
    assert app_command.app_folder() == tmp_path


@pytest.mark.parametrize(
    ("environment", "headless"),
    [({}, True), ({"DISPLAY": ":0"}, False), ({"DISPLAY": ":0", "CI": "true"}, True)],
)
def test_a_browser_is_opened_where_there_is_a_display(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], headless: bool
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(sys, "platform", "linux")
    assert app_command.is_headless() == headless


# -- pages -----------------------------------------------------------------------------------------


def test_every_page_is_in_the_menu(workspace_folder: Path) -> None:
    source = (APP / "main.py").read_text(encoding="utf-8")
    for file in (APP / "views").glob("*.py"):
        assert f'("{file.stem}", ' in source
    assert not (APP / "pages").exists(), "Streamlit would serve it past main.py"


def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The bundles that are loaded from now on."""
    loaded: list[str] = []
    load = Model.load

    def noted(model: Model) -> Pipeline:
        loaded.append(model.bundle)
        return load(model)

    monkeypatch.setattr(Model, "load", noted)
    return loaded


def test_all_sessions_share_one_model(
    workspace_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loads(monkeypatch)
    for _ in range(3):
        assert not open_app().error
    assert len(loaded) == 1


def test_another_model_is_loaded_when_the_workspace_changes_it(
    workspace_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loads(monkeypatch)
    app = open_app()
    with open_workspace(workspace_folder) as workspace:
        workspace.set_model("base-en")
    app.run()
    assert not app.error
    assert loaded[1:] == ["base-en"]


# -- errors ----------------------------------------------------------------------------------------


def raising(make: str) -> AppTest:
    """A page on which something goes wrong."""
    lines = ["import nlpkit.errors", "import streamlit as st", "from parts import errors"]
    lines += ["with errors.shown():", f"    raise {make}", "st.text('what follows')"]
    return AppTest.from_string("\n".join(lines)).run()


def test_an_error_of_a_person_is_one_sentence() -> None:
    app = raising("nlpkit.errors.InputError('**got** <b>x</b>; expected [y](http://z.org)')")
    (error,) = app.error
    assert error.value == (
        r"\*\*got\*\* \<b\>x\<\/b\>\; expected \[y\]\(http\:\/\/" + "\u2060" + r"z\.org\)"
    )
    assert said(app) == "what follows"


def test_an_error_of_the_system_names_the_place() -> None:
    app = raising("OSError(28, 'No space left on device', '/data')")
    assert app.error[0].value.replace("\\", "") == "/data: No space left on device"


def test_an_error_nobody_foresaw_is_in_the_log_and_not_on_the_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, logger="nlpkit.app"):
        app = raising("ValueError('the inside of things')")
    assert "nobody foresaw" in app.error[0].value
    assert "the inside of things" not in app.error[0].value
    assert "the inside of things" in caplog.text
    assert said(app) == "what follows"


# -- users -----------------------------------------------------------------------------------------


@pytest.fixture
def password(workspace_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app that asks for the password "pa55 wörd"."""
    file = tmp_path / "password"
    file.write_text("pa55 wörd\nsecond line\n", encoding="utf-8")
    monkeypatch.setenv("NLPKIT_APP_PASSWORD_FILE", str(file))
    monkeypatch.setattr(users, "PENALTY", 0.0)
    settings.settings.cache_clear()
    return file


def sign_in(app: AppTest, name: str, given: str) -> AppTest:
    app.text_input[0].set_value(name)
    app.text_input[1].set_value(given)
    return app.button(key="FormSubmitter:sign-in-Sign in").click().run()


def test_nobody_sees_a_page_without_the_password(password: Path) -> None:
    app = open_app()
    assert [title.value for title in app.title] == ["Sign in"]
    app = open_app("analyse")  # by its own address
    assert [title.value for title in app.title] == ["Sign in"]
    for given in ("", "pa55 word", "second line", "pa55 wörd\nsecond line"):
        app = sign_in(open_app(), "Ada", given)
        assert app.error[0].value == "That is not the password."
        assert [title.value for title in app.title] == ["Sign in"]
    app = sign_in(open_app(), "  ", "pa55 wörd")
    assert app.error[0].value == "Please give your name."


def test_with_the_password_one_is_in_until_one_signs_out(password: Path) -> None:
    app = sign_in(open_app(), " Ada   Lovelace ", "pa55 wörd")
    assert [title.value for title in app.title] == ["Analyse"]
    assert app.sidebar.text[0].value == "Signed in as Ada Lovelace"
    app.sidebar.button[0].click().run()
    assert [title.value for title in app.title] == ["Sign in"]


def test_a_password_file_that_has_gone_lets_nobody_in(password: Path) -> None:
    password.unlink()
    app = sign_in(open_app(), "Ada", "")
    assert "the password file cannot be read" in app.error[0].value
    assert [title.value for title in app.title] == ["Sign in"]


def owner_of() -> AppTest:
    """A page that says who it is for."""
    script = "import streamlit as st\nfrom parts import errors, users\n"
    script += "with errors.shown():\n    st.text(users.owner())"
    return AppTest.from_string(script).run()


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ([("x-forwarded-user", "ada")], "ada"),
        ([("X-Forwarded-User", " Ada Lovelace "), ("Host", "x")], "Ada Lovelace"),
        ([], None),
        ([("X-Forwarded-User", " ")], None),
        ([("X-Forwarded-User", "ada"), ("X-Forwarded-User", "eve")], None),
    ],
)
def test_a_proxy_names_the_user(
    workspace_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    headers: list[tuple[str, str]],
    name: str | None,
) -> None:
    monkeypatch.setenv("NLPKIT_APP_USER_HEADER", "X-Forwarded-User")
    settings.settings.cache_clear()
    monkeypatch.setattr(ContextProxy, "headers", property(lambda _: StreamlitHeaders(headers)))
    app = owner_of()
    if name is None:
        assert "through the proxy" in app.error[0].value
        assert said(app) == ""
    else:
        assert said(app) == name
        assert not app.error


def test_without_users_everything_belongs_to_nobody_in_particular(workspace_folder: Path) -> None:
    app = owner_of()
    assert (said(app), len(app.error)) == ("", 0)
