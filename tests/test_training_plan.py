"""The order of a training: nothing twice before all once, shares as asked, resumable anywhere."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nlpkit.errors import DataError, InputError
from nlpkit.heads import make_head
from nlpkit.readers import Example, PlainText, QAExample, TextExample, TokenExample
from nlpkit.text import TextEncoder
from nlpkit.training.plan import Plan, Step, epochs_of
from nlpkit.training.recipe import Recipe, Task


def task(name: str, n: int, epochs: float = 1, n_words: int = 3) -> Task:
    """Texts that are told apart by their number; two a batch."""

    def examples(rng: random.Random) -> Sequence[Example]:
        return [PlainText(f"{name}{i:02}" + " the" * n_words) for i in range(n)]

    return Task(name, "pooling", {}, examples, (), epochs=epochs, batch_tokens=2 * (n_words + 6))


def recipe_of(*tasks: Task, **options: Any) -> Recipe:
    return Recipe("plan", "Tests", tasks, **options)


def plan_of(recipe: Recipe, encoder: TextEncoder) -> Plan:
    return Plan(recipe, {t.name: make_head(t.kind, t.config) for t in recipe.tasks}, encoder)


def all_steps(plan: Plan) -> list[Step]:
    steps = []
    while not plan.finished:
        steps.append(plan.next())
    return steps


def seen(steps: Sequence[Step], name: str) -> list[str]:
    return [item.excerpt for step in steps if step.task == name for item in step.items]


def test_worked_shares() -> None:
    sizes = {"a": 100, "b": 1600}
    recipe = recipe_of(task("a", 1, epochs=4), task("b", 1, epochs=1))
    assert epochs_of(recipe, sizes) == {"a": 4.0, "b": 1.0}
    # The same proportions, scaled to 1,000 tokens: 400 to 1,600.
    scaled = epochs_of(replace(recipe, tokens=1000), sizes)
    assert scaled == pytest.approx({"a": 2.0, "b": 0.5})
    # By the root of the size: 4 * 10 to 1 * 40.
    warm = epochs_of(replace(recipe, tokens=1000, alpha=0.5), sizes)
    assert warm == pytest.approx({"a": 5.0, "b": 0.3125})
    nothing = recipe_of(task("a", 1, epochs=0), task("b", 1, epochs=0))
    assert epochs_of(nothing, sizes) == {"a": 0.0, "b": 0.0}
    with pytest.raises(InputError, match="tokens 1,000 to divide among them"):
        epochs_of(replace(nothing, tokens=1000), sizes)
    with pytest.raises(InputError, match="expected 0 or more of each task"):
        epochs_of(recipe_of(task("a", 1, epochs=-1)), {"a": 100})


@pytest.mark.parametrize("epochs", [0.5, 1, 2.5])
def test_every_example_comes_once_before_any_comes_again(
    encoder: TextEncoder, epochs: float
) -> None:
    steps = all_steps(plan_of(recipe_of(task("a", 12, epochs)), encoder))
    texts = seen(steps, "a")
    assert len(texts) == 12 * epochs
    for first in range(0, len(texts), 12):
        part = texts[first : first + 12]
        assert len(set(part)) == len(part)
    assert texts[:12] != texts[12:24]


def test_tasks_are_spread_evenly(encoder: TextEncoder) -> None:
    recipe = recipe_of(task("a", 40), task("b", 8), task("c", 4, epochs=2))
    steps = all_steps(plan_of(recipe, encoder))
    assert Counter(step.task for step in steps) == {"a": 20, "b": 4, "c": 4}
    for quarter in range(4):
        found = Counter(step.task for step in steps[7 * quarter : 7 * quarter + 7])
        assert found == {"a": 5, "b": 1, "c": 1}


def test_a_total_of_tokens_is_kept(encoder: TextEncoder) -> None:
    recipe = recipe_of(task("a", 40), task("b", 10), tokens=2000, alpha=0.5)
    plan = plan_of(recipe, encoder)
    steps = all_steps(plan)
    assert plan.tokens == 2000
    assert sum(step.n_tokens for step in steps) == pytest.approx(2000, rel=0.02)
    assert len(seen(steps, "a")) == pytest.approx(2 * len(seen(steps, "b")), rel=0.1)
    assert plan.done == pytest.approx(1, abs=0.01)


def test_it_goes_on_from_any_step(encoder: TextEncoder) -> None:
    recipe = recipe_of(task("a", 7, 2.3), task("b", 5, 3), lower=0.3, upper=0.3)
    unbroken = all_steps(plan_of(recipe, encoder))
    for broken in range(len(unbroken)):
        plan = plan_of(recipe, encoder)
        for _ in range(broken):
            plan.next()
        again = plan_of(recipe, encoder)
        again.go_to(plan.places)
        assert again.done == plan.done
        rest = all_steps(again)
        assert [s.task for s in rest] == [s.task for s in unbroken[broken:]]
        for ours, theirs in zip(rest, unbroken[broken:], strict=True):
            for one, other in zip(ours.items, theirs.items, strict=True):
                np.testing.assert_array_equal(one.row.types, other.row.types)
                assert one.excerpt == other.excerpt


def test_the_seed_decides(encoder: TextEncoder) -> None:
    recipe = recipe_of(task("a", 12))
    first = seen(all_steps(plan_of(recipe, encoder)), "a")
    assert seen(all_steps(plan_of(recipe, encoder)), "a") == first
    assert seen(all_steps(plan_of(replace(recipe, seed=1), encoder)), "a") != first


SPEECH = "Ada spoke."


@pytest.mark.parametrize(
    ("kind", "config", "example", "message"),
    [
        (
            "sequence-classification",
            {"labels": ["a", "b"]},
            TextExample("x", ("c",)),
            r"task 't', example 1 \('x'\): the labels \['c'\]; expected some of \['a', 'b'\]",
        ),
        ("sequence-classification", {"labels": ["a", "b"]}, TextExample("x", ()), "exactly one"),
        (
            "sequence-classification",
            {"labels": ["a", "b"]},
            TextExample("x", ("a",)),
            r"whole file: no example of \['b'\]; expected at least one of each class",
        ),
        (
            "token-classification",
            {"labels": ["O", "B-PER", "I-PER"]},
            TokenExample(SPEECH, ((4, 11, "PER"),)),
            "the span 4:11 after 0; expected spans within 0:10",
        ),
        (
            "token-classification",
            {"labels": ["O", "B-PER", "I-PER"]},
            TokenExample(SPEECH, ((0, 3, "PER"), (2, 5, "PER"))),
            "the span 2:5 after 3",
        ),
        (
            "token-classification",
            {"labels": ["O", "B-PER", "I-PER"]},
            TokenExample(SPEECH, ((0, 3, "LOC"),)),
            "the entity 'LOC'",
        ),
        (
            "question-answering",
            {},
            QAExample("Who?", SPEECH, ((8, "Ada"),)),
            r"example 1 \('Who\?'\): characters 8:11 are 'e\.'; expected 'Ada'",
        ),
    ],
)
def test_examples_that_cannot_be_learned_from(
    encoder: TextEncoder, kind: str, config: dict[str, Any], example: Example, message: str
) -> None:
    bad = Task("t", kind, config, lambda rng: [example], ())
    with pytest.raises(DataError, match=message):
        plan_of(recipe_of(bad), encoder)


def test_a_task_without_examples(encoder: TextEncoder) -> None:
    with pytest.raises(InputError, match="'t' has no examples"):
        plan_of(recipe_of(Task("t", "pooling", {}, lambda rng: [], ())), encoder)
    with pytest.raises(InputError, match="'t' has nothing but empty texts"):
        plan_of(recipe_of(Task("t", "pooling", {}, lambda rng: [PlainText(" ")], ())), encoder)
