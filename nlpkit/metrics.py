"""Scores of every task: small pure functions over plain values.

Each follows a published definition, named in its docstring, and is tested for equality with the
program that the field uses for it. All scores are fractions (0.89, not 89).
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlpkit.errors import InputError

Scheme = Literal["strict", "conlleval"]
Span = tuple[str, int, int]  #: label, first token, one past the last token


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Precision, recall and F1 of one class (or of all together), and what they were made of.

    A ratio without a denominator is 0.
    """

    n_correct: int
    n_predicted: int
    n_gold: int

    @property
    def precision(self) -> float:
        return self.n_correct / self.n_predicted if self.n_predicted else 0.0

    @property
    def recall(self) -> float:
        return self.n_correct / self.n_gold if self.n_gold else 0.0

    @property
    def f1(self) -> float:
        both = self.n_predicted + self.n_gold
        return 2 * self.n_correct / both if both else 0.0


@dataclass(frozen=True, slots=True)
class MicroScores:
    """The score over all classes counted together, and that of each class, by name."""

    micro: ClassScore
    per_class: dict[str, ClassScore]


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The examples with a confidence in (low, high]: their number and both their means."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


# Entities ------------------------------------------------------------------------------------


def entity_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: Scheme = "strict"
) -> MicroScores:
    """Entity scores from one sequence of IOB2 tags a sentence; an entity counts if it is equal.

    ``strict`` is seqeval's ``mode="strict", scheme=IOB2``; ``conlleval`` is the shared task's own
    script (Tjong Kim Sang and De Meulder 2003), which is seqeval's default mode.

    Raises:
        InputError: a tag that is not O, B-LABEL or I-LABEL, or sequences of unequal length.
    """
    _same_length("sentences", gold, predicted)
    gold_items: list[tuple[str, Any]] = []
    predicted_items: list[tuple[str, Any]] = []
    for i, (gold_tags, tags) in enumerate(zip(gold, predicted, strict=True)):
        _same_length(f"tags of sentence {i}", gold_tags, tags)
        gold_items += [
            (label, (i, first, end)) for label, first, end in entities(gold_tags, scheme)
        ]
        predicted_items += [
            (label, (i, first, end)) for label, first, end in entities(tags, scheme)
        ]
    return _micro_scores(gold_items, predicted_items)


def entities(tags: Sequence[str], scheme: Scheme = "strict") -> list[Span]:
    """The entities that a sequence of tags spells.

    An ``I-X`` that continues no ``X`` is no part of an entity in ``strict`` and opens one in
    ``conlleval``.
    """
    spans: list[Span] = []
    open_label = ""
    for i, tag in enumerate(tags):
        prefix, label = _split_tag(tag)
        if prefix == "I" and label == open_label:
            spans[-1] = (label, spans[-1][1], i + 1)
        elif prefix == "B" or (prefix == "I" and scheme == "conlleval"):
            spans.append((label, i, i + 1))
            open_label = label
        else:
            open_label = ""
    return spans


# Classes -------------------------------------------------------------------------------------


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """The share of examples whose class is right."""
    _comparable(gold, predicted)
    return sum(g == p for g, p in zip(gold, predicted, strict=True)) / len(gold)


def class_scores(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str] | None = None
) -> dict[str, ClassScore]:
    """The score of each class: of ``labels`` in their order, or of all that occur, sorted.

    As scikit-learn's ``precision_recall_fscore_support``.
    """
    _comparable(gold, predicted)
    n_gold, n_predicted = Counter(gold), Counter(predicted)
    n_correct = Counter(g for g, p in zip(gold, predicted, strict=True) if g == p)
    return {
        label: ClassScore(n_correct[label], n_predicted[label], n_gold[label])
        for label in _labels(gold, predicted, labels)
    }


def macro_recall(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str] | None = None
) -> float:
    """Mean recall over the classes: the measure of SemEval-2017 task 4A (Rosenthal et al. 2017)."""
    scores = class_scores(gold, predicted, labels).values()
    return sum(score.recall for score in scores) / len(scores)


def macro_f1(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str] | None = None
) -> float:
    """Mean F1 over the classes, each F1 taken by itself."""
    scores = class_scores(gold, predicted, labels).values()
    return sum(score.f1 for score in scores) / len(scores)


def confusion_matrix(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """Counts with a row for each gold class and a column for each predicted one.

    Examples with a class outside of ``labels`` are left out, as scikit-learn does.
    """
    _comparable(gold, predicted)
    position = {label: i for i, label in enumerate(_labels(gold, predicted, labels))}
    matrix = np.zeros((len(position), len(position)), dtype=np.int64)
    for g, p in zip(gold, predicted, strict=True):
        if g in position and p in position:
            matrix[position[g], position[p]] += 1
    return matrix


def multi_label_scores(
    gold: Sequence[Collection[str]], predicted: Sequence[Collection[str]]
) -> MicroScores:
    """Scores where an example has any number of classes, every one of them counted."""
    _comparable(gold, predicted)
    return _micro_scores(
        [(label, i) for i, labels in enumerate(gold) for label in labels],
        [(label, i) for i, labels in enumerate(predicted) for label in labels],
    )


def expected_calibration_error(
    confidences: Sequence[float], correct: Sequence[bool], n_bins: int = 15
) -> float:
    """How far confidence is from accuracy, averaged over the examples.

    Equal-width bins, each open on its left (Naeini et al. 2015; 15 bins as in Guo et al. 2017).

    Raises:
        InputError: a confidence outside of [0, 1].
    """
    bins = calibration_bins(confidences, correct, n_bins)
    return sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / len(confidences)


def calibration_bins(
    confidences: Sequence[float], correct: Sequence[bool], n_bins: int = 15
) -> list[CalibrationBin]:
    """The bins of :func:`expected_calibration_error` that hold an example: a reliability diagram.

    Raises:
        InputError: a confidence outside of [0, 1].
    """
    _comparable(confidences, correct)
    scores = np.asarray(confidences, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise InputError(f"confidences lie in {scores.min()} .. {scores.max()}; expected [0, 1]")
    bins = np.clip(np.ceil(scores * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    counts, confident, accurate = (
        np.bincount(bins, weights=weights, minlength=n_bins) for weights in (None, scores, right)
    )
    return [
        CalibrationBin(
            i / n_bins,
            (i + 1) / n_bins,
            int(counts[i]),
            float(confident[i] / counts[i]),
            float(accurate[i] / counts[i]),
        )
        for i in np.flatnonzero(counts).tolist()
    ]


# Question answering --------------------------------------------------------------------------


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and superfluous white space.

    As in the official scripts of SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018).
    """
    letters = "".join(c for c in text.lower() if c not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", letters).split())


def exact_match(prediction: str | None, answers: Sequence[str]) -> float:
    """1 if the prediction equals one of the answers after normalisation, otherwise 0.

    No prediction (``None`` or "") is right where there are no answers. An answer of nothing but
    punctuation and articles is no answer, as in the script of SQuAD 2.0.
    """
    got = normalize_answer(prediction or "")
    return float(any(got == answer for answer in _normalized(answers)))


def answer_f1(prediction: str | None, answers: Sequence[str]) -> float:
    """F1 over the words of prediction and answer, the best over all answers.

    Where there are no answers, no prediction scores 1 and any other 0.
    """
    words = normalize_answer(prediction or "").split()
    return max(_word_f1(words, answer.split()) for answer in _normalized(answers))


def best_no_answer_threshold(
    no_answer_scores: Sequence[float],
    answer_scores: Sequence[float],
    answerable: Sequence[bool],
) -> tuple[float, float]:
    """The threshold over which it is best to give no answer, and the mean score there.

    ``answer_scores`` are those of the answers if given; no answer scores 1 on a question that is
    not answerable. Equal best thresholds give the lowest; -inf means never to answer. This is
    ``find_best_thresh`` of the SQuAD 2.0 script, with equal scores kept together.
    """
    _comparable(no_answer_scores, answer_scores)
    _comparable(no_answer_scores, answerable)
    scores = np.asarray(no_answer_scores, dtype=np.float64)
    without = 1.0 - np.asarray(answerable, dtype=np.float64)
    order = np.argsort(scores, kind="stable")
    gains = np.asarray(answer_scores, dtype=np.float64) - without
    totals = np.cumsum(gains[order])
    best_total, threshold = 0.0, -math.inf
    for i, total in enumerate(totals):
        closes_group = i + 1 == len(totals) or scores[order[i + 1]] != scores[order[i]]
        if closes_group and total > best_total:
            best_total, threshold = float(total), float(scores[order[i]])
    return threshold, float(without.sum() + best_total) / len(scores)


# Similarity and ranking ----------------------------------------------------------------------


def roc_auc(scores: ArrayLike, positive: Sequence[bool]) -> float:
    """The chance that a positive example scores higher than a negative one, ties counting half.

    The area under the ROC curve, as scikit-learn's ``roc_auc_score``. It is nan where all
    examples are of one kind.
    """
    values, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.ndim != 1 or values.shape != is_positive.shape:
        raise InputError(
            f"shapes are {values.shape} and {is_positive.shape}; expected two equally long lists"
        )
    n_positive = int(is_positive.sum())
    n_pairs = n_positive * (len(values) - n_positive)
    if not n_pairs or np.isnan(values).any():
        return math.nan
    above = float(_ranks(values)[is_positive].sum()) - n_positive * (n_positive + 1) / 2
    return above / n_pairs


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank (as scipy's).

    It is nan for fewer than two values, and where all values of a side are equal.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(f"shapes are {a.shape} and {b.shape}; expected two equally long lists")
    if len(a) < 2 or np.isnan(a).any() or np.isnan(b).any():
        return math.nan
    a, b = _ranks(a), _ranks(b)
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def ndcg_at_k(ranked: Sequence[str], relevance: Mapping[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first k of one query's ranked documents.

    The gain is the judged relevance itself, discounted by log2(rank + 1): ``ndcg_cut`` of
    trec_eval, as BEIR takes it from pytrec_eval. 0 where nothing is relevant.
    """
    _no_doubles(ranked)
    gains = [max(relevance.get(document, 0), 0) for document in ranked[:k]]
    ideal = sorted((max(gain, 0) for gain in relevance.values()), reverse=True)[:k]
    return _discounted(gains) / _discounted(ideal) if any(ideal) else 0.0


def reciprocal_rank_at_k(ranked: Sequence[str], relevance: Mapping[str, int], k: int = 10) -> float:
    """1 / rank of the first relevant document within the first k, 0 where there is none.

    Its mean over the queries is MRR@k.
    """
    _no_doubles(ranked)
    for rank, document in enumerate(ranked[:k], 1):
        if relevance.get(document, 0) > 0:
            return 1.0 / rank
    return 0.0


def recall_at_k(ranked: Sequence[str], relevance: Mapping[str, int], k: int = 100) -> float:
    """The share of the relevant documents that stand within the first k (trec_eval's recall)."""
    _no_doubles(ranked)
    relevant = {document for document, gain in relevance.items() if gain > 0}
    return len(relevant.intersection(ranked[:k])) / len(relevant) if relevant else 0.0


# Helpers -------------------------------------------------------------------------------------

_PUNCTUATION = frozenset(string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def _split_tag(tag: str) -> tuple[str, str]:
    if tag == "O":
        return "O", ""
    if tag[:2] not in ("B-", "I-") or len(tag) < 3:
        raise InputError(f"the tag is {tag!r}; expected O, B-LABEL or I-LABEL")
    return tag[0], tag[2:]


def _micro_scores(
    gold: Sequence[tuple[str, Any]], predicted: Sequence[tuple[str, Any]]
) -> MicroScores:
    """Scores of (class, place) pairs."""
    gold_set, predicted_set = set(gold), set(predicted)
    n_gold = Counter(label for label, _ in gold_set)
    n_predicted = Counter(label for label, _ in predicted_set)
    n_correct = Counter(label for label, _ in gold_set & predicted_set)
    return MicroScores(
        ClassScore(n_correct.total(), n_predicted.total(), n_gold.total()),
        {
            label: ClassScore(n_correct[label], n_predicted[label], n_gold[label])
            for label in sorted(n_gold | n_predicted)
        },
    )


def _labels(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str] | None
) -> Sequence[str]:
    return sorted({*gold, *predicted}) if labels is None else labels


def _normalized(answers: Sequence[str]) -> list[str]:
    return [answer for answer in map(normalize_answer, answers) if answer] or [""]


def _word_f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    n_same = (Counter(predicted) & Counter(gold)).total()
    return 2 * n_same / (len(predicted) + len(gold))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = np.cumsum(counts) - (counts - 1) / 2
    return means[inverse]


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _comparable(first: Sequence[Any], second: Sequence[Any]) -> None:
    _same_length("examples", first, second)
    if not first:
        raise InputError("there are no examples to score; expected at least one")


def _same_length(what: str, first: Sequence[Any], second: Sequence[Any]) -> None:
    if len(first) != len(second):
        raise InputError(f"{what}: {len(first)} against {len(second)}; expected equally many")


def _no_doubles(ranked: Sequence[str]) -> None:
    if len(set(ranked)) != len(ranked):
        twice = next(document for document, n in Counter(ranked).items() if n > 1)
        raise InputError(
            f"document {twice!r} is ranked more than once; expected different documents"
        )
