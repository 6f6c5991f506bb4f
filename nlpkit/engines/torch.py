"""The torch engine: GPUs, and any BERT-family checkpoint of transformers (extra ``gpu``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from nlpkit.engines import PluggedHead
from nlpkit.errors import InputError
from nlpkit.heads.base import Floats
from nlpkit.text import Batch

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """Runs a transformers encoder; heads run on the same device in float32."""

    name = "torch"

    def __init__(self, backbone: PreTrainedModel, device: str, precision: str) -> None:
        check_device(device)
        self.device = device
        self.precision = precision
        self.width = int(backbone.config.hidden_size)
        nn.Module.to(backbone, device=device, dtype=_DTYPES[precision])
        self.backbone = backbone.eval()
        self._parameters: WeakKeyDictionary[PluggedHead, dict[str, Tensor]] = WeakKeyDictionary()

    @classmethod
    def from_weights(
        cls,
        weights: Mapping[str, np.ndarray[Any, Any]],
        config: Mapping[str, Any],
        device: str,
        precision: str,
    ) -> TorchEngine:
        """An engine from plain float32 tensors under transformers' names."""
        model = AutoModel.from_config(AutoConfig.for_model(**config), add_pooling_layer=False)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return cls(model, device, precision)

    def run(self, batch: Batch, heads: Mapping[str, PluggedHead]) -> dict[str, Floats]:
        with torch.inference_mode():
            moved = to_torch(batch, self.device)
            hidden = run_backbone(self.backbone, moved).float()
            logits = {
                name: plugged.head.forward(hidden, moved, self._on_device(plugged))
                for name, plugged in heads.items()
            }
            return {name: value.cpu().numpy() for name, value in logits.items()}

    def _on_device(self, plugged: PluggedHead) -> dict[str, Tensor]:
        known = self._parameters.get(plugged)
        if known is None:
            known = {
                name: torch.tensor(value, device=self.device)
                for name, value in plugged.parameters.items()
            }
            self._parameters[plugged] = known
        return known


def check_device(device: str) -> None:
    """Raises InputError where torch cannot use the device."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"device is {device!r}, but torch {torch.__version__} sees no CUDA GPU; "
            "expected device='cpu' or 'auto', or a torch built for CUDA"
        )
    if device == "mps" and not torch.backends.mps.is_available():
        raise InputError("device is 'mps', but torch sees none here; expected 'cpu' or 'auto'")


def run_backbone(backbone: PreTrainedModel, batch: Batch) -> Tensor:
    """Last hidden states, with token types only where the backbone has them."""
    inputs: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.mask}
    if getattr(backbone.config, "type_vocab_size", 0):
        inputs["token_type_ids"] = batch.types
    hidden: Tensor = backbone(**inputs).last_hidden_state
    return hidden


def to_torch(batch: Batch, device: torch.device | str = "cpu") -> Batch:
    def move(array: Any) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    return Batch(
        move(batch.ids), move(batch.mask), move(batch.types), move(batch.shapes), move(batch.owned)
    )
