"""Token classification: entities from IOB2 tags, decided word by word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlpkit.errors import InputError
from nlpkit.heads.base import Array, Floats, Parameters, Reading, linear, project, softmax
from nlpkit.heads.paths import Paths
from nlpkit.text import CASED, N_SHAPES, Batch, Ints, Words, joined, words_of
from nlpkit.types import Entity

LEAST = 1e-6  #: what keeps the logarithm of a probability finite
#: Longer words are the same in capitals (a headline's JAPAN is Japan); shorter ones may not be: US.
SHORT = 3
IGNORE = -100  #: target of positions that the loss leaves out (special tokens, later word pieces)


class TokenHead:
    """Tags words with IOB2 labels (``O``, ``B-PER``, ``I-PER``, ...) and reads entities off them.

    A word is tagged by its first token, so an entity never begins or ends inside a word. Tags
    follow each other legally: the best sequence in which ``I-X`` only comes after ``B-X`` or
    ``I-X`` (nlpkit.heads.paths). ``transitions`` are added to the logits where a tag follows
    another: (n_labels + 1, n_labels), from rows to columns, the last row for a text's first word,
    fitted after training (nlpkit.training.transitions). With ``word_shape`` the shape of each word
    (nlpkit.text.SHAPES) adds a learned term to its logits: capitals for uncased backbones that
    were not given them.

    ``agreement`` is how far capitalised words that a text repeats are read alike: the share of the
    mean over all places where the word stands, in what its type is there (one sense per discourse,
    Gale et al. 1992). A word of more than three letters is the same word in capitals.
    """

    kind: ClassVar[str] = "token-classification"
    per_token: ClassVar[bool] = True

    def __init__(
        self,
        labels: Sequence[str],
        word_shape: bool = False,
        temperature: float = 1.0,
        agreement: float = 0.0,
        transitions: ArrayLike | None = None,
    ) -> None:
        if not 0 <= agreement <= 1:
            raise InputError(f"agreement is {agreement!r}; expected a share between 0 and 1")
        self.labels = tuple(labels)
        self.agreement = agreement
        self.word_shape = word_shape
        self.temperature = temperature
        self.transitions: list[list[float]] | None = (
            None if transitions is None else np.asarray(transitions).tolist()
        )
        self._types = _entity_types(self.labels)
        #: The number of each label's type; "O" is one.
        self.kinds = np.array([[*dict.fromkeys(self._types)].index(kind) for kind in self._types])
        self._same_type = self.kinds[:, None] == self.kinds
        self._opens = np.array([label.startswith("B-") for label in self.labels])
        self._paths = Paths(self.labels, transitions)
        self._outside = self.labels.index("O")

    @property
    def entity_types(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(label[2:] for label in self.labels if label != "O"))

    def config(self) -> dict[str, Any]:
        return {
            "labels": list(self.labels),
            "word_shape": self.word_shape,
            "temperature": self.temperature,
            "agreement": self.agreement,
            **({"transitions": self.transitions} if self.transitions else {}),
        }

    def parameter_shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        n = len(self.labels)
        shapes: dict[str, tuple[int, ...]] = {"weight": (n, width), "bias": (n,)}
        if self.word_shape:
            shapes["shape_weight"] = (N_SHAPES, n)
        return shapes

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        """*Shape:* (batch, length, width) to (batch, length, n_labels)."""
        logits = linear(hidden, parameters)
        if self.word_shape:
            logits = logits + parameters["shape_weight"][batch.shapes]
        return logits

    def loss(self, logits: Array, targets: Array, label_smoothing: float = 0.0) -> Array:
        """Cross-entropy over the positions of (batch, length) targets that are not IGNORE, or
        over those of (batch, length, n_labels) probabilities that have any.

        ``label_smoothing`` is the share of a target that is spread over all tags.
        """
        from torch.nn.functional import cross_entropy

        if targets.ndim == 3:
            known = targets.sum(-1) > 0
            return cross_entropy(
                logits[known].float(), targets[known], label_smoothing=label_smoothing
            )

        return cross_entropy(
            logits.flatten(0, 1).float(),
            targets.flatten(),
            ignore_index=IGNORE,
            label_smoothing=label_smoothing,
        )

    def decode(self, logits: Sequence[Floats], reading: Reading) -> list[Entity]:
        return TokenHead.decode_all(self, [logits], [reading])[0]

    def decode_all(
        self, logits: Sequence[Sequence[Floats]], readings: Sequence[Reading]
    ) -> list[list[Entity]]:
        """What :meth:`decode` gives of each text."""
        results: list[list[Entity]] = [[] for _ in readings]
        read = [i for i, reading in enumerate(readings) if len(reading.encoded)]
        if read:
            known = [readings[i] for i in read]
            words, of_text, of_words = self.of_words([logits[i] for i in read], known)
            texts = [reading.text for reading in known]
            for number, entity in self._found(texts, words, of_text, of_words):
                results[read[number]].append(entity)
        return results

    def of_words(
        self, logits: Sequence[Sequence[Floats]], readings: Sequence[Reading]
    ) -> tuple[Words, Ints, Floats]:
        """The words of texts that have some, the numbers of their texts, and their logits.

        One row of logits a word, (n_words, n_labels); repeated names are read alike in them.
        """
        tokens, of_text = joined([reading.encoded for reading in readings])
        words = words_of(tokens)
        of_text = of_text[words.firsts]
        each = [join_owned(*one) for one in zip(logits, readings, strict=True)]
        found = (each[0] if len(each) == 1 else np.concatenate(each))[words.firsts]
        if self.agreement:
            (cased,) = CASED[tokens.shapes[words.firsts]].nonzero()
            groups = _alike([reading.text for reading in readings], words, cased, of_text)
            found = agreed(found, groups, self.kinds, self.agreement)
        return words, of_text, found

    def entities(self, text: str, words: Words, logits: Floats) -> list[Entity]:
        """The entities of a text from the logits of its words, (n_words, n_labels)."""
        of_text = np.zeros(len(words), dtype=np.int64)
        return [entity for _, entity in self._found([text], words, of_text, logits)]

    def _found(
        self, texts: Sequence[str], words: Words, of_text: Ints, logits: Floats
    ) -> Iterator[tuple[int, Entity]]:
        """The entities of texts, in order, and which text each is of."""
        tags = self.tag(logits, of_text)
        (inside,) = (tags != self._outside).nonzero()
        if not len(inside):
            return
        of_entities = tags[inside]
        opens = self._opens[of_entities]
        opens[1:] |= inside[1:] - inside[:-1] > 1
        (first,) = opens.nonzero()
        ends = [*first[1:].tolist(), len(inside)]
        begin, end = inside[first], inside[[one - 1 for one in ends]]
        probabilities = softmax(logits[inside] / np.float32(self.temperature))
        of_type = (probabilities * self._same_type[of_entities]).sum(axis=1)
        rows = zip(
            of_text[begin].tolist(),
            of_entities[first].tolist(),
            words.starts[begin].tolist(),
            words.ends[end].tolist(),
            (end + 1 - begin).tolist(),
            np.add.reduceat(of_type, first).tolist(),
            strict=True,
        )
        for number, tag, start, stop, n_words, total in rows:
            score = min(total / n_words, 1.0)
            yield number, Entity(texts[number][start:stop], self._types[tag], start, stop, score)

    def tag(self, logits: Floats, of_text: Ints | None = None) -> NDArray[np.int64]:
        """The best sequence of tags, one for each word; (n_words, n_labels) in.

        ``of_text`` tells the texts of words apart where these are of several.
        """
        if of_text is None:
            of_text = np.zeros(len(logits), dtype=np.int64)
        return self._paths.best(logits, of_text)


def repeated(texts: Sequence[tuple[str, Words]]) -> list[list[int]]:
    """Where the capitalised words of more than one character stand that come more than once.

    Each is a list of numbers of words, counted through all texts.
    """
    starts, ends = (np.concatenate([getattr(w, n) for _, w in texts]) for n in ("starts", "ends"))
    of_text = np.repeat(np.arange(len(texts)), [len(words) for _, words in texts])
    words = Words(starts, starts, ends)
    return _alike([text for text, _ in texts], words, np.arange(len(words)), of_text, apart=False)


def _alike(
    texts: Sequence[str], words: Words, which: Ints, of_text: Ints, *, apart: bool = True
) -> list[list[int]]:
    """As :func:`repeated`, of some words of texts, and ``apart`` in each text alone."""
    starts, ends = words.starts[which].tolist(), words.ends[which].tolist()
    places: dict[tuple[int, str], list[int]] = {}
    rows = zip(which.tolist(), of_text[which].tolist(), starts, ends, strict=True)
    for number, i, start, end in rows:
        text = texts[i]
        if end - start > 1 and text[start].isupper():
            word = text[start:end]
            same = word.casefold() if end - start > SHORT else word
            places.setdefault((i if apart else 0, same), []).append(number)
    return [numbers for numbers in places.values() if len(numbers) > 1]


def agreed(
    logits: Floats, groups: Sequence[Sequence[int]], kinds: NDArray[np.int64], share: float
) -> Floats:
    """Logits of words, (n_words, n_labels), where those of a group are moved towards each other.

    ``kinds`` is the number of each label's type. Of the log-probability of a word's type, ``share``
    comes from the mean probability over its group; how it splits into B and I stays.
    """
    if not groups:
        return logits
    moved = logits.copy()
    places = np.concatenate([np.asarray(group) for group in groups])
    group_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    chances = softmax(logits[places])
    of_type = project(chances, np.arange(kinds.max() + 1)[:, None] == kinds)
    sums = np.zeros((len(groups), of_type.shape[1]))
    np.add.at(sums, group_of, of_type)
    means = sums[group_of] / np.bincount(group_of)[group_of, None]
    change = share * (np.log(means + LEAST) - np.log(of_type + LEAST))
    moved[places] += change[:, kinds].astype(logits.dtype)
    return moved


def join_owned(logits: Sequence[Floats], reading: Reading) -> Floats:
    """One row of logits per token of the text, each from the window that owns it."""
    parts = [
        part[offset + w.owned_first - w.first : offset + w.owned_last - w.first]
        for part, w, offset in zip(logits, reading.windows, reading.offsets, strict=True)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _entity_types(labels: tuple[str, ...]) -> tuple[str, ...]:
    bad = [label for label in labels if label != "O" and label[:2] not in ("B-", "I-")]
    orphans = [label for label in labels if label[:2] == "I-" and f"B-{label[2:]}" not in labels]
    if "O" not in labels or bad or orphans or len(set(labels)) != len(labels):
        raise InputError(
            f"labels of a token head are {list(labels)}; expected IOB2: O once, and B-X with I-X"
        )
    return tuple("" if label == "O" else label[2:] for label in labels)
