"""The fast CPU engine: OpenVINO in bf16 and in int8, and how its precision is chosen."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlpkit
from nlpkit.bundle import Bundle, read_bundle
from nlpkit.cli.app import app_main
from nlpkit.engines import PluggedHead, choose, kept, probe
from nlpkit.engines import openvino as openvino_engine
from nlpkit.engines.onnx import OnnxEngine
from nlpkit.engines.openvino import OpenVinoEngine, Piece, round_weight
from nlpkit.errors import InputError, OutputExistsError, StoreError
from nlpkit.heads import SequenceHead
from nlpkit.pipeline import Pipeline
from nlpkit.quantise import (
    Inputs,
    fit_activations,
    fit_product,
    grid,
    on_grid,
    optimize,
    round_product,
    round_weights,
)
from nlpkit.testing import tiny_bundle
from nlpkit.text import Batch, Window, pad
from nlpkit.types import Document
from nlpkit.weights import (
    SCALE,
    SMOOTH,
    branches_of,
    dequantise,
    layer_grids,
    layer_tensors,
    quantise,
)

TEXTS = [
    "Ada Lovelace lived in LONDON.",
    "Great phone, poor battery",
    "the old man lived in PARIS " * 12,
    "",
    "1843",
]
#: Sentences of everyday matters, for the real weights.
NEWS = [
    f"{who} said on {day} that {what}."
    for who in ("Ada Lovelace", "The mayor of Paris", "Acme Corp", "A spokesman of the U.N.")
    for day in ("Monday", "12 May 2004", "the eve of the vote")
    for what in (
        "shares had fallen by 3.5 percent after the bank cut its forecast",
        "the team from Lyon would not play in the second half",
        "nobody had been hurt when the ferry ran aground off Crete",
    )
]


@pytest.fixture(scope="module", params=[False, True], ids=["float32", "int8"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle, in both ways to store weights."""
    return read_bundle(tiny_bundle(tmp_path_factory.mktemp("stored") / "tiny", int8=request.param))


@pytest.fixture(scope="module")
def fitted(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with int8 fitted."""
    return optimize(tiny_folder, TEXTS * 3, tmp_path_factory.mktemp("fitted") / "tiny")


def batch_of(bundle: Bundle, texts: Sequence[str] = TEXTS) -> Batch:
    """The texts as a batch of rows of 30 tokens and what is left over."""
    encoder = bundle.encoder
    rows = []
    for one in encoder.encode(texts):
        for first in range(0, max(len(one) - 8, min(len(one), 1)), 22):
            last = min(first + 30, len(one))
            owned = (first + 4 * (first > 0), last - 4 * (last < len(one)))
            rows.append(encoder.row(one, Window(first, last, *owned)))
    return pad(rows, 0)


# -- the same numbers ------------------------------------------------------------------------


def test_the_engine_equals_onnx_runtime(bundle: Bundle) -> None:
    config, batch = bundle.manifest.config, batch_of(bundle)
    real = batch.mask == 1
    expected = OnnxEngine(bundle.graph, bundle.weights, config)
    for branches in (["", "ner", "qa"], [""], ["ner"], ["qa", "ner"]):
        hidden = OpenVinoEngine(bundle.weights, config, "fp32").hidden(batch, branches)
        assert sorted(hidden) == sorted(branches)
        for name, states in expected.hidden(batch, branches).items():
            np.testing.assert_allclose(hidden[name][real], states[real], atol=1e-5, err_msg=name)


def test_bf16_stays_near(tiny_folder: Path, own_kit: Pipeline) -> None:
    low = nlpkit.load(tiny_folder, "cpu", "bf16")
    assert low.precision in ("bf16", "fp32")
    texts = [text for text in TEXTS if text]
    assert (low.embed(texts) * own_kit.embed(texts)).sum(axis=1).min() > 0.999


def test_layers_are_compiled_once_and_only_where_needed(tiny_folder: Path) -> None:
    bundle = read_bundle(tiny_folder)
    engine = OpenVinoEngine(bundle.weights, bundle.manifest.config, "fp32")
    batch = batch_of(bundle)
    first = engine.hidden(batch, ["ner"])["ner"]
    assert engine.compiled == {Piece(0, 1), Piece(1, 2, (("ner", False),))}
    assert np.array_equal(engine.hidden(batch, ["ner"])["ner"], first)
    engine.hidden(batch)
    known = {Piece(0, 1), Piece(1, 2), Piece(1, 2, (("ner", False),))}
    assert engine.compiled == known
    engine.hidden(batch_of(bundle, TEXTS[:1]))
    known |= {Piece(0, 1, alone=True), Piece(1, 2, alone=True)}
    assert engine.compiled == known
    together = engine.hidden(batch, ["", "ner"])
    assert engine.compiled == known | {Piece(1, 2, (("", False), ("ner", False)))}
    np.testing.assert_array_equal(together["ner"], first)


def test_the_pieces_used_last_stay_ready(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlpkit.engines.openvino.PIECES", 2)
    bundle = read_bundle(tiny_folder)
    engine = OpenVinoEngine(bundle.weights, bundle.manifest.config, "fp32")
    batch = batch_of(bundle)
    first = engine.hidden(batch, ["ner"])["ner"]
    engine.hidden(batch)
    assert engine.compiled == {Piece(0, 1), Piece(1, 2)}
    assert np.array_equal(engine.hidden(batch, ["ner"])["ner"], first)
    assert engine.compiled == {Piece(0, 1), Piece(1, 2, (("ner", False),))}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_short_text_alone_is_read_as_in_company(fitted: Path, precision: str) -> None:
    """By another model, which long texts between do not turn to another number of tokens."""
    bundle = read_bundle(fitted)
    config = bundle.manifest.config
    engine = OpenVinoEngine(bundle.weights, config, precision, bundle.activations)
    together = batch_of(bundle)
    short = [i for i, n in enumerate(together.mask.sum(axis=1)) if n <= openvino_engine.ALONE]
    assert short
    states = engine.hidden(together, ["", "ner"])
    for i in short:
        n = together.mask[i].sum()
        fields = (together.ids, together.mask, together.types, together.shapes, together.owned)
        alone = engine.hidden(Batch(*(field[i : i + 1, :n] for field in fields)), ["", "ner"])
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], states[name][i, :n], atol=1e-5, err_msg=name)


def test_what_gave_its_memory_back_reads_on(tiny_folder: Path) -> None:
    """Other branches, a row alone and another size in between change nothing."""
    bundle = read_bundle(tiny_folder)
    engine = OpenVinoEngine(bundle.weights, bundle.manifest.config, "fp32")
    batch, alone = batch_of(bundle), batch_of(bundle, TEXTS[:1])
    known = {name: engine.hidden(batch, [name])[name] for name in ("ner", "qa", "")}
    for name in ("", "ner", "qa", "ner"):
        engine.hidden(alone, [name])
        np.testing.assert_array_equal(engine.hidden(batch, [name])[name], known[name])
        engine.hidden(batch_of(bundle, TEXTS[:2]), ["ner", "qa"])


def test_a_branch_that_shares_little_is_compiled_whole(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trunk is not cut for it, and the numbers are the same."""
    bundle = read_bundle(tiny_folder)
    config, batch = bundle.manifest.config, batch_of(bundle)
    cut = OpenVinoEngine(bundle.weights, config, "fp32").hidden(batch, ["ner", "qa"])
    monkeypatch.setattr("nlpkit.engines.openvino.LEAST_SHARED", 0.6)
    engine = OpenVinoEngine(bundle.weights, config, "fp32")
    for name, states in engine.hidden(batch, ["ner", "qa"]).items():
        np.testing.assert_allclose(states, cut[name], atol=1e-6)
    assert engine.compiled == {Piece(0, 2, ((name, False),)) for name in ("ner", "qa")}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_classes_that_read_the_first_token_cost_one_position(fitted: Path, precision: str) -> None:
    """Of the last layer, and with the same result; beside a mean of all tokens it is whole."""
    bundle = read_bundle(fitted)
    config, batch = bundle.manifest.config, batch_of(bundle)
    engine = OpenVinoEngine(bundle.weights, config, precision, bundle.activations)
    first = engine.hidden(batch, ["", "ner"], [""])
    whole = engine.hidden(batch, ["", "ner"])
    assert first[""].shape == (len(batch.ids), 1, engine.width)
    near = 1e-5 if precision == "fp32" else 0.02  # bf16 attention: another way for one query
    np.testing.assert_allclose(first[""][:, 0], whole[""][:, 0], atol=near)
    np.testing.assert_array_equal(first["ner"], whole["ner"])

    width = engine.width
    shapes = SequenceHead(["a", "b"], pooling="cls").parameter_shapes(width)
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    heads = {
        how: PluggedHead(SequenceHead(["a", "b"], pooling=how), values) for how in ("cls", "mean")
    }
    engine = OpenVinoEngine(bundle.weights, config, precision, bundle.activations)
    alone = engine.run(batch, {"cls": heads["cls"]})["cls"]
    assert Piece(1, 2, (("", True),)) in engine.compiled
    assert Piece(1, 2) not in engine.compiled
    np.testing.assert_allclose(alone, engine.run(batch, heads)["cls"], atol=5 * near)
    assert Piece(1, 2) in engine.compiled


def test_sixteen_threads_hear_what_one_does(tiny_folder: Path) -> None:
    kit = nlpkit.load(tiny_folder, "cpu", "bf16")
    alone = [kit.embed(text) for text in TEXTS]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            for one, found in zip(alone, pool.map(kit.embed, TEXTS), strict=True):
                assert np.abs(one - found).max() < 1e-6


# -- int8 ----------------------------------------------------------------------------------------


def test_int8_is_fitted_and_written(fitted: Path, tiny_folder: Path) -> None:
    plain, made = read_bundle(tiny_folder), read_bundle(fitted)
    assert plain.activations is None
    assert made.activations is not None
    products = {name.rpartition(".")[0] for name in made.activations}
    branches = {f"{branch}layer.1.{p}" for branch in ("ner.", "qa.", "") for p in PRODUCTS}
    assert products == {f"layer.0.{p}" for p in PRODUCTS} | branches
    for name, value in plain.weights.items():
        assert np.array_equal(value, made.weights[name])
    assert made.manifest.id == plain.manifest.id
    kit = nlpkit.load(fitted, "cpu", "int8")
    assert (kit.engine.name, kit.precision) == ("openvino", "int8")
    assert [e.label for e in kit.ner(TEXTS[0])] == ["PER", "LOC"]


PRODUCTS = ("qkv", "out", "up", "down")


def test_int8_keeps_the_promises_on_real_weights() -> None:
    """Cosine to fp32 and independence of the batch."""
    texts = [*NEWS, "Ada Lovelace", "Shares of Acme fell.", "Who won?"]  # these have models apart
    exact = nlpkit.load("base-en", "cpu", "fp32")
    low = nlpkit.load("base-en", "cpu", "int8")
    together, alone = low.embed(texts), np.stack([low.embed(text) for text in texts])
    assert np.abs(together - alone).max() < 5e-3  # here 0; a rounding may fall the other way
    cosines = (together * exact.embed(texts)).sum(axis=1)
    assert cosines.mean() > 0.997
    assert cosines.min() > 0.995
    same = [
        [(e.text, e.label) for e in a] == [(e.text, e.label) for e in b]
        for a, b in zip(low.ner(texts), exact.ner(texts), strict=True)
    ]
    assert np.mean(same) > 0.9


def test_exact_channels_stay_out_of_the_grid(fitted: Path) -> None:
    """However far they go: here by a weight that makes four channels a thousand times larger."""
    bundle = read_bundle(fitted)
    weights = dequantise(bundle.weights)
    last = max(name for name in weights if name.endswith("layer.1.intermediate.dense.weight"))
    apart = [3, 50, 51, 60]
    weights[last] = weights[last].copy()
    weights[last][apart] *= 1000
    batch = batch_of(bundle)
    real = batch.mask == 1
    config = bundle.manifest.config
    exact = OpenVinoEngine(weights, config, "fp32").hidden(batch)[""][real]
    found = fit_activations(weights, config, [batch])
    down = "layer.1.down"
    assert sorted(found[f"{down}.exact"]) == apart
    low = OpenVinoEngine(weights, config, "int8", found).hidden(batch)[""][real]
    assert np.abs(low - exact).mean() < 0.05
    del found[f"{down}.exact"]
    without = OpenVinoEngine(weights, config, "int8", found).hidden(batch)[""][real]
    assert np.abs(without - exact).mean() > 0.1


def test_weights_stored_smoothed_are_rounded_once(fitted: Path) -> None:
    bundle = read_bundle(fitted)
    config, batch, plain = bundle.manifest.config, batch_of(bundle), dequantise(bundle.weights)
    once, found = round_weights(plain, config, [batch])
    twice = quantise(plain)
    n_layers, n_grids = int(config["num_hidden_layers"]), 0
    for branch, n_own in {"": n_layers, **branches_of(once)}.items():
        for layer in range(n_layers - n_own, n_layers):
            tensors, grids = (read(once, branch, layer) for read in (layer_tensors, layer_grids))
            for name in (key.removesuffix(SCALE) for key in grids if key.endswith(SCALE)):
                smooth, scale = grids[name + SMOOTH], grids[name + SCALE]
                np.testing.assert_array_equal(smooth, found[name + SMOOTH])
                rounded, _ = round_weight(tensors[f"{name}.weight"] * smooth[:, None], scale)
                np.testing.assert_allclose(
                    rounded * scale / smooth[:, None], tensors[f"{name}.weight"], rtol=1e-5
                )
                n_grids += 1
    assert n_grids == len(PRODUCTS) * (n_layers + sum(branches_of(plain).values()))

    def error(weights: Any) -> float:
        """From the same stored weights in fp32."""
        exact = OpenVinoEngine(weights, config, "fp32").hidden(batch)[""]
        low = OpenVinoEngine(weights, config, "int8", found).hidden(batch)[""]
        return float(np.square(low - exact)[batch.mask == 1].mean())

    assert error(once) < error(twice)
    exact = OpenVinoEngine(plain, config, "fp32").hidden(batch)[""]
    near, far = (OpenVinoEngine(w, config, "fp32").hidden(batch)[""] for w in (once, twice))
    assert np.square(near - exact)[batch.mask == 1].mean() < 0.7 * (
        np.square(far - exact)[batch.mask == 1].mean()
    )
    # Fitted again, on what makes other channels the largest.
    fields = (batch.ids, batch.mask, batch.types, batch.shapes, batch.owned)
    other = Batch(*(field[:1] for field in fields))
    again = fit_activations(once, config, [other], known=found)
    alone = fit_activations(once, config, [other])
    for name, value in found.items():
        if name.endswith((SMOOTH, ".exact")):
            np.testing.assert_array_equal(again[name], value)
    names = [name for name in found if name.endswith(".exact")]
    assert not all(np.array_equal(alone[name], found[name]) for name in names)


def test_after_attention_each_token_has_grids_of_its_own(fitted: Path) -> None:
    """A value that is far beyond the fixed grid there, which is not read, is not cut off."""
    bundle = read_bundle(fitted)
    config, batch = bundle.manifest.config, batch_of(bundle)
    assert bundle.activations is not None
    whole = dict(bundle.activations)
    narrow = whole | {n: v * 1e-3 for n, v in whole.items() if n.endswith("out.range")}
    cut = whole | {n: v * 1e-3 for n, v in whole.items() if n.endswith("up.range")}

    def read(activations: Any, firsts: Any = ()) -> Any:
        engine = OpenVinoEngine(bundle.weights, config, "int8", activations)
        return engine.hidden(batch, [""], firsts)[""][:, 0]

    np.testing.assert_array_equal(read(narrow), read(whole))
    assert np.abs(read(cut) - read(whole)).max() > 0.1
    # A position that is computed alone has no fixed grids at all, in its own layer.
    own = whole | {n: whole[n] * 1e-3 for n in ("layer.1.up.range", "layer.1.down.range")}
    assert np.abs(read(own) - read(whole)).max() > 0.1
    np.testing.assert_array_equal(read(own, [""]), read(whole, [""]))


def test_a_grid_has_a_step_at_zero_and_covers_the_range() -> None:
    for low, high in ((-1.0, 3.0), (0.0, 2.0), (-0.17, 24.0), (1.0, 2.0), (-3.0, -1.0)):
        ends = grid(low, high)
        step = (ends[1] - ends[0]) / 255
        assert ends[0] <= min(low, 0) + step
        assert ends[1] >= max(high, 0) - step
        assert on_grid(np.zeros(1, np.float32), ends)[0] == 0
        values = np.linspace(ends[0], ends[1], 1000, dtype=np.float32)
        assert np.abs(on_grid(values, ends) - values).max() <= step * 0.51


def test_fitting_is_better_than_rounding_as_it_is() -> None:
    """Channels of very different sizes, as layer norms and GELUs make them."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 64)).astype(np.float32)
    values[:, 3] *= 60
    weight = rng.normal(size=(64, 32)).astype(np.float32)
    inputs = Inputs()
    inputs.add(values, rng)
    smooth, ends = fit_product(inputs, weight)

    def error(smooth: Any, ends: Any) -> float:
        rounded, scale = round_weight(weight * smooth[:, None])
        found = on_grid(values / smooth, ends) @ (rounded * scale)
        return float(np.square(found - values @ weight).mean())

    plain = error(np.ones(64, np.float32), grid(values.min(), values.max()))
    assert error(smooth, ends) < plain / 4


def test_rounding_makes_up_for_errors_where_inputs_go_together() -> None:
    rng = np.random.default_rng(0)
    few = rng.normal(size=(2000, 8))
    values = (few @ rng.normal(size=(8, 48)) + 0.1 * rng.normal(size=(2000, 48))).astype(np.float32)
    weight = rng.normal(size=(48, 16)).astype(np.float32)
    smooth = np.linspace(0.5, 2, 48).astype(np.float32)
    nearest, scale = round_weight(weight * smooth[:, None])
    rounded = round_product(values.T @ values, weight, smooth, scale)
    assert rounded.dtype == np.int8

    def error(numbers: Any) -> float:
        return float(np.square(values @ (numbers * scale / smooth[:, None] - weight)).mean())

    assert error(rounded) < error(nearest) / 3
    # Inputs that do not go together leave it nothing to do.
    np.testing.assert_array_equal(
        round_product(np.eye(48, dtype=np.float32), weight, smooth, scale), nearest
    )


def test_optimize_from_the_command_line(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("body\n" + "".join(f'"{t}"\n' for t in TEXTS if t), encoding="utf-8")
    words = ["optimize", str(tiny_folder), "--texts", str(file), "-o", str(tmp_path / "new")]
    assert app_main([*words, "--column", "body"]) == 0
    assert "nlpkit evaluate" in capsys.readouterr().out
    assert read_bundle(tmp_path / "new").activations is not None
    assert app_main([*words, "--column", "body"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert app_main([*words, "--overwrite"]) == 2
    assert "no 'text' (fields: 'body')" in capsys.readouterr().err


def test_optimize_refuses_nothing_and_what_is_there(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no texts"):
        optimize(tiny_folder, ["", " "], tmp_path / "new")
    with pytest.raises(OutputExistsError):
        optimize(tiny_folder, TEXTS, tmp_path)


# -- which precision -----------------------------------------------------------------------------


def test_the_fastest_precision_is_chosen() -> None:
    found = probe.timings()
    assert min(found.values()) > 0
    choice = choose("cpu", "auto", ("fp32", "bf16", "int8"))
    assert choice.precision == min(found, key=lambda one: found[one])
    assert choice.engine == "openvino"
    assert f"{choice.precision} " in choice.reason.partition("fastest here: ")[2]
    assert choose("cpu", "auto", ("fp32",)).precision == "fp32"


def content(found: np.ndarray | None) -> bytes:
    assert found is not None
    return found.tobytes()


def test_timings_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = probe.timings()
    kept = json.loads(probe.cache_file().read_text())
    assert kept == {probe.machine_key(): found}
    probe.cache_file().write_text(json.dumps({probe.machine_key(): {"fp32": 1.0}, "old": {}}))
    assert probe.timings() == {"fp32": 1.0}
    probe.cache_file().write_text("no JSON")
    assert probe.timings().keys() == found.keys()


def test_a_cache_that_cannot_be_written_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "fp32" in probe.timings()


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_where_openvino_is_not_onnx_runtime_runs(
    tiny_folder: Path, own_kit: Pipeline, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """It is not installed, or has no kernels for the processor."""
    with monkeypatch.context() as patch:
        patch.setattr(probe, "timings", dict)
        assert choose("cpu", precision, ("fp32", "bf16")).engine == "onnx"
        found = nlpkit.load(tiny_folder, "cpu", precision).ner(TEXTS[0])
    assert [(e.text, e.label) for e in found] == [(e.text, e.label) for e in own_kit.ner(TEXTS[0])]
    monkeypatch.setattr("nlpkit.engines.find_spec", lambda name: None)
    choice = choose("cpu", precision, ("fp32", "bf16"))
    assert choice.engine == "onnx"
    assert choice.reason.endswith("; faster: pip install openvino")


@pytest.mark.parametrize("limit", ["AVX2", "SSE41"])
def test_an_old_processor_gets_a_slower_precision(limit: str, fitted: Path, tmp_path: Path) -> None:
    """OpenVINO told to use no newer instructions: no bf16, and int8 sums that overflow. int8 that
    is asked for gives the answers that it gives elsewhere."""
    texts = [text for text in TEXTS if text]
    code = f"""
import json, nlpkit
from nlpkit.engines.openvino import largest_product
kit = nlpkit.load({str(fitted)!r}, "cpu")
print(kit.engine.name, kit.precision, [e.label for e in kit.ner({TEXTS[0]!r})])
kit = nlpkit.load({str(fitted)!r}, "cpu", "int8")
print(kit.engine.name, kit.precision)
print(json.dumps([largest_product(), largest_product("grids")]))
print(json.dumps(kit.embed({texts!r}).tolist()))
"""
    limits = {"ONEDNN_MAX_CPU_ISA": limit, "OV_CPU_MAX_ISA": limit}
    environment = {**os.environ, **limits, "XDG_CACHE_HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert not run.returncode, run.stderr
    default, asked, products, vectors = run.stdout.splitlines()
    assert default == "openvino fp32 ['PER', 'LOC']"
    assert asked == "openvino int8"
    overflowing, whole = json.loads(products)
    assert overflowing < 0.99
    assert whole == pytest.approx(1)
    there = np.array(json.loads(vectors))
    here, exact = (nlpkit.load(fitted, "cpu", p).embed(texts) for p in ("int8", "fp32"))
    assert (here * there).sum(axis=1).min() > 0.999
    assert np.abs(there - exact).max() > 1e-4  # it is not fp32


@pytest.mark.parametrize("limit", ["AVX2", ""])
def test_training_is_in_bf16_where_the_processor_has_it(limit: str) -> None:
    """Elsewhere torch imitates it, far slower than it computes fp32."""
    code = """
from nlpkit.engines.openvino import has_bf16
from nlpkit.engines.torch import training_precision
print(has_bf16(), *(training_precision(device) for device in ("cpu", "cuda:1")))
"""
    limits = {"ONEDNN_MAX_CPU_ISA": limit, "OV_CPU_MAX_ISA": limit} if limit else {}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **limits},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.split() in (
        [["False", "fp32", "bf16"]]
        if limit
        else [["True", "bf16", "bf16"], ["False", "fp32", "bf16"]]
    ), run.stderr


def test_int8_that_cannot_be_had_is_refused(
    tiny_folder: Path, fitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="nlpkit optimize BUNDLE"):
        nlpkit.load(tiny_folder, "cpu", "int8")
    with pytest.raises(InputError, match="'int8' on device 'cuda'"):
        nlpkit.load(fitted, "cuda", "int8")
    monkeypatch.setattr(probe, "timings", dict)
    with pytest.raises(InputError, match="needs OpenVINO, and that does not run"):
        nlpkit.load(fitted, "cpu", "int8")


def test_an_index_opens_in_the_precision_that_it_was_made_with(
    tiny_folder: Path, tmp_path: Path
) -> None:
    low, exact = (nlpkit.load(tiny_folder, "cpu", p) for p in ("bf16", "fp32"))
    for name, kit in (("low", low), ("exact", exact)):
        with nlpkit.open_index(tmp_path / name, kit) as index:
            index.upsert([Document("a", TEXTS[0])])
    for name, kit in (("low", low), ("exact", exact)):
        with nlpkit.open_index(tmp_path / name, tiny_folder) as index:
            assert index.search("Ada")[0].document.id == "a"
            assert index.pipeline is not None
            assert index.pipeline.precision == kit.precision
    if low.precision != exact.precision:
        with pytest.raises(StoreError, match="fp32"):
            nlpkit.open_index(tmp_path / "exact", low)


def test_an_adapter_runs_beside_int8_in_bf16(fitted: Path, tmp_path: Path) -> None:
    from nlpkit.bundle import write_pack

    bundle = read_bundle(fitted)
    kit = nlpkit.load(fitted, "cpu", "auto")
    name = "encoder.layer.0.attention.self.query.weight"
    pack = write_pack(
        tmp_path / "pack",
        "mood",
        backbone=kit.name,
        backbone_sha256=kit.backbone_sha256,
        heads={"mood": replace(bundle.heads["sentiment"])},
        adapter={
            f"{name}.lora_A": np.ones((2, 32), np.float32),
            f"{name}.lora_B": np.ones((32, 2), np.float32),
            f"{name}.scaling": np.array(0.1, np.float32),
        },
    )
    kit.add(pack)
    assert kit.classify(TEXTS[0], task="mood") != kit.classify(TEXTS[0])


@pytest.fixture
def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which all that is compiled is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(openvino_engine, "SLOW", 0.0)
    return tmp_path / "nlpkit" / "compiled"


def hidden_of(bundle: Bundle, content: str) -> dict[str, Any]:
    engine = OpenVinoEngine(bundle.weights, bundle.manifest.config, "fp32", content=content)
    return engine.hidden(batch_of(bundle))


def test_what_is_compiled_is_kept_for_the_next_process(
    bundle: Bundle, keeping: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = hidden_of(bundle, "")
    assert not keeping.exists()
    hidden_of(bundle, "one")
    files = [*keeping.iterdir()]
    assert files
    with monkeypatch.context() as patched:
        patched.setattr(openvino_engine, "compiled", None)  # nothing is compiled any more
        again = hidden_of(bundle, "one")
    assert np.array_equal(again[""], fresh[""])
    for damaged in (files[0].read_bytes()[:-100], b"", b"\0\0\0\0", b"abcdefgh" * 100):
        files[0].write_bytes(damaged)
        assert np.array_equal(hidden_of(bundle, "one")[""], fresh[""])
    kept.keep(files[0].name, b"whole, and not a model")
    assert np.array_equal(hidden_of(bundle, "one")[""], fresh[""])
    hidden_of(bundle, "two")
    assert len([*keeping.iterdir()]) == 2 * len(files)


def test_only_the_last_used_are_kept(keeping: Path) -> None:
    for number in range(kept.MOST + 3):
        kept.keep(str(number), b"x")
        os.utime(keeping / str(number), (number, number))
        if number == kept.MOST:
            assert content(kept.read("1")) == b"x"  # used: stays
    assert kept.read("0") is None
    assert content(kept.read("1")) == b"x"
    assert len([*keeping.iterdir()]) == kept.MOST


def test_without_room_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    kept.keep("one", b"x")
    assert kept.read("one") is None


#: Opens two engines, lets go of both, and says whether the thread's stack for signal handlers
#: still is memory of this process.
SIGNAL_STACK = """
import ctypes, gc
from nlpkit.engines.openvino import OpenVinoEngine, has_bf16
from nlpkit.loading import load

class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

kits = [load(bundle, precision="fp32") for _ in range(2)]
for kit in kits:
    assert isinstance(kit.engine, OpenVinoEngine), kit.engine
    kit.ner("Ada Lovelace lived in London.")
has_bf16()
while kits:
    del kit, kits[0]
    gc.collect()
    kit = None
stack = Stack()
ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
ranges = [line.split()[0].split("-") for line in open("/proc/self/maps")]
mapped = any(int(a, 16) <= (stack.at or 0) < int(b, 16) for a, b in ranges)
assert stack.at is None or mapped, "a signal would end this process"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_engines_that_go_leave_signals_in_order(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    code = f"bundle = {str(bundle)!r}\n{SIGNAL_STACK}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LARGE_BLOCKS = """
import ctypes
from nlpkit.engines import openvino
openvino.core()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
class Info(ctypes.Structure):
    _fields_ = [(str(i), ctypes.c_size_t) for i in range(4)] + [("mapped", ctypes.c_size_t)]
    _fields_ += [(str(i), ctypes.c_size_t) for i in range(5, 10)]
libc.mallinfo2.restype = Info
libc.free(libc.malloc(24 << 20))  # left alone, glibc now maps blocks from 24 MB on alone
before = libc.mallinfo2().mapped
block = libc.malloc(16 << 20)
print(libc.mallinfo2().mapped - before >= 16 << 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
@pytest.mark.parametrize(
    ("told", "mapped"),
    [
        ({}, "True"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=0"}, "True"),
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=33554432"}, "False"),
    ],
)
def test_large_blocks_go_back_unless_told_otherwise(told: dict[str, str], mapped: str) -> None:
    ours = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_")
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", LARGE_BLOCKS],
        capture_output=True,
        text=True,
        env=environ | told,
    )
    assert done.stdout.split() == [mapped], done.stderr


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, str(openvino_engine.KERNELS)),
        ({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}, "7"),
        ({"DNNL_PRIMITIVE_CACHE_CAPACITY": "7"}, "None"),
    ],
    ids=["unset", "set", "older name"],
)
def test_kernels_are_bounded_unless_told_otherwise(given: dict[str, str], found: str) -> None:
    """As oneDNN sees it: it asks the C library, before its first kernel."""
    program = (
        "import ctypes\n"
        "from nlpkit.engines.openvino import core\n"
        "core()\n"
        "getenv = ctypes.CDLL(None).getenv\n"
        "getenv.restype = ctypes.c_char_p\n"
        "value = getenv(b'ONEDNN_PRIMITIVE_CACHE_CAPACITY')\n"
        "print(value and value.decode())"
    )
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")
    env = {name: value for name, value in os.environ.items() if name not in names} | given
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True
    )
    assert run.stdout.strip() == found
