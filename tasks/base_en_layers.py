"""base-en once more: the layers that tasks have for themselves, on a backbone that stays.

Data     As in base_en.
Terms    As in base_en.
How      Own layers and heads learn; the backbone, and with it the embedding, is frozen. A token
         costs less than in base_en. Most of what is read are questions.
Run      nlpkit train base_en_layers --from base-en-3 --output base-en-4
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

base, ner, sentiment, topic, qa = (
    load_recipe_module(name) for name in ("base_en", "ner", "sentiment", "topic", "qa")
)


def recipe() -> Recipe:
    """What base-en-4 learned, going on from base-en-3."""
    together: Recipe = base.recipe()
    return replace(
        together,
        version=4,
        tasks=(
            ner.task(6, own_layers=3),
            replace(sentiment.task(1.0), own_layers=2, branch="classes"),
            replace(topic.task(0.5), own_layers=2, branch="classes"),
            qa.task(1.25, own_layers=3),
            base.embedding_task(0),
        ),
        freeze_backbone=True,
        keep_embedding=0.0,
        keep_every=1,
        keep_start=0.0,
        evaluate_tokens=5_000_000,
        lower=0.06,
        upper=0.05,
    )
