"""How good an index's rankings are: nDCG, MRR and recall over queries with judged documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nlpkit import metrics
from nlpkit.errors import InputError

if TYPE_CHECKING:
    from nlpkit.index.index import Index

#: Documents that are ranked for each query; recall is taken at this rank.
RANKED = 100
#: How a ranking is made: the options of :meth:`Index.search`.
WAYS: dict[str, dict[str, Any]] = {
    "meaning": {},
    "keywords": {"keywords": True},
    "hybrid": {"hybrid": True},
}


def evaluate(
    index: Index,
    queries: Mapping[str, str],
    judgments: Mapping[str, Mapping[str, int]],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, float]]:
    """Mean nDCG@10, MRR@10 and recall@100 of each way to search, over the judged queries.

    ``queries`` holds texts by id, ``judgments`` the relevance of documents by query and document
    id, as in BEIR (Thakur et al. 2021). Queries without a judgment are left out.

    Raises:
        InputError: no query is judged.
    """
    asked = {name: text for name, text in queries.items() if judgments.get(name)}
    if not asked:
        raise InputError(
            f"none of the {len(queries)} queries is among the {len(judgments)} judged ones; "
            "expected the same ids in both files"
        )
    scores: dict[str, dict[str, float]] = {}
    total, done = len(WAYS) * len(asked), 0
    for way, options in WAYS.items():
        sums = {"ndcg_at_10": 0.0, "mrr_at_10": 0.0, "recall_at_100": 0.0}
        for name, text in asked.items():
            ranked = [hit.document.id for hit in index.search(text, RANKED, **options)]
            judged = judgments[name]
            sums["ndcg_at_10"] += metrics.ndcg_at_k(ranked, judged, 10)
            sums["mrr_at_10"] += metrics.reciprocal_rank_at_k(ranked, judged, 10)
            sums["recall_at_100"] += metrics.recall_at_k(ranked, judged, RANKED)
            done += 1
            on_progress(done, total)
        scores[way] = {metric: value / len(asked) for metric, value in sums.items()}
    return scores
