"""The CPU engine: OpenVINO in fp32, bf16, or in int8 where the bundle knows its activations.

No torch. The graph is built here from the bundle's weights. It is cut once, where the first branch
leaves the backbone (where none does, before the last layer): the layers before are shared, those
after are one model for each set of branches that is asked for, compiled when it first is. So only
what heads read is computed, and layers that follow each other use the same memory.

Products and norms run on the tokens of all rows one after another, without padding; attention on
rows that are padded for it.

In int8 a product's input x is divided by ``smooth``, one number per channel that its weights are
multiplied by (Xiao et al. 2023, SmoothQuant), and rounded on the fixed grid ``range``; weights are
rounded per output channel, or taken as they are stored where that was with the same ``smooth``. The
few channels ``exact``, whose values are by far the largest, stay out of it and are multiplied in
fp32 (Dettmers et al. 2022, LLM.int8). After attention, and of a position that is computed alone,
each token has grids of its own (Yao et al. 2022, ZeroQuant). Nothing depends on what else is in the
batch. See nlpkit.quantise for where the numbers come from. Where the processor's int8 sums
overflow, the numbers on the grids are multiplied in fp32 ("grids"), and what has no fixed grid is
not rounded: all but the same answers, no faster.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import threading
import time
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlpkit.engines import PluggedHead, cpu_limit, kept, read_heads
from nlpkit.engines.probe import machine_key, timings
from nlpkit.engines.runtime import openvino, ops
from nlpkit.errors import BundleError
from nlpkit.heads import Head, SequenceHead
from nlpkit.heads.base import Floats
from nlpkit.text import Batch, Ints
from nlpkit.weights import (
    Tensors,
    branches_of,
    embedding_tensors,
    layer_grids,
    layer_name,
    layer_tensors,
)

Type = openvino.Type
#: The arithmetic of all but int8 products: attention and what lies between two products; norms are
#: fp32. With lengths of batches as in nlpkit.text.LENGTHS, a text's numbers are the same in any
#: batch, to the last bit (nlpkit bench --only independence).
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16", "grids": "f32"}
#: Tokens of a batch are filled up to a multiple of the second, from more than the first on: few
#: numbers of tokens are met, for each of which OpenVINO makes kernels for every layer. To turn from
#: one number to another costs a millisecond: more than to read a short text's 16 tokens as 32.
STEPS = {0: 32, 256: 64}
#: Rows are padded to at least so many places, for the same reason.
SHORTEST = 32
#: One row of up to so many tokens is read by a model of its own, made for this number: about
#: half the time that 32 tokens take, for some megabytes.
ALONE = 16
#: Shapes of batches that OpenVINO stays prepared for; each takes some megabytes in int8.
SHAPES = 16
#: Kernels that oneDNN keeps besides, about 80 for a number of tokens and 100 kB each. Of the 1,024
#: that it would keep most are for numbers of tokens that are not met again.
KERNELS = 512
#: A model that took so many seconds to build and compile is kept; counts the ways to build one.
SLOW, WAY = 0.1, 9
#: glibc's number for the border of blocks that are mapped (malloc.h), and where it is put.
M_MMAP_THRESHOLD, LARGE = -3, 1 << 20
#: Levels of an int8 grid.
LEVELS = 256
#: The product after attention, whose tokens differ most in size, has no fixed grid: every so many
#: channels of a token have one of their own, for 1 % of the time. All products so would take 10 %.
BY_TOKEN, GROUP = "out", 128
#: The share of the layers that a branch must share for the trunk to be cut where it leaves.
LEAST_SHARED = 1 / 3
#: So many pieces stay ready, those used last: each takes some ten megabytes.
PIECES = 16
#: What is added to the attention scores of padding: far below all, and finite in bf16.
UNSEEN = -1e4


class Piece(NamedTuple):
    """Layers ``first`` to ``last`` of some branches; from the tokens where ``first`` is 0.

    Before a branch's own layers these are the backbone's. Of the ``branches`` that are given with
    True the last layer computes the first position alone. ``alone`` reads nothing but one row of
    ALONE tokens.
    """

    first: int
    last: int
    branches: tuple[tuple[str, bool], ...] = (("", False),)
    alone: bool = False


class Packed(NamedTuple):
    """The tokens of a batch one after another, filled up with zeros, and where each one stands.

    *Shapes:* ids, types, positions, back: (tokens,); bias, pick: (batch, length).
    """

    ids: Ints
    types: Ints
    positions: Ints
    bias: Floats  #: what is added to attention scores
    pick: Ints  #: the token at each place of the padded rows; 0 at padding
    back: Ints  #: the place of each token in the padded rows
    n_tokens: int  #: without those that fill up
    alone: bool  #: whether it is one row of ALONE tokens

    @classmethod
    def of(cls, batch: Batch) -> Packed:
        n_rows, length = batch.mask.shape
        alone = n_rows == 1 and length <= ALONE
        width = ALONE if alone else max(length, SHORTEST)
        bias = np.full((n_rows, width), UNSEEN, dtype=np.float32)
        bias[:, :length][batch.mask == 1] = 0
        places = np.flatnonzero(bias == 0)
        step = ALONE if alone else max(s for above, s in STEPS.items() if len(places) > above)
        pick = np.zeros(bias.size, dtype=np.int64)
        pick[places] = np.arange(len(places))
        back = np.zeros(len(places) + -len(places) % step, dtype=np.int64)
        back[: len(places)] = places
        row, position = back // width, back % width
        return cls(
            batch.ids[row, position],
            batch.types[row, position],
            position,
            bias,
            pick.reshape(bias.shape),
            back,
            len(places),
            alone,
        )


class OpenVinoEngine:
    """Runs a BERT backbone; heads run on its output in numpy.

    ``activations`` are needed for int8: ``<product>.smooth`` and ``<product>.range`` for each
    product that is rounded, ``<product>.exact`` where some of its channels are not; the other
    products run in fp32. ``content`` names the weights and activations:
    what is compiled of them is kept for the next process.
    """

    name = "openvino"
    device = "cpu"
    packed = True

    def __init__(
        self,
        weights: Tensors,
        config: Mapping[str, Any],
        precision: str,
        activations: Tensors | None = None,
        content: str = "",
    ) -> None:
        self.width = int(config["hidden_size"])
        self.content = content
        self.precision = precision
        #: How it is computed: the name of one of the settings.
        self._way = "grids" if precision == "int8" and "int8" not in timings() else precision
        self._weights = weights
        self._config = config
        self._activations = (activations or {}) if precision == "int8" else {}
        self._n_layers = int(config["num_hidden_layers"])
        self._branches = branches_of(weights)
        forks = {name: self._n_layers - n_own for name, n_own in self._branches.items()}
        #: Branches that share too little with others to be cut from them.
        self._whole = {n for n, fork in forks.items() if fork < LEAST_SHARED * self._n_layers}
        #: Where the others are cut: the layers before are shared by all.
        shared = [fork for name, fork in forks.items() if name not in self._whole]
        self._cut = min(shared, default=self._n_layers - 1)
        self._pieces: dict[Piece, Any] = {}  #: the one used last comes last
        self._held: set[Piece] = set()  #: which have memory for a batch
        self._mapped: dict[str, Any] = {}  #: memory that compiled models read
        self._lock = threading.Lock()

    @property
    def compiled(self) -> set[Piece]:
        """What was needed lately."""
        return set(self._pieces)

    def run(self, batch: Batch, heads: Mapping[str, PluggedHead]) -> dict[str, Floats]:
        wanted = {plugged.branch for plugged in heads.values()}
        whole = {p.branch for p in heads.values() if not _reads_first(p.head)}
        return read_heads(self.hidden(batch, wanted, wanted - whole), batch, heads)

    def hidden(
        self, batch: Batch, branches: Iterable[str] = ("",), firsts: Container[str] = ()
    ) -> dict[str, Floats]:
        """The last hidden states of each branch (``""``: the backbone's own).

        Of the branches in ``firsts`` only the first position's: their last layer reads all
        positions and computes one.

        *Shape:* (batch, length) to (batch, length, width) or (batch, 1, width).
        """
        packed, length = Packed.of(batch), batch.mask.shape[1]
        wanted = {name: name in firsts for name in sorted(set(branches))}
        parts = [(0, {name: wanted.pop(name)}) for name in self._whole & wanted.keys()]
        parts += [(self._cut, wanted)] if wanted else []
        found: dict[str, Floats] = {}
        with self._lock:  # requests would take turns on the processors anyway
            for first, names in parts:
                piece = Piece(first, self._n_layers, tuple(names.items()), packed.alone)
                before = Piece(0, first, alone=packed.alone)
                if not packed.alone:  # which holds little
                    self._release({before, piece})
                state = self._run(before, packed)[0] if first else None
                for name, values in zip(names, self._run(piece, packed, state), strict=True):
                    found[name] = values[:, :length].copy()
        return found

    def _run(self, piece: Piece, batch: Packed, state: Floats | None = None) -> list[Floats]:
        request = self._pieces.pop(piece, None) or self._compile(piece).create_infer_request()
        self._pieces[piece] = request  # the last one now
        if len(self._pieces) > PIECES:
            del self._pieces[next(iter(self._pieces))]
        before = [batch.ids, batch.types, batch.positions] if state is None else [state]
        places = [] if piece.alone else [batch.pick, batch.back]
        return self._infer(piece, request, [*before, batch.bias, *places])

    def _release(self, needed: set[Piece]) -> None:
        """Have other pieces give back what they hold of the tokens that they read last.

        For a full batch that is some 30 MB each, and there again for a millisecond's work.
        """
        for piece in self._held - needed:
            if piece in self._pieces:
                self._pieces[piece].get_compiled_model().release_memory()
        self._held = needed

    def _compile(self, piece: Piece) -> Any:
        key = self._key(piece) if self.content else ""
        known = self._mapped.get(key)
        if known is None and key:
            known = kept.read(key)
        if known is not None:
            with suppress(RuntimeError):  # it is not what this OpenVINO can read
                shared = openvino.Tensor(known, shared_memory=True)
                model = core().import_model(shared, "CPU", settings(self._way))
                self._mapped[key] = known
                return model
        start = time.perf_counter()
        graph = Graph(self._weights, self._config, self._activations)
        model = compiled(graph.model(piece), self._way)
        if key and time.perf_counter() - start > SLOW:
            kept.keep(key, model.export_model().getvalue())
        return model

    def _key(self, piece: Piece) -> str:
        made = [WAY, openvino.__version__, settings(self._way), machine_key()]
        facts = [*made, self.content, tuple(piece)]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]

    def _infer(self, piece: Piece, request: Any, inputs: list[Any]) -> list[Floats]:
        """The results lie in the request's own memory, which its next run writes again."""
        for i, value in enumerate(inputs):
            request.set_input_tensor(i, openvino.Tensor(value, shared_memory=True))
        request.infer(share_outputs=True)
        return [request.get_output_tensor(i).data for i in range(len(piece.branches))]


@cache
def core() -> Any:
    """The one OpenVINO runtime of the process, never let go.

    Each that loads the CPU plugin gives the thread another stack for signal handlers and takes it
    away when it dies. Of two, the second to die leaves the thread with the freed one of the first,
    and the next signal, Ctrl-C for one, ends the process (OpenVINO 2025 and 2026, Linux).
    """
    _give_blocks_back()
    if "DNNL_PRIMITIVE_CACHE_CAPACITY" not in os.environ:  # its older name
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    return openvino.Core()


def _give_blocks_back() -> None:
    """Have glibc map blocks of LARGE bytes and more, so that they go back once they are freed.

    Left alone, it moves that border up to 32 MB with what is freed, and a sixth of the process lies
    idle between blocks in use (nlpkit bench --only memory). Whoever has set the border for the
    process, by ``MALLOC_MMAP_THRESHOLD_`` or in ``GLIBC_TUNABLES``, keeps it.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    told = "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in tunables
    if sys.platform == "linux" and not told:
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


def settings(way: str) -> dict[str, Any]:
    """How OpenVINO is to run a model: a precision's name, or "grids", int8's numbers in fp32."""
    # Neither this nor SNIPPETS_MODE is in OpenVINO's documentation. Where this one is not heard,
    # largest_product() in a test tells.
    grids = {"LP_TRANSFORMS_MODE": False} if way == "grids" else {}
    return {
        "INFERENCE_NUM_THREADS": cpu_limit(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[way] if has_bf16() else "f32",
        "ENABLE_CPU_PINNING": False,
        "CPU_RUNTIME_CACHE_CAPACITY": SHAPES,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if way == "int8" else 0,
        "SNIPPETS_MODE": "DISABLE",  # attention in one kernel: for many short rows it is slower
        **grids,
    }


def compiled(model: Any, way: str) -> Any:
    """A model compiled for this machine's processors.

    Raises:
        BundleError: OpenVINO refuses it.
    """
    try:
        return core().compile_model(model, "CPU", settings(way))
    except RuntimeError as error:
        raise BundleError(
            f"OpenVINO {openvino.__version__} cannot compile the backbone: {error}"
        ) from error


class Taps(OpenVinoEngine):
    """The same backbone in fp32, with the inputs of every product: what nlpkit.quantise reads."""

    def __init__(self, weights: Tensors, config: Mapping[str, Any]) -> None:
        super().__init__(weights, config, "fp32")
        self.weights: dict[str, Floats] = {}  #: (inputs, outputs), of products read so far
        self._places: dict[Piece, dict[str, int]] = {}  #: which output is a product's input
        self._seen: dict[str, Floats] = {}

    def read(self, batch: Batch) -> dict[str, Floats]:
        """Inputs by product, (tokens, inputs); padding is left out."""
        self._seen = {}
        self.hidden(batch, ["", *self._branches])
        n_tokens = int(batch.mask.sum())
        return {name: values[0, :n_tokens] for name, values in self._seen.items()}

    def _compile(self, piece: Piece) -> Any:
        graph = Graph(self._weights, self._config, {})
        model = graph.model(piece)
        self.weights |= {name: weight for name, _, weight in graph.products}
        places: dict[Any, int] = {}  # branches that fork have one input
        self._places[piece] = {
            name: places.setdefault(node, len(piece.branches) + len(places))
            for name, node, _ in graph.products
        }
        model.add_outputs([node.output(0) for node in places])
        return compiled(model, "fp32")

    def _infer(self, piece: Piece, request: Any, inputs: list[Any]) -> list[Floats]:
        hidden = super()._infer(piece, request, inputs)
        for name, i in self._places[piece].items():
            self._seen[name] = request.get_output_tensor(i).data.copy()
        return hidden


class Graph:
    """Builds parts of a BERT as OpenVINO models.

    ``products`` lists what was built: each product's name, input and weight (inputs, outputs).
    """

    def __init__(self, weights: Tensors, config: Mapping[str, Any], activations: Tensors) -> None:
        self.weights = weights
        self.config = config
        self.activations = activations
        self.products: list[tuple[str, Any, Floats]] = []

    def model(self, piece: Piece) -> Any:
        """The layers of a piece.

        Inputs are those of :class:`Packed`: (ids, types, positions, bias, pick, back), later
        (hidden states, bias, pick, back); a row alone has no (pick, back). There is an output for
        each branch; if these are the last layers, it is padded: (batch, length, width); else
        (1, tokens, width), as hidden states are.
        """
        rows = _Rows.inputs(piece.alone)
        tokens = ALONE if piece.alone else -1
        if piece.first:
            hidden = ops.parameter([1, tokens, self._size("hidden_size")], Type.f32, "hidden")
            inputs = [hidden]
        else:
            inputs = [ops.parameter([tokens], Type.i64, n) for n in ("ids", "types", "positions")]
            hidden = self._embeddings(*inputs)
        bias = ops.unsqueeze(rows.bias, _ints(1, 2))
        own, n_layers = branches_of(self.weights), self._size("num_hidden_layers")
        known: dict[tuple[str, int, bool], Any] = {("", piece.first, False): hidden}

        def after(branch: str, layer: int, only_first: bool = False) -> Any:
            """The hidden states after so many layers."""
            if layer <= max(piece.first, n_layers - own.get(branch, 0)):
                branch = ""
            key = (branch, layer, only_first)
            if key not in known:
                before = after(branch, layer - 1)
                tensors = layer_tensors(self.weights, branch, layer - 1)
                tensors |= layer_grids(self.weights, branch, layer - 1)
                name = layer_name(branch, layer - 1)
                known[key] = self._layer(tensors, name, before, bias, rows, only_first)
            return known[key]

        results = []
        for branch, only_first in piece.branches:
            state = after(branch, piece.last, only_first)
            if only_first:
                state = ops.transpose(state, _ints(1, 0, 2))
            elif piece.last == n_layers:
                state = rows.padded(state)
            results.append(ops.result(state))
        inputs += [given for given in rows if given is not None]
        return openvino.Model(results, inputs, "bert")

    def _embeddings(self, ids: Any, types: Any, positions: Any) -> Any:
        """Word rows (as int8, each with a scale), position rows, token-type rows; layer norm."""
        tensors = embedding_tensors(self.weights)
        rows = _gather(tensors["word"], ids)
        if "word.scale" in tensors:
            rows = ops.multiply(ops.convert(rows, Type.f32), _gather(tensors["word.scale"], ids))
        beside = ops.add(_gather(tensors["type"], types), _gather(tensors["position"], positions))
        total = ops.unsqueeze(ops.add(rows, beside), _ints(0))
        return self._norm(tensors, "norm", total)

    def _layer(
        self, tensors: Tensors, name: str, hidden: Any, bias: Any, rows: _Rows, only_first: bool
    ) -> Any:
        """Self-attention and feed-forward, each added to its input and normalised."""
        n_heads, width = self._size("num_attention_heads"), self._size("hidden_size")

        def by_head(padded: Any, parts: int) -> list[Any]:
            cut = ops.reshape(padded, _ints(0, 0, parts, n_heads, width // n_heads), True)
            cut = ops.transpose(cut, _ints(2, 0, 3, 1, 4))
            each = ops.split(cut, _const(np.int64(0)), parts).outputs()
            return [ops.squeeze(part, _ints(0)) for part in each]

        read = self._input(tensors, f"{name}qkv", hidden)
        tensors = self._scaled(tensors, name, (width // n_heads) ** -0.5)
        if only_first:
            hidden = rows.first(hidden)
            asking = self._rounded(f"{name}qkv", hidden, by_token=True)
            asking = self._product(tensors, f"{name}qkv", asking, slice(width))
            (query,) = by_head(ops.transpose(asking, _ints(1, 0, 2)), 1)
            seen = self._product(tensors, f"{name}qkv", read, slice(width, 3 * width))
            key, value = by_head(rows.padded(seen), 2)
        else:
            seen = self._product(tensors, f"{name}qkv", read)
            query, key, value = by_head(rows.padded(seen), 3)
        shares = ops.softmax(ops.add(ops.matmul(query, key, False, True), bias), -1)
        attended = ops.transpose(ops.matmul(shares, value, False, False), _ints(0, 2, 1, 3))
        attended = ops.reshape(attended, _ints(1, -1, width), False)
        if not only_first:
            attended = rows.packed(attended)
        attended = self._input(tensors, f"{name}out", attended)
        attended = self._product(tensors, f"{name}out", attended)
        hidden = self._norm(tensors, f"{name}out.norm", ops.add(attended, hidden))
        inner = self._feed_forward(tensors, name, hidden, by_token=only_first)
        return self._norm(tensors, f"{name}down.norm", ops.add(inner, hidden))

    def _scaled(self, tensors: Tensors, name: str, scale: float) -> Tensors:
        """The product before attention with outputs multiplied, instead of what is made of them.

        The queries by ``scale``, instead of what attention compares; the values by what the product
        after attention wants its input multiplied by, which attention does not mix.
        """
        width = self._size("hidden_size")
        factor = np.ones(3 * width, dtype=np.float32)
        factor[:width] = scale
        factor[2 * width :] /= self.activations.get(f"{name}out.smooth", np.float32(1))
        parts = [f"{name}qkv.{kind}" for kind in ("weight", "bias", "scale")]
        return {**tensors, **{part: tensors[part] * factor for part in parts if part in tensors}}

    def _feed_forward(self, tensors: Tensors, name: str, hidden: Any, by_token: bool) -> Any:
        """Two products around a GELU. Exact channels between them are computed once more, apart:
        nothing but rounding then reads the others, and they leave the first product rounded."""
        read = self._input(tensors, f"{name}up", hidden, by_token)
        inner = ops.gelu(self._product(tensors, f"{name}up", read), "erf")
        exact = self.activations.get(f"{name}down.exact")
        if exact is None or by_token:
            inner = self._input(tensors, f"{name}down", inner, by_token)
            return self._product(tensors, f"{name}down", inner)
        few = ops.gelu(self._product(tensors, f"{name}up", read, exact), "erf")
        weight = tensors[f"{name}down.weight"].copy()
        beside = ops.matmul(few, _const(weight[exact]), False, False)
        weight[exact] = 0
        rest: Tensors = {**tensors, f"{name}down.weight": weight}
        inner = self._input(rest, f"{name}down", inner)
        return ops.add(self._product(rest, f"{name}down", inner), beside)

    def _input(self, tensors: Tensors, name: str, value: Any, by_token: bool = False) -> Any:
        """The input of a product, rounded where its activations are known."""
        self.products.append((name, value, tensors[f"{name}.weight"]))
        return self._rounded(name, value, by_token)

    def _rounded(self, name: str, value: Any, by_token: bool = False) -> Any:
        """On the product's grid; ``by_token`` OpenVINO does that, as the settings say."""
        if f"{name}.smooth" not in self.activations:
            return value
        if name.endswith(BY_TOKEN):  # already divided, see _scaled()
            return value
        smooth = self.activations[f"{name}.smooth"]
        value = ops.multiply(value, _const((1 / smooth)[None, None]))
        if by_token:
            return value
        low, high = (_const(end.reshape(1, 1, 1)) for end in self.activations[f"{name}.range"])
        return ops.fake_quantize(value, low, high, low, high, LEVELS)

    def _product(self, tensors: Tensors, name: str, value: Any, columns: Any = slice(None)) -> Any:
        """``value @ weight + bias``; the weight in int8 where the input is rounded."""
        weight, bias = tensors[f"{name}.weight"][:, columns], tensors[f"{name}.bias"][columns]
        smooth = self.activations.get(f"{name}.smooth")
        if smooth is None:
            factor = _const(np.ascontiguousarray(weight.T))
        else:
            known = np.array_equal(tensors.get(f"{name}.smooth", ()), smooth)
            scale = tensors[f"{name}.scale"][:, columns] if known else None
            rounded, scale = round_weight(weight * smooth[:, None], scale)
            stored = ops.convert(_const(np.ascontiguousarray(rounded.T)), Type.f32)
            factor = ops.multiply(stored, _const(np.ascontiguousarray(scale.T)))
        return ops.add(ops.matmul(value, factor, False, True), _const(bias))

    def _norm(self, tensors: Tensors, name: str, value: Any) -> Any:
        epsilon = float(self.config["layer_norm_eps"])
        normal = ops.mvn(value, _ints(-1), True, epsilon, "inside_sqrt")
        scaled = ops.multiply(normal, _const(tensors[f"{name}.weight"]))
        return ops.add(scaled, _const(tensors[f"{name}.bias"]))

    def _size(self, key: str) -> int:
        return int(self.config[key])


def _reads_first(head: Head) -> bool:
    """Whether the head looks at the first position alone, as BERT's classifiers do."""
    return type(head) is SequenceHead and head.pooling == "cls"


@cache
def has_bf16() -> bool:
    """Whether the processor computes in bf16; elsewhere OpenVINO takes fp32 for it."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def largest_product(way: str = "int8") -> float:
    """The product of two vectors of ones on the largest int8 numbers, as a share of what it is.

    Less than 1 where the processor adds in 16 bits, which such sums overflow.
    """
    size = 64
    value = ops.parameter([-1, size], Type.f32, "value")
    ends = [_const(np.zeros((1, 1), np.float32)), _const(np.ones((1, 1), np.float32))]
    rounded = ops.fake_quantize(value, *ends, *ends, LEVELS)
    factor = ops.convert(_const(np.full((size, size), 127, np.int8)), Type.f32)
    factor = ops.multiply(factor, _const(np.full((size, 1), 1 / 127, np.float32)))
    model = openvino.Model([ops.result(ops.matmul(rounded, factor, False, True))], [value], "ones")
    result = compiled(model, way)([np.ones((1, size), np.float32)])[0]
    return float(result.mean()) / size


def round_weight(weight: Floats, scale: Floats | None = None) -> tuple[NDArray[np.int8], Floats]:
    """A matrix (inputs, outputs) as int8, with this scale per output (1, outputs) or its own."""
    if scale is None:
        scale = np.maximum(np.abs(weight).max(axis=0, keepdims=True), 1e-8) / 127
    rounded = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    return rounded, scale.astype(np.float32)


class _Rows(NamedTuple):
    """Parts of :class:`Packed` as inputs of a model; a row alone is packed as it is."""

    bias: Any
    pick: Any
    back: Any

    @classmethod
    def inputs(cls, alone: bool) -> _Rows:
        if alone:
            return cls(ops.parameter([1, ALONE], Type.f32, "bias"), None, None)
        return cls(
            ops.parameter([-1, -1], Type.f32, "bias"),
            ops.parameter([-1, -1], Type.i64, "pick"),
            ops.parameter([-1], Type.i64, "back"),
        )

    def padded(self, tokens: Any) -> Any:
        """(1, tokens, width) to (batch, length, width)."""
        return tokens if self.pick is None else ops.squeeze(_tokens(tokens, self.pick), _ints(0))

    def packed(self, padded: Any) -> Any:
        """(1, batch * length, width) to (1, tokens, width)."""
        return padded if self.back is None else _tokens(padded, self.back)

    def first(self, tokens: Any) -> Any:
        """(1, tokens, width) to (1, batch, width): each row's first position."""
        if self.pick is None:
            return _tokens(tokens, _ints(0))
        return _tokens(tokens, ops.gather(self.pick, _const(np.int64(0)), _const(np.int64(1))))


def _tokens(values: Any, which: Any) -> Any:
    return ops.gather(values, which, _const(np.int64(1)))


def _gather(table: NDArray[Any], rows: Any) -> Any:
    return ops.gather(_const(table), rows, _const(np.int64(0)))


def _ints(*values: int) -> Any:
    return _const(np.array(values, dtype=np.int64))


def _const(value: Any) -> Any:
    return ops.constant(np.asarray(value))
