"""base-en, fourth part: classes learn the last layer, which they have for themselves.

Data     As in base_en.
Terms    As in base_en.
How      Nothing else changes. The layer goes on from the first part's, on what the embedding made
         of the ones below. Labels of sentiment are not smoothed here.
Run      nlpkit train base_en_classes --from base-en-third.training/float32 \
           --head sentiment=base-en-first.training/float32 \
           --head topic=base-en-first.training/float32 --output base-en-6
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

answers = load_recipe_module("base_en_answers")


def recipe() -> Recipe:
    """The last part of what base-en-6 learned, and the fourth of base-en-8."""
    before: Recipe = answers.recipe()
    ner, sentiment, topic, qa, embedding = before.tasks
    return replace(
        before,
        tasks=(
            ner,
            replace(sentiment, epochs=1.5, train_backbone=False, label_smoothing=0.0),
            replace(topic, epochs=1, train_backbone=False),
            replace(qa, epochs=0),
            embedding,
        ),
        learning_rate=1.2e-4,
        evaluate_tokens=1_300_000,
    )
