"""base-en, last part: entities learn once more, from several teachers and from more text.

Data     That of ner and, as teachers of entities tag them, news, paragraphs of Wikipedia, reviews
         and posts: the passages of qa.
Terms    As in base_en.
How      Entities' own three layers go on; no other weight changes. The teachers are base-en-9,
         where they go on from, and a model that knows entities alone.
Run      nlpkit train ner --seed 1 --output teacher-1
         NLPKIT_TEACHERS=base-en-9:teacher-1.training/float32 \
           nlpkit train base_en_entities --from base-en-9 --output base-en-10
Score    see the bundle's card
"""

from __future__ import annotations

from dataclasses import replace

from nlpkit.readers import read_squad
from nlpkit.training.recipe import Recipe, load_recipe_module

base, confidence = (load_recipe_module(name) for name in ("base_en", "base_en_confidence"))


def texts() -> list[str]:
    """Items of AG News, and passages that questions are asked of, none held out."""
    known = [e for source in base.qa.SOURCES for e in read_squad(source.path())]
    passages = dict.fromkeys(e.context for e in known if not base.qa.is_held_out(e))
    return [*base.news(), *passages]


def recipe() -> Recipe:
    """The last part of base-en-10."""
    before: Recipe = confidence.recipe()
    ner, *others = before.tasks
    known = base.ner.task(4, own_layers=3)
    ner = replace(
        known,
        config=ner.config,
        examples=base.ner.taught(texts, share=0.25, agreement=0.0),
        sources=(*known.sources, base.topic.TRAIN, base.topic.UNTITLED, *base.qa.SOURCES),
        keep_embedding=False,
        train_backbone=False,
    )
    return replace(
        before,
        version=10,
        tasks=(ner, *others),
        keep_embedding=0.0,
        freeze_layers=6,
        learning_rate=1.2e-4,
        ema=0.999,
        evaluate_tokens=1_200_000,
    )
