"""Named entities in English news: PER, ORG, LOC, MISC.

Data     CoNLL-2003 English (Tjong Kim Sang and De Meulder 2003), 14,041 training sentences; testa
         (3,250) watches the training and fits the confidence and what follows what.
Terms    The Reuters text is under a research agreement with NIST: weights trained here are for
         research and evaluation; see WEIGHTS-LICENSE beside the bundle.
Convert  IOB1 tags to IOB2; the words of a sentence are joined by single spaces. Half of the
         documents are read sentence by sentence, half as windows of several sentences, drawn anew
         each pass. In one window of ten every sentence has a case of its own, as headlines do.
Run      nlpkit train ner --output my-ner
Score    strict entity F1 on testa, one sentence a call: 0.94 alone
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from typing import Any

from nlpkit.errors import InputError
from nlpkit.loading import load
from nlpkit.pipeline import Pipeline
from nlpkit.readers import (
    Sentence,
    Source,
    TaughtExample,
    TokenExample,
    join_sentences,
    read_conll,
)
from nlpkit.training.augment import random_case, recased
from nlpkit.training.recipe import Dev, Recipe, Task
from nlpkit.training.scores import entity_f1
from nlpkit.training.teach import taught_words

LABELS = ["O", *(f"{b}-{t}" for t in ("PER", "ORG", "LOC", "MISC") for b in "BI")]


def _part(file: str, name: str, sha256: str) -> Source:
    return Source(
        file=f"conll2003/{file}",
        name=name,
        licence="Reuters text under a NIST research agreement",
        address="https://github.com/synalp/NER",
        sha256=sha256,
    )


TRAIN = _part(
    "original_eng.train.gz",
    "CoNLL-2003",
    "136060b562c90780018b76a36101aa6511bb3863d96686b57c6a5ad28c64b45e",
)
DEV = _part(
    "original_eng.testa.gz",
    "CoNLL-2003, testa",
    "16b7d604a8fe5a95332b121a6ea52f397d97198a8a11667164a68c610444f561",
)

#: A window of several sentences holds between so many words: from a paragraph to a full row.
WINDOW_WORDS = (60, 170)
#: The share of windows whose sentences are in cases of their own, and the chance of each case.
MIXED = 0.1
EACH_CASE = 0.25
#: How far the places of a name are read alike; chosen on testa's documents.
AGREEMENT = 0.5
#: The environment variable that names teachers.
TEACHERS = "NLPKIT_TEACHERS"


def examples(rng: random.Random) -> Sequence[TokenExample]:
    made: list[TokenExample] = []
    for _, document in groupby(read_conll(TRAIN.path()), key=lambda s: s.document):
        together = rng.random() < 0.5
        most = rng.randint(*WINDOW_WORDS)
        group: list[Sentence] = []
        words = 0
        for sentence in document:
            if group and (not together or words + len(sentence.tokens) > most):
                made.append(_joined(group, rng))
                group, words = [], 0
            group.append(sentence)
            words += len(sentence.tokens)
        made.append(_joined(group, rng))
    return made


def taught(
    texts: Callable[[], Sequence[str]], share: float, agreement: float = AGREEMENT
) -> Callable[..., Sequence[Any]]:
    """The examples, and this share of unlabelled texts as teachers read them.

    The teachers are bundles, their folders in the environment variable NLPKIT_TEACHERS; they agree
    on names over all of the texts.
    """

    def made(rng: random.Random) -> Sequence[TokenExample | TaughtExample]:
        known = examples(rng)
        read = read_by_teachers(tuple(texts()), agreement)
        return [*known, *rng.sample(read, int(share * len(read)))]

    return made


@cache
def read_by_teachers(texts: tuple[str, ...], agreement: float) -> list[TaughtExample]:
    return taught_words(teachers("ner"), "ner", texts, agreement=agreement)


def teachers(task: str) -> list[Pipeline]:
    """The bundles that are to teach this task."""
    folders = [folder for folder in os.environ.get(TEACHERS, "").split(os.pathsep) if folder]
    if not folders:
        raise InputError(
            f"{TEACHERS} is unset; expected the folders of the bundles whose task {task} teaches, "
            f"separated by {os.pathsep!r}"
        )
    return [load(folder, device="cpu") for folder in folders]


def _joined(group: Sequence[Sentence], rng: random.Random) -> TokenExample:
    if len(group) > 1 and rng.random() < MIXED:
        group = [_in_random_case(sentence, rng) for sentence in group]
    return join_sentences(group)


def _in_random_case(sentence: Sentence, rng: random.Random) -> Sentence:
    text = random_case(" ".join(sentence.tokens), EACH_CASE, EACH_CASE, rng)
    return replace(sentence, tokens=tuple(text.split(" ")))


@cache
def sentences() -> tuple[TokenExample, ...]:
    """The sentences of testa, each alone."""
    return tuple(join_sentences([sentence]) for sentence in read_conll(DEV.path()))


@cache
def documents() -> tuple[TokenExample, ...]:
    """The documents of testa, each whole."""
    by_document = groupby(read_conll(DEV.path()), key=lambda s: s.document)
    return tuple(join_sentences([*group]) for _, group in by_document)


def in_case(change: Callable[[str], str]) -> list[TokenExample]:
    """The sentences of testa in lower or upper case."""
    return [replace(example, text=recased(example.text, change)) for example in sentences()]


def calibration() -> list[TokenExample]:
    """All that the dev scores are taken on, for the confidence and the transitions."""
    lower, upper = in_case(str.lower), in_case(str.upper)
    return [*sentences(), *documents(), *lower, *upper]


def fit(kit: Pipeline) -> dict[str, dict[str, Any]]:
    """What it is worth that one tag follows another."""
    # Not at the top: recipes are read where torch is not installed.
    from nlpkit.training.transitions import fit_transitions

    return {"ner": {"transitions": fit_transitions(kit, "ner", calibration())}}


def task(epochs: float = 4, own_layers: int = 0) -> Task:
    return Task(
        name="ner",
        kind="token-classification",
        config={"labels": LABELS, "agreement": AGREEMENT},
        examples=examples,
        sources=(TRAIN, DEV),
        epochs=epochs,
        batch_tokens=512,
        own_layers=own_layers,
        dev=(
            Dev("testa F1", sentences, entity_f1, most=400),
            Dev("testa F1, documents", documents, entity_f1, most=25, weight=0.5),
            Dev("testa F1, lower case", partial(in_case, str.lower), entity_f1, 250, 0.25),
            Dev("testa F1, upper case", partial(in_case, str.upper), entity_f1, 250, 0.25),
        ),
        calibration=calibration,
        expected={"conll2003 test, strict F1": 0.84},
    )


def recipe() -> Recipe:
    """All of the backbone for entities alone: as good as it gets, and a teacher for base-en."""
    return Recipe(
        "ner",
        "Named entities in English news",
        (replace(task(8), label_smoothing=0.03),),
        ema=0.999,
        lower=0.05,
        upper=0.05,
        evaluate_tokens=1_200_000,
        fit=fit,
    )
