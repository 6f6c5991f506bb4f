"""base-en, last part: answers learn once more, and from questions about reviews too.

Data     That of qa; questions about reviews of hotels, restaurants, groceries and electronics
         (SubjQA, Bjerva et al. 2020; training parts). Those of its dev parts watch it where the
         review is none of the former; most are about books and films.
Terms    As in base_en; SubjQA states none.
How      Answers' own five layers go on; no other weight changes. In reviews people marked whole
         phrases. Of the questions that a review does not answer a quarter is read. The result is
         the mean of the weights before and after.
Run      nlpkit train base_en_questions --from base-en-14 --output base-en-15
Score    see the bundle's card
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from nlpkit.readers import QAExample, Source, read_classified
from nlpkit.training.recipe import Dev, Recipe, load_recipe_module
from nlpkit.training.scores import answer_f1

base, reviews, sequences = (
    load_recipe_module(name) for name in ("base_en", "base_en_reviews", "base_en_sequences")
)

TAUGHT = tuple(source for source in reviews.REVIEWS if "train" in source.file)
WATCHED = tuple(source for source in reviews.REVIEWS if "dev" in source.file)
#: Share of the questions without an answer that a pass takes.
UNANSWERED = 0.25


def examples(rng: random.Random, **options: Any) -> Sequence[QAExample]:
    """Those of qa with its options, and the questions about reviews, as many of a few sentences."""
    asked = questions(TAUGHT)
    asked = [one for one in asked if one.answers or rng.random() < UNANSWERED]
    qa = base.qa
    short = [qa.shortened(one, rng) if rng.random() < qa.SHORT else one for one in asked]
    return [*qa.examples(rng, **options), *short]


def questions(sources: Iterable[Source]) -> list[QAExample]:
    """Questions of SubjQA, each with the whole review."""
    found = []
    for source in sources:
        asked = read_classified(source.path(), "question", "human_ans_spans")
        placed = read_classified(source.path(), "review", "human_ans_indices")
        for question, review in zip(asked, placed, strict=True):
            spans: tuple[tuple[int, str], ...] = ()
            if reviews.MARK not in question.labels[0]:
                start, end = ast.literal_eval(review.labels[0])
                spans = ((start, review.text[start:end]),)
            context = review.text.replace(reviews.MARK, "").rstrip()
            found.append(QAExample(question.text, context, spans))
    return found


@cache
def answered() -> tuple[QAExample, ...]:
    """The answered questions of the dev parts, about reviews that are not in the training parts."""
    learned = {example.context for example in questions(TAUGHT)}
    asked = questions(WATCHED)
    return tuple(one for one in asked if one.answers and one.context not in learned)


def recipe() -> Recipe:
    """The last part of base-en-15."""
    before: Recipe = sequences.recipe()
    tasks = {task.name: replace(task, dev=(), calibration=None) for task in before.tasks}
    tasks["ner"] = replace(tasks["ner"], examples=base.ner.examples)
    tasks["sentiment"] = replace(tasks["sentiment"], examples=base.sentiment.examples)
    known = base.qa.task(0.7, own_layers=5)
    tasks["qa"] = replace(
        known,
        examples=examples,
        sources=(*known.sources, *reviews.REVIEWS),
        keep_embedding=False,
        train_backbone=False,
        dev=(*known.dev, Dev("questions about reviews, F1", answered, answer_f1, most=120)),
    )
    return replace(
        before,
        version=15,
        tasks=tuple(tasks.values()),
        heads_only=False,
        learning_rate=8e-5,
        ema=0.998,
        keep_start=0.3,
        evaluate_tokens=1_000_000,
        fit=base.qa.fit,
    )
