"""Measure a pipeline: on the benchmark suites, or on files of your own.

What a user gets is what is measured: everything goes through the public pipeline.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nlpkit.errors import DISTRIBUTION, DataError, InputError
from nlpkit.readers import TextExample, read_classified, read_conll, read_jsonl, read_squad
from nlpkit.scoring import (
    Kit,
    Measured,
    Progress,
    ask,
    in_chunks,
    score_answers,
    score_classes,
    score_entities,
    score_label_sets,
    silent,
)
from nlpkit.suites import SUITES, Suite, find_suite

__all__ = [
    "SUITES",
    "Kit",
    "Measured",
    "Report",
    "Suite",
    "evaluate_files",
    "find_suite",
    "make_report",
    "read_reports",
]

#: A report's line shows this many of its scores; its JSON has all of them.
SCORES_IN_LINE = 4


@dataclass(frozen=True, slots=True)
class Report:
    """The scores of one run, the main one first, and all that is needed to take them again."""

    suite: str
    scores: dict[str, float]
    n_examples: int
    seconds: float
    bundle: str
    engine: str
    precision: str
    version: str
    command: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def main(self) -> tuple[str, float]:
        """The name and value of the score that stands for the suite."""
        return next(iter(self.scores.items()))

    def line(self) -> str:
        """One line of a table for people."""
        shown = list(self.scores)[:SCORES_IN_LINE]
        scores = "  ".join(f"{name} {self.scores[name]:.4f}" for name in shown)
        return (
            f"{self.suite:<18} {scores}  ({self.n_examples:,} examples, {self.seconds:.1f} s, "
            f"{self.bundle} {self.engine} {self.precision})"
        )

    def to_json(self) -> str:
        """One JSON object on one line; a number that is not finite becomes null."""
        return json.dumps(_finite(asdict(self)), ensure_ascii=False)


def make_report(
    name: str,
    measure: Callable[[], Measured],
    *,
    bundle: str,
    engine: str,
    precision: str,
    command: str,
) -> Report:
    """Run a measurement and report on it; the last four arguments say of what and how.

    ``measure`` is for example ``lambda: find_suite("conll2003").run(kit)``.
    """
    start = time.perf_counter()
    measured = measure()
    return Report(
        suite=name,
        scores=measured.scores,
        n_examples=measured.n_examples,
        seconds=time.perf_counter() - start,
        bundle=bundle,
        engine=engine,
        precision=precision,
        version=_library_version(),
        command=command,
        details=measured.details,
    )


def read_reports(path: str | Path) -> list[Report]:
    """The reports of a file that ``nlpkit evaluate --json`` wrote.

    Raises:
        DataError: a line is not a report.
    """
    reports = []
    for number, row in read_jsonl(path):
        try:
            scores = {name: _number(value) for name, value in row["scores"].items()}
            reports.append(Report(**{**row, "scores": scores}))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError.at(
                path, number, f"{type(error).__name__}: {error}", "a line of nlpkit evaluate --json"
            ) from None
    return reports


def evaluate_files(
    kit: Kit,
    task: str,
    path: str | Path,
    progress: Progress = silent,
    *,
    text: str = "text",
    label: str = "label",
) -> Measured:
    """Scores of a task on a file of your own.

    For a token classification head a CoNLL file (strict entity F1, sentence by sentence), for a
    sequence classification head JSONL or CSV with the fields named (accuracy, or micro F1
    of a multi-label head), for a question answering head SQuAD JSON (F1; "no answer" is allowed
    where the file holds questions without one).

    Raises:
        UnknownNameError: no such task.
        InputError: the file has labels that the head does not know.
        DataError: a line of the file cannot be read.
    """
    kind = kit.head(task).head.kind
    if kind == "token-classification":
        return _entities(kit, task, path, progress)
    if kind == "sequence-classification":
        return _classes(kit, task, path, read_classified(path, text, label), progress)
    if kind == "question-answering":
        return _questions(kit, task, path, progress)
    raise InputError(
        f"the head {task!r} is of kind {kind!r}; files can be scored for token-classification, "
        "sequence-classification and question-answering"
    )


def _entities(kit: Kit, task: str, path: str | Path, progress: Progress) -> Measured:
    sentences = read_conll(path)
    found = {tag[2:] for sentence in sentences for tag in sentence.tags if tag != "O"}
    known = {label[2:] for label in kit.head(task).head.labels if label != "O"}
    _check_labels(path, found, task, known)
    return score_entities(kit, sentences, progress, task=task)


def _classes(
    kit: Kit, task: str, path: str | Path, examples: Sequence[TextExample], progress: Progress
) -> Measured:
    head = kit.head(task).head
    _check_labels(path, {label for e in examples for label in e.labels}, task, head.labels)
    multi_label = getattr(head, "multi_label", False)
    several = [e for e in examples if len(e.labels) != 1]
    if several and not multi_label:
        raise InputError(
            f"{path}: {len(several)} examples have not exactly one label, for instance "
            f"{list(several[0].labels)}; the head {task!r} gives one"
        )
    results = in_chunks(
        lambda texts: kit.classify(texts, task), [e.text for e in examples], progress
    )
    if multi_label:
        return score_label_sets([e.labels for e in examples], results)
    return score_classes([e.labels[0] for e in examples], results, head.labels, "accuracy")


def _questions(kit: Kit, task: str, path: str | Path, progress: Progress) -> Measured:
    questions = read_squad(path)
    if not questions:
        raise DataError.at(path, "whole file", "it holds no question", "at least one")
    no_answer = any(not question.answers for question in questions)
    answers = ask(kit, questions, progress, no_answer=no_answer, task=task)
    return Measured(score_answers(questions, answers), len(questions))


def _check_labels(path: str | Path, found: set[str], task: str, known: Collection[str]) -> None:
    if not found <= set(known):
        raise InputError(
            f"{path} and the head {task!r} disagree on the labels: the file has "
            f"{', '.join(sorted(found))}; the head knows {', '.join(sorted(known))}; "
            f"unknown to it: {', '.join(sorted(found - set(known)))}"
        )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _library_version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "not installed"
