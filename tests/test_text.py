"""Texts to tokens, words, windows, rows and batches; offsets back into the caller's string."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import FRAGMENTS, texts
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from nlpkit.errors import InputError
from nlpkit.text import (
    N_SHAPES,
    PIECE,
    SHAPES,
    Encoded,
    TextEncoder,
    Window,
    batches,
    pad,
    rounded,
    windows,
)

#: 1 MB of English with line ends, and some that isn't.
DOCUMENT = ("The old man lived in Ada's house (No. 12).\r\n" + "".join(FRAGMENTS)) * 3500


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Tokenizer:
    """The tokenizer itself, as a reference."""
    return Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))


def words_of(text: str, encoded: Encoded) -> list[str]:
    """The words, each from its first token's start to its last token's end."""
    n_words = int(encoded.words[-1]) + 1 if len(encoded) else 0
    parts = [np.flatnonzero(encoded.words == word) for word in range(n_words)]
    return [text[encoded.starts[part[0]] : encoded.ends[part[-1]]] for part in parts]


# -- equality with the tokenizer -------------------------------------------------------------


@pytest.mark.parametrize("text", ["Ada lived in London.", "caf\u00e9s \u4e2d\u6587 \U0001f389!"])
def test_a_row_is_what_the_tokenizer_makes_of_the_text(
    encoder: TextEncoder, tokenizer: Tokenizer, text: str
) -> None:
    (encoded,) = encoder.encode([text])
    row = encoder.row(encoded, Window(0, len(encoded), 0, len(encoded)))
    assert row.ids.tolist() == tokenizer.encode(text).ids


def test_a_pair_row_is_what_the_tokenizer_makes_of_the_pair(
    encoder: TextEncoder, tokenizer: Tokenizer
) -> None:
    question, context = "Who lived there?", "Ada lived in London."
    q, c = encoder.encode([question, context])
    row = encoder.pair_row(q, c, Window(0, len(c), 0, len(c)))
    expected = tokenizer.encode(question, context)
    assert row.ids.tolist() == expected.ids
    assert (row.types // N_SHAPES).tolist() == expected.type_ids
    assert row.offset == len(q) + 2
    assert row.owned.tolist() == [False] * row.offset + [True] * len(c) + [False]


@given(text=texts())
def test_ids_of_any_text_are_those_of_the_tokenizer(
    encoder: TextEncoder, tokenizer: Tokenizer, text: str
) -> None:
    (encoded,) = encoder.encode([text])
    sendable = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if len(sendable) == len(text):
        assert encoded.ids.tolist() == tokenizer.encode(sendable, add_special_tokens=False).ids


def test_a_document_of_a_megabyte_is_tokenised_as_if_at_once(
    encoder: TextEncoder, tokenizer: Tokenizer
) -> None:
    plain = "The old man of the city lived in Ada's house (No. 12).\r\n" * 18_000
    (encoded,) = encoder.encode([plain])
    expected = tokenizer.encode(plain, add_special_tokens=False)
    assert encoded.ids.tolist() == expected.ids
    assert list(zip(encoded.starts, encoded.ends, strict=True)) == expected.offsets


# -- offsets and words -----------------------------------------------------------------------


@given(text=texts())
def test_offsets_are_those_of_the_callers_own_string(encoder: TextEncoder, text: str) -> None:
    (encoded,) = encoder.encode([text])
    assert (encoded.starts >= 0).all()
    assert (encoded.starts < encoded.ends).all()
    assert (encoded.ends <= len(text)).all()
    assert (np.diff(encoded.starts) >= 0).all()
    for start, end in zip(encoded.starts, encoded.ends, strict=True):
        assert text[start:end].strip() == text[start:end]
    assert set(np.diff(encoded.words)) <= {0, 1}
    assert encoded.word_starts.sum() == len(set(encoded.words.tolist()))
    assert 0 <= encoded.unknown <= 1


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_tokens_say_what_stands_at_their_offsets(encoder: TextEncoder, text: str) -> None:
    (encoded,) = encoder.encode([text])
    pieces = [text[s:e] for s, e in zip(encoded.starts, encoded.ends, strict=True)]
    assert "".join(pieces) == "".join(text.split())


def test_offsets_hold_in_a_hard_document_of_a_megabyte(encoder: TextEncoder) -> None:
    (encoded,) = encoder.encode([DOCUMENT])
    assert len(DOCUMENT) > 1_000_000
    assert (encoded.starts[1:] >= encoded.starts[:-1]).all()
    first, last = DOCUMENT.index("Ada's"), DOCUMENT.rindex("Ada's")
    for at in (first, last):
        token = int(np.searchsorted(encoded.starts, at))
        assert (encoded.starts[token], encoded.ends[token]) == (at, at + 3)


def test_ten_megabytes_without_a_space_are_one_word(encoder: TextEncoder) -> None:
    text = "x" * 10_000_000
    (encoded,) = encoder.encode([text])
    assert len(encoded) < len(text) / PIECE + 1
    assert words_of(text, encoded) == [text]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ada's phone", ["Ada", "'", "s", "phone"]),
        ("zyx qwerty12", ["zyx", "qwerty12"]),
        ("U.S. 3.14", ["U", ".", "S", ".", "3", ".", "14"]),
        ("Zoe\u0308 cafe\u0301s", ["Zoe\u0308", "cafe\u0301s"]),  # marks that the vocabulary drops
        ("a\u0301\u0302b", ["a\u0301\u0302b"]),
        ("so\u00adft x\x00y", ["so\u00adft", "x\x00y"]),
        ("\u4e2d\u6587 a\u4e2d", ["\u4e2d", "\u6587", "a", "\u4e2d"]),  # written without spaces
        ("\u2764\ufe0f ok", ["\u2764\ufe0f", "ok"]),
        ("  \r\n ", []),
        ("", []),
    ],
)
def test_words(encoder: TextEncoder, text: str, words: list[str]) -> None:
    (encoded,) = encoder.encode([text])
    assert words_of(text, encoded) == words


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("engine", "lower"),
        ("Ada", "Capitalised"),
        ("\u00c9mile", "Capitalised"),
        ("NATO", "UPPER"),
        ("I", "C"),
        ("E\u0301", "C"),  # one letter, though two characters
        ("iPhone", "miXed3"),
        ("B2B", "miXed3"),
        ("mp3", "miXed3"),
        ("1843", "123"),
        ("!", "?!"),
        ("\u2764\ufe0f", "?!"),
        ("\u4e2d", "lower"),
    ],
)
def test_word_shapes(encoder: TextEncoder, word: str, shape: str) -> None:
    (encoded,) = encoder.encode([f"the {word} of"])
    (shaped,) = set(encoded.shapes[encoded.words == 1].tolist())
    assert SHAPES[shaped] == shape


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("the city", 0.0),
        ("ab \u4e2d\u6587", 0.5),
        ("\u4e2d\u6587 \u4e2d", 1.0),
        ("", 0.0),
        (" ", 0.0),
    ],
)
def test_the_share_of_unknown_characters(encoder: TextEncoder, text: str, share: float) -> None:
    (encoded,) = encoder.encode([text])
    assert encoded.unknown == pytest.approx(share)


# -- windows ---------------------------------------------------------------------------------


def test_windows_by_example() -> None:
    assert windows(10, 6, 2) == [Window(0, 6, 0, 5), Window(4, 10, 5, 10)]
    assert windows(6, 6, 2) == [Window(0, 6, 0, 6)]
    assert windows(0, 6, 2) == [Window(0, 0, 0, 0)]
    assert windows(11, 10, 2) == [Window(0, 6, 0, 5), Window(4, 11, 5, 11)], "no short rest"


@given(
    n_tokens=st.integers(0, 2000), size=st.integers(1, 300), share=st.floats(0, 1, exclude_max=True)
)
def test_each_token_is_owned_by_one_window(n_tokens: int, size: int, share: float) -> None:
    overlap = int(size * share)
    cut = windows(n_tokens, size, overlap)
    owned = [token for w in cut for token in range(w.owned_first, w.owned_last)]
    assert owned == list(range(n_tokens))
    for window in cut:
        assert window.first <= window.owned_first
        assert window.owned_last <= window.last <= window.first + size
        # Neighbours on both sides, but at the text's own ends.
        assert window.first == 0 or window.owned_first - window.first >= overlap // 2
        assert window.last == n_tokens or window.last - window.owned_last >= overlap // 2
    lengths = [window.last - window.first for window in cut]
    assert max(lengths) - min(lengths) <= 1
    assert len(cut) == 1 or n_tokens > overlap + (len(cut) - 1) * (size - overlap), "fewest"


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (5, 5), (5, 6), (5, -1)])
def test_windows_that_cannot_be_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(InputError, match="expected 0 <= overlap < size"):
        windows(100, size, overlap)


# -- batches ---------------------------------------------------------------------------------


def test_batches_by_example() -> None:
    assert batches([3, 20, 2, 18], 64) == [[1, 3], [0, 2]]  # rows of 32 and of 16
    assert batches([3, 20, 2, 18], 63) == [[1], [3], [0, 2]]
    assert [len(group) for group in batches([5] * 30, 180)] == [8, 8, 8, 6]  # and not 11
    assert [len(group) for group in batches([60] * 7, 200)] == [3, 3, 1]


@given(lengths=st.lists(st.integers(1, 300), max_size=60), token_budget=st.integers(1, 2000))
def test_batches_hold_every_row_once_within_the_budget(
    lengths: list[int], token_budget: int
) -> None:
    groups = batches(lengths, token_budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[i] for i in group)
        assert len(group) == 1 or len(group) * rounded(longest) <= token_budget
    longest_first = [max(lengths[i] for i in group) for group in groups]
    assert longest_first == sorted(longest_first, reverse=True)


def test_packed_batches_by_example() -> None:
    """The longest first, and in what room is left the longest that fits."""
    assert batches([60, 10, 50, 12, 40, 30], 128, packed=True) == [[0, 2, 3], [4, 5, 1]]
    assert batches([70, 5, 5], 64, packed=True) == [[0], [1, 2]]
    # A row of 64 beside short ones: not more places than 1.5 for each token of the budget.
    assert [len(group) for group in batches([60] + [1] * 9, 128, packed=True)] == [3, 7]


@given(lengths=st.lists(st.integers(1, 300), max_size=60), token_budget=st.integers(1, 2000))
def test_packed_batches_hold_every_row_once_within_the_budget(
    lengths: list[int], token_budget: int
) -> None:
    groups = batches(lengths, token_budget, packed=True)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        sizes = [lengths[i] for i in group]
        places = len(group) * rounded(max(sizes))
        assert len(group) == 1 or (sum(sizes) <= token_budget and places <= 1.5 * token_budget)
        assert sizes == sorted(sizes, reverse=True)
    assert [lengths[group[0]] for group in groups] == sorted(
        (max(lengths[i] for i in group) for group in groups), reverse=True
    )


def test_rows_are_padded_to_the_longest_of_them(encoder: TextEncoder) -> None:
    encoded = encoder.encode(["Ada lived", "Ada"])
    rows = [encoder.row(e, Window(0, len(e), 0, len(e))) for e in encoded]
    batch = pad(rows, 0)
    assert batch.ids.shape == (2, 4)
    assert pad(rows, 0, 8).ids.shape == (2, 8)
    assert batch.mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch.owned.tolist() == batch.mask.tolist()
    assert batch.ids[1].tolist() == [*rows[1].ids, 0]
    assert batch.types[1].tolist() == [0, SHAPES.index("Capitalised"), 0, 0]


def test_a_window_owns_its_own_tokens_and_the_special_ones(encoder: TextEncoder) -> None:
    (encoded,) = encoder.encode(["the old man lived in the city"])
    row = encoder.row(encoded, Window(1, 6, 2, 5))
    assert row.ids.tolist() == [*encoder.prefix, *encoded.ids[1:6], *encoder.suffix]
    assert row.owned.tolist() == [True, False, True, True, True, False, True]


# -- tokenizers that will not do -------------------------------------------------------------


def test_a_tokenizer_without_special_tokens_is_refused() -> None:
    bare = Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(InputError, match="separate the two texts"):
        TextEncoder(bare, shape_types=False, n_types=2, max_length=64)
