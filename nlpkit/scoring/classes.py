"""Classes: one of a text, or any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from nlpkit import metrics
from nlpkit.intervals import intervals, macro_f1_of, macro_recall_of, mean_of, ratio_of
from nlpkit.scoring.base import (
    MULTI_LABEL_THRESHOLD,
    N_WORST,
    Measured,
    Ranges,
    by_class,
    calibration,
    kept,
    shortened,
    slices,
)
from nlpkit.types import Label

TEXT_WORDS = Ranges(1, 6, 11, 21, 41, 81)


def score_classes(
    texts: Sequence[str],
    gold: Sequence[str],
    results: Sequence[Sequence[Label]],
    labels: Sequence[str],
    main: str,
) -> Measured:
    """Accuracy, macro recall and macro F1, the ``main`` one first.

    A text without a result (it is empty) counts as wrong, with confidence 0. Means are over the
    labels that occur, in the gold classes or among the predicted ones.
    """
    predicted = [result[0].name if result else "" for result in results]
    confidences = [result[0].score if result else 0.0 for result in results]
    correct = [g == p for g, p in zip(gold, predicted, strict=True)]
    present = [label for label in labels if label in gold or label in predicted]
    scores = {
        "accuracy": metrics.accuracy(gold, predicted),
        "macro_recall": metrics.macro_recall(gold, predicted, present),
        "macro_f1": metrics.macro_f1(gold, predicted, present),
    }
    weighted = {
        "accuracy": mean_of(correct),
        "macro_recall": macro_recall_of(gold, predicted),
        "macro_f1": macro_f1_of(gold, predicted),
    }
    details = {
        "labels": list(labels),
        "per_class": by_class(metrics.class_scores(gold, predicted, labels)),
        "confusion_matrix": metrics.confusion_matrix(gold, predicted, labels).tolist(),
        "slices": _by_length(texts, gold, predicted),
        **calibration(confidences, correct),
    }
    return Measured(
        {main: scores[main]} | scores,
        len(gold),
        details,
        intervals(weighted, len(gold)),
        _worst(texts, gold, predicted, confidences),
    )


def score_label_sets(
    texts: Sequence[str], gold: Sequence[Collection[str]], results: Sequence[Sequence[Label]]
) -> Measured:
    """Micro F1 where a text has any number of classes."""
    predicted = [
        {label.name: label.score for label in result if label.score >= MULTI_LABEL_THRESHOLD}
        for result in results
    ]
    found = metrics.multi_label_scores(gold, predicted)
    same = [set(g) == set(p) for g, p in zip(gold, predicted, strict=True)]
    scores = {
        "micro_f1": found.micro.f1,
        "precision": found.micro.precision,
        "recall": found.micro.recall,
        "all_labels_right": sum(same) / len(gold),
    }
    right = np.array([len(set(g) & set(p)) for g, p in zip(gold, predicted, strict=True)])
    said, there = np.array([len(p) for p in predicted]), np.array([len(set(g)) for g in gold])
    weighted = {
        "micro_f1": ratio_of(2 * right, said + there),
        "precision": ratio_of(right, said),
        "recall": ratio_of(right, there),
        "all_labels_right": mean_of(same),
    }
    wrong = [
        (text, ", ".join(sorted(g)) or "none", name, score)
        for text, g, p in zip(texts, gold, predicted, strict=True)
        for name, score in p.items()
        if name not in g
    ]
    return Measured(
        scores,
        len(gold),
        {"per_class": by_class(found.per_class)},
        intervals(weighted, len(gold)),
        _errors(wrong),
    )


def _by_length(
    texts: Sequence[str], gold: Sequence[str], predicted: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    def score(chosen: list[int]) -> dict[str, float]:
        some, of_them = [gold[i] for i in chosen], [predicted[i] for i in chosen]
        # A class that a slice lacks by chance must not pull its mean down.
        present = sorted(Counter(some))
        return {
            "accuracy": metrics.accuracy(some, of_them),
            "macro_f1": metrics.macro_f1(some, of_them, present),
        }

    names = [TEXT_WORDS(len(text.split())) for text in texts]
    return kept({"words of the text": slices(names, TEXT_WORDS.names, score)})


def _worst(
    texts: Sequence[str],
    gold: Sequence[str],
    predicted: Sequence[str],
    confidences: Sequence[float],
) -> list[dict[str, Any]]:
    rows = zip(texts, gold, predicted, confidences, strict=True)
    return _errors([row for row in rows if row[1] != row[2]])


def _errors(wrong: Sequence[tuple[str, str, str, float]]) -> list[dict[str, Any]]:
    """The most confident of (text, gold, predicted, score)."""
    ranked = sorted(wrong, key=lambda row: -row[3])
    return [
        {"score": score, "predicted": said or "nothing", "gold": right, "text": shortened(text)}
        for text, right, said, score in ranked[:N_WORST]
    ]
