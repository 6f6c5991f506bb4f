"""base-en, last part: which of the best spans is quoted, and how sure that is.

Data     Half of the articles of SQuAD 2.0's dev part, for confidence; four articles of SQuAD's
         training part, and questions about SubjQA's reviews, to choose how.
Terms    As in base_en.
How      No weight learns. The span quoted is the one that the other good ones agree with most, long
         ones at a cost (see qa beside this file and nlpkit.heads.SpanHead).
Run      nlpkit train base_en_quotes --from base-en-12 --output base-en-13
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.training.recipe import Recipe, load_recipe_module

base, reviews = (load_recipe_module(name) for name in ("base_en", "base_en_reviews"))


def recipe() -> Recipe:
    """What is fitted in base-en-13."""
    before: Recipe = reviews.recipe()
    known = base.qa.task()
    tasks = {task.name: replace(task, epochs=0, dev=(), calibration=None) for task in before.tasks}
    tasks["qa"] = replace(tasks["qa"], dev=known.dev, calibration=known.calibration)
    return replace(before, version=13, tasks=tuple(tasks.values()))
