"""A museum's documents, and indexes of a workspace built from them in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from workspaces import as_jsonl

from nlpkit.workspace import IndexEntry, Workspace, open_workspace
from nlpkit.workspace.background import locked, record_worker
from nlpkit.workspace.worker import Worker

TEXTS = {
    "hours": "The museum opens at nine and closes at six. On Mondays it is closed.",
    "begin": "The museum was founded in 1893 by a shipowner. Selma Hagelstam designed the house.",
    "engines": "Eleven steam engines stand in the hall, of which four still run on Saturdays.",
    "flight": "The Junkers motor was recovered from lake Inari in 1978. Engines that fly.",
    "cafe": "The café serves soup, salmon and cinnamon buns. Groups should book a table.",
    "access": "All floors can be reached by lift. The nearest tram stop is Kauppatori.",
}
#: A title, a text field, a number, a date (one with a time of day) and a truth value.
ROWS = [
    {
        "id": id,
        "text": text,
        "title": id.capitalize(),
        "lang": "en" if number % 2 else "fi",
        "year": 2019 + number,
        "checked": f"2024-0{number + 1}-15" + ("T10:00:00" if number == 3 else ""),
        "open": number < 4,
    }
    for number, (id, text) in enumerate(TEXTS.items())
]


@pytest.fixture
def library(workspace_folder: Path) -> Iterator[Workspace]:
    """The workspace of the page, where this process counts as the worker, so that none starts."""
    with open_workspace(workspace_folder) as workspace, locked(workspace.folder, 0.0) as ours:
        assert ours
        with workspace.database.step() as connection:
            record_worker(connection, os.getpid())
        yield workspace


def work(workspace: Workspace) -> None:
    """Do all there is to do."""
    worker = Worker(workspace)
    while worker.step():
        pass


def museum(
    workspace: Workspace,
    name: str = "museum",
    rows: Sequence[Mapping[str, Any]] = ROWS,
    owner: str = "",
) -> IndexEntry:
    """An index of rows with ``id`` and ``text``, built."""
    upload = workspace.add_upload(f"{name}.jsonl", as_jsonl(rows), owner)
    workspace.add_index(name, uploads=[upload], text_column="text", id_column="id", owner=owner)
    work(workspace)
    return workspace.index(name, owner)
