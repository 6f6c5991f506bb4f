"""What all tests share: hypothesis profiles, no network, the folder of public data sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["app_script", "browser", "tiny", "workspaces", "indexed"]

settings.register_profile("nlpkit", deadline=None)
settings.register_profile("nlpkit-ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("nlpkit-ci" if os.environ.get("CI") else "nlpkit")

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of public data sets; the test is skipped where there is none."""
    root = os.environ.get("NLPKIT_DATA")
    if not root:
        pytest.skip("needs the public data sets: set NLPKIT_DATA to their folder")
    path = Path(root)
    if not path.is_dir():
        pytest.fail(f"NLPKIT_DATA is {root}, which is not a folder")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that read a data set, so that ``-m "not data"`` leaves them out.

    A test in a real browser may be tried again: a click that falls between two redraws of a page
    on a busy machine is lost. What is broken fails each time.
    """
    for item in items:
        if item.path.name.startswith("test_browser_"):
            item.add_marker(pytest.mark.flaky(reruns=2))
        if "data_folder" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
