"""The backbone with its heads as one torch module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from nlpkit.engines import PluggedHead
from nlpkit.engines.torch import last_layers, last_of, run_branches
from nlpkit.errors import InputError
from nlpkit.heads import Head
from nlpkit.text import N_SHAPES, Batch

#: What stands for a dot in a parameter's name, which torch allows none.
DOT = "|"


class MultiTaskModel(nn.Module):
    """One transformers encoder, many heads. Parameters of a head are named ``<head>/<name>``.

    ``own_layers`` says by head how many of the last layers it has for itself: a branch, which
    starts as a copy of the backbone's. It has the head's name, or that in ``branch_names``, under
    which several heads may share one.

    Raises:
        InputError: heads that share a branch ask for different numbers of layers.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        heads: Mapping[str, Head],
        seed: int = 0,
        own_layers: Mapping[str, int] | None = None,
        branch_names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.branches = nn.ModuleDict()
        self._branch_names: dict[str, str] = {}
        for reader, n_layers in (own_layers or {}).items():
            if n_layers:
                self._add_branch(reader, (branch_names or {}).get(reader) or reader, n_layers)
        self.heads = dict(heads)
        self.head_parameters = nn.ParameterDict()
        generator = torch.Generator().manual_seed(seed)
        width = backbone.config.hidden_size
        for name, head in self.heads.items():
            for parameter, shape in head.parameter_shapes(width).items():
                key = f"{name}/{parameter}".replace(".", DOT)
                self.head_parameters[key] = nn.Parameter(
                    _initial(head, parameter, shape, generator)
                )

    def _add_branch(self, head: str, name: str, n_layers: int) -> None:
        self._branch_names[head] = name
        if name not in self.branches:
            self.branches[name] = last_layers(self.backbone, n_layers)
        if len(self.own_layers[name]) != n_layers:
            raise InputError(
                f"the tasks of branch {name!r} ask for {len(self.own_layers[name])} and {n_layers} "
                "own layers; expected the same number, or branches of different names"
            )

    def go_on_from(
        self, branches: Mapping[str, nn.ModuleList], heads: Mapping[str, PluggedHead]
    ) -> None:
        """Take over the heads of the same name, size and labels, and the branches of these names.

        Of a longer or shorter branch the last layers are taken; others stay the backbone's.
        """
        for name, layers in branches.items():
            for own, layer in zip(
                reversed([*self.own_layers.get(name, ())]), reversed([*layers]), strict=False
            ):
                own.load_state_dict(layer.state_dict())
        for name, plugged in heads.items():
            mine = self.parameters_of(name) if name in self.heads else {}
            shapes = {key: tuple(value.shape) for key, value in mine.items()}
            if shapes == {key: value.shape for key, value in plugged.parameters.items()} and (
                self.heads[name].labels == plugged.head.labels
            ):
                for key, value in mine.items():
                    value.data.copy_(torch.tensor(plugged.parameters[key]))

    def begin_anew(self, published: PreTrainedModel, n_layers: int) -> None:
        """Give the backbone's last layers, and no branch, the weights of another's."""
        for mine, theirs in zip(
            last_of(self.backbone, n_layers), last_of(published, n_layers), strict=True
        ):
            mine.load_state_dict(theirs.state_dict())

    def freeze(self, n_layers: int) -> None:
        """Keep the backbone's vectors and its first layers from learning; all of it if need be.

        Raises:
            InputError: some of its layers, and it is not a BERT.
        """
        config = self.backbone.config
        if n_layers >= config.num_hidden_layers:
            self.backbone.requires_grad_(False)
        elif n_layers:
            if config.model_type != "bert":
                raise InputError(
                    f"freeze_layers is {n_layers} on a {config.model_type}; expected a bert, or "
                    f"0 or all of {config.num_hidden_layers} layers"
                )
            bert: Any = self.backbone
            for part in (bert.embeddings, *bert.encoder.layer[:n_layers]):
                part.requires_grad_(False)

    def set_attention_dropout(self, share: float | None) -> None:
        """Leave out this share of attention's weights in training (None: as configured)."""
        for name, module in self.named_modules():
            if share is not None and name.endswith("attention.self.dropout"):
                cast(nn.Dropout, module).p = share

    def hidden(
        self, batch: Batch, heads: Iterable[str], *, train_backbone: bool = True
    ) -> dict[str, Tensor]:
        """What each of these heads reads: (batch, length) to (batch, length, width).

        Without ``train_backbone`` gradients end where the heads' own layers begin.
        """
        branches = {name: self.branch_of(name) for name in heads}
        states = run_branches(
            self.backbone,
            batch,
            self.own_layers,
            {*branches.values()},
            train_backbone=train_backbone,
        )
        return {name: states[branch] for name, branch in branches.items()}

    def branch_of(self, head: str) -> str:
        """The branch that a head reads; ``""`` is the backbone's own end."""
        return self._branch_names.get(head, "")

    @property
    def own_layers(self) -> dict[str, nn.ModuleList]:
        """The layers of each branch, by name."""
        return {name: cast(nn.ModuleList, layers) for name, layers in self.branches.items()}

    def logits(self, name: str, hidden: Tensor, batch: Batch) -> Tensor:
        result: Tensor = self.heads[name].forward(hidden, batch, self.parameters_of(name))
        return result

    def parameters_of(self, name: str) -> dict[str, Tensor]:
        prefix = f"{name}/"
        return {
            key.removeprefix(prefix).replace(DOT, "."): value
            for key, value in self.head_parameters.items()
            if key.startswith(prefix)
        }


def add_shape_types(backbone: PreTrainedModel) -> None:
    """Give the token-type table a row for every (segment, word shape).

    Each starts as the row of its segment, so the backbone computes what it did before.
    """
    embeddings: Any = backbone.embeddings
    old: Tensor = embeddings.token_type_embeddings.weight.data
    rows = torch.cat([old[min(s, len(old) - 1)].repeat(N_SHAPES, 1) for s in (0, 1)])
    fresh = nn.Embedding(2 * N_SHAPES, old.shape[1])
    fresh.weight.data.copy_(rows)
    embeddings.token_type_embeddings = fresh
    backbone.config.type_vocab_size = 2 * N_SHAPES


def _initial(
    head: Head, parameter: str, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    if head.kind == "pooling":
        return torch.eye(shape[0])
    if len(shape) == 1 or parameter == "shape_weight":
        return torch.zeros(shape)
    return torch.empty(shape).normal_(0.0, 0.02, generator=generator)
