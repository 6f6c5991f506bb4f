"""SST-2 and nothing else, slowly: small steps, small batches, four passes.

A recipe: nlpkit train benchmarks/sst2_slowly.py --output sst2-slowly
Then: nlpkit evaluate sst2-slowly.training/float32 --precision fp32 --suite sst2 --suite sst2_test
See docs/training.md, "Where this backbone ends". What differs from sst2_alone.py: half the learning
rate on half as many phrases a step, the mean over all words as the backbone was published for it,
and the choice of the weights, in which a phrase counts as much as a sentence.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nlpkit.recipe_files import recipe_of
from nlpkit.training.recipe import Recipe


def recipe() -> Recipe:
    alone = recipe_of(Path(__file__).parent / "sst2_alone.py", "tasks", Recipe)
    (task,) = alone.tasks
    sentences, phrases = task.dev
    task = replace(
        task,
        config=task.config | {"pooling": "mean"},
        epochs=4,
        batch_tokens=512,
        dev=(replace(sentences, weight=0.15), replace(phrases, weight=0.85)),
    )
    return replace(
        alone,
        name="sst2_slowly",
        description="SST-2 alone, slowly",
        tasks=(task,),
        learning_rate=5e-5,
        ema=0.0,
    )
