"""The benchmark suites: real public sets, run through the public pipeline.

``SUITES``, at the end, is a dict you can read. Above it stands for every suite where its data come
from and the function that measures; a function gets the paths of the sources in their order.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlpkit import metrics
from nlpkit.errors import DataError, InputError, UnknownNameError
from nlpkit.readers import Source, read_classified, read_conll, read_jsonl, read_squad
from nlpkit.scoring import (
    Kit,
    Measured,
    Progress,
    answer_f1s,
    ask,
    in_chunks,
    mean,
    score_answers,
    score_classes,
    score_entities,
    silent,
)
from nlpkit.types import Label

Measure = Callable[[Kit, Sequence[Path], int | None, Progress], Measured]


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark: what it measures, on which data, and the function that does."""

    name: str
    measures: str
    sources: tuple[Source, ...]
    measure: Measure
    higher_is_better: bool = True

    def run(self, kit: Kit, limit: int | None = None, progress: Progress = silent) -> Measured:
        """Measure a pipeline, on the first ``limit`` examples for a quick look.

        Raises:
            InputError: NLPKIT_DATA is unset or lacks a file, or the limit is below 1.
            DataError: a file is not the one this suite was written for.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}; expected at least 1")
        files = [source.path() for source in self.sources]
        return self.measure(kit, files, limit, progress)


def find_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UnknownNameError: no such suite; the message lists the known ones.
    """
    if name not in SUITES:
        raise UnknownNameError.of("suite", name, SUITES)
    return SUITES[name]


# Entities ------------------------------------------------------------------------------------

CONLL2003 = Source(
    file="conll2003/test.conll.gz",
    name="CoNLL-2003, test part",
    licence="Reuters text under a NIST research agreement",
    address="https://github.com/synalp/NER",
    sha256="4dc3ccf4a140ace6ec85036762c7ca0ba6e2bd2e109b26ac9c1fac328fb45f02",
)
WNUT17 = Source(
    file="wnut17/test.conll.gz",
    name="WNUT-17, test part",
    licence="CC BY 4.0",
    address="https://github.com/leondz/emerging_entities_17",
    sha256="41a9df463d0ad527f0a299832ea4361b05df223bf9d5f7c8e714b66581a80539",
)
WNUT17_LABELS = {"person": "PER", "location": "LOC"}


def conll2003(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    return score_entities(kit, read_conll(files[0])[:limit], progress)


def wnut17(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    return score_entities(kit, read_conll(files[0])[:limit], progress, names=WNUT17_LABELS)


# Classes -------------------------------------------------------------------------------------

SST2 = Source(
    file="sst2_glue/dev.jsonl.gz",
    name="SST-2, dev part",
    licence="not stated (repository Apache-2.0)",
    address="https://github.com/eyalbd2/Reproducing-AutoPrompt",
    sha256="ad21a178ceeeba1e7a158f658a0c56ab7ed6359225d80b27a3a76805168567b0",
)
SEMEVAL2017 = Source(
    file="semeval2017_sentiment/test.jsonl.gz",
    name="SemEval-2017 task 4A, test part",
    licence="MIT file in the repository; Twitter's terms apply to the tweets",
    address="https://github.com/cbaziotis/datastories-semeval2017-task4",
    sha256="075d41ab5e5b250e720a350b2a90837eb6339e708b56122e2ec476f6e75428ce",
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
SST2_LABELS = {"0": "negative", "1": "positive"}
SENTIMENTS = ("negative", "neutral", "positive")
TOPICS = ("World", "Sports", "Business", "Sci/Tech")


def sst2(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    """The neutral class is left out: the higher of the negative and positive score decides."""
    examples = read_classified(files[0])[:limit]
    results = in_chunks(
        lambda texts: kit.classify(texts, "sentiment"), [e.text for e in examples], progress
    )
    labels = tuple(SST2_LABELS.values())
    gold = [SST2_LABELS[e.labels[0]] for e in examples]
    return score_classes(gold, [_among(labels, result) for result in results], labels, "accuracy")


def semeval2017(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    examples = read_classified(files[0])[:limit]
    results = in_chunks(
        lambda texts: kit.classify(texts, "sentiment"), [e.text for e in examples], progress
    )
    return score_classes([e.labels[0] for e in examples], results, SENTIMENTS, "macro_recall")


def amazon_alexa(
    kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress
) -> Measured:
    examples = read_classified(files[0])[:limit]
    results = in_chunks(
        lambda texts: kit.classify(texts, "sentiment"), [e.text for e in examples], progress
    )
    return score_classes([e.labels[0] for e in examples], results, SENTIMENTS, "macro_f1")


def ag_news(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    examples = read_classified(files[0])[:limit]
    results = in_chunks(
        lambda texts: kit.classify(texts, "topic"), [e.text for e in examples], progress
    )
    return score_classes([e.labels[0] for e in examples], results, TOPICS, "accuracy")


def ag_news_zero_shot(
    kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress
) -> Measured:
    examples = read_classified(files[0])[:limit]
    results = in_chunks(
        lambda texts: kit.classify(texts, labels=TOPICS), [e.text for e in examples], progress
    )
    return score_classes([e.labels[0] for e in examples], results, TOPICS, "accuracy")


def _among(names: Collection[str], result: Sequence[Label]) -> list[Label]:
    """The named labels alone, their scores summing to 1."""
    kept = [label for label in result if label.name in names]
    total = sum(label.score for label in kept) or 1.0
    return [Label(label.name, label.score / total) for label in kept]


# Question answering --------------------------------------------------------------------------

SQUAD_V1 = Source(
    file="squad_v1.1/dev-v1.1.json.gz",
    name="SQuAD 1.1, dev part",
    licence="CC BY-SA 4.0",
    address="https://github.com/rajpurkar/SQuAD-explorer",
    sha256="6823f3b5b79986d8b51e0078b7efd070231863e6296700a88d87c7a6a8803f77",
)
SQUAD_V2 = Source(
    file="squad_v2.0/dev-v2.0.json.gz",
    name="SQuAD 2.0, dev part",
    licence="CC BY-SA 4.0",
    address="https://github.com/rajpurkar/SQuAD-explorer",
    sha256="7bd595f2bd95a2be1ababb2ca49f5d1866aad3346986acc1fe86b914f9eb0ab7",
)


def squad_v1(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    questions = read_squad(files[0])[:limit]
    answers = ask(kit, questions, progress, no_answer=False)
    return Measured(score_answers(questions, answers), len(questions))


def squad_v2(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    """The default, beside always and never giving an answer.

    The no-answer threshold of a bundle may be fitted on the articles in even places of the sorted
    titles (0, 2, ...); what it is worth shows on the others, the held-out ones.
    """
    questions = read_squad(files[0])[:limit]
    default = ask(kit, questions, progress, no_answer=True)
    unanswered = [i for i, answer in enumerate(default) if not answer]
    always = list(default)
    for i, answer in zip(
        unanswered,
        ask(kit, [questions[i] for i in unanswered], progress, no_answer=False),
        strict=True,
    ):
        always[i] = answer
    titles = sorted({question.title for question in questions})
    held_out = [titles.index(question.title) % 2 == 1 for question in questions]
    answerable = [bool(question.answers) for question in questions]
    f1s = {
        "f1": answer_f1s(questions, default),
        "f1_always_answer": answer_f1s(questions, always),
        "f1_never_answer": [float(not answers) for answers in answerable],
    }
    scores = {name: mean(values) for name, values in f1s.items()}
    scores |= {f"{name}_held_out": _mean_where(held_out, values) for name, values in f1s.items()}
    scores["em"] = score_answers(questions, default)["em"]
    scores["f1_answerable"] = _mean_where(answerable, f1s["f1"])
    scores["f1_unanswerable"] = _mean_where([not answers for answers in answerable], f1s["f1"])
    return Measured(scores, len(questions), {"held_out_articles": titles[1::2]})


def _mean_where(chosen: Sequence[bool], values: Sequence[float]) -> float:
    return mean([value for value, counts in zip(values, chosen, strict=True) if counts])


# Embeddings ----------------------------------------------------------------------------------

STSB = Source(
    file="stsb/test.jsonl.gz",
    name="STS-B, test part",
    licence="CC BY-SA 4.0",
    address="https://github.com/PhilipMay/stsb-multi-mt",
    sha256="81e674d774dad377f49e73d8c44742640b349f7f466a6ab3e6ed3055b3d914b4",
)
_SCIFACT_LICENCE = (
    "not stated in the repository (SciFact: claims CC BY 4.0, abstracts CC BY-NC 2.0)"
)
SCIFACT = (
    Source(
        file="scifact/corpus.jsonl.gz",
        name="SciFact, abstracts",
        licence=_SCIFACT_LICENCE,
        address="https://github.com/sumithra-p-v/claimverifier",
        sha256="e962861c4d0b8024cf011fdc93328ac5599cf897b0a5f9430fac31941c67733b",
    ),
    Source(
        file="scifact/queries.jsonl.gz",
        name="SciFact, claims",
        licence=_SCIFACT_LICENCE,
        address="https://github.com/TwistXXF/PaperPilot-Reproduction",
        sha256="3794f9ee3a6cd2e9a5d8b217e9275bfd06612e801ddf25bb8f224783e9b330af",
    ),
    Source(
        file="scifact/qrels/test.tsv.gz",
        name="SciFact, test judgments",
        licence=_SCIFACT_LICENCE,
        address="https://github.com/TwistXXF/PaperPilot-Reproduction",
        sha256="63b9ab08c1c632e7091b9255b8181a0e6e71c8203fd7128ed365ba74c2a1eb10",
    ),
)


def stsb(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    rows = [row for _, row in read_jsonl(files[0])][:limit]
    texts = [row["sentence1"] for row in rows] + [row["sentence2"] for row in rows]
    vectors = np.stack(in_chunks(kit.embed, texts, progress))
    cosines = (vectors[: len(rows)] * vectors[len(rows) :]).sum(axis=1)
    scores = {"spearman": metrics.spearman(cosines, [row["score"] for row in rows])}
    return Measured(scores, len(rows))


def scifact(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    """With a limit, a smaller corpus: the judged documents and ten others for each query."""
    judged = _read_judgments(files[2])
    queries = [row for _, row in read_jsonl(files[1]) if row["_id"] in judged][:limit]
    documents = [row for _, row in read_jsonl(files[0])]
    if limit is not None:
        needed = {document for query in queries for document in judged[query["_id"]]}
        documents = [d for i, d in enumerate(documents) if i < 10 * limit or d["_id"] in needed]
    ids = [document["_id"] for document in documents]
    texts = [f"{document['title']} {document['text']}" for document in documents]
    texts += [query["text"] for query in queries]
    vectors = np.stack(in_chunks(kit.embed, texts, progress))
    similarities = vectors[len(ids) :] @ vectors[: len(ids)].T
    pairs = [
        ([ids[i] for i in np.argsort(-row, kind="stable")[:100]], judged[query["_id"]])
        for row, query in zip(similarities, queries, strict=True)
    ]
    scores = {
        "ndcg_at_10": mean([metrics.ndcg_at_k(*pair, 10) for pair in pairs]),
        "recall_at_100": mean([metrics.recall_at_k(*pair, 100) for pair in pairs]),
        "mrr_at_10": mean([metrics.reciprocal_rank_at_k(*pair, 10) for pair in pairs]),
    }
    return Measured(scores, len(queries), {"n_documents": len(ids)})


def _read_judgments(path: Path) -> dict[str, dict[str, int]]:
    """Relevance by query and document, from the columns query-id, corpus-id, score."""
    opener = gzip.open if path.suffix == ".gz" else open
    judged: dict[str, dict[str, int]] = {}
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter="\t"), 2):
            try:
                judged.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
            except (KeyError, TypeError, ValueError):
                raise DataError.at(
                    path, number, f"got {row!r:.120}", "query-id, corpus-id and a whole score"
                ) from None
    return judged


# Registry ------------------------------------------------------------------------------------

#: Every suite by its name.
SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "conll2003",
            "CoNLL-2003 test, strict entity F1, one sentence a call",
            (CONLL2003,),
            conll2003,
        ),
        Suite(
            "wnut17",
            "WNUT-17 test, strict entity F1 of persons and locations; never trained on",
            (WNUT17,),
            wnut17,
        ),
        Suite("sst2", "SST-2 dev, accuracy of positive against negative", (SST2,), sst2),
        Suite(
            "semeval2017",
            "SemEval-2017 task 4A test, macro recall of three classes",
            (SEMEVAL2017,),
            semeval2017,
        ),
        Suite(
            "amazon_alexa",
            "Amazon Alexa reviews, macro F1 of three classes made from stars; never trained on",
            (AMAZON_ALEXA,),
            amazon_alexa,
        ),
        Suite("ag_news", "AG News test, accuracy", (AG_NEWS,), ag_news),
        Suite(
            "ag_news_zero_shot",
            "AG News test, accuracy of zero-shot classes from the four names alone",
            (AG_NEWS,),
            ag_news_zero_shot,
        ),
        Suite("squad_v1", "SQuAD 1.1 dev, F1 with no_answer=False", (SQUAD_V1,), squad_v1),
        Suite("squad_v2", "SQuAD 2.0 dev, F1 with the default", (SQUAD_V2,), squad_v2),
        Suite("stsb", "STS-B test, Spearman correlation of the cosines", (STSB,), stsb),
        Suite("scifact", "SciFact (BEIR) test, nDCG@10, documents read whole", SCIFACT, scifact),
    )
}
