"""Chunks: the parts of a document that get a vector each, cut on sentence edges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlpkit.text import Encoded, TextEncoder

#: A sentence ends with its mark (and closing quotes) before white space, or at a blank line. The
#: rule is that of spaCy's sentencizer, with line ends for lists and headings, without spaCy.
_ENDS = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s)|[。！？]+|\n\s*\n""")  # noqa: RUF001
#: Documents are cut this many characters at a time, so that memory does not follow their length.
PIECE = 200_000


Bounds = list[tuple[int, int]]


def cut(texts: Sequence[str], encoder: TextEncoder, size: int, overlap: int) -> list[Bounds]:
    """Character bounds of each text's chunks of at most ``size`` tokens, white space outside.

    Chunks end where sentences do; a sentence above ``size`` is cut between words. A chunk begins
    with the last sentences of the one before as far as they have at most ``overlap`` tokens
    together. Every character that is not white space lies in a chunk.
    """
    found: list[Bounds] = [[] for _ in texts]
    for group in _groups(texts):
        parts = [texts[number][start:end] for number, start, end in group]
        for (number, start, _), part, encoded in zip(
            group, parts, encoder.encode(parts), strict=True
        ):
            for first, last in _grouped(_sentences(part, encoded, size), size, overlap):
                found[number].append((start + first, start + last))
    return found


def _groups(texts: Sequence[str]) -> Iterator[list[tuple[int, int, int]]]:
    """Pieces (text, start, end), together those of about PIECE characters."""
    group: list[tuple[int, int, int]] = []
    n_characters = 0
    for number, text in enumerate(texts):
        start = 0
        while start < len(text):
            end = _piece_end(text, start)
            group.append((number, start, end))
            n_characters += end - start
            start = end
            if n_characters >= PIECE:
                yield group
                group, n_characters = [], 0
    if group:
        yield group


def _piece_end(text: str, start: int) -> int:
    if len(text) - start <= 2 * PIECE:
        return len(text)
    for pattern in (r"\n\s*\n", r"[.!?]\s", r"\s"):
        found = re.compile(pattern).search(text, start + PIECE, start + 2 * PIECE)
        if found:
            return found.end()
    return start + 2 * PIECE


def _sentences(text: str, encoded: Encoded, size: int) -> list[tuple[int, int, int]]:
    """(start, end, tokens) of sentences, none above ``size`` tokens."""
    edges = [match.end() for match in _ENDS.finditer(text)] + [len(text)]
    starts, ends, words = encoded.starts, encoded.ends, encoded.words
    found: list[tuple[int, int, int]] = []
    token = 0
    for edge in edges:
        first = token
        while token < len(starts) and starts[token] < edge:
            token += 1
        while token - first > size:
            last = first + size
            whole = last
            while whole > first and words[whole] == words[whole - 1]:
                whole -= 1
            last = whole if whole > first else last
            found.append((int(starts[first]), int(ends[last - 1]), last - first))
            first = last
        if token > first:
            found.append((int(starts[first]), int(ends[token - 1]), token - first))
    return _covering(text, found)


def _covering(text: str, found: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Sentences widened over what has no token (marks that a vocabulary drops) between them."""
    whole: list[tuple[int, int, int]] = []
    for i, (start, _, n) in enumerate(found):
        limit = found[i + 1][0] if i + 1 < len(found) else len(text)
        start = whole[-1][1] if whole else 0
        start += len(text[start:limit]) - len(text[start:limit].lstrip())
        end = start + len(text[start:limit].rstrip())
        whole.append((start, end, n))
    return whole


def _grouped(
    sentences: list[tuple[int, int, int]], size: int, overlap: int
) -> Iterator[tuple[int, int]]:
    group: list[tuple[int, int, int]] = []
    tokens = 0
    for sentence in sentences:
        if group and tokens + sentence[2] > size:
            yield group[0][0], group[-1][1]
            kept: list[tuple[int, int, int]] = []
            n_kept = 0
            for before in reversed(group):
                if n_kept + before[2] > min(overlap, size - sentence[2]):
                    break
                kept.insert(0, before)
                n_kept += before[2]
            group, tokens = kept, n_kept
        group.append(sentence)
        tokens += sentence[2]
    if group:
        yield group[0][0], group[-1][1]
