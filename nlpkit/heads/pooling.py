"""Pooling: a text's embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nlpkit.errors import InputError
from nlpkit.heads.base import Array, Floats, Parameters, Reading, over_windows, pool, project
from nlpkit.text import Batch

#: What cosines are multiplied by before a softmax over a batch (sentence-transformers' value).
SCALE = 20.0


class PoolingHead:
    """The mean (``mean``), first (``cls``) or largest (``max``) hidden state, of unit length.

    With ``projection`` a learned square matrix follows, which lets the embedding set aside what
    the backbone's vectors carry for other heads. A text of several windows: the mean over all its
    tokens, each counted once.
    """

    kind: ClassVar[str] = "pooling"
    per_token: ClassVar[bool] = False

    def __init__(
        self, pooling: str = "mean", projection: bool = False, normalize: bool = True
    ) -> None:
        if pooling not in ("mean", "cls", "max"):
            raise InputError(f"pooling is {pooling!r}; expected mean, cls or max")
        self.labels: tuple[str, ...] = ()
        self.pooling = pooling
        self.projection = projection
        self.normalize = normalize

    def config(self) -> dict[str, Any]:
        return {
            "pooling": self.pooling,
            "projection": self.projection,
            "normalize": self.normalize,
        }

    def parameter_shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (width, width)} if self.projection else {}

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        """*Shape:* (batch, length, width) to (batch, width), not yet of unit length."""
        pooled = pool(hidden, batch, self.pooling)
        return project(pooled, parameters["weight"]) if self.projection else pooled

    def loss(self, logits: Array, targets: Array) -> Array:
        """One minus the mean cosine to (batch, width) target vectors."""
        from torch.nn.functional import cosine_similarity

        return 1 - cosine_similarity(logits.float(), targets.float(), dim=-1).mean()

    def contrast(self, vectors: Array, others: Array, ids: Array) -> Array:
        """How well each text finds its partner among those of the batch, and it the text.

        Mean cross-entropy of the cosines times SCALE (Henderson et al. 2017, with in-batch
        negatives). ``vectors`` and ``others`` are (n_pairs, width); ``ids`` (n_pairs, length) are
        the partners' tokens: a partner that several texts share counts for each of them.
        """
        from torch.nn.functional import log_softmax, normalize

        cosines = normalize(vectors.float(), dim=-1) @ normalize(others.float(), dim=-1).T
        same = (ids[:, None, :] == ids[None, :, :]).all(-1).float()
        right = same / same.sum(1, keepdim=True)
        there = -(right * log_softmax(SCALE * cosines, dim=1)).sum(1).mean()
        back = -(right * log_softmax(SCALE * cosines.T, dim=1)).sum(1).mean()
        return (there + back) / 2

    def decode(self, logits: Sequence[Floats], reading: Reading) -> Floats:
        if not len(reading.encoded):
            return np.zeros(reading.width, dtype=np.float32)
        if self.pooling == "max":
            vector: Floats = np.stack(logits).max(axis=0)
        else:
            vector = over_windows(logits, reading)
        if self.normalize:
            vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return np.asarray(vector, dtype=np.float32)
