"""base-en, last part: sentiment reads whole reviews, as teachers read them sentence by sentence.

Data     That of sentiment. Reviews of SubjQA (Bjerva et al. 2020; training and dev parts) and of
         Amazon (SQuADShifts), and paragraphs of Wikipedia, which hold little sentiment.
Terms    As in base_en; SubjQA states none.
How      Sentences and tweets alone teach that a long text is neutral, and few reviews are. A
         teacher reads long ones whole and sentence by sentence, and what both say is learned; all
         else, short parts of reviews too, as the teacher reads it. The head alone learns, which
         gets a hidden layer.
Run      NLPKIT_TEACHERS=base-en-10 \
           nlpkit train base_en_reviews --from base-en-10 --output base-en-12
Score    see the bundle's card
"""

from __future__ import annotations

import html
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.pipeline import Pipeline
from nlpkit.readers import Source, TaughtExample, read_classified, read_squad
from nlpkit.training.recipe import Recipe, load_recipe_module
from nlpkit.training.teach import taught_classes

Numbers = NDArray[np.floating[Any]]

base, entities = (load_recipe_module(name) for name in ("base_en", "base_en_entities"))


def _subjqa(part: str, sha256: str) -> Source:
    return Source(
        file=f"subjqa/{part}.csv.gz",
        name=f"SubjQA, {part.replace('_', ', ')}",
        licence="not stated",
        address="https://github.com/megagonlabs/SubjQA",
        sha256=sha256,
    )


REVIEWS = tuple(
    _subjqa(part, sha256)
    for part, sha256 in (
        ("books_dev", "fb6e51c97b4775bfcd6ea14777689f695d10ac8c900079697c64c2d52410c3c8"),
        ("movies_dev", "f141544a029b3a38dcac167770e55481150829349b225beafcc144d1e59ee5ad"),
        ("electronics_dev", "15749456171e82396fd98ec8d09a8397b45c9567ff2d1c2ee0a8719768084067"),
        ("electronics_train", "8c668027c831477d367b0cccaa93d3bd1d50d0f1334f79e898bececdcd6a4a29"),
        ("grocery_dev", "8a7de2811892f485734b886f49cbcc7e54e66c3da1e496ba127d8827108e2438"),
        ("grocery_train", "62be88ab4a0cd90718c63c3df46b0408fc5e7365b77e587fa50387071a66eeb2"),
        ("restaurants_dev", "3ce94c26f9813dd9be9c0ee30ca2fa0b19055334692e8080119648ce8dee5035"),
        ("restaurants_train", "8b1a01a6324c6fbf74ae818968934a0ae61974f02e9fac635b5c841fe256ff21"),
        ("tripadvisor_dev", "2bcdf3861eeb589746ba606a1509fe9979cd561dd193c0357662ee747c301819"),
        ("tripadvisor_train", "c0d3491ae14ec6bd19a850f986c460d5e6b8298dd3225ff2ef7a8e77d01ac6c3"),
    )
)
WIKIPEDIA, AMAZON = base.qa.SOURCES[1:3]

#: What SubjQA puts behind each review.
MARK = "ANSWERNOTFOUND"
#: How many texts are read.
N_PHRASES, N_TWEETS, N_REVIEWS, N_PARAGRAPHS = 10_000, 10_000, 3_500, 1_000
#: Words of a review's beginning: about a window.
BEGINNING = 180
#: Sentences of a part of a review, and of how many parts one is a single sentence.
SENTENCES = (2, 6)
SINGLE = 0.5
SENTENCE_END = re.compile(r"(?<=[.!?])\s*(?=[A-Z\"'(])")
#: From so many words on a review is judged by its sentences too.
LONG = 90
#: What the log odds of positive against negative, whole and by sentences, count.
SURENESS = 1.5
#: The most that is left for neutral in a long review.
UNDECIDED = 0.45


def examples(rng: random.Random) -> Sequence[TaughtExample]:
    """Phrases, sentences, tweets, parts of reviews and paragraphs, as the teachers read them."""
    kits = base.ner.teachers("sentiment")
    sentences, phrases = base.sentiment.sst()
    tweets = read_classified(base.sentiment.TWEETS.path())
    paragraphs = dict.fromkeys(e.context for e in read_squad(WIKIPEDIA.path()))
    texts = [
        *(example.text for example in rng.sample(phrases, N_PHRASES)),
        *(example.text for example in sentences),
        *(example.text for example in rng.sample(tweets, N_TWEETS)),
        *rng.sample([*paragraphs], N_PARAGRAPHS),
    ]
    parts = [part_of(text, rng) for text in rng.sample(reviews(), N_REVIEWS)]
    return [*taught_classes(kits, "sentiment", texts), *read_reviews(kits, parts)]


def read_reviews(kits: Sequence[Pipeline], texts: Sequence[str]) -> list[TaughtExample]:
    """The texts as the teachers read them; long ones whole and sentence by sentence."""
    sentences = {text: sentences_of(text) for text in texts if len(text.split()) >= LONG}
    flat = [sentence for of_text in sentences.values() for sentence in of_text]
    known = {one.text: one.probabilities for one in taught_classes(kits, "sentiment", flat)}
    made = []
    for whole in taught_classes(kits, "sentiment", texts):
        target = whole.probabilities
        if whole.text in sentences:
            each = np.array([known[sentence] for sentence in sentences[whole.text]])
            target = verdict(target, each, base.sentiment.LABELS)
        made.append(TaughtExample(whole.text, target))
    return made


def verdict(whole: Numbers, sentences: Numbers, labels: Sequence[str]) -> Numbers:
    """A review's classes, from those of the whole, (3,), and of each sentence, (n, 3)."""
    negative, neutral, positive = (labels.index(n) for n in ("negative", "neutral", "positive"))
    odds = SURENESS * sum(
        np.log(one[positive] / one[negative]) for one in (whole, sentences.mean(axis=0))
    )
    target = np.zeros(len(labels))
    target[neutral] = UNDECIDED * np.exp(-abs(odds) / 2)
    target[positive] = (1 - target[neutral]) / (1 + np.exp(-odds))
    target[negative] = 1 - target[neutral] - target[positive]
    return target


def part_of(text: str, rng: random.Random) -> str:
    """Half of the time the beginning of a review, else some neighbouring sentences or one."""
    if rng.random() < 0.5:
        return " ".join(text.split()[:BEGINNING])
    sentences = sentences_of(text)
    n = 1 if rng.random() < SINGLE else rng.randint(*SENTENCES)
    first = rng.randrange(max(1, len(sentences) - n + 1))
    return " ".join(sentences[first : first + n])


def sentences_of(text: str) -> list[str]:
    """The sentences of a text with words; reviews often lack the space between two."""
    found = [part.strip() for part in SENTENCE_END.split(text)]
    return [part for part in found if re.search(r"\w\w", part)] or [text]


def reviews() -> list[str]:
    """Each review once, without what SubjQA put behind it."""
    read = [e.text for s in REVIEWS for e in read_classified(s.path(), "review", "review_id")]
    read += [e.context for e in read_squad(AMAZON.path())]
    return [*dict.fromkeys(html.unescape(text.replace(MARK, "")).strip() for text in read)]


def recipe() -> Recipe:
    """The last part of base-en-12."""
    before: Recipe = entities.recipe()
    known = base.sentiment.task()
    tasks = {task.name: replace(task, epochs=0, dev=(), calibration=None) for task in before.tasks}
    tasks["sentiment"] = replace(
        tasks["sentiment"],
        config={**known.config, "dense": 384},
        examples=examples,
        sources=(*known.sources, *REVIEWS, AMAZON, WIKIPEDIA),
        epochs=30,
        max_length=256,
        dev=known.dev,
        calibration=known.calibration,
    )
    return replace(before, version=12, tasks=tuple(tasks.values()), heads_only=True, fit=None)
