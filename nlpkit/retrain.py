"""Train a head again on corrected texts: numpy alone, from the head that is there.

The backbone reads each text once; what the output layer reads are its features. A softmax
regression then starts at the head's present weights and is held near them, so that a few dozen
texts mend what was wrong and leave the rest alone. The texts fall into three parts by their
hash, the same ones at each training: those that are learned from, those that say when to stop,
and those on which the old head and the new one are compared.

>>> found = retrain(kit, "sentiment", [TextExample("Not bad at all", ("positive",)), ...])
>>> found.before["accuracy"], found.after["accuracy"]
>>> found.save("packs/sentiment", kit)
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nlpkit import metrics
from nlpkit.bundle import write_pack
from nlpkit.engines import PluggedHead
from nlpkit.errors import InputError, UnknownNameError, UnknownTextWarning
from nlpkit.heads import Reading, SequenceHead, TokenHead
from nlpkit.heads.base import Array, Floats, Parameters, over_windows, softmax
from nlpkit.heads.token import join_owned
from nlpkit.pipeline import Pipeline
from nlpkit.readers import TextExample, TokenExample
from nlpkit.scoring.base import MULTI_LABEL_THRESHOLD
from nlpkit.text import N_SHAPES, Batch, Encoded, words_of
from nlpkit.training.items import word_tags

Example = TextExample | TokenExample
#: What a backbone gives for a text: (1, width) for its class, (n_words, width) for its entities.
Features = NDArray[np.float16]
#: A class, several classes, or entities as (start, end, label).
Value = str | tuple[str, ...] | tuple[tuple[int, int, str], ...]

#: With fewer texts there is nothing to learn from, or to compare on.
MIN_TEXTS = 10
#: Of a hundred texts so many are kept to compare the heads on, and so many say when to stop.
HELD_OUT, STOPPING = 20, 15
#: Epochs at most, and those without a gain after which it stops.
EPOCHS, PATIENCE = 100, 8
#: Decisions (texts, or words) of a step.
STEP_ROWS = 64
LEARNING_RATE = 5e-4
#: How strongly weights are drawn back to where they began.
PULL = 1.0


class Cache(Protocol):
    """Keeps features by keys, as a dict does; a key begins with the backbone's hash."""

    def get(self, key: str, /) -> Features | None:
        """What is kept under a key."""

    def __setitem__(self, key: str, value: Features, /) -> None:
        """Keep something under a key."""


@dataclass(frozen=True, slots=True)
class Point:
    """How it stands after an epoch; epoch 0 is the head as it was.

    ``loss`` is the mean over what is learned from; ``held_out_loss`` and ``score`` (accuracy or
    F1) are those of the texts that say when to stop.
    """

    epoch: int
    loss: float
    held_out_loss: float
    score: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A text that no head has seen: what is right, and what the old and the new one say."""

    text: str
    right: Value
    before: Value
    after: Value


@dataclass(frozen=True, slots=True, eq=False)
class Retrained:
    """A head that was trained again, with its scores beside the old one's on held-out texts.

    ``best_epoch`` is the one that was taken; where none was better than the old head it is 0, and
    the head is that one.
    """

    task: str
    head: PluggedHead
    curve: tuple[Point, ...]
    best_epoch: int
    before: dict[str, float]
    after: dict[str, float]
    n_train: int
    n_stopping: int
    n_held_out: int
    comparisons: tuple[Comparison, ...]

    def save(
        self, path: str | Path, kit: Pipeline, training: Mapping[str, Any] | None = None
    ) -> Path:
        """Write the head as a task pack for the pipeline's bundle.

        ``kit.remove(task)`` and then ``kit.add(path)`` puts it in the old one's place.
        """
        facts = {
            "retrained": True,
            "examples": self.n_train + self.n_stopping + self.n_held_out,
            "epochs": self.best_epoch,
            "scores": self.after,
            "scores_before": self.before,
        }
        return write_pack(
            Path(path),
            self.task,
            backbone=kit.name,
            backbone_sha256=kit.backbone_sha256,
            heads={self.task: self.head},
            training={**facts, **(training or {})},
        )


def retrain(
    kit: Pipeline,
    task: str,
    examples: Sequence[Example],
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    learning_rate: float = LEARNING_RATE,
    pull: float = PULL,
    cache: Cache | None = None,
    on_progress: Callable[[Point], None] = lambda _: None,
) -> Retrained:
    """The head of a task, trained again on examples; equal calls give equal heads.

    Args:
        examples: of entities :class:`TokenExample`, of classes :class:`TextExample`; of a text
            that comes twice the last counts.
        pull: how strongly weights are drawn back to where they began.
        cache: keeps what the backbone has read, by keys that name the model and the text.
        on_progress: called after each epoch; what it raises ends the training.

    Raises:
        UnknownNameError: no such task, or an example's label that the head does not have.
        InputError: too few texts, or a task whose head alone cannot be trained.
    """
    if kit.has_adapter(task):
        raise InputError(f"{task!r} has an adapter of its own: train it anew with nlpkit train")
    learner = _learner(task, kit.head(task))
    texts = _read(kit, learner, examples, cache if cache is not None else {})
    train, stopping, held_out = _parts(texts)
    fit = _Fit(learner, train, stopping, learning_rate, pull, seed)
    for point in fit.run(epochs):
        on_progress(point)
    before = [learner.said(text, learner.start) for text in held_out]
    after = [learner.said(text, fit.best) for text in held_out]
    right = [text.right for text in held_out]
    rows = zip(held_out, before, after, strict=True)
    return Retrained(
        task=task,
        head=learner.plugged(fit.best),
        curve=tuple(fit.curve),
        best_epoch=fit.best_epoch,
        before=learner.scores(right, before),
        after=learner.scores(right, after),
        n_train=len(train),
        n_stopping=len(stopping),
        n_held_out=len(held_out),
        comparisons=tuple(Comparison(text.text, text.right, old, new) for text, old, new in rows),
    )


# -- texts and their parts -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    """A text with its features, a row for each decision; the decisions, and the value they make."""

    text: str
    encoded: Encoded
    features: Features
    targets: NDArray[Any]
    right: Value


def _read(
    kit: Pipeline, learner: _Learner, examples: Sequence[Example], cache: Cache
) -> list[_Text]:
    """Each different text that has a word, with what the backbone gives for it."""
    by_text = {example.text: example for example in examples}
    model = _features_hash(kit, learner)
    keys = {text: f"{model}:{_hash(text)}" for text in by_text}
    known = {text: cache.get(key) for text, key in keys.items()}
    missing = [text for text, features in known.items() if features is None]
    probe = kit.with_head(learner.task, learner.probe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownTextWarning)
        for text, features in zip(missing, probe.apply(iter(missing), learner.task), strict=True):
            known[text] = cache[keys[text]] = features.astype(np.float16)
    found = []
    for text, encoded in zip(by_text, kit.encoder.encode([*by_text]), strict=True):
        features = known[text]
        targets, right = learner.targets(by_text[text], encoded)
        if features is not None and len(features):
            found.append(_Text(text, encoded, features, targets, right))
    if len(found) < MIN_TEXTS:
        raise InputError(
            f"there are {len(found)} corrected texts for {learner.task!r}; expected at least "
            f"{MIN_TEXTS}: correct {MIN_TEXTS - len(found)} more"
        )
    return found


def _parts(texts: Sequence[_Text]) -> tuple[list[_Text], list[_Text], list[_Text]]:
    """What is learned from, what says when to stop, and what the heads are compared on.

    A text's hash decides, so that it stays in its part as others come; but no part is empty.
    """
    ranked = sorted(texts, key=lambda text: _hash(text.text))
    shares = [int(_hash(text.text)[:8], 16) * 100 >> 32 for text in ranked]
    n_held_out = min(max(sum(share < HELD_OUT for share in shares), 1), len(texts) - 2)
    both = sum(share < HELD_OUT + STOPPING for share in shares)
    n_both = min(max(both, n_held_out + 1), len(texts) - 1)
    return ranked[n_both:], ranked[n_held_out:n_both], ranked[:n_held_out]


def _features_hash(kit: Pipeline, learner: _Learner) -> str:
    """Names all that decides features beside the text, beginning with the backbone."""
    sizes = [kit.sizes.size, kit.sizes.overlap]
    facts = [kit.backbone_sha256, kit.precision, sizes, learner.probe.kind, learner.reads]
    facts.append(kit.head(learner.task).branch)
    seen = hashlib.sha256(json.dumps(facts).encode())
    for name in sorted(learner.parameters):
        if name.startswith("dense."):  # a layer between the backbone and the output layer
            seen.update(np.ascontiguousarray(learner.parameters[name]).tobytes())
    return kit.backbone_sha256[:16] + seen.hexdigest()[:48]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# -- the regression --------------------------------------------------------------------------------


class _Fit:
    """Adam (Kingma and Ba 2015) on the mean loss and the pull; keeps the best epoch's weights."""

    def __init__(
        self,
        learner: _Learner,
        train: Sequence[_Text],
        stopping: Sequence[_Text],
        learning_rate: float,
        pull: float,
        seed: int,
    ) -> None:
        self.learner = learner
        self.train, self.stopping = train, stopping
        self.learning_rate, self.pull = learning_rate, pull
        self.rng = np.random.default_rng(seed)
        self.best = learner.start
        self.best_epoch = 0
        self.curve: list[Point] = []

    def run(self, epochs: int) -> Iterator[Point]:
        """The points of the curve, as they come."""
        learner = self.learner
        inputs, targets = _stacked(learner, self.train)
        others, right = _stacked(learner, self.stopping)
        weights = learner.start.copy()
        mean, square = np.zeros_like(weights), np.zeros_like(weights)
        n_steps = 0
        loss = learner.loss(inputs @ weights.T, targets)
        lowest = np.inf
        for epoch in range(epochs + 1):
            if epoch:
                order = self.rng.permutation(len(inputs))
                losses = []
                for first in range(0, len(order), STEP_ROWS):
                    rows = order[first : first + STEP_ROWS]
                    logits = inputs[rows] @ weights.T
                    losses.append(learner.loss(logits, targets[rows]) * len(rows))
                    gradient = learner.gradient(logits, targets[rows]).T @ inputs[rows] / len(rows)
                    gradient += self.pull / len(inputs) * (weights - learner.start)
                    n_steps += 1
                    mean += 0.1 * (gradient - mean)
                    square += 0.001 * (gradient**2 - square)
                    step = mean / (1 - 0.9**n_steps)
                    scale = np.sqrt(square / (1 - 0.999**n_steps)) + 1e-8
                    weights = weights - self.learning_rate * step / scale
                loss = sum(losses) / len(inputs)
            held_out_loss = learner.loss(others @ weights.T, right)
            said = [learner.said(text, weights) for text in self.stopping]
            score = next(iter(learner.scores([t.right for t in self.stopping], said).values()))
            if held_out_loss < lowest:
                lowest, self.best, self.best_epoch = held_out_loss, weights.copy(), epoch
            self.curve.append(Point(epoch, loss, held_out_loss, score))
            yield self.curve[-1]
            if epoch - self.best_epoch >= PATIENCE:
                return


def _stacked(learner: _Learner, texts: Sequence[_Text]) -> tuple[Floats, NDArray[Any]]:
    inputs = np.concatenate([learner.inputs(text) for text in texts])
    return inputs, np.concatenate([text.targets for text in texts])


# -- heads -----------------------------------------------------------------------------------------


class _ClassFeatures(SequenceHead):
    """Gives what the output layer of a sequence head reads, over all windows of a text."""

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        return self.features(hidden, batch, parameters)

    def decode(self, logits: Sequence[Floats], reading: Reading) -> Any:
        if not len(reading.encoded):
            return np.zeros((0, 0), np.float32)
        return over_windows(logits, reading)[None]


class _WordFeatures(TokenHead):
    """Gives the hidden state of the first token of each word, from the window that owns it."""

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        return hidden

    def decode(self, logits: Sequence[Floats], reading: Reading) -> Any:
        words = words_of(reading.encoded)
        return join_owned(logits, reading)[words.firsts] if len(words) else np.zeros((0, 0))


class _Learner(Protocol):
    """How a kind of head learns. Weights are (n_labels, inputs): of features, then of the rest.

    ``probe`` gives the features, ``reads`` names what decides them, ``start`` are the head's
    present weights.
    """

    task: str
    probe: SequenceHead | TokenHead
    reads: list[Any]
    parameters: Mapping[str, NDArray[np.float32]]
    start: Floats

    def targets(self, example: Example, encoded: Encoded) -> tuple[Floats, Value]:
        """The decisions of an example, (n, n_labels) of 0 and 1, and the value they make."""

    def inputs(self, text: _Text) -> Floats:
        """What the weights are multiplied with, (n, inputs)."""

    def loss(self, logits: Floats, targets: Floats) -> float:
        """The mean over decisions."""

    def gradient(self, logits: Floats, targets: Floats) -> Floats:
        """That of each decision's loss by its logits."""

    def said(self, text: _Text, weights: Floats) -> Value:
        """What a head with these weights says."""

    def scores(self, right: Sequence[Any], said: Sequence[Any]) -> dict[str, float]:
        """Scores over texts, the main one first."""

    def plugged(self, weights: Floats) -> PluggedHead:
        """The head with these weights."""


def _learner(task: str, plugged: PluggedHead) -> _Learner:
    head = plugged.head
    if isinstance(head, SequenceHead):
        return _Classes(task, head, plugged)
    if isinstance(head, TokenHead):
        return _Entities(task, head, plugged)
    raise InputError(f"{task!r} is a {head.kind} head; expected one for classes or entities")


class _Classes:
    """One class of several, or any number of them."""

    def __init__(self, task: str, head: SequenceHead, plugged: PluggedHead) -> None:
        self.task, self.head, self._plugged = task, head, plugged
        self.parameters = parameters = plugged.parameters
        self.probe: SequenceHead | TokenHead = _ClassFeatures(**head.config())
        self.reads: list[Any] = [head.pooling, head.dense, head.activation]
        self.start: Floats = np.column_stack([parameters["weight"], parameters["bias"]])

    def targets(self, example: Example, encoded: Encoded) -> tuple[Floats, Value]:
        if not isinstance(example, TextExample):
            raise InputError(f"an example for {self.task!r} has no class: {example!r:.120}")
        for label in example.labels:
            if label not in self.head.labels:
                raise UnknownNameError.of(f"class of {self.task!r}", label, self.head.labels)
        if len(example.labels) != 1 and not self.head.multi_label:
            raise InputError(f"{example.text!r:.60} has {len(example.labels)} classes; expected 1")
        found = [[label in example.labels for label in self.head.labels]]
        value = tuple(sorted(example.labels)) if self.head.multi_label else example.labels[0]
        return np.array(found, dtype=np.float32), value

    def inputs(self, text: _Text) -> Floats:
        return _with_one(text.features.astype(np.float32))

    def loss(self, logits: Floats, targets: Floats) -> float:
        if not self.head.multi_label:
            return _cross_entropy(logits, targets)
        return float((np.logaddexp(0, logits) - targets * logits).mean())

    def gradient(self, logits: Floats, targets: Floats) -> Floats:
        if not self.head.multi_label:
            return softmax(logits) - targets
        sigmoid = (1 + np.tanh(logits / 2)) / 2
        return np.asarray((sigmoid - targets) / len(self.head.labels), dtype=np.float32)

    def said(self, text: _Text, weights: Floats) -> Value:
        scores = self.head.scores((self.inputs(text) @ weights.T)[0])
        if not self.head.multi_label:
            return self.head.labels[int(scores.argmax())]
        given = scores >= MULTI_LABEL_THRESHOLD
        return tuple(sorted(n for n, yes in zip(self.head.labels, given, strict=True) if yes))

    def scores(self, right: Sequence[Any], said: Sequence[Any]) -> dict[str, float]:
        if self.head.multi_label:
            micro = metrics.multi_label_scores(right, said).micro
            return {"f1": micro.f1, "precision": micro.precision, "recall": micro.recall}
        return {
            "accuracy": metrics.accuracy(right, said),
            "macro_f1": metrics.macro_f1(right, said),
        }

    def plugged(self, weights: Floats) -> PluggedHead:
        own = {"weight": _own(weights[:, :-1]), "bias": _own(weights[:, -1])}
        return replace(self._plugged, parameters={**self.parameters, **own})


class _Entities:
    """A tag for each word."""

    def __init__(self, task: str, head: TokenHead, plugged: PluggedHead) -> None:
        self.task, self.head, self._plugged = task, head, plugged
        self.parameters = parameters = plugged.parameters
        self.probe: SequenceHead | TokenHead = _WordFeatures(**head.config())
        self.reads: list[Any] = []
        by_shape = [parameters["shape_weight"].T] if head.word_shape else []
        columns = [parameters["weight"], *by_shape, parameters["bias"]]
        self.start: Floats = np.column_stack(columns)

    def targets(self, example: Example, encoded: Encoded) -> tuple[Floats, Value]:
        if not isinstance(example, TokenExample):
            raise InputError(f"an example for {self.task!r} has no entities: {example!r:.120}")
        for _, _, label in example.spans:
            if label not in self.head.entity_types:
                raise UnknownNameError.of("label", label, self.head.entity_types)
        words = words_of(encoded)
        tags = np.array(word_tags(example, encoded, self.head.labels), dtype=np.int64)
        found = np.eye(len(self.head.labels), dtype=np.float32)
        return found[tags[encoded.words[words.firsts]]], tuple(sorted(example.spans))

    def inputs(self, text: _Text) -> Floats:
        features = text.features.astype(np.float32)
        if self.head.word_shape:
            shapes = text.encoded.shapes[words_of(text.encoded).firsts]
            features = np.hstack([features, np.eye(N_SHAPES, dtype=np.float32)[shapes]])
        return _with_one(features)

    def loss(self, logits: Floats, targets: Floats) -> float:
        return _cross_entropy(logits, targets)

    def gradient(self, logits: Floats, targets: Floats) -> Floats:
        return softmax(logits) - targets

    def said(self, text: _Text, weights: Floats) -> Value:
        logits = self.inputs(text) @ weights.T
        found = self.head.entities(text.text, words_of(text.encoded), logits)
        return tuple((entity.start, entity.end, entity.label) for entity in found)

    def scores(self, right: Sequence[Any], said: Sequence[Any]) -> dict[str, float]:
        spans = ([[f"{one}" for one in spans] for spans in texts] for texts in (right, said))
        micro = metrics.multi_label_scores(*spans).micro
        return {"f1": micro.f1, "precision": micro.precision, "recall": micro.recall}

    def plugged(self, weights: Floats) -> PluggedHead:
        width = self.parameters["weight"].shape[1]
        own = {"weight": _own(weights[:, :width]), "bias": _own(weights[:, -1])}
        if self.head.word_shape:
            own["shape_weight"] = _own(weights[:, width:-1].T)
        return replace(self._plugged, parameters={**self.parameters, **own})


def _with_one(features: Floats) -> Floats:
    """Inputs with a last one, by which the bias is multiplied."""
    return np.column_stack([features, np.ones(len(features), dtype=np.float32)])


def _own(weights: Floats) -> Floats:
    return np.ascontiguousarray(weights, dtype=np.float32)


def _cross_entropy(logits: Floats, targets: Floats) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return float((log_sums - (shifted * targets).sum(axis=1)).mean())
