"""The CPU engine where OpenVINO is not: ONNX Runtime, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import onnxruntime

from nlpkit.engines import PluggedHead, cpu_limit, read_heads
from nlpkit.errors import BundleError
from nlpkit.heads.base import Floats
from nlpkit.text import Batch
from nlpkit.weights import Tensors, graph_tensors, output_name


class OnnxEngine:
    """Runs the bundle's graph in fp32 on the CPU; heads run on its output in numpy.

    The graph is computed whole, with all branches, whatever the heads read.
    """

    name = "onnx"
    device = "cpu"
    packed = False
    precision = "fp32"

    def __init__(self, graph: bytes, weights: Tensors, config: Mapping[str, Any]) -> None:
        self.width = int(config["hidden_size"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu_limit()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The graph is written with fused operators; what is left to do is constant folding.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # The memory arena stays on: batches are bounded, so it is too, and a text of a megabyte
        # peaks at 300 MB, where plain malloc's fragments made it 390 to 560.
        options.enable_cpu_mem_arena = True
        tensors = graph_tensors(weights, int(config["num_hidden_layers"]))
        names = list(tensors)
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensors[name]) for name in names]
        options.add_external_initializers(names, values)
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises a dozen classes without a common base
            raise BundleError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the bundle's graph: {error}"
            ) from error

    def run(self, batch: Batch, heads: Mapping[str, PluggedHead]) -> dict[str, Floats]:
        return read_heads(self.hidden(batch, {p.branch for p in heads.values()}), batch, heads)

    def hidden(self, batch: Batch, branches: Iterable[str] = ("",)) -> dict[str, Floats]:
        """The last hidden states of each branch (``""``: the backbone's own).

        *Shape:* (batch, length) to (batch, length, width).
        """
        feeds = {
            "input_ids": batch.ids,
            "attention_mask": batch.mask,
            "token_type_ids": batch.types,
        }
        names = list(branches)
        return dict(zip(names, self._session.run(map(output_name, names), feeds), strict=True))
