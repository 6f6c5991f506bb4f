"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nlpkit.engines import cpu_limit, nvidia_in_sight
from nlpkit.errors import DISTRIBUTION

#: What the CPU engines may use, as /proc/cpuinfo calls it.
EXTENSIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
PACKAGES = (DISTRIBUTION, "numpy", "onnxruntime", "openvino", "tokenizers", "torch")


def describe() -> dict[str, Any]:
    """The machine in words and numbers, taken before anything is measured.

    A load average far above 0 says that others were at work: such times are worth little.
    """
    total, available = memory()
    by_affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    limit = cpu_limit()
    return {
        "processor": processor(),
        "extensions": ", ".join(name for name in EXTENSIONS if name in _cpuinfo("flags").split()),
        "processors": os.cpu_count(),
        "processors by affinity": by_affinity,
        "processors used": limit,
        "container quota": "none" if limit == (by_affinity or os.cpu_count()) else f"{limit}",
        "memory, GB": round(total / 1e9, 1),
        "memory free at the start, GB": round(available / 1e9, 1),
        "load average at the start": round(load_average(), 2),
        "gpu": gpu(),
        "system": platform.platform(terse=True),
        "date": date.today().isoformat(),
        "python": sys.version.split()[0],
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def processor() -> str:
    """Its name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def gpu() -> str:
    """The name of the GPU that torch can use, or ``none``; torch is imported to ask."""
    if not nvidia_in_sight() or not _version("torch"):
        return "none"
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "none"


def load_average() -> float:
    """Of the last minute; 0 where the system keeps none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def memory() -> tuple[int, int]:
    """Bytes of memory that there are and that can be had; (0, 0) where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0, 0
    told = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines)}
    return 1024 * int(told["MemTotal"]), 1024 * int(told["MemAvailable"])


def _cpuinfo(name: str) -> str:
    """The first value of that name in /proc/cpuinfo, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((x.partition(":")[2].strip() for x in lines if x.startswith(name)), "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
