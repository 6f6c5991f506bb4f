"""Checkpoints: folders that are complete once they have their name.

``checkpoint-<step>`` is where a training goes on, ``best.safetensors`` the weights that scored best
so far. A crash or a full disk at any moment leaves the ones before as they were.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nlpkit.errors import InputError, TrainingError

Tensors = Mapping[str, Tensor]
DRAFT = "checkpoint.draft"


class Checkpoints:
    """The checkpoints of one training; ``identity`` tells it from any other."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.identity = identity
        self._best = folder / "best.safetensors"

    def save(self, step: int, tensors: Tensors, state: Mapping[str, Any]) -> None:
        """Write a checkpoint, then drop those before it.

        Raises:
            TrainingError: it cannot be written; the last one is kept.
        """
        target = self.folder / f"checkpoint-{step:07d}"
        if target.exists():  # the same step of the same training: nothing to add
            return
        draft = self.folder / DRAFT
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            save_file(dict(tensors), draft / "state.safetensors")
            text = json.dumps({**state, "step": step, "identity": self.identity})
            (draft / "state.json").write_text(text)
            for file in draft.iterdir():
                _flush(file)
            draft.rename(target)
            _flush(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise self._not_written(target, error) from error
        for old in self._all():
            if old != target:
                shutil.rmtree(old)

    def load(self, device: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest checkpoint, if there is one.

        Raises:
            InputError: it is of another training.
        """
        found = self._all()
        if not found:
            return None
        state = json.loads((found[-1] / "state.json").read_text())
        if state["identity"] != self.identity:
            raise InputError(
                f"{found[-1]} belongs to a training with another recipe, seed, setting or data; "
                "delete it to start anew, or write to another output"
            )
        return load_file(found[-1] / "state.safetensors", device=device), state

    def save_best(self, step: int, score: float, tensors: Tensors) -> None:
        draft = self._best.with_suffix(".draft")
        about = {"identity": self.identity, "step": str(step), "score": repr(score)}
        try:
            save_file(dict(tensors), draft, about)
            _flush(draft)
            draft.replace(self._best)
        except (OSError, SafetensorError) as error:
            draft.unlink(missing_ok=True)
            raise self._not_written(self._best, error) from error

    def best(self) -> tuple[int, float] | None:
        """The step and the score of the best weights."""
        if not self._best.is_file():
            return None
        with safe_open(self._best, "pt") as file:
            about = file.metadata()
        if about["identity"] != self.identity:
            return None
        return int(about["step"]), float(about["score"])

    def load_best(self, device: str) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = load_file(self._best, device=device)
        return tensors

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*"))

    def _not_written(self, path: Path, error: Exception) -> TrainingError:
        return TrainingError(
            f"{path} could not be written ({error}); the last good checkpoint is kept in "
            f"{self.folder}: make room there and run the same command again"
        )


def remove_checkpoints(folder: Path) -> None:
    """Once a training's result is written, its checkpoints have done their work."""
    for checkpoint in folder.glob("checkpoint*"):
        shutil.rmtree(checkpoint)
    for file in folder.glob("best.*"):
        file.unlink()


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
