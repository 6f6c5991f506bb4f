"""Bundles and packs on disk: whole or refused, with the file and the fix in the message."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

import nlpkit
from nlpkit import bundle as bundle_module
from nlpkit.bundle import bundles, read_bundle, read_pack, write_pack
from nlpkit.engines import PluggedHead
from nlpkit.errors import BundleError, NlpkitError, OutputExistsError, UnknownNameError
from nlpkit.heads import SequenceHead
from nlpkit.pipeline import Pipeline
from nlpkit.testing import tiny_bundle

ROOT = Path(__file__).parents[1]
FILES = ["bundle.json", "tokenizer.json", "weights.safetensors", "heads.safetensors", "model.onnx"]
PACK_FILES = ["pack.json", "heads.safetensors", "adapter.safetensors"]
#: What each message ends with: what to do.
FIX = r"get .*(again|newer)|install .*newer"


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny bundle, to be broken and mended."""
    return shutil.copytree(tiny_folder, tmp_path_factory.mktemp("broken") / "tiny")


@pytest.fixture(scope="module")
def pack(kit: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task pack with an adapter, to be broken and mended."""
    head = SequenceHead(["no", "yes"])
    shapes = head.parameter_shapes(32).items()
    return write_pack(
        tmp_path_factory.mktemp("packs") / "intent",
        "intent",
        backbone=kit.name,
        backbone_sha256=kit.backbone_sha256,
        heads={"intent": PluggedHead(head, {n: np.ones(s, np.float32) for n, s in shapes})},
        adapter={"x.lora_A": np.ones((1, 2), np.float32)},
    )


@contextmanager
def holding(file: Path, content: bytes | None) -> Iterator[None]:
    """The file with other content, or gone, for a while."""
    before = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


@contextmanager
def saying(file: Path, change: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """The manifest with another content, as if it had been written so."""
    record = json.loads(file.read_text())
    change(record)
    record.pop("sha256", None)
    with holding(file, json.dumps(record).encode()):
        yield


# -- reading ---------------------------------------------------------------------------------


def test_a_bundle_comes_back_as_it_was_written(tiny_folder: Path) -> None:
    bundle = read_bundle(tiny_folder)
    assert bundle.manifest.id == "tiny-1"
    assert set(bundle.manifest.files) == set(FILES) - {"bundle.json"}
    stored = load_file(tiny_folder / "heads.safetensors")
    for name, plugged in bundle.heads.items():
        for key, value in plugged.parameters.items():
            np.testing.assert_array_equal(value, stored[f"{name}/{key}"])
    assert bundle.heads["ner"].head.labels == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def test_the_same_seed_makes_the_same_bundle(tiny_folder: Path, tmp_path: Path) -> None:
    again, other = tiny_bundle(tmp_path / "again"), tiny_bundle(tmp_path / "other", seed=1)
    assert read_bundle(again).sha256 == read_bundle(tiny_folder).sha256
    assert read_bundle(other).sha256 != read_bundle(tiny_folder).sha256


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage", ["missing", "truncated", "empty", "a byte altered", "a byte more"]
)
def test_a_damaged_file_is_named_with_the_fix(folder: Path, name: str, damage: str) -> None:
    whole = (folder / name).read_bytes()
    middle = len(whole) // 2
    content = {
        "missing": None,
        "truncated": whole[:-1000] if len(whole) > 1000 else whole[:middle],
        "empty": b"",
        "a byte altered": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "a byte more": whole + b"\x00",
    }[damage]
    with (
        holding(folder / name, content),
        pytest.raises(BundleError, match=f"{name}.*({FIX})") as caught,
    ):
        nlpkit.load(str(folder))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=20)
def test_no_flipped_bit_goes_unseen(folder: Path, name: str, data: st.DataObject) -> None:
    content = bytearray((folder / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    whole = read_bundle(folder).manifest
    with holding(folder / name, bytes(content)):
        try:
            flipped = read_bundle(folder)
        except BundleError:
            return
    # Only what means the same may pass: 1e-12 as 1E-12 in the manifest.
    assert name == "bundle.json"
    assert flipped.manifest == whole


@pytest.mark.parametrize("name", PACK_FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "a byte altered"])
def test_a_damaged_pack_is_named_with_the_fix(
    own_kit: Pipeline, pack: Path, name: str, damage: str
) -> None:
    whole = (pack / name).read_bytes()
    middle = len(whole) // 2
    content = {
        "missing": None,
        "truncated": whole[:middle],
        "a byte altered": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    }[damage]
    with holding(pack / name, content), pytest.raises(BundleError, match=f"{name}.*({FIX})"):
        own_kit.add(pack)
    assert "intent" not in own_kit.tasks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: r.update(format=99),
            "is of format 99, this nlpkit reads formats 1 and 2: install",
        ),
        (lambda r: r.pop("format"), "is of format None"),
        (lambda r: r.update(colour="red"), "unexpected keyword argument 'colour'.* get it again"),
        (lambda r: r.pop("window"), "missing 1 required .* 'window'.* get it again"),
        (lambda r: r["files"].pop("model.onnx"), r"does not list \['model.onnx'\]; .* again"),
        (
            lambda r: r["files"].update({"../x": "0" * 64}),
            "a file outside the folder is listed: '../x'",
        ),
        (
            lambda r: r["heads"]["ner"].update(kind="relations"),
            "bundle.json: head 'ner' cannot be made: unknown kind of head 'relations'; known: .*"
            "install what it needs",
        ),
        (lambda r: r["heads"]["ner"].pop("kind"), "head 'ner' cannot be made"),
        (
            lambda r: r["heads"]["ner"]["config"].update(depth=3),
            "head 'ner' cannot be made: .*depth",
        ),
        (
            lambda r: r["heads"]["ner"]["config"].update(labels=["X"]),
            "'ner' cannot be made: .*IOB2",
        ),
        (
            lambda r: r["heads"]["sentiment"]["config"].update(labels=["a", "b"]),
            "head 'sentiment' has parameters .* expected .* get it again",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with (
        saying(folder / "bundle.json", change),
        pytest.raises(BundleError, match=message) as caught,
    ):
        nlpkit.load(str(folder))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b'"x"'])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    with (
        holding(folder / "bundle.json", content),
        pytest.raises(BundleError, match=r"bundle\.json"),
    ):
        nlpkit.load(str(folder))


def test_a_graph_that_cannot_run_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is run where OpenVINO is not."""
    monkeypatch.setattr("nlpkit.engines.find_spec", lambda name: None)
    graph = b"no graph at all"
    digest = hashlib.sha256(graph).hexdigest()
    with (
        holding(folder / "model.onnx", graph),
        saying(folder / "bundle.json", lambda r: r["files"].update({"model.onnx": digest})),
        pytest.raises(BundleError, match=r"ONNX Runtime .* cannot load the bundle's graph"),
    ):
        nlpkit.load(str(folder), "cpu", "fp32")


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "heads.safetensors")
    tensors["ner/bias"] = tensors["ner/bias"][:-1]
    content = save(tensors)
    digest = hashlib.sha256(content).hexdigest()
    with (
        holding(folder / "heads.safetensors", content),
        saying(folder / "bundle.json", lambda r: r["files"].update({"heads.safetensors": digest})),
        pytest.raises(BundleError, match=r"head 'ner' has parameters .* expected"),
    ):
        nlpkit.load(str(folder))


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match="unknown bundle 'nowhere'; known: base-en, base-en-"
    ):
        nlpkit.load("nowhere")
    with pytest.raises(BundleError, match=r"bundle\.json is missing: .* is not a bundle"):
        nlpkit.load(str(tmp_path))
    with pytest.raises(BundleError, match=r"pack\.json is missing: .* is not a task pack"):
        read_pack(tmp_path, 32)


def test_leftovers_beside_the_bundles_are_no_bundles(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tiny-1", "tiny-2", "tiny-10", "tiny-10.draft", "tiny", "tiny-x"):
        shutil.copytree(tiny_folder, tmp_path / name)
    monkeypatch.setattr(bundle_module, "FOLDER", tmp_path)
    assert set(bundles()) == {"tiny", "tiny-1", "tiny-2", "tiny-10"}
    assert bundles()["tiny"].name == "tiny-10"


# -- writing ---------------------------------------------------------------------------------


def test_what_is_there_is_kept_unless_overwrite_is_said(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "tiny")
    (path / "notes.txt").write_text("mine")
    first = read_bundle(path).sha256
    with pytest.raises(OutputExistsError, match=r"tiny exists and is kept; .* \(--overwrite\)"):
        tiny_bundle(path, seed=1)
    assert read_bundle(path).sha256 == first
    assert (path / "notes.txt").read_text() == "mine"
    tiny_bundle(path, seed=1, overwrite=True)
    assert read_bundle(path).sha256 != first
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_a_write_that_was_killed_is_no_obstacle(tmp_path: Path) -> None:
    """Its leftovers are cleared away, and until the last step nothing is where it should be."""
    for leftover in ("tiny.draft", "tiny.old"):
        (tmp_path / leftover / "deep").mkdir(parents=True)
        (tmp_path / leftover / "bundle.json").write_text("{")
    path = tiny_bundle(tmp_path / "tiny")
    assert tiny_bundle(path, overwrite=True) == path
    assert read_bundle(path).manifest.id == "tiny-1"


# -- no pickle, no code ----------------------------------------------------------------------


def test_bundles_hold_nothing_that_could_run(tiny_folder: Path) -> None:
    for path in {tiny_folder, *bundles().values()}:
        for file in path.iterdir():
            data_only = file.suffix in (".json", ".safetensors", ".onnx", ".md", ".txt", "")
            assert data_only, file.name
            assert not file.read_bytes().startswith((b"\x80", b"PK", b"#!")), file.name


def test_the_package_never_unpickles() -> None:
    forbidden = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
    for path in sorted((ROOT / "nlpkit").rglob("*.py")):
        place = path.relative_to(ROOT)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    assert not {n.name.partition(".")[0] for n in names} & forbidden, place
                case ast.ImportFrom(module=str(module)):
                    assert module.partition(".")[0] not in forbidden, place
                case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load")):
                    raise AssertionError(f"{place}:{node.lineno}: torch.load")
                case ast.keyword(arg="allow_pickle" | "trust_remote_code", value=value):
                    off = isinstance(value, ast.Constant) and value.value is False
                    assert off, f"{place}: {node.arg}"


def test_every_refusal_is_in_the_error_tree() -> None:
    assert issubclass(BundleError, NlpkitError)
    assert issubclass(OutputExistsError, FileExistsError)
