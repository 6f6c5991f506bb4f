"""The torch engine: GPUs, and any BERT-family checkpoint of transformers (extra ``gpu``)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from nlpkit.engines import PluggedHead
from nlpkit.engines.unpadded import Attention, Unpadded, gpu_attention
from nlpkit.errors import InputError
from nlpkit.heads.base import Floats
from nlpkit.text import Batch
from nlpkit.weights import branches_of, trunk_of, with_branch

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """Runs a transformers encoder; heads run on the same device in float32.

    ``branches`` are last layers of heads' own, by name (see :func:`run_branches`). Where the GPU
    has a kernel for it, rows are read without padding (nlpkit.engines.unpadded).
    """

    name = "torch"

    def __init__(
        self,
        backbone: PreTrainedModel,
        device: str,
        precision: str,
        branches: Mapping[str, nn.ModuleList] | None = None,
        attention: Attention | None = None,
    ) -> None:
        check_device(device)
        #: How rows without padding attend; without it they are padded.
        self.attention = attention or gpu_attention(backbone, device, precision)
        self.packed = self.attention is not None
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
        return self.start(batch, heads)()

    def start(
        self, batch: Batch, heads: Mapping[str, PluggedHead]
    ) -> Callable[[], dict[str, Floats]]:
        """Set a GPU to work and return at once; what is given back waits for the logits."""
        n_rows, length = batch.ids.shape
        try:
            return self._start(batch, heads)
        except torch.OutOfMemoryError as error:
            if n_rows == 1:
                raise _no_room(self.device, f"a row of {length} tokens") from error
        halves = [self.run(part, heads) for part in _halves(batch)]
        found = {name: np.concatenate([half[name] for half in halves]) for name in heads}
        return lambda: found

    def _start(
        self, batch: Batch, heads: Mapping[str, PluggedHead]
    ) -> Callable[[], dict[str, Floats]]:
        with torch.inference_mode():
            moved = to_torch(batch, self.device)
            wanted = {plugged.branch for plugged in heads.values()}
            if self.attention is None:
                hidden = run_branches(self.backbone, moved, self.branches, wanted)
            else:
                tokens = Unpadded.of(batch, lambda array: _moved(array, self.device))
                hidden = unpadded_branches(
                    self.backbone, tokens, self.branches, wanted, self.attention
                )
            hidden = {branch: states.float() for branch, states in hidden.items()}
            logits = {
                name: plugged.head.forward(hidden[plugged.branch], moved, self._on_device(plugged))
                for name, plugged in heads.items()
            }
            return _fetched(logits)

    def _on_device(self, plugged: PluggedHead) -> dict[str, Tensor]:
        known = self._parameters.get(plugged)
        if known is None:
            known = {
                name: torch.tensor(value, device=self.device)
                for name, value in plugged.parameters.items()
            }
            self._parameters[plugged] = known
        return known


def _fetched(logits: Mapping[str, Tensor]) -> Callable[[], dict[str, Floats]]:
    """Set the copies to the CPU going, on a CUDA GPU; what is given back waits for them."""
    on_cuda = next((value.device for value in logits.values() if value.is_cuda), None)
    found = {n: value.to("cpu", non_blocking=on_cuda is not None) for n, value in logits.items()}
    ready = None
    if on_cuda is not None:
        ready = torch.cuda.Event()
        ready.record(torch.cuda.current_stream(on_cuda))

    def wait() -> dict[str, Floats]:
        if ready is not None:
            ready.synchronize()
        return {name: value.numpy() for name, value in found.items()}

    return wait


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


def training_precision(device: str) -> str:
    """What a device trains fastest in: ``bf16``, or ``fp32`` on a CPU that has no bf16.

    Torch imitates bf16 there, far slower than it computes fp32.
    """
    if device.partition(":")[0] != "cpu" or find_spec("openvino") is None:
        return "bf16"
    from nlpkit.engines.openvino import has_bf16

    return "bf16" if has_bf16() else "fp32"


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

    def through(layer: nn.Module, hidden: Tensor) -> Tensor:
        result = layer(hidden, mask)
        after: Tensor = result[0] if isinstance(result, tuple) else result  # until transformers 4
        return after

    return walk_branches(model.encoder.layer, hidden, through, branches, wanted, graded=graded)


def unpadded_branches(
    backbone: PreTrainedModel,
    batch: Unpadded,
    branches: Mapping[str, nn.ModuleList],
    wanted: Collection[str],
    attend: Attention,
) -> dict[str, Tensor]:
    """What :func:`run_branches` gives, of a batch without padding; zeros where there is none."""

    def through(layer: nn.Module, hidden: Tensor) -> Tensor:
        return batch.through(layer, hidden, attend)

    model: Any = backbone
    hidden = batch.embedded(backbone)
    ends = walk_branches(model.encoder.layer, hidden, through, branches, wanted)
    return {name: batch.padded_again(states) for name, states in ends.items()}


def walk_branches(
    layers: nn.ModuleList,
    hidden: Tensor,
    through: Callable[[nn.Module, Tensor], Tensor],
    branches: Mapping[str, nn.ModuleList],
    wanted: Collection[str],
    *,
    graded: bool = False,
) -> dict[str, Tensor]:
    """The ends of the wanted branches (``""``: of the layers), each layer gone through once."""
    ends: dict[str, Tensor] = {}
    for place, layer in enumerate([*layers, None]):
        for name in wanted:
            if name and len(layers) - len(branches[name]) == place:
                ends[name] = hidden
                for own in branches[name]:
                    ends[name] = through(own, ends[name])
        if layer is None or len(ends) == len(wanted):
            break
        with torch.set_grad_enabled(graded):
            hidden = through(layer, hidden)
    return ends | {"": hidden} if "" in wanted else ends


def last_layers(backbone: PreTrainedModel, n_layers: int) -> nn.ModuleList:
    """A copy of a BERT's last layers: where a branch starts; raises as :func:`last_of` does."""
    return nn.ModuleList(copy.deepcopy(layer) for layer in last_of(backbone, n_layers))


def last_of(backbone: PreTrainedModel, n_layers: int) -> list[nn.Module]:
    """A BERT's last layers.

    Raises:
        InputError: it is not a BERT, or has no more layers than these.
    """
    model: Any = backbone
    if model.config.model_type != "bert" or n_layers >= model.config.num_hidden_layers:
        raise InputError(
            f"{n_layers} own layers were asked for on a {model.config.model_type} of "
            f"{model.config.num_hidden_layers} layers; expected a bert of more layers than these"
        )
    return [*model.encoder.layer[-n_layers:]]


def to_torch(batch: Batch, device: torch.device | str = "cpu") -> Batch:
    values = (batch.ids, batch.mask, batch.types, batch.shapes, batch.owned)
    return Batch(*(_moved(value, device) for value in values))


def _moved(array: Any, device: torch.device | str) -> Tensor:
    """On a GPU by way of pinned memory, so that the copy does not hold up what comes after."""
    there = torch.from_numpy(array)
    if torch.device(device).type == "cuda":
        there = there.pin_memory()
    return there.to(device, non_blocking=True)
