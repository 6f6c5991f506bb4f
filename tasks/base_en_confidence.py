"""base-en, last part: confidence in answers, matrices as int8 multiplies them, words for labels.

Data     Half of the articles of SQuAD 2.0's dev part for answers; as in base_en for the rest.
Terms    As in base_en.
How      No weight learns. The matrices are rounded smoothed, so that int8 arithmetic rounds them no
         second time. Repeated names are read a little more alike than before.
Run      nlpkit train base_en_confidence --from base-en-fifth.training/float32 --output base-en-9
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

joint = load_recipe_module("base_en_joint")

#: Of 0 to 0.8, the best on testa's documents, since windows are of like length.
AGREEMENT = 0.7


def recipe() -> Recipe:
    """What is fitted in base-en-9."""
    before: Recipe = joint.recipe()
    ner, *others = before.tasks
    ner = replace(ner, config={**ner.config, "agreement": AGREEMENT})
    return replace(
        before,
        version=9,
        keep_start=0.0,
        tasks=tuple(replace(task, epochs=0, dev=()) for task in (ner, *others)),
    )
