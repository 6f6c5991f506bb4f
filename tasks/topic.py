"""Topic of English news: World, Sports, Business, Sci/Tech.

Data     AG News (Zhang et al. 2015), 37,436 of its 120,000 training items and 6,782 without their
         titles; every 20th of the first is held out to watch the training and fit the confidence.
Terms    The corpus is for non-commercial research use.
Convert  Title and description in one text. "#39;" and its like, left over from HTML, are turned
         back into their characters in half of the items.
Run      nlpkit train topic --output my-topic
Score    test accuracy about 0.93
"""

from __future__ import annotations

import html
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from nlpkit.readers import Source, TextExample, read_classified
from nlpkit.training.recipe import Dev, Recipe, Task
from nlpkit.training.scores import accuracy

LABELS = ["World", "Sports", "Business", "Sci/Tech"]

TRAIN = Source(
    file="ag_news/train_subset.jsonl.gz",
    name="AG News",
    licence="not stated; the corpus readme says non-commercial research use",
    address="https://github.com/mhjabreel/CharCnn_Keras",
    sha256="7d828db0281bbb92d1a46e9c9e3a660d3087c2d9311fe8c11e8cac2b910ab2f4",
)

UNTITLED = replace(
    TRAIN,
    file="ag_news/train_subset_desc_only.jsonl.gz",
    name="AG News, items without a title",
    address="https://github.com/forest-snow/alps",
    sha256="644be0eeebc844828ee167f9b655b918924ad0f7b172b2c230c1a76c04045cda",
)

HELD_OUT_EVERY = 20


def examples(rng: random.Random) -> Sequence[TextExample]:
    return [
        TextExample(clean(e.text) if rng.random() < 0.5 else e.text, e.labels)
        for e in (*titled(), *read_classified(UNTITLED.path()))
    ]


@cache
def titled() -> tuple[TextExample, ...]:
    """Items to learn from: title and description."""
    return tuple(e for i, e in enumerate(read_classified(TRAIN.path())) if i % HELD_OUT_EVERY)


@cache
def held_out() -> tuple[TextExample, ...]:
    return tuple(read_classified(TRAIN.path())[::HELD_OUT_EVERY])


def clean(text: str) -> str:
    """The text with entities that lost their ampersand (" #39;s", "&lt;") as characters."""
    return html.unescape(re.sub(r" ?#(\d+);", r"&#\1;", text))


def task(epochs: float = 1) -> Task:
    return Task(
        name="topic",
        kind="sequence-classification",
        config={"labels": LABELS, "pooling": "cls"},
        examples=examples,
        sources=(TRAIN, UNTITLED),
        epochs=epochs,
        max_length=192,
        batch_tokens=1024,
        label_smoothing=0.05,
        dev=(
            Dev(
                "held-out AG News accuracy",
                held_out,
                lambda kit, examples: accuracy(kit, examples, "topic"),
            ),
        ),
        calibration=held_out,
        expected={"ag_news test, accuracy": 0.91},
    )


def recipe() -> Recipe:
    return Recipe("topic", "Topic of English news", (task(2),))
