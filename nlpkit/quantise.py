"""Int8 grids for a backbone's matrix products, fitted on real texts (needs OpenVINO).

For every product the inputs of some thousand tokens are collected, those of the largest values
among them; of a few ways to smooth and clip them the one is kept whose rounded product is nearest
to the exact one. Matrices are then rounded input by input, and what one loses the inputs after it
make up for where they go together. Smoothing: Xiao et al. 2023 (SmoothQuant); choosing it by the
product's error: Lin et al. 2024 (AWQ); rounding: Frantar et al. 2023 (GPTQ). What the bundle then
stores is described in nlpkit.engines.openvino and nlpkit.weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.bundle import Manifest, read_bundle, write_bundle
from nlpkit.engines.openvino import LEVELS, Taps, round_weight
from nlpkit.errors import InputError, OutputExistsError
from nlpkit.heads import SpanHead
from nlpkit.heads.base import Floats
from nlpkit.text import Batch, Row, TextEncoder, batches, pad, windows
from nlpkit.weights import (
    SMOOTH,
    Rounded,
    Tensors,
    best_scale,
    branches_of,
    layer_grids,
    matrices_of,
    quantise,
    unchanged,
)

#: At most this many texts are looked at; a made-up question has this many tokens.
MOST_TEXTS, QUESTION = 1000, 12
BATCH_TOKENS = 1024
#: Tokens of each batch whose inputs are kept: drawn at random, and those of the largest values.
DRAWN, LARGEST = 40, 8
#: At most this many tokens decide.
MOST = 2000
#: How much of a channel's range moves into the weights (0: as much as makes these even).
ALPHAS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: No channel counts as smaller than this many times the least value of all: a GELU gives down to
#: -0.17 in every channel, and dividing a small channel by its range would spend the grid on that.
FLOORS = (0.0, 4.0, 8.0, 12.0)
#: Channels that stay exact before the product that narrows, after GELU: for 2 % of the time. Before
#: all products they would take 17 %.
EXACT = 4
EXACT_CHANNELS = ".exact"
#: What is added to the squares of inputs before their inverse is taken, as a share of their mean.
DAMPING = 0.01
#: The part of the range that the grid covers; what lies beyond is cut off.
CLIPS = (1.0, 0.9, 0.8)


def optimize(
    bundle: str | Path, texts: Iterable[str], output: Path, *, overwrite: bool = False
) -> Path:
    """Fit int8 on texts and write the bundle again, with its grids; all else stays as it was.

    Some hundred texts like those that will be read are enough; questions are made of their first
    words where the bundle answers questions.

    Raises:
        InputError: there are no texts.
        OutputExistsError: ``output`` is there and ``overwrite`` is not set.
    """
    if output.exists() and not overwrite:
        raise OutputExistsError.of(output)
    read = read_bundle(bundle)
    asks = any(isinstance(plugged.head, SpanHead) for plugged in read.heads.values())
    rows = sample_rows(read.encoder, read.manifest, [*islice(texts, MOST_TEXTS)], asks=asks)
    config = read.manifest.config
    others = [f for f in read.path.iterdir() if f.is_file() and f.name not in read.manifest.files]
    return write_bundle(
        output,
        read.manifest,
        tokenizer=read.encoder.to_str(),
        weights=read.weights,
        heads=read.heads,
        graph=read.graph,
        activations=fit_activations(
            read.weights, config, padded(rows, config), known=read.activations
        ),
        words=read.words,
        extra={f.name: f.read_text(encoding="utf-8") for f in others if f.name != "bundle.json"},
        overwrite=overwrite,
    )


def sample_rows(
    encoder: TextEncoder, manifest: Manifest, texts: Sequence[str], *, asks: bool
) -> list[Row]:
    """The texts as the backbone reads them, and every other one after a question."""
    encoded = [one for one in encoder.encode(texts) if len(one)]
    room = manifest.window - len(encoder.prefix) - len(encoder.suffix)
    rows = [
        encoder.row(one, cut)
        for one in encoded
        for cut in windows(len(one), room, manifest.overlap)[:2]
    ]
    if asks:
        for question, context in zip(encoded[::2], encoded[1::2], strict=False):
            cut = windows(len(context), room - QUESTION, room // 4)[0]
            rows.append(encoder.pair_row(question.part(0, QUESTION), context, cut))
    return rows


def padded(rows: Sequence[Row], config: Mapping[str, Any]) -> Iterator[Batch]:
    """The rows in batches of like length."""
    pad_id = int(config.get("pad_token_id") or 0)
    for group in batches([len(row) for row in rows], BATCH_TOKENS):
        yield pad([rows[i] for i in group], pad_id)


def round_weights(
    weights: Tensors,
    config: Mapping[str, Any],
    batches: Iterable[Batch],
    seed: int = 0,
    *,
    before: Tensors | None = None,
    activations: Tensors | None = None,
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Weights in float32 as they are stored in int8, and what :func:`fit_activations` gives.

    Products whose matrices are stored smoothed in the weights ``before``, the same to the last bit,
    stay as they are there, with their part of the ``activations`` that go with them.
    """
    before, activations = before or {}, activations or {}
    same = unchanged(before, weights)
    smooths = {
        name: smooth
        for name, smooth in stored_smooths(before, config).items()
        if same.issuperset(matrices_of(name.removesuffix(SMOOTH)))
    }
    taps, inputs = read_inputs(weights, config, batches, seed, squares=True)
    found = fit_inputs(taps.weights, inputs, smooths)
    found |= {n: v for n, v in activations.items() if n.rpartition(".")[0] + SMOOTH in smooths}
    known: dict[str, Rounded] = {}
    for name, seen in inputs.items():
        if name + SMOOTH in smooths:
            continue
        assert seen.squares is not None
        weight, smooth = taps.weights[name], found[name + SMOOTH]
        scale = best_scale(np.ascontiguousarray((weight * smooth[:, None]).T))
        rounded = round_product(seen.squares, weight, smooth, scale.T).T
        parts = matrices_of(name)
        split = (np.split(whole, len(parts)) for whole in (rounded, scale))
        for part, values, own in zip(parts, *split, strict=True):
            known[part] = Rounded(np.ascontiguousarray(values), own, smooth)
    return quantise(weights, known=known, before=before), found


def fit_activations(
    weights: Tensors,
    config: Mapping[str, Any],
    batches: Iterable[Batch],
    seed: int = 0,
    known: Tensors | None = None,
) -> dict[str, NDArray[Any]]:
    """``<product>.smooth`` (inputs,) and ``<product>.range`` (low, high) of every product, and
    ``<product>.exact``, the numbers of the channels that stay out of it.

    ``batches`` are rows like those that the backbone will read, questions with contexts too. Where
    a product is stored smoothed, it stays so, and so do the exact channels of its ``known``
    activations: nothing smooths these.

    Raises:
        InputError: no batch is there to look at.
    """
    taps, inputs = read_inputs(weights, config, batches, seed)
    smooths = stored_smooths(weights, config)
    names = [name.removesuffix(SMOOTH) + EXACT_CHANNELS for name in smooths]
    exact = {name: known[name] for name in names if known is not None and name in known}
    return fit_inputs(taps.weights, inputs, {**smooths, **exact})


def read_inputs(
    weights: Tensors,
    config: Mapping[str, Any],
    batches: Iterable[Batch],
    seed: int,
    *,
    squares: bool = False,
) -> tuple[Taps, dict[str, Inputs]]:
    """What goes into each product; with ``squares`` that of every two channels too, which costs."""
    rng = np.random.default_rng(seed)
    taps = Taps(weights, config)
    inputs: dict[str, Inputs] = {}
    for batch in batches:
        for name, values in taps.read(batch).items():
            if name not in inputs:
                inputs[name] = Inputs(squares=0.0 if squares else None)
            inputs[name].add(values, rng)
    if not inputs:
        raise InputError("there are no texts to fit int8 on; expected a few hundred")
    return taps, inputs


def fit_inputs(
    weights: Mapping[str, Floats], inputs: Mapping[str, Inputs], known: Tensors
) -> dict[str, NDArray[Any]]:
    """:func:`fit_activations`, with the smoothing and exact channels that are ``known``."""
    found: dict[str, NDArray[Any]] = {}
    for name, seen in inputs.items():
        weight, apart = weights[name], np.empty(0, dtype=np.int64)
        if weight.shape[0] > weight.shape[1]:  # the product after GELU: its outliers go far
            apart = known[exact] if (exact := name + EXACT_CHANNELS) in known else outliers(seen)
            found[exact] = apart
            seen = seen.without(apart)
        rest = weight.copy()
        rest[apart] = 0
        smooth, found[f"{name}.range"] = fit_product(seen, rest, known.get(name + SMOOTH))
        if name + SMOOTH not in known:  # exact channels are stored as well as any
            usual = np.median(np.abs(weight * smooth[:, None]).max(axis=1))
            smooth[apart] = usual / np.maximum(np.abs(weight[apart]).max(axis=1), 1e-5)
        found[name + SMOOTH] = smooth
    return found


def stored_smooths(weights: Tensors, config: Mapping[str, Any]) -> Tensors:
    """``<product>.smooth`` of the products that are stored smoothed."""
    n_layers = int(config["num_hidden_layers"])
    found: dict[str, NDArray[Any]] = {}
    for branch, n_own in {"": n_layers, **branches_of(weights)}.items():
        for layer in range(n_layers - n_own, n_layers):
            found |= layer_grids(weights, branch, layer)
    return {name: value for name, value in found.items() if name.endswith(SMOOTH)}


def outliers(inputs: Inputs) -> NDArray[np.int64]:
    """The EXACT channels of the largest values."""
    largest = np.maximum(-np.asarray(inputs.low), inputs.high)
    return np.sort(np.argsort(-largest)[:EXACT]).astype(np.int64)


@dataclass
class Inputs:
    """What is kept of a product's inputs: those of some tokens, the ends of each channel, and, if
    asked for, the products of every two channels, summed."""

    parts: list[Floats] = field(default_factory=list)
    low: Floats | float = np.inf
    high: Floats | float = -np.inf
    squares: Floats | float | None = None

    def add(self, values: Floats, rng: np.random.Generator) -> None:
        """Take note of (tokens, inputs)."""
        self.low = np.minimum(self.low, values.min(axis=0))
        self.high = np.maximum(self.high, values.max(axis=0))
        if self.squares is not None:
            self.squares = self.squares + values.T @ values
        largest = np.argsort(-np.abs(values).max(axis=1))[:LARGEST]
        drawn = rng.choice(len(values), min(len(values), DRAWN), replace=False)
        self.parts.append(values[np.union1d(largest, drawn)])

    def without(self, channels: NDArray[np.int64]) -> Inputs:
        """The same with these channels at zero."""
        low, high = np.array(self.low), np.array(self.high)
        low[channels] = high[channels] = 0
        parts = [part.copy() for part in self.parts]
        for part in parts:
            part[:, channels] = 0
        return Inputs(parts, low, high)

    def some(self) -> Floats:
        """At most MOST tokens, evenly from all batches."""
        joined = np.concatenate(self.parts)
        chosen: Floats = joined[np.linspace(0, len(joined) - 1, min(len(joined), MOST)).astype(int)]
        return chosen


def fit_product(
    inputs: Inputs, weight: Floats, given: Floats | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The smoothing, or that which is given, and the range with the least error.

    Each token's error counts by the token's own size.
    """
    values = inputs.some()
    exact = values @ weight
    sizes = np.maximum((exact**2).sum(axis=1), 1e-12)
    low, high = np.asarray(inputs.low), np.asarray(inputs.high)
    flat = np.ones(len(weight), dtype=np.float32)
    least, best = np.inf, (flat, grid(low.min(), high.max()))
    for smooth in smoothings(low, high, weight) if given is None else [given]:
        rounded, scale = round_weight(weight * smooth[:, None])
        factor, scaled = rounded * scale, values / smooth
        for clip in CLIPS:
            ends = grid((low / smooth).min() * clip, (high / smooth).max() * clip)
            off = ((on_grid(scaled, ends) @ factor - exact) ** 2).sum(axis=1)
            error = float((off / sizes).mean())
            if error < least:
                least, best = error, (smooth, ends)
    return best


def round_product(
    squares: Floats | float, weight: Floats, smooth: Floats, scale: Floats
) -> NDArray[np.int8]:
    """A matrix (inputs, outputs) on the grid of ``scale`` (1, outputs), smoothed, as int8.

    ``squares`` are :class:`Inputs`'s. Inputs are rounded one after another, those of the largest
    values first; the error of each is spread over the ones after it (Frantar et al. 2023).
    """
    together = np.asarray(squares / np.outer(smooth, smooth), dtype=np.float64)
    together[np.diag_indices_from(together)] += DAMPING * max(np.diag(together).mean(), 1e-12)
    order = np.argsort(-np.diag(together), kind="stable")
    inverse = np.linalg.inv(together[np.ix_(order, order)])
    factor = np.linalg.cholesky(inverse).T  # upper: inverse = factor.T @ factor
    left = np.asarray(weight * smooth[:, None], dtype=np.float64)[order]
    rounded = np.empty(left.shape, dtype=np.int8)
    for i in range(len(left)):
        rounded[order[i]] = near = np.clip(np.rint(left[i] / scale[0]), -127, 127)
        error = (left[i] - near * scale[0]) / factor[i, i]
        left[i + 1 :] -= np.outer(factor[i, i + 1 :], error)
    return rounded


def smoothings(low: Floats, high: Floats, weight: Floats) -> Iterator[NDArray[np.float32]]:
    """Those that are tried, by the ends of each channel."""
    rows = np.maximum(np.abs(weight).max(axis=1), 1e-5)
    for alpha, floor in itertools.product(ALPHAS, FLOORS):
        peaks = np.maximum(np.maximum(-low, high), max(-floor * low.min(), 1e-5))
        if floor and peaks.min() >= high.max():
            continue  # nothing is left to smooth
        smooth = peaks**alpha / rows ** (1 - alpha)
        yield (smooth / np.exp(np.log(smooth).mean())).astype(np.float32)


def grid(low: float, high: float) -> NDArray[np.float32]:
    """The ends of LEVELS even steps over a range, one of them at zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = max(high - low, 1e-8) / (LEVELS - 1)
    below = round(-low / step)
    return np.array([-below * step, (LEVELS - 1 - below) * step], dtype=np.float32)


def on_grid(values: Floats, ends: NDArray[np.float32]) -> Floats:
    """Values rounded to a grid's steps, and cut off at its ends."""
    step = (ends[1] - ends[0]) / (LEVELS - 1)
    rounded: Floats = np.rint(np.clip(values, *ends) / step) * step
    return rounded
