"""Extractive question answering in English, with "no answer".

Data     SQuAD 1.1 (Rajpurkar et al. 2016), 11,877 training questions of 44 articles;
         SQuADShifts (Miller et al. 2020): new Wikipedia, Amazon reviews, Reddit, 27,626 questions.
Terms    SQuAD: CC BY-SA 4.0; SQuADShifts: CC BY 4.0.
Convert  The first of several answers is the target. One question in six is asked again of another
         paragraph of its article, where it has no answer.
Fit      The threshold of "no answer": on the articles of the SQuAD 2.0 dev set that stand at even
         places of their sorted titles. Scores are reported on the other half.
Run      nlpkit train qa --output my-qa
Score    SQuAD 1.1 dev F1 about 0.70 after 16,000 questions
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from nlpkit.engines import PluggedHead
from nlpkit.heads import SpanHead
from nlpkit.metrics import answer_f1, best_no_answer_threshold
from nlpkit.pipeline import Pipeline
from nlpkit.readers import QAExample, Source, read_squad
from nlpkit.training.recipe import Recipe, Task
from nlpkit.types import Answer

_SHIFTS = "https://github.com/modestyachts/squadshifts-website"
_SHIFTS_LICENCE = "CC BY 4.0"

SOURCES = (
    Source(
        file="squad_v1.1/train_subset-v1.1.json.gz",
        name="SQuAD 1.1",
        licence="CC BY-SA 4.0",
        address="https://github.com/tomhosking/squad-du-split",
        sha256="145fc07f6572559f17acfd15181d35606ffa2fd9890fe9828351aa88fad89287",
    ),
    Source(
        file="squadshifts/new_wiki_v1.0.json.gz",
        name="SQuADShifts, new Wikipedia",
        licence=_SHIFTS_LICENCE,
        address=_SHIFTS,
        sha256="b6ff086a3180ebaef23584d98e4f9bbef9ae9c278b0bc35e3dd4ad0427383b6b",
    ),
    Source(
        file="squadshifts/amazon_reviews_v1.0.json.gz",
        name="SQuADShifts, Amazon reviews",
        licence=_SHIFTS_LICENCE,
        address=_SHIFTS,
        sha256="f854672d9f9321b3f2568f0fd548c65197f7a5819191aca8bd5b7d425abea12f",
    ),
    Source(
        file="squadshifts/reddit_v1.0.json.gz",
        name="SQuADShifts, Reddit",
        licence=_SHIFTS_LICENCE,
        address=_SHIFTS,
        sha256="e036df0a76b389ebc04c5f327b5025df9673cc320d18d08bc17bd0e72f0e768b",
    ),
)

THRESHOLD = Source(
    file="squad_v2.0/dev-v2.0.json.gz",
    name="SQuAD 2.0, half of the dev articles (for one number)",
    licence="CC BY-SA 4.0",
    address="https://github.com/rajpurkar/SQuAD-explorer",
    sha256="7bd595f2bd95a2be1ababb2ca49f5d1866aad3346986acc1fe86b914f9eb0ab7",
)

#: Share of the questions that an epoch takes from each source.
SHARES = (0.9, 0.45, 0.12, 0.12)
UNANSWERABLE = 1 / 6


def examples(rng: random.Random) -> Sequence[QAExample]:
    made: list[QAExample] = []
    for source, share in zip(SOURCES, SHARES, strict=True):
        known = read_squad(source.path())
        contexts: dict[str, list[str]] = defaultdict(list)
        for example in known:
            if example.context not in contexts[example.title][-1:]:
                contexts[example.title].append(example.context)
        for example in rng.sample(known, int(share * len(known))):
            made.append(example)
            others = [c for c in contexts[example.title] if c != example.context]
            if others and rng.random() < UNANSWERABLE:
                made.append(QAExample(example.question, rng.choice(others), (), example.id))
    return made


def fit(kit: Pipeline) -> dict[str, dict[str, Any]]:
    """The lead of "no answer" over the best span at which it wins, for the best F1."""
    dev = read_squad(THRESHOLD.path())
    half = set(sorted({example.title for example in dev})[::2])
    chosen = [example for example in dev if example.title in half]
    margins = Pipeline(
        kit.encoder,
        kit.engine,
        {"qa": PluggedHead(_Margins(), kit.head("qa").parameters)},
        sizes=kit.sizes,
    )
    answers = margins.answer([(e.question, e.context) for e in chosen])
    leads = [answer.score for answer in answers]
    quoted = [
        answer_f1(a.text, [t for _, t in e.answers]) for a, e in zip(answers, chosen, strict=True)
    ]
    threshold, _ = best_no_answer_threshold(leads, quoted, [bool(e.answers) for e in chosen])
    return {"qa": {"threshold": round(max(threshold, min(leads) - 1), 4)}}


class _Margins(SpanHead):
    """Gives the best span with the lead of "no answer" as its score."""

    def decode(self, logits: Any, reading: Any, **options: Any) -> Any:
        null, spans = self.candidates(logits, reading, 1, options["max_answer_length"])
        score, start, end = spans[0]
        return [Answer(reading.text[start:end], start, end, null - score)]


def task(epochs: int = 1) -> Task:
    return Task(
        name="qa",
        kind="question-answering",
        config={},
        examples=examples,
        sources=(*SOURCES, THRESHOLD),
        epochs=epochs,
        max_length=320,
        batch_tokens=3200,
        keep_embedding=False,
        expected={"squad_v1.1 dev, F1": 0.62, "squad_v1.1 dev, EM": 0.50},
    )


def recipe() -> Recipe:
    return Recipe("qa", "Extractive question answering", (task(2),), fit=fit)
