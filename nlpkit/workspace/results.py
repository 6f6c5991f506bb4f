"""The results of a batch as rows: filters over them, pages of them, and what they add up to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nlpkit.errors import InputError
from nlpkit.scoring.base import MULTI_LABEL_THRESHOLD
from nlpkit.store.schema import Number
from nlpkit.types import Entity, Label
from nlpkit.workspace.schema import batch_entities, batch_labels, batch_rows

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select, Subquery

#: Rows that an export holds in memory at a time.
BLOCK = 1000
#: From this many days on a chart over time counts by week, by month, by year.
WEEKS_FROM, MONTHS_FROM, YEARS_FROM = 60, 550, 3700


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows are meant; all conditions that are given hold together.

    Args:
        labels: of a task, the classes of which a row has one.
        scores: of a task, the lowest and highest score of a row's best class.
        entity: a part of an entity's text, in any case of letters.
        entity_label: the label of an entity; with ``entity`` and ``entity_score`` of the same one.
        entity_score: the lowest score of an entity.
        words: words, or parts of them, that a text has all of, in any order and case of letters.
        dates: the first and the last day, ISO dates; "" leaves an end open.
    """

    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scores: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    entity: str = ""
    entity_label: str = ""
    entity_score: float = 0.0
    words: str = ""
    dates: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        for day in filter(None, self.dates):
            try:
                date.fromisoformat(day)
            except ValueError:
                raise InputError(f"dates has {day!r}; expected days like 2024-12-31") from None


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A row with its results; ``fields`` are its other columns, ``number`` counts from 1."""

    number: int
    text: str
    fields: Mapping[str, Any]
    labels: Mapping[str, list[Label]]
    entities: list[Entity]
    date: str | None
    warning: str | None


@dataclass(frozen=True, slots=True)
class EntityCount:
    """An entity and the number of rows that name it."""

    text: str
    label: str
    rows: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What rows add up to.

    ``classes`` counts rows by task and class, the most frequent first; a row of a multi-label
    task counts for each class it was given. ``mean_scores`` are those of the best classes.
    ``dates`` has (first day, class, rows) by task, a line for each ``date_unit`` (day, week,
    month or year) and class, in order; ``undated`` rows are in none. ``warned`` rows carry a
    warning.
    """

    rows: int
    classes: dict[str, dict[str, int]]
    mean_scores: dict[str, float]
    entities: list[EntityCount]
    dates: dict[str, list[tuple[str, str, int]]]
    date_unit: str
    undated: int
    warned: int


_COUNT = sa.select(sa.func.count()).select_from(batch_rows)


def count_rows(connection: Connection, batch: int, filters: Filters) -> int:
    """How many rows pass."""
    return int(connection.execute(_COUNT.where(*_conditions(batch, filters))).scalar_one())


def read_rows(
    connection: Connection,
    batch: int,
    filters: Filters,
    offset: int = 0,
    limit: int | None = None,
    least_certain: str = "",
) -> Iterator[BatchRow]:
    """The rows that pass, a block at a time, in their source's order.

    Or, with the name of a task in ``least_certain``, the one first of which the model was least
    sure: by the score of its class, by how near one of several classes was to the border of being
    given, or by the entity with the lowest score; rows without an entity come last.
    """
    query = sa.select(batch_rows).where(*_conditions(batch, filters))
    if least_certain:
        known = _certainty(connection, batch, least_certain)
        query = query.outerjoin(known, known.c.row == batch_rows.c.row)
        query = query.order_by(known.c.certainty.is_(None), known.c.certainty)
    query = query.order_by(batch_rows.c.row).offset(offset).limit(limit)
    for row in connection.execute(query.execution_options(yield_per=BLOCK)):
        yield _row(row)


def summarize(connection: Connection, batch: int, filters: Filters, top: int) -> Summary:
    """What the rows that pass add up to, with the ``top`` most frequent entities."""
    conditions = _conditions(batch, filters)
    if len(conditions) == 1:
        return _summary(connection, batch, None, top)
    # Which rows pass is asked once, and not again for each of the sums.
    _chosen.create(connection)
    try:
        passing = sa.select(batch_rows.c.row).where(*conditions)
        connection.execute(sa.insert(_chosen).from_select(["row"], passing))
        return _summary(connection, batch, sa.select(_chosen.c.row), top)
    finally:
        _chosen.drop(connection)


def labels_of(connection: Connection, batch: int, task: str) -> list[str]:
    """The classes of a task that rows were given, sorted."""
    query = sa.select(batch_labels.c.label).distinct()
    query = query.where(batch_labels.c.batch == batch, batch_labels.c.task == task)
    return sorted(connection.execute(query).scalars())


def entity_labels_of(connection: Connection, batch: int) -> list[str]:
    """The labels of the entities that were found, sorted."""
    query = sa.select(batch_entities.c.label).distinct().where(batch_entities.c.batch == batch)
    return sorted(connection.execute(query).scalars())


def has_warnings(connection: Connection, batch: int) -> bool:
    """Whether the results of a row carry a warning."""
    warned = sa.and_(batch_rows.c.batch == batch, batch_rows.c.warning.is_not(None))
    return (
        connection.execute(sa.select(batch_rows.c.row).where(warned).limit(1)).first() is not None
    )


def _certainty(connection: Connection, batch: int, task: str) -> Subquery:
    """How sure the model was of each row of a task; of entities, of each row that has any."""
    own = sa.and_(batch_labels.c.batch == batch, batch_labels.c.task == task)
    if connection.execute(sa.select(batch_labels.c.row).where(own).limit(1)).first() is None:
        table, of_task = batch_entities, batch_entities.c.batch == batch
        measure: ColumnElement[float] = batch_entities.c.score
    else:
        table, of_task, measure = batch_labels, own, batch_labels.c.score
        several = sa.or_(batch_labels.c.rank > 0, batch_labels.c.given == 0)
        if connection.execute(sa.select(batch_labels.c.row).where(own, several).limit(1)).first():
            measure = sa.func.abs(batch_labels.c.score - MULTI_LABEL_THRESHOLD)
    lowest = sa.func.min(measure).label("certainty")
    return sa.select(table.c.row, lowest).where(of_task).group_by(table.c.row).subquery()


# -- conditions ------------------------------------------------------------------------------------


def _conditions(batch: int, filters: Filters) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [batch_rows.c.batch == batch]
    own = sa.select(batch_labels.c.row).where(batch_labels.c.batch == batch)
    for task, names in filters.labels.items():
        given = own.where(batch_labels.c.task == task, batch_labels.c.given == 1)
        found.append(batch_rows.c.row.in_(given.where(batch_labels.c.label.in_(list(names)))))
    for task, (low, high) in filters.scores.items():
        best = own.where(batch_labels.c.task == task, batch_labels.c.rank == 0)
        found.append(batch_rows.c.row.in_(best.where(batch_labels.c.score.between(low, high))))
    if filters.entity or filters.entity_label or filters.entity_score > 0:
        found.append(batch_rows.c.row.in_(_with_entity(batch, filters)))
    found += [_contains(batch_rows.c.text, word) for word in filters.words.split()]
    first, last = filters.dates
    if first:
        found.append(batch_rows.c.date >= first)
    if last:
        found.append(batch_rows.c.date <= last)
    return found


def _with_entity(batch: int, filters: Filters) -> Select[tuple[int]]:
    query = sa.select(batch_entities.c.row).where(batch_entities.c.batch == batch)
    if filters.entity_label:
        query = query.where(batch_entities.c.label == filters.entity_label)
    if filters.entity.strip():
        query = query.where(_contains(batch_entities.c.text, filters.entity.strip()))
    return query.where(batch_entities.c.score >= filters.entity_score)


def _contains(column: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """In any case of letters; SQLite knows that of ASCII alone, so the usual others are tried."""
    cases = {part} if part.isascii() else {part, part.lower(), part.upper(), part.capitalize()}
    return sa.or_(*(column.icontains(case, autoescape=True) for case in sorted(cases)))


# -- sums ------------------------------------------------------------------------------------------

Within = Any  #: the numbers of the rows that are meant, as a query; None for all

_chosen = sa.Table(
    "chosen",
    sa.MetaData(),
    sa.Column("row", Number, primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
)


def _summary(connection: Connection, batch: int, within: Within, top: int) -> Summary:
    n_rows, n_dated, n_warned = (
        connection.execute(_limited(query, batch_rows.c.row, within)).scalar_one()
        # One by one: each is counted in an index of its own.
        for query in (
            _COUNT.where(batch_rows.c.batch == batch),
            _COUNT.where(batch_rows.c.batch == batch, batch_rows.c.date.is_not(None)),
            _COUNT.where(batch_rows.c.batch == batch, batch_rows.c.warning.is_not(None)),
        )
    )
    unit, dates = _by_date(connection, batch, within) if n_dated else ("day", {})
    return Summary(
        rows=n_rows,
        classes=_classes(connection, batch, within),
        mean_scores=_mean_scores(connection, batch, within),
        entities=_entities(connection, batch, within, top),
        dates=dates,
        date_unit=unit,
        undated=n_rows - n_dated,
        warned=n_warned,
    )


def _classes(connection: Connection, batch: int, within: Within) -> dict[str, dict[str, int]]:
    n_rows = sa.func.count().label("n_rows")
    query = (
        sa.select(batch_labels.c.task, batch_labels.c.label, n_rows)
        .where(batch_labels.c.batch == batch, batch_labels.c.given == 1)
        .group_by(batch_labels.c.task, batch_labels.c.label)
        .order_by(batch_labels.c.task, n_rows.desc(), batch_labels.c.label)
    )
    found: dict[str, dict[str, int]] = {}
    for task, label, n in connection.execute(_limited(query, batch_labels.c.row, within)):
        found.setdefault(task, {})[label] = n
    return found


def _mean_scores(connection: Connection, batch: int, within: Within) -> dict[str, float]:
    query = (
        sa.select(batch_labels.c.task, sa.func.avg(batch_labels.c.score))
        .where(batch_labels.c.batch == batch, batch_labels.c.rank == 0)
        .group_by(batch_labels.c.task)
    )
    rows = connection.execute(_limited(query, batch_labels.c.row, within))
    return {task: float(mean) for task, mean in rows}


def _entities(connection: Connection, batch: int, within: Within, top: int) -> list[EntityCount]:
    n_rows = sa.func.count(sa.distinct(batch_entities.c.row)).label("n_rows")
    query = (
        sa.select(batch_entities.c.text, batch_entities.c.label, n_rows)
        .where(batch_entities.c.batch == batch)
        .group_by(batch_entities.c.label, batch_entities.c.text)
        .order_by(n_rows.desc(), batch_entities.c.text, batch_entities.c.label)
        .limit(top)
    )
    rows = connection.execute(_limited(query, batch_entities.c.row, within))
    return [EntityCount(*row) for row in rows]


def _by_date(
    connection: Connection, batch: int, within: Within
) -> tuple[str, dict[str, list[tuple[str, str, int]]]]:
    """The unit of time, and rows by task, unit and class."""
    together = batch_labels.join(
        batch_rows,
        sa.and_(batch_rows.c.batch == batch_labels.c.batch, batch_rows.c.row == batch_labels.c.row),
    )
    query = (
        sa.select(batch_labels.c.task, batch_rows.c.date, batch_labels.c.label, sa.func.count())
        .select_from(together)
        .where(
            batch_labels.c.batch == batch,
            batch_labels.c.given == 1,
            batch_rows.c.date.is_not(None),
        )
        .group_by(batch_labels.c.task, batch_rows.c.date, batch_labels.c.label)
    )
    rows = connection.execute(_limited(query, batch_labels.c.row, within)).all()
    if not rows:
        return "day", {}
    days = [row.date for row in rows]
    unit, first_day = _unit(date.fromisoformat(min(days)), date.fromisoformat(max(days)))
    counts: Counter[tuple[str, str, str]] = Counter()
    for task, day, label, n in rows:
        counts[task, first_day(date.fromisoformat(day)).isoformat(), label] += n
    found: dict[str, list[tuple[str, str, int]]] = {}
    for (task, day, label), n in sorted(counts.items()):
        found.setdefault(task, []).append((day, label, n))
    return unit, found


def _unit(first: date, last: date) -> tuple[str, Callable[[date], date]]:
    """A unit of time that gives a chart some dozens of steps, and the first day of one."""
    n_days = (last - first).days
    if n_days < WEEKS_FROM:
        return "day", lambda day: day
    if n_days < MONTHS_FROM:
        return "week", lambda day: day - timedelta(days=day.weekday())
    if n_days < YEARS_FROM:
        return "month", lambda day: day.replace(day=1)
    return "year", lambda day: day.replace(month=1, day=1)


def _limited(query: Select[Any], row: ColumnElement[int], within: Within) -> Select[Any]:
    return query if within is None else query.where(row.in_(within))


def _row(row: Any) -> BatchRow:
    results = json.loads(row.results)
    return BatchRow(
        row.row,
        row.text,
        json.loads(row.fields),
        {
            task: [Label(name, score) for name, score in found]
            for task, found in results["labels"].items()
        },
        [
            Entity(row.text[start:end], label, start, end, score)
            for label, start, end, score in results["entities"]
        ],
        row.date,
        row.warning,
    )
