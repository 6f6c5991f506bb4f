"""From strings to windows of token ids and back to characters.

A text is tokenised once, without truncation. Its tokens carry character offsets into the
caller's own string, the number of the word they belong to and that word's shape (an uncased
vocabulary loses the capitals; the shape gives them back). A text longer than the backbone
can read is cut into overlapping windows; each token is *owned* by exactly one of them.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from nlpkit.errors import InputError

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: The shapes a word can have, by number.
SHAPES = ("lower", "Capitalised", "UPPER", "C", "miXed3", "123", "?!")
N_SHAPES = len(SHAPES)
#: Which of them words with a capital have.
CASED = np.array([0, 1, 1, 1, 1, 0, 0], dtype=bool)
#: Numbers of rows above this are multiples of it; see batches.
ROWS = 8
#: Lengths of batches are multiples of this. CPU kernels take 16 floats at once: where none is left
#: over, a row's sums are added in the same order however far it is padded.
LENGTHS = 16
#: Of a batch that is read without padding: its places, padding with them, in parts of its tokens.
MOST_PADDED = 1.5
#: Texts are tokenised in pieces of about this many characters, to bound memory.
PIECE = 50_000
#: Stands between texts that are looked at together: white space, which ends every word.
BETWEEN = "\n"

_WORD, _UPPER, _LOWER, _DIGIT, _SPACE, _ALONE, _MARK, _SILENT = 1, 2, 4, 8, 16, 32, 64, 128


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of one text, without special tokens. All arrays have shape (n_tokens,)."""

    ids: Ints
    starts: Ints  #: first character of each token
    ends: Ints  #: one past its last character
    words: Ints  #: number of the word that the token belongs to, counting from 0
    shapes: Ints  #: shape of that word, an index into SHAPES
    unknown: float  #: share of the text's non-space characters that the vocabulary lacks

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def word_starts(self) -> Bools:
        """True where a token is the first of its word."""
        first = np.ones(len(self.words), dtype=bool)
        first[1:] = self.words[1:] != self.words[:-1]
        return first

    def part(self, first: int, last: int) -> Encoded:
        return Encoded(
            self.ids[first:last],
            self.starts[first:last],
            self.ends[first:last],
            self.words[first:last],
            self.shapes[first:last],
            self.unknown,
        )


_EMPTY = np.zeros(0, dtype=np.int64)
_NOTHING = Encoded(_EMPTY, _EMPTY, _EMPTY, _EMPTY, _EMPTY, 0.0)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a text that can be seen. All arrays have shape (n_words,)."""

    firsts: Ints  #: the first token of each word
    starts: Ints  #: its first character
    ends: Ints  #: one past its last character

    def __len__(self) -> int:
        return len(self.firsts)


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens ``first:last`` of a text, read together; ``owned_first:owned_last`` are its own."""

    first: int
    last: int
    owned_first: int
    owned_last: int


@dataclass(frozen=True, slots=True)
class Row:
    """What the backbone reads in one row: ids with special tokens, token types, what is owned.

    ``offset`` is the row position of the window's first text token.
    """

    ids: Ints
    types: Ints
    shapes: Ints
    owned: Bools
    offset: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded to the longest. All arrays have shape (batch, length), numpy or torch.

    ``mask`` is 1 on real tokens; ``owned`` is 1 on those that pooling may count (a window's own
    tokens and its special tokens); ``shapes`` are word shapes; ``types`` go into the backbone.
    """

    ids: Any
    mask: Any
    types: Any
    shapes: Any
    owned: Any


class TextEncoder:
    """A tokenizer with its special tokens: strings to Encoded, Encoded to rows.

    ``shape_types`` says that the backbone has a token-type row for every (segment, word shape):
    type = segment * N_SHAPES + shape. ``n_types`` 0 or 1 means it has no segments at all.
    Safe to share between threads: the tokenizer is never changed after construction.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        shape_types: bool,
        n_types: int,
        max_length: int,
        pad_id: int = 0,
    ) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # "[SEP]" in a caller's text is text
        self._tokenizer = tokenizer
        self.shape_types = shape_types
        self.n_types = n_types
        self.max_length = max_length
        self.pad_id = pad_id
        self.unknown_id = _unknown_id(tokenizer)
        self.prefix, self.middle, self.suffix = _special_ids(tokenizer)

    def vocabulary(self) -> dict[str, int]:
        """Word pieces and their ids."""
        known: dict[str, int] = self._tokenizer.get_vocab()
        return known

    def to_str(self) -> str:
        """The content of a tokenizer.json."""
        serialised: str = self._tokenizer.to_str()
        return serialised

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokenise texts of any length, in order."""
        cut = [_pieces(text) for text in texts]
        pieces = [_without_surrogates(piece) for one in cut for piece in one]
        encodings = self._tokenizer.encode_batch(pieces, add_special_tokens=False)
        ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), dtype=np.int64)
        offsets = [*chain.from_iterable(e.offsets for e in encodings)]
        bounds = np.array(offsets, dtype=np.int64).reshape(-1, 2)
        sizes = [len(encoding) for encoding in encodings]
        bases = [*_bases(cut)]
        bounds += np.repeat(np.array(bases, dtype=np.int64), sizes)[:, None]
        counts = iter(sizes)
        n_tokens = [sum(islice(counts, len(one))) for one in cut]
        return _with_words(texts, n_tokens, ids, bounds, self.unknown_id)

    def row(self, encoded: Encoded, window: Window) -> Row:
        """The row for one window of a single text: prefix, tokens, suffix."""
        part = slice(window.first, window.last)
        ids = np.concatenate([self.prefix, encoded.ids[part], self.suffix])
        offset = len(self.prefix)
        shapes = np.zeros(len(ids), dtype=np.int64)
        shapes[offset : len(ids) - len(self.suffix)] = encoded.shapes[part]
        owned = np.ones(len(ids), dtype=bool)
        owned[offset : offset + window.owned_first - window.first] = False
        owned[offset + window.owned_last - window.first : len(ids) - len(self.suffix)] = False
        return Row(ids, self._types(shapes, 0), shapes, owned, offset)

    def pair_row(self, question: Encoded, context: Encoded, window: Window) -> Row:
        """The row for a question and one window of a context."""
        part = slice(window.first, window.last)
        head = np.concatenate([self.prefix, question.ids, self.middle])
        ids = np.concatenate([head, context.ids[part], self.suffix])
        offset = len(head)
        head_shapes, tail_shapes = np.zeros(offset, np.int64), np.zeros(len(ids) - offset, np.int64)
        head_shapes[len(self.prefix) : offset - len(self.middle)] = question.shapes
        tail_shapes[: len(tail_shapes) - len(self.suffix)] = context.shapes[part]
        types = np.concatenate([self._types(head_shapes, 0), self._types(tail_shapes, 1)])
        owned = np.zeros(len(ids), dtype=bool)
        owned[
            offset + window.owned_first - window.first : offset + window.owned_last - window.first
        ] = True
        return Row(ids, types, np.concatenate([head_shapes, tail_shapes]), owned, offset)

    def _types(self, shapes: Ints, segment: int) -> Ints:
        if self.shape_types:
            return shapes + segment * N_SHAPES
        return np.full(len(shapes), min(segment, max(self.n_types - 1, 0)), dtype=np.int64)


def words_of(encoded: Encoded) -> Words:
    """The words of a text, without the tokens that some tokenizers make of white space."""
    firsts = encoded.word_starts.nonzero()[0]
    lasts = np.empty_like(firsts)
    lasts[:-1], lasts[-1:] = firsts[1:] - 1, len(encoded) - 1
    starts, ends = encoded.starts[firsts], encoded.ends[lasts]
    visible = ends > starts
    if visible.all():
        return Words(firsts, starts, ends)
    return Words(firsts[visible], starts[visible], ends[visible])


def joined(texts: Sequence[Encoded]) -> tuple[Encoded, Ints]:
    """The tokens of texts one after another, and which text each is of.

    Their characters are still counted from the beginning of each text; their words are told apart.
    """
    if len(texts) == 1:
        return texts[0], np.zeros(len(texts[0]), dtype=np.int64)
    sizes = [len(text) for text in texts]
    of_text = np.repeat(np.arange(len(texts)), sizes)
    ids, starts, ends, words, shapes = (
        np.concatenate([getattr(text, name) for text in texts])
        for name in ("ids", "starts", "ends", "words", "shapes")
    )
    n_words = [int(text.words[-1]) + 1 if len(text) else 0 for text in texts]
    words += np.repeat(np.cumsum([0, *n_words[:-1]]), sizes)
    return Encoded(ids, starts, ends, words, shapes, 0.0), of_text


def windows(n_tokens: int, size: int, overlap: int) -> list[Window]:
    """Cut ``n_tokens`` into windows of at most ``size`` that overlap by ``overlap`` tokens.

    As few as it takes, of about the same length: a short rest would tell the model little. Each
    token is owned by exactly one window; inside an overlap the owner changes in the middle, so that
    an owned token sees at least ``overlap // 2`` neighbours on both sides.
    """
    if size < 1 or not 0 <= overlap < size:
        raise InputError(
            f"a window of {size} tokens with an overlap of {overlap}: expected 0 <= overlap < size"
        )
    if n_tokens <= size:
        return [Window(0, n_tokens, 0, n_tokens)]
    new = n_tokens - overlap  # what windows bring beyond their overlaps
    n = -(-new // (size - overlap))
    firsts = [i * new // n for i in range(n + 1)]
    lasts = [first + overlap for first in firsts[1:]]
    ends = [0, *(last - overlap // 2 for last in lasts[:-1]), n_tokens]
    return [*map(Window, firsts[:-1], lasts, ends[:-1], ends[1:])]


def batches(lengths: Sequence[int], token_budget: int, *, packed: bool = False) -> list[list[int]]:
    """Group rows of like length; lists of indices into ``lengths``, longest rows first.

    Rows times the longest stay within ``token_budget``. The longest counts as :func:`rounded`, and
    above ROWS rows their number is a multiple of it: engines prepare for each shape that they meet,
    so it is well that these are few. ``packed`` is for engines that read no padding outside
    attention: there the tokens of all rows stay within the budget, and what room is left is filled
    with shorter rows, so that all batches but the last are nearly full. A row above the budget
    stands alone.
    """
    left = sorted(range(len(lengths)), key=lambda i: (lengths[i], -i))
    if packed:
        return _filled(left, [lengths[i] for i in left], token_budget)
    groups: list[list[int]] = []
    while left:
        most = max(1, token_budget // rounded(lengths[left[-1]]))
        if most > ROWS:
            most -= most % ROWS
        groups.append(left[-most:][::-1])
        del left[-most:]
    return groups


def _filled(left: list[int], sizes: list[int], token_budget: int) -> list[list[int]]:
    """Rows, shortest first, and their sizes to groups of the longest that still fit."""
    groups: list[list[int]] = []
    while left:
        most = max(1, int(token_budget * MOST_PADDED) // rounded(sizes[-1]))
        group: list[int] = []
        room, at = token_budget, len(left) - 1
        while at >= 0 and len(group) < most:
            room -= sizes.pop(at)
            group.append(left.pop(at))
            at = bisect_right(sizes, room) - 1
        groups.append(group)
    return groups


def rounded(length: int) -> int:
    """The length up to which a row is padded: the next multiple of LENGTHS."""
    return max(-(-length // LENGTHS), 1) * LENGTHS


def pad(rows: Sequence[Row], pad_id: int, length: int | None = None) -> Batch:
    """Stack rows into a Batch, padded on the right to the longest of them, or to ``length``."""
    shape = (len(rows), length or max(len(row) for row in rows))
    ids = np.full(shape, pad_id, dtype=np.int64)
    mask, types, shapes, owned = (np.zeros(shape, dtype=np.int64) for _ in range(4))
    for i, row in enumerate(rows):
        n = len(row)
        ids[i, :n], mask[i, :n], types[i, :n] = row.ids, 1, row.types
        shapes[i, :n], owned[i, :n] = row.shapes, row.owned
    return Batch(ids, mask, types, shapes, owned)


# -- characters, words and shapes ------------------------------------------------------------


@dataclass(slots=True)
class _CharacterTable:
    """Flags of every code point, filled in blocks of 256 the first time one is seen."""

    flags: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0x110000, dtype=np.uint8))
    filled: Bools = field(default_factory=lambda: np.zeros(0x1100, dtype=bool))

    def of(self, text: str) -> NDArray[np.uint8]:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        blocks = codes >> 8
        if not self.filled[blocks].all():
            for block in set(blocks.tolist()):
                if not self.filled[block]:
                    first = block << 8
                    self.flags[first : first + 256] = [
                        _flags(chr(c)) for c in range(first, first + 256)
                    ]
                    self.filled[block] = True
        return self.flags[codes]


def _flags(char: str) -> int:
    category = unicodedata.category(char)
    flags = 0
    if category[0] in "LN" or category in ("Mn", "Mc"):
        flags |= _WORD
    if char.isupper() or category == "Lt":
        flags |= _UPPER
    elif char.islower():
        flags |= _LOWER
    if category == "Nd":
        flags |= _DIGIT
    if char.isspace():
        flags |= _SPACE
    if _stands_alone(ord(char)):
        flags |= _ALONE
    if category[0] == "M":
        flags |= _MARK
    if category[0] == "M" or (category in ("Cc", "Cf") and not char.isspace()):
        flags |= _SILENT
    return flags


def _stands_alone(code: int) -> bool:
    """Ideographs and kana: written without spaces, so each token is a word of its own."""
    return (
        0x2E80 <= code <= 0x30FF
        or 0x3400 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )


#: What the shapes are told from: flags that are counted together, each in bits of its own of one
#: number, in a word's first 4,095 characters. Combining marks belong to their letters.
_COUNTED = (_UPPER, _LOWER, _DIGIT, _WORD, _MARK)
_COUNT_BITS = 12
_MOST_COUNTED = (1 << _COUNT_BITS) - 1
_COUNTS = np.array(
    [
        sum((flags & (b | _MARK) == b) << (_COUNT_BITS * i) for i, b in enumerate(_COUNTED))
        for flags in range(256)
    ],
    dtype=np.int64,
)
_TABLE = _CharacterTable()
_SPACES = re.compile(r"\s")


def _with_words(
    texts: Sequence[str], n_tokens: Sequence[int], ids: Ints, bounds: Ints, unknown_id: int
) -> list[Encoded]:
    """The tokens of all texts, whose bounds are those in the texts joined by BETWEEN."""
    if not len(ids):
        return [_NOTHING] * len(texts)
    flags = _TABLE.of(BETWEEN.join(texts))
    starts, ends = _trimmed(bounds[:, 0], bounds[:, 1], (flags & _SPACE) != 0)
    ends = _with_marks(starts, ends, (flags & _MARK) != 0)
    joinable = (flags & (_WORD | _ALONE)) == _WORD
    heard = _running((flags & _SILENT) == 0)
    joins = np.zeros(len(ids), dtype=bool)
    left, right = np.maximum(ends[:-1] - 1, 0), np.minimum(starts[1:], len(flags) - 1)
    # A token goes on with the word before it where nothing that is seen lies between two word
    # characters: vocabularies drop accents and control characters, which end no word.
    # Tokens that share characters (several byte-level tokens for one emoji) stay together too.
    joins[1:] = (starts[1:] < ends[:-1]) | (
        (heard[starts[1:]] == heard[ends[:-1]]) & joinable[left] & joinable[right]
    )
    words = np.cumsum(~joins) - 1
    first_tokens = np.flatnonzero(~joins)
    word_starts = starts[first_tokens]
    last_tokens = np.append(first_tokens[1:], len(ids)) - 1
    shapes = _shapes(flags, word_starts, ends[last_tokens])[words]
    visible = _running((flags & _SPACE) == 0)
    lost = _running(np.where(ids == unknown_id, ends - starts, 0))

    def encoded(first: int, last: int, base: int, end: int) -> Encoded:
        if first == last:
            return _NOTHING
        share = (lost[last] - lost[first]) / max(visible[end] - visible[base], 1)
        return Encoded(
            ids[first:last],
            starts[first:last] - base,
            ends[first:last] - base,
            words[first:last] - words[first],
            shapes[first:last],
            min(float(share), 1.0),
        )

    lasts = [*accumulate(n_tokens)]
    text_ends = [*accumulate(len(text) + len(BETWEEN) for text in texts)]
    return [
        encoded(last - n, last, end - len(BETWEEN) - len(text), end - len(BETWEEN))
        for text, n, last, end in zip(texts, n_tokens, lasts, text_ends, strict=True)
    ]


def _running(values: NDArray[Any]) -> Ints:
    """Sums of the values before each place, and of all at the end."""
    total = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=total[1:])
    return total


def _trimmed(starts: Ints, ends: Ints, space: Bools) -> tuple[Ints, Ints]:
    """Token bounds without the white space that some tokenizers count in."""
    starts, ends = starts.copy(), ends.copy()
    last = len(space) - 1
    while True:
        move = (starts < ends) & space[np.minimum(starts, last)]
        if not move.any():
            break
        starts[move] += 1
    while True:
        move = (starts < ends) & space[np.maximum(ends - 1, 0)]
        if not move.any():
            return starts, ends
        ends[move] -= 1


def _with_marks(starts: Ints, ends: Ints, mark: Bools) -> Ints:
    """Token ends moved over combining marks that vocabularies drop: they go with their letter."""
    if not mark.any():
        return ends
    ends = ends.copy()
    limits = np.append(starts[1:], len(mark))
    while True:
        move = (starts < ends) & (ends < limits) & mark[np.minimum(ends, len(mark) - 1)]
        if not move.any():
            return ends
        ends[move] += 1


def _shapes(flags: NDArray[np.uint8], starts: Ints, ends: Ints) -> Ints:
    """The shape of each word, from running counts of upper case, lower case, digits, letters."""
    totals = _running(_COUNTS[flags])
    counts = totals[np.minimum(ends, starts + _MOST_COUNTED)] - totals[starts]
    upper, lower, digits, letters, marks = (
        (counts >> (_COUNT_BITS * i)) & _MOST_COUNTED for i in range(len(_COUNTED))
    )
    lengths = ends - starts - marks
    opens = (flags[np.minimum(starts, len(flags) - 1)] & _UPPER) != 0
    shapes = np.zeros(len(starts), dtype=np.int64)
    shapes[letters == 0] = 6
    shapes[(digits > 0) & (digits == letters)] = 5
    cased = upper > 0
    shapes[cased] = 4
    shapes[(letters > digits) & (digits > 0)] = 4
    shapes[cased & opens & (upper == 1) & (digits == 0) & (lengths > 1)] = 1
    shapes[cased & (lower == 0) & (digits == 0) & (upper > 1)] = 2
    shapes[cased & (lengths == 1)] = 3
    return shapes


def _pieces(text: str) -> list[str]:
    """Cut a long text before white space (else anywhere) into parts that tokenise alone."""
    if len(text) <= PIECE:
        return [text] if text else []
    parts = []
    start = 0
    while start < len(text):
        space = _SPACES.search(text, start + PIECE, start + 2 * PIECE)
        end = space.start() if space else start + 2 * PIECE
        parts.append(text[start:end])
        start = end
    return parts


def _bases(cut: Sequence[Sequence[str]]) -> Iterator[int]:
    """Where each piece of each text begins in the texts joined by BETWEEN."""
    base = 0
    for pieces in cut:
        for piece in pieces:
            yield base
            base += len(piece)
        base += len(BETWEEN)


def _without_surrogates(text: str) -> str:
    """The text with lone surrogates replaced one for one, so that offsets stay true."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text


# -- special tokens --------------------------------------------------------------------------


def _unknown_id(tokenizer: Tokenizer) -> int:
    for token in ("[UNK]", "<unk>"):
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    return -1


def _special_ids(tokenizer: Tokenizer) -> tuple[Ints, Ints, Ints]:
    """Ids before, between and after the parts, read off the tokenizer's own template."""
    pair = tokenizer.encode("a", "a")
    special = np.array(pair.special_tokens_mask, dtype=bool)
    ids = np.array(pair.ids, dtype=np.int64)
    inside = np.flatnonzero(~special)
    if len(inside) < 2 or special.all():
        raise InputError(
            "the tokenizer adds no special tokens; expected a BERT-family tokenizer.json"
        )
    gaps = np.flatnonzero(np.diff(inside) > 1)
    if len(gaps) != 1:
        raise InputError("the tokenizer does not separate the two texts of a pair")
    left_end, right_start = inside[gaps[0]], inside[gaps[0] + 1]
    return ids[: inside[0]], ids[left_end + 1 : right_start], ids[inside[-1] + 1 :]
