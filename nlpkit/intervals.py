"""Intervals around scores by the bootstrap (Efron 1979), percentile method.

A resample draws as many examples as there are, with replacement. It is kept as the number of
times that each example was drawn, so that a score of many resamples is a product of matrices:
a :data:`Weighted` score takes such counts, (resamples, examples), and gives (resamples,) scores.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Weighted = Callable[[Floats], Floats]

N_RESAMPLES = 1000
#: The middle 95 % of the resamples.
PERCENTILES = (2.5, 97.5)
#: Counts held at a time: resamples times examples.
_BLOCK = 2_000_000


def intervals(
    scores: Mapping[str, Weighted], n: int, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> dict[str, list[float]]:
    """The 95 % interval [low, high] of each score over resamples of n examples.

    All scores see the same resamples. Resamples in which a score is undefined are left out.
    """
    if not n or not scores:
        return {}
    random = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // n)
    found: dict[str, list[Floats]] = {name: [] for name in scores}
    for first in range(0, n_resamples, at_once):
        counts = _counts(random, min(at_once, n_resamples - first), n)
        for name, score in scores.items():
            found[name].append(score(counts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # undefined in every resample: nan
        return {
            name: [float(edge) for edge in np.nanpercentile(np.concatenate(parts), PERCENTILES)]
            for name, parts in found.items()
        }


def mean_of(values: ArrayLike, among: Sequence[bool] | None = None) -> Weighted:
    """The mean of a value an example has, ``among`` some of them."""
    chosen = np.ones(len(np.asarray(values))) if among is None else np.asarray(among, np.float64)
    return ratio_of(np.asarray(values, np.float64) * chosen, chosen, empty=np.nan)


def ratio_of(numerators: ArrayLike, denominators: ArrayLike, empty: float = 0.0) -> Weighted:
    """The ratio of two sums, ``empty`` where the second is 0: precision, recall, micro F1."""
    columns = np.stack([np.asarray(numerators), np.asarray(denominators)], axis=1)
    columns = columns.astype(np.float64)

    def score(counts: Floats) -> Floats:
        sums = counts @ columns
        return _divided(sums[:, 0], sums[:, 1], empty)

    return score


def macro_recall_of(gold: Sequence[str], predicted: Sequence[str]) -> Weighted:
    """Mean recall over the classes that occur in a resample."""
    return _macro(gold, predicted, lambda right, said, there: _divided(right, there))


def macro_f1_of(gold: Sequence[str], predicted: Sequence[str]) -> Weighted:
    """Mean F1 over the classes that occur in a resample."""
    return _macro(gold, predicted, lambda right, said, there: _divided(2 * right, said + there))


def spearman_of(first: ArrayLike, second: ArrayLike) -> Weighted:
    """Spearman's rank correlation; the ranks are those within the resample."""
    rank_first, rank_second = _rank_in_resamples(first), _rank_in_resamples(second)

    def score(counts: Floats) -> Floats:
        a, b = rank_first(counts), rank_second(counts)
        n = counts.sum(axis=1, keepdims=True)
        a = a - (counts * a).sum(axis=1, keepdims=True) / n
        b = b - (counts * b).sum(axis=1, keepdims=True) / n
        scale = np.sqrt((counts * a * a).sum(axis=1) * (counts * b * b).sum(axis=1))
        return _divided((counts * a * b).sum(axis=1), scale, np.nan)

    return score


def roc_auc_of(scores: ArrayLike, positive: Sequence[bool]) -> Weighted:
    """The area under the ROC curve."""
    rank, chosen = _rank_in_resamples(scores), np.asarray(positive, np.float64)

    def score(counts: Floats) -> Floats:
        n_positive = counts @ chosen
        above = (counts * rank(counts)) @ chosen - n_positive * (n_positive + 1) / 2
        return _divided(above, n_positive * (counts.sum(axis=1) - n_positive), np.nan)

    return score


def difference_of(first: Weighted, second: Weighted) -> Weighted:
    """How much higher the first score is, on the same resample."""
    return lambda counts: first(counts) - second(counts)


# Helpers -------------------------------------------------------------------------------------


def _counts(random: np.random.Generator, n_resamples: int, n: int) -> Floats:
    drawn = random.integers(0, n, (n_resamples, n))
    drawn += np.arange(n_resamples)[:, None] * n
    found = np.bincount(drawn.ravel(), minlength=n_resamples * n)
    return found.reshape(n_resamples, n).astype(np.float64)


def _macro(
    gold: Sequence[str],
    predicted: Sequence[str],
    value: Callable[[Floats, Floats, Floats], Floats],
) -> Weighted:
    labels = np.array(sorted({*gold, *predicted} - {""}))
    there = (np.asarray(gold)[:, None] == labels).astype(np.float64)
    said = (np.asarray(predicted)[:, None] == labels).astype(np.float64)
    columns = np.concatenate([there * said, said, there], axis=1)

    def score(counts: Floats) -> Floats:
        n_right, n_said, n_there = np.split(counts @ columns, 3, axis=1)
        occurs = (n_said + n_there) > 0
        return _divided((value(n_right, n_said, n_there) * occurs).sum(axis=1), occurs.sum(axis=1))

    return score


def _rank_in_resamples(values: ArrayLike) -> Weighted:
    """Gives (resamples, examples): the rank of each example, equal values sharing their mean."""
    _, group = np.unique(np.asarray(values), return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))

    def rank(counts: Floats) -> Floats:
        sizes = np.add.reduceat(counts[:, order], starts, axis=1)
        means = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
        found: Floats = means[:, group]
        return found

    return rank


def _divided(numerators: Any, denominators: Any, empty: float = 0.0) -> Floats:
    found: Floats = np.full(np.shape(numerators), empty, dtype=np.float64)
    np.divide(numerators, denominators, out=found, where=np.asarray(denominators) != 0)
    return found
