"""base-en, third part: answers learn layers of their own; the backbone stays.

Data     That of qa beside this file.
Terms    As in base_en.
How      Answers read a question beside a text, so they never share a pass with the other heads,
         only weights: the vectors of tokens and the first layer. Their own five go on from those
         of base-en-4, on what entities made of the layer below.
Run      nlpkit train base_en_answers --from base-en-second.training/float32 --head qa=base-en-4 \
           --output base-en-third
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

base, second = (load_recipe_module(name) for name in ("base_en", "base_en_embedding"))


def recipe() -> Recipe:
    """The third part of what base-en-6 learned."""
    before: Recipe = second.recipe()
    ner, sentiment, topic, embedding = before.tasks
    return replace(
        before,
        description="Entities, sentiment, topic, answers and embeddings for English",
        tasks=(
            ner,
            sentiment,
            topic,
            replace(base.qa.task(0.8, own_layers=5), train_backbone=False),
            replace(embedding, epochs=0),
        ),
        freeze_layers=6,
        keep_embedding=0.0,
        learning_rate=1e-4,
        ema=0.998,
        evaluate_tokens=2_500_000,
        fit=base.qa.fit,
    )
