"""A small semantic search in memory: exact, over texts that fit there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nlpkit.errors import InputError, InputTypeError
from nlpkit.pipeline import Pipeline
from nlpkit.types import Document, Hit


def semantic_search(
    pipeline: Pipeline, queries: str | Sequence[str], texts: Sequence[str], k: int = 10
) -> Any:
    """The ``k`` texts nearest in meaning to each query, best first, by cosine.

    One query gives a list of hits, a list of queries a list of lists. A hit's document has the
    text's position as its id; ``score`` is the cosine in [-1, 1].
    """
    import faiss

    if not isinstance(queries, str) and not isinstance(queries, Sequence):
        raise InputTypeError.of("queries", queries, "a string or a list of strings")
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InputTypeError.of("texts", texts, "a list of strings")
    if isinstance(k, bool) or not isinstance(k, int):
        raise InputTypeError.of("k", k, "a whole number")
    if k < 1:
        raise InputError(f"k is {k}; expected at least 1")
    vectors = pipeline.embed(list(texts))
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    asked = [queries] if isinstance(queries, str) else list(queries)
    if not texts or not asked:
        return [] if isinstance(queries, str) else [[] for _ in asked]
    scores, found = index.search(pipeline.embed(asked), min(k, len(texts)))
    hits = [
        [
            Hit(Document(str(i), texts[i]), float(score), 0, len(texts[i]))
            for score, i in zip(row_scores, row, strict=True)
        ]
        for row_scores, row in zip(scores, found, strict=True)
    ]
    return hits[0] if isinstance(queries, str) else hits
