"""The rows of a batch, the least certain first."""

from __future__ import annotations

import pytest
from workspaces import as_csv, reviews, some_batch, worked

from nlpkit.workspace import Batch, Filters, State, Workspace

ROWS = [*reviews(30), {"shop": "x", "review": "the old town", "day": "", "stars": 1}]


@pytest.fixture
def done(workspace: Workspace) -> Batch:
    batch = some_batch(workspace, as_csv(ROWS))
    assert worked(batch).state == State.DONE
    return batch


def test_a_class_is_as_certain_as_its_score(done: Batch) -> None:
    scores = [row.labels["sentiment"][0].score for row in done.rows(least_certain="sentiment")]
    assert len(scores) == len(ROWS)
    assert scores == sorted(scores)
    assert len(set(scores)) > 10


def test_several_classes_are_as_certain_as_the_one_next_to_the_border(done: Batch) -> None:
    margins = []
    for row in done.rows(least_certain="topic"):
        labels = row.labels["topic"]
        known = [labels[0], *(one for one in labels if one.score >= 0.5)]
        margins.append(min(abs(one.score - 0.5) for one in known))
    assert len(margins) == len(ROWS)
    assert margins == sorted(margins)


def test_entities_are_as_certain_as_the_least_certain_one(done: Batch) -> None:
    rows = done.rows(least_certain="ner")
    lowest = [min(one.score for one in row.entities) for row in rows if row.entities]
    assert lowest == sorted(lowest)
    assert [row.text for row in rows if not row.entities] == [rows[-1].text] == ["the old town"]


def test_pages_and_filters_hold(done: Batch) -> None:
    filters = Filters(words="engine")
    every = done.rows(0, None, filters, "sentiment")
    assert {row.number for row in every} == {row.number for row in done.rows(0, None, filters)}
    assert 0 < len(every) < len(ROWS)
    assert done.rows(2, 3, filters, "sentiment") == every[2:5]
