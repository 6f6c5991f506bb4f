"""Varied examples: what the encoder makes of the text in that case, with every offset true."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from tiny import texts

from nlpkit.heads import SequenceHead
from nlpkit.readers import Example, PlainText, QAExample, TextExample, TokenExample
from nlpkit.text import SHAPES, TextEncoder
from nlpkit.training.augment import recased, varied, without_end
from nlpkit.training.items import make_items
from nlpkit.training.recipe import Recipe

PLAIN = Recipe("varied", "Tests", ())
LOWER = Recipe("varied", "Tests", (), lower=1.0)
UPPER = Recipe("varied", "Tests", (), upper=1.0)
BARE = Recipe("varied", "Tests", (), unpunctuated=1.0)

TEXT = "Ada met iPhone 4S users in ROME, 1843."


@pytest.mark.parametrize(
    ("recipe", "shapes"),
    [
        (PLAIN, "Capitalised lower miXed3 miXed3 lower lower UPPER ?! 123 ?!"),
        (LOWER, "lower lower lower miXed3 lower lower lower ?! 123 ?!"),
        (UPPER, "UPPER UPPER UPPER miXed3 UPPER UPPER UPPER ?! 123 ?!"),
    ],
)
def test_another_case_is_other_shapes(encoder: TextEncoder, recipe: Recipe, shapes: str) -> None:
    """On an uncased vocabulary the ids stay; the shapes are those of the text in that case."""
    example = varied(TextExample(TEXT, ("a",)), recipe, random.Random(0))
    (item,) = make_items(SequenceHead(["a", "b"]), [example], encoder, 64)
    (before,) = encoder.encode([TEXT])
    np.testing.assert_array_equal(item.row.ids[1:-1], before.ids)
    by_word = item.row.shapes[1:-1][before.word_starts]
    assert [SHAPES[shape] for shape in by_word] == shapes.split()


@settings(max_examples=50)
@given(text=texts())
@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_another_case_is_as_long(change: Callable[[str], str], text: str) -> None:
    made = recased(text, change)
    assert len(made) == len(text)
    for before, after in zip(text, made, strict=True):
        assert after in (before, change(before)) or change is str.lower  # a sigma knows its place
    assert recased("Stra\u00dfe \u01c5", str.upper) == "STRA\u00dfE \u01c4"


@pytest.mark.parametrize("recipe", [PLAIN, LOWER, UPPER, BARE])
def test_offsets_stay_true(recipe: Recipe) -> None:
    examples: list[Example] = [
        TokenExample("Ada saw Rome.", ((0, 3, "PER"), (8, 12, "LOC"))),
        TokenExample("She works for Yahoo!?", ((14, 21, "ORG"),)),
        QAExample("Who saw it?", "There Ada stood.", ((6, "Ada"), (6, "Ada stood"))),
        TextExample("Good.", ("positive",)),
        PlainText("A city."),
    ]
    for example in examples:
        made = varied(example, recipe, random.Random(1))
        assert type(made) is type(example)
        if isinstance(made, TokenExample):
            assert isinstance(example, TokenExample)
            for start, end, _ in made.spans:
                assert made.text[start:end].lower() == example.text[start:end].lower()
                assert start < end <= len(made.text)
        if isinstance(made, QAExample):
            for start, text in made.answers:
                assert made.context[start : start + len(text)] == text
    changed = [varied(example, BARE, random.Random(1)) for example in examples]
    assert changed == [
        TokenExample("Ada saw Rome", ((0, 3, "PER"), (8, 12, "LOC"))),
        examples[1],
        QAExample("Who saw it", "There Ada stood.", ((6, "Ada"), (6, "Ada stood"))),
        TextExample("Good", ("positive",)),
        examples[4],
    ]


def test_something_is_left() -> None:
    assert [without_end(text) for text in ("Why?", "...", "", "Go on. . .")] == [
        "Why",
        "...",
        "",
        "Go on",
    ]


def test_as_often_as_asked() -> None:
    recipe = Recipe("varied", "Tests", (), lower=0.1, upper=0.3)
    rng = random.Random(0)
    made = [varied(PlainText("Ada"), recipe, rng) for _ in range(2000)]
    shares = [made.count(PlainText(text)) / 2000 for text in ("ada", "ADA", "Ada")]
    assert shares == pytest.approx([0.1, 0.3, 0.6], abs=0.03)
