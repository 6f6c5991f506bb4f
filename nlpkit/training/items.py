"""From examples to rows of token ids with training targets."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import DataError
from nlpkit.heads import Head
from nlpkit.heads.token import IGNORE
from nlpkit.readers import (
    Example,
    PairExample,
    PlainText,
    QAExample,
    TaughtExample,
    TextExample,
    TokenExample,
)
from nlpkit.text import Encoded, Row, TextEncoder, Window, windows
from nlpkit.training.recipe import Task

#: Tokens that neighbouring windows of a long context share in training.
OVERLAP = 96
#: Characters of a text that name it in a message.
EXCERPT = 50


@dataclass(frozen=True, slots=True)
class Item:
    """A row and its target: tags a position, a class, probabilities of either, 0/1 a label, or
    start and end positions. Of a pair of texts ``other`` is the second one's row.

    ``excerpt`` is how its text begins, for messages.
    """

    row: Row
    target: Any
    excerpt: str = ""
    other: Row | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        return (self.row,) if self.other is None else (self.row, self.other)

    @property
    def length(self) -> int:
        """Tokens of the longer row."""
        return max(len(row) for row in self.rows)


def make_items(
    head: Head, examples: Sequence[Example], encoder: TextEncoder, max_length: int
) -> list[Item]:
    """Rows of at most ``max_length`` tokens with targets for ``head``."""
    items: list[Item] = []
    texts = [e.context if isinstance(e, QAExample) else e.text for e in examples]
    second = encoder.encode([e.other if isinstance(e, PairExample) else "" for e in examples])
    different = list(dict.fromkeys(texts))  # a paragraph has many questions
    known = dict(zip(different, encoder.encode(different), strict=True))
    questions = encoder.encode([e.question if isinstance(e, QAExample) else "" for e in examples])
    room = max_length - len(encoder.prefix) - len(encoder.suffix)
    for text, example, question, other in zip(texts, examples, questions, second, strict=True):
        encoded = known[text]
        if not len(encoded):
            continue
        if isinstance(example, QAExample):
            items += _qa_items(example, question, encoded, encoder, max_length)
            continue
        if isinstance(example, TextExample | TaughtExample) and not head.per_token:
            row = encoder.row(encoded, _beginning(encoded, room))
            items.append(Item(row, class_target(example, head), text[:EXCERPT]))
            continue
        if isinstance(example, PairExample):
            if len(other):
                row, second_row = (encoder.row(e, _beginning(e, room)) for e in (encoded, other))
                items.append(Item(row, 0, text[:EXCERPT], second_row))
            continue
        for window in windows(len(encoded), room, min(OVERLAP, room // 4)):
            row = encoder.row(encoded, window)
            if isinstance(example, TokenExample | TaughtExample):
                targets = _word_targets(example, encoded, head.labels)
                placed = _placed(targets, encoded, window, row)
                items.append(Item(row, placed, text[:EXCERPT]))
            else:
                assert isinstance(example, PlainText)
                items.append(Item(row, 0, text[:EXCERPT]))
    return items


def _beginning(encoded: Encoded, room: int) -> Window:
    """A text's first tokens, where no more of it is read."""
    n_tokens = min(len(encoded), room)
    return Window(0, n_tokens, 0, n_tokens)


def check_examples(task: Task, head: Head, examples: Sequence[Example]) -> None:
    """Refuse examples that the head cannot learn from.

    Raises:
        DataError: an unknown class or entity, not exactly one class, a class without examples,
            or a span outside its text; the message names the files and the example.
    """
    files = ", ".join(source.file for source in task.sources) or f"task {task.name!r}"
    for number, example in enumerate(examples, 1):
        text = example.question if isinstance(example, QAExample) else example.text
        for problem, expected in _problems(example, head):
            raise DataError.at(files, f"example {number} ({text[:EXCERPT]!r})", problem, expected)
    if head.kind == "sequence-classification":
        found = {label for e in examples if isinstance(e, TextExample) for label in e.labels}
        taught = any(isinstance(e, TaughtExample) for e in examples)
        if not taught and (missing := [label for label in head.labels if label not in found]):
            raise DataError.at(
                files, "whole file", f"no example of {missing}", "at least one of each class"
            )


def _problems(example: Example, head: Head) -> Iterator[tuple[str, str]]:
    """What is wrong with an example, and what was expected."""
    if isinstance(example, TextExample):
        if unknown := sorted(set(example.labels) - set(head.labels)):
            yield f"the labels {unknown}", f"some of {list(head.labels)}"
        if len(example.labels) != 1 and not getattr(head, "multi_label", False):
            yield f"{len(example.labels)} labels", "exactly one"
    elif isinstance(example, TokenExample):
        before = 0
        for start, end, label in sorted(example.spans):
            if not before <= start < end <= len(example.text):
                inside = f"spans within 0:{len(example.text)}, one after the other"
                yield f"the span {start}:{end} after {before}", inside
            if f"B-{label}" not in head.labels:
                yield f"the entity {label!r}", f"one of {list(head.labels)}"
            before = end
    elif isinstance(example, QAExample):
        for start, answer in example.answers:
            there = example.context[max(start, 0) : start + len(answer)]
            if start < 0 or not answer or there != answer:
                yield f"characters {start}:{start + len(answer)} are {there!r}", repr(answer)


def class_target(example: TextExample | TaughtExample, head: Head) -> Any:
    """The number of the class or each one's probability, or a 0/1 vector for a multi-label head."""
    if isinstance(example, TaughtExample):
        return _as_taught(example, (len(head.labels),), "labels")
    if getattr(head, "multi_label", False):
        return np.array([label in example.labels for label in head.labels], dtype=np.float32)
    return head.labels.index(example.labels[0])


def _word_targets(
    example: TokenExample | TaughtExample, encoded: Encoded, labels: tuple[str, ...]
) -> NDArray[Any]:
    """A label's number for each word, or each label's probability."""
    if isinstance(example, TokenExample):
        return np.asarray(word_tags(example, encoded, labels), dtype=np.int64)
    return _as_taught(example, (int(encoded.words[-1]) + 1, len(labels)), "words and labels")


def _as_taught(example: TaughtExample, shape: tuple[int, ...], what: str) -> NDArray[Any]:
    """The probabilities, if they have the shape that is expected."""
    if example.probabilities.shape != shape:
        raise DataError.at(
            "a teacher's probabilities",
            repr(example.text[:EXCERPT]),
            f"the shape {example.probabilities.shape}",
            f"{shape}, {what}",
        )
    return example.probabilities.astype(np.float32)


def _placed(targets: NDArray[Any], encoded: Encoded, window: Window, row: Row) -> NDArray[Any]:
    """The targets at the first tokens of their words; IGNORE elsewhere, or no probability."""
    nothing = IGNORE if targets.ndim == 1 else 0
    placed = np.full((len(row), *targets.shape[1:]), nothing, dtype=targets.dtype)
    for token in range(window.owned_first, window.owned_last):
        if encoded.word_starts[token]:
            placed[row.offset + token - window.first] = targets[encoded.words[token]]
    return placed


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
        items.append(Item(row, target, example.question[:EXCERPT]))
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
        n_rows = 0
        for item in sorted(order[first : first + 1024], key=lambda it: it.length):
            n_rows += len(item.rows)
            if group and n_rows * item.length > token_budget:
                made.append(group)
                group, n_rows = [], len(item.rows)
            group.append(item)
        made.append(group)
    rng.shuffle(made)
    return made
