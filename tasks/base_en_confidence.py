"""base-en, last part: confidence in answers, and matrices as int8 multiplies them.

Data     Half of the articles of SQuAD 2.0's dev part for answers; as in base_en for the rest.
Terms    As in base_en.
How      No weight learns. Those of base-en-6 are rounded again: smoothed, so that int8 arithmetic
         rounds them no second time.
Run      nlpkit train base_en_confidence --from base-en-6 --output base-en-7
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

classes = load_recipe_module("base_en_classes")


def recipe() -> Recipe:
    """What is fitted in base-en-7."""
    before: Recipe = classes.recipe()
    return replace(
        before,
        version=7,
        tasks=tuple(replace(task, epochs=0, dev=()) for task in before.tasks),
    )
