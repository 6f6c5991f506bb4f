"""From examples to rows of token ids with training targets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlpkit.errors import DataError
from nlpkit.heads import Head
from nlpkit.heads.token import IGNORE
from nlpkit.readers import Example, PlainText, QAExample, TextExample, TokenExample
from nlpkit.text import Encoded, Ints, Row, TextEncoder, Window, windows

#: Tokens that neighbouring windows of a long context share in training.
OVERLAP = 96


@dataclass(frozen=True, slots=True)
class Item:
    """A row and its target: tags a position, a class or 0/1 a label, or start and end positions."""

    row: Row
    target: Any


def make_items(
    head: Head, examples: Sequence[Example], encoder: TextEncoder, max_length: int
) -> list[Item]:
    """Rows of at most ``max_length`` tokens with targets for ``head``."""
    items: list[Item] = []
    texts = [e.context if isinstance(e, QAExample) else e.text for e in examples]
    questions = encoder.encode([e.question if isinstance(e, QAExample) else "" for e in examples])
    room = max_length - len(encoder.prefix) - len(encoder.suffix)
    for i, (example, encoded) in enumerate(zip(examples, encoder.encode(texts), strict=True)):
        if not len(encoded):
            continue
        if isinstance(example, QAExample):
            items += _qa_items(example, questions[i], encoded, encoder, max_length)
            continue
        for window in windows(len(encoded), room, min(OVERLAP, room // 4)):
            row = encoder.row(encoded, window)
            if isinstance(example, TokenExample):
                items.append(Item(row, _tags(example, encoded, window, row, head.labels)))
            elif isinstance(example, TextExample):
                items.append(Item(row, class_target(example, head)))
                break
            else:
                assert isinstance(example, PlainText)
                items.append(Item(row, 0))
    return items


def class_target(example: TextExample, head: Head) -> Any:
    """The number of the class, or a 0/1 vector for a multi-label head."""
    unknown = set(example.labels) - set(head.labels)
    if unknown:
        raise DataError.at(
            "labels",
            f"text {example.text[:40]!r}",
            f"{sorted(unknown)}",
            f"one of {list(head.labels)}",
        )
    if getattr(head, "multi_label", False):
        return np.array([label in example.labels for label in head.labels], dtype=np.float32)
    if len(example.labels) != 1:
        raise DataError.at(
            "labels", f"text {example.text[:40]!r}", f"{len(example.labels)} labels", "exactly one"
        )
    return head.labels.index(example.labels[0])


def _tags(
    example: TokenExample, encoded: Encoded, window: Window, row: Row, labels: tuple[str, ...]
) -> Ints:
    target = np.full(len(row), IGNORE, dtype=np.int64)
    tags = word_tags(example, encoded, labels)
    firsts = encoded.word_starts
    for token in range(window.owned_first, window.owned_last):
        if firsts[token]:
            target[row.offset + token - window.first] = tags[encoded.words[token]]
    return target


def word_tags(example: TokenExample, encoded: Encoded, labels: tuple[str, ...]) -> list[int]:
    """The IOB2 label number of each word: those that a span touches are inside it."""
    n_words = int(encoded.words[-1]) + 1 if len(encoded) else 0
    tags = [labels.index("O")] * n_words
    for start, end, label in example.spans:
        inside = np.unique(encoded.words[(encoded.ends > start) & (encoded.starts < end)])
        for i, word in enumerate(inside):
            tags[word] = labels.index(f"{'I' if i else 'B'}-{label}")
    return tags


def _qa_items(
    example: QAExample, question: Encoded, context: Encoded, encoder: TextEncoder, max_length: int
) -> list[Item]:
    specials = len(encoder.prefix) + len(encoder.middle) + len(encoder.suffix)
    room = max(max_length - specials - len(question), 32)
    first, last = _answer_tokens(example, context)
    items = []
    for window in windows(len(context), room, min(OVERLAP, room // 3)):
        row = encoder.pair_row(question, context, window)
        target = np.zeros(2, dtype=np.int64)
        if first is not None and last is not None and window.first <= first and last < window.last:
            target[:] = row.offset + first - window.first, row.offset + last - window.first
        items.append(Item(row, target))
    return items


def _answer_tokens(example: QAExample, context: Encoded) -> tuple[int | None, int | None]:
    if not example.answers:
        return None, None
    start, text = example.answers[0]
    inside = np.flatnonzero((context.ends > start) & (context.starts < start + len(text)))
    return (int(inside[0]), int(inside[-1])) if len(inside) else (None, None)


def length_batches(
    items: Sequence[Item], token_budget: int, rng: random.Random
) -> list[list[Item]]:
    """Shuffled batches of items of like length, each within the token budget."""
    order = list(items)
    rng.shuffle(order)
    made: list[list[Item]] = []
    for first in range(0, len(order), 1024):
        group: list[Item] = []
        for item in sorted(order[first : first + 1024], key=lambda it: len(it.row)):
            if group and (len(group) + 1) * len(item.row) > token_budget:
                made.append(group)
                group = []
            group.append(item)
        made.append(group)
    rng.shuffle(made)
    return made
