"""A semantic-search index on disk: documents in a SQL store, vectors in immutable segments."""

from nlpkit.index.check import Problem
from nlpkit.index.embedder import Embedder, PipelineEmbedder
from nlpkit.index.facets import Field, FieldKind
from nlpkit.index.index import Index, Upserted
from nlpkit.index.opening import open_index

__all__ = [
    "Embedder",
    "Field",
    "FieldKind",
    "Index",
    "PipelineEmbedder",
    "Problem",
    "Upserted",
    "open_index",
]
