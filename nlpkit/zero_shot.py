"""Labels that were never trained: where their names lie among the embeddings.

A name alone says little: "World" is as near to a text on physics as to one on an election. So a
label is first put into several phrases (Radford et al. 2021, CLIP), and then drawn towards the
words of the vocabulary that lie near it, as verbalizers are widened by related words (Hu et al.
2022, Knowledgeable Prompt-tuning). A bundle brings these words' vectors along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.heads.base import Floats

#: How labels and words are put into words; of five by benchmarks/zero_shot.py.
TEMPLATES = ("{}.", "topic: {}", "This text is about {}.")
#: Cosines are multiplied by this before the softmax.
SCALE = 20.0
#: A word draws a label from this cosine on, by WEIGHT times what it has beyond; chosen by
#: benchmarks/zero_shot.py.
NEAR, WEIGHT = 0.6, 0.5
#: How many words a bundle brings, and how long they are at least: the commonest come first in
#: BERT's vocabulary, and short ones are mostly abbreviations.
WORDS, SHORTEST = 12_000, 4
#: The int8 of the largest component.
LARGEST = 127

Embed = Callable[[Sequence[str]], Floats]


def phrased(embed: Embed, names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> Floats:
    """The mean embedding of each name's phrases, of unit length. *Shape:* (names, width)."""
    found = embed([template.replace("{}", name) for template in templates for name in names])
    return _unit(found.reshape(len(templates), len(names), -1).mean(axis=0))


def widened(labels: Floats, words: Floats, near: float = NEAR, weight: float = WEIGHT) -> Floats:
    """Labels drawn towards the words near them, of unit length. *Shape:* (labels, width)."""
    return _unit(labels + weight * np.maximum(labels @ words.T - near, 0) @ words)


def words_of(vocabulary: Mapping[str, int]) -> list[str]:
    """The commonest whole words of a vocabulary of word pieces."""
    known = sorted(vocabulary, key=lambda word: vocabulary[word])
    whole = (w for w in known if w.isascii() and w.isalpha() and len(w) >= SHORTEST)
    return [*whole][:WORDS]


def pack_words(vectors: Floats) -> dict[str, NDArray[Any]]:
    """Vectors of words as a bundle keeps them: a byte for a component."""
    scale = np.float32(np.abs(vectors).max(initial=1e-12) / LARGEST)
    return {"vectors": np.rint(vectors / scale).astype(np.int8), "scale": np.array([scale])}


def unpack_words(packed: Mapping[str, NDArray[Any]]) -> Floats:
    """What pack_words was given, of unit length. *Shape:* (words, width)."""
    return _unit(packed["vectors"] * packed["scale"])


def _unit(vectors: NDArray[np.float32]) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
