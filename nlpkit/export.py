"""Exports: nlpkit's trained heads as folders that other libraries load, without code of ours.

    transformers            one task on a plain BERT: BertForTokenClassification,
                            BertForSequenceClassification or BertForQuestionAnswering
    sentence-transformers   the embedding: BertModel, pooling, projection, unit length

Weights are float32, and torch is not needed to write them. What a format cannot carry is refused,
or told in the folder's README.md. A backbone that reads word shapes as token types must be given
them there too: by :func:`model_inputs`, or by a tokenizer after :func:`add_word_shapes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from tokenizers import Tokenizer

from nlpkit.bundle import Bundle, Pack, read_bundle, read_pack, write_folder
from nlpkit.engines import PluggedHead
from nlpkit.errors import (
    BundleError,
    InputError,
    InputTypeError,
    OutputExistsError,
    UnknownNameError,
)
from nlpkit.export_card import Origin, readme
from nlpkit.heads import PoolingHead, SequenceHead, SpanHead, TokenHead
from nlpkit.text import N_SHAPES, Ints, TextEncoder, Window, pad
from nlpkit.weights import branches_of, dequantise, merge_adapter, with_branch

#: The model reads word shapes; said in tokenizer_config.json.
WORD_SHAPES = "word_shapes"
#: What our part of config.json is called, by which an exported folder is known.
OURS = "nlpkit"
TERMS = "WEIGHTS-LICENSE"
#: transformers' classifier reads tanh(pooler(h)), a head without dense layer reads h itself. A
#: pooler that scales by this keeps tanh where it is linear, and the classifier scales back. Of
#: base-en-1's sentiment and topic on 400 news texts and tweets (|h| up to 6.2), the logits then
#: differ by at most 1.4e-6 from those of exact arithmetic, as those without a pooler do; with
#: 2**-8 it is 3.2e-5. A power of two costs no rounding, and one this large keeps float16 usable.
POOLER_SCALE = 2.0**-12

Arrays = Mapping[str, NDArray[Any]]
Files = dict[str, bytes]


def export(
    format: str,
    output: str | Path,
    *,
    bundle: str | Path = "base-en",
    task: str | None = None,
    pack: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a folder for another library, complete or not at all; returns its path.

    Args:
        format: ``transformers`` (one task) or ``sentence-transformers`` (the embedding).
        bundle: a bundle's name or folder.
        task: the head to export; of an embedding it may be left out.
        pack: a task pack for the bundle that holds the task; its adapter is merged.
        overwrite: replace a folder that an export wrote before.

    Raises:
        UnknownNameError: no such format, bundle or task.
        BundleError: the bundle or pack is broken, or the pack is of another backbone.
        InputError: the head does something that the format cannot express.
        OutputExistsError: the output is there and is kept.
    """
    if format not in FORMATS:
        raise UnknownNameError.of("export format", format, FORMATS)
    path = Path(output).resolve()
    _refuse_to_replace(path, overwrite)
    source = _Source.read(bundle, pack)
    return write_folder(path, FORMATS[format](source, task), overwrite)


def model_inputs(
    source: TextEncoder | str | Path, texts: Sequence[str | tuple[str, str]]
) -> dict[str, Ints]:
    """What an exported model reads: ``input_ids``, ``token_type_ids`` and ``attention_mask``.

    Args:
        source: an exported folder, a bundle's name or folder, or a pipeline's ``encoder``.
        texts: texts, or pairs of a question and a context.

    *Shape:* each (batch, length), int64, padded on the right.

    Raises:
        InputError: a text is longer than the model reads; nothing is cut.
        InputTypeError: texts are not strings or pairs of strings.
    """
    encoder = source if isinstance(source, TextEncoder) else _encoder_of(Path(source))
    parts = [_parts(i, text) for i, text in enumerate(_listed(texts))]
    encoded = iter(encoder.encode([part for one in parts for part in one]))
    rows = []
    for i, one in enumerate(parts):
        first = next(encoded)
        if len(one) == 1:
            row = encoder.row(first, Window(0, len(first), 0, len(first)))
        else:
            second = next(encoded)
            row = encoder.pair_row(first, second, Window(0, len(second), 0, len(second)))
        if len(row) > encoder.max_length:
            raise InputError(
                f"texts[{i}] has {len(row)} tokens with the special ones; expected at most "
                f"{encoder.max_length}: cut it, or let nlpkit read it in windows"
            )
        rows.append(row)
    if not rows:
        nothing = np.zeros((0, 0), dtype=np.int64)
        return {"input_ids": nothing, "token_type_ids": nothing, "attention_mask": nothing}
    batch = pad(rows, encoder.pad_id)
    return {
        "input_ids": batch.ids,
        "token_type_ids": batch.types,
        "attention_mask": batch.mask,
    }


def add_word_shapes(tokenizer: Any) -> Any:
    """Make a tokenizer of transformers give the word shapes that an exported model reads.

    Its ``token_type_ids`` become segment * 7 + shape, whatever padding, truncation or overlapping
    windows it is asked for, so that pipelines of transformers and sentence-transformers see what
    nlpkit sees. The tokenizer itself is changed, and returned.

    Raises:
        InputError: it is not of a model that reads word shapes.
    """
    options = getattr(tokenizer, "init_kwargs", {})
    if not options.get(WORD_SHAPES) or not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"got a {type(tokenizer).__name__} whose tokenizer_config.json does not ask for "
            f"{WORD_SHAPES}; expected AutoTokenizer.from_pretrained of a folder that nlpkit export "
            "wrote and whose README.md speaks of word shapes: others need none"
        )
    shapes = _WordShapes(tokenizer)
    usual = type(tokenizer)

    def call(self: Any, text: Any = None, text_pair: Any = None, **options: Any) -> Any:
        encoding = usual.__call__(self, text, text_pair, **options)
        if "token_type_ids" in encoding:
            shapes.put_into(encoding, text, text_pair, options)
        return encoding

    # A class of its own under the old name: the pipelines look for the type, and save by name.
    tokenizer.__class__ = type(usual.__name__, (usual,), {"__call__": call})
    return tokenizer


class _WordShapes:
    """Word shapes for the tokens that a transformers tokenizer made of texts."""

    def __init__(self, tokenizer: Any) -> None:
        self._encoder = TextEncoder(
            Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
            shape_types=True,
            n_types=2 * N_SHAPES,
            max_length=int(tokenizer.model_max_length),
        )

    def put_into(
        self, encoding: Any, text: Any, text_pair: Any, options: Mapping[str, Any]
    ) -> None:
        """Replace the encoding's ``token_type_ids``, in the form (lists, tensors) they have."""
        if options.get("is_split_into_words"):
            raise InputError(
                "is_split_into_words was asked for; expected whole texts: a word's shape is read "
                "off the text"
            )
        samples = [[self._by_character(part) for part in one] for one in _samples(text, text_pair)]
        rows = encoding.encodings
        origins = encoding.get("overflow_to_sample_mapping", range(len(rows)))
        types = [_types(row, samples[int(i)]) for row, i in zip(rows, origins, strict=True)]
        old = encoding["token_type_ids"]
        if not isinstance(old, list):
            kind = options["return_tensors"]
            made = type(encoding)({"token_type_ids": types}, tensor_type=kind)
            encoding["token_type_ids"] = made["token_type_ids"]
        elif old:
            encoding["token_type_ids"] = types if isinstance(old[0], list) else types[0]

    def _by_character(self, text: str) -> Ints:
        """At each token's first character, the shape of its word; (length of the text + 1,)."""
        [encoded] = self._encoder.encode([text])
        shapes = np.zeros(len(text) + 1, dtype=np.int64)
        shapes[encoded.starts] = encoded.shapes
        return shapes


def _samples(text: Any, text_pair: Any) -> list[tuple[str, ...]]:
    """The text or pair of each row, of all the ways in which transformers takes them."""
    if isinstance(text, str):
        return [(text,) if text_pair is None else (text, text_pair)]
    if text_pair is not None:
        return list(zip(text, text_pair, strict=True))
    return [(one,) if isinstance(one, str) else tuple(one) for one in text]


def _types(row: Any, shapes: Sequence[Ints]) -> list[int]:
    """Token types of a row (a ``tokenizers.Encoding``), from the shapes of each of its texts."""
    return [
        segment * N_SHAPES + (0 if part is None else int(shapes[part][start]))
        for segment, part, (start, _) in zip(
            row.type_ids, row.sequence_ids, row.offsets, strict=True
        )
    ]


# -- what is exported ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """A bundle, and a task pack for it."""

    bundle: Bundle
    pack: Pack | None

    @classmethod
    def read(cls, bundle: str | Path, pack: str | Path | None) -> _Source:
        found = read_bundle(bundle)
        config, manifest = found.manifest.config, found.manifest
        if config["model_type"] != "bert":
            raise InputError(
                f"{manifest.id} is a {config['model_type']}; only BERT backbones can be exported"
            )
        if pack is None:
            return cls(found, None)
        plugged = read_pack(pack, int(config["hidden_size"]))
        plugged.require_backbone(manifest.id, manifest.files["weights.safetensors"])
        return cls(found, plugged)

    @property
    def config(self) -> dict[str, Any]:
        return self.bundle.manifest.config

    @property
    def width(self) -> int:
        return int(self.config["hidden_size"])

    @property
    def heads(self) -> Mapping[str, PluggedHead]:
        return self.pack.heads if self.pack else self.bundle.heads

    def head(self, task: str) -> PluggedHead:
        if task not in self.heads:
            holder = self.pack.name if self.pack else self.bundle.manifest.id
            raise UnknownNameError.of("task", task, self.heads, f"These are {holder}'s.")
        return self.heads[task]

    def backbone(self, branch: str) -> dict[str, NDArray[np.float32]]:
        """A plain backbone in float32, under the names of ``BertModel``."""
        stored: Arrays = self.bundle.weights
        if self.pack and self.pack.adapter is not None:
            stored = merge_adapter(stored, self.pack.adapter)
        if branch and branch not in branches_of(stored):
            raise BundleError(
                f"the task reads last layers of its own ({branch!r}) that "
                f"{self.bundle.manifest.id} lacks; get the bundle or pack again"
            )
        return dequantise(with_branch(stored, branch))

    def files(
        self, task: str, head: Any, config: Mapping[str, Any], weights: Arrays, library: str
    ) -> Files:
        """What both formats hold: weights, configuration, tokenizer, README.md, terms."""
        encoder, manifest = self.bundle.encoder, self.bundle.manifest
        terms = self.bundle.path / TERMS
        origin = Origin(
            bundle=manifest.id,
            bundle_sha256=self.bundle.sha256,
            task=task,
            head=head,
            library=library,
            architecture=config["architectures"][0],
            word_shapes=encoder.shape_types,
            window=manifest.window,
            max_length=encoder.max_length,
            terms=terms.read_text(encoding="utf-8") if terms.is_file() else None,
            sources=manifest.training.get("sources", ()),
            pack=self.pack.name if self.pack else None,
        )
        ours = {
            "bundle": manifest.id,
            "bundle_sha256": self.bundle.sha256,
            "task": task,
            "pack": origin.pack,
            WORD_SHAPES: encoder.shape_types,
        }
        tokenizer = encoder.to_str()
        found = {
            "config.json": _json({**self.config, **config, OURS: ours}),
            "model.safetensors": _safetensors(weights),
            "tokenizer.json": tokenizer.encode(),
            "tokenizer_config.json": _json(_tokenizer_config(encoder, tokenizer)),
            "README.md": readme(origin).encode(),
        }
        return found | ({TERMS: origin.terms.encode()} if origin.terms else {})


def _tokenizer_config(encoder: TextEncoder, tokenizer: str) -> dict[str, Any]:
    names = Tokenizer.from_str(tokenizer)
    masks = [token for token in ("[MASK]", "<mask>") if names.token_to_id(token) is not None]
    return {
        # This class takes tokenizer.json as it is; BertTokenizer would build one of its own.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "model_max_length": encoder.max_length,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # "[SEP]" in a text is text, as in nlpkit
        WORD_SHAPES: encoder.shape_types,
        "pad_token": names.id_to_token(encoder.pad_id),
        "unk_token": names.id_to_token(encoder.unknown_id),
        "cls_token": names.id_to_token(int(encoder.prefix[0])),
        "sep_token": names.id_to_token(int(encoder.suffix[-1])),
        **({"mask_token": masks[0]} if masks else {}),
    }


# -- transformers --------------------------------------------------------------------------------


def _transformers(source: _Source, task: str | None) -> Files:
    if task is None:
        raise InputError(f"no task was given; expected one of {', '.join(sorted(source.heads))}")
    plugged = source.head(task)
    make = LAYERS.get(type(plugged.head))
    if make is None:
        hint = "; export it with --format sentence-transformers" * (
            type(plugged.head) is PoolingHead
        )
        raise InputError(
            f"task {task!r} is a {plugged.head.kind} head; transformers takes "
            f"{', '.join(sorted(kind.kind for kind in LAYERS))}{hint}"
        )
    layers, config = make(plugged, task, source.width)
    weights = {f"bert.{name}": value for name, value in source.backbone(plugged.branch).items()}
    return source.files(task, plugged.head, config, {**weights, **layers}, "transformers")


def _token_layers(plugged: PluggedHead, task: str, width: int) -> tuple[Arrays, dict[str, Any]]:
    head = plugged.head
    assert isinstance(head, TokenHead)
    if head.word_shape:
        raise InputError(
            f"the head of task {task!r} adds word shapes to its logits (word_shape); "
            "BertForTokenClassification has no such layer: train it without word_shape, on a "
            "backbone that reads the shapes as token types (a recipe's word_shape_types)"
        )
    layers = _output_layer("classifier", plugged, head.temperature)
    return layers, {"architectures": ["BertForTokenClassification"], **_labels(head.labels)}


def _sequence_layers(plugged: PluggedHead, task: str, width: int) -> tuple[Arrays, dict[str, Any]]:
    head = plugged.head
    assert isinstance(head, SequenceHead)
    fits = head.dense in (None, width) and (head.dense is None or head.activation == "tanh")
    if head.pooling != "cls" or not fits:
        between = f"a layer of {head.dense} with {head.activation}" if head.dense else "no layer"
        raise InputError(
            f"the head of task {task!r} reads pooling={head.pooling!r} through {between}; "
            f"BertForSequenceClassification can be given pooling='cls' through no layer, or one "
            f"of {width} with tanh: train the head like that, or run it with nlpkit"
        )
    if head.dense is None:
        scale = POOLER_SCALE
        pooler = np.eye(width, dtype=np.float32) * np.float32(scale)
        bias = np.zeros(width, dtype=np.float32)
    else:
        scale = 1.0
        pooler, bias = plugged.parameters["dense.weight"], plugged.parameters["dense.bias"]
    layers = {
        "bert.pooler.dense.weight": pooler,
        "bert.pooler.dense.bias": bias,
        **_output_layer("classifier", plugged, head.temperature, scale),
    }
    problem = "multi_label" if head.multi_label else "single_label"
    return layers, {
        "architectures": ["BertForSequenceClassification"],
        "problem_type": f"{problem}_classification",
        **_labels(head.labels),
    }


def _span_layers(plugged: PluggedHead, task: str, width: int) -> tuple[Arrays, dict[str, Any]]:
    head = plugged.head
    assert isinstance(head, SpanHead)
    layers = _output_layer("qa_outputs", plugged, head.temperature)
    return layers, {"architectures": ["BertForQuestionAnswering"]}


def _output_layer(
    name: str, plugged: PluggedHead, temperature: float, input_scale: float = 1.0
) -> dict[str, NDArray[np.float32]]:
    """The head's last layer, its logits divided by the temperature, for inputs so scaled."""
    weight = plugged.parameters["weight"] / np.float64(input_scale * temperature)
    bias = plugged.parameters["bias"] / np.float64(temperature)
    return {f"{name}.weight": weight.astype(np.float32), f"{name}.bias": bias.astype(np.float32)}


def _labels(labels: Iterable[str]) -> dict[str, Any]:
    names = dict(enumerate(labels))
    return {
        "id2label": {str(i): name for i, name in names.items()},
        "label2id": {name: i for i, name in names.items()},
    }


#: The layers over BertModel and what config.json says of them, by the head they come from.
LAYERS: dict[type[Any], Callable[[PluggedHead, str, int], tuple[Arrays, dict[str, Any]]]] = {
    TokenHead: _token_layers,
    SequenceHead: _sequence_layers,
    SpanHead: _span_layers,
}


# -- sentence-transformers -----------------------------------------------------------------------


def _sentence_transformers(source: _Source, task: str | None) -> Files:
    if task is None:
        poolings = [n for n, h in source.heads.items() if isinstance(h.head, PoolingHead)]
        task = poolings[0] if poolings else "embedding"
        # As in nlpkit: a bundle without a head for it embeds by the mean.
        plugged = source.head(task) if poolings else PluggedHead(PoolingHead(), {})
    else:
        plugged = source.head(task)
    head = plugged.head
    if not isinstance(head, PoolingHead):
        raise InputError(
            f"task {task!r} is a {head.kind} head; sentence-transformers takes the embedding: "
            "leave --task out, or export the task with --format transformers"
        )
    width = source.width
    # BertModel has a pooler, which nobody reads here; without weights its loader would warn.
    weights = {
        **source.backbone(plugged.branch),
        "pooler.dense.weight": np.eye(width, dtype=np.float32),
        "pooler.dense.bias": np.zeros(width, dtype=np.float32),
    }
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    files = source.files(
        task, head, {"architectures": ["BertModel"]}, weights, "sentence-transformers"
    )
    files["1_Pooling/config.json"] = _json(
        {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": head.pooling == "cls",
            "pooling_mode_mean_tokens": head.pooling == "mean",
            "pooling_mode_max_tokens": head.pooling == "max",
            "pooling_mode_mean_sqrt_len_tokens": False,
        }
    )
    if head.projection:
        modules.append(("2_Dense", "Dense"))
        files["2_Dense/model.safetensors"] = _safetensors(
            {"linear.weight": plugged.parameters["weight"]}
        )
        files["2_Dense/config.json"] = _json(
            {
                "in_features": width,
                "out_features": width,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
            }
        )
    if head.normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    return files | {
        "modules.json": _json(
            [
                {
                    "idx": i,
                    "name": str(i),
                    "path": path,
                    "type": f"sentence_transformers.models.{kind}",
                }
                for i, (path, kind) in enumerate(modules)
            ]
        ),
        "sentence_bert_config.json": _json(
            {"max_seq_length": source.bundle.manifest.window, "do_lower_case": False}
        ),
        "config_sentence_transformers.json": _json(
            {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
        ),
    }


#: What can be written, and how.
FORMATS: dict[str, Callable[[_Source, str | None], Files]] = {
    "transformers": _transformers,
    "sentence-transformers": _sentence_transformers,
}


# -- files and arguments -------------------------------------------------------------------------


def _refuse_to_replace(path: Path, overwrite: bool) -> None:
    """Nothing is replaced unasked, and never what an export did not write."""
    if not path.exists():
        return
    if not overwrite:
        raise OutputExistsError.of(path)
    empty = path.is_dir() and not any(path.iterdir())
    if not empty and _our_config(path) is None:
        raise InputError(
            f"{path} is not a folder that nlpkit export wrote, and is kept; choose another name, "
            "or remove it yourself"
        )


def _our_config(folder: Path) -> dict[str, Any] | None:
    """The config.json of an exported folder; None for anything else."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and OURS in config else None


def _encoder_of(source: Path) -> TextEncoder:
    config = _our_config(source)
    if config is None:
        return read_bundle(source).encoder
    try:
        tokenizer = Tokenizer.from_str((source / "tokenizer.json").read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise BundleError(
            f"{source / 'tokenizer.json'} cannot be read ({error}): export it again"
        ) from None
    return TextEncoder(
        tokenizer,
        shape_types=bool(config[OURS][WORD_SHAPES]),
        n_types=int(config["type_vocab_size"]),
        max_length=int(config["max_position_embeddings"]),
        pad_id=int(config["pad_token_id"]),
    )


def _listed(texts: Any) -> Sequence[Any]:
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise InputTypeError.of("texts", texts, "a list of strings, or of pairs of strings")
    return texts


def _parts(i: int, text: Any) -> tuple[str, ...]:
    parts = (text,) if isinstance(text, str) else text
    pair = isinstance(parts, list | tuple) and len(parts) in (1, 2)
    if not pair or not all(isinstance(part, str) for part in parts):
        raise InputTypeError.of(f"texts[{i}]", text, "a string, or a pair of strings")
    return tuple(parts)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _safetensors(tensors: Arrays) -> bytes:
    ready = {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}
    written: bytes = save(ready, metadata={"format": "pt"})  # transformers refuses files without
    return written
