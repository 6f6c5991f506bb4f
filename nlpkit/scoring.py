"""How each task of a pipeline is scored on labelled examples.

The texts go in one by one as a user's would, in lists only for speed: a text's result does not
depend on what else is in its list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from nlpkit import metrics
from nlpkit.readers import QAExample, Sentence
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
    """Scores, the main one first, and what else is worth keeping."""

    scores: dict[str, float]
    n_examples: int
    details: dict[str, Any] = field(default_factory=dict)


# Entities ------------------------------------------------------------------------------------


def score_entities(
    kit: Kit,
    sentences: Sequence[Sentence],
    progress: Progress,
    *,
    task: str = "ner",
    names: Mapping[str, str] | None = None,
) -> Measured:
    """Entity scores, each sentence a text of its own: its words joined by single spaces.

    ``names`` maps the data's labels to the head's; all other labels are left out on both sides.
    """
    texts = [" ".join(sentence.tokens) for sentence in sentences]
    results = in_chunks(lambda part: kit.ner(part, task=task), texts, progress)
    gold = [[_renamed(tag, names) for tag in sentence.tags] for sentence in sentences]
    kept = None if names is None else set(names.values())
    predicted = [
        tags_of(sentence.tokens, [e for e in found if kept is None or e.label in kept])
        for sentence, found in zip(sentences, results, strict=True)
    ]
    strict = metrics.entity_scores(gold, predicted)
    conlleval = metrics.entity_scores(gold, predicted, "conlleval")
    scores = {
        "f1": strict.micro.f1,
        "precision": strict.micro.precision,
        "recall": strict.micro.recall,
        "conlleval_f1": conlleval.micro.f1,
    }
    scores |= {f"{label}_f1": score.f1 for label, score in strict.per_class.items()}
    return Measured(scores, len(sentences), {"per_class": _by_class(strict.per_class)})


def tags_of(tokens: Sequence[str], entities: Sequence[Entity]) -> list[str]:
    """IOB2 tags of tokens from entities in the text that joins them by single spaces.

    An entity covers the tokens it touches; a token that two touch belongs to the first.
    """
    tags = ["O"] * len(tokens)
    free = 0
    ends = np.cumsum([len(token) + 1 for token in tokens]) - 1
    starts = ends - [len(token) for token in tokens]
    for entity in sorted(entities, key=lambda e: (e.start, e.end)):
        touched = np.flatnonzero((ends > entity.start) & (starts < entity.end))
        for n, i in enumerate(touched[touched >= free]):
            tags[i] = f"{'I' if n else 'B'}-{entity.label}"
            free = i + 1
    return tags


# Classes -------------------------------------------------------------------------------------


def score_classes(
    gold: Sequence[str], results: Sequence[Sequence[Label]], labels: Sequence[str], main: str
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
    details = {
        "labels": list(labels),
        "per_class": _by_class(metrics.class_scores(gold, predicted, labels)),
        "confusion_matrix": metrics.confusion_matrix(gold, predicted, labels).tolist(),
        "expected_calibration_error": metrics.expected_calibration_error(confidences, correct),
    }
    return Measured({main: scores[main]} | scores, len(gold), details)


def score_label_sets(
    gold: Sequence[Collection[str]], results: Sequence[Sequence[Label]]
) -> Measured:
    """Micro F1 where a text has any number of classes."""
    predicted = [
        [label.name for label in result if label.score >= MULTI_LABEL_THRESHOLD]
        for result in results
    ]
    found = metrics.multi_label_scores(gold, predicted)
    same = sum(set(g) == set(p) for g, p in zip(gold, predicted, strict=True))
    scores = {
        "micro_f1": found.micro.f1,
        "precision": found.micro.precision,
        "recall": found.micro.recall,
        "all_labels_right": same / len(gold),
    }
    return Measured(scores, len(gold), {"per_class": _by_class(found.per_class)})


# Question answering --------------------------------------------------------------------------


def ask(
    kit: Kit,
    questions: Sequence[QAExample],
    progress: Progress,
    *,
    no_answer: bool,
    task: str = "qa",
) -> list[Answer]:
    """The answer to each question."""
    pairs = [(question.question, question.context) for question in questions]
    return in_chunks(lambda part: kit.answer(part, no_answer=no_answer, task=task), pairs, progress)


def score_answers(questions: Sequence[QAExample], answers: Sequence[Answer]) -> dict[str, float]:
    """SQuAD's F1 and exact match."""
    exact = [
        metrics.exact_match(answer.text, _texts(question))
        for question, answer in zip(questions, answers, strict=True)
    ]
    return {"f1": mean(answer_f1s(questions, answers)), "em": mean(exact)}


def answer_f1s(questions: Sequence[QAExample], answers: Sequence[Answer]) -> list[float]:
    """F1 of each answer."""
    return [
        metrics.answer_f1(answer.text, _texts(question))
        for question, answer in zip(questions, answers, strict=True)
    ]


# Helpers -------------------------------------------------------------------------------------


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


def _texts(question: QAExample) -> list[str]:
    return [text for _, text in question.answers]


def _renamed(tag: str, names: Mapping[str, str] | None) -> str:
    if names is None or tag == "O":
        return tag
    return f"{tag[:2]}{names[tag[2:]]}" if tag[2:] in names else "O"


def _by_class(scores: Mapping[str, metrics.ClassScore]) -> dict[str, dict[str, float]]:
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
