"""Exports: transformers and sentence-transformers compute what nlpkit computes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tiny import texts as any_texts
from transformers import AutoModel, AutoTokenizer

import nlpkit
from nlpkit.bundle import read_bundle, write_bundle, write_pack
from nlpkit.cli import app_main
from nlpkit.engines import PluggedHead
from nlpkit.errors import (
    BundleError,
    InputError,
    InputTypeError,
    OutputExistsError,
    UnknownNameError,
)
from nlpkit.export import add_word_shapes, export, model_inputs
from nlpkit.heads import HEADS, Head, PoolingHead, SequenceHead, SpanHead, TokenHead
from nlpkit.heads.base import softmax
from nlpkit.pipeline import Pipeline
from nlpkit.testing import tiny_bundle
from nlpkit.text import Batch, Row, TextEncoder, Window, pad

TEXTS = ["Ada LOVELACE lived in London.", "X", "iPhone 12 [SEP], naïve cafés in LONDON!"]
PAIRS = [("Who lived there?", "Ada LOVELACE did."), ("WHERE in 1843", "in London, I think")]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
WEIGHT = "encoder.layer.0.attention.self.query.weight"

#: Heads that a pack brings to the tiny bundle, by task, with the last layers they read.
HEADS_OF_PACKS: dict[str, tuple[Head, str]] = {
    "tags": (TokenHead(LABELS, temperature=1.7), ""),
    "deep tags": (TokenHead(LABELS, temperature=0.6), "ner"),
    "mood": (SequenceHead(["sad", "glad"], pooling="cls", temperature=2.5), ""),
    "dense": (SequenceHead(["a", "b", "c"], pooling="cls", dense=32, temperature=0.4), ""),
    "deep dense": (SequenceHead(["a", "b"], True, pooling="cls", dense=32), "qa"),
    "about": (SequenceHead(["a", "b", "c"], True, pooling="cls"), ""),
    "spans": (SpanHead(threshold=1.5, temperature=2.0, calibration=(1.2, -0.5)), "qa"),
    "cls": (PoolingHead("cls", normalize=False), ""),
    "max": (PoolingHead("max", projection=True), "ner"),
}
#: Heads that the formats cannot express, and what is said of each.
REFUSED: dict[str, tuple[Head, str]] = {
    "shapes": (TokenHead(LABELS, word_shape=True), r"adds word shapes .*; .*has no such layer"),
    "mean": (SequenceHead(["a", "b"]), r"pooling='mean' through no layer; .* pooling='cls'"),
    "relu": (
        SequenceHead(["a", "b"], pooling="cls", dense=32, activation="relu"),
        r"a layer of 32 with relu; .* one of 32 with tanh: train the head like that",
    ),
    "narrow": (
        SequenceHead(["a", "b"], pooling="cls", dense=16),
        r"a layer of 16 with tanh; .* one of 32 with tanh",
    ),
    "vectors": (PoolingHead(), "export it with --format sentence-transformers"),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle whose weights are stored as int8, as the shipped ones are."""
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", int8=True)


@pytest.fixture(scope="module")
def pack(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a task pack with a random head for the tiny bundle."""
    folder = tmp_path_factory.mktemp("packs")

    def write(task: str, head: Head, branch: str = "", *, lora: bool = False) -> Path:
        rng = np.random.default_rng(7)
        parameters = {
            name: rng.normal(0, 0.5, size=shape).astype(np.float32)
            for name, shape in head.parameter_shapes(32).items()
        }
        adapter = {
            f"{WEIGHT}.lora_A": rng.normal(size=(2, 32)).astype(np.float32),
            f"{WEIGHT}.lora_B": rng.normal(size=(32, 2)).astype(np.float32),
            f"{WEIGHT}.scaling": np.array(0.5, np.float32),
        }
        manifest = read_bundle(tiny).manifest
        return write_pack(
            folder / f"{task}{lora}",
            f"the {task} pack",
            backbone=manifest.id,
            backbone_sha256=manifest.files["weights.safetensors"],
            heads={task: PluggedHead(head, parameters, branch)},
            adapter=adapter if lora else None,
            overwrite=True,
        )

    return write


def load(folder: Path) -> Any:
    """The model of an exported folder; nothing may be missing from its weights, or left over."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    auto = getattr(transformers, config["architectures"][0].replace("Bert", "AutoModel", 1), None)
    loaded, said = (auto or AutoModel).from_pretrained(folder, output_loading_info=True)
    assert {name: found for name, found in said.items() if found} == {}
    return loaded.eval()


def run(model: Any, inputs: dict[str, Any]) -> Any:
    with torch.no_grad():
        return model(**{name: torch.as_tensor(value) for name, value in inputs.items()})


def logits_of(model: Any, inputs: dict[str, Any]) -> NDArray[np.float32]:
    """*Shape:* (batch, length, n) or (batch, n)."""
    found = run(model, inputs)
    if "start_logits" in found:
        return torch.stack([found.start_logits, found.end_logits], dim=-1).numpy()
    logits: NDArray[np.float32] = found.logits.numpy()
    return logits


def pipeline(task: Any, folder: Path, *, plain: bool = False, **options: Any) -> Any:
    """A pipeline of transformers on an exported folder, given word shapes unless ``plain``."""
    tokenizer = AutoTokenizer.from_pretrained(folder) if plain else shaped(folder)
    return transformers.pipeline(task, load(folder), tokenizer=tokenizer, **options)


def batch_of(encoder: TextEncoder, texts: Sequence[Any]) -> Batch:
    """Texts or pairs as nlpkit reads them, each in one window."""

    def row(text: Any) -> Row:
        *first, last = encoder.encode([text] if isinstance(text, str) else text)
        window = Window(0, len(last), 0, len(last))
        return encoder.pair_row(first[0], last, window) if first else encoder.row(last, window)

    return pad([row(text) for text in texts], encoder.pad_id)


def expected_logits(kit: Pipeline, task: str, texts: Sequence[Any]) -> NDArray[np.float32]:
    """nlpkit's own, as its scores are made from them: divided by the temperature."""
    plugged = kit.head(task)
    engine = kit.with_head(task, plugged.head).engine  # its own where it has an adapter
    found = engine.run(batch_of(kit.encoder, texts), {task: plugged})[task]
    return np.asarray(found / getattr(plugged.head, "temperature", 1.0), dtype=np.float32)


def assert_same_logits(folder: Path, kit: Pipeline, task: str) -> None:
    is_span = isinstance(kit.head(task).head, SpanHead)
    given = PAIRS if is_span else TEXTS
    inputs = model_inputs(folder, given)
    got, expected = logits_of(load(folder), inputs), expected_logits(kit, task, given)
    if got.ndim == 3:  # what is said of padding means nothing
        got, expected = (x[inputs["attention_mask"] == 1] for x in (got, expected))
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)


# -- transformers --------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["sentiment", "qa"])
def test_a_task_of_the_bundle_has_the_same_logits(tiny: Path, tmp_path: Path, task: str) -> None:
    folder = export("transformers", tmp_path / "out", bundle=tiny, task=task)
    assert_same_logits(folder, nlpkit.load(tiny, "cpu", "fp32"), task)


@pytest.mark.parametrize(
    ("task", "lora"),
    [(task, False) for task, (head, _) in HEADS_OF_PACKS.items() if head.kind != "pooling"]
    + [("deep tags", True), ("dense", True), ("spans", True)],
)
def test_a_task_pack_has_the_same_logits(
    tiny: Path, pack: Callable[..., Path], tmp_path: Path, task: str, lora: bool
) -> None:
    head, branch = HEADS_OF_PACKS[task]
    path = pack(task, head, branch, lora=lora)
    kit = nlpkit.load(tiny, "cpu", "fp32")
    kit.add(path)
    folder = export("transformers", tmp_path / "out", bundle=tiny, task=task, pack=path)
    assert_same_logits(folder, kit, task)


def test_classes_are_scored_by_the_pipeline_of_transformers(
    tiny: Path, pack: Callable[..., Path], tmp_path: Path
) -> None:
    kit = nlpkit.load(tiny, "cpu", "fp32")
    for task in ("mood", "about"):  # softmax and sigmoid
        path = pack(task, HEADS_OF_PACKS[task][0])
        kit.add(path)
        folder = export("transformers", tmp_path / task, bundle=tiny, task=task, pack=path)
        classify = pipeline("text-classification", folder, top_k=None)
        for got, expected in zip(classify(TEXTS), kit.classify(TEXTS, task), strict=True):
            assert [one["label"] for one in got] == [label.name for label in expected]
            scores = [label.score for label in expected]
            np.testing.assert_allclose([one["score"] for one in got], scores, rtol=0, atol=1e-5)


def test_calibrated_tags_have_the_same_probabilities(
    tiny: Path, pack: Callable[..., Path], tmp_path: Path
) -> None:
    head = TokenHead(LABELS, temperature=1.7)
    path = pack("tags", head)
    kit = nlpkit.load(tiny, "cpu", "fp32")
    kit.add(path)
    folder = export("transformers", tmp_path / "out", bundle=tiny, task="tags", pack=path)
    got = softmax(logits_of(load(folder), model_inputs(folder, TEXTS[:1]))[0])
    expected = softmax(expected_logits(kit, "tags", TEXTS[:1])[0])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


# -- sentence-transformers -----------------------------------------------------------------------


def pooled(folder: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """The embeddings that the written files say, with transformers and numpy."""
    inputs = model_inputs(folder, texts)
    hidden = run(load(folder), inputs).last_hidden_state.numpy()
    vectors = hidden
    for module in json.loads((folder / "modules.json").read_text("utf-8")):
        kind, place = module["type"].rpartition(".")[2], folder / module["path"]
        if kind == "Pooling":
            config = json.loads((place / "config.json").read_text("utf-8"))
            mask = inputs["attention_mask"][:, :, None]
            by_mode = {
                "cls_token": hidden[:, 0],
                "mean_tokens": (hidden * mask).sum(axis=1) / mask.sum(axis=1),
                "max_tokens": np.where(mask == 1, hidden, -np.inf).max(axis=1),
            }
            [mode] = [mode for mode in by_mode if config[f"pooling_mode_{mode}"]]
            vectors = by_mode[mode]
        elif kind == "Dense":
            weight = load_file(place / "model.safetensors")["linear.weight"]
            vectors = vectors @ weight.T
        elif kind == "Normalize":
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        else:
            assert kind == "Transformer"
    return np.asarray(vectors, dtype=np.float32)


def embedders(
    tiny: Path, pack: Callable[..., Path], out: Path
) -> list[tuple[Path, NDArray[np.float32]]]:
    """Folders of the bundle's embedding and of packs', each with nlpkit's own of TEXTS."""
    found = [
        (
            export("sentence-transformers", out / "own", bundle=tiny),
            nlpkit.load(tiny, "cpu", "fp32"),
        )
    ]
    expected = [found[0][1].embed(TEXTS)]
    for task in ("cls", "max"):
        path = pack(task, *HEADS_OF_PACKS[task])
        kit = nlpkit.load(tiny, "cpu", "fp32")
        kit.add(path)
        folder = export("sentence-transformers", out / task, bundle=tiny, pack=path)
        found.append((folder, kit))
        expected.append(np.stack(kit.apply(TEXTS, task)))
    return [(folder, vectors) for (folder, _), vectors in zip(found, expected, strict=True)]


def test_the_files_of_an_embedding_say_the_same_vectors(
    tiny: Path, pack: Callable[..., Path], tmp_path: Path
) -> None:
    for folder, expected in embedders(tiny, pack, tmp_path):
        np.testing.assert_allclose(pooled(folder, TEXTS), expected, rtol=0, atol=2e-5)


def test_sentence_transformers_gives_the_same_vectors(
    tiny: Path, pack: Callable[..., Path], tmp_path: Path
) -> None:
    library = pytest.importorskip(
        "sentence_transformers", reason="sentence-transformers is not installed"
    )
    for folder, expected in embedders(tiny, pack, tmp_path):
        model = library.SentenceTransformer(str(folder), device="cpu")
        plain = model.encode(TEXTS)
        add_word_shapes(model.tokenizer)
        np.testing.assert_allclose(model.encode(TEXTS), expected, rtol=0, atol=2e-5)
        assert abs(plain - expected).max() > 1e-3, "nothing is lost without word shapes"


def test_a_bundle_without_a_head_for_it_embeds_by_the_mean(tiny: Path, tmp_path: Path) -> None:
    bare = changed(tiny, tmp_path / "bare", without="embedding")
    folder = export("sentence-transformers", tmp_path / "out", bundle=bare)
    expected = nlpkit.load(bare, "cpu", "fp32").embed(TEXTS)
    np.testing.assert_allclose(pooled(folder, TEXTS), expected, rtol=0, atol=2e-5)


def changed(tiny: Path, path: Path, *, without: str = "", **fields: Any) -> Path:
    """A copy of the tiny bundle whose manifest says something else."""
    bundle = read_bundle(tiny)
    return write_bundle(
        path,
        replace(bundle.manifest, **fields),
        tokenizer=bundle.encoder.to_str(),
        weights=bundle.weights,
        heads={name: head for name, head in bundle.heads.items() if name != without},
        graph=bundle.graph,
    )


# -- word shapes ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tagger(tiny: Path, pack: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported token classifier."""
    path = pack("tags", TokenHead(LABELS))
    out = tmp_path_factory.mktemp("exported") / "tags"
    return export("transformers", out, bundle=tiny, task="tags", pack=path)


def shaped(folder: Path) -> Any:
    return add_word_shapes(AutoTokenizer.from_pretrained(folder))


def test_inputs_are_what_the_engine_reads(tiny: Path, tagger: Path) -> None:
    encoder = read_bundle(tiny).encoder
    for given_texts in (TEXTS, PAIRS, ["", " "]):
        batch = batch_of(encoder, given_texts)
        arrays = (batch.ids, batch.types, batch.mask)
        for source in (tagger, str(tagger), tiny, encoder):
            found = model_inputs(source, given_texts)
            assert list(found) == ["input_ids", "token_type_ids", "attention_mask"]
            for got, expected in zip(found.values(), arrays, strict=True):
                np.testing.assert_array_equal(got, expected)
    assert [value.shape for value in model_inputs(tiny, []).values()] == [(0, 0)] * 3


def test_without_word_shapes_the_numbers_are_others(tagger: Path) -> None:
    model, inputs = load(tagger), model_inputs(tagger, TEXTS)
    plain = AutoTokenizer.from_pretrained(tagger)(TEXTS, padding=True, return_tensors="np")
    np.testing.assert_array_equal(plain["input_ids"], inputs["input_ids"])
    assert set(plain["token_type_ids"].ravel()) == {0}
    assert set(inputs["token_type_ids"].ravel()) == set(range(7))
    difference = abs(logits_of(model, dict(plain)) - logits_of(model, inputs))
    assert difference[inputs["attention_mask"] == 1].max() > 0.1


@settings(max_examples=60)
@given(any_texts(), any_texts())
def test_a_tokenizer_with_word_shapes_reads_any_text_as_nlpkit(
    tokenizer: Any, encoder: TextEncoder, first: str, second: str
) -> None:
    # transformers takes no lone surrogates, and cuts nothing here.
    first, second = (text.encode("utf-8", "ignore").decode()[:60] for text in (first, second))
    for text, found in (
        (first, tokenizer([first, "x"], padding=True, return_tensors="np")),
        ((first, second), tokenizer([(first, second), ("x", "y")], padding=True)),
        ((first, second), tokenizer([first, "x"], [second, "y"], padding=True)),
    ):
        expected = batch_of(encoder, [text, "x" if isinstance(text, str) else ("x", "y")])
        np.testing.assert_array_equal(found["input_ids"], expected.ids)
        np.testing.assert_array_equal(found["token_type_ids"], expected.types)


@pytest.fixture(scope="module")
def tokenizer(tagger: Path) -> Any:
    return shaped(tagger)


def test_a_tokenizer_keeps_the_form_that_was_asked_for(
    tokenizer: Any, encoder: TextEncoder
) -> None:
    text = "Ada lived in LONDON"
    types = batch_of(encoder, [text]).types[0].tolist()
    assert tokenizer(text)["token_type_ids"] == types
    assert tokenizer([text])["token_type_ids"] == [types]
    assert tokenizer(text=text, return_tensors="pt")["token_type_ids"].tolist() == [types]
    pair = tokenizer("WHO", text, padding="max_length", max_length=40)["token_type_ids"]
    pair_types = batch_of(encoder, [("WHO", text)]).types[0].tolist()
    assert pair == pair_types + [0] * (40 - len(pair_types))
    assert "token_type_ids" not in tokenizer(text, return_token_type_ids=False)
    assert (
        type(tokenizer).__name__
        == type(AutoTokenizer.from_pretrained(tokenizer.name_or_path)).__name__
    )


def test_windows_of_a_long_text_keep_the_shapes_of_the_whole(
    tokenizer: Any, encoder: TextEncoder
) -> None:
    text = "Ada iPhone lived in LONDON 1843, " * 8
    whole = tokenizer(text, return_offsets_mapping=True)
    by_start = dict(zip(whole["offset_mapping"], whole["token_type_ids"], strict=True))
    cut = tokenizer(
        [text, "Ada"],
        truncation=True,
        max_length=17,
        stride=4,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert len(cut["input_ids"]) > 10
    for types, offsets in zip(cut["token_type_ids"][:-1], cut["offset_mapping"][:-1], strict=True):
        assert types[1:-1] == [by_start[place] for place in offsets[1:-1]]
    assert cut["token_type_ids"][-1] == [0, 1, 0]


def test_word_shapes_are_refused_where_none_are_read(
    tiny: Path, tmp_path: Path, tokenizer: Any
) -> None:
    plain = changed(tiny, tmp_path / "plain", shape_types=False)
    folder = export("transformers", tmp_path / "out", bundle=plain, task="sentiment")
    with pytest.raises(InputError, match=r"does not ask for word_shapes; expected AutoTokenizer"):
        shaped(folder)
    assert "word_shapes" not in (folder / "README.md").read_text("utf-8")
    assert_same_logits(folder, nlpkit.load(plain, "cpu", "fp32"), "sentiment")
    np.testing.assert_array_equal(
        model_inputs(folder, PAIRS)["token_type_ids"],
        AutoTokenizer.from_pretrained(folder)(PAIRS, padding=True)["token_type_ids"],
    )
    with pytest.raises(InputError, match="is_split_into_words was asked for; expected whole texts"):
        tokenizer([["Ada", "lived"]], is_split_into_words=True)


@pytest.mark.parametrize(
    ("given_texts", "error", "said"),
    [
        ("one text", InputTypeError, "texts must be a list of strings"),
        (["a", 3], InputTypeError, r"texts\[1\] must be a string, or a pair of strings, got int"),
        ([("a", "b", "c")], InputTypeError, r"texts\[0\] must be"),
        (["a", "b " * 200], InputError, r"texts\[1\] has 202 tokens .* at most 192: cut it"),
    ],
)
def test_inputs_that_cannot_be(
    tagger: Path, given_texts: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        model_inputs(tagger, given_texts)


def test_inputs_of_a_folder_that_is_none(tagger: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown bundle"):
        model_inputs(tmp_path / "nothing", TEXTS)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((tagger / "config.json").read_bytes())
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=r"tokenizer.json cannot be read .*: export it again"):
        model_inputs(broken, TEXTS)


# -- what is refused, and what is kept -----------------------------------------------------------


@pytest.mark.parametrize("task", REFUSED)
def test_what_a_format_cannot_express_is_refused(
    tiny: Path, pack: Callable[..., Path], tmp_path: Path, task: str
) -> None:
    head, said = REFUSED[task]
    with pytest.raises(InputError, match=said):
        export("transformers", tmp_path / "out", bundle=tiny, task=task, pack=pack(task, head))
    assert list(tmp_path.iterdir()) == []


def test_a_head_of_another_package_is_refused(
    tiny: Path, pack: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LoudHead(SequenceHead):
        kind = "loud"

    monkeypatch.setitem(HEADS, "loud", LoudHead)
    path = pack("shout", LoudHead(["a", "b"], pooling="cls"))
    with pytest.raises(InputError, match="'shout' is a loud head; transformers takes question-ans"):
        export("transformers", tmp_path / "out", bundle=tiny, task="shout", pack=path)


def test_names_that_are_unknown_or_missing(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UnknownNameError, match="unknown export format 'gguf'; known: sentence-tr"):
        export("gguf", out, bundle=tiny, task="ner")
    with pytest.raises(InputError, match="no task was given; expected one of embedding, ner, qa"):
        export("transformers", out, bundle=tiny)
    with pytest.raises(UnknownNameError, match=r"unknown task 'nre'; .* These are tiny-1's"):
        export("transformers", out, bundle=tiny, task="nre")
    with pytest.raises(UnknownNameError, match="unknown bundle 'tiny-7'"):
        export("transformers", out, bundle="tiny-7", task="ner")
    with pytest.raises(InputError, match=r"is a question-answering head; .* leave --task out"):
        export("sentence-transformers", out, bundle=tiny, task="qa")


def test_backbones_and_packs_that_do_not_fit(
    tiny: Path, pack: Callable[..., Path], tmp_path: Path
) -> None:
    out, config = tmp_path / "out", read_bundle(tiny).manifest.config
    roberta = changed(tiny, tmp_path / "roberta", config={**config, "model_type": "roberta"})
    with pytest.raises(InputError, match="is a roberta; only BERT backbones can be exported"):
        export("transformers", out, bundle=roberta, task="sentiment")
    other = tiny_bundle(tmp_path / "other", seed=1)
    path = pack("mood", HEADS_OF_PACKS["mood"][0])
    with pytest.raises(BundleError, match=r"was trained for backbone tiny-1 .*, not for tiny-1"):
        export("transformers", out, bundle=other, task="mood", pack=path)
    path = pack("lost", TokenHead(LABELS), "nowhere")
    with pytest.raises(BundleError, match=r"last layers of its own \('nowhere'\) that tiny-1 lack"):
        export("transformers", out, bundle=tiny, task="lost", pack=path)


def test_nothing_is_replaced_unasked(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    folder = export("transformers", out, bundle=tiny, task="qa")
    assert folder == out
    with pytest.raises(OutputExistsError, match="exists and is kept"):
        export("transformers", out, bundle=tiny, task="sentiment")
    assert load(out).config.architectures == ["BertForQuestionAnswering"]
    export("sentence-transformers", out, bundle=tiny, overwrite=True)
    assert load(out).config.architectures == ["BertModel"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_only_an_export_is_replaced(tiny: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    for place in (tmp_path, thesis):
        with pytest.raises(InputError, match="is not a folder that nlpkit export wrote, and is ke"):
            export("transformers", place, bundle=tiny, task="qa", overwrite=True)
    assert thesis.read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    export("transformers", tmp_path / "empty", bundle=tiny, task="qa", overwrite=True)


def test_a_disk_that_is_full_leaves_what_was_there(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export("transformers", out, bundle=tiny, task="qa")
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    for place in (out, tmp_path / "new"):
        with pytest.raises(OSError, match="No space left"):
            export("sentence-transformers", place, bundle=tiny, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_torch_is_not_needed(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from nlpkit.export import export, model_inputs\n"
        f"folder = export('transformers', {str(tmp_path / 'out')!r}, bundle={str(tiny)!r}, "
        "task='qa'); model_inputs(folder, ['x'])\n"
        "sys.exit(', '.join({'torch', 'transformers', 'onnxruntime'} & set(sys.modules)) or 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


# -- README.md -----------------------------------------------------------------------------------


def python_of(folder: Path) -> str:
    """All Python of a folder's README.md."""
    blocks = re.findall(
        r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL
    )
    return "\n".join(blocks)


@pytest.mark.parametrize("task", ["tags", "mood", "about", "spans"])
def test_the_examples_run(
    tiny: Path,
    pack: Callable[..., Path],
    tmp_path: Path,
    task: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = pack(task, *HEADS_OF_PACKS[task])
    monkeypatch.chdir(export("transformers", tmp_path / "out", bundle=tiny, task=task, pack=path))
    exec(python_of(Path()), {})
    assert "'token_type_ids': (" in capsys.readouterr().out


def test_the_example_of_an_embedding_runs(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    monkeypatch.chdir(export("sentence-transformers", tmp_path / "out", bundle=tiny))
    names: dict[str, Any] = {}
    exec(python_of(Path()), names)
    assert names["vectors"].shape == (2, 32)


def test_the_readme_says_what_the_format_cannot_carry(
    tiny: Path, pack: Callable[..., Path], tmp_path: Path
) -> None:
    path = pack("spans", *HEADS_OF_PACKS["spans"])
    folder = export("transformers", tmp_path / "out", bundle=tiny, task="spans", pack=path)
    page = (folder / "README.md").read_text("utf-8")
    assert "no-answer threshold, 0.75 on the scale" in page  # 1.5 at temperature 2
    assert "exp(-(1.2 * log(p / (1 - p)) -0.5))" in page
    assert "the task pack `the spans pack` on nlpkit's bundle `tiny-1`" in page
    assert "tiny-1 comes without terms of its own" in page
    assert not (folder / "WEIGHTS-LICENSE").exists()


# -- the command, and the shipped bundle ---------------------------------------------------------

NEWS = (
    "Ada Lovelace was born in London and never visited Paris.",
    "Toyota and Microsoft opened an office in Germany on Monday.",
    "Maria Garcia flew from Kenya to Spain with the World Bank's John O'Neill.",
    "Target hired Cook from Apple in Mobile.",
    "Shares fell sharply after the bank reported lower quarterly profits and cut its dividend.",
    "The striker scored twice as Rovers won the cup final after extra time.",
)


@pytest.fixture(scope="module")
def base() -> Pipeline:
    """The bundle inside the package, in float32 on the CPU."""
    return nlpkit.load("base-en", "cpu", "fp32")


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = app_main(["export", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_pipeline_of_transformers_finds_the_same_entities(
    base: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ner"
    status, said, _ = command(capsys, "--format", "transformers", "--task", "ner", "-o", out)
    assert (status, "".join(said.split())) == (0, f"written:{out}")

    def entities(**options: Any) -> list[set[tuple[str, int, int]]]:
        tag = pipeline("token-classification", out, aggregation_strategy="first", **options)
        return [
            {(one["entity_group"], one["start"], one["end"]) for one in found}
            for found in tag(list(NEWS))
        ]

    # What follows what is nlpkit's alone; the page says so.
    alone = TokenHead(**{**base.head("ner").head.config(), "transitions": None})
    read = base.with_head("ner", alone).ner(NEWS)
    expected = [{(e.label, e.start, e.end) for e in found} for found in read]
    assert sum(map(len, expected)) >= 8
    assert entities() == expected
    assert entities(plain=True) != expected, "nothing is lost without word shapes"
    page = (out / "README.md").read_text("utf-8")
    terms = (out / "WEIGHTS-LICENSE").read_text("utf-8")
    assert "`transitions` in the bundle's `bundle.json`" in " ".join(page.split())
    assert "CoNLL-2003 | Reuters text under a NIST research agreement" in page
    assert terms.strip() in page


def test_the_pipeline_of_transformers_finds_the_same_classes(
    base: Pipeline, tmp_path: Path
) -> None:
    out = export("transformers", tmp_path / "topic", task="topic")
    classify = pipeline("text-classification", out, top_k=None)
    for got, expected in zip(classify(list(NEWS)), base.classify(NEWS, "topic"), strict=True):
        assert [one["label"] for one in got] == [label.name for label in expected]
        scores = [label.score for label in expected]
        np.testing.assert_allclose([one["score"] for one in got], scores, rtol=0, atol=1e-5)
    # The layer that transformers puts between costs no more than the comment in export.py says.
    got_logits = logits_of(load(out), model_inputs(out, NEWS))
    assert abs(got_logits - expected_logits(base, "topic", NEWS)).max() < 2e-5


def test_the_command_says_what_is_wrong(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    known = ("--bundle", tiny, "--output", out)
    assert command(capsys, "--format", "sentence-transformers", *known)[0] == 0
    for arguments, expected in (
        (("--format", "sentence-transformers", *known), "exists and is kept"),
        (("--format", "transformers", "--overwrite", *known), "no task was given"),
        (("--format", "onnx", *known), "unknown export format 'onnx'"),
        (("--format", "transformers", "--output", out), "exists and is kept"),
    ):
        status, said, error = command(capsys, *arguments)
        assert (status, said) == (2, "")
        assert expected in " ".join(error.split())
    assert command(capsys, "--format", "transformers")[0] == 2
    assert command(capsys, "--help")[0] == 0
