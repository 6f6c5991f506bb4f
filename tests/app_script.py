"""The app's scripts run without a browser, by AppTest over a workspace of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nlpkit.cli.app_command import app_folder
from nlpkit.workspace import open_workspace

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

APP = app_folder()
#: Seconds that a run may take.
PATIENCE = 60

if str(APP) not in sys.path:  # where `parts` lies; Streamlit does the same for its main script
    sys.path.insert(0, str(APP))


@pytest.fixture
def workspace_folder(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An app that knows this workspace, whose model is the tiny bundle; nobody signs in."""
    import streamlit as st

    from parts.settings import settings

    folder = tmp_path / "workspace"
    with open_workspace(folder) as workspace:
        workspace.set_model(str(tiny_folder))
    monkeypatch.setenv("NLPKIT_WORKSPACE", str(folder))
    for name in ("PASSWORD_FILE", "USER_HEADER", "MAX_UPLOAD_MB"):
        monkeypatch.delenv(f"NLPKIT_APP_{name}", raising=False)
    settings.cache_clear()
    st.cache_resource.clear()
    yield folder
    settings.cache_clear()
    st.cache_resource.clear()


def open_app(page: str = "") -> AppTest:
    """The app as a browser would open it, at its first page or at ``views/{page}.py``."""
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(APP / "main.py"), default_timeout=PATIENCE).run()
    return app.switch_page(f"views/{page}.py").run() if page else app


def said(app: AppTest) -> str:
    """All plain text of a page."""
    return "\n".join(element.value for element in app.text)
