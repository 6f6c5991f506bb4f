"""Which words carried a class: leave each out and see what the class loses (occlusion).

The method is that of Zeiler and Fergus (2014, https://arxiv.org/abs/1311.2901), on words: it needs
no gradients, so it runs on every engine, and what it says is what the model does.

A word's tokens are taken out of the row. The other ways are to put ``[MASK]`` or ``[UNK]`` in their
place; on 150 sentences of SST-2's development set (benchmarks/occlusion.py) they rank words no
better. Without the three words ranked highest, the probability of the sentence's class falls by:

======================  =========  ==============  =============
ranked by               taken out  under [MASK]    under [UNK]
======================  =========  ==============  =============
taking the word out     0.47       0.50            0.49
[MASK] for each token   0.45       0.52            0.48
[UNK] for each token    0.46       0.50            0.51
chance                  0.06       0.12            0.10
======================  =========  ==============  =============

(standard errors 0.02). Each way does best as its own judge; judged by the two others, taking out
leads by 0.50 against 0.48 and 0.46. It also needs nothing of a tokenizer.

A text longer than a window has too many words to leave out one by one. Its windows are ranked by
what the text's class loses without each, which costs nothing as the classes of a text are the mean
of its windows; then the segments (sentences, or parts of long ones) of the best windows by leaving
them out; then words, in the best segments. That is :data:`PASSES` rows at most beyond one reading
of the text, however long it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import UnknownNameError
from nlpkit.heads import SequenceHead
from nlpkit.heads.base import Floats
from nlpkit.text import SHAPES, Encoded, Ints, Window
from nlpkit.types import WordWeight

#: Reads windows of tokens, a row each: logits (n, n_labels) and the positions that each owns (n,).
Read = Callable[[Sequence[tuple[Encoded, Window]]], tuple[Floats, Ints]]
Doubles = NDArray[np.float64]
Span = tuple[int, int]  #: first token, one past the last

#: Rows that are read with something left out: about ten seconds' work on two cores.
PASSES = 256
#: Of a text of several windows, so many are looked into.
WINDOWS = 4
#: Tokens of a segment.
SHORTEST_SEGMENT, LONGEST_SEGMENT = 12, 48
#: The shape of a word without letters and digits.
MARKS = SHAPES.index("?!")

_SENTENCE_ENDS = frozenset(".!?\u2026\u3002\uff01\uff1f")  # with Chinese and Japanese ones
_JOINERS = frozenset("'\u2019-\u2010\u2011")  # apostrophes and hyphens


def word_weights(
    text: str,
    encoded: Encoded,
    plan: Sequence[Window],
    head: SequenceHead,
    label: str | None,
    read: Read,
) -> list[WordWeight]:
    """The words of a text with their weights for a class, in order of the text.

    ``plan`` holds the text's windows. Without a ``label``, the class is the best one. Of a text of
    several windows, only the words that were looked at are there.

    Raises:
        UnknownNameError: the head has no such label.
    """
    if label is not None and label not in head.labels:
        raise UnknownNameError.of("label", label, head.labels)
    if not len(encoded):
        return []
    logits, n_owned = read([(encoded, window) for window in plan])
    whole = _Whole(encoded, plan, logits.astype(np.float64), n_owned, head, label, read)
    words = _words(text, encoded)
    if len(plan) == 1:
        chosen = [(0, word) for word in words]
    else:
        chosen = list(_promising(text, whole, words))
    found = []
    for (_, (first, last)), loss in zip(chosen, whole.losses(chosen), strict=True):
        start, end = int(encoded.starts[first]), int(encoded.ends[last - 1])
        found.append(WordWeight(text[start:end], start, end, float(loss)))
    return sorted(found, key=lambda word: word.start)


class _Whole:
    """A text as its windows read it, and what its class loses when something is left out."""

    def __init__(
        self,
        encoded: Encoded,
        plan: Sequence[Window],
        logits: Doubles,
        n_owned: Ints,
        head: SequenceHead,
        label: str | None,
        read: Read,
    ) -> None:
        self.encoded, self.plan, self._head, self._read = encoded, plan, head, read
        self._logits, self._n_owned = logits, n_owned
        self._sum, self._n = n_owned @ logits, n_owned.sum()
        mean = self._sum / self._n
        self._class = int(mean.argmax()) if label is None else head.labels.index(label)
        self._odds = self._log_odds(mean)

    def losses_of_windows(self) -> Doubles:
        """What the class loses without each of several windows. *Shape:* (n_windows,)"""
        rest = self._n - self._n_owned
        without = self._sum - self._n_owned[:, None] * self._logits
        return np.asarray(self._odds - self._log_odds(without / rest[:, None]))

    def losses(self, left_out: Sequence[tuple[int, Span]]) -> Doubles:
        """What the class loses without spans, each given with the number of its window.

        That window is read again; others that overlap it keep what they said. *Shape:* (n,)
        """
        if not left_out:
            return np.zeros(0)
        logits, n_owned = self._read(
            [_without(self.encoded, self.plan[i], span) for i, span in left_out]
        )
        at = np.array([i for i, _ in left_out])
        total = self._sum - self._n_owned[at, None] * self._logits[at] + n_owned[:, None] * logits
        n = self._n - self._n_owned[at] + n_owned
        return np.asarray(self._odds - self._log_odds(total / n[:, None]))

    def _log_odds(self, logits: Doubles) -> Doubles:
        """*Shape:* (..., n_labels) to (...)"""
        scaled = logits / self._head.temperature
        own = scaled[..., self._class]
        if self._head.multi_label:
            return np.asarray(own)
        others = np.delete(scaled, self._class, axis=-1)
        return np.asarray(own - np.logaddexp.reduce(others, axis=-1))


def _without(encoded: Encoded, window: Window, span: Span) -> tuple[Encoded, Window]:
    """What a window's row holds once the tokens of a span are taken out."""
    first, last = span
    kept = np.r_[window.first : first, last : window.last]
    rest = Encoded(
        encoded.ids[kept],
        encoded.starts[kept],
        encoded.ends[kept],
        encoded.words[kept],
        encoded.shapes[kept],
        encoded.unknown,
    )
    owned_first = int(np.searchsorted(kept, window.owned_first))
    owned_last = int(np.searchsorted(kept, window.owned_last))
    return rest, Window(0, len(kept), owned_first, owned_last)


# -- words and segments ---------------------------------------------------------------------------


def _words(text: str, encoded: Encoded) -> list[Span]:
    """The words of a text as people see them: "don't" and "well-known" are one, and so is "!!!"."""
    firsts = np.flatnonzero(encoded.word_starts)
    lasts = np.append(firsts[1:], len(encoded))
    # Some tokenizers make tokens of white space, which are no words.
    visible = encoded.ends[lasts - 1] > encoded.starts[firsts]
    firsts, lasts = firsts[visible], lasts[visible]
    starts, ends = encoded.starts[firsts].tolist(), encoded.ends[lasts - 1].tolist()
    is_mark = (encoded.shapes[firsts] == MARKS).tolist()
    spans: list[Span] = []
    at, n = 0, len(firsts)
    while at < n:
        end = at + 1
        while end < n and starts[end] == ends[end - 1]:
            if is_mark[end - 1] and is_mark[end]:
                end += 1
            elif (
                end + 1 < n
                and text[starts[end] : ends[end]] in _JOINERS
                and starts[end + 1] == ends[end]
                and not (is_mark[end - 1] or is_mark[end + 1])
            ):
                end += 2
            else:
                break
        spans.append((int(firsts[at]), int(lasts[end - 1])))
        at = end
    return spans


def _promising(text: str, whole: _Whole, words: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """The words worth a look in a text of several windows, each with its window's number."""
    best = np.argsort(-whole.losses_of_windows(), kind="stable")[:WINDOWS]
    segments = [
        (int(i), segment)
        for i in best
        for segment in _segments(text, whole.encoded, whole.plan[i], words)
    ]
    losses = whole.losses([(i, (s[0][0], s[-1][1])) for i, s in segments])
    left = PASSES - len(segments)
    for number in np.argsort(-losses, kind="stable"):
        i, segment = segments[number]
        left -= len(segment)
        if left < 0:
            return
        yield from ((i, word) for word in segment)


def _segments(
    text: str, encoded: Encoded, window: Window, words: Sequence[Span]
) -> Iterator[list[Span]]:
    """The words that a window owns, cut where sentences end into parts of like size."""
    begin = bisect_left(words, (window.owned_first, 0))
    segment: list[Span] = []
    for number in range(begin, len(words)):
        first, last = words[number]
        if first >= window.owned_last or last > window.last:
            break
        if segment and last - segment[0][0] > LONGEST_SEGMENT:
            yield segment
            segment = []
        segment.append((first, last))
        end = int(encoded.ends[last - 1])
        follows = int(encoded.starts[last]) if last < len(encoded) else len(text)
        is_end = not _SENTENCE_ENDS.isdisjoint(text[int(encoded.starts[first]) : end])
        if (is_end or "\n" in text[end:follows]) and last - segment[0][0] >= SHORTEST_SEGMENT:
            yield segment
            segment = []
    if segment:
        yield segment
