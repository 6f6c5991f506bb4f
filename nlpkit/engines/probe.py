"""Which precision is fastest on this machine: measured once, in a fraction of a second, and kept.

One layer of the default backbone's size runs in each precision. What was found lies in a small
file in the user's cache folder and is measured again when the processor, the number of processors
allowed or the OpenVINO that is installed is another.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.engines import cpu_limit
from nlpkit.engines.kept import cache_folder
from nlpkit.errors import BundleError
from nlpkit.heads.base import Floats
from nlpkit.text import Batch

#: Counts the ways of measuring; a new one measures again.
WAY = 2
#: Rows, tokens of a row, and the backbone's sizes.
ROWS, LENGTH = 16, 64
WIDTH, INNER = 384, 1536
CONFIG = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_attention_heads": 12,
    "num_hidden_layers": 2,
    "layer_norm_eps": 1e-12,
}
ROUNDS = 5


def fastest(precisions: Sequence[str]) -> tuple[str, str]:
    """The fastest of the precisions ``fp32``, ``bf16`` and ``int8`` here, and why, in words."""
    found = timings()
    usable = [one for one in precisions if one in found]
    if not usable:
        return "fp32", "OpenVINO does not run on this processor"
    best = min(usable, key=lambda one: found[one])
    parts = [f"{one} {found[one] * 1e3:.1f} ms" for one in sorted(usable, key=lambda p: found[p])]
    return best, f"fastest here: {', '.join(parts)} for a layer of {ROWS * LENGTH} tokens"


def timings() -> dict[str, float]:
    """Seconds of one layer by precision; from the cache, or measured now."""
    file, key = cache_file(), machine_key()
    known = _read(file)
    if key not in known:
        known[key] = measure()
        _write(file, known)
    return known[key]


def measure() -> dict[str, float]:
    """Seconds of one layer by precision; those that the processor lacks are left out.

    It lacks int8 where products of the largest numbers come out too small: without VNNI some
    processors add in 16 bits.
    """
    from nlpkit.engines.openvino import Graph, Packed, Piece, compiled, has_bf16, largest_product

    weights, activations = _layer()
    hidden = np.random.default_rng(1).normal(size=(1, ROWS * LENGTH, WIDTH)).astype(np.float32)
    ones = np.ones((ROWS, LENGTH), dtype=np.int64)
    batch = Packed.of(Batch(ones, ones, ones, ones, ones))
    seconds: dict[str, float] = {}
    able = {"fp32": True, "bf16": has_bf16(), "int8": largest_product() > 0.99}
    for precision in (one for one, has in able.items() if has):
        known = activations if precision == "int8" else {}
        taken = []
        try:
            model = compiled(Graph(weights, CONFIG, known).model(Piece(1, 2)), precision)
            for _ in range(ROUNDS):
                start = time.perf_counter()
                model([hidden, batch.bias, batch.pick, batch.back])
                taken.append(time.perf_counter() - start)
        except (BundleError, RuntimeError):  # OpenVINO lacks a kernel for this processor
            continue
        seconds[precision] = min(taken)
    return seconds


def cache_file() -> Path:
    return cache_folder() / "precision.json"


def machine_key() -> str:
    """A short hash of what the timings depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind = [line for line in lines if line.startswith(("model name", "flags"))][:2]
    except OSError:
        kind = [platform.processor(), platform.machine()]
    facts = [WAY, kind, cpu_limit(), *_installed("openvino")]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _installed(package: str) -> tuple[str, int]:
    """Where a package lies and since when: another version of it came later, and it is quick to
    tell, without importing the package or reading about those beside it."""
    spec = find_spec(package)
    origin = "" if spec is None or spec.origin is None else spec.origin
    return origin, Path(origin).stat().st_mtime_ns if origin else 0


def _read(file: Path) -> dict[str, dict[str, float]]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return {key: {p: float(s) for p, s in found.items()} for key, found in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(file: Path, known: dict[str, dict[str, float]]) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(known), encoding="utf-8")
        draft.replace(file)
    except OSError:  # no folder to write to: it is measured again next time
        return


def _layer() -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Random weights of layer 1, and grids that fit what they make of normal inputs."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "attention.self.query": (WIDTH, WIDTH),
        "attention.self.key": (WIDTH, WIDTH),
        "attention.self.value": (WIDTH, WIDTH),
        "attention.output.dense": (WIDTH, WIDTH),
        "intermediate.dense": (INNER, WIDTH),
        "output.dense": (WIDTH, INNER),
        "attention.output.LayerNorm": (WIDTH,),
        "output.LayerNorm": (WIDTH,),
    }
    weights: dict[str, Any] = {}
    for name, shape in shapes.items():
        values = rng.normal(size=shape) * 0.05 if len(shape) == 2 else np.ones(shape)
        weights[f"encoder.layer.1.{name}.weight"] = values.astype(np.float32)
        weights[f"encoder.layer.1.{name}.bias"] = np.zeros(shape[0], dtype=np.float32)
    activations = {}
    for product, size in (("qkv", WIDTH), ("out", WIDTH), ("up", WIDTH), ("down", INNER)):
        activations[f"layer.1.{product}.smooth"] = np.ones(size, dtype=np.float32)
        activations[f"layer.1.{product}.range"] = np.array([-5, 5], dtype=np.float32)
    return weights, activations
