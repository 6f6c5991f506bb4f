"""What an index needs of a model: chunks of a text, and vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nlpkit.index.chunks import Bounds, cut
from nlpkit.pipeline import Pipeline

#: Counts the rules by which texts are cut into chunks; see :mod:`nlpkit.index.chunks`.
CHUNKING = 1


class Embedder(Protocol):
    """Cuts texts and gives vectors of unit length; :class:`PipelineEmbedder` is the usual one.

    ``identity`` is equal for two embedders exactly if they give the same vectors: an index keeps
    it and refuses any other.
    """

    name: str
    identity: str
    width: int

    def chunks(self, texts: Sequence[str]) -> list[Bounds]:
        """Character bounds of each text's parts that get a vector each; at least one."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (n, width)."""
        ...


class PipelineEmbedder:
    """The embedding of a pipeline, over chunks of ``chunk_tokens`` tokens on sentence edges."""

    def __init__(self, pipeline: Pipeline, chunk_tokens: int = 256, overlap: int = 32) -> None:
        special = len(pipeline.encoder.prefix) + len(pipeline.encoder.suffix)
        self.pipeline = pipeline
        self.name = pipeline.name
        self.width = pipeline.engine.width
        self.identity = _identity(pipeline, chunk_tokens, overlap)
        self._size = min(chunk_tokens, pipeline.sizes.size) - special
        self._overlap = min(overlap, self._size // 2)

    def chunks(self, texts: Sequence[str]) -> list[Bounds]:
        """See :class:`Embedder`. A text that no token stands for is one chunk, of zeros."""
        found = cut(texts, self.pipeline.encoder, self._size, self._overlap)
        return [bounds or [(0, len(text))] for bounds, text in zip(found, texts, strict=True)]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See :meth:`nlpkit.pipeline.Pipeline.embed`."""
        vectors: NDArray[np.float32] = self.pipeline.embed(list(texts))
        return vectors


def _identity(pipeline: Pipeline, chunk_tokens: int, overlap: int) -> str:
    """SHA-256 over all that decides a vector: weights, pooling, precision and chunking."""
    pooling = pipeline.pooling
    seen = hashlib.sha256()
    facts = [
        CHUNKING,
        pipeline.backbone_sha256,
        pooling.head.config(),
        pipeline.precision,
        chunk_tokens,
        overlap,
    ]
    seen.update(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(pooling.parameters):
        seen.update(name.encode())
        seen.update(np.ascontiguousarray(pooling.parameters[name]).tobytes())
    return seen.hexdigest()
