"""Transitions fitted after training: by the definition, and what was put in comes back."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch

from nlpkit.errors import InputError
from nlpkit.heads import TokenHead
from nlpkit.heads.base import Floats
from nlpkit.loading import load
from nlpkit.pipeline import Pipeline
from nlpkit.readers import TokenExample
from nlpkit.testing import tiny_bundle
from nlpkit.training.transitions import PIECE, fit_transitions, sequence_loss

N_LABELS = 3
NAME = "Ada"
PLACE = "London"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return load(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"), precision="fp32")


def test_the_loss_is_that_of_all_sequences() -> None:
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(N_LABELS + 1, N_LABELS))
    lengths = [3, 1, 4]
    logits = rng.normal(size=(3, 4, N_LABELS))
    tags = rng.integers(0, N_LABELS, (3, 4))

    def worth(row: int, sequence: tuple[int, ...]) -> float:
        followed = sum(steps[a, b] for a, b in pairwise([-1, *sequence]))
        return float(followed + sum(logits[row, i, tag] for i, tag in enumerate(sequence)))

    expected = 0.0
    for row, length in enumerate(lengths):
        every = [worth(row, one) for one in product(range(N_LABELS), repeat=length)]
        expected += np.logaddexp.reduce(every) - worth(row, tuple(tags[row, :length].tolist()))
    there = torch.arange(4) < torch.tensor(lengths)[:, None]
    of_words, right, learned = (torch.from_numpy(one) for one in (logits, tags, steps))
    found = sequence_loss(of_words, right, there, learned)
    assert float(found) == pytest.approx(expected)


@pytest.fixture
def unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits say of a name that it is one, and of the place after it little."""
    read = TokenHead.of_words

    def of_words(head: TokenHead, logits: Any, readings: Any) -> Any:
        words, of_text, found = read(head, logits, readings)
        text = readings[0].text
        said: Floats = np.zeros_like(found)
        for row, start, end in zip(said, words.starts, words.ends, strict=True):
            row[head.labels.index("B-PER")] = 4 * (text[start:end] == NAME)
            row[head.labels.index("I-PER")] = 2 * (text[start:end] == PLACE)
            row[head.labels.index("O")] = 2
        return words, of_text, said

    monkeypatch.setattr(TokenHead, "of_words", of_words)


def examples(goes_on: bool, n_words: int = 6) -> list[TokenExample]:
    """Every name is followed by a place, which belongs to it or does not."""
    text = " ".join(["the", NAME, PLACE, *["river"] * n_words])
    end = len(f"the {NAME} {PLACE}" if goes_on else f"the {NAME}")
    return [TokenExample(text, ((4, end, "PER"),))] * 20


@pytest.mark.usefixtures("unsure")
@pytest.mark.parametrize("goes_on", [True, False])
def test_what_follows_a_name_is_learned(kit: Pipeline, goes_on: bool) -> None:
    known = examples(goes_on)
    head = kit.head("ner").head
    before, inside = head.labels.index("B-PER"), head.labels.index("I-PER")
    learned = np.array(fit_transitions(kit, "ner", known))
    assert learned.shape == (len(head.labels) + 1, len(head.labels))
    assert (learned[before, inside] > learned[before, 0]) == goes_on
    assert learned[0, inside] == 0  # impossible, and so nothing is said of it
    tagger = kit.with_head("ner", TokenHead(**{**head.config(), "transitions": learned}))
    (entity,) = tagger.ner(known[0].text)
    assert (entity.start, entity.end, entity.label) == known[0].spans[0]


@pytest.mark.usefixtures("unsure")
def test_long_texts_are_cut_between_entities(kit: Pipeline) -> None:
    """An entity that begins before a cut is not torn: its second half would be impossible."""
    text = " ".join([*["river"] * (PIECE - 1), NAME, PLACE, "river"])
    start = text.index(NAME)
    known = [TokenExample(text, ((start, start + len(f"{NAME} {PLACE}"), "PER"),))] * 20
    labels = kit.head("ner").head.labels
    learned = np.array(fit_transitions(kit, "ner", known))
    before = labels.index("B-PER")
    assert 0 < learned[before, labels.index("I-PER")] < 10
    assert np.abs(learned).max() < 10


def test_what_cannot_be_fitted(kit: Pipeline) -> None:
    with pytest.raises(InputError, match="'sentiment' is a sequence-classification head"):
        fit_transitions(kit, "sentiment", examples(True))
    with pytest.raises(InputError, match="1 examples without a word"):
        fit_transitions(kit, "ner", [TokenExample("", ())])
