"""Heads: one contract for all; decoding against brute force and worked examples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nlpkit.errors import InputError, UnknownNameError
from nlpkit.heads import (
    HEADS,
    Head,
    PoolingHead,
    Reading,
    SequenceHead,
    SpanHead,
    TokenHead,
    make_head,
)
from nlpkit.heads.base import Array, Floats, Parameters, decode_all, linear
from nlpkit.heads.pooling import SCALE
from nlpkit.heads.span import N_WEIGHED, _best_spans
from nlpkit.heads.token import LEAST, agreed, repeated
from nlpkit.pipeline import Pipeline
from nlpkit.testing import HEAD_CHECKS, check_head
from nlpkit.text import Batch, TextEncoder, Window, pad, windows, words_of
from nlpkit.types import Answer, Entity

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def reading_of(
    encoder: TextEncoder, text: str, cut: Sequence[Window] | None = None, width: int = 32
) -> Reading:
    """What a head's decode is told of a text, read in these windows (by default one)."""
    (encoded,) = encoder.encode([text])
    cut = [Window(0, len(encoded), 0, len(encoded))] if cut is None else cut
    rows = [encoder.row(encoded, window) for window in cut]
    owned = [int(row.owned.sum()) for row in rows]
    return Reading(text, encoded, cut, [row.offset for row in rows], owned, width)


# -- the contract ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        TokenHead(LABELS),
        TokenHead(LABELS, word_shape=True, temperature=2.0),
        TokenHead(LABELS, agreement=0.5),
        TokenHead(LABELS, transitions=np.eye(6, 5).tolist()),
        SequenceHead(["no", "yes"]),
        SequenceHead(["a", "b", "c"], pooling="cls", dense=8, temperature=0.5),
        SequenceHead(["a", "b"], pooling="max", dense=8, activation="relu"),
        SequenceHead(["a", "b", "c"], multi_label=True),
        SequenceHead(["only"], multi_label=True),
        SpanHead(),
        SpanHead(threshold=-3.0, temperature=1.7),
        SpanHead(calibration=(0.5, -1.0)),
        SpanHead(span_calibration=(0.5, -1.0)),
        SpanHead(calibration=(0.5, -1.0), refusal_calibration=(0.4, 0.2)),
        SpanHead(consensus=0.8, length_cost=0.1),
        PoolingHead(),
        PoolingHead("cls", projection=True),
        PoolingHead("max", normalize=False),
    ],
    ids=lambda head: "-".join(str(v) for v in (head.kind, *head.config().values())),
)
def test_built_in_heads_keep_the_contract(head: Head) -> None:
    check_head(head, width=16)


def test_every_registered_kind_is_made_from_its_config() -> None:
    assert set(HEADS) == {
        "token-classification",
        "sequence-classification",
        "question-answering",
        "pooling",
    }
    head = make_head("sequence-classification", {"labels": ["no", "yes"], "pooling": "max"})
    assert head.config()["pooling"] == "max"


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="'relations'; known: pooling, question-answering"):
        make_head("relations", {})


class LengthHead:
    """A head of somebody else's: its one number per text grows with the text."""

    kind: ClassVar[str] = "length"
    per_token: ClassVar[bool] = False
    labels: tuple[str, ...] = ("length",)

    def config(self) -> dict[str, Any]:
        return {}

    def parameter_shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (1, width), "bias": (1,)}

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        counts = batch.owned.sum(1)[:, None]
        return linear(hidden[:, 0], parameters) + counts

    def loss(self, logits: Array, targets: Array) -> Array:
        return ((logits[:, 0] - targets) ** 2).mean()

    def decode(self, logits: Sequence[Floats], reading: Reading) -> float:
        return float(sum(part[0] for part in logits))


def test_a_head_of_another_package_keeps_the_contract() -> None:
    check_head(LengthHead())


def _reads_the_padding(head: LengthHead, hidden: Array, batch: Batch, p: Parameters) -> Array:
    return linear(hidden.mean(1), p)


def _knows_its_neighbours(head: LengthHead, hidden: Array, batch: Batch, p: Parameters) -> Array:
    return linear(hidden[:, 0], p) + hidden.shape[0]


def _numpy_only(head: LengthHead, hidden: Array, batch: Batch, p: Parameters) -> Array:
    return np.tanh(np.asarray(hidden[:, 0])) @ np.asarray(p["weight"]).T + np.asarray(p["bias"])


def _flat(head: LengthHead, hidden: Array, batch: Batch, p: Parameters) -> Array:
    return linear(hidden[:, 0], p)[:, 0]


@pytest.mark.parametrize(
    ("verb", "bad", "check"),
    [
        ("forward", _reads_the_padding, "rows alone"),
        ("forward", _knows_its_neighbours, "rows alone"),
        ("forward", _numpy_only, "torch"),
        ("forward", _flat, "forward"),
        ("loss", lambda head, logits, targets: (logits - targets) ** 2, "loss"),
        ("loss", lambda head, logits, targets: logits.detach().mean(), "loss"),
        ("decode", lambda head, logits, reading: np.random.default_rng().random(), "decode"),
        ("decode", lambda head, logits, reading: Entity("x", "X", 0, 1, 0.5), "decode"),
        ("decode", lambda head, logits, reading: logits[0][0], "empty text"),
        ("config", lambda head: {"labels": ["a"]}, "config"),
        ("config", lambda head: {"depth": {1, 2}}, "config"),
        ("parameter_shapes", lambda head, width: {"a/b": (width,)}, "parameter_shapes"),
        ("labels", ["length"], "parts"),
    ],
)
def test_the_contract_bites(
    monkeypatch: pytest.MonkeyPatch, verb: str, bad: Any, check: str
) -> None:
    """Each broken promise is caught by the check that is there for it."""
    monkeypatch.setattr(LengthHead, verb, bad)
    with pytest.raises(AssertionError, match=f"LengthHead \\(length\\), check '{check}': "):
        check_head(LengthHead())
    assert check in {"parts", *HEAD_CHECKS}


def test_the_contract_names_what_is_missing() -> None:
    with pytest.raises(AssertionError, match="check 'parts': it lacks kind, per_token, labels"):
        check_head(object())  # type: ignore[arg-type]


# -- token classification --------------------------------------------------------------------


def legal(tags: Sequence[str]) -> bool:
    """I-X comes after B-X or I-X only."""
    return all(tag[:2] != "I-" or last[2:] == tag[2:] for last, tag in pairwise(("O", *tags)))


def logits_of_words(least: int, most: int) -> st.SearchStrategy[Floats]:
    shapes = st.tuples(st.integers(least, most), st.just(len(LABELS)))
    return hnp.arrays(np.float32, shapes, elements=st.floats(-5, 5, width=16))


def transitions(size: float) -> st.SearchStrategy[Floats]:
    shape = (len(LABELS) + 1, len(LABELS))
    return hnp.arrays(np.float32, shape, elements=st.floats(-size, size, width=16))


def worth(head: TokenHead, logits: Floats, tags: Sequence[int]) -> float:
    """The sum of a sequence's logits and of the transitions in it."""
    steps = np.asarray(head.transitions or np.zeros((len(LABELS) + 1, len(LABELS))))
    followed = sum(steps[a, b] for a, b in pairwise([-1, *tags]))
    return float(followed + sum(row[tag] for row, tag in zip(logits, tags, strict=True)))


@given(logits=logits_of_words(1, 4), learned=st.none() | transitions(3))
def test_tags_are_the_best_legal_sequence(logits: Floats, learned: Floats | None) -> None:
    head = TokenHead(LABELS, transitions=learned)
    tags = head.tag(logits)
    assert legal([LABELS[tag] for tag in tags])
    best = max(
        worth(head, logits, sequence)
        for sequence in product(range(5), repeat=len(logits))
        if legal([LABELS[tag] for tag in sequence])
    )
    assert worth(head, logits, tags.tolist()) == pytest.approx(best, abs=1e-3)


def viterbi(head: TokenHead, logits: Floats) -> list[int]:
    """The best legal sequence, word by word."""
    steps = np.asarray(head.transitions or np.zeros((len(LABELS) + 1, len(LABELS))))
    before = [label.replace("I-", "B-") for label in LABELS]
    follows = [[legal([*pair]) for pair in product([tag], LABELS)] for tag in before]
    follows.append([legal([label]) for label in LABELS])
    steps = np.where(follows, steps, -np.inf)
    paths = {tag: (steps[-1, tag] + logits[0, tag], [tag]) for tag in range(5)}
    for row in logits[1:]:
        paths = {
            tag: max(
                (total + steps[path[-1], tag] + row[tag], [*path, tag])
                for total, path in paths.values()
            )
            for tag in range(5)
        }
    return max(paths.values())[1]


@given(
    texts=st.lists(logits_of_words(1, 30), min_size=1, max_size=5),
    learned=st.none() | transitions(1) | transitions(5),
    sure=st.sampled_from([1.0, 4.0]),
)
def test_tags_of_several_texts_are_the_best_of_each(
    texts: list[Floats], learned: Floats | None, sure: float
) -> None:
    """Most words are clear by themselves, and paths are only looked for between them."""
    head = TokenHead(LABELS, transitions=learned)
    texts = [sure * logits for logits in texts]
    of_text = np.repeat(np.arange(len(texts)), [len(logits) for logits in texts])
    tags = head.tag(np.concatenate(texts), of_text)
    for number, logits in enumerate(texts):
        found = tags[of_text == number].tolist()
        assert legal([LABELS[tag] for tag in found])
        best = worth(head, logits, viterbi(head, logits))
        assert worth(head, logits, found) == pytest.approx(best, abs=1e-2)


def test_no_word_has_no_tag() -> None:
    assert TokenHead(LABELS).tag(np.zeros((0, len(LABELS)), np.float32)).tolist() == []


def test_what_follows_what_counts() -> None:
    """A second word that could be either goes on with the first's."""
    logits = np.array([[0, 4, 0, 0, 0], [2.0, 0, 1.9, 0, 0]], dtype=np.float32)
    assert TokenHead(LABELS).tag(logits).tolist() == [1, 0]
    learned = np.zeros((6, 5))
    learned[1, 2] = 0.2
    assert TokenHead(LABELS, transitions=learned).tag(logits).tolist() == [1, 2]
    # What begins a text is as much of a transition.
    learned[5, 0] = 5
    assert TokenHead(LABELS, transitions=learned).tag(logits).tolist() == [0, 0]


@pytest.mark.parametrize("bad", [np.zeros((5, 5)), np.full((6, 5), np.nan)])
def test_transitions_that_are_none(bad: Floats) -> None:
    with pytest.raises(InputError, match=r"expected \(6, 5\), all finite"):
        TokenHead(LABELS, transitions=bad)


def token_logits(encoder: TextEncoder, text: str, tags: str, sure: float = 8.0) -> list[Floats]:
    """Logits of one row that say these tags, one for each token ("." is O); after I-X comes B-X."""
    n_tokens = len(encoder.encode([text])[0])
    named = [tag.replace(".", "O") for tag in tags.split()]
    assert len(named) == n_tokens, f"{n_tokens} tokens"
    logits = np.zeros((n_tokens + 2, len(LABELS)), dtype=np.float32)
    for row, tag in zip(logits[1:], named, strict=False):
        row[LABELS.index(tag.replace("I-", "B-"))] = sure / 2
        row[LABELS.index(tag)] = sure
    return [logits]


@pytest.mark.parametrize(
    ("text", "tags", "found"),
    [
        ("Ada lived in London.", "B-PER . . B-LOC .", [("Ada", "PER"), ("London", "LOC")]),
        ("Ada Lovelace", "B-PER I-PER", [("Ada Lovelace", "PER")]),
        ("Ada Lovelace", "B-PER B-PER", [("Ada", "PER"), ("Lovelace", "PER")]),
        ("Ada London", "B-PER B-LOC", [("Ada", "PER"), ("London", "LOC")]),
        # I- cannot follow O nor another label: the likeliest legal tags open the entity.
        ("Ada lived", "I-PER .", [("Ada", "PER")]),
        ("Ada London", "B-PER I-LOC", [("Ada", "PER"), ("London", "LOC")]),
        # "Paris" is one token, "Rio" three: a word is tagged by its first, and never split.
        ("Rio Paris", "B-LOC . . B-LOC", [("Rio", "LOC"), ("Paris", "LOC")]),
        ("Rio Paris", ". B-LOC I-LOC .", []),
        # All between the first word and the last is the entity's, as the caller wrote it.
        ("Ada\r\n  Lovelace", "B-PER I-PER", [("Ada\r\n  Lovelace", "PER")]),
        ("Lo\u0301ndon\u0301 is", "B-LOC .", [("Lo\u0301ndon\u0301", "LOC")]),
    ],
)
def test_entities(encoder: TextEncoder, text: str, tags: str, found: list[tuple[str, str]]) -> None:
    logits = token_logits(encoder, text, tags)
    entities = TokenHead(LABELS).decode(logits, reading_of(encoder, text))
    assert [(entity.text, entity.label) for entity in entities] == found
    for entity in entities:
        assert text[entity.start : entity.end] == entity.text


def test_an_entitys_score_is_its_words_mean_probability_of_the_label(encoder: TextEncoder) -> None:
    text = "Ada Lovelace"
    logits = token_logits(encoder, text, "B-PER I-PER", sure=2.0)
    (entity,) = TokenHead(LABELS).decode(logits, reading_of(encoder, text))
    # B-PER and I-PER together, of all five labels.
    first = (np.exp(2) + 1) / (np.exp(2) + 4)
    second = (np.exp(2) + np.exp(1)) / (np.exp(2) + np.exp(1) + 3)
    assert entity.score == pytest.approx((first + second) / 2)
    (warmer,) = TokenHead(LABELS, temperature=2.0).decode(logits, reading_of(encoder, text))
    assert warmer.score < entity.score


def test_a_repeated_name_is_read_alike(encoder: TextEncoder) -> None:
    """What is sure of one place tells the other."""
    text = "Ada the old Ada"
    logits = token_logits(encoder, text, "B-PER . . B-LOC", sure=1.0)
    logits[0][1] *= 6  # the first is a person, clearly

    def types(head: TokenHead, text: str) -> list[str]:
        return [entity.label for entity in head.decode(logits, reading_of(encoder, text))]

    assert types(TokenHead(LABELS), text) == ["PER", "LOC"]
    assert types(TokenHead(LABELS, agreement=0.7), text) == ["PER", "PER"]
    # In lower case a repeated word says nothing of a name.
    assert types(TokenHead(LABELS, agreement=0.7), text.lower()) == ["PER", "LOC"]


@given(
    logits=hnp.arrays(np.float32, (6, 5), elements=st.floats(-8, 8, width=32)),
    share=st.floats(0, 1),
)
def test_agreement_by_definition(logits: Floats, share: float) -> None:
    head = TokenHead(LABELS)
    groups = [[0, 3, 4], [1, 5]]
    moved = agreed(logits, groups, head.kinds, share)
    np.testing.assert_array_equal(moved[2], logits[2])
    kinds = ((0,), (1, 2), (3, 4))
    for group in groups:
        chances = np.exp(logits[group].astype(float))
        chances /= chances.sum(axis=1, keepdims=True)
        of_kind = np.stack([chances[:, kind].sum(axis=1) for kind in kinds], axis=1)
        for place, known in zip(group, of_kind, strict=True):
            for number, kind in enumerate(kinds):
                change = np.log(of_kind[:, number].mean() + LEAST) - np.log(known[number] + LEAST)
                for label in kind:
                    expected = logits[place, label] + share * change
                    assert moved[place, label] == pytest.approx(expected, abs=1e-3)


def test_words_that_repeat(encoder: TextEncoder) -> None:
    texts = ["Ada saw A the Ada", "the Paris", "Ada Paris the"]
    words = [words_of(encoded) for encoded in encoder.encode(texts)]
    assert repeated([(texts[0], words[0])]) == [[0, 4]]
    assert repeated([*zip(texts, words, strict=True)]) == [[0, 4, 7], [6, 8]]


def test_a_long_word_in_capitals_is_the_same_word(encoder: TextEncoder) -> None:
    text = "PARIS saw Ada ADA in Paris paris"
    (encoded,) = encoder.encode([text])
    assert repeated([(text, words_of(encoded))]) == [[0, 5]]


SOME_TEXTS = (
    "Ada saw Ada in Paris",
    "",
    "the city of Ada",
    "Paris",
    " ",
    "\u01c5 \u0130x \u0130x A3 a",
)


@given(data=st.data(), agreement=st.sampled_from([0.0, 0.7]))
def test_texts_at_once_are_decoded_as_each_alone(
    encoder: TextEncoder, data: st.DataObject, agreement: float
) -> None:
    texts = data.draw(st.lists(st.sampled_from(SOME_TEXTS), max_size=6))
    readings = [reading_of(encoder, text) for text in texts]
    numbers = st.floats(-5, 5, width=32)
    of_words = [
        [data.draw(hnp.arrays(np.float32, (len(one.encoded) + 2, 5), elements=numbers))]
        for one in readings
    ]
    of_texts = [[data.draw(hnp.arrays(np.float32, 3, elements=numbers))] for _ in readings]
    tokens = TokenHead(LABELS, agreement=agreement)
    classes = SequenceHead(["a", "b", "c"], temperature=1.3)
    for head, logits in ((tokens, of_words), (classes, of_texts)):
        alone = [head.decode(*each) for each in zip(logits, readings, strict=True)]
        assert decode_all(head, logits, readings) == alone


def test_a_class_that_decodes_otherwise_is_asked_of_each_text(encoder: TextEncoder) -> None:
    class Counting(TokenHead):
        def decode(self, logits: Any, reading: Reading) -> Any:
            return len(reading.encoded)

    texts = ["Ada", "", "the city"]
    readings = [reading_of(encoder, text) for text in texts]
    assert decode_all(Counting(LABELS), [[], [], []], readings) == [1, 0, 2]


def test_names_are_read_alike_in_a_text_and_not_across_texts(encoder: TextEncoder) -> None:
    sure = token_logits(encoder, "Ada Ada", "B-PER B-PER", sure=6.0)
    unsure = token_logits(encoder, "the Ada", ". B-LOC", sure=1.0)
    readings = [reading_of(encoder, text) for text in ("Ada Ada", "the Ada")]
    found = decode_all(TokenHead(LABELS, agreement=1.0), [sure, unsure], readings)
    assert [[entity.label for entity in one] for one in found] == [["PER", "PER"], ["LOC"]]


def test_an_agreement_that_is_no_share_is_refused() -> None:
    with pytest.raises(InputError, match=r"agreement is 1\.5; expected a share"):
        TokenHead(LABELS, agreement=1.5)


def test_probabilities_of_tags_are_learned_like_tags() -> None:
    """Of one certain tag each, with positions left out, they give the loss of the tags."""
    head = TokenHead(LABELS)
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    tags = torch.tensor([[0, 3, -100, 4], [-100, 1, 2, -100]])
    certain = torch.zeros(2, 4, 5)
    for row, place in (tags >= 0).nonzero().tolist():
        certain[row, place, tags[row, place]] = 1
    torch.testing.assert_close(head.loss(logits, certain), head.loss(logits, tags))
    smooth = {"label_smoothing": 0.1}
    torch.testing.assert_close(
        head.loss(logits, certain, **smooth), head.loss(logits, tags, **smooth)
    )


def test_each_token_is_tagged_by_the_window_that_owns_it(encoder: TextEncoder) -> None:
    text = "the city Ada Lovelace in the town"
    cut = [Window(0, 4, 0, 3), Window(2, 6, 3, 5), Window(4, 7, 5, 7)]
    assert [(w.owned_first, w.owned_last) for w in cut] == [(0, 3), (3, 5), (5, 7)]
    tags = [". . B-PER B-LOC", "B-LOC I-PER . B-LOC", ". . ."]
    said = [[LABELS.index(tag.replace(".", "O")) for tag in line.split()] for line in tags]
    logits = [np.eye(5, dtype=np.float32)[[0, *window, 0]] * 8 for window in said]
    entities = TokenHead(LABELS).decode(logits, reading_of(encoder, text, cut))
    assert [(e.text, e.label) for e in entities] == [("Ada Lovelace", "PER")]


@pytest.mark.parametrize(
    "labels", [["B-PER", "I-PER"], ["O", "PER"], ["O", "I-PER"], ["O", "B-X", "B-X"]]
)
def test_labels_that_are_not_iob2_are_refused(labels: list[str]) -> None:
    with pytest.raises(InputError, match="expected IOB2"):
        TokenHead(labels)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_label_smoothing_spreads_a_share_of_the_target(share: float) -> None:
    """Worked by hand: the loss against the target mixed with the uniform distribution."""
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
    logs = torch.log_softmax(logits, dim=1)
    spread = torch.eye(3)[[0, 2]] * (1 - share) + share / 3
    expected = -(spread * logs).sum(1).mean()
    smooth = {"label_smoothing": share}
    loss = SequenceHead(["a", "b", "c"]).loss(logits, torch.tensor([0, 2]), **smooth)
    assert float(loss) == pytest.approx(float(expected))
    tags = torch.tensor([[0, 2, -100]])
    padded = torch.cat([logits, torch.ones(1, 3)])[None]
    loss = TokenHead(["O", "B-X", "I-X"]).loss(padded, tags, **smooth)
    assert float(loss) == pytest.approx(float(expected))
    one = SequenceHead(["a"], multi_label=True).loss(torch.zeros(1, 1), torch.ones(1, 1), **smooth)
    assert float(one) == pytest.approx(np.log(2))


# -- sequence classification -----------------------------------------------------------------


def test_classes_are_ranked_by_probability(encoder: TextEncoder) -> None:
    head = SequenceHead(["negative", "neutral", "positive"])
    labels = head.decode([np.log(np.array([1, 2, 5], np.float32))], reading_of(encoder, "good"))
    assert [label.name for label in labels] == ["positive", "neutral", "negative"]
    assert [label.score for label in labels] == pytest.approx([0.625, 0.25, 0.125])


def test_multi_label_scores_stand_each_on_its_own(encoder: TextEncoder) -> None:
    head = SequenceHead(["a", "b", "c"], multi_label=True)
    labels = head.decode([np.array([-1000, 0, 1000], np.float32)], reading_of(encoder, "good"))
    assert [(label.name, label.score) for label in labels] == [("c", 1.0), ("b", 0.5), ("a", 0.0)]


def test_windows_vote_by_the_tokens_they_own(encoder: TextEncoder) -> None:
    text = "the old man lived in the city"
    cut = [Window(0, 5, 0, 4), Window(3, 7, 4, 7)]
    reading = reading_of(encoder, text, cut)
    assert list(reading.n_owned) == [4 + 2, 3 + 2]  # with [CLS] and [SEP]
    logits = [np.array([3.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)]
    labels = SequenceHead(["a", "b"]).decode(logits, reading)
    mean_a, mean_b = 3.0 * 6 / 11, 1.0 * 5 / 11
    assert labels[0].name == "a"
    assert labels[0].score == pytest.approx(1 / (1 + np.exp(mean_b - mean_a)))


@pytest.mark.parametrize(
    "config",
    [
        {"labels": ["one"]},
        {"labels": ["a", "a"]},
        {"labels": ["a", "b"], "pooling": "sum"},
        {"labels": ["a", "b"], "activation": "gelu"},
    ],
)
def test_a_classifier_that_cannot_be_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        SequenceHead(**config)


# -- span question answering -----------------------------------------------------------------

numbers = st.integers(-5, 5)


@given(
    tokens=st.lists(st.tuples(numbers, numbers, st.booleans()), min_size=1, max_size=25),
    n_best=st.integers(1, 6),
    max_words=st.integers(1, 8),
)
def test_best_spans_are_those_of_brute_force(
    tokens: list[tuple[int, int, bool]], n_best: int, max_words: int
) -> None:
    """Each token has a start score, an end score, and either opens a word or goes on with one."""
    words = np.cumsum([opens for _, _, opens in tokens])
    opens = np.append(True, words[1:] != words[:-1])
    closes = np.append(opens[1:], True)
    starts = np.where(opens, [float(s) for s, _, _ in tokens], -np.inf)
    ends = np.where(closes, [float(e) for _, e, _ in tokens], -np.inf)
    pairs = [
        (float(starts[i] + ends[j]), i, j)
        for i in range(len(tokens))
        for j in range(i, len(tokens))
        if opens[i] and closes[j] and words[j] - words[i] < max_words
    ]
    expected = sorted(pairs, key=lambda p: (-p[0], p[1], p[2]))[:n_best]
    assert _best_spans(starts, ends, words, n_best, max_words) == expected


def span_logits(reading: Reading, starts: dict[str, float], ends: dict[str, float]) -> list[Floats]:
    """One array a window: 0 everywhere, but for these tokens and "null" (position 0)."""
    encoded = reading.encoded
    tokens = [reading.text[s:e] for s, e in zip(encoded.starts, encoded.ends, strict=True)]
    logits = []
    for window in reading.windows:
        part = np.zeros((window.last - window.first + 2, 2), dtype=np.float32)
        part[0] = starts.get("null", 0.0), ends.get("null", 0.0)
        for i, token in enumerate(tokens[window.first : window.last]):
            part[i + 1] = starts.get(token, 0.0), ends.get(token, 0.0)
        logits.append(part)
    return logits


CONTEXT = "the old man lived in the river town"


def answers_to(encoder: TextEncoder, head: SpanHead, **options: Any) -> list[Answer]:
    reading = reading_of(encoder, CONTEXT)
    scores = {"null": 3.0, "old": 4.0, "river": 3.0}, {"null": 2.0, "man": 2.0, "town": 1.0}
    return head.decode(span_logits(reading, *scores), reading, **options)


def test_the_answer_is_the_best_span(encoder: TextEncoder) -> None:
    assert answers_to(encoder, SpanHead())[0].text == "old man"


def test_n_best_answers_come_best_first(encoder: TextEncoder) -> None:
    answers = answers_to(encoder, SpanHead(), n_best=4)
    # 4 + 2, 4 + 1, 4 + 0 (the first such end), ...
    assert [a.text for a in answers[:2]] == ["old man", "old man lived in the river town"]
    assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)
    assert len({(a.start, a.end) for a in answers}) == 4
    for answer in answers:
        assert answer.text == CONTEXT[answer.start : answer.end]


CHOOSING = [(0.8, 0.0), (0.0, 0.4), (1.0, 0.1), (0.5, 2.0)]


@pytest.mark.parametrize(("consensus", "length_cost"), CHOOSING)
def test_the_span_worth_most_is_quoted(
    encoder: TextEncoder, consensus: float, length_cost: float
) -> None:
    """Against the definition, on random logits over two windows."""
    reading = reading_of(encoder, CONTEXT, windows(8, 6, 2))
    head = SpanHead(consensus=consensus, length_cost=length_cost)
    words, moved = CONTEXT.split(), 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        shapes = [(window.last - window.first + 2, 2) for window in reading.windows]
        logits = [(2 * rng.normal(size=shape)).astype(np.float32) for shape in shapes]
        _, spans = head.candidates(logits, reading, 3, 30)
        assert len(spans) == N_WEIGHED
        ranges = {s: range(s.first, s.last + 1) for s in spans}
        weights = {s: np.exp(s.score - length_cost * (len(r) - 1)) for s, r in ranges.items()}
        worths = {}
        for span, mine in ranges.items():
            expected = sum(
                weights[other] * 2 * len({*mine} & {*theirs}) / (len(mine) + len(theirs))
                for other, theirs in ranges.items()
            )
            worths[span] = (1 - consensus) * weights[span] + consensus * expected
        best = sorted(worths, key=lambda span: -worths[span])[:3]
        answers = head.decode(logits, reading, no_answer=False, n_best=3)
        quoted = [" ".join(words[s.first : s.last + 1]) for s in best]
        assert [answer.text for answer in answers] == quoted
        assert answers[0].score >= answers[1].score >= answers[2].score
        moved += best[0] != spans[0]
    assert 0 < moved < 50


@pytest.mark.parametrize(("consensus", "length_cost"), CHOOSING)
def test_the_choice_among_spans_does_not_decide_whether_there_is_an_answer(
    encoder: TextEncoder, consensus: float, length_cost: float
) -> None:
    weighing = SpanHead(-1.0, consensus=consensus, length_cost=length_cost)
    reading = reading_of(encoder, CONTEXT)
    found = set()
    for seed in range(50):
        logits = [np.random.default_rng(seed).normal(size=(10, 2)).astype(np.float32)]
        plain, weighed = (head.decode(logits, reading)[0] for head in (SpanHead(-1.0), weighing))
        assert bool(plain) == bool(weighed)
        found.add(bool(plain))
    assert found == {True, False}


@pytest.mark.parametrize(("consensus", "length_cost"), [(0.0, 0.0), *CHOOSING])
def test_the_first_answers_are_the_same_however_many_are_asked_for(
    encoder: TextEncoder, consensus: float, length_cost: float
) -> None:
    head = SpanHead(consensus=consensus, length_cost=length_cost)
    reading = reading_of(encoder, CONTEXT)
    for seed in range(30):
        logits = [np.random.default_rng(seed).normal(size=(10, 2)).astype(np.float32)]
        many = head.decode(logits, reading, no_answer=False, n_best=30)
        assert len(many) == 30
        assert [a.score for a in many] == sorted((a.score for a in many), reverse=True)
        for n_best in (1, 3, 12):
            assert head.decode(logits, reading, no_answer=False, n_best=n_best) == many[:n_best]


@pytest.mark.parametrize("values", [{"consensus": 1.1}, {"consensus": -0.1}, {"length_cost": -1.0}])
def test_a_choice_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(InputError, match=f"{name} is {values[name]}; expected"):
        SpanHead(**values)


def test_an_answer_has_at_most_so_many_words(encoder: TextEncoder) -> None:
    for length, text in ((1, "old"), (2, "old man")):
        (answer,) = answers_to(encoder, SpanHead(), max_answer_length=length, no_answer=False)
        assert answer.text == text


@pytest.mark.parametrize(("threshold", "text"), [(-2.0, None), (-1.01, None), (-0.99, "old man")])
def test_no_answer_wins_by_more_than_the_threshold(
    encoder: TextEncoder, threshold: float, text: str | None
) -> None:
    """The best span scores 6, "no answer" 5: it leads by -1."""
    (answer,) = answers_to(encoder, SpanHead(threshold))
    assert (answer.text, bool(answer)) == (text, text is not None)
    assert answers_to(encoder, SpanHead(threshold), no_answer=False)[0].text == "old man"


def test_scores_are_shares_of_all_spans_and_of_no_answer(encoder: TextEncoder) -> None:
    starts = np.exp([4.0, 3.0]).sum() + 6  # the other six tokens: e^0
    ends = np.exp([2.0, 1.0]).sum() + 6
    (answer,) = answers_to(encoder, SpanHead(), no_answer=False)
    assert answer.score == pytest.approx(np.exp(6.0) / (starts * ends))
    (answer,) = answers_to(encoder, SpanHead())
    assert answer.score == pytest.approx(np.exp(6.0) / (starts * ends + np.exp(5.0)))
    (nothing,) = answers_to(encoder, SpanHead(threshold=-2.0))  # counts as 5 + 2
    assert nothing.score == pytest.approx(np.exp(7.0) / (starts * ends + np.exp(7.0)))


def test_a_calibrated_score_is_a_line_through_its_log_odds(encoder: TextEncoder) -> None:
    calibrated = SpanHead(calibration=(0.5, -1.0))
    for options in ({"no_answer": False, "n_best": 4}, {}):
        before = answers_to(encoder, SpanHead(), **options)
        after = answers_to(encoder, calibrated, **options)
        assert [a.text for a in before] == [a.text for a in after]
        for plain, moved in zip(before, after, strict=True):
            odds = np.log(plain.score / (1 - plain.score))
            assert moved.score == pytest.approx(1 / (1 + np.exp(-0.5 * odds + 1)))
    (nothing,) = answers_to(encoder, SpanHead(threshold=-2.0, calibration=(0.5, -1.0)))
    assert not nothing
    assert 0 < nothing.score < 1


def test_spans_alone_have_a_line_of_their_own(encoder: TextEncoder) -> None:
    both = SpanHead(calibration=(0.5, -1.0), span_calibration=(2.0, 0.3))
    for options, line in (({}, (0.5, -1.0)), ({"no_answer": False}, (2.0, 0.3))):
        (alone,) = answers_to(encoder, SpanHead(calibration=line), **options)
        assert answers_to(encoder, both, **options) == [alone]


def test_refusals_have_a_line_of_their_own(encoder: TextEncoder) -> None:
    line = (2.0, 0.3)
    for threshold, refused in ((0.0, False), (-2.0, True)):
        head = SpanHead(threshold, calibration=(0.5, -1.0), refusal_calibration=line)
        (found,) = answers_to(encoder, head)
        assert (not found) == refused
        own = SpanHead(threshold, calibration=line if refused else (0.5, -1.0))
        assert [found] == answers_to(encoder, own)


@pytest.mark.parametrize("name", ["calibration", "refusal_calibration", "span_calibration"])
@pytest.mark.parametrize("line", [(0.0, 1.0), (-1.0, 0.0), (1.0,)])
def test_a_calibration_that_would_turn_the_order_is_refused(
    name: str, line: tuple[float, ...]
) -> None:
    with pytest.raises(InputError, match=f"{name} is .* a slope above 0"):
        make_head("question-answering", {name: line})


def test_over_windows_the_best_span_and_the_least_null_count(encoder: TextEncoder) -> None:
    cut = windows(8, 4, 2)
    reading = reading_of(encoder, CONTEXT, cut)
    logits = span_logits(reading, {"old": 2.0, "river": 3.0}, {"man": 1.0, "town": 3.0})
    for part, null in zip(logits, (9.0, 2.5, 8.0), strict=True):
        part[0] = null, 0.0
    (answer,) = SpanHead().decode(logits, reading)
    assert (answer.text, answer.start) == ("river town", CONTEXT.index("river"))
    assert not SpanHead(threshold=-4.0).decode(logits, reading)[0]  # 2.5 - 6 > -4
    assert SpanHead(threshold=-3.0).decode(logits, reading)[0]


def test_a_word_longer_than_every_window_still_has_answers(encoder: TextEncoder) -> None:
    word = "zq" * 20
    reading = reading_of(encoder, word, windows(40, 16, 4))
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(window.last - window.first + 2, 2)) for window in reading.windows]
    logits = [part.astype(np.float32) for part in parts]
    (answer,) = SpanHead().decode(logits, reading, no_answer=False)
    assert answer
    assert word[answer.start : answer.end] == answer.text


@pytest.mark.parametrize("options", [{"n_best": 0}, {"max_answer_length": 0}])
def test_options_that_cannot_be_are_refused(encoder: TextEncoder, options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        answers_to(encoder, SpanHead(), **options)


# -- pooling ---------------------------------------------------------------------------------


def hidden_of_long_text(kit: Pipeline, text: str) -> tuple[Batch, Floats]:
    """The windows of a text as a batch, and the hidden states of each."""
    (encoded,) = kit.encoder.encode([text])
    cut = windows(len(encoded), kit.sizes.size - 2, kit.sizes.overlap)
    assert len(cut) > 3
    batch = pad([kit.encoder.row(encoded, window) for window in cut], kit.encoder.pad_id)
    hidden: Floats = kit.engine.hidden(batch)[""]  # type: ignore[attr-defined]
    return batch, hidden


LONG = "the old man of the city lived in London and built engines, " * 8


def test_a_long_text_is_the_mean_over_all_its_tokens_each_counted_once(kit: Pipeline) -> None:
    batch, hidden = hidden_of_long_text(kit, LONG)
    owned = batch.owned == 1
    n_tokens = len(kit.encoder.encode([LONG])[0])
    assert owned.sum() == n_tokens + 2 * len(hidden)  # every window has a [CLS] and a [SEP]
    mean = hidden[owned].mean(axis=0) @ kit.head("embedding").parameters["weight"].T
    np.testing.assert_allclose(kit.embed(LONG), mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_other_poolings_of_a_long_text(kit: Pipeline, pooling: str) -> None:
    batch, hidden = hidden_of_long_text(kit, LONG)
    owned = batch.owned == 1
    if pooling == "max":
        expected = hidden[owned].max(axis=0)
    else:
        expected = np.average(hidden[:, 0], axis=0, weights=owned.sum(axis=1))
    head = PoolingHead(pooling, normalize=False)
    parts = list(head.forward(hidden, batch, {}))
    n_owned = owned.sum(axis=1).tolist()
    (encoded,) = kit.encoder.encode([LONG])
    reading = Reading(LONG, encoded, [], [], n_owned, 32)
    np.testing.assert_allclose(head.decode(parts, reading), expected, atol=1e-5)


def test_pairs_find_each_other() -> None:
    """The loss by its definition; two texts with the same partner both count as right."""
    rng = torch.Generator().manual_seed(0)
    texts, others = torch.randn(2, 3, 8, generator=rng)
    others[2] = others[0]
    ids = torch.tensor([[5, 6], [5, 7], [5, 6]])
    right = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    cosines = torch.nn.functional.cosine_similarity(texts[:, None], others[None], dim=-1)
    expected = torch.zeros(())
    for scores in (cosines, cosines.T):
        expected -= (right * (SCALE * scores).log_softmax(dim=1)).sum() / 3 / 2
    torch.testing.assert_close(PoolingHead().contrast(texts, others, ids), expected)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(InputError, match="'sum'; expected mean, cls or max"):
        PoolingHead("sum")
