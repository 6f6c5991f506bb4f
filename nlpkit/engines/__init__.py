"""Engines: what runs a backbone. A CPU engine without torch, and torch for GPUs and training.

An engine takes a padded batch and the heads that share it, runs the backbone once, and gives
back each head's logits as numpy arrays. A head may read a branch: last layers of its own, which
fork from the backbone below its last ones. Both engines compute from the same weights and agree
within 1e-5 in fp32.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import InputError
from nlpkit.heads.base import Floats, Head
from nlpkit.text import Batch

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class PluggedHead:
    """A head with its parameters (numpy, float32).

    ``branch`` names the last layers that it reads where they are not the backbone's own.
    """

    head: Head
    parameters: Mapping[str, NDArray[np.float32]]
    branch: str = ""


@runtime_checkable
class Engine(Protocol):
    """Runs the backbone once for any number of heads. Safe to call from many threads."""

    name: str
    device: str
    precision: str
    width: int

    def run(self, batch: Batch, heads: Mapping[str, PluggedHead]) -> dict[str, Floats]:
        """Logits by head, float32; see Head.forward for their shapes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which engine runs, and why."""

    engine: str
    device: str
    precision: str
    reason: str


def choose(device: str = "auto", precision: str = "auto") -> Choice:
    """The engine for a device and precision, without importing torch unless a GPU is in sight.

    Raises:
        InputError: an unknown device or precision, or one that cannot be had together.
    """
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (number and not number.isdigit()):
        raise InputError(f"device is {device!r}; expected one of {', '.join(DEVICES)} (or cuda:1)")
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if kind == "auto":
        if nvidia_in_sight() and find_spec("torch") is not None:
            import torch

            if torch.cuda.is_available():
                chosen = "bf16" if precision == "auto" else precision
                return Choice("torch", "cuda", chosen, "an NVIDIA GPU and torch are present")
        reason = "no GPU that torch can use" if nvidia_in_sight() else "no NVIDIA GPU"
        kind = device = "cpu"
    else:
        reason = f"device={device!r} was asked for"
    if kind == "cpu" and precision in ("auto", "fp32"):
        return Choice("onnx", "cpu", "fp32", reason)
    chosen = precision if precision != "auto" else ("bf16" if kind == "cuda" else "fp32")
    return Choice("torch", device, chosen, reason)


def nvidia_in_sight() -> bool:
    """Whether this machine shows an NVIDIA device, told without loading anything."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def cpu_limit() -> int:
    """The processors this process may use: its affinity, cut by a container's CPU quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have none
        count = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, int(quota + 0.5)) if quota else count)


def _cgroup_quota() -> float | None:
    """Processors' worth of time that a control group allows (cgroup v2, then v1)."""
    for quota_file, period_file in (
        ("/sys/fs/cgroup/cpu.max", None),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
    ):
        try:
            parts = Path(quota_file).read_text().split()
            period = Path(period_file).read_text() if period_file else parts[1]
            if parts[0] != "max" and int(parts[0]) > 0:
                return int(parts[0]) / int(period)
        except (OSError, ValueError, IndexError):
            continue
    return None
