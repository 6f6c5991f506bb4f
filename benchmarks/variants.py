"""What nlpkit's models do without, for benchmarks/ablation.py to try: a CRF, a mix of layers.

A CRF (Lafferty et al. 2001) learns what tag follows which; nlpkit's head only knows what is legal.
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
from nlpkit.heads.token import IGNORE, TokenHead, best_path
from nlpkit.text import Batch, Ints

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

        before = torch.cat([tags.new_full((len(tags), 1), len(self.labels)), tags[:, :-1]], dim=1)
        steps_taken = of_words.gather(2, tags[..., None])[..., 0] + transitions[before, tags]
        right = (steps_taken * there).sum(1)

        sums = transitions[-1] + of_words[:, 0]
        for i in range(1, shape[1]):
            following = torch.logsumexp(sums[:, :, None] + transitions[:-1], dim=1) + of_words[:, i]
            sums = torch.where(there[:, i, None], following, sums)
        lost = torch.logsumexp(sums, dim=1) - right
        return lost[n_words > 0].sum() / n_words.sum()

    def _legal_tags(self, logits: Floats, of_text: Ints) -> NDArray[np.int64]:
        transitions = (self._learned * FASTER).detach().cpu().numpy()
        illegal = np.where(self._legal, 0.0, -1e9)
        opening, following = illegal[self._outside] + transitions[-1], illegal + transitions[:-1]
        firsts = np.flatnonzero(np.diff(of_text, prepend=-1))
        parts = np.split(logits, firsts[1:])
        return np.concatenate([best_path(part, opening, following) for part in parts])


class CrfTaughtHead(CrfHead):
    """Learns as a CRF and tags without it: the best legal tags, as all token heads do."""

    kind: ClassVar[str] = "crf-taught"

    def _legal_tags(self, logits: Floats, of_text: Ints) -> NDArray[np.int64]:
        return TokenHead._legal_tags(self, logits, of_text)


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
