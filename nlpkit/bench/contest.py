"""Sides take turns at the same work, so that what else the machine does falls on all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nlpkit.bench.results import Spread
from nlpkit.bench.sides import Side

#: Seconds between two turns: threads of a side that has ended its turn may spin for a while.
PAUSE = 0.3
#: Each batch size is tried so many times.
TURNS = 3


@dataclass
class Contender:
    """A side with its task, the batch size that suits it best, and the seconds it took."""

    side: Side
    task: str
    batch: int = 32
    seconds: list[float] = field(default_factory=list)

    def choose_batch(self, texts: Path, n: int, batches: Sequence[int]) -> None:
        """Keep the batch size that is quickest on the first n texts, after a warm-up.

        Sizes take turns, and the best of a size's turns counts: what else the machine does makes
        a turn slower, never quicker.
        """
        self.side.run(self.task, texts, min(n, 4), batches[0])
        best = dict.fromkeys(batches, math.inf)
        for _ in range(TURNS):
            for size in batches:
                best[size] = min(best[size], self.side.run(self.task, texts, n, size)[0])
        self.batch = min(best, key=lambda size: best[size])

    def run(self, texts: Path, n: int, keep: Path | None = None) -> float:
        return self.side.run(self.task, texts, n, self.batch, keep=keep)[0]

    @property
    def spread(self) -> Spread:
        return Spread.of(self.seconds)


def take_turns(
    contenders: Mapping[str, Contender],
    texts: Path,
    n: int,
    rounds: int,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Every contender reads the first n texts once a round."""
    for number in range(rounds):
        for name, contender in contenders.items():
            tell(f"round {number + 1} of {rounds}: {name}")
            time.sleep(PAUSE)
            contender.seconds.append(contender.run(texts, n))


def times_faster(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times faster we were, round by round."""
    return Spread.of([b / a for a, b in zip(ours, theirs, strict=True)])
