"""Labels that were never trained: put into words, and drawn towards words near them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nlpkit
from nlpkit import zero_shot
from nlpkit.bundle import WORDS, read_bundle, write_bundle
from nlpkit.errors import BundleError
from nlpkit.heads.base import Floats

NAMES = ["river", "phone", "city"]
TEXT = "the old man"


def test_a_label_is_drawn_towards_words_near_it() -> None:
    """Worked by hand: cosines of 0.8 and 0.28, of which the first is 0.2 above the border."""
    label = np.array([[1.0, 0.0]], np.float32)
    words = np.array([[0.8, 0.6], [0.28, -0.96]], np.float32)
    expected = np.array([1 + 0.5 * 0.2 * 0.8, 0.5 * 0.2 * 0.6])
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(zero_shot.widened(label, words)[0], expected, atol=1e-6)
    np.testing.assert_array_equal(zero_shot.widened(label, words[1:]), label)


def test_the_commonest_whole_words_are_taken() -> None:
    pieces = ["[PAD]", "##town", "of", "town", "1987", "été", "river", "a-b-c"]
    ids = {piece: len(pieces) - i for i, piece in enumerate(pieces)}
    assert zero_shot.words_of(ids) == ["river", "town"]
    many = {
        chr(97 + i // 676) + chr(97 + i // 26 % 26) + chr(97 + i % 26) + "x": i
        for i in range(17_000)
    }
    assert zero_shot.words_of(many) == [*many][: zero_shot.WORDS]


def test_words_are_kept_in_a_byte_a_component() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(50, 384)))
    packed = zero_shot.pack_words(vectors)
    assert packed["vectors"].dtype == np.int8
    assert (zero_shot.unpack_words(packed) * vectors).sum(axis=1).min() > 0.9995


@pytest.fixture(scope="module")
def wordy(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with words: some between the labels and the text, some anywhere."""
    bundle, kit = read_bundle(tiny_folder), nlpkit.load(tiny_folder, "cpu", "fp32")
    rng = np.random.default_rng(1)
    near = zero_shot.phrased(kit.embed, NAMES) + 0.3 * kit.embed(TEXT)
    words = unit(np.concatenate([near, rng.normal(size=(20, near.shape[1]))]))
    return write_bundle(
        tmp_path_factory.mktemp("bundles") / "wordy",
        bundle.manifest,
        tokenizer=bundle.encoder.to_str(),
        weights=bundle.weights,
        heads=bundle.heads,
        graph=bundle.graph,
        words=zero_shot.pack_words(words),
    )


def test_a_bundle_brings_its_words_along(tiny_folder: Path, wordy: Path) -> None:
    kit, plain = nlpkit.load(wordy, "cpu", "fp32"), nlpkit.load(tiny_folder, "cpu", "fp32")
    packed = read_bundle(wordy).words
    assert packed is not None
    targets = zero_shot.widened(zero_shot.phrased(kit.embed, NAMES), zero_shot.unpack_words(packed))
    weights = np.exp(20 * targets @ kit.embed(TEXT))
    expected = dict(zip(NAMES, (weights / weights.sum()).tolist(), strict=True))
    found = {label.name: label.score for label in kit.classify(TEXT, labels=NAMES)}
    assert found == pytest.approx(expected, abs=1e-5)
    without = {label.name: label.score for label in plain.classify(TEXT, labels=NAMES)}
    assert max(abs(found[name] - without[name]) for name in NAMES) > 1e-3
    same = [k.classify(TEXT, labels=NAMES, template="{} news") for k in (kit, plain)]
    assert same[0] == same[1], "a template of one's own is taken as it is"


def test_labels_of_one_call_are_not_those_of_the_next(wordy: Path) -> None:
    kit = nlpkit.load(wordy, "cpu", "fp32")
    ways = [(NAMES, None), (NAMES, "{} news"), (NAMES[::-1], None), (NAMES[:2], None)]
    for labels, template in [*ways, *ways[::-1]]:
        fresh = nlpkit.load(wordy, "cpu", "fp32")
        expected = fresh.classify(TEXT, labels=labels, template=template)
        assert kit.classify(TEXT, labels=labels, template=template) == expected


def test_altered_words_are_refused(wordy: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in wordy.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    content = bytearray((copy / WORDS).read_bytes())
    content[-1] ^= 1
    (copy / WORDS).write_bytes(content)
    with pytest.raises(BundleError, match=r"words\.safetensors is altered"):
        nlpkit.load(copy)


def unit(vectors: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
