"""A BERT's rows end to end, without padding: on a GPU nothing is computed for places of none.

Everything but attention treats each token alone; attention is torch's kernel for rows of different
lengths (Dao 2023, FlashAttention-2).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from nlpkit.text import Batch

#: Attention within rows: queries, keys and values of shape (n_tokens, n_heads, head_size), where
#: each row begins and the last ends (n_rows + 1, int32), the longest row's length.
Attention = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]

#: What torch's kernel asks for: the oldest architecture, and what a head's size is divisible by.
OLDEST = (8, 0)
MULTIPLE = 8


def gpu_attention(backbone: PreTrainedModel, device: str, precision: str) -> Attention | None:
    """torch's kernel, where this model, device and precision can have it."""
    config: Any = backbone.config
    known = (
        device.startswith("cuda")
        and precision in ("bf16", "fp16")
        and config.model_type == "bert"
        and config.hidden_size // config.num_attention_heads % MULTIPLE == 0
        and find_spec("torch.nn.attention.varlen") is not None
    )
    return within_rows if known and torch.cuda.get_device_capability(device) >= OLDEST else None


def within_rows(
    queries: Tensor, keys: Tensor, values: Tensor, begins: Tensor, longest: int
) -> Tensor:
    """torch's kernel for rows of different lengths, with the same sums whatever else is read."""
    from torch.nn.attention.varlen import varlen_attn

    alone: dict[str, Any] = {}
    if "num_splits" in inspect.signature(varlen_attn).parameters:  # from torch 2.12 on
        alone["num_splits"] = 1
    mixed: Any = varlen_attn(queries, keys, values, begins, begins, longest, longest, **alone)
    return cast(Tensor, mixed)


@dataclass(frozen=True, slots=True)
class Unpadded:
    """The tokens of a batch end to end, on the device."""

    ids: Tensor  #: (1, n_tokens), as are the next two
    types: Tensor
    positions: Tensor
    begins: Tensor  #: where each row begins, and the last ends; (n_rows + 1,)
    places: Tensor  #: each token's place in the padded batch, counted through it; (n_tokens,)
    longest: int
    padded: tuple[int, int]  #: rows and their length in the padded batch

    @classmethod
    def of(cls, batch: Batch, move: Callable[[Any], Tensor]) -> Unpadded:
        """Of a batch in numpy; ``move`` brings an array to the device."""
        mask = np.asarray(batch.mask) > 0
        places = np.flatnonzero(mask)
        lengths = mask.sum(axis=1)
        return cls(
            move(batch.ids.ravel()[None, places]),
            move(batch.types.ravel()[None, places]),
            move((places % mask.shape[1])[None]),
            move(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)),
            move(places),
            int(lengths.max()),
            (mask.shape[0], mask.shape[1]),
        )

    def embedded(self, backbone: PreTrainedModel) -> Tensor:
        model: Any = backbone
        hidden: Tensor = model.embeddings(
            input_ids=self.ids, token_type_ids=self.types, position_ids=self.positions
        )
        return hidden[0]

    def through(self, layer: nn.Module, hidden: Tensor, attend: Attention) -> Tensor:
        """A BERT layer on (n_tokens, width)."""
        bert: Any = layer
        own = bert.attention.self
        heads = (len(hidden), own.num_attention_heads, own.attention_head_size)
        queries, keys, values = (
            part(hidden).view(heads) for part in (own.query, own.key, own.value)
        )
        mixed = attend(queries, keys, values, self.begins, self.longest).flatten(1)
        middle = bert.attention.output(mixed, hidden)
        after: Tensor = bert.output(bert.intermediate(middle), middle)
        return after

    def padded_again(self, hidden: Tensor) -> Tensor:
        """(n_tokens, width) to (n_rows, length, width), zeros where there is no token."""
        n_rows, length = self.padded
        made = hidden.new_zeros(n_rows * length, hidden.shape[1])
        made[self.places] = hidden
        return made.view(n_rows, length, -1)
