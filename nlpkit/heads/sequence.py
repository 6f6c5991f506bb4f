"""Sequence classification: one class per text, or any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nlpkit.errors import InputError
from nlpkit.heads.base import (
    Array,
    Floats,
    Parameters,
    Reading,
    linear,
    over_windows,
    pool,
    softmax,
)
from nlpkit.text import Batch
from nlpkit.types import Label

ACTIVATIONS = ("tanh", "relu")


class SequenceHead:
    """Classifies a text from its pooled hidden states.

    ``pooling`` is ``mean``, ``cls`` or ``max``. With ``dense`` (a width) a layer with
    ``activation`` comes before the output layer, as in BERT's pooler. Windows of a long text are
    averaged by the number of tokens each owns. ``multi_label`` scores every label on its own
    (sigmoid), otherwise the scores sum to 1 (softmax); scores are divided by ``temperature``
    before either.
    """

    kind: ClassVar[str] = "sequence-classification"
    per_token: ClassVar[bool] = False

    def __init__(
        self,
        labels: Sequence[str],
        multi_label: bool = False,
        pooling: str = "mean",
        dense: int | None = None,
        activation: str = "tanh",
        temperature: float = 1.0,
    ) -> None:
        self.labels = tuple(labels)
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2 - multi_label:
            raise InputError(f"labels are {list(labels)}; expected at least two different names")
        if pooling not in ("mean", "cls", "max"):
            raise InputError(f"pooling is {pooling!r}; expected mean, cls or max")
        if activation not in ACTIVATIONS:
            raise InputError(f"activation is {activation!r}; expected {' or '.join(ACTIVATIONS)}")
        self.multi_label = multi_label
        self.pooling = pooling
        self.dense = dense
        self.activation = activation
        self.temperature = temperature

    def config(self) -> dict[str, Any]:
        return {
            "labels": list(self.labels),
            "multi_label": self.multi_label,
            "pooling": self.pooling,
            "dense": self.dense,
            "activation": self.activation,
            "temperature": self.temperature,
        }

    def parameter_shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        n = len(self.labels)
        shapes: dict[str, tuple[int, ...]] = {}
        if self.dense:
            shapes = {"dense.weight": (self.dense, width), "dense.bias": (self.dense,)}
        return shapes | {"weight": (n, self.dense or width), "bias": (n,)}

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        """*Shape:* (batch, length, width) to (batch, n_labels)."""
        return linear(self.features(hidden, batch, parameters), parameters)

    def features(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        """What the output layer reads: (batch, length, width) to (batch, width or dense)."""
        pooled = pool(hidden, batch, self.pooling)
        return self._activate(linear(pooled, parameters, "dense.")) if self.dense else pooled

    def _activate(self, values: Array) -> Array:
        if self.activation == "relu":
            return values * (values > 0)
        return np.tanh(values) if isinstance(values, np.ndarray) else values.tanh()

    def loss(self, logits: Array, targets: Array, label_smoothing: float = 0.0) -> Array:
        """Cross-entropy with (batch,) class numbers or (batch, n_labels) probabilities of classes,
        or binary with (batch, n_labels) 0 and 1.

        ``label_smoothing`` is the share of a target that is spread over all classes.
        """
        from torch.nn import functional

        if self.multi_label:
            smooth = targets.float() * (1 - label_smoothing) + label_smoothing / 2
            return functional.binary_cross_entropy_with_logits(logits.float(), smooth)
        return functional.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)

    def decode(self, logits: Sequence[Floats], reading: Reading) -> list[Label]:
        """All labels with their scores, best first; nothing for a text without tokens."""
        return SequenceHead.decode_all(self, [logits], [reading])[0]

    def decode_all(
        self, logits: Sequence[Sequence[Floats]], readings: Sequence[Reading]
    ) -> list[list[Label]]:
        """What :meth:`decode` gives of each text."""
        results: list[list[Label]] = [[] for _ in readings]
        read = [i for i, reading in enumerate(readings) if len(reading.encoded)]
        if not read:
            return results
        scores = self.scores(np.stack([over_windows(logits[i], readings[i]) for i in read]))
        order = np.argsort(-scores, axis=1, kind="stable")
        for i, best, of_text in zip(read, order.tolist(), scores.tolist(), strict=True):
            results[i] = [Label(self.labels[j], of_text[j]) for j in best]
        return results

    def scores(self, logits: Floats) -> Floats:
        """Probabilities from logits of shape (..., n_labels)."""
        logits = np.asarray(logits / self.temperature, dtype=np.float32)
        if self.multi_label:
            # Unlike 1 / (1 + exp(-x)), this does not overflow.
            return np.asarray((1 + np.tanh(logits / 2)) / 2, dtype=np.float32)
        return softmax(logits)
