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

base = load_recipe_module("base_en")


def recipe() -> Recipe:
    """What base-en-5 learned, going on from base-en-4."""
    together: Recipe = base.recipe()
    ner_, sentiment_, topic_, qa_, embedding = together.tasks
    return replace(
        together,
        version=5,
        tasks=(
            replace(ner_, epochs=0),
            replace(sentiment_, epochs=0),
            replace(topic_, epochs=0),
            replace(qa_, epochs=0.85),
            replace(embedding, epochs=0),
        ),
        published_layers=0,
        freeze_layers=6,
        keep_embedding=0.0,
        keep_every=1,
        learning_rate=1.5e-4,
        evaluate_tokens=3_000_000,
        lower=0.06,
        upper=0.05,
    )
