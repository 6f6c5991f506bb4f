"""Every weighted score equals the plain score on the examples that a resample drew."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from nlpkit import metrics
from nlpkit.intervals import (
    Weighted,
    difference_of,
    intervals,
    macro_f1_of,
    macro_recall_of,
    mean_of,
    ratio_of,
    roc_auc_of,
    spearman_of,
)

N = 40
RANDOM = np.random.default_rng(0)
VALUES = RANDOM.random(N).round(1)
OTHERS = (VALUES + RANDOM.random(N)).round(1)
GOLD, SAID = RANDOM.choice(list("abc"), N).tolist(), RANDOM.choice(list("abcd"), N).tolist()
IS_SO = (RANDOM.random(N) < 0.4).tolist()

Plain = Callable[[Sequence[int]], float]


def some(values: Sequence[Any], drawn: Sequence[int]) -> list[Any]:
    return [values[i] for i in drawn]


@pytest.mark.parametrize(
    ("weighted", "plain"),
    [
        (mean_of(VALUES), lambda drawn: VALUES[drawn].mean()),
        (mean_of(VALUES, IS_SO), lambda drawn: VALUES[[i for i in drawn if IS_SO[i]]].mean()),
        (ratio_of(VALUES, OTHERS), lambda drawn: VALUES[drawn].sum() / OTHERS[drawn].sum()),
        (macro_recall_of(GOLD, SAID), lambda d: metrics.macro_recall(some(GOLD, d), some(SAID, d))),
        (macro_f1_of(GOLD, SAID), lambda d: metrics.macro_f1(some(GOLD, d), some(SAID, d))),
        (spearman_of(VALUES, OTHERS), lambda d: metrics.spearman(VALUES[d], OTHERS[d])),
        (roc_auc_of(VALUES, IS_SO), lambda d: metrics.roc_auc(VALUES[d], some(IS_SO, d))),
        (
            difference_of(mean_of(VALUES), mean_of(OTHERS)),
            lambda drawn: VALUES[drawn].mean() - OTHERS[drawn].mean(),
        ),
    ],
)
def test_a_weighted_score_is_the_score_of_what_was_drawn(weighted: Weighted, plain: Plain) -> None:
    drawn = RANDOM.integers(0, N, (25, N))
    counts = np.array([np.bincount(row, minlength=N) for row in drawn], dtype=np.float64)
    np.testing.assert_allclose(weighted(counts), [plain(row.tolist()) for row in drawn], atol=1e-12)


def test_intervals_are_the_percentiles_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(0)
    means = [VALUES[random.integers(0, N, N)].mean() for _ in range(1000)]
    found = intervals({"mean": mean_of(VALUES)}, N)
    np.testing.assert_allclose(found["mean"], np.percentile(means, [2.5, 97.5]), atol=0.02)
    assert found == intervals({"mean": mean_of(VALUES)}, N)  # seeded
    assert found["mean"][0] < VALUES.mean() < found["mean"][1]


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    held = 0
    for trial in range(100):
        right = random.random(200) < 0.8
        low, high = intervals({"x": mean_of(right)}, 200, n_resamples=200, seed=trial)["x"]
        held += low <= 0.8 <= high
    assert 88 <= held <= 100


def test_the_interval_of_what_is_undefined_is_undefined() -> None:
    never = intervals({"x": mean_of([1.0, 0.0], [False, False])}, 2)["x"]
    assert all(math.isnan(edge) for edge in never)
    assert intervals({"x": mean_of([])}, 0) == {}
    (low, high) = intervals({"x": mean_of([1.0, 0.0], [True, False])}, 2)["x"]  # of half of them
    assert (low, high) == (1, 1)


def test_large_suites_are_quick() -> None:
    n = 12_000
    random = np.random.default_rng(0)
    gold, said = random.choice(list("abc"), n).tolist(), random.choice(list("abc"), n).tolist()
    start = time.process_time()
    intervals({"f1": macro_f1_of(gold, said), "recall": macro_recall_of(gold, said)}, n)
    assert time.process_time() - start < 4  # about 0.4 on one core
