"""The contract of a head: a small module over the backbone's output with three verbs.

``forward`` makes logits from hidden states, ``loss`` compares them with targets for training,
``decode`` turns them into what a caller wants to read. ``forward`` is written with operators
that numpy arrays and torch tensors share, so the same lines run on the CPU engine (no torch),
on a GPU and in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nlpkit.text import Batch, Encoded, Window

Array = Any  #: a numpy array or a torch tensor
Floats = NDArray[np.float32]
Parameters = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a head's logits were computed from: a text, its tokens and the windows read.

    ``offsets[i]`` is the row position of the first text token of ``windows[i]``; ``n_owned[i]``
    counts the positions that pooling used there; ``width`` is the backbone's.
    """

    text: str
    encoded: Encoded
    windows: Sequence[Window]
    offsets: Sequence[int]
    n_owned: Sequence[int]
    width: int


@runtime_checkable
class Head(Protocol):
    """A head of any kind. Its labels and shapes are known when it is constructed.

    *Shapes:* hidden states are (batch, length, width); logits are (batch, length, n) for
    heads over tokens and (batch, n) for heads over texts.
    """

    kind: ClassVar[str]
    per_token: ClassVar[bool]
    labels: tuple[str, ...]

    def config(self) -> dict[str, Any]:
        """Plain values that, passed to the constructor, make the head again."""

    def parameter_shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter over a backbone of this width."""

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        """Logits from hidden states."""

    def loss(self, logits: Array, targets: Array) -> Array:
        """The mean training loss, a torch scalar."""

    def decode(self, logits: Sequence[Floats], reading: Reading) -> Any:
        """The result for one text from the logits of each of its windows."""


def decode_all(
    head: Head, logits: Sequence[Sequence[Floats]], readings: Sequence[Reading]
) -> list[Any]:
    """What ``decode`` gives of each text.

    At once where the head's own class has a ``decode_all``, which gives the same with fewer calls
    of numpy. One that a class inherits does not count: its ``decode`` may be another.
    """
    at_once = vars(type(head)).get("decode_all")
    if at_once is None:
        return [head.decode(of_text, one) for of_text, one in zip(logits, readings, strict=True)]
    found: list[Any] = at_once(head, logits, readings)
    return found


def softmax(logits: Floats, axis: int = -1) -> Floats:
    shifted = np.exp(logits - logits.max(axis=axis, keepdims=True))
    normalised: Floats = shifted / shifted.sum(axis=axis, keepdims=True)
    return normalised


def linear(inputs: Array, parameters: Parameters, name: str = "") -> Array:
    """``inputs @ weight.T + bias``, with weight of shape (outputs, inputs) as torch keeps it."""
    return project(inputs, parameters[f"{name}weight"]) + parameters[f"{name}bias"]


def project(inputs: Array, weight: Array) -> Array:
    """``inputs @ weight.T``, without waking numpy's BLAS threads.

    Once awake they keep a core busy into the engine's next run: 1.4 times its time, measured.
    """
    if isinstance(inputs, np.ndarray):
        return np.einsum("...i,oi->...o", inputs, weight)
    return inputs @ weight.T


def pool(hidden: Array, batch: Batch, how: str) -> Array:
    """One vector per row: the mean or maximum over owned positions, or the first position.

    *Shape:* (batch, length, width) to (batch, width).
    """
    if how == "cls":
        return hidden[:, 0]
    owned = as_type_of(hidden, batch.owned)
    if how == "max":
        filled = hidden - (1 - owned)[:, :, None] * (hidden.max() - hidden.min() + 1)
        return filled.max(axis=1) if isinstance(filled, np.ndarray) else filled.amax(1)
    counts = owned.sum(1)[:, None]
    if isinstance(hidden, np.ndarray):
        return np.einsum("bl,blw->bw", owned, hidden) / np.maximum(counts, 1)
    return (owned[:, None, :] @ hidden)[:, 0] / counts.clamp(min=1)


def over_windows(values: Sequence[Floats], reading: Reading) -> Floats:
    """The mean of what was read from each window, by the number of tokens that it owns."""
    if len(values) == 1:
        return values[0]
    weights = np.asarray(reading.n_owned, dtype=np.float32)
    return np.asarray(np.average(np.stack(values), axis=0, weights=weights), dtype=np.float32)


def as_type_of(reference: Array, values: Array) -> Array:
    """Values in the number type of the reference: numpy would turn both into float64."""
    if isinstance(values, np.ndarray):
        return values.astype(reference.dtype)
    return values.to(reference.dtype)
