"""base-en, first part: one backbone for ner, sentiment, topic and the embedding.

Data     That of the recipes beside this file. For the embedding: Wikipedia paragraphs
         (WikiText-2), biomedical abstracts (BC5CDR), contexts and questions of SQuAD, and pairs of
         texts that belong together: see pairs(). STS-B's dev part, 200 of SciFact's training
         claims and held-out news watch it. News as a teacher of entities tags them.
Terms    See WEIGHTS-LICENSE beside the bundle: ner and topic learned from research-only text.
How      Entities, classes and the embedding learn together, on first layers that come from a
         backbone taught entities alone. Every step is a batch of one task. A term of weight 3 holds
         the pooled vector (after a learned square matrix) near that of all-MiniLM-L6-v2 on the same
         tokens. Word shapes enter the backbone as token types. Of the upper half of the backbone
         entities have a copy, and classes, which are read from [CLS], of the last layer.
         base_en_embedding, base_en_answers, base_en_classes, base_en_joint and
         base_en_confidence are the other parts.
Run      nlpkit train ner --output teacher
         NLPKIT_TEACHERS=teacher nlpkit train base_en --from teacher.training/float32 \
           --head sentiment=base-en-4 --head topic=base-en-4 --output base-en-first
Score    see the bundle's card
"""

from __future__ import annotations

import csv
import gzip
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import unquote

import numpy as np

from nlpkit.metrics import ndcg_at_k, spearman
from nlpkit.readers import (
    PairExample,
    PlainText,
    Source,
    TextExample,
    join_sentences,
    read_classified,
    read_conll,
    read_jsonl,
    read_squad,
)
from nlpkit.training.recipe import Dev, Recipe, Task, load_recipe_module

ner, sentiment, topic, qa = (load_recipe_module(n) for n in ("ner", "sentiment", "topic", "qa"))

WIKITEXT = Source(
    file="wikitext2/valid.txt.gz",
    name="WikiText-2, validation part",
    licence="CC BY-SA 3.0",
    address="https://github.com/pytorch/examples",
    sha256="3cdd8cb5bb349a05840c7c3bef9578d90d64df77e27e0c25c033ba9342757ee3",
)
_BC5CDR: dict[str, str] = {
    "licence": "CC BY 4.0",
    "address": "https://github.com/cambridgeltl/MTL-Bioinformatics-2016",
}
ABSTRACTS = (
    Source(
        file="bc5cdr/train.conll.gz",
        name="BC5CDR, training part",
        sha256="b9214c4039634f39c682bc6278b3c603bbf4350a8e83626c46f3059388f5878a",
        **_BC5CDR,
    ),
    Source(
        file="bc5cdr/dev.conll.gz",
        name="BC5CDR, dev part",
        sha256="d8eb19966cb3d888d9322d9547a7e26f377463c318df3cd6e06ec78724cced81",
        **_BC5CDR,
    ),
)
_STSB: dict[str, str] = {
    "licence": "CC BY-SA 4.0",
    "address": "https://github.com/PhilipMay/stsb-multi-mt",
}
STSB = Source(
    file="stsb/train.jsonl.gz",
    name="STS-B, training part",
    sha256="bb9f588d772e9c64149f157e009f91da16a21fe0e75ad7d5f81469291461deb2",
    **_STSB,
)
STSB_DEV = Source(
    file="stsb/dev.jsonl.gz",
    name="STS-B, dev part",
    sha256="2afb270710ae80061c08ee1abc8b6356f3e0812cd3120ded27968f43548688f3",
    **_STSB,
)
_SCIFACT: dict[str, str] = {
    "licence": "not stated in the repository (SciFact: claims CC BY 4.0, abstracts CC BY-NC 2.0)",
    "address": "https://github.com/TwistXXF/PaperPilot-Reproduction",
}
CORPUS = Source(
    file="scifact/corpus.jsonl.gz",
    name="SciFact, abstracts",
    licence=_SCIFACT["licence"],
    address="https://github.com/sumithra-p-v/claimverifier",
    sha256="e962861c4d0b8024cf011fdc93328ac5599cf897b0a5f9430fac31941c67733b",
)
CLAIMS = Source(
    file="scifact/queries.jsonl.gz",
    name="SciFact, claims",
    sha256="3794f9ee3a6cd2e9a5d8b217e9275bfd06612e801ddf25bb8f224783e9b330af",
    **_SCIFACT,
)
JUDGMENTS = Source(
    file="scifact/qrels/train.tsv.gz",
    name="SciFact, training judgments",
    sha256="4f0cfbe3881e0c81a57e08de65677639d9ef55ea539daf24751b44a95c0816e8",
    **_SCIFACT,
)

INTENTS = Source(
    file="clinc150/train.jsonl.gz",
    name="CLINC150, training part",
    licence="CC BY 3.0",
    address="https://github.com/clinc/oos-eval",
    sha256="9cd6536a71e9d218c3f1fb23e2f17c1561bcafc832bf8bb530e68cca560c3f6f",
)

#: What pairs() reads.
TEXTS = (WIKITEXT, *ABSTRACTS, STSB, qa.SOURCES[0], topic.TRAIN, INTENTS, CORPUS, CLAIMS, JUDGMENTS)

#: Questions on articles of Wikipedia.
ARTICLES = qa.SOURCES[:2]
#: Sentences of STS-B mean the same from this score on.
SAME = 4.0
#: Claims that the embedding is watched by, and abstracts for each that it must not confuse.
N_CLAIMS = 200
OTHERS = 5


def varied_texts(rng: random.Random) -> Sequence[PlainText]:
    """About 13,000 texts of all lengths and subjects."""
    squad = [e for e in read_squad(qa.SOURCES[0].path()) if not qa.is_held_out(e)]
    contexts = list(dict.fromkeys(example.context for example in squad))
    sentences = [row[key] for _, row in read_jsonl(STSB.path()) for key in _PAIR]
    texts = [
        *paragraphs(),
        *abstracts(rng),
        *rng.sample(contexts, 1200),
        *rng.sample([example.question for example in squad], 3000),
        *rng.sample(sentences, 4000),
        *phrases(rng, 2500),
    ]
    return [PlainText(text) for text in texts]


_PAIR = ("sentence1", "sentence2")


def pairs(rng: random.Random) -> Sequence[PlainText | PairExample]:
    """About 10,000 pairs of texts that belong together, and half as many texts of all kinds.

    Claims of SciFact with an abstract that speaks of them, questions with their paragraphs,
    sentences that mean the same (STS-B), titles with what follows them, and requests with the name
    of their intent.
    """
    documents = corpus()
    made = [(claim, documents[d]) for claim, judged in _judged()[N_CLAIMS:] for d in judged]
    squad = [e for e in read_squad(qa.SOURCES[0].path()) if not qa.is_held_out(e)]
    made += [(e.question, e.context) for e in rng.sample(squad, 2500)]
    rows = [row for _, row in read_jsonl(STSB.path())]
    made += [(row["sentence1"], row["sentence2"]) for row in rows if row["score"] >= SAME]
    made += rng.sample(_titles(), 3000)
    intents = read_classified(INTENTS.path())
    made += [(e.text, e.labels[0].replace("_", " ")) for e in rng.sample(intents, 1500)]
    texts = varied_texts(rng)
    together = [PairExample(text, other) for text, other in made]
    return [*together, *rng.sample(texts, len(together) // 2)]


def more_pairs(rng: random.Random) -> Sequence[PlainText | PairExample]:
    """pairs(), and a few sentences of each paragraph of Wikipedia with the name of its article."""
    known = [e for source in ARTICLES for e in read_squad(source.path()) if not qa.is_held_out(e)]
    named = {example.context: unquote(example.title).replace("_", " ") for example in known}
    return [*pairs(rng), *(PairExample(_part(text, rng), name) for text, name in named.items())]


def _part(text: str, rng: random.Random) -> str:
    """One to three neighbouring sentences."""
    sentences = re.split(r"(?<=[.?!]) +(?=[A-Z])", text)
    first = rng.randrange(len(sentences))
    return " ".join(sentences[first : first + rng.randint(1, 3)])


@cache
def _titles() -> list[tuple[str, str]]:
    """Titles of AG News and their descriptions, of items that are not held out."""
    rows = [row for _, row in read_jsonl(topic.TRAIN.path())]
    kept = [row for i, row in enumerate(rows) if i % topic.HELD_OUT_EVERY]
    return [(topic.clean(row["title"]), topic.clean(row["description"])) for row in kept]


def paragraphs() -> list[str]:
    """WikiText paragraphs with their tokenisation marks undone."""
    with gzip.open(WIKITEXT.path(), "rt", encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    found = [line for line in lines if len(line) > 200]
    return [re.sub(r" @(.)@ ", r"\1", line).replace("<unk>", "it") for line in found]


def abstracts(rng: random.Random) -> list[str]:
    """Runs of three to twelve neighbouring sentences: up to more than a window of 256 tokens."""
    runs = []
    for source in ABSTRACTS:
        sentences = read_conll(source.path())
        start = 0
        while start < len(sentences):
            n = rng.randint(3, 12)
            runs.append(join_sentences(sentences[start : start + n]).text)
            start += n
    return runs


def phrases(rng: random.Random, n: int) -> list[str]:
    """One to three neighbouring words: zero-shot labels are as short."""
    found = []
    for paragraph in rng.choices(paragraphs(), k=n):
        words = re.findall(r"[A-Za-z][\w'/-]+", paragraph)
        at = rng.randrange(len(words))
        found.append(" ".join(words[at : at + rng.randint(1, 3)]))
    return found


@cache
def stsb_dev() -> tuple[dict[str, Any], ...]:
    return tuple(row for _, row in read_jsonl(STSB_DEV.path()))


def similarity(kit: Any, rows: Sequence[dict[str, Any]]) -> float:
    """Spearman's correlation of the cosines with people's scores."""
    first, second = (kit.embed([row[key] for row in rows]) for key in _PAIR)
    return spearman((first * second).sum(axis=1), [row["score"] for row in rows])


def claims() -> tuple[tuple[str, dict[str, int]], ...]:
    """The training claims that watch the embedding."""
    return _judged()[:N_CLAIMS]


@cache
def _judged() -> tuple[tuple[str, dict[str, int]], ...]:
    """Training claims of SciFact with the abstracts that speak of them."""
    judged: dict[str, dict[str, int]] = {}
    with gzip.open(JUDGMENTS.path(), "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            judged.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    known = [(row["text"], judged.get(row["_id"])) for _, row in read_jsonl(CLAIMS.path())]
    return tuple((text, relevant) for text, relevant in known if relevant)


@cache
def corpus() -> dict[str, str]:
    return {row["_id"]: f"{row['title']} {row['text']}" for _, row in read_jsonl(CORPUS.path())}


def retrieval(kit: Any, queries: Sequence[tuple[str, dict[str, int]]]) -> float:
    """nDCG@10 among the abstracts of these claims and OTHERS more for each claim."""
    documents = corpus()
    ids = [*dict.fromkeys([d for _, relevant in queries for d in relevant])]
    ids += [d for d in documents if d not in set(ids)][: OTHERS * len(queries)]
    vectors = kit.embed([documents[d] for d in ids])
    scores = kit.embed([text for text, _ in queries]) @ vectors.T
    ranked = [[ids[i] for i in np.argsort(-row, kind="stable")[:10]] for row in scores]
    gains = [ndcg_at_k(found, r, 10) for found, (_, r) in zip(ranked, queries, strict=True)]
    return sum(gains) / len(gains)


def zero_shot(kit: Any, examples: Sequence[TextExample]) -> float:
    """Accuracy of the four names of AG News' topics, as labels that were never trained."""
    results = kit.classify([example.text for example in examples], labels=topic.LABELS)
    right = [(r[0].name,) == e.labels for r, e in zip(results, examples, strict=True)]
    return sum(right) / len(right)


def embedding_task(epochs: float = 1) -> Task:
    return Task(
        name="embedding",
        kind="pooling",
        config={"pooling": "mean", "projection": True},
        examples=pairs,
        sources=(*TEXTS, STSB_DEV),
        epochs=epochs,
        max_length=256,
        batch_tokens=2048,
        weight=0.5,
        dev=(
            Dev("STS-B dev Spearman", stsb_dev, similarity, most=400, weight=0.5),
            Dev("SciFact training claims nDCG@10", claims, retrieval, most=24, weight=0.5),
            Dev("AG News zero-shot accuracy", topic.held_out, zero_shot, most=250, weight=0.5),
        ),
        expected={"stsb test, Spearman": 0.81, "scifact test, nDCG@10": 0.62},
    )


def news() -> list[str]:
    """Items of AG News, of which none is held out or has a tag."""
    items = (*topic.titled(), *read_classified(topic.UNTITLED.path()))
    return [topic.clean(example.text) for example in items]


LICENCE = """\
Terms of the weights of base-en

The backbone descends from all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers). nlpkit's own work
on these weights is under Apache-2.0 too. What the heads and the shared backbone learned from comes
with terms of its own, which the user of the weights must heed:

- ner: CoNLL-2003. Its Reuters text is under a research agreement with NIST: research and
  evaluation only.
- topic: AG News. The corpus is for non-commercial research use.
- sentiment: SST-2 and SST-5 (no terms stated; MIT and Apache-2.0 repositories), SemEval-2017
  tweets (Twitter's terms), and what a model made of reviews of SubjQA (no terms stated) and of
  SQuADShifts (CC BY 4.0).
- qa: SQuAD 1.1 and 2.0 (CC BY-SA 4.0), SQuADShifts (CC BY 4.0), SubjQA (no terms stated).
- embedding: held near the original's, on texts of the above and of WikiText-2 (CC BY-SA 3.0) and
  BC5CDR (CC BY 4.0); and pairs of SciFact (claims CC BY 4.0, abstracts CC BY-NC 2.0), STS-B
  (CC BY-SA 4.0), CLINC150 (CC BY 3.0), SQuAD, and titles and descriptions of AG News.

All tasks shaped the one backbone. Where research-only terms do not suit, train a bundle of your own
without those tasks: leave them out of tasks/base_en.py and run nlpkit train on it.
None of the texts is part of this bundle."""

INTENDED_USE = (
    "English text: news, reviews, tweets, encyclopaedic and technical prose. Entities of persons, "
    "organisations, locations and other names; sentiment of a sentence or short review; the topic "
    "of a news item; quotations that answer a question on a passage; embeddings for search and "
    "zero-shot labels. Not for decisions about people without a human reader."
)

KNOWN_FAILURES = (
    "Other languages: the vocabulary is English and uncased; a warning is given where much of a "
    "text is unknown to it.",
    "Entities are those of newswire of 1996: products, dates, amounts and diseases are not among "
    "them; text in lower or upper case throughout costs two points of F1.",
    "Sentiment reads the surface: irony and long documents with a turn at the end are often wrong; "
    "mixed reviews and short phrases are hardly ever called neutral.",
    "Topic knows the four classes of AG News and gives one of them to any text.",
    "Questions that need counting, joining facts or knowledge from outside the passage get a "
    "wrong quotation or none; a well-made trick question without an answer is often answered.",
    "The default is cautious: questions that a text answers in other words are often refused; "
    "no_answer=False quotes the best span all the same.",
    "Tweets and forum posts: it finds three in five of the persons and locations there, and two in "
    "five that it marks as such are wrong (WNUT-17).",
    "Zero-shot labels follow word meaning, not logic: negations and abstract labels fail.",
)


def recipe() -> Recipe:
    """The first part of what base-en-6 learned, going on from a teacher of entities."""
    return Recipe(
        name="base-en",
        version=6,
        description="Entities, sentiment, topic and embeddings for English",
        tasks=(
            replace(
                ner.task(1.5, own_layers=3),
                examples=ner.taught(news, share=0.25),
                sources=(*ner.task().sources, topic.TRAIN, topic.UNTITLED),
                keep_embedding=False,
            ),
            replace(sentiment.task(1.0), own_layers=1, branch="classes", keep_embedding=False),
            replace(topic.task(0.6), own_layers=1, branch="classes"),
            embedding_task(1.0),
        ),
        published_layers=3,
        keep_embedding=3.0,
        keep_every=3,  # the original reads along at a third of the steps
        attention_dropout=0.0,  # a sixth of the time on a CPU
        learning_rate=1.2e-4,
        cooldown=0.9,
        warmup=0.03,
        ema=0.999,  # over about the last thousand steps
        evaluate_tokens=2_500_000,  # a look costs about 180,000 tokens, forward alone
        lower=0.06,  # people type in lower case,
        upper=0.05,  # headlines shout
        unpunctuated=0.1,  # and queries end without a mark
        licence=LICENCE,
        intended_use=INTENDED_USE,
        known_failures=KNOWN_FAILURES,
    )
