"""Engines: what runs a backbone. Two for CPUs without torch, and torch for GPUs and training.

OpenVINO computes in fp32, bf16 and int8; nlpkit.engines.probe knows which is fastest here. ONNX
Runtime computes in fp32 where OpenVINO is not installed or does not run.

An engine takes a padded batch and the heads that share it, runs the backbone once, and gives
back each head's logits as numpy arrays. A head may read a branch: last layers of its own, which
fork from the backbone below its last ones. All engines compute from the same weights and
agree within 1e-5 in fp32.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import InputError
from nlpkit.heads.base import Floats, Head
from nlpkit.text import Batch

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")


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
    """Runs the backbone once for any number of heads. Safe to call from many threads.

    ``packed``: padding costs nothing but in attention.
    """

    name: str
    device: str
    precision: str
    width: int
    packed: bool

    def run(self, batch: Batch, heads: Mapping[str, PluggedHead]) -> dict[str, Floats]:
        """Logits by head, float32; see Head.forward for their shapes."""


class Starting(Protocol):
    """An engine that works on a batch while the caller goes on."""

    def start(
        self, batch: Batch, heads: Mapping[str, PluggedHead]
    ) -> Callable[[], dict[str, Floats]]:
        """Begin with a batch; what is given back waits for the logits."""


def start(
    engine: Engine, batch: Batch, heads: Mapping[str, PluggedHead]
) -> Callable[[], dict[str, Floats]]:
    """Have an engine begin with a batch, and end with it where it cannot be waited for."""
    if hasattr(engine, "start"):  # isinstance of a protocol is slow
        return cast(Starting, engine).start(batch, heads)
    found = engine.run(batch, heads)
    return lambda: found


def read_heads(
    hidden: Mapping[str, Floats], batch: Batch, heads: Mapping[str, PluggedHead]
) -> dict[str, Floats]:
    """What each head makes of the hidden states of its branch, in numpy."""
    logits = {
        name: plugged.head.forward(hidden[plugged.branch], batch, plugged.parameters)
        for name, plugged in heads.items()
    }
    return {name: np.asarray(value, dtype=np.float32) for name, value in logits.items()}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which engine runs, and why."""

    engine: str
    device: str
    precision: str
    reason: str


def choose(
    device: str = "auto", precision: str = "auto", offered: Sequence[str] = ("fp32", "bf16")
) -> Choice:
    """The engine for a device and precision, without importing torch unless a GPU is in sight.

    ``offered`` are the precisions that the model has on the CPU without torch: of a bundle fp32,
    bf16, and int8 where it was fitted; of a transformers checkpoint none.

    Raises:
        InputError: an unknown device or precision, or one that cannot be had together.
    """
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (number and not number.isdigit()):
        raise InputError(f"device is {device!r}; expected one of {', '.join(DEVICES)} (or cuda:1)")
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision == "int8":
        _check_int8(kind, offered)
        kind = device = "cpu"
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
    if kind == "cpu":
        return _choose_on_cpu(precision, offered, reason)
    return Choice("torch", device, precision if precision != "auto" else _LOW[kind], reason)


#: What a GPU computes in unless told otherwise.
_LOW = {"cuda": "bf16", "mps": "fp32"}


def _choose_on_cpu(precision: str, offered: Sequence[str], reason: str) -> Choice:
    if not offered:
        return Choice("torch", "cpu", "fp32" if precision == "auto" else precision, reason)
    if find_spec("openvino") is None:
        if precision not in ("auto", "fp32"):
            return Choice("torch", "cpu", precision, reason)
        return Choice("onnx", "cpu", "fp32", f"{reason}; faster: pip install openvino")
    from nlpkit.engines.probe import fastest, timings

    if precision == "auto":
        precision, why = fastest(offered)
        reason = f"{reason}; {why}"
    if precision in timings():
        return Choice("openvino", "cpu", precision, reason)
    if precision == "int8" and "fp32" in timings():
        reason += "; computed in fp32, since int8 sums overflow on this processor (it has no VNNI)"
        return Choice("openvino", "cpu", "int8", reason)
    if precision == "fp32":
        return Choice("onnx", "cpu", "fp32", reason)
    if precision == "int8":
        raise InputError(
            "precision is 'int8', which needs OpenVINO, and that does not run on this processor; "
            "expected 'auto' or 'fp32'"
        )
    return Choice("torch", "cpu", precision, reason)


def _check_int8(kind: str, offered: Sequence[str]) -> None:
    if kind not in ("auto", "cpu"):
        raise InputError(f"precision is 'int8' on device {kind!r}; expected 'cpu', or 'bf16' there")
    if "int8" not in offered:
        raise InputError(
            "precision is 'int8', which this model was not fitted for; expected 'auto', 'bf16' or "
            "'fp32', or fit it: nlpkit optimize BUNDLE --texts FILE --output FOLDER"
        )
    if find_spec("openvino") is None:
        raise InputError("precision is 'int8', which needs OpenVINO; run: pip install openvino")


def nvidia_in_sight() -> bool:
    """Whether this machine shows an NVIDIA device, told without loading anything."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def cpu_limit() -> int:
    """The processors this process may use: its affinity, cut by a container's CPU quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have none
        count = os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, min(count, int(quota + 0.5)) if quota else count)


def cgroup_quota(
    mount: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> float | None:
    """Processors' worth of time that this process's control groups allow (cgroup v2, or v1).

    The least of its own group's and of those around it; in a container the mount is its own group.
    """
    folders = {mount / "cpu", mount}
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if not controllers or "cpu" in controllers.split(","):
            group = (mount / "cpu" if controllers else mount) / path.lstrip("/")
            folders |= {group, *(parent for parent in group.parents if mount in parent.parents)}
    return min(filter(None, map(_quota, folders)), default=None)


def _quota(group: Path) -> float | None:
    """What one control group allows."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
            if quota != "max" and int(quota) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError):
            continue
    return None
