"""SST-2 and nothing else: what the backbone reaches with all its layers for two classes.

A recipe: nlpkit train benchmarks/sst2_alone.py --output sst2-alone
Then: nlpkit evaluate sst2-alone.training/float32 --precision fp32 --suite sst2 --suite sst2_test
See docs/training.md, "Where this backbone ends".
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from nlpkit.readers import TextExample
from nlpkit.training.recipe import Dev, Recipe, load_recipe_module

sentiment = load_recipe_module("sentiment")


def examples(rng: random.Random) -> Sequence[TextExample]:
    sentences, phrases = sentiment.sst()
    return [*phrases, *(one for one in sentences if one.labels != ("neutral",))]


def recipe() -> Recipe:
    first, _ = sentiment.task().dev
    task = replace(
        sentiment.task(3),
        config={"labels": ["negative", "positive"], "pooling": "cls"},
        examples=examples,
        sources=(sentiment.PHRASES, sentiment.SENTENCES),
        label_smoothing=0.0,
        dev=(
            replace(first, most=400),
            Dev("held-out phrases", sentiment.held_out_phrases, sentiment.polarity_accuracy, 2000),
        ),
        calibration=sentiment.polar_sentences,
        expected={},
    )
    return Recipe(
        "sst2_alone",
        "SST-2 alone",
        (task,),
        learning_rate=1e-4,
        ema=0.999,
        evaluate_tokens=870_000,
    )
