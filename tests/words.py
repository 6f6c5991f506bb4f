"""A pipeline of a few words, small enough to know by heart what it says."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpkit.engines import PluggedHead
from nlpkit.errors import UnknownNameError
from nlpkit.heads import PoolingHead, SequenceHead, SpanHead, TokenHead
from nlpkit.types import Answer, Entity, Label

if TYPE_CHECKING:
    from nlpkit.types import Vector

WORDS = re.compile(r"\w+")
NAMES = {"Ada Lovelace": "PER", "London": "LOC", "Acme": "ORG"}
MOODS = {"good": "positive", "bad": "negative", "plain": "neutral"}
THEMES = {"war": "World", "goal": "Sports", "bank": "Business", "robot": "Sci/Tech"}
LABELS = {
    "sentiment": ("negative", "neutral", "positive"),
    "topic": tuple(THEMES.values()),
    "tags": ("good", "bad"),
}


class WordKit:
    """A pipeline that knows a few words.

    Names are entities. The class of a text is that of the first word it knows. The answer to a
    question is the word that follows the question's last word in the context. Texts with the
    same words have the same embedding.
    """

    def __init__(self) -> None:
        self.heads: dict[str, Any] = {
            "ner": TokenHead(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]),
            "sentiment": SequenceHead(LABELS["sentiment"]),
            "topic": SequenceHead(LABELS["topic"]),
            "tags": SequenceHead(LABELS["tags"], multi_label=True),
            "qa": SpanHead(),
            "embedding": PoolingHead(),
        }

    def head(self, task: str, /) -> PluggedHead:
        if task not in self.heads:
            raise UnknownNameError.of("task", task, self.heads)
        return PluggedHead(self.heads[task], {})

    def ner(self, texts: list[str], /, task: str = "ner") -> list[list[Entity]]:
        known = re.compile("|".join(NAMES))
        return [
            [Entity(m[0], NAMES[m[0]], m.start(), m.end(), 1.0) for m in known.finditer(text)]
            for text in texts
        ]

    def classify(
        self, texts: list[str], /, task: str | None = None, *, labels: Sequence[str] | None = None
    ) -> list[list[Label]]:
        if task == "tags":
            return [[Label(n, float(n in text)) for n in LABELS["tags"]] for text in texts]
        names = LABELS[task or "sentiment"] if labels is None else labels
        known = MOODS if task == "sentiment" else THEMES
        return [self._ranked(text, names, known) for text in texts]

    def answer(
        self, pairs: list[tuple[str, str]], /, *, no_answer: bool = True, task: str = "qa"
    ) -> list[Answer]:
        return [self._answer(question, context, no_answer) for question, context in pairs]

    def embed(self, texts: list[str], /) -> Vector:
        vectors: Vector = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in WORDS.findall(text.lower()):
                row[zlib.crc32(word.encode()) % 256] += 1
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors

    def _ranked(self, text: str, names: Sequence[str], known: dict[str, str]) -> list[Label]:
        if not text.strip():
            return []
        found = next((known[w] for w in WORDS.findall(text.lower()) if w in known), names[0])
        rest = 0.4 / (len(names) - 1)
        labels = [Label(name, 0.6 if name == found else rest) for name in names]
        return sorted(labels, key=lambda label: -label.score)

    def _answer(self, question: str, context: str, no_answer: bool) -> Answer:
        clue = WORDS.findall(question)[-1]
        found = re.search(rf"\b{clue}\W+(\w+)", context)
        nothing = 0.1 if found else 0.9
        if not found and no_answer:
            return Answer(None, None, None, nothing)
        start, end = found.span(1) if found else (0, len(context.split()[0]))
        return Answer(context[start:end], start, end, 0.5 * (1 - nothing if no_answer else 1))
