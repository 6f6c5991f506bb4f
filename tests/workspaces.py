"""Fixtures of workspaces that read with the tiny bundle, and tables to put into them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlpkit.workspace import Batch, Status, Workspace, open_workspace, start_batch
from nlpkit.workspace.worker import Worker

PEOPLE = ("Ada", "Charles", "Grace", "Alan")
PLACES = ("LONDON", "PARIS", "ROME")
WORDS = ("the", "old", "man", "built", "a", "great", "engine", "in", "town", "good", "bad", "poor")


@pytest.fixture(scope="session")
def empty_workspace(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """The folder of a workspace that reads with the tiny bundle; copy it, don't change it."""
    folder = tmp_path_factory.mktemp("workspaces") / "empty"
    with open_workspace(folder) as opened:
        opened.set_model(tiny_folder)
    return folder


@pytest.fixture
def workspace(tmp_path: Path, empty_workspace: Path) -> Iterator[Workspace]:
    """An empty workspace that reads with the tiny bundle."""
    with open_workspace(shutil.copytree(empty_workspace, tmp_path / "workspace")) as opened:
        yield opened


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition, and fail where it never holds."""

    def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        last = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < last, "it never came to pass"
            time.sleep(0.01)

    return wait


def reviews(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with a text of a few words to a few windows, a day, a number and a shop."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        words = [str(word) for word in rng.choice(WORDS, int(rng.integers(2, 40)))]
        words[1:1] = [str(rng.choice(PEOPLE)), "went", "to", str(rng.choice(PLACES))]
        day = f"2024-{1 + i % 12:02}-{1 + i % 28:02}"
        text = " ".join(words) + f" {i}."
        made.append({"shop": f"shop {i % 3}", "review": text, "day": day, "stars": i % 5 + 1})
    return made


def as_csv(rows: Iterable[Mapping[str, Any]], delimiter: str = ",") -> bytes:
    """A CSV file with a header."""
    rows = list(rows)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A file of JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A Parquet file with row groups of seven."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    file = io.BytesIO()
    write_table(pa.Table.from_pylist([dict(row) for row in rows]), file, row_group_size=7)
    return file.getvalue()


def as_xlsx(rows: Iterable[Mapping[str, Any]], title: str = "Reviews") -> bytes:
    """An Excel file; the rows stand on the second of its sheets."""
    from openpyxl import Workbook

    rows = list(rows)
    book = Workbook()
    assert book.active is not None
    book.active.append(["nothing of interest"])
    sheet = book.create_sheet(title)
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append(list(row.values()))
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def some_batch(
    workspace: Workspace,
    data: bytes,
    name: str = "reviews.csv",
    tasks: Iterable[str] = ("ner", "sentiment", "topic"),
    owner: str = "",
    **options: Any,
) -> Batch:
    """A batch of a file, in line."""
    upload = workspace.add_upload(name, data, owner)
    return start_batch(
        workspace, upload, text_column="review", tasks=list(tasks), owner=owner, **options
    )


def worked(batch: Batch) -> Status:
    """The batch's status once a worker in this process has done all there is to do."""
    Worker(batch.workspace).run()
    return batch.status()
