"""Which words carried a class: weights that can be recomputed, offsets that hold, bounded work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import texts

import nlpkit
from nlpkit.attribution import PASSES, WINDOWS, word_weights
from nlpkit.engines import PluggedHead
from nlpkit.errors import InputTypeError, UnknownNameError
from nlpkit.heads import SequenceHead
from nlpkit.heads.base import Floats
from nlpkit.pipeline import Pipeline
from nlpkit.text import Batch, Encoded, Ints, Window, pad, windows
from nlpkit.types import Label, Results, WordWeight

WORDS = "the great old city engine was poor and a good battery lived in london".split()  # noqa: SIM905


def odds(labels: Sequence[Label], name: str, multi_label: bool = False) -> float:
    """A class's log-odds by the scores that classify gives."""
    scores = {label.name: label.score for label in labels}
    others = 1 - scores[name] if multi_label else sum(scores.values()) - scores[name]
    return math.log(scores[name]) - math.log(others)


@pytest.mark.parametrize(("task", "multi_label"), [("sentiment", False), ("topic", True)])
def test_a_weight_is_what_the_class_loses_without_the_word(
    kit: Pipeline, task: str, multi_label: bool
) -> None:
    text = " ".join(WORDS[:8])
    labels = kit.classify(text, task)
    for name in (label.name for label in labels):
        whole = odds(labels, name, multi_label)
        for word, found in zip(WORDS, kit.explain(text, task, name), strict=False):
            without = text[: found.start] + text[found.end :]
            assert found.text == word
            left = odds(kit.classify(without, task), name, multi_label)
            assert found.weight == pytest.approx(whole - left, abs=1e-4)


def test_without_a_label_it_is_the_best_one(kit: Pipeline) -> None:
    text = "the great old city"
    best = kit.classify(text, "topic")[0].name
    assert kit.explain(text, "topic") == kit.explain(text, "topic", best)
    assert kit.explain(text) == kit.explain(text, "sentiment")


@given(text=texts())
def test_words_quote_the_text_in_order(kit: Pipeline, text: str) -> None:
    found = kit.explain(text)
    for word in found:
        assert text[word.start : word.end] == word.text != ""
        assert math.isfinite(word.weight)
    assert all(one.end <= other.start for one, other in pairwise(found))


@given(words=st.lists(st.sampled_from(["Ada", "don't", "LONDON", "1843", "!!!", "\u4e2d"])))
def test_every_word_of_one_window_is_weighed(kit: Pipeline, words: list[str]) -> None:
    found = kit.explain(" ".join(words[:6]))
    assert [word.text for word in found] == words[:6]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't.", ["I", "don't", "."]),
        ("a well-known, well\u2011lit city", ["a", "well-known", ",", "well\u2011lit", "city"]),
        ("(great!!!) ...", ["(", "great", "!!!)", "..."]),
        ("'quoted' -", ["'", "quoted", "'", "-"]),
        ("rock'n'roll", ["rock'n'roll"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_words_are_as_people_see_them(kit: Pipeline, text: str, words: list[str]) -> None:
    assert [word.text for word in kit.explain(text)] == words


def test_tokens_of_white_space_are_no_words() -> None:
    """Byte-level tokenizers make them; here "a", a line feed and "b"."""
    ids, starts, ends = np.arange(3), np.array([0, 2, 2]), np.array([1, 2, 3])
    encoded = Encoded(ids, starts, ends, ids, np.zeros(3, dtype=np.int64), 0.0)

    def read(parts: Sequence[tuple[Encoded, Window]]) -> tuple[Floats, Ints]:
        """The class is as likely as there are tokens."""
        logits = np.array([[len(part), 0] for part, _ in parts], dtype=np.float32)
        return logits, np.ones(len(parts), dtype=np.int64)

    head = SequenceHead(["yes", "no"])
    found = word_weights("a\nb", encoded, [Window(0, 3, 0, 3)], head, None, read)
    assert found == [WordWeight("a", 0, 1, 1.0), WordWeight("b", 2, 3, 1.0)]


class CountingEngine:
    """An engine that counts the rows it is asked to read."""

    def __init__(self, kit: Pipeline) -> None:
        self._engine = kit.engine
        self.name, self.device = kit.engine.name, kit.engine.device
        self.precision, self.width = kit.engine.precision, kit.engine.width
        self.packed = kit.engine.packed
        self.rows = 0

    def run(self, batch: Batch, heads: Mapping[str, PluggedHead]) -> dict[str, Floats]:
        self.rows += len(batch.ids)
        return self._engine.run(batch, heads)


@pytest.mark.parametrize("n_words", [20, 100, 20_000])
def test_the_work_is_bounded(own_kit: Pipeline, n_words: int) -> None:
    engine = CountingEngine(own_kit)
    own_kit.engine = engine
    rng = np.random.default_rng(0)
    text = " ".join(rng.choice(WORDS, n_words)) + "."
    found = own_kit.explain(text)
    assert engine.rows <= found.n_windows + PASSES
    assert 0 < len(found) <= PASSES
    assert all(text[word.start : word.end] == word.text for word in found)


def test_weights_of_several_windows_are_of_the_whole_text(kit: Pipeline) -> None:
    """Without a word the window that owns it is read again, and all others say what they said."""
    rng = np.random.default_rng(1)
    text = " ".join(rng.choice(WORDS, 82))
    [encoded] = kit.encoder.encode([text])
    plan = windows(len(encoded), kit.sizes.size - 2, kit.sizes.overlap)
    labels = kit.classify(text)
    found = kit.explain(text)
    assert 2 < found.n_windows == len(plan) <= WINDOWS
    assert " ".join(word.text for word in found) == text
    plugged = kit.head("sentiment")
    head = plugged.head
    assert isinstance(head, SequenceHead)
    for word in found:
        first, last = np.flatnonzero((encoded.starts < word.end) & (encoded.ends > word.start))[
            [0, -1]
        ]
        n = last + 1 - first
        [rest] = kit.encoder.encode([text[: word.start] + text[word.end :]])
        rows = []
        for w in plan:
            if w.owned_first <= first < w.owned_last:
                end = max(first, w.owned_last - n)
                rows.append(kit.encoder.row(rest, Window(w.first, w.last - n, w.owned_first, end)))
            else:
                rows.append(kit.encoder.row(encoded, w))
        said = [
            kit.engine.run(pad([row], kit.encoder.pad_id), {"": plugged})[""][0] for row in rows
        ]
        mean = np.average(said, axis=0, weights=[row.owned.sum() for row in rows])
        scores = np.exp(mean / head.temperature)
        without = dict(zip(head.labels, scores / scores.sum(), strict=True))
        fallen = odds(labels, labels[0].name) - np.log(
            without[labels[0].name] / (1 - without[labels[0].name])
        )
        assert word.weight == pytest.approx(fallen, abs=1e-4)


def test_shapes_follow_the_input(kit: Pipeline) -> None:
    text = "the great old city"
    alone = kit.explain(text)
    assert isinstance(alone, Results)
    assert kit.explain([text, ""]) == [alone, []]
    stream = kit.explain(iter([text]))
    assert next(stream) == alone


def test_a_text_that_the_vocabulary_lacks_is_told(kit: Pipeline) -> None:
    assert kit.explain("the city").warnings == ()
    assert "unknown" in kit.explain("\u4e2d\u6587\u3001\u65e5\u672c").warnings[0]


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (("text", "nope"), UnknownNameError, "sentiment"),
        (("text", "ner"), UnknownNameError, "token"),
        (("text", "sentiment", "great"), UnknownNameError, "known: negative, neutral, positive"),
        (("", "sentiment", "great"), UnknownNameError, "known: negative, neutral, positive"),
        ((7,), InputTypeError, "a string"),
    ],
)
def test_wrong_arguments_are_told(
    kit: Pipeline, arguments: tuple[Any, ...], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        kit.explain(*arguments)


def test_terrible_carries_negative() -> None:
    text = "The view was wonderful, but the food was terrible and we had to wait."
    best = max(nlpkit.explain(text, label="negative"), key=lambda word: word.weight)
    assert best == WordWeight("terrible", 41, 49, best.weight)
    assert best.weight > 1
    best = max(nlpkit.explain(text, label="positive"), key=lambda word: word.weight)
    assert best.text == "wonderful"


def test_a_terrible_sentence_is_found_in_a_long_text() -> None:
    plain = "The train left at nine and arrived at noon in the town by the river. "
    text = plain * 40 + "It was a terrible, disgusting journey. " + plain * 40
    words = nlpkit.explain(text, label="negative")
    assert words.n_windows > 5
    assert max(words, key=lambda word: word.weight).text in ("terrible", "disgusting")
