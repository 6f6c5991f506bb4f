"""What nlpkit's models do without, for benchmarks/ablation.py to try: a CRF, a mix of layers.

A CRF (Lafferty et al. 2001) learns what tag follows which while it learns the tags; nlpkit's head
learns it afterwards, or only knows what is legal.
A mix of layers (Peters et al. 2018, ELMo) gives a head the mean of all layers' states, weighed by
what it learns; nlpkit's heads read the last.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from nlpkit.heads import HEADS
from nlpkit.heads.base import Array, Floats, Parameters
from nlpkit.heads.token import IGNORE, TokenHead
from nlpkit.text import Batch, Ints
from nlpkit.training.transitions import sequence_loss

#: How much faster than their group transitions learn, and a mix's weights: a short run has to move
#: them by as much as matters.
FASTER = 10.0
#: What the last layer begins ahead of the others by, before a softmax.
AHEAD = 3.0


class CrfHead(TokenHead):
    """A token head with learned transitions between the tags of neighbouring words.

    They are used to decode and to learn; label smoothing is not for sequences, so there is none.
    """

    kind: ClassVar[str] = "crf"
    _learned: Array

    def parameter_shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        n = len(self.labels)
        # Row n is what begins a text.
        return {**super().parameter_shapes(width), "transitions": (n + 1, n)}

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        self._learned = parameters["transitions"]
        return super().forward(hidden, batch, parameters)

    def loss(self, logits: Array, targets: Array, label_smoothing: float = 0.0) -> Array:
        """Minus the log-likelihood of each row's tags, a word."""
        transitions: Tensor = self._learned * FASTER
        known = targets != IGNORE
        n_words = known.sum(1)
        rows, places = known.nonzero(as_tuple=True)
        steps = (known.cumsum(1) - 1)[rows, places]
        shape = (len(targets), int(n_words.max()))
        of_words = logits.new_zeros(*shape, logits.shape[-1]).index_put(
            (rows, steps), logits[rows, places]
        )
        tags = targets.new_zeros(shape).index_put((rows, steps), targets[rows, places])
        there = torch.arange(shape[1], device=logits.device) < n_words[:, None]
        return sequence_loss(of_words, tags, there, transitions) / n_words.sum()

    def tag(self, logits: Floats, of_text: Ints | None = None) -> NDArray[np.int64]:
        learned = (self._learned * FASTER).detach().cpu().numpy()
        return TokenHead(self.labels, transitions=learned).tag(logits, of_text)


class CrfTaughtHead(CrfHead):
    """Learns as a CRF and tags without it: the best legal tags, as all token heads do."""

    kind: ClassVar[str] = "crf-taught"

    def tag(self, logits: Floats, of_text: Ints | None = None) -> NDArray[np.int64]:
        return TokenHead.tag(self, logits, of_text)


HEADS |= {head.kind: head for head in (CrfHead, CrfTaughtHead)}


class LayerMix(nn.Module):
    """Makes a BERT's last states the learned mean of those of all its layers."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        encoder: Any = backbone.encoder
        weights = torch.zeros(len(encoder.layer))
        weights[-1] = AHEAD
        self.weights = nn.Parameter(weights / FASTER)
        self.states: list[Tensor] = []
        for layer in encoder.layer:
            layer.register_forward_hook(self.keep)
        encoder.register_forward_hook(self.mix)

    def keep(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        self.states.append(output[0] if isinstance(output, tuple) else output)

    def mix(self, encoder: nn.Module, inputs: Any, output: Any) -> Any:
        shares = torch.softmax(self.weights * FASTER, dim=0)
        output.last_hidden_state = (torch.stack(self.states, dim=-1) * shares).sum(-1)
        self.states = []
        return output


def mixed(backbone: PreTrainedModel) -> None:
    """Let heads read a mix of all of this backbone's layers. It has no branches."""
    backbone.add_module("layer_mix", LayerMix(backbone))
