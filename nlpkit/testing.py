"""For tests, yours and nlpkit's own: the contract of a head, and a tiny bundle that runs.

>>> from nlpkit.testing import check_head, tiny_bundle
>>> check_head(MyHead(labels=("spam", "ham")))          # AssertionError names the failed check
>>> kit = nlpkit.load(str(tiny_bundle(tmp_path / "tiny")))   # a whole pipeline in milliseconds
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from nlpkit.bundle import Manifest, write_bundle
from nlpkit.engines import PluggedHead
from nlpkit.errors import MissingExtraError
from nlpkit.heads import Head, PoolingHead, Reading, SequenceHead, SpanHead, TokenHead
from nlpkit.heads.base import Floats, decode_all
from nlpkit.heads.token import IGNORE
from nlpkit.text import N_SHAPES, SHAPES, Batch, Encoded, Row, TextEncoder, Window, pad, windows
from nlpkit.weights import BRANCH, LAYER, WORD_TABLE, quantise

#: Numbers that should be the same may differ by this much.
TOLERANCE = 1e-5


# -- the contract of a head ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadCase:
    """What a head is checked on: sample texts, one of them of several windows, as a padded batch.

    Hidden states (batch, length, width) and parameters are random, from a seed.
    """

    texts: tuple[str, ...]
    encoded: list[Encoded]
    plan: list[list[Window]]
    rows: list[Row]
    batch: Batch
    hidden: Floats
    parameters: dict[str, Floats]
    targets: NDArray[Any]


def check_head(
    head: Head,
    width: int = 32,
    *,
    seed: int = 0,
    targets: Callable[[Batch], NDArray[Any]] | None = None,
) -> None:
    """Run all of HEAD_CHECKS on a head of any kind, built-in or your own.

    ``targets`` makes training targets for a padded batch. By default they are those of the
    built-in head of the same ``kind``; for a kind of your own a class number for every token, or
    for every text.

    Raises:
        AssertionError: the head breaks the contract; the message names the check.
    """
    title = f"{type(head).__name__} ({getattr(head, 'kind', 'without a kind')})"
    check = "parts"
    try:
        check_parts(head)
        case = _case(head, width, seed, targets)
        for name, run in HEAD_CHECKS.items():
            check = name
            run(head, case)
    except AssertionError as error:
        raise AssertionError(f"{title}, check {check!r}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{title}, check {check!r}: raised {error!r}") from error


def check_parts(head: Head) -> None:
    """All that nlpkit.heads.Head lists is there, labels are different strings."""
    missing = [
        name
        for name in ("kind", "per_token", "labels", *_VERBS)
        if not hasattr(head, name) or (name in _VERBS and not callable(getattr(head, name)))
    ]
    _expect(not missing, f"it lacks {', '.join(missing)}")
    _expect(isinstance(head.kind, str) and bool(head.kind), f"kind is {head.kind!r}")
    _expect(isinstance(head.per_token, bool), f"per_token is {head.per_token!r}, not a bool")
    strings = isinstance(head.labels, tuple) and all(isinstance(x, str) for x in head.labels)
    _expect(strings, f"labels are {head.labels!r}, not a tuple of strings")
    _expect(len(set(head.labels)) == len(head.labels), f"labels repeat: {head.labels}")


def check_config(head: Head, case: HeadCase) -> None:
    """``config`` survives JSON and makes a head that is the same in every number."""
    config = head.config()
    stored = json.loads(json.dumps(config))
    again = type(head)(**stored)
    _expect(again.config() == config, f"{again.config()} after JSON, {config} before")
    _expect(again.labels == head.labels, f"labels {again.labels} after JSON, {head.labels} before")
    _close(
        again.forward(case.hidden, case.batch, case.parameters),
        head.forward(case.hidden, case.batch, case.parameters),
        "the logits of the head made again from its config",
    )


def check_parameter_shapes(head: Head, case: HeadCase) -> None:
    """Shapes are tuples of positive whole numbers under names that a file can hold."""
    shapes = head.parameter_shapes(case.hidden.shape[2])
    _expect(shapes == head.parameter_shapes(case.hidden.shape[2]), "two calls differ")
    for name, shape in shapes.items():
        _expect("/" not in name, f"the name {name!r} holds a '/', which bundles use")
        good = isinstance(shape, tuple) and all(isinstance(n, int) and n > 0 for n in shape)
        _expect(good, f"the shape of {name!r} is {shape!r}")


def check_forward(head: Head, case: HeadCase) -> None:
    """Logits are finite, of the promised shape, and nothing handed over is changed."""
    before = case.hidden.copy(), {name: v.copy() for name, v in case.parameters.items()}
    logits = head.forward(case.hidden, case.batch, case.parameters)
    leading = case.hidden.shape[:2] if head.per_token else case.hidden.shape[:1]
    _expect(
        logits.ndim == len(leading) + 1 and logits.shape[:-1] == leading,
        f"logits of shape {logits.shape}, expected {(*leading, 'n')} (per_token={head.per_token})",
    )
    if head.labels:
        n = len(head.labels)
        _expect(logits.shape[-1] == n, f"{logits.shape[-1]} logits for {n} labels")
    _expect(np.isfinite(logits).all(), "logits are not finite")
    _expect(np.array_equal(case.hidden, before[0]), "forward changed the hidden states")
    for name, value in case.parameters.items():
        _expect(np.array_equal(value, before[1][name]), f"forward changed parameter {name!r}")


def check_rows_alone(head: Head, case: HeadCase) -> None:
    """A row's logits are the same alone and in a batch, whatever stands in the padding."""
    together = head.forward(case.hidden, case.batch, case.parameters)
    dirty = np.where(case.batch.mask[:, :, None] == 1, case.hidden, np.float32(1e3))
    beside_noise = head.forward(dirty, case.batch, case.parameters)
    for i, row in enumerate(case.rows):
        n = len(row)
        alone = head.forward(case.hidden[i : i + 1, :n], pad([row], 0), case.parameters)[0]
        cut = slice(0, n) if head.per_token else slice(None)
        _close(together[i][cut], alone, f"row {i} in a batch and alone")
        _close(beside_noise[i][cut], alone, f"row {i} beside noise in the padding and alone")


def check_torch(head: Head, case: HeadCase) -> None:
    """``forward`` gives the same numbers in torch as in numpy (where torch is installed)."""
    if find_spec("torch") is None:
        return
    import torch

    found = head.forward(*_in_torch(case))
    _expect(isinstance(found, torch.Tensor), f"torch in, {type(found).__name__} out")
    expected = head.forward(case.hidden, case.batch, case.parameters)
    mask = case.batch.mask == 1
    got = found.detach().numpy()
    if head.per_token:
        got, expected = got[mask], expected[mask]
    _close(got, expected, "logits in torch and in numpy")


def check_loss(head: Head, case: HeadCase) -> None:
    """``loss`` is one finite number, and a step down its gradient lowers it (with torch)."""
    if find_spec("torch") is None:
        return
    import torch

    hidden, batch, parameters = _in_torch(case)
    targets = torch.from_numpy(case.targets)
    leaves = [hidden, *parameters.values()]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = head.loss(head.forward(hidden, batch, parameters), targets)
    _expect(loss.ndim == 0, f"the loss has shape {tuple(loss.shape)}, expected a scalar")
    before = float(loss.detach())
    _expect(np.isfinite(before), f"the loss is {before}")
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    unused = [n for n, g in zip(parameters, gradients[1:], strict=True) if g is None]
    _expect(not unused, f"the loss does not depend on {unused}")
    steps = [(leaf, g) for leaf, g in zip(leaves, gradients, strict=True) if g is not None]
    _expect(all(bool(torch.isfinite(g).all()) for _, g in steps), "a gradient is not finite")
    after = []
    with torch.no_grad():
        for size in (1.0, 0.1, 0.01, 0.001):
            for leaf, gradient in steps:
                leaf -= size * gradient
            after.append(float(head.loss(head.forward(hidden, batch, parameters), targets)))
            for leaf, gradient in steps:
                leaf += size * gradient
    _expect(min(after) < before, f"down its gradient the loss went from {before} to {after}")


def check_decode(head: Head, case: HeadCase) -> None:
    """``decode`` gives the same twice, leaves the logits alone, and quotes the text truly.

    So does ``decode_all``, where the head has one.
    """
    results = []
    read = [*_readings(head, case)]
    for text, logits, reading in read:
        before = [part.copy() for part in logits]
        result = head.decode(logits, reading)
        same = all(np.array_equal(a, b) for a, b in zip(before, logits, strict=True))
        _expect(same, f"decode changed the logits of {text!r:.40}")
        again = head.decode(logits, reading)
        _expect(_alike(result, again), f"{text!r:.40} gave {result!r} and then {again!r}")
        _quotes_truly(result, text)
        results.append(result)
    at_once = decode_all(head, [logits for _, logits, _ in read], [one for _, _, one in read])
    _expect(len(at_once) == len(read), f"decode_all gave {len(at_once)} results of {len(read)}")
    for (text, _, _), result, same in zip(read, results, at_once, strict=True):
        _expect(_alike(result, same), f"{text!r:.40} gave {result!r}, but {same!r} at once")


def check_empty(head: Head, case: HeadCase) -> None:
    """A text without tokens has a result: nothing found, no label, an empty answer, zeros."""
    nothing = np.zeros(0, dtype=np.int64)
    encoded = Encoded(nothing, nothing, nothing, nothing, nothing, 0.0)
    for text in ("", " \n"):
        result = head.decode([], Reading(text, encoded, [], [], [], case.hidden.shape[2]))
        _quotes_truly(result, text)


#: Every check by name; all of them hold for every head.
HEAD_CHECKS: dict[str, Callable[[Head, HeadCase], None]] = {
    "parameter_shapes": check_parameter_shapes,
    "config": check_config,
    "forward": check_forward,
    "rows alone": check_rows_alone,
    "torch": check_torch,
    "loss": check_loss,
    "decode": check_decode,
    "empty text": check_empty,
}

_VERBS = ("config", "parameter_shapes", "forward", "loss", "decode")
_TEXTS = (
    "Ada Lovelace lived in London.",
    "x",
    "na\u00efve cafe\u0301 \U0001f389 \u4e2d\u6587\r\n3 GOOD phones",
    "The old man of the city built engines in 1843, and who knows where they went. " * 4,
)


def _case(
    head: Head, width: int, seed: int, targets: Callable[[Batch], NDArray[Any]] | None
) -> HeadCase:
    rng = np.random.default_rng(seed)
    encoder = TextEncoder(_tokenizer(), shape_types=True, n_types=2 * N_SHAPES, max_length=64)
    encoded = encoder.encode(_TEXTS)
    plan = [windows(len(one), 30, 10) for one in encoded]
    rows = [encoder.row(e, w) for e, cut in zip(encoded, plan, strict=True) for w in cut]
    batch = pad(rows, encoder.pad_id)
    hidden = rng.normal(size=(*batch.ids.shape, width)).astype(np.float32)
    parameters = {
        name: (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in head.parameter_shapes(width).items()
    }
    made = targets(batch) if targets else _targets(head, batch, width, rng)
    return HeadCase(_TEXTS, encoded, plan, rows, batch, hidden, parameters, made)


def _targets(head: Head, batch: Batch, width: int, rng: np.random.Generator) -> NDArray[Any]:
    """Random training targets as the loss of the built-in heads takes them."""
    n_rows, n = len(batch.ids), max(len(head.labels), 1)
    if head.kind == PoolingHead.kind:
        return rng.normal(size=(n_rows, width)).astype(np.float32)
    if head.kind == SpanHead.kind:
        return rng.integers(0, batch.mask.sum(axis=1)[:, None], size=(n_rows, 2))
    if getattr(head, "multi_label", False):
        return rng.integers(0, 2, size=(n_rows, n)).astype(np.float32)
    if head.per_token:
        return np.where(batch.mask == 1, rng.integers(0, n, size=batch.ids.shape), IGNORE)
    return rng.integers(0, n, size=n_rows)


def _in_torch(case: HeadCase) -> tuple[Any, Batch, dict[str, Any]]:
    import torch

    one = case.batch
    ids, mask, types, shapes, owned = (
        torch.from_numpy(array) for array in (one.ids, one.mask, one.types, one.shapes, one.owned)
    )
    moved = Batch(ids, mask, types, shapes, owned)
    parameters = {name: torch.tensor(value) for name, value in case.parameters.items()}
    return torch.tensor(case.hidden), moved, parameters


def _readings(head: Head, case: HeadCase) -> Iterator[tuple[str, list[Floats], Reading]]:
    """Each text with the logits of its windows."""
    found = head.forward(case.hidden, case.batch, case.parameters)
    first = 0
    for text, encoded, cut in zip(case.texts, case.encoded, case.plan, strict=True):
        numbers = range(first, first + len(cut))
        rows = [case.rows[i] for i in numbers]
        logits = [
            found[i, : len(row)] if head.per_token else found[i]
            for i, row in zip(numbers, rows, strict=True)
        ]
        offsets, n_owned = [row.offset for row in rows], [int(row.owned.sum()) for row in rows]
        width = case.hidden.shape[2]
        yield text, logits, Reading(text, encoded, cut, offsets, n_owned, width)
        first += len(cut)


def _quotes_truly(result: Any, text: str) -> None:
    """Spans lie inside the text and hold what they say; scores are in [0, 1]."""
    for value in _values_in(result):
        start, end = getattr(value, "start", None), getattr(value, "end", None)
        if start is not None and end is not None:
            inside = 0 <= start < end <= len(text)
            _expect(inside, f"{value} lies outside {text!r:.40} of length {len(text)}")
            quoted = getattr(value, "text", text[start:end])
            _expect(quoted == text[start:end], f"{value}, but the text says {text[start:end]!r}")
        score = getattr(value, "score", None)
        if score is not None:
            _expect(0 <= score <= 1, f"the score of {value} is outside [0, 1]")


def _values_in(result: Any) -> Iterator[Any]:
    yield result
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, list | tuple):
        for value in result:
            yield from _values_in(value)


def _alike(a: Any, b: Any) -> bool:
    """Equal, down to the arrays inside."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if is_dataclass(a) and type(a) is type(b):
        names = a.__dataclass_fields__
        return all(_alike(getattr(a, name), getattr(b, name)) for name in names)
    return bool(a == b)


def _close(got: Any, expected: Any, what: str) -> None:
    got, expected = np.asarray(got), np.asarray(expected)
    _expect(got.shape == expected.shape, f"{what}: shapes {got.shape} and {expected.shape}")
    if got.size:
        worst = float(np.abs(got - expected).max())
        _expect(worst <= TOLERANCE, f"{what} differ by up to {worst:.2g}, more than {TOLERANCE}")


def _expect(condition: Any, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


# -- a tiny bundle ---------------------------------------------------------------------------

#: Heads of the tiny bundle with last layers of their own.
OWN_LAYERS = {"ner": 1, "qa": 1}
_WORDS = (
    "the of and to in a is was who where what lived built went city engine old man river town "
    "phone battery great poor good bad ada lovelace london paris ##s ##ing ##ed ##er ##ly"
)


def tiny_bundle(
    path: str | Path, seed: int = 0, *, int8: bool = False, overwrite: bool = False
) -> Path:
    """Write a whole bundle with random weights: 2 layers, width 32, five heads, of which
    ``ner`` and ``qa`` have a last layer of their own.

    Its numbers mean nothing, but all of nlpkit runs on it, in milliseconds, and texts longer than
    30 tokens already have several windows. Only ``ner`` is predictable: Capitalised words are PER
    and UPPER-case words LOC. ``sentiment`` has one class of three, ``topic`` is multi-label.
    ``int8`` stores the weights as the shipped bundle does.

    Raises:
        MissingExtraError: the package ``onnx`` is absent.
        OutputExistsError: the path exists and ``overwrite`` is not set.
    """
    if find_spec("onnx") is None:
        raise MissingExtraError.of("train", "writing a bundle", "onnx")
    from nlpkit.engines.graph import bert_graph

    rng = np.random.default_rng(seed)
    tokenizer = _tokenizer()
    config = {
        "model_type": "bert",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_act": "gelu",
        "max_position_embeddings": 192,
        "type_vocab_size": 2 * N_SHAPES,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    weights: Mapping[str, NDArray[Any]] = _bert_weights(config, rng) | _branch_weights(config, rng)
    if int8:
        weights = quantise(weights, small=len(weights[WORD_TABLE]) * 32)
    manifest = Manifest(
        name="tiny",
        version=1,
        config=config,
        shape_types=True,
        window=32,
        overlap=8,
        pair_window=128,
        pair_overlap=32,
        heads={},
        files={},
        training={"seed": seed},
    )
    return write_bundle(
        Path(path),
        manifest,
        tokenizer=tokenizer.to_str(),
        weights=weights,
        heads=_heads(32, rng),
        graph=bert_graph(config, int8_words=int8, branches=OWN_LAYERS),
        overwrite=overwrite,
    )


def _tokenizer() -> Tokenizer:
    """An uncased WordPiece of ASCII characters and a few words, with BERT's special tokens."""
    characters = [c for c in string.printable.lower() if not c.isspace()]
    pieces = [f"##{c}" for c in string.ascii_lowercase + string.digits]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = dict.fromkeys([*special, *characters, *pieces, *_WORDS.split()])
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(special)
    return tokenizer


def _heads(width: int, rng: np.random.Generator) -> dict[str, PluggedHead]:
    ner = TokenHead(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], word_shape=True)
    by_shape = np.zeros((N_SHAPES, len(ner.labels)), dtype=np.float32)
    by_shape[:, ner.labels.index("O")] = 4.0
    for shape, label in (("Capitalised", "PER"), ("UPPER", "LOC")):
        # "I" leads "B", so that only legal decoding opens an entity with "B".
        by_shape[SHAPES.index(shape)] = [
            {"O": 0.0, f"B-{label}": 7.0, f"I-{label}": 8.0}.get(x, 0.0) for x in ner.labels
        ]
    heads: dict[str, tuple[Head, float]] = {
        "ner": (ner, 0.05),
        "sentiment": (SequenceHead(["negative", "neutral", "positive"], pooling="cls"), 0.3),
        "topic": (SequenceHead(["city", "trade", "art"], multi_label=True, dense=16), 0.3),
        "qa": (SpanHead(), 0.3),
        "embedding": (PoolingHead("mean", projection=True), 0.3),
    }
    plugged = {
        name: PluggedHead(
            head,
            _random(head.parameter_shapes(width), scale, rng),
            name if name in OWN_LAYERS else "",
        )
        for name, (head, scale) in heads.items()
    }
    parameters = {**plugged["ner"].parameters, "shape_weight": by_shape}
    return plugged | {"ner": replace(plugged["ner"], parameters=parameters)}


def _branch_weights(config: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Floats]:
    """Random last layers for the heads that have some of their own."""
    n_layers = config["num_hidden_layers"]
    found: dict[str, Floats] = {}
    for branch, n_own in OWN_LAYERS.items():
        own = tuple(f"{LAYER}{i}." for i in range(n_layers - n_own, n_layers))
        weights = _bert_weights(config, rng)
        found |= {f"{BRANCH}{branch}.{n}": w for n, w in weights.items() if n.startswith(own)}
    return found


def _bert_weights(config: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Floats]:
    """Random tensors under the names of transformers' ``BertModel``."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    tables = {
        WORD_TABLE: (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
    }
    norms = ["embeddings.LayerNorm"]
    matrices: dict[str, tuple[int, ...]] = {}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}."
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            matrices[f"{prefix}attention.{part}"] = (width, width)
        matrices[f"{prefix}intermediate.dense"] = (inner, width)
        matrices[f"{prefix}output.dense"] = (width, inner)
        norms += [f"{prefix}attention.output.LayerNorm", f"{prefix}output.LayerNorm"]
    biases = {f"{name}.bias": shape[:1] for name, shape in matrices.items()}
    biases |= {f"{name}.bias": (width,) for name in norms}
    weights = _random(tables, 1.0, rng)
    for name, shape in matrices.items():
        weights |= _random({f"{name}.weight": shape}, shape[1] ** -0.5, rng)
    weights |= _random(biases, 0.1, rng)
    gains = _random({f"{name}.weight": (width,) for name in norms}, 0.1, rng)
    return weights | {name: 1 + value for name, value in gains.items()}


def _random(
    shapes: Mapping[str, Sequence[int]], scale: float, rng: np.random.Generator
) -> dict[str, Floats]:
    return {
        name: rng.normal(0.0, scale, size=tuple(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
