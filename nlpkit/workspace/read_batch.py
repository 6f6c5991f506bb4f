"""The worker's part of a batch: pages of rows through the model, each committed as a whole.

plan -> the parts of the file, written down once
page -> rows from where the last commit left off -> Pipeline.analyze -> one transaction
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nlpkit.errors import InputError, NlpkitError, StoreError, UnknownTextWarning
from nlpkit.heads import TokenHead
from nlpkit.scoring.base import MULTI_LABEL_THRESHOLD
from nlpkit.sources.base import UnusableError, check_characters, plain_value
from nlpkit.sources.rows import Fields
from nlpkit.types import Analysis
from nlpkit.workspace.dates import day_of
from nlpkit.workspace.models import Model
from nlpkit.workspace.schema import batch_entities, batch_labels, batch_rows, work, work_parts
from nlpkit.workspace.tables import Reading, SetAside, Table, open_table
from nlpkit.workspace.uploads import find_upload
from nlpkit.workspace.work import LostError, State, change, row_of, set_aside

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.pipeline import Pipeline
    from nlpkit.workspace.batches import Batch
    from nlpkit.workspace.worker import Worker

#: Rows of a part of the file, which is entered at its beginning.
PART_ROWS = 1000
#: Rows and characters of a page, which is read and committed together, at most.
PAGE_ROWS = 128
PAGE_CHARACTERS = 200_000
#: A longer text is set aside.
LONGEST_TEXT = 1_000_000
#: What any model can read: where it is refused, the model is to blame and not the rows.
PROBE = "A plain sentence."


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be read: its number, its place in words, its text and its other columns."""

    number: int
    place: str
    text: str
    fields: Mapping[str, Any]
    date: str | None


def read_batch(batch: Batch, worker: Worker) -> None:
    """Read pages until all is read, or the batch is stopped, or others are to have their turn.

    Raises:
        NlpkitError: why it cannot go on; what is done stays.
    """
    options = batch.options
    upload = find_upload(batch.workspace, options["uploads"][0], batch.owner)
    table = open_table(upload, Reading(**options["reading"]))
    with batch.database.read() as connection:
        row = row_of(connection, batch.number)
    kit = worker.pipeline(Model.from_json(options["model"]), row.model_sha256)
    if row.n_rows is None:
        _plan(batch, worker, table, kit)
    for part in _open_parts(batch):
        if not _read_part(batch, worker, table, kit, part):
            return
    with batch.database.step() as connection:
        if worker.holds(connection, batch.number).state == State.RUNNING:
            change(connection, batch.number, state=State.DONE, finished_at=time.time())


def _plan(batch: Batch, worker: Worker, table: Table, kit: Pipeline) -> None:
    """Write down where the parts of the file begin, and how many rows there are."""
    parts: list[dict[str, Any]] = []
    n_rows = 0
    for number, place in enumerate(table.places(PART_ROWS)):
        parts.append(
            {
                "work": batch.number,
                "part": number,
                "spec": place.spec,
                "first_row": n_rows + 1,
                "n_rows": place.n_rows,
                "n_done": 0,
            }
        )
        n_rows += place.n_rows
    if not parts:
        raise InputError(f"{table.name} holds no rows; expected at least one below the header")
    several = [t for t in batch.tasks if getattr(kit.head(t).head, "multi_label", False)]
    facts = {"columns": list(batch.columns), "multi_label": several}
    with batch.database.step() as connection:
        worker.holds(connection, batch.number)
        connection.execute(sa.delete(work_parts).where(work_parts.c.work == batch.number))
        connection.execute(sa.insert(work_parts), parts)
        change(connection, batch.number, n_rows=n_rows, result=facts, started_at=time.time())


def _open_parts(batch: Batch) -> Sequence[Any]:
    query = (
        sa.select(work_parts)
        .where(work_parts.c.work == batch.number, work_parts.c.n_done < work_parts.c.n_rows)
        .order_by(work_parts.c.part)
    )
    with batch.database.read() as connection:
        return connection.execute(query).all()


def _read_part(batch: Batch, worker: Worker, table: Table, kit: Pipeline, part: Any) -> bool:
    """Read a part from where the last commit left it; False where the work is to stop."""
    n_done = part.n_done
    began = time.perf_counter()
    for page in _pages(islice(table.rows(part.spec, part.n_rows), n_done, None)):
        first = part.first_row + n_done
        rows = [_checked(batch, first + i, *one) for i, one in enumerate(page)]
        read = _analyzed(kit, batch.tasks, rows)
        with batch.database.step() as connection:
            now = worker.holds(connection, batch.number)
            _count(connection, part, n_done, len(page))
            _insert(connection, batch, kit, read)
            bad = [one for one in read if isinstance(one, SetAside)]
            set_aside(connection, batch.number, bad)
            change(
                connection,
                batch.number,
                n_done=work.c.n_done + len(page),
                n_errors=work.c.n_errors + len(bad),
                seconds=work.c.seconds + time.perf_counter() - began,
                attempts=0,
                result=now.result | {"columns": _columns(now.result["columns"], read)},
            )
        n_done += len(page)
        began = time.perf_counter()
        if now.state != State.RUNNING or worker.should_yield(batch.owner):
            return False
    return True


def _pages(rows: Iterator[tuple[str, Fields]]) -> Iterator[list[tuple[str, Fields]]]:
    page: list[tuple[str, Fields]] = []
    characters = 0
    for place, fields in rows:
        page.append((place, fields))
        if not isinstance(fields, str):
            characters += sum(len(value) for value in fields.values() if isinstance(value, str))
        if len(page) == PAGE_ROWS or characters >= PAGE_CHARACTERS:
            yield page
            page, characters = [], 0
    if page:
        yield page


def _checked(batch: Batch, number: int, place: str, fields: Fields) -> Row | SetAside:
    """A row as it can be read and stored, or why it cannot."""
    if isinstance(fields, str):
        return SetAside(place, fields)
    options = batch.options
    try:
        text = _text(fields, options["text_column"])
        rest = {name: _plain(name, v) for name, v in fields.items() if name != batch.text_column}
    except UnusableError as error:
        return SetAside(place, str(error))
    day = None
    if options["date_column"] is not None:
        day = day_of(rest.get(options["date_column"]), options["date_way"])
    return Row(number, place, text, rest, day)


def _text(fields: Mapping[str, Any], column: str) -> str:
    value = fields.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise UnusableError(f"{column!r} is empty; expected a text")
    if not isinstance(value, str):
        raise UnusableError(f"{column!r} is {value!r:.60}; expected a text")
    if len(value) > LONGEST_TEXT:
        raise UnusableError(
            f"{column!r} has {len(value):,} characters; expected at most {LONGEST_TEXT:,}"
        )
    check_characters(repr(column), value)
    return value


def _plain(name: str, value: Any) -> Any:
    """A field as JSON has it, if UTF-8 can say it."""
    try:
        plain = plain_value(value)
        check_characters("the field", json.dumps([name, plain], ensure_ascii=False))
    except RecursionError:
        raise UnusableError(f"{name!r:.60} is nested too deeply") from None
    except UnusableError as error:
        raise UnusableError(f"{name!r:.60}: {error}") from None
    return plain


def _analyzed(
    kit: Pipeline, tasks: Sequence[str], rows: Sequence[Row | SetAside]
) -> list[tuple[Row, Analysis] | SetAside]:
    """Each row with what the model says of it; a text that it refuses is set aside alone."""
    texts = [row.text for row in rows if isinstance(row, Row)]
    said: Iterator[Analysis | str]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownTextWarning)  # it is kept with the row
        try:
            said = iter(kit.analyze(texts, tasks))
        except (StoreError, OSError, MemoryError):
            raise
        except Exception:
            kit.analyze(PROBE, tasks)  # it raises where no text is to blame
            said = iter([_alone(kit, tasks, text) for text in texts])
    found: list[tuple[Row, Analysis] | SetAside] = []
    for row in rows:
        if isinstance(row, SetAside):
            found.append(row)
            continue
        one = next(said)
        found.append(SetAside(row.place, one) if isinstance(one, str) else (row, one))
    return found


def _alone(kit: Pipeline, tasks: Sequence[str], text: str) -> Analysis | str:
    """What the model says of a text, or why it refuses it."""
    try:
        said: Analysis = kit.analyze(text, tasks)
    except Exception as error:
        return str(error) if isinstance(error, NlpkitError) else repr(error)
    return said


def _columns(known: list[str], read: Sequence[tuple[Row, Analysis] | SetAside]) -> list[str]:
    """The columns with those that show up here for the first time."""
    names = dict.fromkeys(known)
    for one in read:
        if not isinstance(one, SetAside):
            names |= dict.fromkeys(one[0].fields)
    return list(names)


# -- rows ------------------------------------------------------------------------------------------


def _count(connection: Connection, part: Any, before: int, n: int) -> None:
    """Move a part's mark, if it still is where we took it up."""
    same = sa.and_(
        work_parts.c.work == part.work,
        work_parts.c.part == part.part,
        work_parts.c.n_done == before,
    )
    moved = connection.execute(sa.update(work_parts).where(same).values(n_done=before + n))
    if moved.rowcount != 1:
        raise LostError(f"another worker reads part {part.part} of batch {part.work}")


def _insert(
    connection: Connection,
    batch: Batch,
    kit: Pipeline,
    read: Sequence[tuple[Row, Analysis] | SetAside],
) -> None:
    rows: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    entities: list[dict[str, Any]] = []
    finds_entities = TokenHead.kind in batch.options["tasks"].values()
    for one in read:
        if isinstance(one, SetAside):
            continue
        row, said = one
        own = {"batch": batch.number, "row": row.number}
        found = said.entities if finds_entities else []
        results = {
            "labels": {t: [[x.name, x.score] for x in given] for t, given in said.labels.items()},
            "entities": [[e.label, e.start, e.end, e.score] for e in found],
        }
        rows.append(
            {
                **own,
                "text": row.text,
                "fields": json.dumps(row.fields, ensure_ascii=False),
                "results": json.dumps(results, ensure_ascii=False),
                "date": row.date,
                "warning": "; ".join(said.warnings) or None,
            }
        )
        for task in said.labels:
            labels += [{**own, **label} for label in _labels(kit, task, said)]
        for position, entity in enumerate(found):
            part = {"label": entity.label, "text": entity.text, "score": entity.score}
            entities.append({**own, "position": position, **part})
    for table, values in (
        (batch_rows, rows),
        (batch_labels, labels),
        (batch_entities, entities),
    ):
        if values:
            connection.execute(sa.insert(table), values)


def _labels(kit: Pipeline, task: str, said: Analysis) -> Iterator[dict[str, Any]]:
    """The best class of a text, and of a multi-label task all that are likely enough."""
    several = getattr(kit.head(task).head, "multi_label", False)
    for rank, label in enumerate(said.labels[task]):
        given = not several or label.score >= MULTI_LABEL_THRESHOLD
        if rank == 0 or (several and given):
            part = {"label": label.name, "score": label.score, "given": int(given)}
            yield {"task": task, "rank": rank, **part}
