"""What this machine could do at most: matrix rates at the backbone's shapes, memory bandwidth.

A rate is that of chains of matrix products with nothing between them, so that what a product costs
beside its arithmetic (reading, writing, rounding) is as small as an engine could make it. Each
precision is measured with every tool that is installed and has it, and the fastest counts: OpenVINO
in fp32, bf16 and int8, numpy in fp32, torch in bf16 on a GPU.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from nlpkit.engines import cpu_limit

#: Rows of a product, that is tokens of a batch; the best one counts.
TOKENS = (512, 2048)
#: Products in a chain.
DEPTH = 8
#: Bytes that are copied to measure the bandwidth: far more than caches hold.
COPIED = 256 * 2**20
GPU_TOKENS = 65_536


@dataclass(frozen=True, slots=True)
class Roofline:
    """Rates in FLOP/s by precision, each with the tool that reached it; bandwidth in bytes/s.

    ``skipped`` says of each precision that could not be measured why.
    """

    rates: dict[str, float]
    tools: dict[str, str]
    bandwidth: float
    skipped: dict[str, str] = field(default_factory=dict)


def measure(config: Mapping[str, Any], device: str = "cpu", seconds: float = 1.0) -> Roofline:
    """The machine's rates at the shapes of a backbone's layers.

    ``config`` is the backbone's; about ``seconds`` are spent on each precision, tool and shape.
    """
    found: dict[str, tuple[float, str]] = {}
    skipped: dict[str, str] = {}
    for precision, tool, make in _ways(device):
        if make is None:
            skipped.setdefault(precision, tool)
            continue
        try:
            rate = layer_rate(config, make, _tokens(device), seconds)
        except RuntimeError as error:  # a processor or build without this precision
            skipped.setdefault(precision, f"{tool}: {str(error).splitlines()[0]}")
            continue
        found[precision] = max(found.get(precision, (0.0, "")), (rate, tool))
    return Roofline(
        {precision: rate for precision, (rate, _) in found.items()},
        {precision: tool for precision, (_, tool) in found.items()},
        _gpu_bandwidth(device, seconds) if device.startswith("cuda") else bandwidth(seconds),
        {precision: why for precision, why in skipped.items() if precision not in found},
    )


def flops(config: Mapping[str, Any], lengths: Sequence[int], window: int) -> float:
    """Floating-point operations that reading texts takes at least.

    Each token goes through the layers' matrices once and looks at every token of its window;
    ``lengths`` are tokens of texts, special ones counted. What an engine reads twice (overlapping
    windows, padding) is not counted: it is its loss.
    """
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    layers = int(config["num_hidden_layers"])
    tokens = np.asarray(lengths, dtype=np.float64)
    matrices = 2 * layers * (4 * width**2 + 2 * width * inner)
    attention = 4 * layers * width * np.minimum(tokens, window)
    return float((tokens * (matrices + attention)).sum())


def layer_rate(
    config: Mapping[str, Any],
    chain: Callable[[int, Sequence[int]], Callable[[], object]],
    tokens: Sequence[int],
    seconds: float,
) -> float:
    """FLOP/s over the products of one layer, in proportion to their work.

    ``chain(n, widths)`` makes a call that multiplies n rows by matrices of these widths in turn.
    """
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    # The products of a layer, each with one that leads back so that they can be chained.
    parts = (
        (width, 3 * width, 3 * width**2),
        (width, width, width**2),
        (width, inner, 2 * width * inner),
    )
    total = sum(work for *_, work in parts)
    needed = 0.0
    for narrow, wide, work in parts:
        widths = [narrow, *((wide, narrow) * (DEPTH // 2))]
        done = 2 * sum(a * b for a, b in itertools.pairwise(widths))
        best = max(n * done / fastest(chain(n, widths), seconds / len(tokens)) for n in tokens)
        needed += work / best
    return total / needed


def fastest(call: Callable[[], object], seconds: float) -> float:
    """The least time of a call, of as many as fit."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best


def bandwidth(seconds: float = 1.0) -> float:
    """Bytes read and written per second by copies, all processors together."""
    threads = cpu_limit()
    source = np.ones(COPIED // 8)
    target = np.empty_like(source)
    cuts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> object:
            return list(pool.map(lambda cut: np.copyto(cut[1], cut[0]), cuts))

        return 2 * COPIED / fastest(copy, seconds)


def _gpu_bandwidth(device: str, seconds: float) -> float:
    import torch

    source = torch.ones(4 * COPIED // 8, dtype=torch.float64, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    return 2 * 4 * COPIED / fastest(copy, seconds)


# -- tools ---------------------------------------------------------------------------------------

Chain = Callable[[int, Sequence[int]], Callable[[], object]]


def _ways(device: str) -> Iterator[tuple[str, str, Chain | None]]:
    """(precision, tool, its chain), or (precision, why not, None)."""
    if device.startswith("cuda"):
        yield "bf16", "torch", _torch_chain(device)
        return
    yield "fp32", "numpy", _numpy_chain
    if find_spec("openvino") is None:
        for precision in ("fp32", "bf16", "int8"):
            yield precision, "openvino is not installed", None
        return
    from nlpkit.engines.openvino import core

    known = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision, capability in (("fp32", "FP32"), ("bf16", "BF16"), ("int8", "INT8")):
        if capability in known:
            yield precision, "OpenVINO", _openvino_chain(precision)
        else:
            yield precision, "this processor has no instructions for it", None


def _tokens(device: str) -> Sequence[int]:
    return (GPU_TOKENS,) if device.startswith("cuda") else TOKENS


def _numpy_chain(n: int, widths: Sequence[int]) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(n, widths[0])).astype(np.float32)
    matrices = [_matrix(rng, a, b) for a, b in itertools.pairwise(widths)]

    def call() -> object:
        hidden = first
        for matrix in matrices:
            hidden = hidden @ matrix
        return hidden

    return call


def _openvino_chain(precision: str) -> Chain:
    """As OpenVINO's int8 models are: rounding on a fixed grid before each product."""
    from nlpkit.engines.openvino import Type, core
    from nlpkit.engines.runtime import openvino, ops

    def chain(n: int, widths: Sequence[int]) -> Callable[[], object]:
        rng = np.random.default_rng(0)
        first = ops.parameter([n, widths[0]], Type.f32)
        hidden: Any = first
        for a, b in itertools.pairwise(widths):
            matrix: Any = ops.constant(_matrix(rng, a, b).T.copy())
            if precision == "int8":
                grid = [ops.constant(np.float32(end)) for end in (-4, 4, -4, 4)]
                hidden = ops.fake_quantize(hidden, *grid, levels=256)
                rounded = rng.integers(-127, 128, size=(b, a), dtype=np.int8)
                scale = ops.constant(np.full((b, 1), 1 / (64 * a**0.5), dtype=np.float32))
                matrix = ops.multiply(ops.convert(ops.constant(rounded), Type.f32), scale)
            hidden = ops.matmul(hidden, matrix, False, True)
        # One number a row comes out: copying the last product out of OpenVINO is not its work.
        model = openvino.Model([ops.reduce_max(hidden, ops.constant(np.array([1])))], [first])
        settings = {
            "INFERENCE_NUM_THREADS": cpu_limit(),
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "ENABLE_CPU_PINNING": False,
        }
        request = core().compile_model(model, "CPU", settings).create_infer_request()
        given = openvino.Tensor(rng.normal(size=(n, widths[0])).astype(np.float32))
        request.set_input_tensor(given)

        def call() -> object:
            return request.infer()

        return call

    return chain


def _torch_chain(device: str) -> Chain:
    import torch

    def chain(n: int, widths: Sequence[int]) -> Callable[[], object]:
        def drawn(rows: int, columns: int) -> torch.Tensor:
            return torch.randn(rows, columns, device=device, dtype=torch.bfloat16)

        first = drawn(n, widths[0])
        matrices = [drawn(a, b) / a**0.5 for a, b in itertools.pairwise(widths)]

        def call() -> object:
            hidden = first
            for matrix in matrices:
                hidden = hidden @ matrix
            torch.cuda.synchronize()
            return hidden

        return call

    return chain


def _matrix(rng: np.random.Generator, a: int, b: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(rng.normal(size=(a, b)) / a**0.5, dtype=np.float32)
