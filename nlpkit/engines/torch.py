"""The torch engine: GPUs, and any BERT-family checkpoint of transformers (extra ``gpu``)."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
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
from nlpkit.weights import branches_of, trunk_of, with_branch

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """Runs a transformers encoder; heads run on the same device in float32.

    ``branches`` are last layers of heads' own, by name (see :func:`run_branches`).
    """

    name = "torch"
    packed = False

    def __init__(
        self,
        backbone: PreTrainedModel,
        device: str,
        precision: str,
        branches: Mapping[str, nn.ModuleList] | None = None,
    ) -> None:
        check_device(device)
        self.device = device
        self.precision = precision
        self.width = int(backbone.config.hidden_size)
        self.branches = dict(branches or {})
        try:
            nn.Module.to(backbone, device=device, dtype=_DTYPES[precision])
            for layers in self.branches.values():
                layers.to(device=device, dtype=_DTYPES[precision]).eval()
        except torch.OutOfMemoryError as error:
            raise _no_room(device, "the model") from error
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
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
        branches = {}
        for name, n_layers in branches_of(weights).items():
            model.load_state_dict(with_branch(tensors, name))
            branches[name] = last_layers(model, n_layers)
        model.load_state_dict(trunk_of(tensors))
        return cls(model, device, precision, branches)

    def run(self, batch: Batch, heads: Mapping[str, PluggedHead]) -> dict[str, Floats]:
        """A batch for which the device has no room is read in halves.

        Raises:
            InputError: it has none for a single row.
        """
        n_rows, length = batch.ids.shape
        try:
            return self._run(batch, heads)
        except torch.OutOfMemoryError as error:
            if n_rows == 1:
                raise _no_room(self.device, f"a row of {length} tokens") from error
        halves = [self.run(part, heads) for part in _halves(batch)]
        return {name: np.concatenate([half[name] for half in halves]) for name in heads}

    def _run(self, batch: Batch, heads: Mapping[str, PluggedHead]) -> dict[str, Floats]:
        with torch.inference_mode():
            moved = to_torch(batch, self.device)
            wanted = {plugged.branch for plugged in heads.values()}
            hidden = run_branches(self.backbone, moved, self.branches, wanted)
            hidden = {branch: states.float() for branch, states in hidden.items()}
            logits = {
                name: plugged.head.forward(hidden[plugged.branch], moved, self._on_device(plugged))
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


def _halves(batch: Batch) -> list[Batch]:
    middle = len(batch.ids) // 2
    values = (batch.ids, batch.mask, batch.types, batch.shapes, batch.owned)
    parts = (slice(None, middle), slice(middle, None))
    return [Batch(*(value[part] for value in values)) for part in parts]


def _no_room(device: str, what: str) -> InputError:
    return InputError(
        f"device {device!r} has no memory left for {what}; end what else runs on it, or give "
        "device='cpu'"
    )


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


def run_branches(
    backbone: PreTrainedModel,
    batch: Batch,
    branches: Mapping[str, nn.ModuleList],
    wanted: Collection[str],
    *,
    train_backbone: bool = True,
) -> dict[str, Tensor]:
    """Last hidden states by branch (``""``: the backbone's own), each layer computed once.

    A branch of n layers goes on from what the backbone's own last n layers are given. Its backbone
    is a plain BERT. Without ``train_backbone`` gradients end where branches begin.
    """
    graded = torch.is_grad_enabled() and train_backbone
    if not any(wanted):
        with torch.set_grad_enabled(graded):
            return {"": run_backbone(backbone, batch)}
    model: Any = backbone
    with torch.set_grad_enabled(graded):
        hidden = model.embeddings(input_ids=batch.ids, token_type_ids=batch.types)
    unseen = (batch.mask[:, None, None, :] == 0).to(hidden.dtype)
    mask = unseen * torch.finfo(hidden.dtype).min
    layers = model.encoder.layer
    ends: dict[str, Tensor] = {}
    for place, layer in enumerate([*layers, None]):
        for name in wanted:
            if name and len(layers) - len(branches[name]) == place:
                ends[name] = hidden
                for own in branches[name]:
                    ends[name] = _layer(own, ends[name], mask)
        if layer is None or len(ends) == len(wanted):
            break
        with torch.set_grad_enabled(graded):
            hidden = _layer(layer, hidden, mask)
    return ends | {"": hidden} if "" in wanted else ends


def last_layers(backbone: PreTrainedModel, n_layers: int) -> nn.ModuleList:
    """A copy of a BERT's last layers: where a branch starts.

    Raises:
        InputError: it is not a BERT, or has no more layers than these.
    """
    model: Any = backbone
    if model.config.model_type != "bert" or n_layers >= model.config.num_hidden_layers:
        raise InputError(
            f"{n_layers} own layers were asked for on a {model.config.model_type} of "
            f"{model.config.num_hidden_layers} layers; expected a bert of more layers than these"
        )
    return nn.ModuleList(copy.deepcopy(layer) for layer in model.encoder.layer[-n_layers:])


def _layer(layer: nn.Module, hidden: Tensor, mask: Tensor) -> Tensor:
    result = layer(hidden, mask)
    after: Tensor = result[0] if isinstance(result, tuple) else result  # until transformers 4
    return after


def to_torch(batch: Batch, device: torch.device | str = "cpu") -> Batch:
    def move(array: Any) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    return Batch(
        move(batch.ids), move(batch.mask), move(batch.types), move(batch.shapes), move(batch.owned)
    )
