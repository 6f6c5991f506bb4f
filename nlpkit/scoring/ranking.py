"""Embeddings: ranked documents, and the order of similarities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit import metrics
from nlpkit.intervals import intervals, mean_of, spearman_of
from nlpkit.scoring.base import N_WORST, Measured, Ranges, kept, mean, shortened, slices

#: As many documents are ranked for a query.
DEPTH = 100
WORDS = Ranges(1, 6, 11, 16, 26)
PAIR_WORDS = Ranges(1, 16, 21, 31)
N_RELEVANT = Ranges(1, 2)


def score_rankings(
    queries: Sequence[str],
    similarities: NDArray[Any],
    ids: Sequence[str],
    relevances: Sequence[Mapping[str, int]],
    title: Callable[[str], str] = str,
) -> Measured:
    """nDCG@10, recall and MRR of the documents ranked by similarity, (queries, documents).

    ``title`` names a document for people.
    """
    rankings = [[ids[i] for i in np.argsort(-row, kind="stable")[:DEPTH]] for row in similarities]
    pairs = list(zip(rankings, relevances, strict=True))
    values = {
        "ndcg_at_10": [metrics.ndcg_at_k(*pair, 10) for pair in pairs],
        "recall_at_100": [metrics.recall_at_k(*pair, 100) for pair in pairs],
        "mrr_at_10": [metrics.reciprocal_rank_at_k(*pair, 10) for pair in pairs],
        "recall_at_10": [metrics.recall_at_k(*pair, 10) for pair in pairs],
    }

    def score(chosen: list[int]) -> dict[str, float]:
        return {
            name: mean([values[name][i] for i in chosen])
            for name in ("ndcg_at_10", "mrr_at_10", "recall_at_100")
        }

    n_relevant = [N_RELEVANT(sum(gain > 0 for gain in one.values())) for one in relevances]
    found = {
        "words of the query": slices([WORDS(len(q.split())) for q in queries], WORDS.names, score),
        "relevant documents": slices(n_relevant, N_RELEVANT.names, score),
    }
    worst = np.argsort(values["ndcg_at_10"], kind="stable")[:N_WORST]
    return Measured(
        {name: mean(each) for name, each in values.items()},
        len(queries),
        {"n_documents": len(ids), "slices": kept(found)},
        intervals({name: mean_of(each) for name, each in values.items()}, len(queries)),
        [
            {
                "score": values["ndcg_at_10"][i],
                "predicted": title(rankings[i][0]),
                "gold": _gold(rankings[i], relevances[i], title),
                "text": shortened(queries[i]),
            }
            for i in worst.tolist()
            if values["ndcg_at_10"][i] < 1
        ],
    )


def score_similarities(
    first: Sequence[str],
    second: Sequence[str],
    cosines: NDArray[Any],
    gold: Sequence[float],
) -> Measured:
    """Spearman's correlation of cosines with people's scores of pairs of texts."""
    lengths = [len(f"{a} {b}".split()) for a, b in zip(first, second, strict=True)]

    def score(chosen: list[int]) -> dict[str, float]:
        return {"spearman": metrics.spearman(cosines[chosen], np.asarray(gold)[chosen])}

    ranks = [np.argsort(np.argsort(values, kind="stable")) + 1 for values in (cosines, gold)]
    apart = ranks[0] - ranks[1]
    by_words = slices([PAIR_WORDS(n) for n in lengths], PAIR_WORDS.names, score)
    return Measured(
        {"spearman": metrics.spearman(cosines, gold)},
        len(first),
        {"slices": kept({"words of the pair": by_words})},
        intervals({"spearman": spearman_of(cosines, gold)}, len(first)),
        [
            {
                "score": float(cosines[i]),
                "predicted": f"rank {ranks[0][i]:,} of {len(first):,}",
                "gold": f"rank {ranks[1][i]:,}, score {gold[i]:g}",
                "text": shortened(f"{first[i]} ↔ {second[i]}"),
            }
            for i in np.argsort(-np.abs(apart), kind="stable")[:N_WORST].tolist()
            if apart[i]
        ],
    )


def _gold(ranked: Sequence[str], relevance: Mapping[str, int], title: Callable[[str], str]) -> str:
    """The relevant document that stands first, with its rank."""
    relevant = [document for document, gain in relevance.items() if gain > 0]
    for rank, document in enumerate(ranked, 1):
        if document in relevant:
            return f"{title(document)} (rank {rank})"
    return f"{title(relevant[0])} (not among {len(ranked)})" if relevant else "nothing"
