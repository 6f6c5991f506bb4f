"""base-en, second part: the embedding learns the backbone's last two layers.

Data     As in base_en; and a few sentences of each paragraph of Wikipedia with its article's name.
Terms    As in base_en.
How      The first four layers are frozen, and with them what entities read.
Run      nlpkit train base_en_embedding --from base-en-first.training/float32 \
           --output base-en-second
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

base = load_recipe_module("base_en")


def recipe() -> Recipe:
    """The second part of what base-en-6 learned."""
    first: Recipe = base.recipe()
    ner, sentiment, topic, embedding = first.tasks
    return replace(
        first,
        tasks=(
            replace(ner, examples=base.ner.examples, epochs=0),
            replace(sentiment, epochs=0),
            replace(topic, epochs=0),
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
    )
