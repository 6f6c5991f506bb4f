"""Batches: a table read by the model, row by row, in the background.

>>> batch = start_batch(workspace, upload, text_column="review", tasks=["sentiment", "ner"])
>>> ensure_worker(workspace)
>>> batch.status()
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import sqlalchemy as sa

from nlpkit.errors import InputError, UnknownNameError
from nlpkit.heads import SequenceHead, TokenHead
from nlpkit.workspace import results
from nlpkit.workspace.export import Layout, export_rows
from nlpkit.workspace.models import Model, model_in_use
from nlpkit.workspace.results import BatchRow, Filters, Summary
from nlpkit.workspace.schema import batch_entities, batch_labels, batch_rows
from nlpkit.workspace.tables import Preview, Reading, preview
from nlpkit.workspace.uploads import Upload
from nlpkit.workspace.work import Work, add_work, change, row_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.workspace.workspace import Workspace

ALL = Filters()


class Batch(Work):
    """A batch; its rows and sums are those of what is done, while it runs, too."""

    kind: ClassVar[str] = "batch"

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the model reads each text for, as they were asked for."""
        return tuple(self.options["tasks"])

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds of those tasks, as they were then."""
        return dict(self.options["tasks"])

    @property
    def upload_number(self) -> int:
        """The upload that is read; it may have been removed since."""
        return int(self.options["uploads"][0])

    @property
    def text_column(self) -> str:
        """The column that is read."""
        return str(self.options["text_column"])

    @property
    def date_column(self) -> str | None:
        """The column of the chart over time."""
        found: str | None = self.options["date_column"]
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """The source's columns, in its order; JSON lines may show new ones as they are read."""
        return tuple(self.result.get("columns", self.options["columns"]))

    @property
    def result_columns(self) -> tuple[str, ...]:
        """The columns that an export adds, so far; see :mod:`nlpkit.workspace.export`."""
        with self.database.read() as connection:
            return tuple(Layout(connection, self).result_columns())

    def resume(self) -> None:
        """Go on from what is done, with the same model; where nothing is, with the current one."""
        with self.database.step() as connection:
            if not row_of(connection, self.number).n_done:
                model = model_in_use(connection)
                self.options |= {"model": model.to_json()}
                facts = {"model": model.name, "model_sha256": model.identity}
                change(connection, self.number, options=self.options, **facts)
        super().resume()

    def count(self, filters: Filters = ALL) -> int:
        """How many rows pass."""
        with self.database.read() as connection:
            return results.count_rows(connection, self.number, filters)

    def rows(
        self,
        offset: int = 0,
        limit: int | None = 50,
        filters: Filters = ALL,
        least_certain: str = "",
    ) -> list[BatchRow]:
        """A page of the rows that pass, in the source's order.

        ``least_certain`` names a task: the row first of which the model was least sure.
        """
        with self.database.read() as connection:
            found = results.read_rows(
                connection, self.number, filters, offset, limit, least_certain
            )
            return list(found)

    def cells(self, rows: Iterable[BatchRow]) -> list[dict[str, Any]]:
        """Rows as an export has them: by column, those of the source and of the results."""
        with self.database.read() as connection:
            layout = Layout(connection, self)
        return [layout.cells(row) for row in rows]

    def summary(self, filters: Filters = ALL, top: int = 20) -> Summary:
        """What the rows that pass add up to, with the ``top`` most frequent entities."""
        with self.database.read() as connection:
            return results.summarize(connection, self.number, filters, top)

    def labels(self, task: str) -> list[str]:
        """The classes of a task that rows were given so far."""
        with self.database.read() as connection:
            return results.labels_of(connection, self.number, task)

    def entity_labels(self) -> list[str]:
        """The labels of the entities that were found so far."""
        with self.database.read() as connection:
            return results.entity_labels_of(connection, self.number)

    def export(self, format: str, file: str | Path | BinaryIO, filters: Filters = ALL) -> int:
        """Write the rows that pass to a file; see :mod:`nlpkit.workspace.export`.

        Returns how many rows were written; those that were set aside are in :meth:`errors`.
        """
        return export_rows(self, format, file, filters)

    def _forget(self, connection: Connection) -> None:
        for table in (batch_rows, batch_labels, batch_entities):
            connection.execute(sa.delete(table).where(table.c.batch == self.number))


def start_batch(
    workspace: Workspace,
    upload: Upload,
    *,
    text_column: str,
    tasks: Sequence[str],
    date_column: str | None = None,
    reading: Reading | None = None,
    owner: str = "",
) -> Batch:
    """Queue a batch; it is read with the model that the workspace has now.

    Args:
        text_column: the column that is read.
        tasks: tasks of the model that read single texts; one of them may find entities.
        date_column: a column with dates, for charts over time.
        reading: how the file is read, as a preview showed it; by default as it is detected.

    Raises:
        InputError: no such column, or one without texts or dates; no tasks, or such as cannot be
            read together.
        UnknownNameError: no such task.
        DataError: the file cannot be read.
        BundleError: the model is gone or broken.
    """
    seen = preview(upload, 1, reading)
    _check_text(upload, seen, text_column)
    way = None if date_column is None else _way(upload, seen, date_column)
    with workspace.database.step() as connection:
        model = model_in_use(connection)
        options = {
            "uploads": [upload.number],
            "reading": seen.reading.to_json(),
            "text_column": text_column,
            "date_column": date_column,
            "date_way": way,
            "columns": list(seen.columns),
            "tasks": _checked_tasks(model, tasks),
            "model": model.to_json(),
        }
        number = add_work(
            connection,
            Batch.kind,
            upload.name,
            owner,
            options,
            model=model.name,
            model_sha256=model.identity,
        )
    return Batch(workspace, number, owner)


def _check_text(upload: Upload, seen: Preview, column: str) -> None:
    if column not in seen.columns:
        known = ", ".join(map(repr, seen.columns))
        raise InputError(f"{upload.name} has no column {column!r}; its columns: {known}")
    if column not in seen.text_columns:
        others = ", ".join(map(repr, seen.text_columns)) or "none"
        raise InputError(
            f"the column {column!r} of {upload.name} holds no texts; columns that do: {others}"
        )


def _way(upload: Upload, seen: Preview, column: str) -> str:
    """How a column writes its dates."""
    if column not in seen.date_columns:
        others = ", ".join(map(repr, seen.date_columns)) or "none"
        raise InputError(
            f"the column {column!r} of {upload.name} holds no dates, or not all are written the "
            f"same way; columns that do: {others}"
        )
    return seen.date_columns[column]


def _checked_tasks(model: Model, tasks: Sequence[str]) -> dict[str, str]:
    """The tasks with their kinds."""
    kinds = model.tasks
    readable = [n for n, kind in kinds.items() if kind in (SequenceHead.kind, TokenHead.kind)]
    for task in tasks:
        if task not in readable:
            raise UnknownNameError.of("task", task, readable)
    chosen = {task: kinds[task] for task in tasks}
    if not chosen:
        raise InputError(f"no tasks were chosen; expected some of {', '.join(readable)}")
    if list(chosen.values()).count(TokenHead.kind) > 1:
        raise InputError(f"{', '.join(chosen)}: expected at most one task that finds entities")
    return chosen
