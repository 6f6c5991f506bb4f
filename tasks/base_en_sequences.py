"""base-en, last part: which tag of an entity follows which, and how sure entities are.

Data     CoNLL-2003's testa, read four ways: sentences, documents, lower and upper case.
Terms    As in base_en.
How      No weight learns. Transitions between tags are fitted to the logits of entities, of texts
         that these were not learned from (see nlpkit.training.transitions).
Run      nlpkit train base_en_sequences --from base-en-13 --output base-en-14
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

base, quotes = (load_recipe_module(name) for name in ("base_en", "base_en_quotes"))


def recipe() -> Recipe:
    """What is fitted in base-en-14."""
    before: Recipe = quotes.recipe()
    known = base.ner.task()
    tasks = {task.name: replace(task, dev=(), calibration=None) for task in before.tasks}
    tasks["ner"] = replace(tasks["ner"], dev=known.dev, calibration=known.calibration)
    return replace(before, version=14, tasks=tuple(tasks.values()), fit=base.ner.fit)
