"""Confidence: scores that say how often a result is right, fitted after training.

One temperature for a head that classifies texts or words (Guo et al. 2017), a line through the
log odds for one that quotes answers (Platt 1999). Neither changes a result nor an order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import InputError
from nlpkit.heads import SequenceHead, SpanHead, TokenHead
from nlpkit.heads.base import over_windows
from nlpkit.heads.span import log_odds
from nlpkit.metrics import exact_match, expected_calibration_error
from nlpkit.pipeline import Pipeline
from nlpkit.readers import Example, QAExample, TextExample, TokenExample
from nlpkit.training.recipe import Recipe

#: The temperatures that are tried, 3.5 % apart.
TEMPERATURES = np.geomspace(0.25, 4.0, 81)
#: How strongly a fitted line is held to the identity, in examples; and its least slope.
PRIOR = 1.0
LEAST_SLOPE = 0.05
#: A span head's lines, by whether it may refuse and does.
LINES: dict[bool, dict[bool, str]] = {
    True: {False: "calibration", True: "refusal_calibration"},
    False: {False: "span_calibration"},
}

Numbers = NDArray[np.float64]
#: Confidences at a temperature, and whether each is right.
Judged = Callable[[float], tuple[Numbers, Numbers]]


def calibrate(
    kit: Pipeline, recipe: Recipe
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Values for the heads' configs, and what they are worth.

    Every other example is fitted on; the expected calibration errors before and after are those of
    the rest.
    """
    fitted: dict[str, dict[str, Any]] = {}
    record: dict[str, dict[str, Any]] = {}
    for task in recipe.tasks:
        if task.calibration is None:
            continue
        examples = task.calibration()
        values, before, after = _fit(kit, task.name, examples[::2], examples[1::2])
        fitted[task.name] = values
        record[task.name] = {
            **values,
            "examples": len(examples),
            "ece_before": round(before, 4),
            "ece_after": round(after, 4),
        }
    return fitted, record


def _fit(
    kit: Pipeline, task: str, fitting: Sequence[Example], rest: Sequence[Example]
) -> tuple[dict[str, Any], float, float]:
    head = kit.head(task).head
    if isinstance(head, SpanHead):
        values: dict[str, Any] = {}
        plain, moved, judged_right = [], [], []
        for no_answer in (True, False):
            given, others = (_answers(kit, task, part, no_answer) for part in (fitting, rest))
            for refused, name in LINES[no_answer].items():
                odds, right = (part[given[2] == refused] for part in given[:2])
                slope, offset = fit_line(odds, right)
                values[name] = [round(slope, 4), round(offset, 4)]
                odds, right = (part[others[2] == refused] for part in others[:2])
                plain.append(_logistic(odds))
                moved.append(_logistic(slope * odds + offset))
                judged_right.append(right)
        all_right = np.concatenate(judged_right)
        before, after = (_error(np.concatenate(chances), all_right) for chances in (plain, moved))
        return values, before, after
    if not isinstance(head, SequenceHead | TokenHead):
        raise InputError(f"the scores of a {head.kind} head ({task}) cannot be calibrated")
    judge = _classes if isinstance(head, SequenceHead) else _entities
    told, _ = judge(kit, task, fitting)
    temperature = round(fit_temperature(told), 4)
    _, judged = judge(kit, task, rest)
    before, after = _error(*judged(head.temperature)), _error(*judged(temperature))
    return {"temperature": temperature}, before, after


def fit_temperature(judged: Judged) -> float:
    """The temperature at which what is right is likeliest."""
    losses = [_log_loss(*judged(float(temperature))) for temperature in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def fit_line(log_odds: Numbers, right: Numbers) -> tuple[float, float]:
    """Slope and offset of the log odds at which what is right is likeliest, by Newton's method.

    A weak prior at the identity keeps few or perfect examples from asking for infinity.
    """
    inputs = np.stack([log_odds, np.ones_like(log_odds)], axis=1)
    line = start = np.array([1.0, 0.0])
    for _ in range(100):
        chances = _logistic(inputs @ line)
        gradient = inputs.T @ (chances - right) + PRIOR * (line - start)
        curvature = (inputs.T * (chances * (1 - chances))) @ inputs + PRIOR * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        line = line - step * min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return max(float(line[0]), LEAST_SLOPE), float(line[1])


# -- confidences and what is right ---------------------------------------------------------------


class _ClassLogits(SequenceHead):
    """Gives a text's logits."""

    def decode(self, logits: Any, reading: Any) -> Any:
        return over_windows(logits, reading) if len(logits) else None


class WordLogits(TokenHead):
    """Gives the logits of every window with what they were read from."""

    def decode(self, logits: Any, reading: Any) -> Any:
        return logits, reading


def _classes(kit: Pipeline, task: str, examples: Sequence[Example]) -> tuple[Judged, Judged]:
    """The score of each text's class, to fit on, and its highest score, to judge by.

    Of a multi-label head all scores, twice.
    """
    head = kit.head(task).head
    assert isinstance(head, SequenceHead)
    texts = [example for example in examples if isinstance(example, TextExample)]
    probe = _ClassLogits(**head.config())
    found = kit.with_head(task, probe).apply([example.text for example in texts], task)
    kept = [(e, logits) for e, logits in zip(texts, found, strict=True) if logits is not None]
    stacked = np.stack([logits for _, logits in kept])
    gold = np.array([[label in e.labels for label in head.labels] for e, _ in kept])

    def judged(temperature: float) -> tuple[Numbers, Numbers]:
        scores = SequenceHead(**{**head.config(), "temperature": temperature}).scores(stacked)
        if head.multi_label:
            return scores.ravel().astype(np.float64), gold.ravel().astype(np.float64)
        best = scores.argmax(axis=1)
        rows = np.arange(len(best))
        return scores[rows, best].astype(np.float64), gold[rows, best].astype(np.float64)

    def told(temperature: float) -> tuple[Numbers, Numbers]:
        scores = SequenceHead(**{**head.config(), "temperature": temperature}).scores(stacked)
        return scores[gold].astype(np.float64), np.ones(int(gold.sum()))

    return (judged if head.multi_label else told), judged


def _entities(kit: Pipeline, task: str, examples: Sequence[Example]) -> tuple[Judged, Judged]:
    """The score of each entity found, to fit on and to judge by."""
    head = kit.head(task).head
    assert isinstance(head, TokenHead)
    texts = [example for example in examples if isinstance(example, TokenExample)]
    probe = WordLogits(**head.config())
    found = kit.with_head(task, probe).apply([example.text for example in texts], task)

    def judged(temperature: float) -> tuple[Numbers, Numbers]:
        warmed = TokenHead(**{**head.config(), "temperature": temperature})
        scores, right = [], []
        for example, (logits, reading) in zip(texts, found, strict=True):
            for entity in warmed.decode(logits, reading):
                scores.append(entity.score)
                right.append((entity.start, entity.end, entity.label) in example.spans)
        return np.array(scores, dtype=np.float64), np.array(right, dtype=np.float64)

    return judged, judged


def _answers(
    kit: Pipeline, task: str, examples: Sequence[Example], no_answer: bool
) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """The log odds of answers, or of quotations where there is something to quote; whether each is
    right, and whether it is none."""
    questions = [example for example in examples if isinstance(example, QAExample)]
    head = kit.head(task).head
    lines = {name: None for of in LINES.values() for name in of.values()}
    plain = SpanHead(**{**head.config(), **lines})
    asked = [question for question in questions if no_answer or question.answers]
    pairs = [(question.question, question.context) for question in asked]
    answers = kit.with_head(task, plain).answer(pairs, no_answer=no_answer, task=task)
    odds = [log_odds(answer.score) for answer in answers]
    right = [
        exact_match(answer.text, [text for _, text in question.answers])
        for question, answer in zip(asked, answers, strict=True)
    ]
    return np.array(odds), np.array(right), np.array([not answer for answer in answers])


def _logistic(values: Numbers) -> Numbers:
    # Unlike 1 / (1 + exp(-x)), this does not overflow.
    return np.asarray((1 + np.tanh(values / 2)) / 2, dtype=np.float64)


def _log_loss(chances: Numbers, right: Numbers) -> float:
    inside = np.clip(chances, 1e-9, 1 - 1e-9)
    return -float(np.mean(right * np.log(inside) + (1 - right) * np.log1p(-inside)))


def _error(chances: Numbers, right: Numbers) -> float:
    if not len(chances):
        return 0.0
    inside = np.clip(chances, 0.0, 1.0)
    return expected_calibration_error(inside.tolist(), (right > 0).tolist())
