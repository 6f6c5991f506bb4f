"""The best sequence of tags: which may follow which, and what that is worth.

Viterbi (1967) for all words of many texts at once. Most words are so clear that every best path
goes through their best tag; others are only looked for in the stretches between these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlpkit.errors import InputError
from nlpkit.heads.base import Floats
from nlpkit.text import Ints

#: Sums in another order differ by rounding: nothing is clear by less.
LEAST = 1e-4


class Paths:
    """Finds the legal sequence of IOB2 tags with the highest sum of logits and transitions.

    ``transitions`` are (n_labels + 1, n_labels), None for none: what is added where a tag (column)
    comes after another (row), the last row being for a text's first word. ``I-X`` only ever comes
    after ``B-X`` or ``I-X``, whatever they say.

    Raises:
        InputError: transitions of another shape, or some that are not finite.
    """

    def __init__(self, labels: Sequence[str], transitions: ArrayLike | None = None) -> None:
        n = len(labels)
        learned = np.zeros((n + 1, n)) if transitions is None else np.asarray(transitions, float)
        if learned.shape != (n + 1, n) or not np.isfinite(learned).all():
            raise InputError(
                f"transitions have the shape {learned.shape} and {np.isfinite(learned).sum()} "
                f"finite numbers; expected ({n + 1}, {n}), all finite: a row for what comes after "
                f"each of the {n} tags, and one for a text's first word"
            )
        place = {label: i for i, label in enumerate(labels)}
        #: By label, what begins an entity of its type and what goes on with it; of O it is O.
        self._begin = np.array([place.get(f"B-{one[2:]}", place["O"]) for one in labels])
        self._go_on = np.array([place.get(f"I-{one[2:]}", i) for i, one in enumerate(labels)])
        self._inside = np.array([one[:2] == "I-" for one in labels])
        self._other = self._begin[:, None] != self._begin
        #: legal[a, b]: tag b may follow tag a.
        self.legal = ~self._inside | ~self._other
        legal = np.concatenate([self.legal, self.legal[[place["O"]]]])
        self._steps: Floats = np.where(legal, learned, -np.inf).astype(np.float32)
        self._worth = np.stack([self._most_worth(tag) for tag in range(n)])
        #: What a path can gain by its transitions for each tag that is not the word's best: two.
        self._swing = np.float32(2 * np.ptp(self._steps[legal]) + LEAST)

    def _most_worth(self, tag: int) -> Floats:
        """How much more each other tag can be worth than this one by what stands around it.

        The tag before stays as it is, and the one after too, unless it is an ``I-X`` that cannot
        follow: it becomes ``B-X`` then, after which comes what came before.
        """
        steps, can_follow = self._steps.astype(float), self.legal[tag]
        before = np.isfinite(steps[:, tag])
        into = (steps[before] - steps[before][:, [tag]]).max(axis=0)
        after = steps[:-1]
        stays = (after[:, can_follow] - after[tag, can_follow]).max(axis=1, initial=0)
        known = np.where(self.legal, after, 0)
        again = (known - known[self._begin]).max(axis=1, initial=0)
        becomes = (after - after[tag, self._begin] + again)[:, ~can_follow]
        worth = into + np.maximum(stays, becomes.max(axis=1, initial=0)) + LEAST
        worth[tag] = -np.inf
        return np.asarray(worth, dtype=np.float32)

    def best(self, logits: Floats, of_text: Ints) -> NDArray[np.int64]:
        """A tag for each word, (n_words, n_labels) in.

        ``of_text`` are the numbers of the words' texts, which stand one after another.
        """
        tags: NDArray[np.int64] = logits.argmax(axis=1)
        if not len(tags) or (of_text[0] == of_text[-1] and self._evident(logits, tags)):
            return tags
        begins = np.concatenate([[True], of_text[1:] != of_text[:-1], [True]])
        open_ = np.concatenate([[False], ~self._clear(logits, tags, begins), [False]])
        (firsts,) = (open_[1:-1] & (begins[:-1] | ~open_[:-2])).nonzero()
        if not len(firsts):
            return tags
        (lasts,) = (open_[1:-1] & (begins[1:] | ~open_[2:])).nonzero()
        lengths = lasts - firsts + 1
        order = np.argsort(-lengths, kind="stable")
        firsts, lasts, lengths = firsts[order], lasts[order], lengths[order]

        # A stretch lies between clear tags, or begins or ends a text.
        opening = np.where(begins[firsts], len(self._steps) - 1, tags[firsts - 1])
        following = tags[np.minimum(lasts + 1, len(tags) - 1)]
        closing = np.where(begins[lasts + 1, None], 0, self._steps[:-1].T[following])
        scores = self._steps[opening] + logits[firsts]
        came_from = np.zeros(logits.shape, dtype=np.int64)
        last = np.zeros(len(firsts), dtype=np.int64)
        n_on = [int(np.searchsorted(-lengths, -i)) for i in range(int(lengths[0]) + 1)]
        for i in range(1, len(n_on)):  # n_on[i]: stretches of more than i words
            last[n_on[i] : len(scores)] = (scores + closing[: len(scores)])[n_on[i] :].argmax(1)
            through = scores[: n_on[i], None] + self._steps[:-1].T
            came_from[firsts[: n_on[i]] + i] = through.argmax(axis=2)
            scores = through.max(axis=2) + logits[firsts[: n_on[i]] + i]
        for i in range(len(n_on) - 2, -1, -1):
            on = last[: n_on[i]]
            tags[firsts[: n_on[i]] + i] = on
            on[:] = came_from[firsts[: n_on[i]] + i, on]
        return tags

    def _evident(self, logits: Floats, tags: NDArray[np.int64]) -> bool:
        """Whether the words of a text are so clear that no path is better than their best tags.

        It is most often so, and seen sooner than what :meth:`_clear` tells.
        """
        rivals = logits > logits.max(axis=1)[:, None] - self._swing
        alone = np.count_nonzero(rivals) == len(tags)
        return bool(alone and not self._inside[tags[0]] and self.legal[tags[:-1], tags[1:]].all())

    def _clear(
        self, logits: Floats, tags: NDArray[np.int64], begins: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Whether every best path goes through a word's best tag."""
        rivals = logits + self._worth.take(tags, axis=0)
        # What it costs that the word after begins an entity and does not go on with another's.
        loss = np.maximum(logits[1:, self._go_on] - logits[1:, self._begin], 0)
        rivals[:-1] += loss * (self._other.take(tags[:-1], axis=0) & ~begins[1:-1, None])
        # Numpy is many times slower at the maxima of short rows than at those of long ones.
        most = np.ascontiguousarray(rivals.T).max(axis=0)
        clear: NDArray[np.bool_] = most < logits[np.arange(len(tags)), tags]
        inside = self._inside[tags]
        if inside.any():
            # I-X may stand there only if what it follows is clear too.
            after = ~begins[:-1] & inside
            after[1:] &= self.legal[tags[:-1], tags[1:]]
            places = np.arange(len(tags))
            firm = np.maximum.accumulate(np.where(clear & ~inside, places, -1))
            unclear = np.maximum.accumulate(np.where(clear & (~inside | after), -1, places))
            return firm > unclear
        return clear
