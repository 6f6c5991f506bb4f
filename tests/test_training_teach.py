"""Teachers: the mean of several models, word by word; names read alike over all texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nlpkit.errors import InputError
from nlpkit.heads.token import TokenHead
from nlpkit.loading import load
from nlpkit.pipeline import Pipeline
from nlpkit.readers import TaughtExample
from nlpkit.testing import tiny_bundle
from nlpkit.training.recipe import load_recipe_module
from nlpkit.training.teach import taught_classes, taught_words

TEXTS = ["Ada Lovelace lived in London.", "", "the old city " * 40, "In London Ada wrote."]


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> list[Pipeline]:
    folder = tmp_path_factory.mktemp("teachers")
    return [load(tiny_bundle(folder / str(seed), seed=seed), precision="fp32") for seed in (0, 1)]


def test_probabilities_are_those_of_the_tagger(kits: list[Pipeline]) -> None:
    (example,) = taught_words(kits[:1], "ner", [TEXTS[0]])
    head = kits[0].head("ner").head
    assert isinstance(head, TokenHead)
    assert example.probabilities.shape == (6, len(head.labels))
    np.testing.assert_allclose(example.probabilities.sum(axis=1), 1, atol=2e-3)
    tags = head.tag(np.log(example.probabilities.astype(np.float32) + 1e-6))
    found = [(head.labels[tag][2:]) for tag in tags if head.labels[tag] != "O"]
    assert len(found) >= len(kits[0].ner(TEXTS[0]))


def test_the_mean_of_two_and_no_empty_text(kits: list[Pipeline]) -> None:
    alone = [taught_words([kit], "ner", TEXTS) for kit in kits]
    both = taught_words(kits, "ner", TEXTS)
    assert [example.text for example in both] == [text for text in TEXTS if text]
    for first, second, mean in zip(*alone, both, strict=True):
        expected = (first.probabilities.astype(float) + second.probabilities) / 2
        np.testing.assert_allclose(mean.probabilities, expected, atol=2e-3)
    assert any(
        np.abs(a.probabilities - b.probabilities).max() > 0.01 for a, b in zip(*alone, strict=True)
    )


def test_names_agree_over_texts(kits: list[Pipeline]) -> None:
    apart = taught_words(kits, "ner", TEXTS)
    alike = taught_words(kits, "ner", TEXTS, agreement=1.0)
    head = kits[0].head("ner").head
    assert isinstance(head, TokenHead)
    kinds = head.kinds

    def of_type(example: TaughtExample, word: int) -> NDArray[np.float64]:
        weights = example.probabilities[word].astype(np.float64)
        return np.asarray(np.bincount(kinds, weights=weights), dtype=np.float64)

    for first, second in (((0, 0), (2, 2)), ((0, 4), (2, 1))):  # Ada, London
        one, other = (of_type(alike[text], word) for text, word in (first, second))
        np.testing.assert_allclose(one, other, atol=5e-3)
    np.testing.assert_allclose(  # "lived" stands once
        alike[0].probabilities[2], apart[0].probabilities[2], atol=2e-3
    )


def test_classes_are_the_mean_of_two(kits: list[Pipeline]) -> None:
    labels = kits[0].head("sentiment").head.labels
    made = taught_classes(kits, "sentiment", TEXTS)
    assert [example.text for example in made] == [text for text in TEXTS if text]
    for example in made:
        scores = [
            {label.name: label.score for label in kit.classify(example.text, "sentiment")}
            for kit in kits
        ]
        expected = [sum(one[label] for one in scores) / 2 for label in labels]
        np.testing.assert_allclose(example.probabilities, expected, atol=1e-5)
    for some, task in (([], "sentiment"), (kits, "ner")):
        with pytest.raises(InputError, match=f"{len(some)} teachers of '{task}'; expected some"):
            taught_classes(some, task, TEXTS)


def test_long_reviews_are_read_by_sentences_too(kits: list[Pipeline]) -> None:
    recipe = load_recipe_module("base_en_reviews")
    short = "The old phone is good. The river was bad."
    long = " ".join(["The old phone is good.", "The river was bad."] * 10)
    found = {one.text: one.probabilities for one in recipe.read_reviews(kits, [short, long])}
    whole = {one.text: one.probabilities for one in taught_classes(kits, "sentiment", [*found])}
    np.testing.assert_array_equal(found[short], whole[short])
    each = taught_classes(kits, "sentiment", recipe.sentences_of(long))
    assert len(each) == 20
    labels = kits[0].head("sentiment").head.labels
    expected = recipe.verdict(whole[long], np.array([one.probabilities for one in each]), labels)
    np.testing.assert_allclose(found[long], expected, atol=1e-6)
    assert np.abs(found[long] - whole[long]).max() > 0.01


def test_no_teacher_and_one_that_tags_no_words_are_refused(
    kits: list[Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="0 teachers of 'ner'"):
        taught_words([], "ner", TEXTS)
    with pytest.raises(InputError, match="1 teachers of 'qa'; expected some that tag words"):
        taught_words(kits[:1], "qa", TEXTS)
    ner = load_recipe_module("ner")
    monkeypatch.delenv(ner.TEACHERS, raising=False)
    with pytest.raises(InputError, match=f"{ner.TEACHERS} is unset; expected the folders"):
        ner.read_by_teachers(("Ada.",), ner.AGREEMENT)


def test_teachers_are_named_by_the_environment(
    kits: list[Pipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ner = load_recipe_module("ner")
    monkeypatch.setenv(ner.TEACHERS, str(tiny_bundle(tmp_path / "teacher")))
    read = ner.read_by_teachers(("Ada lived.", ""), ner.AGREEMENT)
    assert [example.text for example in read] == ["Ada lived."]
    ner.read_by_teachers.cache_clear()
