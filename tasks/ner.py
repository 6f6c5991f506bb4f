"""Named entities in English news: PER, ORG, LOC, MISC.

Data     CoNLL-2003 English (Tjong Kim Sang and De Meulder 2003), 14,041 training sentences.
Terms    The Reuters text is under a research agreement with NIST: weights trained here are for
         research and evaluation; see WEIGHTS-LICENSE beside the bundle.
Convert  IOB1 tags to IOB2; the words of a sentence are joined by single spaces. Half of the
         documents are read sentence by sentence, half as windows of several sentences, drawn anew
         each epoch.
Run      nlpkit train ner --output my-ner
Score    strict entity F1 on the test split, one sentence a call: about 0.88 alone (four epochs)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import groupby

from nlpkit.readers import Sentence, Source, TokenExample, join_sentences, read_conll
from nlpkit.training.recipe import Recipe, Task

LABELS = ["O", *(f"{b}-{t}" for t in ("PER", "ORG", "LOC", "MISC") for b in "BI")]

TRAIN = Source(
    file="conll2003/original_eng.train.gz",
    name="CoNLL-2003",
    licence="Reuters text under a NIST research agreement",
    address="https://github.com/synalp/NER",
    sha256="136060b562c90780018b76a36101aa6511bb3863d96686b57c6a5ad28c64b45e",
)

#: A window of several sentences holds about this many words.
WINDOW_WORDS = 100


def examples(rng: random.Random) -> Sequence[TokenExample]:
    made: list[TokenExample] = []
    for _, document in groupby(read_conll(TRAIN.path()), key=lambda s: s.document):
        together = rng.random() < 0.5
        group: list[Sentence] = []
        words = 0
        for sentence in document:
            if group and (not together or words + len(sentence.tokens) > WINDOW_WORDS):
                made.append(join_sentences(group))
                group, words = [], 0
            group.append(sentence)
            words += len(sentence.tokens)
        made.append(join_sentences(group))
    return made


def task(epochs: int = 4) -> Task:
    return Task(
        name="ner",
        kind="token-classification",
        config={"labels": LABELS},
        examples=examples,
        sources=(TRAIN,),
        epochs=epochs,
        batch_tokens=1536,
        expected={"conll2003 test, strict F1": 0.84},
    )


def recipe() -> Recipe:
    return Recipe("ner", "Named entities in English news", (task(),))
