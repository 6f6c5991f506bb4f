"""Ways to run the backbone on this CPU: how fast, how near to fp32, and whether company matters.

    pip install onnx-ir        # for ONNX Runtime's weights in blocks
    python benchmarks/engines.py [--texts 256] [--rounds 5] [--only torch]

All ways read the same batches, 16 texts of like length each, through the layers of the embedding,
in turns; tokenising is not in the times. ``cosine`` is that of the pooled vectors to torch's in
fp32 (mean, worst), ``apart`` the most that a component of a unit vector differs between a text
alone and among 16. A way that cannot be had here is named with the reason. Texts: SciFact and AG
News of ``NLPKIT_DATA``, or made up. Needs what development needs (``make env``).
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel
from transformers.utils.logging import disable_progress_bar

import nlpkit
from nlpkit.bench.texts import Texts
from nlpkit.engines import cpu_limit
from nlpkit.export import export, model_inputs
from nlpkit.text import Batch

Inputs = Mapping[str, np.ndarray[Any, Any]]
#: From inputs to hidden states, (batch, length) to (batch, length, width).
Way = Callable[[Inputs], np.ndarray[Any, Any]]
ROWS = 16
NAMES = ("input_ids", "attention_mask", "token_type_ids")
REFERENCE = "torch, fp32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="ways whose name has this in it")
    parser.add_argument("--model", default="base-en")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    disable_progress_bar()
    torch.set_num_threads(cpu_limit())
    texts = Texts.found()
    kit = nlpkit.load(options.model, "cpu", precision="fp32")
    chosen = sorted(texts.mixed(options.texts), key=len)
    groups = [model_inputs(kit.encoder, chosen[i : i + ROWS]) for i in range(0, len(chosen), ROWS)]
    n_tokens = sum(int(one["attention_mask"].sum()) for one in groups)
    with tempfile.TemporaryDirectory() as folder:
        known = ways(kit.name, Path(folder), texts.calibration(100))
        reference = vectors(known[REFERENCE](), groups)
        alone = [inputs_of(kit, [text]) for text in chosen[:: len(chosen) // 32]]
        ready: dict[str, Way] = {}
        lines: dict[str, list[str]] = {}
        for name, make in known.items():
            if options.only not in name:
                continue
            try:
                way = make()
                vectors(way, groups)  # warm
                found = vectors(way, groups)
                apart = np.abs(vectors(way, alone) - found[:: len(chosen) // 32]).max()
            except Exception as error:  # each library has errors of its own
                print(f"{name}: not here: {type(error).__name__}: {str(error).splitlines()[0]}")
                continue
            cosine = (found * reference).sum(-1)
            ready[name] = way
            lines[name] = [f"{cosine.mean():.4f}, {cosine.min():.4f}", f"{apart:.1e}"]
            print(f"{name}: ready", flush=True)
        seconds: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(options.rounds):
            for name, way in ready.items():
                time.sleep(0.3)  # threads of the one before may spin for a while
                start = time.perf_counter()
                for inputs in groups:
                    way(inputs)
                seconds[name].append(time.perf_counter() - start)
    print(f"\n{len(chosen)} texts ({texts.origin}), {n_tokens:,} tokens, {cpu_limit()} threads\n")
    print("| | tokens/s | times torch's fp32 | cosine | apart |\n|---|---|---|---|---|")
    for name, taken in seconds.items():
        rates = sorted(n_tokens / one for one in taken)
        rate = f"{statistics.median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})"
        base = seconds.get(REFERENCE)
        times = f"{statistics.median(map(quotient, base, taken)):.2f}" if base else ""
        print(f"| {name} | {rate} | {times} | {' | '.join(lines[name])} |")


def inputs_of(kit: nlpkit.Pipeline, texts: Sequence[str]) -> Inputs:
    """Padded to a multiple of 16 tokens, as nlpkit pads."""
    found = model_inputs(kit.encoder, texts)
    rest = -found["input_ids"].shape[1] % 16
    return {name: np.pad(values, ((0, 0), (0, rest))) for name, values in found.items()}


def quotient(one: float, other: float) -> float:
    return one / other


def vectors(way: Way, groups: Sequence[Inputs]) -> np.ndarray[Any, Any]:
    """Mean of each text's tokens, unit length; one row a text."""
    found = []
    for inputs in groups:
        mask = inputs["attention_mask"][..., None]
        pooled = (way(inputs) * mask).sum(1) / mask.sum(1)
        found.append(pooled / np.linalg.norm(pooled, axis=-1, keepdims=True))
    return np.concatenate(found)


def ways(name: str, folder: Path, calibration: Sequence[str]) -> dict[str, Callable[[], Way]]:
    """What makes each way ready, by its name."""
    source = export("sentence-transformers", folder / "model", bundle=name)
    module = AutoModel.from_pretrained(source, attn_implementation="sdpa").eval()
    compiled = partial(torch.compile, dynamic=True)
    eager = AutoModel.from_pretrained(source, attn_implementation="eager").eval()
    ort = OnnxRuntime(eager, folder, [model_inputs(name_of(name), [one]) for one in calibration])
    return {
        REFERENCE: lambda: of_torch(module, None),
        "torch, bf16": lambda: of_torch(module, torch.bfloat16),
        "torch, dynamic int8 (oneDNN)": lambda: of_torch(dynamic_int8(module), None),
        "torch.compile, fp32": lambda: of_torch(compiled(module), None),
        "torch.compile, bf16": lambda: of_torch(compiled(module), torch.bfloat16),
        "ONNX Runtime, fp32": lambda: ort.session(ort.fused),
        "ONNX Runtime, dynamic int8 by channel": ort.dynamic,
        "ONNX Runtime, static int8": lambda: ort.static(by_channel=False),
        "ONNX Runtime, static int8 by channel": lambda: ort.static(by_channel=True),
        "ONNX Runtime, int8 weights in blocks of 32": ort.blocked,
        "nlpkit, fp32": lambda: of_nlpkit(name, "fp32"),
        "nlpkit, bf16": lambda: of_nlpkit(name, "bf16"),
        "nlpkit, int8": lambda: of_nlpkit(name, "int8"),
    }


def name_of(name: str) -> Path:
    from nlpkit.bundle import bundles

    return bundles()[name]


def of_nlpkit(name: str, precision: str) -> Way:
    engine = nlpkit.load(name, "cpu", precision=precision).engine

    def read(inputs: Inputs) -> np.ndarray[Any, Any]:
        ids, mask, types = (inputs[key] for key in NAMES)
        return np.asarray(engine.hidden(Batch(ids, mask, types, types, mask), [""])[""])

    return read


def of_torch(module: Any, dtype: torch.dtype | None) -> Way:
    def read(inputs: Inputs) -> np.ndarray[Any, Any]:
        given = {key: torch.from_numpy(inputs[key]) for key in NAMES}
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype is not None):
            found = module(**given).last_hidden_state
        return np.asarray(found.float().numpy())

    return read


def dynamic_int8(module: Any) -> Any:
    torch.backends.quantized.engine = "onednn"
    kinds = {torch.nn.Linear}
    return torch.ao.quantization.quantize_dynamic(module, kinds, dtype=torch.qint8)


class Positional(torch.nn.Module):
    """A model whose inputs have places and not names, as the exporter traces it."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, *values: Any) -> Any:
        return self.module(**dict(zip(NAMES, values, strict=True))).last_hidden_state


class OnnxRuntime:
    """The exported model as an ONNX graph with ONNX Runtime's fused operators, and its int8."""

    def __init__(self, module: Any, folder: Path, calibration: Sequence[Inputs]) -> None:
        self.module, self.folder, self.calibration = module, folder, calibration

    @property
    def plain(self) -> Path:
        path = self.folder / "plain.onnx"
        if not path.is_file():
            axes = {0: "batch", 1: "length"}
            given = tuple(torch.from_numpy(self.calibration[0][key]) for key in NAMES)
            torch.onnx.export(
                Positional(self.module),
                given,
                path,
                input_names=list(NAMES),
                output_names=["last_hidden_state"],
                dynamic_axes=dict.fromkeys((*NAMES, "last_hidden_state"), axes),
                opset_version=17,
                dynamo=False,
            )
        return path

    @property
    def fused(self) -> Path:
        from onnxruntime.transformers.optimizer import optimize_model

        path = self.folder / "fused.onnx"
        if not path.is_file():
            config = self.module.config
            made = optimize_model(
                str(self.plain), "bert", config.num_attention_heads, config.hidden_size
            )
            made.save_model_to_file(str(path))
        return path

    def session(self, path: Path) -> Way:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu_limit()
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        asked = [one.name for one in session.get_inputs()]
        return lambda inputs: np.asarray(
            session.run(["last_hidden_state"], {key: inputs[key] for key in asked})[0]
        )

    def dynamic(self) -> Way:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        path = self.folder / "dynamic.onnx"
        quantize_dynamic(
            self.fused,
            path,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        return self.session(path)

    def static(self, *, by_channel: bool) -> Way:
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

        rows = iter(self.calibration)

        class Reader(CalibrationDataReader):
            def get_next(self) -> Any:
                found = next(rows, None)
                return None if found is None else {key: found[key] for key in NAMES}

        path = self.folder / f"static-{by_channel}.onnx"
        quantize_static(
            self.plain,
            path,
            Reader(),
            per_channel=by_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            extra_options={"MatMulConstBOnly": True},
        )
        return self.session(path)

    def blocked(self) -> Way:
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import (
            DefaultWeightOnlyQuantConfig,
            MatMulNBitsQuantizer,
        )

        settings = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, bits=8)
        settings.accuracy_level = 4  # multiply in int8
        made = MatMulNBitsQuantizer(onnx.load(str(self.plain)), algo_config=settings)
        made.process()
        path = self.folder / "blocked.onnx"
        made.model.save_model_to_file(str(path))
        return self.session(path)


if __name__ == "__main__":
    main()
