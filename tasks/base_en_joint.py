"""base-en, fifth part: classes and the embedding teach the backbone's last three layers together.

Data     As in base_en and base_en_embedding.
Terms    As in base_en.
How      Sentiment, topic and the embedding go on from the fourth part; the first three layers are
         frozen, and with them what entities and answers read. A term holds the pooled vector near
         that of all-MiniLM-L6-v2. The result is the mean of the weights before and after.
Run      nlpkit train base_en_joint --from base-en-6 --output base-en-fifth
Score    docs/training.md, "What topics gain"
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

embeddings, classes = (load_recipe_module(n) for n in ("base_en_embedding", "base_en_classes"))


def recipe() -> Recipe:
    """The fifth part of what base-en-8 learned."""
    before: Recipe = classes.recipe()
    ner, sentiment, topic, qa, _ = before.tasks
    embedding = embeddings.recipe().tasks[-1]
    return replace(
        before,
        tasks=(
            ner,
            replace(sentiment, epochs=1, train_backbone=True, label_smoothing=0.03),
            replace(topic, epochs=1.5, train_backbone=True),
            qa,
            replace(embedding, epochs=0.6),
        ),
        freeze_layers=3,
        keep_embedding=4.0,
        keep_start=0.3,
        evaluate_tokens=2_500_000,
    )
