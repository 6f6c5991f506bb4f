"""Abstracts of scientific papers, to find evidence for a claim.

Data     SciFact (Wadden et al. 2020) as BEIR has it: 5,183 titles and abstracts.
Terms    Not stated in the repository; SciFact: claims CC BY 4.0, abstracts CC BY-NC 2.0.
Convert  The text is the title, a space, the abstract; the id is the paper's.
Run      NLPKIT_DATA=/path/to/data nlpkit index build scifact --index scifact.index
Score    nDCG@10 on the 300 test claims: 0.640 by meaning, 0.682 by keywords, 0.706 by both
         (python benchmarks/indexing.py --part scifact)
"""

from __future__ import annotations

from nlpkit.readers import Source
from nlpkit.sources import IndexRecipe, TableSource

CORPUS = Source(
    file="scifact/corpus.jsonl.gz",
    name="SciFact, abstracts",
    licence="not stated in the repository (SciFact: claims CC BY 4.0, abstracts CC BY-NC 2.0)",
    address="https://github.com/sumithra-p-v/claimverifier",
    sha256="e962861c4d0b8024cf011fdc93328ac5599cf897b0a5f9430fac31941c67733b",
)


def source() -> TableSource:
    return TableSource(CORPUS.path(), ("title", "text"), "_id", name="scifact")


def recipe() -> IndexRecipe:
    return IndexRecipe(
        "scifact",
        "Abstracts of scientific papers",
        source,
        expected={"documents": 5183, "test, nDCG@10": 0.64, "test, nDCG@10, hybrid": 0.70},
    )
