"""What classes gain where they teach the shared layers: a recipe that is not part of base-en.

Data     As in base_en and base_en_embedding.
Terms    As in base_en.
How      Sentiment, topic and the embedding go on from base-en-6 and learn the backbone's last three
         layers together; the first three are frozen, and with them what entities and answers read.
         A term holds the pooled vector near that of all-MiniLM-L6-v2.
Run      nlpkit train benchmarks/joint.py --from base-en-6 --output joint
Score    docs/training.md, "Where this backbone ends"
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

embeddings, classes = (load_recipe_module(n) for n in ("base_en_embedding", "base_en_classes"))


def recipe() -> Recipe:
    """With ``keep_start`` the result is averaged with base-en-6."""
    before: Recipe = classes.recipe()
    ner, sentiment, topic, qa, _ = before.tasks
    embedding = embeddings.recipe().tasks[-1]
    return replace(
        before,
        name="joint",
        version=1,
        tasks=(
            ner,
            replace(sentiment, epochs=1, train_backbone=True, label_smoothing=0.03),
            replace(topic, epochs=1.5, train_backbone=True),
            qa,
            replace(embedding, epochs=0.6),
        ),
        freeze_layers=3,
        keep_embedding=4.0,
        evaluate_tokens=2_500_000,
    )
