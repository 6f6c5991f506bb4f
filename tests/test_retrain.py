"""Training a head again: it starts where the head stands, learns, and forgets nothing else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import assert_same
from workspaces import reviews

import nlpkit
from nlpkit import retrain as module
from nlpkit.bundle import read_pack_manifest
from nlpkit.engines import PluggedHead
from nlpkit.errors import InputError, UnknownNameError
from nlpkit.pipeline import Pipeline
from nlpkit.readers import TextExample, TokenExample
from nlpkit.retrain import Example, Point, Retrained, retrain

TEXTS = [row["review"] for row in reviews(200, seed=3)]


def by_word(texts: Sequence[str] = TEXTS) -> list[Example]:
    """Texts about engines are positive: a rule that the random head does not know."""
    return [TextExample(t, ("positive" if "engine" in t else "negative",)) for t in texts]


def by_topic(texts: Sequence[str] = TEXTS) -> list[Example]:
    """Several classes, by words."""
    words = {"city": "town", "trade": "good", "art": "engine"}
    return [TextExample(t, tuple(n for n, w in words.items() if w in t)) for t in texts]


def by_place(texts: Sequence[str] = TEXTS) -> list[Example]:
    """Places alone are entities, and they are called PER: the head has both the other way round."""
    found: list[Example] = []
    for text in texts:
        words = [(w, text.index(f" {w} ") + 1) for w in text.split() if w.isupper()]
        found.append(TokenExample(text, tuple((at, at + len(w), "PER") for w, at in words)))
    return found


TASKS = {"sentiment": by_word, "topic": by_topic, "ner": by_place}


@pytest.fixture(scope="module")
def kit(tiny_folder: Path) -> Pipeline:
    """The tiny bundle's pipeline in fp32, for exact comparisons."""
    return nlpkit.load(tiny_folder, "cpu", "fp32")


@pytest.fixture(scope="module")
def trained(kit: Pipeline) -> dict[str, Retrained]:
    """Each task's head, trained on all of TEXTS."""
    return {
        task: retrain(kit, task, examples(), learning_rate=5e-3) for task, examples in TASKS.items()
    }


def value_of(kit: Pipeline, task: str, text: str) -> Any:
    """What the pipeline says, in the form of a comparison."""
    if task == "ner":
        return tuple((e.start, e.end, e.label) for e in kit.ner(text))
    labels = kit.classify(text, task=task)
    if task == "sentiment":
        return labels[0].name
    return tuple(sorted(label.name for label in labels if label.score >= 0.5))


# -- features --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_the_old_heads_answers_are_the_pipelines(
    kit: Pipeline, trained: dict[str, Retrained], task: str
) -> None:
    """What is learned on is what the head reads: over several windows, too."""
    compared = trained[task].comparisons
    assert len(compared) > 20
    assert max(kit.analyze(one.text).n_windows for one in compared) > 1
    assert [one.before for one in compared] == [value_of(kit, task, one.text) for one in compared]


@pytest.mark.parametrize("task", TASKS)
def test_the_new_heads_answers_are_those_of_its_pack(
    own_kit: Pipeline, trained: dict[str, Retrained], tmp_path: Path, task: str
) -> None:
    found = trained[task]
    path = found.save(tmp_path / "pack", own_kit, {"by": "Ada"})
    others = [name for name in ("ner", "sentiment", "topic") if name != task]
    text = TEXTS[0]
    before = own_kit.analyze(text, others), own_kit.embed(text)
    own_kit.remove(task)
    assert own_kit.add(path) == (task,)
    for one in found.comparisons:
        assert value_of(own_kit, task, one.text) == one.after
    assert_same((own_kit.analyze(text, others), own_kit.embed(text)), before)
    facts = read_pack_manifest(path).training
    assert (facts["scores"], facts["by"]) == (found.after, "Ada")


def test_no_torch_is_needed() -> None:
    code = "import sys, nlpkit.retrain; print({'torch', 'scipy', 'sklearn'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_texts_are_read_once(kit: Pipeline) -> None:
    class Counting(dict[str, Any]):
        asked = 0

        def get(self, key: str, /) -> Any:  # type: ignore[override]
            self.asked += 1
            return super().get(key)

    cache = Counting()
    first = retrain(kit, "sentiment", by_word(TEXTS[:40]), cache=cache, epochs=3)
    assert len(cache) == 40
    assert all(key.startswith(kit.backbone_sha256[:16]) for key in cache)
    again = dict(cache)
    second = retrain(kit, "sentiment", by_word(TEXTS[:50]), cache=cache, epochs=3)
    assert len(cache) == 50
    assert all(cache[key] is value for key, value in again.items())
    assert first.n_train < second.n_train
    retrain(kit, "ner", by_place(TEXTS[:40]), cache=cache, epochs=1)
    assert len(cache) == 90, "words are no classes"


# -- learning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_it_learns_what_it_is_shown(trained: dict[str, Retrained], task: str) -> None:
    found = trained[task]
    main = {"sentiment": "accuracy", "topic": "f1", "ner": "f1"}[task]
    assert next(iter(found.after)) == main
    assert found.after[main] > found.before[main] + 0.05
    assert found.curve[0].epoch == 0
    assert found.best_epoch > 0
    assert found.curve[found.best_epoch].held_out_loss == min(p.held_out_loss for p in found.curve)
    assert found.curve[-1].loss < found.curve[0].loss


def test_equal_calls_give_equal_heads(kit: Pipeline) -> None:
    def once(seed: int) -> Retrained:
        return retrain(kit, "sentiment", by_word(TEXTS[:60]), seed=seed, epochs=5)

    one, same, other = once(0), once(0), once(1)
    assert one.curve == same.curve
    for name, value in one.head.parameters.items():
        np.testing.assert_array_equal(value, same.head.parameters[name])
    assert other.curve != one.curve
    assert [c.text for c in other.comparisons] == [c.text for c in one.comparisons]


def test_the_first_point_is_the_head_as_it_was(kit: Pipeline) -> None:
    found = retrain(kit, "sentiment", by_word(), epochs=0)
    assert (found.best_epoch, len(found.curve)) == (0, 1)
    assert found.before == found.after
    old = kit.head("sentiment").parameters
    for name, value in found.head.parameters.items():
        np.testing.assert_array_equal(value, old[name])


def test_a_head_that_is_right_already_is_kept(kit: Pipeline) -> None:
    labels = {text: kit.classify(text) for text in TEXTS}
    clear = {text: two for text, two in labels.items() if two[0].score > two[1].score + 0.05}
    said = [TextExample(text, (found[0].name,)) for text, found in clear.items()]
    certain = replace(kit.head("sentiment"), parameters=sharpened(kit.head("sentiment")))
    sure = Pipeline(kit.encoder, kit.engine, {"sentiment": certain}, sizes=kit.sizes)
    found = retrain(sure, "sentiment", said)
    assert found.after["accuracy"] == found.before["accuracy"] == 1.0
    assert found.best_epoch == 0
    assert len(found.curve) == module.PATIENCE + 1


def sharpened(plugged: PluggedHead) -> dict[str, Any]:
    return {name: value * np.float32(100) for name, value in plugged.parameters.items()}


def test_the_pull_holds_weights_where_they_were(kit: Pipeline) -> None:
    def moved(pull: float) -> float:
        found = retrain(kit, "sentiment", by_word(TEXTS[:60]), pull=pull, epochs=30)
        old = kit.head("sentiment").parameters["weight"]
        return float(np.abs(found.head.parameters["weight"] - old).max())

    free, held = moved(0.0), moved(1e4)
    assert held < free / 3  # Adam steps are of a size of their own


def test_gradients_are_those_of_the_losses(kit: Pipeline) -> None:
    rng = np.random.default_rng(0)
    for task in TASKS:
        learner = module._learner(task, kit.head(task))
        n = learner.start.shape[0]
        logits: Any = rng.normal(size=(1, n))
        targets: Any = np.eye(n)[[1]] if task != "topic" else np.array([[1.0, 0.0, 1.0]])
        for i in range(n):
            step: Any = np.zeros((1, n))
            step[0, i] = 1e-5
            up, down = (learner.loss(logits + sign * step, targets) for sign in (1, -1))
            by_hand = (up - down) / 2e-5
            assert learner.gradient(logits, targets)[0, i] == pytest.approx(by_hand, abs=1e-4)


# -- parts -----------------------------------------------------------------------------------------


def test_a_text_stays_in_its_part(kit: Pipeline) -> None:
    few = retrain(kit, "sentiment", by_word(TEXTS[:100]), epochs=1)
    many = retrain(kit, "sentiment", by_word(TEXTS), epochs=1)
    held_out = {one.text for one in many.comparisons}
    assert {one.text for one in few.comparisons} == held_out & set(TEXTS[:100])
    by_hash = [int(hashlib.sha256(t.encode()).hexdigest()[:8], 16) / 2**32 for t in TEXTS]
    assert held_out == {t for t, h in zip(TEXTS, by_hash, strict=True) if h < 0.2}
    assert many.n_train + many.n_stopping + many.n_held_out == 200
    assert 0.5 < many.n_train / 200 < 0.8


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_no_part_is_empty(kit: Pipeline, first: int) -> None:
    found = retrain(kit, "sentiment", by_word(TEXTS[first : first + 10]), epochs=1)
    assert min(found.n_train, found.n_stopping, found.n_held_out) >= 1
    assert found.n_train + found.n_stopping + found.n_held_out == 10


def test_of_a_text_that_comes_twice_the_last_counts(kit: Pipeline) -> None:
    twice = [*by_word(TEXTS[:20]), *(TextExample(t, ("neutral",)) for t in TEXTS[:20])]
    found = retrain(kit, "sentiment", twice, epochs=1)
    assert {one.right for one in found.comparisons} == {"neutral"}
    assert found.n_train + found.n_stopping + found.n_held_out == 20


def test_progress_can_end_it(kit: Pipeline) -> None:
    class EnoughError(Exception):
        pass

    points: list[Point] = []

    def follow(point: Point) -> None:
        points.append(point)
        if point.epoch == 3:
            raise EnoughError

    with pytest.raises(EnoughError):
        retrain(kit, "sentiment", by_word(TEXTS[:40]), on_progress=follow)
    assert [point.epoch for point in points] == [0, 1, 2, 3]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "examples", "error", "message"),
    [
        ("sentiment", by_word(TEXTS[:9]), InputError, "there are 9 .* at least 10: correct 1 more"),
        ("sentiment", by_word(["?", *TEXTS[:8], " "]), InputError, "there are 9 corrected texts"),
        ("nothing", by_word(), UnknownNameError, "unknown task 'nothing'"),
        ("qa", by_word(), InputError, "'qa' is a question-answering head; expected one for"),
        ("sentiment", by_place(), InputError, "an example for 'sentiment' has no class"),
        ("ner", by_word(), InputError, "an example for 'ner' has no entities"),
        ("sentiment", [TextExample("a", ("good",))], UnknownNameError, "'good'; known: negative"),
        ("sentiment", [TextExample("a", ())], InputError, "'a' has 0 classes; expected 1"),
        ("ner", [TokenExample("Ada", ((0, 3, "X"),))], UnknownNameError, "'X'; known: LOC, PER"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    kit: Pipeline, task: str, examples: list[Example], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        retrain(kit, task, examples)
