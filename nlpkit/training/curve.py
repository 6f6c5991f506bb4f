"""The course of a training: tables of losses and scores beside its checkpoints, and TensorBoard.

``losses.jsonl`` has the mean losses of every few steps, ``curve.jsonl`` a line for every dev score
with the losses since the one before. A run that goes on from a checkpoint takes back the lines
after it, since it will write them again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nlpkit.errors import TrainingError

LOSSES, CURVE = "losses.jsonl", "curve.jsonl"


class Means:
    """Means of named numbers since they were last taken."""

    def __init__(self, sums: Mapping[str, list[float]] | None = None) -> None:
        self.sums: dict[str, list[float]] = {name: [*pair] for name, pair in (sums or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            pair = self.sums.setdefault(name, [0.0, 0])
            pair[0] += value
            pair[1] += 1

    def take(self) -> dict[str, float]:
        means = {name: total / n for name, (total, n) in self.sums.items()}
        self.sums = {}
        return means


class Curve:
    """Writes both tables, and TensorBoard's files where that is installed; ``step`` is the start.

    A context manager.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        for name in (LOSSES, CURVE):
            _cut(folder / name, step)
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> Curve:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def losses(self, step: int, losses: Mapping[str, float], rate: float) -> None:
        rounded = {name: round(value, 5) for name, value in losses.items()}
        self._append(LOSSES, {"step": step, **rounded})
        self._show("loss", losses, step)
        self._show("learning rate", {"share of its peak": rate}, step)

    def scores(
        self,
        step: int,
        tokens: int,
        minutes: float,
        scores: Mapping[tuple[str, str], tuple[float, int]],
        losses: Mapping[str, float],
    ) -> None:
        """A line for each score, by task and name, with its value and number of examples."""
        for (task, name), (value, n) in scores.items():
            own = {k: round(v, 5) for k, v in losses.items() if task in k.split("/")}
            line = {
                "step": step,
                "tokens": tokens,
                "minutes": round(minutes, 2),
                "task": task,
                "score": name,
                "value": value,
                "examples": n,
                "losses": own,
            }
            self._append(CURVE, line)
            self._show(f"dev {task}", {name: value}, step)

    def _append(self, name: str, line: Mapping[str, Any]) -> None:
        with self._disk(), (self._folder / name).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _show(self, group: str, values: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            with self._disk():
                for name, value in values.items():
                    self._board.add_scalar(f"{group}/{name}", value, step)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"{self._folder} cannot be written to ({error}); the last good checkpoint is kept "
                "there: make room and run the same command again"
            ) from error


def _cut(path: Path, step: int) -> None:
    """Take back the lines after a step, and one that was broken off in the middle."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    draft = path.with_suffix(".draft")
    draft.write_text("".join(kept))
    os.replace(draft, path)
