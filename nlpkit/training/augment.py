"""Examples varied: the same text as people also write it.

Every change keeps the number of characters before any target, so that offsets stay true. On an
uncased backbone with word shapes another case changes the shapes and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from nlpkit.readers import Example, PairExample, QAExample, TextExample, TokenExample
from nlpkit.training.recipe import Recipe

#: What may be left out at the end of a text.
END_MARKS = ".? "


def varied(example: Example, recipe: Recipe, rng: random.Random) -> Example:
    """The example in another case, or without its last mark, as often as the recipe says.

    A question and its context change apart: people ask in lower case of a well-written text.
    """

    def recase(text: str) -> str:
        return random_case(text, recipe.lower, recipe.upper, rng)

    if isinstance(example, QAExample):
        question = recase(example.question)
        if rng.random() < recipe.unpunctuated:
            question = without_end(question)
        context = recase(example.context)
        answers = tuple((start, context[start : start + len(a)]) for start, a in example.answers)
        return replace(example, question=question, context=context, answers=answers)
    text = recase(example.text)
    if isinstance(example, PairExample):
        return PairExample(text, recase(example.other))
    if isinstance(example, TextExample | TokenExample) and rng.random() < recipe.unpunctuated:
        spans = example.spans if isinstance(example, TokenExample) else ()
        text = without_end(text, max((end for _, end, _ in spans), default=0))
    return replace(example, text=text)


def random_case(text: str, lower: float, upper: float, rng: random.Random) -> str:
    """The text in lower case with the one chance, in upper case with the other, else as it is."""
    draw = rng.random()
    if draw < lower:
        return recased(text, str.lower)
    return recased(text, str.upper) if draw < lower + upper else text


def recased(text: str, change: Callable[[str], str]) -> str:
    """The text under ``str.lower`` or ``str.upper``, of the same length.

    A character whose other case takes several characters (as that of the German sharp s) stays.
    """
    changed = change(text)
    if len(changed) == len(text):  # no character's other case is shorter than one
        return changed
    return "".join(change(c) if len(change(c)) == 1 else c for c in text)


def without_end(text: str, keep: int = 0) -> str:
    """The text without its last full stop or question mark, if something is left of it.

    The first ``keep`` characters stay.
    """
    shorter = text.rstrip(END_MARKS)
    return shorter if len(shorter) >= max(keep, 1) else text
