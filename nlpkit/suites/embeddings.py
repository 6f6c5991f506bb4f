"""Suites of embeddings: similarity of sentences (STS-B) and search (SciFact)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nlpkit.readers import Source, read_jsonl, read_judgments
from nlpkit.scoring import (
    Kit,
    Measured,
    Progress,
    in_chunks,
    score_rankings,
    score_similarities,
)
from nlpkit.suites.base import Suite


def _stsb(part: str, sha256: str) -> Source:
    return Source(
        file=f"stsb/{part}.jsonl.gz",
        name=f"STS-B, {part} part",
        licence="CC BY-SA 4.0",
        address="https://github.com/PhilipMay/stsb-multi-mt",
        sha256=sha256,
    )


def _scifact(file: str, part: str, address: str, sha256: str) -> Source:
    return Source(
        file=f"scifact/{file}",
        name=f"SciFact, {part}",
        licence="not stated in the repository (SciFact: claims CC BY 4.0, abstracts CC BY-NC 2.0)",
        address=address,
        sha256=sha256,
    )


STSB_TEST = _stsb("test", "81e674d774dad377f49e73d8c44742640b349f7f466a6ab3e6ed3055b3d914b4")
STSB_DEV = _stsb("dev", "2afb270710ae80061c08ee1abc8b6356f3e0812cd3120ded27968f43548688f3")
_CLAIMS = "https://github.com/TwistXXF/PaperPilot-Reproduction"
SCIFACT = (
    _scifact(
        "corpus.jsonl.gz",
        "abstracts",
        "https://github.com/sumithra-p-v/claimverifier",
        "e962861c4d0b8024cf011fdc93328ac5599cf897b0a5f9430fac31941c67733b",
    ),
    _scifact(
        "queries.jsonl.gz",
        "claims",
        _CLAIMS,
        "3794f9ee3a6cd2e9a5d8b217e9275bfd06612e801ddf25bb8f224783e9b330af",
    ),
    _scifact(
        "qrels/test.tsv.gz",
        "test judgments",
        _CLAIMS,
        "63b9ab08c1c632e7091b9255b8181a0e6e71c8203fd7128ed365ba74c2a1eb10",
    ),
)


def stsb(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    rows = [row for _, row in read_jsonl(files[0])][:limit]
    first, second = ([row[name] for row in rows] for name in ("sentence1", "sentence2"))
    vectors = np.stack(in_chunks(kit.embed, [*first, *second], progress))
    cosines = (vectors[: len(rows)] * vectors[len(rows) :]).sum(axis=1)
    return score_similarities(first, second, cosines, [row["score"] for row in rows])


def scifact(kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress) -> Measured:
    """With a limit, a smaller corpus: the judged documents and ten others for each query."""
    judged = read_judgments(files[2])
    queries = [row for _, row in read_jsonl(files[1]) if row["_id"] in judged][:limit]
    documents = [row for _, row in read_jsonl(files[0])]
    if limit is not None:
        needed = {document for query in queries for document in judged[query["_id"]]}
        documents = [d for i, d in enumerate(documents) if i < 10 * limit or d["_id"] in needed]
    titles = {document["_id"]: document["title"] for document in documents}
    texts = [f"{document['title']} {document['text']}" for document in documents]
    texts += [query["text"] for query in queries]
    vectors = np.stack(in_chunks(kit.embed, texts, progress))
    return score_rankings(
        [query["text"] for query in queries],
        vectors[len(documents) :] @ vectors[: len(documents)].T,
        list(titles),
        [judged[query["_id"]] for query in queries],
        lambda document: titles.get(document, document),
    )


EMBEDDINGS = (
    Suite("stsb", "STS-B test, Spearman correlation of the cosines", (STSB_TEST,), stsb, "sts"),
    Suite(
        "scifact",
        "SciFact (BEIR) test, nDCG@10, documents read whole",
        SCIFACT,
        scifact,
        "search",
    ),
    Suite(
        "stsb_dev",
        "STS-B dev, Spearman correlation of the cosines",
        (STSB_DEV,),
        stsb,
        "sts",
        "dev",
    ),
)
