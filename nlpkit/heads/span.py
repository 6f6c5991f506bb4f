"""Span question answering: the part of a context that answers a question, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import InputError
from nlpkit.heads.base import Array, Floats, Parameters, Reading, as_type_of, linear, project
from nlpkit.text import Batch, Ints
from nlpkit.types import Answer

Line = tuple[float, float]  #: a slope and an offset
#: How many spans are weighed against each other.
N_WEIGHED = 10


class Span(NamedTuple):
    """A candidate: the sum of its two logits, its characters, its first and last word."""

    score: float
    start: int
    end: int
    first: int
    last: int


class SpanHead:
    """Scores every token as the start and as the end of the answer (Devlin et al. 2019, 4.2).

    Position 0 (``[CLS]``) stands for "no answer here". Over the windows of a long context, "no
    answer" scores as in the window that believes it least, less ``threshold`` (in logits); it wins
    where that is more than the best span. An answer begins and ends at word borders.

    Starts and ends are found apart, so the best pair is often too long, or one of several that
    nearly say the same. ``length_cost`` comes off a span's logits for each word after its first.
    ``consensus`` is the share of its expected F1 against the ten best spans in what a span is
    chosen by, the rest its own probability: spans that share words stand up for each other
    (minimum Bayes risk, Kumar and Byrne 2004). Neither changes whether there is an answer.

    ``calibration`` is a slope and an offset of the log odds of scores, ``refusal_calibration``
    those of "no answer" and ``span_calibration`` those of scores where spans alone compete (None:
    the same).
    """

    kind: ClassVar[str] = "question-answering"
    per_token: ClassVar[bool] = True

    def __init__(
        self,
        threshold: float = 0.0,
        temperature: float = 1.0,
        calibration: Sequence[float] | None = None,
        refusal_calibration: Sequence[float] | None = None,
        span_calibration: Sequence[float] | None = None,
        consensus: float = 0.0,
        length_cost: float = 0.0,
    ) -> None:
        if not 0 <= consensus <= 1:
            raise InputError(f"consensus is {consensus!r}; expected a share between 0 and 1")
        if not 0 <= length_cost < np.inf:
            raise InputError(f"length_cost is {length_cost!r}; expected 0 or more logits a word")
        self.labels: tuple[str, ...] = ("start", "end")
        self.threshold = threshold
        self.temperature = temperature
        self.calibration = _line("calibration", calibration)
        self.refusal_calibration = _line("refusal_calibration", refusal_calibration)
        self.span_calibration = _line("span_calibration", span_calibration)
        self.consensus = consensus
        self.length_cost = length_cost
        self._n_weighed = N_WEIGHED if consensus > 0 or length_cost > 0 else 1

    def config(self) -> dict[str, Any]:
        return {
            "threshold": self.threshold,
            "temperature": self.temperature,
            "calibration": self.calibration and [*self.calibration],
            "refusal_calibration": self.refusal_calibration and [*self.refusal_calibration],
            "span_calibration": self.span_calibration and [*self.span_calibration],
            "consensus": self.consensus,
            "length_cost": self.length_cost,
        }

    @property
    def choice(self) -> dict[str, Any]:
        """How a span is chosen among the best."""
        return {
            "n_weighed": self._n_weighed,
            "consensus": self.consensus,
            "length_cost": self.length_cost,
        }

    def parameter_shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (2, width), "bias": (2,)}

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        """*Shape:* (batch, length, width) to (batch, length, 2): start and end logits."""
        mask = as_type_of(hidden, batch.mask)
        return linear(hidden, parameters) - 1e4 * (1 - mask)[:, :, None]

    def loss(self, logits: Array, targets: Array) -> Array:
        """Mean cross-entropy of start and end; targets are (batch, 2) row positions, 0 for none."""
        from torch.nn.functional import cross_entropy

        logits = logits.float()
        return (
            cross_entropy(logits[..., 0], targets[:, 0])
            + cross_entropy(logits[..., 1], targets[:, 1])
        ) / 2

    def decode(
        self,
        logits: Sequence[Floats],
        reading: Reading,
        *,
        n_best: int = 1,
        max_answer_length: int = 30,
        no_answer: bool = True,
    ) -> list[Answer]:
        """The ``n_best`` answers, best first, of at most ``max_answer_length`` words each.

        Scores are probabilities over all spans and "no answer" together, with ``consensus`` what
        spans are chosen by; calibrated if the head is. With ``no_answer`` the result is a single
        falsy Answer where none is likelier; without it spans alone compete.
        """
        if n_best < 1 or max_answer_length < 1:
            raise InputError(
                f"n_best is {n_best} and max_answer_length {max_answer_length}; expected at least 1"
            )
        if not len(reading.encoded):
            return [Answer(None, None, None, 1.0)]
        null, spans = self.candidates(logits, reading, n_best, max_answer_length)
        null -= self.threshold
        total = self._log_total(logits, reading, null if no_answer else None)
        line = self.calibration if no_answer else self.span_calibration or self.calibration
        if no_answer and null > spans[0].score:
            share = float(np.exp(null / self.temperature - total))
            return [Answer(None, None, None, _calibrated(share, self.refusal_calibration or line))]
        return [
            Answer(reading.text[s.start : s.end], s.start, s.end, _calibrated(worth, line))
            for worth, s in self._weighed(spans, total)[:n_best]
        ]

    def candidates(
        self, logits: Sequence[Floats], reading: Reading, n_best: int, max_words: int
    ) -> tuple[float, list[Span]]:
        """The score of "no answer", and the spans to choose from, the highest score first."""
        null = min(float(part[0].sum()) for part in logits)
        n_spans = max(n_best, self._n_weighed)
        found = self._spans(logits, reading, n_spans, max_words, reading.encoded.word_starts)
        if not found:  # one word longer than a window: no span begins and ends at its borders
            anywhere = np.ones(len(reading.encoded), dtype=bool)
            found = self._spans(logits, reading, n_spans, max_words, anywhere)
        ranked = sorted(found.values(), key=lambda span: (-span.score, span.start, span.end))
        return null, ranked[:n_spans]

    def _weighed(self, spans: Sequence[Span], log_total: float) -> list[tuple[float, Span]]:
        """The spans with what they are worth, best first.

        The first N_WEIGHED are weighed against each other; the others follow as they stand, so that
        what comes first does not depend on how many are asked for.
        """
        scores, _, _, first, last = np.array(spans).T
        n_words = last - first + 1
        costs = self.length_cost * (n_words - 1)
        shares = np.exp((scores - costs) / self.temperature - log_total)
        common = np.minimum(last[:, None], last) - np.maximum(first[:, None], first) + 1
        f1 = 2 * np.maximum(common, 0) / (n_words[:, None] + n_words)
        expected = project(shares[:N_WEIGHED], f1[:, :N_WEIGHED])
        worth = (1 - self.consensus) * shares + self.consensus * expected
        order = np.arange(len(spans))
        order[:N_WEIGHED] = np.argsort(-worth[:N_WEIGHED], kind="stable")
        falling = np.minimum.accumulate(worth[order])
        return [
            (value, spans[i]) for value, i in zip(falling.tolist(), order.tolist(), strict=True)
        ]

    def _spans(
        self,
        logits: Sequence[Floats],
        reading: Reading,
        n_best: int,
        max_words: int,
        opens: NDArray[np.bool_],
    ) -> dict[tuple[int, int], Span]:
        """The best spans of every window by their characters; one may start where ``opens``."""
        encoded = reading.encoded
        visible = encoded.ends > encoded.starts  # some tokenizers make tokens of white space
        closes = np.append(opens[1:], True) & visible
        opens = opens & visible
        found: dict[tuple[int, int], Span] = {}
        for part, window, offset in zip(logits, reading.windows, reading.offsets, strict=True):
            tokens = slice(window.first, window.last)
            body = part[offset : offset + window.last - window.first]
            starts = np.where(opens[tokens], body[:, 0], -np.inf)
            ends = np.where(closes[tokens], body[:, 1], -np.inf)
            words = encoded.words[tokens]
            for score, i, j in _best_spans(starts, ends, words, n_best, max_words):
                key = (int(encoded.starts[tokens][i]), int(encoded.ends[tokens][j]))
                span = Span(score, *key, int(words[i]), int(words[j]))
                found[key] = max(span, found.get(key, span))
        return found

    def _log_total(self, logits: Sequence[Floats], reading: Reading, null: float | None) -> float:
        """Log of the summed weight of all starts times that of all ends, and of "no answer"."""
        bodies = [
            part[offset + w.owned_first - w.first : offset + w.owned_last - w.first]
            for part, w, offset in zip(logits, reading.windows, reading.offsets, strict=True)
        ]
        joined = np.concatenate(bodies).astype(np.float64) / self.temperature
        total = _logsumexp(joined[:, 0]) + _logsumexp(joined[:, 1])
        return total if null is None else float(np.logaddexp(total, null / self.temperature))


def _calibrated(share: float, line: Line | None) -> float:
    share = min(share, 1.0)
    if line is None:
        return share
    slope, offset = line
    return float(1 / (1 + np.exp(-slope * log_odds(share) - offset)))


def _line(name: str, values: Sequence[float] | None) -> Line | None:
    if values is None:
        return None
    if len(values) != 2 or not values[0] > 0:
        raise InputError(f"{name} is {values!r}; expected a slope above 0 and an offset")
    return values[0], values[1]


def log_odds(probability: float) -> float:
    """The logit, kept within what a float can tell from 0 and 1."""
    inside = min(max(probability, 1e-12), 1 - 1e-12)
    return float(np.log(inside) - np.log1p(-inside))


def _best_spans(
    starts: Floats, ends: Floats, words: Ints, n_best: int, max_words: int
) -> list[tuple[float, int, int]]:
    """The ``n_best`` pairs start <= end within ``max_words`` words, best first; all are tried."""
    firsts = np.flatnonzero(np.isfinite(starts))
    if not len(firsts):
        return []
    beyond = np.searchsorted(words, words[firsts] + max_words, side="left")
    reach = int((beyond - firsts).max())
    lasts = firsts[:, None] + np.arange(reach)
    scores = starts[firsts, None] + ends[np.minimum(lasts, len(ends) - 1)]
    scores = np.where(lasts < beyond[:, None], scores, -np.inf).ravel()
    least = np.partition(scores, -n_best)[-n_best] if n_best < len(scores) else -np.inf
    kept = np.flatnonzero((scores >= least) & np.isfinite(scores))
    best = kept[np.argsort(-scores[kept], kind="stable")][:n_best]
    return [(float(scores[k]), int(firsts[k // reach]), int(lasts.flat[k])) for k in best]


def _logsumexp(values: Any) -> float:
    peak = float(values.max())
    return peak + float(np.log(np.exp(values - peak).sum()))
