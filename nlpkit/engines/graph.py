"""The BERT encoder as an ONNX graph without weights (needs ``onnx``: the extra ``train``).

The graph is a few kilobytes: its weights are declared as external and handed over from memory by
the engine (nlpkit.engines.onnx), which reads them from the bundle's one weights file. It is
written by hand with ONNX Runtime's fused transformer operators (domain ``com.microsoft``), so no
optimiser has to find them again at every start.

Layer layout and names: Devlin et al. 2019; transformers' ``BertModel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import TensorProto, helper

from nlpkit.weights import output_name

OPSET = 17
MICROSOFT = "com.microsoft"


def bert_graph(
    config: Mapping[str, Any], *, int8_words: bool, branches: Mapping[str, int] | None = None
) -> bytes:
    """A serialised ONNX model: (batch, length) ids, mask and types to (batch, length, width).

    It has an output for the backbone and one for every branch (its number of layers by name); ONNX
    Runtime computes only what leads to those that are asked for.
    """
    model = _GraphBuilder(config, int8_words).model(branches or {})
    serialised: bytes = model.SerializeToString()
    return serialised


class _GraphBuilder:
    def __init__(self, config: Mapping[str, Any], int8_words: bool) -> None:
        self.config = config
        self.int8_words = int8_words
        self.width = int(config["hidden_size"])
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def model(self, branches: Mapping[str, int]) -> onnx.ModelProto:
        states = [self.embeddings()]
        lengths = self.node("ReduceSum", ["attention_mask", self.constant("axis", [1])], keepdims=0)
        lengths = self.node("Cast", [lengths], to=TensorProto.INT32)
        n_layers = int(self.config["num_hidden_layers"])
        for layer in range(n_layers):
            states.append(self.layer(states[-1], lengths, f"layer.{layer}."))
        ends = {"": states[-1]}
        for name, n_own in branches.items():
            ends[name] = states[n_layers - n_own]
            for layer in range(n_layers - n_own, n_layers):
                ends[name] = self.layer(ends[name], lengths, f"{name}.layer.{layer}.")
        for name, hidden in ends.items():
            self.nodes.append(helper.make_node("Identity", [hidden], [output_name(name)]))
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        shape: list[str | int | None] = ["batch", "length", self.width]
        outputs = [
            helper.make_tensor_value_info(output_name(name), TensorProto.FLOAT, shape)
            for name in ends
        ]
        graph = helper.make_graph(self.nodes, "bert", inputs, outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def embeddings(self) -> str:
        """Word rows (as int8, each with a scale), position rows, token-type rows; layer norm."""
        if self.int8_words:
            rows = self.node("Gather", [self.weight("word", TensorProto.INT8), "input_ids"])
            scales = self.node("Gather", [self.weight("word.scale"), "input_ids"])
            words = self.node("Mul", [self.node("Cast", [rows], to=TensorProto.FLOAT), scales])
        else:
            words = self.node("Gather", [self.weight("word"), "input_ids"])
        types = self.node("Gather", [self.weight("type"), "token_type_ids"])
        length = self.node("Shape", ["input_ids"], start=1, end=2)
        positions = self.node(
            "Slice", [self.weight("position"), self.constant("zero", [0]), length]
        )
        total = self.node("Add", [self.node("Add", [words, types]), positions])
        return self.node(
            "LayerNormalization",
            [total, self.weight("norm.weight"), self.weight("norm.bias")],
            axis=-1,
            epsilon=self.epsilon,
        )

    def layer(self, hidden: str, lengths: str, prefix: str) -> str:
        """Self-attention and feed-forward, each added to its input and normalised."""

        def weight(name: str) -> str:
            return self.weight(prefix + name)

        attended = self.node(
            "Attention",
            [hidden, weight("qkv.weight"), weight("qkv.bias"), lengths],
            domain=MICROSOFT,
            num_heads=int(self.config["num_attention_heads"]),
        )
        attended = self.node("MatMul", [attended, weight("out.weight")])
        hidden = self.skip_norm(attended, hidden, prefix + "out")
        inner = self.node("MatMul", [hidden, weight("up.weight")])
        inner = self.node("BiasGelu", [inner, weight("up.bias")], domain=MICROSOFT)
        inner = self.node("MatMul", [inner, weight("down.weight")])
        return self.skip_norm(inner, hidden, prefix + "down")

    def skip_norm(self, value: str, skip: str, prefix: str) -> str:
        parts = ("norm.weight", "norm.bias", "bias")
        return self.node(
            "SkipLayerNormalization",
            [value, skip, *(self.weight(f"{prefix}.{part}") for part in parts)],
            domain=MICROSOFT,
            epsilon=self.epsilon,
        )

    @property
    def epsilon(self) -> float:
        return float(self.config["layer_norm_eps"])

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: list[int]) -> str:
        name = f"{name}_{len(self.initializers)}"
        self.initializers.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def weight(self, name: str, kind: int = TensorProto.FLOAT) -> str:
        """Declare an external weight; its data is handed over when the session is made."""
        tensor = onnx.TensorProto()
        tensor.name = name
        tensor.data_type = kind
        tensor.dims.extend(self.shape(name))
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.safetensors")
        self.initializers.append(tensor)
        return name

    def shape(self, name: str) -> list[int]:
        """Shapes of the weights as the engine hands them over: (inputs, outputs)."""
        width, inner = self.width, int(self.config["intermediate_size"])
        known = {
            "word": [int(self.config["vocab_size"]), width],
            "word.scale": [int(self.config["vocab_size"]), 1],
            "type": [int(self.config["type_vocab_size"]), width],
            "position": [int(self.config["max_position_embeddings"]), width],
            "qkv.weight": [width, 3 * width],
            "qkv.bias": [3 * width],
            "out.weight": [width, width],
            "up.weight": [width, inner],
            "up.bias": [inner],
            "down.weight": [inner, width],
        }
        if name in known:
            return known[name]
        return known.get(name.rpartition("layer.")[2].partition(".")[2], [width])
