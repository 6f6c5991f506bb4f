"""What it is worth that a tag follows another, learned after a head of entities is trained.

The head's logits stay; the transitions are those that make held-out tags likeliest as sequences: a
conditional random field (Lafferty et al. 2001) of which one part is learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlpkit.errors import InputError
from nlpkit.heads import TokenHead
from nlpkit.heads.base import Floats
from nlpkit.heads.paths import Paths
from nlpkit.pipeline import Pipeline
from nlpkit.readers import TokenExample
from nlpkit.text import Ints
from nlpkit.training.items import word_tags

#: Longer texts are read in pieces of so many words, or as few more as their last entity needs.
PIECE = 100
#: Pieces that are read at once.
BATCH = 512
#: How strongly transitions are held to 0: for the sum of their squares, against the sum of all
#: words' losses. Few words say little.
PRIOR = 100.0
STEPS = 60
#: What cannot follow, for sums of logarithms.
IMPOSSIBLE = -1e4


def fit_transitions(
    kit: Pipeline, task: str, examples: Sequence[TokenExample]
) -> list[list[float]]:
    """The transitions of :class:`TokenHead` for examples that the head has not learned from.

    (n_labels + 1, n_labels), from rows to columns, the last row for a text's first word; 0 where a
    tag cannot follow.

    Raises:
        InputError: the task tags no words, or no example has a word.
    """
    head = kit.head(task).head
    if not isinstance(head, TokenHead):
        raise InputError(f"{task!r} is a {head.kind} head; expected one that tags words")
    pieces = [piece for text in _read(kit, task, head, examples) for piece in _cut(*text, head)]
    if not pieces:
        raise InputError(f"{len(examples)} examples without a word; expected some with words")
    pieces.sort(key=lambda piece: len(piece[1]))
    batches = [_padded(pieces[i : i + BATCH]) for i in range(0, len(pieces), BATCH)]
    n_words = sum(len(tags) for _, tags in pieces)
    n = len(head.labels)
    legal = torch.from_numpy(Paths(head.labels).legal)
    allowed = torch.cat([legal, legal[[head.labels.index("O")]]])
    learned = torch.zeros(n + 1, n, dtype=torch.float64, requires_grad=True)
    # Trained logits are surer than sequences warrant.
    log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [learned, log_scale], max_iter=STEPS, line_search_fn="strong_wolfe"
    )

    def lost() -> Tensor:
        optimizer.zero_grad()
        total = PRIOR / n_words * (learned**2).sum()
        total.backward()
        for logits, tags, there in batches:
            scale = log_scale.exp()
            steps = torch.where(allowed, learned * scale, IMPOSSIBLE)
            loss = sequence_loss(logits * scale, tags, there, steps) / n_words
            loss.backward()
            total = total + loss.detach()
        return total

    optimizer.step(lost)
    found = torch.where(allowed, learned, 0.0).detach().numpy()
    return [[round(float(value), 4) for value in row] for row in found]


def sequence_loss(logits: Tensor, tags: Tensor, there: Tensor, transitions: Tensor) -> Tensor:
    """Minus the log-likelihood of sequences of tags, summed.

    *Shapes:* (batch, length, n_labels) logits, (batch, length) tags and whether there is a word,
    first words first, (n_labels + 1, n_labels) transitions, the last row for the first words.
    """
    before = torch.cat([tags.new_full((len(tags), 1), len(transitions) - 1), tags[:, :-1]], dim=1)
    steps = logits.gather(2, tags[..., None])[..., 0] + transitions[before, tags]
    right = (steps * there).sum()
    sums = transitions[-1] + logits[:, 0]
    for i in range(1, logits.shape[1]):
        following = torch.logsumexp(sums[:, :, None] + transitions[:-1], dim=1) + logits[:, i]
        sums = torch.where(there[:, i, None], following, sums)
    return torch.logsumexp(sums, dim=1)[there[:, 0]].sum() - right


class _WordLogits(TokenHead):
    """Gives the logits of a text's words, and its tokens."""

    def decode(self, logits: Any, reading: Any) -> Any:
        if not len(reading.encoded):
            return None
        return self.of_words([logits], [reading])[-1], reading.encoded


def _read(
    kit: Pipeline, task: str, head: TokenHead, examples: Sequence[TokenExample]
) -> list[tuple[Floats, Ints]]:
    """The logits of each text's words and their tags."""
    probe = _WordLogits(**head.config())
    read = kit.with_head(task, probe).apply([example.text for example in examples], task)
    return [
        (one[0], np.array(word_tags(example, one[1], head.labels), dtype=np.int64))
        for example, one in zip(examples, read, strict=True)
        if one is not None
    ]


def _cut(logits: Floats, tags: Ints, head: TokenHead) -> Iterator[tuple[Floats, Ints]]:
    """A text's pieces, none of which begins within an entity."""
    inside = np.array([label[:2] == "I-" for label in head.labels])[tags]
    first = 0
    while first < len(tags):
        last = min(first + PIECE, len(tags))
        while last < len(tags) and inside[last]:
            last += 1
        yield logits[first:last], tags[first:last]
        first = last


def _padded(pieces: Sequence[tuple[Floats, Ints]]) -> tuple[Tensor, Tensor, Tensor]:
    shape = (len(pieces), max(len(tags) for _, tags in pieces))
    logits = torch.zeros(*shape, pieces[0][0].shape[1], dtype=torch.float64)
    tags = torch.zeros(shape, dtype=torch.int64)
    there = torch.zeros(shape, dtype=torch.bool)
    for i, (of_words, right) in enumerate(pieces):
        logits[i, : len(right)] = torch.from_numpy(of_words)
        tags[i, : len(right)] = torch.from_numpy(right)
        there[i, : len(right)] = True
    return logits, tags, there
