"""Teachers: what trained models make of texts without labels, for another to learn from.

Self-training on a teacher's probabilities (Hinton et al. 2015), here the mean over several models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlpkit.errors import InputError
from nlpkit.heads import SequenceHead, TokenHead
from nlpkit.heads.base import Floats, softmax
from nlpkit.heads.token import LEAST, agreed, join_owned, repeated
from nlpkit.pipeline import Pipeline
from nlpkit.readers import TaughtExample
from nlpkit.text import words_of
from nlpkit.training.calibrate import WordLogits


def taught_words(
    kits: Sequence[Pipeline], task: str, texts: Sequence[str], agreement: float = 0.0
) -> list[TaughtExample]:
    """The texts with the mean probabilities of each word's tags over the models.

    ``agreement`` reads capitalised words that come more than once in all of the texts alike (see
    :class:`TokenHead`): where a name's sentence leaves its type open, others tell it. Texts
    without a word are left out.

    Raises:
        InputError: no model, or one whose task does not tag words with the same labels.
    """
    heads = [kit.head(task).head for kit in kits]
    tagger = heads[0] if heads else None
    if not isinstance(tagger, TokenHead) or any(h.labels != tagger.labels for h in heads):
        raise InputError(
            f"{len(kits)} teachers of {task!r}; expected some that tag words with the same labels"
        )
    read = [_read(kit, task, texts) for kit in kits]
    known: list[str] = []
    words, means = [], []
    for text, *each in zip(texts, *read, strict=True):
        if len(each[0][0]):
            known.append(text)
            words.append(each[0][0])
            means.append(np.mean([probabilities for _, probabilities in each], axis=0))
    if not known:
        return []
    joined = np.log(np.concatenate(means) + LEAST)
    groups = repeated([*zip(known, words, strict=True)]) if agreement else []
    probabilities = softmax(agreed(joined, groups, tagger.kinds, agreement))
    ends = np.cumsum([len(one) for one in words])[:-1]
    return [
        TaughtExample(text, part.astype(np.float16))
        for text, part in zip(known, np.split(probabilities, ends), strict=True)
    ]


def taught_classes(
    kits: Sequence[Pipeline], task: str, texts: Sequence[str]
) -> list[TaughtExample]:
    """The texts with the mean probabilities of their classes over the models.

    Texts without a word are left out.

    Raises:
        InputError: no model, or one whose task does not tell one of the same classes.
    """
    heads = [kit.head(task).head for kit in kits]
    first = heads[0] if heads else None
    if not isinstance(first, SequenceHead) or any(
        not isinstance(h, SequenceHead) or h.multi_label or h.labels != first.labels for h in heads
    ):
        raise InputError(
            f"{len(kits)} teachers of {task!r}; expected some that tell one of the same classes"
        )
    read = [kit.classify([*texts], task) for kit in kits]
    made = []
    for text, *each in zip(texts, *read, strict=True):
        if each[0]:
            scores = [{label.name: label.score for label in labels} for labels in each]
            rows = [[one[label] for label in first.labels] for one in scores]
            made.append(TaughtExample(text, np.mean(rows, axis=0)))
    return made


def _read(kit: Pipeline, task: str, texts: Sequence[str]) -> list[tuple[Any, Floats]]:
    """The words of each text and the probabilities of their tags."""
    probe = WordLogits(**kit.head(task).head.config())
    found = []
    for logits, reading in kit.with_head(task, probe).apply([*texts], task):
        words = words_of(reading.encoded)
        if len(words):
            found.append((words, softmax(join_owned(logits, reading)[words.firsts])))
        else:
            found.append((words, np.zeros((0, len(probe.labels)), dtype=np.float32)))
    return found
