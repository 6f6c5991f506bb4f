"""What every task's scoring shares: the pipeline's protocol, the result, slices, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nlpkit import metrics
from nlpkit.types import Answer, Entity, Label

if TYPE_CHECKING:
    from nlpkit.engines import PluggedHead
    from nlpkit.types import Vector

T = TypeVar("T")
R = TypeVar("R")

Progress = Callable[[int, int], None]  #: called with the number of texts done and of all

#: Texts given to the pipeline at a time, between two reports of progress.
CHUNK = 256
#: A label of a multi-label head is given from this score on.
MULTI_LABEL_THRESHOLD = 0.5
#: As many of the worst errors are kept.
N_WORST = 20
#: Characters of a text that are kept with an error, and on either side of the place of one.
LONGEST_TEXT = 400
CONTEXT = 80


class Kit(Protocol):
    """What a suite needs of an :class:`nlpkit.pipeline.Pipeline`."""

    def ner(self, texts: list[str], /, task: str = ...) -> list[list[Entity]]: ...

    def classify(
        self, texts: list[str], /, task: str | None = ..., *, labels: Sequence[str] | None = ...
    ) -> list[list[Label]]: ...

    def answer(
        self, pairs: list[tuple[str, str]], /, *, no_answer: bool = ..., task: str = ...
    ) -> list[Answer]: ...

    def embed(self, texts: list[str], /) -> Vector: ...

    def head(self, task: str, /) -> PluggedHead: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores, the main one first, and what else is worth keeping.

    ``intervals`` has [low, high] by the name of the score. ``details`` holds counts and names of
    classes only; ``worst`` alone quotes the data, whose terms may forbid to pass it on.
    """

    scores: dict[str, float]
    n_examples: int
    details: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)


def in_chunks(
    call: Callable[[list[T]], Iterable[R]], items: Sequence[T], progress: Progress
) -> list[R]:
    """The results of ``call`` for all items, a list of them at a time."""
    results: list[R] = []
    for first in range(0, len(items), CHUNK):
        results.extend(call(list(items[first : first + CHUNK])))
        progress(len(results), len(items))
    return results


def silent(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def mean(values: Sequence[float]) -> float:
    """The mean, nan of nothing."""
    return sum(values) / len(values) if values else math.nan


def by_class(scores: Mapping[str, metrics.ClassScore]) -> dict[str, dict[str, float]]:
    """Scores of classes as plain values."""
    return {
        name: {
            "precision": score.precision,
            "recall": score.recall,
            "f1": score.f1,
            "n_gold": score.n_gold,
            "n_predicted": score.n_predicted,
        }
        for name, score in scores.items()
    }


def calibration(confidences: Sequence[float], correct: Sequence[bool]) -> dict[str, Any]:
    """The details of calibration; none where there is nothing to measure."""
    if not confidences:
        return {}
    return {
        "expected_calibration_error": metrics.expected_calibration_error(confidences, correct),
        "calibration": [
            {
                "low": one.low,
                "high": one.high,
                "n": one.n,
                "confidence": one.confidence,
                "accuracy": one.accuracy,
            }
            for one in metrics.calibration_bins(confidences, correct)
        ],
    }


# Slices --------------------------------------------------------------------------------------


def slices(
    names: Sequence[str],
    order: Sequence[str],
    score: Callable[[list[int]], Mapping[str, float]],
) -> list[dict[str, Any]]:
    """The score of the examples of each name, in the order given.

    None where all are of one name: that is the score of the whole.
    """
    chosen = {name: [i for i, one in enumerate(names) if one == name] for name in order}
    rows = [
        {"name": name, "n": len(indices), **score(indices)}
        for name, indices in chosen.items()
        if indices
    ]
    return rows if len(rows) > 1 else []


def kept(named: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The slices that say something."""
    return {name: rows for name, rows in named.items() if rows}


class Ranges:
    """Names for ranges of whole numbers: ``Ranges(1, 3)`` knows "0", "1 to 2" and "3 or more"."""

    def __init__(self, *borders: int) -> None:
        self._borders = borders
        edges = [0, *borders]
        inner = [
            str(low) if low == high - 1 else f"{low} to {high - 1}"
            for low, high in zip(edges, borders, strict=False)
        ]
        self.names = (*inner, f"{borders[-1]} or more")

    def __call__(self, n: int) -> str:
        return self.names[sum(n >= border for border in self._borders)]


# Errors --------------------------------------------------------------------------------------


def shortened(text: str) -> str:
    """A text, cut where it is long."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def around(text: str, start: int, end: int) -> dict[str, Any]:
    """The place ``text[start:end]`` with what stands on both sides; offsets count in the part."""
    first, last = max(0, start - CONTEXT), min(len(text), end + CONTEXT)
    before, after = "…" if first else "", "…" if last < len(text) else ""
    return {
        "text": before + text[first:last] + after,
        "start": start - first + len(before),
        "end": end - first + len(before),
    }
