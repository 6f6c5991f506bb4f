"""From a trained model to a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.bundle import Bundle, Manifest, write_bundle
from nlpkit.engines import PluggedHead
from nlpkit.engines.graph import bert_graph
from nlpkit.heads import make_head
from nlpkit.huggingface import arrays
from nlpkit.pipeline import WindowSizes
from nlpkit.text import Row
from nlpkit.training.model import MultiTaskModel
from nlpkit.training.recipe import Recipe
from nlpkit.weights import BRANCH, LAYER, SCALE, WORD_TABLE, branches_of, holds, quantise

STORAGES = ("int8", "float32")
#: What a bundle keeps of the backbone's transformers config.
CONFIG = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "pad_token_id",
)


def save_bundle(
    model: MultiTaskModel,
    recipe: Recipe,
    path: Path,
    *,
    tokenizer: str,
    storage: str = "int8",
    fitted: Mapping[str, Mapping[str, Any]] | None = None,
    facts: Mapping[str, Any] | None = None,
    rows: Sequence[Row] = (),
    stored: Bundle | None = None,
    words: Mapping[str, NDArray[Any]] | None = None,
    extra: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the model as a bundle.

    ``storage`` is how the backbone's matrices lie on disk; ``fitted`` replaces values of heads'
    configs; ``facts`` are added to the training record. int8 arithmetic is fitted on ``rows``, for
    a bundle that is stored so, where OpenVINO is installed; ``words`` are for zero-shot labels.
    Weights that are those of the bundle ``stored``, and their int8, are written as they lie there,
    and not rounded once more.
    """
    config = {key: getattr(model.backbone.config, key) for key in CONFIG}
    weights: Mapping[str, Any] = arrays(model.backbone) | branch_arrays(model)
    activations: Mapping[str, Any] | None = None
    alike = stored if stored is not None and stored.manifest.storage == storage else None
    before = alike.weights if alike else {}
    if alike and holds(before, weights):
        weights, activations = before, alike.activations
    elif storage == "int8" and rows and find_spec("openvino") is not None:
        from nlpkit.quantise import padded, round_weights

        weights, activations = round_weights(
            weights,
            config,
            padded(rows, config),
            before=before,
            activations=alike.activations if alike else None,
        )
    elif storage == "int8":
        weights = quantise(weights, before=before)
    sizes = WindowSizes()
    manifest = Manifest(
        name=recipe.name,
        version=recipe.version,
        config=config,
        shape_types=recipe.word_shape_types,
        window=sizes.size,
        overlap=sizes.overlap,
        pair_window=sizes.pair_size,
        pair_overlap=sizes.pair_overlap,
        heads={},
        files={},
        storage=storage,
        training={
            "recipe": recipe.name,
            "seed": recipe.seed,
            "backbone": recipe.backbone,
            **(facts or {}),
        },
    )
    return write_bundle(
        path,
        manifest,
        tokenizer=tokenizer,
        weights=weights,
        heads=plugged_heads(model, fitted or {}),
        graph=bert_graph(
            config, int8_words=WORD_TABLE + SCALE in weights, branches=branches_of(weights)
        ),
        activations=activations,
        words=words,
        extra=extra,
        overwrite=overwrite,
    )


def branch_arrays(model: MultiTaskModel) -> dict[str, NDArray[Any]]:
    """The weights of the branches under the names of nlpkit.weights."""
    n_layers = model.backbone.config.num_hidden_layers
    return {
        f"{BRANCH}{name}.{LAYER}{n_layers - len(layers) + i}.{key}": value
        for name, layers in model.own_layers.items()
        for i, layer in enumerate(layers)
        for key, value in arrays(layer).items()
    }


def plugged_heads(
    model: MultiTaskModel, fitted: Mapping[str, Mapping[str, Any]]
) -> dict[str, PluggedHead]:
    """The trained heads with their parameters as numpy arrays."""
    return {
        name: PluggedHead(
            make_head(head.kind, {**head.config(), **fitted.get(name, {})}),
            {
                key: np.ascontiguousarray(value.detach().float().cpu().numpy())
                for key, value in model.parameters_of(name).items()
            },
            model.branch_of(name),
        )
        for name, head in model.heads.items()
    }
