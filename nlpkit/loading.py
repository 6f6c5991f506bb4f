"""From a name to a pipeline: bundles, transformers checkpoints, devices."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nlpkit.bundle import ACTIVATIONS, Bundle, Manifest, bundles, read_bundle, read_manifest
from nlpkit.engines import Choice, Engine, choose
from nlpkit.errors import InputTypeError, MissingExtraError, UnknownNameError
from nlpkit.pipeline import TOKEN_BUDGET, Pipeline, WindowSizes

_lock = threading.Lock()
_pipelines: dict[str, Pipeline] = {}

DEFAULT = "base-en"
#: Places of a batch on a GPU, padding with them: enough to keep one busy, little of its memory.
GPU_TOKENS = 32_768


def default_pipeline() -> Pipeline:
    """The pipeline behind ``nlpkit.ner`` and its siblings, loaded once."""
    found = _pipelines.get(DEFAULT)
    if found is None:
        with _lock:
            found = _pipelines.get(DEFAULT) or load(DEFAULT)
            _pipelines[DEFAULT] = found
    return found


def load(name: str | Path = DEFAULT, device: str = "auto", precision: str = "auto") -> Pipeline:
    """A pipeline from a bundle's name or folder, a transformers checkpoint's folder, or a hub id.

    Raises:
        UnknownNameError: none of these; the message lists the known bundles.
        BundleError: a bundle that is broken.
        InputError: a device or precision that cannot be had.
        MissingExtraError: torch is needed and absent.
    """
    if not isinstance(name, str | Path):
        raise InputTypeError.of("name", name, "a bundle's name, a path or a hub id")
    path = bundles().get(str(name), Path(name))
    if (path / "bundle.json").is_file():
        choice = choose(device, precision, offered_by(read_manifest(path)[0]))
        return _from_bundle(read_bundle(path), choice)
    choice = choose(device, precision, ())
    is_checkpoint = (path / "config.json").is_file()
    if is_checkpoint or (not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(name))):
        return _from_checkpoint(str(name), choice)
    if path.is_dir():
        read_bundle(path)  # says what the folder lacks
    raise UnknownNameError.of(
        "bundle", str(name), bundles(), "Or give the folder of a bundle or checkpoint, or a hub id."
    )


def offered_by(manifest: Manifest) -> tuple[str, ...]:
    """The precisions that a bundle has on the CPU."""
    return ("fp32", "bf16", "int8") if ACTIVATIONS in manifest.files else ("fp32", "bf16")


def _from_bundle(bundle: Bundle, choice: Choice) -> Pipeline:
    manifest, path = bundle.manifest, bundle.path

    def adapted(adapter: Mapping[str, NDArray[Any]]) -> Engine:
        from nlpkit.weights import merge_adapter

        # Read again: the plain weights are not kept beside the engine's own. An adapter changes
        # what the backbone's products read, so the grids of int8 are no longer theirs.
        again = read_bundle(path)
        other = replace(choice, precision="bf16") if choice.precision == "int8" else choice
        return _engine(again, merge_adapter(again.weights, adapter), other)

    return Pipeline(
        bundle.encoder,
        _engine(bundle, bundle.weights, choice),
        bundle.heads,
        name=manifest.id,
        backbone_sha256=manifest.files["weights.safetensors"],
        storage=manifest.storage,
        token_budget=_token_budget(choice),
        sizes=WindowSizes(
            manifest.window, manifest.overlap, manifest.pair_window, manifest.pair_overlap
        ),
        words=bundle.words,
        adapted=adapted,
    )


def _engine(bundle: Bundle, weights: Mapping[str, NDArray[Any]], choice: Choice) -> Engine:
    if choice.engine == "onnx":
        from nlpkit.engines.onnx import OnnxEngine

        return OnnxEngine(bundle.graph, weights, bundle.manifest.config)
    if choice.engine == "openvino":
        from nlpkit.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(
            weights,
            bundle.manifest.config,
            choice.precision,
            bundle.activations,
            content=bundle.sha256 if weights is bundle.weights else "",
        )
    _require_torch()
    from nlpkit.engines.torch import TorchEngine
    from nlpkit.weights import dequantise

    return TorchEngine.from_weights(
        dequantise(weights), bundle.manifest.config, choice.device, choice.precision
    )


def _from_checkpoint(name: str, choice: Choice) -> Pipeline:
    """Any BERT-family checkpoint runs in torch, with the head it came with."""
    _require_torch()
    from nlpkit import huggingface
    from nlpkit.engines import PluggedHead
    from nlpkit.engines.torch import TorchEngine

    backbone = huggingface.load_backbone(name)
    heads = huggingface.load_heads(name)
    heads["embedding"] = PluggedHead(huggingface.pooling_of(name), {})
    encoder = huggingface.load_encoder(name, backbone.config)
    return Pipeline(
        encoder,
        TorchEngine(backbone, choice.device, choice.precision),
        heads,
        name=name,
        backbone_sha256=huggingface.fingerprint(backbone),
        sizes=WindowSizes().within(encoder.max_length),
        token_budget=_token_budget(choice),
    )


def _token_budget(choice: Choice) -> int:
    return GPU_TOKENS if choice.device.startswith("cuda") else TOKEN_BUDGET


def _require_torch() -> None:
    for module in ("torch", "transformers"):
        if find_spec(module) is None:
            raise MissingExtraError.of("gpu", "this device, precision or checkpoint", module)
