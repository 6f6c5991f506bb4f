"""Measure a pipeline: on the benchmark suites, or on files of your own.

What a user gets is what is measured: everything goes through the public pipeline.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nlpkit.errors import DataError, InputError
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
    score_refusals,
    silent,
    weigh,
)
from nlpkit.suites import GROUPS, SUITES, Suite, find_suite, find_suites
from nlpkit.version import library_version

__all__ = [
    "GROUPS",
    "SUITES",
    "Kit",
    "Measured",
    "Report",
    "Suite",
    "classes_by_scheme",
    "evaluate_files",
    "find_suite",
    "find_suites",
    "make_report",
    "read_reports",
    "report_of",
]

#: A report's line shows this many of its scores; its JSON has all of them.
SCORES_IN_LINE = 4


@dataclass(frozen=True, slots=True)
class Report:
    """The scores of one run, the main one first, and all that is needed to take them again.

    ``intervals``, ``details`` and ``worst`` are as in :class:`nlpkit.scoring.Measured`.
    """

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
    intervals: dict[str, list[float]] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)

    @property
    def main(self) -> tuple[str, float]:
        """The name and value of the score that stands for the suite."""
        return next(iter(self.scores.items()))

    def line(self) -> str:
        """One line of a table for people."""
        shown = list(self.scores)[:SCORES_IN_LINE]
        scores = "  ".join(f"{name} {self.scores[name]:.4f}{self._range(name)}" for name in shown)
        return (
            f"{self.suite:<24} {scores}  ({self.n_examples:,} examples, {self.seconds:.1f} s, "
            f"{self.bundle} {self.engine} {self.precision})"
        )

    def _range(self, name: str) -> str:
        """The interval of the main score, for the line."""
        found = self.intervals.get(name)
        if found is None or name != self.main[0]:
            return ""
        return f" [{found[0]:.4f}, {found[1]:.4f}]"

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
        version=library_version(),
        command=command,
        details=measured.details,
        intervals=measured.intervals,
        worst=measured.worst,
    )


def read_reports(path: str | Path) -> list[Report]:
    """The reports of a file that ``nlpkit evaluate --json`` wrote.

    Raises:
        DataError: a line is not a report.
    """
    reports = []
    for number, row in read_jsonl(path):
        try:
            reports.append(report_of(row))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError.at(
                path, number, f"{type(error).__name__}: {error}", "a line of nlpkit evaluate --json"
            ) from None
    return reports


def report_of(row: Mapping[str, Any]) -> Report:
    """The report of what :meth:`Report.to_json` wrote, as a dict.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is no report.
    """
    scores = {name: _number(value) for name, value in row["scores"].items()}
    intervals = {
        name: [_number(low), _number(high)]
        for name, (low, high) in row.get("intervals", {}).items()
    }
    return Report(**{**row, "scores": scores, "intervals": intervals})


def classes_by_scheme(report: Report) -> dict[str, dict[str, dict[str, float]]]:
    """The scores of a report's classes; of entities under the name of each scheme.

    The schemes differ only where a tag sequence does not begin with B, as at the border of a
    sentence that an entity crosses; where they agree they share an entry.
    """
    strict = report.details.get("per_class") or {}
    conlleval = report.details.get("per_class_conlleval")
    if conlleval is None:
        return {"class": strict} if strict else {}
    if conlleval == strict:
        return {"class (strict IOB2 and conlleval)": strict}
    return {"class (strict IOB2)": strict, "class (conlleval)": conlleval}


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
    texts = [example.text for example in examples]
    results = in_chunks(lambda part: kit.classify(part, task), texts, progress)
    if multi_label:
        return score_label_sets(texts, [e.labels for e in examples], results)
    gold = [e.labels[0] for e in examples]
    return score_classes(texts, gold, results, head.labels, "accuracy")


def _questions(kit: Kit, task: str, path: str | Path, progress: Progress) -> Measured:
    questions = read_squad(path)
    if not questions:
        raise DataError.at(path, "whole file", "it holds no question", "at least one")
    if any(not question.answers for question in questions):
        return score_refusals(questions, weigh(kit, questions, progress, task=task))
    return score_answers(questions, ask(kit, questions, progress, no_answer=False, task=task))


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
