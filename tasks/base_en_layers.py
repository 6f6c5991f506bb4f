"""base-en, second part: what tasks have for themselves, on first layers that stay.

Data     As in base_en.
Terms    As in base_en.
How      The first four layers are frozen, and with them what entities read. Answers learn their own
         layers, classes a second one of their own, and the embedding the backbone's last two.
Run      nlpkit train base_en_layers --from base-en-first.training/float32 --output base-en-5
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

base = load_recipe_module("base_en")


def recipe() -> Recipe:
    """The second part of what base-en-5 learned."""
    first: Recipe = base.recipe()
    ner, sentiment, topic, qa, embedding = first.tasks
    return replace(
        first,
        tasks=(
            replace(ner, examples=base.ner.examples, epochs=0),
            replace(sentiment, epochs=0.5, own_layers=2, train_backbone=False),
            replace(topic, epochs=0.3, own_layers=2, train_backbone=False),
            replace(qa, epochs=0.85, train_backbone=False),
            replace(
                embedding,
                examples=base.more_pairs,
                sources=(*embedding.sources, base.ARTICLES[1]),
                epochs=1,
                weight=0.3,
            ),
        ),
        published_layers=0,
        freeze_layers=4,
        keep_embedding=6.0,
        learning_rate=1.5e-4,
        evaluate_tokens=4_000_000,
    )
