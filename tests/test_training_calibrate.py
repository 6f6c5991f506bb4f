"""Confidence fitted after training: known answers come back, results stay as they are."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nlpkit.heads import SpanHead, make_head
from nlpkit.pipeline import Pipeline
from nlpkit.readers import Example, QAExample, TextExample, TokenExample
from nlpkit.training.calibrate import calibrate, fit_line, fit_temperature
from nlpkit.training.recipe import Recipe, Task

WORDS = ("the", "old", "man", "river", "phone", "great", "poor", "bad", "Ada", "LONDON", "Paris")


def logistic(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def test_a_temperature_comes_back() -> None:
    """Outcomes drawn at a temperature of 2."""
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 4, 5000)
    right = (rng.random(5000) < logistic(margins / 2)).astype(float)
    found = fit_temperature(lambda temperature: (logistic(margins / temperature), right))
    assert found == pytest.approx(2, rel=0.1)


def test_a_line_comes_back() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(1, 3, 5000)
    right = (rng.random(5000) < logistic(0.4 * odds - 0.7)).astype(float)
    assert fit_line(odds, right) == pytest.approx((0.4, -0.7), abs=0.08)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_perfect_examples_ask_for_nothing_infinite(right: float) -> None:
    slope, offset = fit_line(np.linspace(-5, 5, 50), np.full(50, right))
    assert 0 < slope < 100
    assert abs(offset) < 100


def examples(kind: str, n: int = 120) -> list[Example]:
    """Texts of known words; every third class, entity or answer is wrong."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=6)) for _ in range(n)]
    if kind == "ner":
        return [TokenExample(text, ((0, len(text.split()[0]), "PER"),)) for text in texts]
    if kind == "qa":
        known = [(text.split()[1], text) for text in texts]
        return [
            QAExample("who", text, ((text.index(word), word),) if i % 3 else ())
            for i, (word, text) in enumerate(known)
        ]
    return [
        TextExample(t, (("negative", "neutral", "positive")[i % 3],)) for i, t in enumerate(texts)
    ]


@pytest.mark.parametrize("name", ["ner", "sentiment", "qa"])
def test_calibrated_heads_say_the_same_with_other_scores(own_kit: Pipeline, name: str) -> None:
    head = own_kit.head(name).head
    task = Task(
        name, head.kind, head.config(), lambda rng: [], (), calibration=lambda: examples(name)
    )
    fitted, record = calibrate(own_kit, Recipe("small", "Tests", (task,)))
    assert record[name]["examples"] == 120
    assert record[name]["ece_after"] < max(record[name]["ece_before"], 0.1)
    assert fitted[name].items() <= record[name].items()
    lines = {"calibration", "refusal_calibration", "span_calibration"}
    assert {*fitted[name]} == (lines if name == "qa" else {"temperature"})

    again = make_head(head.kind, {**head.config(), **fitted[name]})
    other = own_kit.with_head(name, again)
    texts = [e.text if not isinstance(e, QAExample) else e.context for e in examples(name, 30)]
    for text in texts:
        if name == "qa":
            same(own_kit.answer("who", text), other.answer("who", text))
            forced = [
                kit.answer("who", text, no_answer=False, n_best=4) for kit in (own_kit, other)
            ]
            same(*forced)
        else:
            call = "ner" if name == "ner" else "classify"
            same(getattr(own_kit, call)(text), getattr(other, call)(text))


def test_the_temperature_of_classes_makes_their_texts_likeliest(own_kit: Pipeline) -> None:
    """The mean of -log of the right class's score is least (Guo et al. 2017)."""
    head = own_kit.head("sentiment").head
    texts = [example.text for example in examples("sentiment") if isinstance(example, TextExample)]
    known = [  # eleven in twelve are found, the others are what was thought least of
        TextExample(text, (labels[0 if i // 2 % 12 else -1].name,))
        for i, (text, labels) in enumerate(zip(texts, own_kit.classify(texts), strict=True))
    ]
    task = Task(
        "sentiment", head.kind, head.config(), lambda rng: [], (), calibration=lambda: known
    )
    fitted, _ = calibrate(own_kit, Recipe("small", "Tests", (task,)))

    def loss(temperature: float) -> float:
        warmed = make_head(head.kind, {**head.config(), "temperature": temperature})
        found = own_kit.with_head("sentiment", warmed).classify([e.text for e in known[::2]])
        chances = [
            label.score
            for labels, example in zip(found, known[::2], strict=True)
            for label in labels
            if label.name in example.labels
        ]
        assert len(chances) == 60
        return -float(np.mean(np.log(chances)))

    others = [float(one) for one in np.geomspace(0.25, 4, 9)]
    assert loss(fitted["sentiment"]["temperature"]) <= min(map(loss, others)) + 1e-6


def same(before: Any, after: Any) -> None:
    """The same results with other scores; where they are ranked by score, in the same order."""
    before, after = ([x] if not isinstance(x, list) else list(x) for x in (before, after))
    assert [replace(x, score=0.0) for x in before] == [replace(x, score=0.0) for x in after]
    ranks = [np.argsort([-x.score for x in one], kind="stable").tolist() for one in (before, after)]
    assert ranks[0] == ranks[1] or hasattr(before[0], "label")  # entities stand as in the text
    assert all(0 <= x.score <= 1 for x in after)


def test_an_old_span_head_is_not_calibrated() -> None:
    """base-en-1's config names a threshold and a temperature only."""
    assert SpanHead(threshold=-1.5, temperature=1.0).calibration is None
