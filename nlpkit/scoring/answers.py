"""Quoted answers: SQuAD's F1 and exact match, and the decision to give none."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlpkit import metrics
from nlpkit.heads import SpanHead
from nlpkit.intervals import Weighted, difference_of, intervals, mean_of, roc_auc_of
from nlpkit.pipeline import Pipeline
from nlpkit.readers import QAExample
from nlpkit.scoring.base import (
    N_WORST,
    Kit,
    Measured,
    Progress,
    Ranges,
    around,
    calibration,
    in_chunks,
    kept,
    mean,
    shortened,
    slices,
)
from nlpkit.types import Answer

QUESTION_WORD = re.compile(r"\b(how many|how much|who|what|which|when|where|why|how)\b")
QUESTION_WORDS = (
    "who",
    "what",
    "which",
    "when",
    "where",
    "why",
    "how",
    "how many",
    "how much",
    "other",
)
NO_ANSWER = "none"
ANSWER_WORDS = Ranges(1, 2, 4, 7)
CONTEXT_WORDS = Ranges(100, 150, 200, 300)
#: Points of the curve of F1 over thresholds.
N_THRESHOLDS = 60
#: The least probability whose logarithm is taken.
_LEAST = 1e-16


@dataclass(frozen=True, slots=True)
class Weighed:
    """What is said by default, what is quoted if something must be, and the lead of "no answer".

    The lead is the log-odds of "no answer" against that quotation, its threshold taken off: the
    default quotes where it is at most 0.
    """

    default: Answer
    quoted: Answer
    lead: float


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


def weigh(
    kit: Kit, questions: Sequence[QAExample], progress: Progress, *, task: str = "qa"
) -> list[Weighed]:
    """Each question answered by default and without the choice of "no answer".

    From one pass where the pipeline's head is our own, otherwise from two.
    """
    pairs = [(question.question, question.context) for question in questions]
    both = _both_ways(kit, task)
    if both is not None:
        found = in_chunks(lambda part: both.answer(part, n_best=2, task=task), pairs, progress)
        # Where there is nothing to read the pipeline gives one answer, without asking the head.
        return [
            Weighed(f[0], f[1], f[2].score) if len(f) > 1 else Weighed(f[0], f[0], math.inf)
            for f in found
        ]

    def twice(part: list[tuple[str, str]]) -> list[Weighed]:
        defaults = kit.answer(part, no_answer=True, task=task)
        quotations = kit.answer(part, no_answer=False, task=task)
        return [Weighed(d, q, _lead(d, q)) for d, q in zip(defaults, quotations, strict=True)]

    return in_chunks(twice, pairs, progress)


def score_answers(
    questions: Sequence[QAExample],
    answers: Sequence[Answer],
    held_out: Sequence[bool] | None = None,
) -> Measured:
    """SQuAD's F1 and exact match.

    ``held_out`` marks the questions on which nothing was fitted; of them alone calibration is
    measured.
    """
    f1s = _scores_of(metrics.answer_f1, questions, answers)
    exact = _scores_of(metrics.exact_match, questions, answers)
    scores = {"f1": mean(f1s), "em": mean(exact)}
    weighted = {"f1": mean_of(f1s), "em": mean_of(exact)}
    among = [True] * len(questions) if held_out is None else held_out
    judged = [(a.score, e == 1) for a, e, one in zip(answers, exact, among, strict=True) if one]
    details = {
        "slices": _slices(questions, f1s, exact),
        **calibration([score for score, _ in judged], [right for _, right in judged]),
    }
    return Measured(
        scores,
        len(questions),
        details,
        intervals(weighted, len(questions)),
        _worst(questions, answers, f1s),
    )


def score_refusals(
    questions: Sequence[QAExample],
    weighed: Sequence[Weighed],
    held_out: Sequence[bool] | None = None,
) -> Measured:
    """The default, beside always and never giving an answer, and the choice between the two.

    ``held_out`` marks the questions on which nothing was fitted; they get scores of their own, and
    of them alone calibration is measured.
    """
    measured = score_answers(questions, [one.default for one in weighed], held_out)
    f1s = _scores_of(metrics.answer_f1, questions, [one.default for one in weighed])
    always = _scores_of(metrics.answer_f1, questions, [one.quoted for one in weighed])
    answerable = [bool(question.answers) for question in questions]
    leads = [one.lead for one in weighed]
    ways = {
        "f1": f1s,
        "f1_always_answer": always,
        "f1_never_answer": [float(not answers) for answers in answerable],
    }
    scores, weighted = _beside_never(ways, [True] * len(f1s), "")
    if held_out is not None:
        more = _beside_never(ways, held_out, "_held_out")
        scores, weighted = scores | more[0], weighted | more[1]
    unanswerable = [not answers for answers in answerable]
    for name, among in (("f1_answerable", answerable), ("f1_unanswerable", unanswerable)):
        scores[name] = _mean_where(among, f1s)
        weighted[name] = mean_of(f1s, among)
    scores["auc_answerable"] = metrics.roc_auc([-lead for lead in leads], answerable)
    weighted["auc_answerable"] = roc_auc_of([-lead for lead in leads], answerable)
    return Measured(
        measured.scores | scores,
        len(questions),
        measured.details | {"threshold_curve": threshold_curve(leads, always, answerable)},
        measured.intervals | intervals(weighted, len(questions)),
        measured.worst,
    )


def _beside_never(
    ways: Mapping[str, Sequence[float]], among: Sequence[bool], ending: str
) -> tuple[dict[str, float], dict[str, Weighted]]:
    """The mean of each way, and how much better the first is than the last: never to answer."""
    scores = {f"{name}{ending}": _mean_where(among, values) for name, values in ways.items()}
    weighted = {f"{name}{ending}": mean_of(values, among) for name, values in ways.items()}
    default, never, over = (
        f"{name}{ending}" for name in ("f1", "f1_never_answer", "f1_over_never_answer")
    )
    scores[over] = scores[default] - scores[never]
    weighted[over] = difference_of(weighted[default], weighted[never])
    return scores, weighted


def threshold_curve(
    leads: Sequence[float], quoted: Sequence[float], answerable: Sequence[bool]
) -> dict[str, list[float]]:
    """F1 and the share of questions answered, by the lead of "no answer" up to which one answers.

    ``quoted`` are the scores of the quotations; no answer scores 1 on a question without one.
    """
    finite = [lead for lead in leads if math.isfinite(lead)]
    if not finite:
        return {}
    values = np.asarray(leads)
    without = 1.0 - np.asarray(answerable, dtype=np.float64)
    borders = {*np.quantile(finite, np.linspace(0, 1, N_THRESHOLDS)).tolist(), 0.0}
    curve: dict[str, list[float]] = {"lead": [], "f1": [], "answered": []}
    for border in sorted(borders):
        answered = values <= border
        f1 = np.where(answered, np.asarray(quoted), without).mean()
        curve["lead"].append(round(border, 4))
        curve["f1"].append(round(float(f1), 4))
        curve["answered"].append(round(float(answered.mean()), 4))
    return curve


# One pass for both ways ----------------------------------------------------------------------


class _BothWays(SpanHead):
    """Gives the default answer, the forced one, and the lead of "no answer" as a score."""

    def decode(self, logits: Any, reading: Any, **options: Any) -> list[Answer]:
        most = options["max_answer_length"]
        default, quoted = (
            super(_BothWays, self).decode(
                logits, reading, max_answer_length=most, no_answer=no_answer
            )[0]
            for no_answer in (True, False)
        )
        lead = math.inf
        if quoted:
            nothing, spans = self.candidates(logits, reading, 1, most)
            lead = (nothing - self.threshold - spans[0].score) / self.temperature
        return [default, quoted, Answer(None, None, None, lead)]


def _both_ways(kit: Kit, task: str) -> Pipeline | None:
    """The model with a head that answers both ways; None where its head is of another kind."""
    if not isinstance(kit, Pipeline):
        return None
    plugged = kit.head(task)
    if type(plugged.head) is not SpanHead:
        return None
    return kit.with_head(task, _BothWays(**plugged.head.config()))


def _lead(default: Answer, quoted: Answer) -> float:
    """The log-odds from the scores, which count spans alone or "no answer" among them.

    Scores that were calibrated, or count what spans agree on, are no such shares; the sign is right
    all the same.
    """
    if not quoted:
        return math.inf  # there is nothing to quote from
    if default:
        return min(_log_odds(1 - default.score / max(quoted.score, _LEAST), default.score), 0.0)
    return max(_log_odds(default.score, quoted.score * (1 - default.score)), _LEAST)


def _log_odds(nothing: float, span: float) -> float:
    return math.log(max(nothing, _LEAST)) - math.log(max(span, _LEAST))


# Slices and errors ---------------------------------------------------------------------------


def _slices(
    questions: Sequence[QAExample], f1s: Sequence[float], exact: Sequence[float]
) -> dict[str, list[dict[str, Any]]]:
    def score(chosen: list[int]) -> Mapping[str, float]:
        return {"f1": mean([f1s[i] for i in chosen]), "em": mean([exact[i] for i in chosen])}

    words = [_question_word(one.question) for one in questions]
    answers = [
        ANSWER_WORDS(len(one.answers[0][1].split())) if one.answers else NO_ANSWER
        for one in questions
    ]
    contexts = [CONTEXT_WORDS(len(one.context.split())) for one in questions]
    return kept(
        {
            "question word": slices(words, QUESTION_WORDS, score),
            "words of the answer": slices(answers, (NO_ANSWER, *ANSWER_WORDS.names), score),
            "words of the context": slices(contexts, CONTEXT_WORDS.names, score),
        }
    )


def _question_word(question: str) -> str:
    found = QUESTION_WORD.search(re.sub(r"\bwho(m|se)\b", "who", question.lower()))
    return found[1] if found else "other"


def _worst(
    questions: Sequence[QAExample], answers: Sequence[Answer], f1s: Sequence[float]
) -> list[dict[str, Any]]:
    """The answers with the highest scores of which not a word is right."""
    wrong = [i for i, f1 in enumerate(f1s) if f1 == 0]
    wrong.sort(key=lambda i: -answers[i].score)
    return [_error(questions[i], answers[i]) for i in wrong[:N_WORST]]


def _error(question: QAExample, answer: Answer) -> dict[str, Any]:
    gold = " | ".join(dict.fromkeys(text for _, text in question.answers))
    start, end = (answer.start, answer.end) if answer else (0, 0)
    if not answer and question.answers:
        start = question.answers[0][0]
        end = start + len(question.answers[0][1])
    assert start is not None
    assert end is not None
    return {
        "score": answer.score,
        "predicted": answer.text or "no answer",
        "gold": shortened(gold) or "no answer",
        "what": shortened(question.question),
        **around(question.context, start, end),
    }


# Helpers -------------------------------------------------------------------------------------


def _scores_of(
    score: Callable[[str | None, Sequence[str]], float],
    questions: Sequence[QAExample],
    answers: Sequence[Answer],
) -> list[float]:
    return [
        score(answer.text, [text for _, text in question.answers])
        for question, answer in zip(questions, answers, strict=True)
    ]


def _mean_where(chosen: Sequence[bool], values: Sequence[float]) -> float:
    return mean([value for value, counts in zip(values, chosen, strict=True) if counts])
