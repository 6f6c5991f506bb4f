"""The usual scores on held-out examples, for a recipe's dev sets.

Each takes a pipeline and examples and gives one number. Without torch, so that a recipe can be
read where it is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nlpkit import metrics
from nlpkit.pipeline import Pipeline
from nlpkit.readers import QAExample, TextExample, TokenExample


def entity_f1(kit: Pipeline, examples: Sequence[TokenExample], task: str = "ner") -> float:
    """Entities with the right borders and label: precision and recall in one."""
    return entity_score(kit, examples, task).f1


def entity_score(
    kit: Pipeline, examples: Sequence[TokenExample], task: str = "ner"
) -> metrics.ClassScore:
    """Entities with the right borders and label, counted."""
    results = kit.ner([example.text for example in examples], task=task)
    found = [{(e.start, e.end, e.label) for e in entities} for entities in results]
    gold = [set(example.spans) for example in examples]
    n_correct = sum(len(a & b) for a, b in zip(found, gold, strict=True))
    return metrics.ClassScore(n_correct, sum(map(len, found)), sum(map(len, gold)))


def accuracy(kit: Pipeline, examples: Sequence[TextExample], task: str) -> float:
    """The share of texts whose first label is right."""
    return metrics.accuracy([e.labels[0] for e in examples], _predicted(kit, examples, task))


def macro_recall(kit: Pipeline, examples: Sequence[TextExample], task: str) -> float:
    """Mean recall over the classes that occur."""
    gold = [example.labels[0] for example in examples]
    return metrics.macro_recall(gold, _predicted(kit, examples, task), sorted(set(gold)))


def answer_f1(
    kit: Pipeline, examples: Sequence[QAExample], task: str = "qa", *, no_answer: bool = False
) -> float:
    """SQuAD's F1, by default where every question is to be answered."""
    answers = kit.answer(
        [(e.question, e.context) for e in examples], no_answer=no_answer, task=task
    )
    scores = [
        metrics.answer_f1(answer.text, [text for _, text in example.answers])
        for answer, example in zip(answers, examples, strict=True)
    ]
    return sum(scores) / len(scores)


def evenly(examples: Sequence[Any], most: int) -> list[Any]:
    """At most so many examples, evenly spaced."""
    n = min(most, len(examples))
    return [examples[i * len(examples) // n] for i in range(n)]


def _predicted(kit: Pipeline, examples: Sequence[TextExample], task: str) -> list[str]:
    results = kit.classify([example.text for example in examples], task)
    return [labels[0].name if labels else "" for labels in results]
