"""Checkpoints: whole or not there, also where the disk is full."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from nlpkit.errors import InputError, TrainingError
from nlpkit.training import curve as curve_module
from nlpkit.training.checkpoint import Checkpoints, remove_checkpoints
from nlpkit.training.curve import Curve, Means

SMALL = {"model/a": torch.arange(4.0)}
LARGE = {"model/a": torch.zeros(100_000)}


@contextmanager
def full_disk(most: int = 20_000) -> Iterator[None]:
    """Within this block no file grows beyond so many bytes: writes break off in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "x")
    assert checkpoints.load("cpu") is None
    checkpoints.save(3, SMALL, {"tokens": 30})
    checkpoints.save(5, SMALL, {"tokens": 50})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000005"]
    found = checkpoints.load("cpu")
    assert found is not None
    tensors, state = found
    assert torch.equal(tensors["model/a"], SMALL["model/a"])
    assert (state["step"], state["tokens"]) == (5, 50)
    with pytest.raises(InputError, match="another recipe"):
        Checkpoints(tmp_path, "y").load("cpu")


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "x")
    checkpoints.save(3, SMALL, {})
    with full_disk(), pytest.raises(TrainingError, match=r"could not be written \(.*make room"):
        checkpoints.save(5, LARGE, {})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000003"]
    found = checkpoints.load("cpu")
    assert found is not None
    assert found[1]["step"] == 3
    checkpoints.save(5, LARGE, {})  # once there is room


def test_a_full_disk_leaves_the_best_weights(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "x")
    assert checkpoints.best() is None
    checkpoints.save_best(3, 0.1 + 0.2, SMALL)
    with full_disk(), pytest.raises(TrainingError, match="could not be written"):
        checkpoints.save_best(5, 0.9, LARGE)
    assert checkpoints.best() == (3, 0.1 + 0.2)
    assert torch.equal(checkpoints.load_best("cpu")["model/a"], SMALL["model/a"])
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    assert Checkpoints(tmp_path, "y").best() is None  # those of another training
    remove_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_curve_takes_back_what_comes_again(tmp_path: Path) -> None:
    scores = {("ner", "f1"): (0.5, 10)}
    losses = {"ner": 0.25, "embedding/ner": 0.125, "qa": 1.0}
    with Curve(tmp_path, 0) as curve:
        for step in (10, 20, 30):
            curve.losses(step, losses, 1.0)
            curve.scores(step, 100 * step, 1.5, scores, losses)
    with Curve(tmp_path, 20) as curve:
        curve.losses(30, losses, 1.0)
        curve.scores(30, 3000, 1.5, scores, losses)
    lines = (tmp_path / "curve.jsonl").read_text().splitlines()
    assert len(lines) == len((tmp_path / "losses.jsonl").read_text().splitlines()) == 3
    assert lines[2] == (
        '{"step": 30, "tokens": 3000, "minutes": 1.5, "task": "ner", "score": "f1", "value": 0.5, '
        '"examples": 10, "losses": {"ner": 0.25, "embedding/ner": 0.125}}'
    )


def test_a_full_disk_under_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_module, "find_spec", lambda name: None)  # without TensorBoard
    long = {f"loss {i}": 0.5 for i in range(20)}
    refused = pytest.raises(TrainingError, match="cannot be written to")
    with Curve(tmp_path, 0) as curve, full_disk(100), refused:
        curve.losses(1, long, 1.0)
    assert not (tmp_path / "tensorboard").exists()
    with Curve(tmp_path, 0) as curve:  # the line that was broken off is gone
        curve.losses(1, {"a": 0.5}, 1.0)
    assert (tmp_path / "losses.jsonl").read_text() == '{"step": 1, "a": 0.5}\n'


def test_means_survive_a_checkpoint() -> None:
    means = Means()
    means.add({"a": 1.0, "b": 0.1})
    again = Means(means.sums)
    again.add({"a": 2.0})
    assert again.take() == {"a": 1.5, "b": 0.1}
    assert again.take() == {}
    assert means.take() == {"a": 1.0, "b": 0.1}
