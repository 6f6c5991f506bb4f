"""Backbone weights at rest: one safetensors file that serves every engine.

Large matrices can be stored as int8 with one float32 scale per output channel (per row of the
word table), under ``<name>`` and ``<name>.scale``. Where ``<name>.smooth`` stands beside, one
number per input channel, the matrix was multiplied by it before it was rounded, as it is for int8
arithmetic (nlpkit.engines.openvino), which so rounds nothing once more. All engines compute from
the same dequantised values.

Names are those of transformers' ``BertModel``; a branch, which takes the place of the last layers
for the heads that read it, has its layers under ``branches.<name>.`` and the names of those they
replace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import BundleError

Tensors = Mapping[str, NDArray[Any]]
T = TypeVar("T")

SCALE, SMOOTH = ".scale", ".smooth"
#: Tables with fewer values than this stay in float32.
SMALL = 500_000
WORD_TABLE = "embeddings.word_embeddings.weight"
LAYER = "encoder.layer."
BRANCH = "branches."
#: The products of a layer, each with its matrices (its outputs are theirs in this order).
PRODUCTS = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "out": ("attention.output.dense",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
}


class Rounded(NamedTuple):
    """A matrix as int8, after its columns were multiplied by ``smooth``.

    *Shapes:* values (outputs, inputs), scale (outputs, 1), smooth (inputs,).
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    smooth: NDArray[np.float32]


def quantise(
    tensors: Tensors,
    small: int = SMALL,
    known: Mapping[str, Rounded] | None = None,
    before: Tensors | None = None,
) -> dict[str, NDArray[Any]]:
    """The layers' matrices, and tables from ``small`` values on, as int8 with a scale per row.

    Those that are ``known`` are taken as they are (nlpkit.quantise.round_weights), and those that
    are the same as in the weights stored ``before`` as they are there.
    """
    known, before = known or {}, before or {}
    same = unchanged(before, tensors) - {*known}
    stored: dict[str, NDArray[Any]] = {}
    for name, value in tensors.items():
        if name in same:
            parts = (name, name + SCALE, name + SMOOTH)
            stored |= {part: before[part] for part in parts if part in before}
            continue
        value = np.asarray(value, dtype=np.float32)
        if value.ndim != 2 or (value.size < small and LAYER not in name):
            stored[name] = value
            continue
        if name in known:
            stored[name], stored[name + SCALE], stored[name + SMOOTH] = known[name]
            continue
        scale = best_scale(value)
        stored[name] = np.clip(np.rint(value / scale), -127, 127).astype(np.int8)
        stored[name + SCALE] = scale
    return stored


def dequantise(stored: Tensors) -> dict[str, NDArray[np.float32]]:
    """All tensors in float32, under their plain names."""
    return {name: _plain(stored, name) for name in stored if not name.endswith((SCALE, SMOOTH))}


def unchanged(stored: Tensors, plain: Tensors) -> set[str]:
    """The names of the weights that are those stored, to the last bit."""
    names = {*plain} & {*stored}
    return {name for name in names if np.array_equal(_plain(stored, name), plain[name])}


def holds(stored: Tensors, plain: Tensors) -> bool:
    """Whether these are the weights that are stored, all of them and no other."""
    names = {name for name in stored if not name.endswith((SCALE, SMOOTH))}
    return names == {*plain} == unchanged(stored, plain)


def _plain(stored: Tensors, name: str) -> NDArray[np.float32]:
    value = stored[name].astype(np.float32)
    if name + SCALE in stored:
        value *= stored[name + SCALE]
    if name + SMOOTH in stored:
        value /= stored[name + SMOOTH]
    return value


def matrices_of(product: str) -> list[str]:
    """The names of the matrices of a product, ``<layer_name><product>``."""
    branch, _, rest = product.rpartition("layer.")
    layer, kind = rest.split(".")
    source = _source(branch.removesuffix("."), int(layer))
    return [f"{source}{part}.weight" for part in PRODUCTS[kind]]


def best_scale(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Per row, the scale of least squared error: that of the largest value, or a smaller one."""
    peak = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-8) / 127
    best, least = peak, np.full((len(matrix), 1), np.inf)
    for factor in (1.0, 0.95, 0.9, 0.85, 0.8):
        scale = peak * factor
        rounded = np.clip(np.rint(matrix / scale), -127, 127) * scale
        error = ((matrix - rounded) ** 2).sum(axis=1, keepdims=True)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return np.asarray(best, dtype=np.float32)


def branches_of(names: Iterable[str]) -> dict[str, int]:
    """The branches among the names of weights, each with its number of layers."""
    layers: dict[str, set[str]] = {}
    for name in names:
        if name.startswith(BRANCH):
            branch, _, rest = name.removeprefix(BRANCH).partition(f".{LAYER}")
            layers.setdefault(branch, set()).add(rest.partition(".")[0])
    return {branch: len(found) for branch, found in layers.items()}


def trunk_of(tensors: Mapping[str, T]) -> dict[str, T]:
    """The weights without those of the branches."""
    return {name: value for name, value in tensors.items() if not name.startswith(BRANCH)}


def with_branch(tensors: Mapping[str, T], branch: str) -> dict[str, T]:
    """The weights of a plain backbone whose last layers are the branch's (``""``: its own)."""
    prefix = f"{BRANCH}{branch}."
    own = {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}
    return trunk_of(tensors) | own


def output_name(branch: str) -> str:
    """What the graph calls the last hidden states of a branch (``""``: of the backbone)."""
    return f"{branch}.last_hidden_state" if branch else "last_hidden_state"


def graph_tensors(stored: Tensors, n_layers: int) -> dict[str, NDArray[Any]]:
    """All weights under the names and in the layout of nlpkit.engines.graph, in float32.

    An int8 word table is handed over as it is: the graph scales the rows it reads.
    """
    made = embedding_tensors(stored)
    for i in range(n_layers):
        made |= layer_tensors(stored, "", i)
    for branch, n_own in branches_of(stored).items():
        for i in range(n_layers - n_own, n_layers):
            made |= layer_tensors(stored, branch, i)
    return made


def embedding_tensors(stored: Tensors) -> dict[str, NDArray[Any]]:
    """The tables before the first layer, and their layer norm."""
    words = {"word": stored[WORD_TABLE]}
    if WORD_TABLE + SCALE in stored:
        words["word.scale"] = stored[WORD_TABLE + SCALE]
    return {
        **words,
        "type": _plain(stored, "embeddings.token_type_embeddings.weight"),
        "position": _plain(stored, "embeddings.position_embeddings.weight"),
        "norm.weight": _plain(stored, "embeddings.LayerNorm.weight"),
        "norm.bias": _plain(stored, "embeddings.LayerNorm.bias"),
    }


def layer_tensors(stored: Tensors, branch: str, layer: int) -> dict[str, NDArray[Any]]:
    """One layer of a branch (``""``: of the backbone's own); matrices are (inputs, outputs)."""
    source, target = _source(branch, layer), layer_name(branch, layer)
    made = {}
    for product, parts in PRODUCTS.items():
        for kind in ("weight", "bias"):
            joined = np.concatenate([_plain(stored, f"{source}{part}.{kind}") for part in parts])
            made[f"{target}{product}.{kind}"] = joined.T.copy()
    for ours, theirs in (("out", "attention.output.LayerNorm"), ("down", "output.LayerNorm")):
        for kind in ("weight", "bias"):
            made[f"{target}{ours}.norm.{kind}"] = _plain(stored, f"{source}{theirs}.{kind}")
    return made


def layer_grids(stored: Tensors, branch: str, layer: int) -> dict[str, NDArray[Any]]:
    """How a layer's products are stored where they were smoothed, by the names of layer_tensors.

    ``<product>.smooth`` (inputs,) and ``<product>.scale`` (1, outputs).
    """
    source, target = _source(branch, layer), layer_name(branch, layer)
    made = {}
    for product, parts in PRODUCTS.items():
        names = [f"{source}{part}.weight" for part in parts]
        if all(name + SMOOTH in stored for name in names):
            made[f"{target}{product}{SMOOTH}"] = stored[names[0] + SMOOTH]
            scales = np.concatenate([stored[name + SCALE] for name in names])
            made[f"{target}{product}{SCALE}"] = scales.T
    return made


def _source(branch: str, layer: int) -> str:
    return f"{BRANCH}{branch}.{LAYER}{layer}." if branch else f"{LAYER}{layer}."


def layer_name(branch: str, layer: int) -> str:
    """What the names of a layer's tensors begin with."""
    return f"{branch}.layer.{layer}." if branch else f"layer.{layer}."


def merge_adapter(stored: Tensors, adapter: Tensors) -> dict[str, NDArray[Any]]:
    """Weights with low-rank updates added: W + (B @ A) * scaling (Hu et al. 2021, LoRA).

    ``adapter`` holds ``<weight>.lora_A`` (rank, inputs), ``<weight>.lora_B`` (outputs, rank) and
    ``<weight>.scaling``; the matrices it changes come out in float32.
    """
    merged = dict(stored)
    for name in {key.rpartition(".")[0] for key in adapter}:
        if name not in stored:
            raise BundleError(f"the adapter changes {name!r}, which the backbone does not have")
        update = adapter[f"{name}.lora_B"] @ adapter[f"{name}.lora_A"]
        merged[name] = _plain(stored, name) + update * adapter[f"{name}.scaling"]
        for kind in (SCALE, SMOOTH):
            merged.pop(name + kind, None)
    return merged
