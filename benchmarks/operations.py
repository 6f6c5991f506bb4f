"""Where the CPU engine's time goes: OpenVINO's own clocks, by kind of operation.

    python benchmarks/operations.py [--rows 8] [--length 64] [--task ner] [--rounds 50]

One batch of random tokens is read again and again; of each operation the median is taken. OpenVINO
counts while it runs, which itself takes some time, so that only the shares mean something.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter, defaultdict
from typing import Any

import numpy as np

import nlpkit
from nlpkit.bench.roofline import flops
from nlpkit.bundle import bundles, read_bundle
from nlpkit.engines.openvino import Graph, OpenVinoEngine, Piece, core, settings
from nlpkit.text import Batch

#: Kinds of operations in OpenVINO's words, by what they are for.
PRODUCTS = "matrix products, with GELU and rounding"
PARTS = {
    PRODUCTS: ("FullyConnected", "FullyConnectedQuantizedLegacy", "FullyConnectedCompressed"),
    "attention": ("MatMul", "Softmax"),
    "norms and sums": ("MVN", "Add", "MulAdd", "Multiply"),
}
REST = "moving and converting"


class CountingEngine(OpenVinoEngine):
    """The engine with OpenVINO's clocks on."""

    def _compile(self, piece: Piece) -> Any:
        model = Graph(self._weights, self._config, self._activations).model(piece)
        return core().compile_model(model, "CPU", {**settings(self.precision), "PERF_COUNT": True})

    def operations(self) -> list[tuple[str, str, float]]:
        """Name, kind and seconds of what ran last, over all pieces."""
        return [
            (f"{piece} {one.node_name}", one.node_type, one.real_time.total_seconds())
            for piece, request in self._pieces.items()
            for one in request.profiling_info
            if one.status.name == "EXECUTED"
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--task", default="ner", help="a task, or embed")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--model", default="base-en")
    options = parser.parse_args()
    kit = nlpkit.load(options.model, "cpu")
    bundle = read_bundle(bundles()[kit.name])
    config, precision = bundle.manifest.config, kit.engine.precision
    engine = CountingEngine(bundle.weights, config, precision, bundle.activations)
    branch = "" if options.task == "embed" else kit.head(options.task).branch
    shape = (options.rows, options.length)
    ids = np.random.default_rng(0).integers(1000, 20_000, shape)
    ones, zeros = np.ones_like(ids), np.zeros_like(ids)
    batch = Batch(ids, ones, zeros, zeros, ones)
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    whole = []
    for number in range(options.rounds + 5):
        start = time.perf_counter()
        engine.hidden(batch, [branch])
        if number >= 5:  # warm
            whole.append(time.perf_counter() - start)
            for name, kind, seconds in engine.operations():
                taken[name, kind].append(seconds)
    spent: dict[str, float] = defaultdict(float)
    number_of: Counter[str] = Counter()
    for (_, kind), times in taken.items():
        part = next((part for part, kinds in PARTS.items() if kind in kinds), REST)
        spent[part] += statistics.median(times)
        number_of[part] += 1
    total = statistics.median(whole)
    print(
        f"{options.task}, {precision}, {shape[0]} rows of {shape[1]} tokens: {total * 1e3:.2f} ms"
    )
    for part, seconds in sorted(spent.items(), key=lambda one: -one[1]):
        print(f"{part:<42}{number_of[part]:>5}{seconds * 1e3:>9.2f} ms{seconds / total:>8.1%}")
    beside = total - sum(spent.values())
    print(f"{'between operations, and Python':<47}{beside * 1e3:>9.2f} ms{beside / total:>8.1%}")
    matrices, work = (flops(config, [shape[1]] * shape[0], window) for window in (0, shape[1]))
    rate = matrices / spent[PRODUCTS] / 1e9
    print(f"the products reach {rate:,.0f} GFLOP/s, everything {work / total / 1e9:,.0f}")


if __name__ == "__main__":
    main()
