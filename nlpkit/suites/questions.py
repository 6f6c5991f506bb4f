"""Suites of question answering: SQuAD 1.1 and 2.0."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nlpkit.readers import QAExample, Source, read_squad
from nlpkit.scoring import Kit, Measured, Progress, ask, score_answers, score_refusals, weigh
from nlpkit.suites.base import Suite

SQUAD_V1 = Source(
    file="squad_v1.1/dev-v1.1.json.gz",
    name="SQuAD 1.1, dev part",
    licence="CC BY-SA 4.0",
    address="https://github.com/rajpurkar/SQuAD-explorer",
    sha256="6823f3b5b79986d8b51e0078b7efd070231863e6296700a88d87c7a6a8803f77",
)
SQUAD_V2 = Source(
    file="squad_v2.0/dev-v2.0.json.gz",
    name="SQuAD 2.0, dev part",
    licence="CC BY-SA 4.0",
    address="https://github.com/rajpurkar/SQuAD-explorer",
    sha256="7bd595f2bd95a2be1ababb2ca49f5d1866aad3346986acc1fe86b914f9eb0ab7",
)


def squad_v1(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    """Confidence is judged on the articles that it was not fitted on."""
    questions = read_squad(files[0])[:limit]
    fitted = fitting_titles(read_squad(files[1]))
    answers = ask(kit, questions, progress, no_answer=False)
    return score_answers(questions, answers, [one.title not in fitted for one in questions])


def squad_v2(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    """The default, beside always and never giving an answer, on all articles and the held-out."""
    questions = read_squad(files[0])
    titles = held_out_titles(questions)
    questions = questions[:limit]
    measured = score_refusals(
        questions,
        weigh(kit, questions, progress),
        held_out=[question.title in titles for question in questions],
    )
    measured.details["held_out_articles"] = titles
    return measured


def squad_v2_heldout(
    kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress
) -> Measured:
    """The held-out articles alone."""
    questions = read_squad(files[0])
    titles = held_out_titles(questions)
    questions = [question for question in questions if question.title in titles][:limit]
    measured = score_refusals(questions, weigh(kit, questions, progress))
    measured.details["held_out_articles"] = titles
    return measured


def fitting_titles(questions: Sequence[QAExample]) -> list[str]:
    """The articles of SQuAD 2.0's dev part that a threshold and confidence may be fitted on."""
    return sorted({question.title for question in questions})[::2]


def held_out_titles(questions: Sequence[QAExample]) -> list[str]:
    """The others: those at the odd places of the sorted titles."""
    return sorted({question.title for question in questions})[1::2]


QUESTIONS = (
    Suite(
        "squad_v1", "SQuAD 1.1 dev, F1 with no_answer=False", (SQUAD_V1, SQUAD_V2), squad_v1, "qa"
    ),
    Suite("squad_v2", "SQuAD 2.0 dev, F1 with the default", (SQUAD_V2,), squad_v2, "qa"),
    Suite(
        "squad_v2_heldout",
        "SQuAD 2.0 dev, F1 with the default on the articles not used for the threshold",
        (SQUAD_V2,),
        squad_v2_heldout,
        "qa",
        part_of="squad_v2",
    ),
)
