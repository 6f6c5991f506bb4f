"""Engines equal transformers on the same weights: the CPU engine, torch, and whole checkpoints."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import BertConfig, BertModel, PreTrainedModel

import nlpkit
from nlpkit.bundle import Bundle, read_bundle
from nlpkit.engines import Choice, Engine, PluggedHead, cgroup_quota, choose, cpu_limit
from nlpkit.engines import torch as torch_engine
from nlpkit.engines.onnx import OnnxEngine
from nlpkit.engines.torch import TorchEngine
from nlpkit.engines.unpadded import gpu_attention, within_rows
from nlpkit.errors import BundleError, InputError
from nlpkit.heads import Reading
from nlpkit.heads.base import Array, Floats, Parameters
from nlpkit.pipeline import Pipeline
from nlpkit.testing import check_head, tiny_bundle
from nlpkit.text import Batch, TextEncoder, Window, pad
from nlpkit.weights import (
    WORD_TABLE,
    dequantise,
    merge_adapter,
    quantise,
    trunk_of,
    with_branch,
)

TEXTS = (
    "Ada Lovelace lived in London, in 1843.",
    "Who?",
    "the old man of the city built engines " * 3,
    "na\u00efve caf\u00e9s: \u4e2d\u6587, \u65e5\u672c \U0001f389",
)
QUESTION = "Who lived in London?"


class HiddenHead:
    """Gives back the hidden states: a head is a window into the backbone."""

    kind: ClassVar[str] = "hidden"
    per_token: ClassVar[bool] = True
    labels: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        return {}

    def parameter_shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, hidden: Array, batch: Batch, parameters: Parameters) -> Array:
        return hidden

    def loss(self, logits: Array, targets: Array) -> Array:
        return (logits**2).mean()

    def decode(self, logits: Sequence[Floats], reading: Reading) -> Floats:
        return np.concatenate([np.zeros((0, reading.width), np.float32), *logits])


HIDDEN = {"hidden": PluggedHead(HiddenHead(), {})}


def batch_of(encoder: TextEncoder, texts: Sequence[str] = TEXTS) -> Batch:
    """Each text whole, and a pair, as one padded batch."""
    encoded = encoder.encode([QUESTION, *texts])
    rows = [encoder.row(e, Window(0, len(e), 0, len(e))) for e in encoded]
    rows.append(encoder.pair_row(encoded[0], encoded[1], Window(0, len(encoded[1]), 0, 0)))
    return pad(rows, encoder.pad_id)


def reference_hidden(model: PreTrainedModel, batch: Batch) -> NDArray[np.float32]:
    """transformers' last hidden states of the same batch."""
    inputs = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.types}
    with torch.inference_mode():
        output = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    hidden: NDArray[np.float32] = output.last_hidden_state.numpy()
    return hidden


def bert_model(weights: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> PreTrainedModel:
    model: PreTrainedModel = BertModel(BertConfig(**config), add_pooling_layer=False).eval()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return model


@pytest.fixture(scope="module", params=[False, True], ids=["float32", "int8"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle, in both ways to store weights."""
    return read_bundle(tiny_bundle(tmp_path_factory.mktemp("stored") / "tiny", int8=request.param))


# -- the same weights ------------------------------------------------------------------------


def test_both_engines_equal_transformers(bundle: Bundle) -> None:
    config = bundle.manifest.config
    plain = dequantise(bundle.weights)
    batch = batch_of(bundle.encoder)
    read = batch.mask == 1
    engines: list[Engine] = [
        OnnxEngine(bundle.graph, bundle.weights, config),
        TorchEngine.from_weights(plain, config, "cpu", "fp32"),
    ]
    probes = {name: replace(HIDDEN["hidden"], branch=name) for name in ("", "ner", "qa")}
    expected = {
        name: reference_hidden(bert_model(with_branch(plain, name), config), batch)
        for name in probes
    }
    assert np.abs(expected["ner"] - expected[""])[read].max() > 0.1
    for engine in engines:
        together = engine.run(batch, probes)
        for name, probe in probes.items():
            for found in (together[name], engine.run(batch, {"one": probe})["one"]):
                assert found.dtype == np.float32
                np.testing.assert_allclose(
                    found[read], expected[name][read], atol=1e-5, err_msg=f"{engine.name} {name}"
                )


def rows_apart(
    queries: Tensor, keys: Tensor, values: Tensor, begins: Tensor, longest: int
) -> Tensor:
    """Attention within rows as it is defined; what the GPU's kernel stands for."""
    made = []
    for first, last in pairwise(begins.tolist()):
        assert last - first <= longest
        row = [part[first:last].transpose(0, 1) for part in (queries, keys, values)]
        chances = (row[0] @ row[1].transpose(1, 2) / queries.shape[-1] ** 0.5).softmax(dim=-1)
        made.append((chances @ row[2]).transpose(0, 1))
    return torch.cat(made)


def test_rows_without_padding_equal_padded_ones(bundle: Bundle) -> None:
    config = bundle.manifest.config
    backbone = bert_model(trunk_of(dequantise(bundle.weights)), config)
    plain = TorchEngine.from_weights(dequantise(bundle.weights), config, "cpu", "fp32")
    engine = TorchEngine(plain.backbone, "cpu", "fp32", plain.branches, rows_apart)
    assert engine.packed
    assert not plain.packed
    batch = batch_of(bundle.encoder)
    assert (batch.mask == 0).any()
    probes = {name: replace(HIDDEN["hidden"], branch=name) for name in ("", "ner", "qa")}
    padded, unpadded = plain.run(batch, probes), engine.run(batch, probes)
    read = batch.mask == 1
    np.testing.assert_allclose(
        unpadded[""][read], reference_hidden(backbone, batch)[read], atol=1e-5
    )
    for name in probes:
        np.testing.assert_allclose(unpadded[name][read], padded[name][read], atol=1e-5)
        assert not unpadded[name][~read].any()
    for name, logits in plain.run(batch, bundle.heads).items():
        parts = read if bundle.heads[name].head.per_token else slice(None)
        found = engine.run(batch, bundle.heads)[name]
        np.testing.assert_allclose(found[parts], logits[parts], atol=2e-5, err_msg=name)


@pytest.mark.skipif(find_spec("torch.nn.attention.varlen") is None, reason="torch before 2.10")
def test_the_gpus_kernel_is_asked_as_it_wants() -> None:
    """Shapes and types alone: what it computes needs a GPU."""
    with FakeTensorMode():
        part = torch.empty(9, 12, 32, dtype=torch.bfloat16)
        begins = torch.zeros(4, dtype=torch.int32)
        mixed = within_rows(part, part, part, begins, 5)
    assert mixed.shape == (9, 12, 32)
    assert mixed.dtype == torch.bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_gpu_without_padding_is_near_fp32(bundle: Bundle, precision: str) -> None:
    config, plain = bundle.manifest.config, dequantise(bundle.weights)
    engine = TorchEngine.from_weights(plain, config, "cuda", precision)
    assert engine.packed
    batch = batch_of(bundle.encoder)
    exact = TorchEngine.from_weights(plain, config, "cpu", "fp32").run(batch, HIDDEN)["hidden"]
    found, read = engine.run(batch, HIDDEN)["hidden"], batch.mask == 1
    cosines = (found * exact).sum(-1) / np.linalg.norm(found, axis=-1).clip(1e-9)
    assert (cosines / np.linalg.norm(exact, axis=-1))[read].min() > 0.99


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "bf16"), ("cuda", "fp32"), ("mps", "fp16")]
)
def test_elsewhere_rows_are_padded(bundle: Bundle, device: str, precision: str) -> None:
    backbone = bert_model(trunk_of(dequantise(bundle.weights)), bundle.manifest.config)
    assert gpu_attention(backbone, device, precision) is None


def test_both_engines_agree_on_every_head(bundle: Bundle) -> None:
    config = bundle.manifest.config
    batch = batch_of(bundle.encoder)
    onnx = OnnxEngine(bundle.graph, bundle.weights, config).run(batch, bundle.heads)
    torch_ = TorchEngine.from_weights(dequantise(bundle.weights), config, "cpu", "fp32").run(
        batch, bundle.heads
    )
    assert onnx.keys() == torch_.keys() == bundle.heads.keys()
    for name in onnx:
        assert onnx[name].dtype == torch_[name].dtype == np.float32
        parts = (batch.mask == 1) if bundle.heads[name].head.per_token else slice(None)
        np.testing.assert_allclose(onnx[name][parts], torch_[name][parts], atol=2e-5, err_msg=name)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_full_device_reads_batches_in_parts(
    bundle: Bundle, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has room for so many rows; the results are those of the whole batch."""
    plain = dequantise(bundle.weights)
    engine = TorchEngine.from_weights(plain, bundle.manifest.config, "cpu", "fp32")
    batch = batch_of(bundle.encoder)
    assert len(batch.ids) > 2
    expected = engine.run(batch, bundle.heads)
    in_full, read = torch_engine.run_branches, []

    def cramped(backbone: Any, part: Any, *rest: Any) -> Any:
        if len(part.ids) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        read.append(len(part.ids))
        return in_full(backbone, part, *rest)

    monkeypatch.setattr(torch_engine, "run_branches", cramped)
    found = engine.run(batch, bundle.heads)
    assert max(read) == rows
    assert sum(read) == len(batch.ids)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


def test_a_device_without_room_for_a_row_or_the_model_is_an_error(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = dequantise(bundle.weights)
    engine = TorchEngine.from_weights(plain, bundle.manifest.config, "cpu", "fp32")

    def full(*arguments: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch_engine, "run_branches", full)
    with pytest.raises(InputError, match=r"no memory left for a row of \d+ tokens.*device='cpu'"):
        engine.run(batch_of(bundle.encoder), bundle.heads)
    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(InputError, match="no memory left for the model"):
        TorchEngine.from_weights(plain, bundle.manifest.config, "cpu", "fp32")


def test_hidden_states_do_not_depend_on_the_padding(bundle: Bundle) -> None:
    engine = OnnxEngine(bundle.graph, bundle.weights, bundle.manifest.config)
    batch = batch_of(bundle.encoder)
    together = engine.hidden(batch)[""]
    for i, n in enumerate(batch.mask.sum(axis=1)):
        fields = (batch.ids, batch.mask, batch.types, batch.shapes, batch.owned)
        alone = Batch(*(field[i : i + 1, :n] for field in fields))
        np.testing.assert_allclose(engine.hidden(alone)[""][0], together[i, :n], atol=1e-5)


def test_int8_storage_is_near_the_float_weights() -> None:
    rng = np.random.default_rng(0)
    name = "encoder.layer.0.output.dense.weight"
    weights = {name: rng.normal(size=(64, 96)).astype(np.float32), "x.bias": np.ones(3, np.float32)}
    stored = quantise(weights)
    assert stored[name].dtype == np.int8
    assert stored[f"{name}.scale"].shape == (64, 1)
    plain = dequantise(stored)
    assert plain.keys() == weights.keys()
    np.testing.assert_array_equal(plain["x.bias"], weights["x.bias"])
    worst = np.abs(plain[name] - weights[name]).max(axis=1)
    assert (worst <= np.abs(weights[name]).max(axis=1) * 0.25).all()
    error = np.sqrt(((plain[name] - weights[name]) ** 2).mean())
    assert error < 0.01 * weights[name].std()


def test_small_tables_stay_as_they_are() -> None:
    table = {WORD_TABLE: np.ones((10, 4), np.float32)}
    assert quantise(table)[WORD_TABLE].dtype == np.float32
    assert quantise(table, small=40)[WORD_TABLE].dtype == np.int8


# -- adapters --------------------------------------------------------------------------------


def adapter_of(
    weights: Mapping[str, NDArray[Any]], parts: Sequence[str], rank: int = 4
) -> dict[str, NDArray[np.float32]]:
    """Random low-rank updates of some matrices."""
    rng = np.random.default_rng(1)
    adapter = {}
    for name in (name for name in trunk_of(weights) if name.endswith(tuple(parts))):
        n_outputs, n_inputs = weights[name].shape
        adapter[f"{name}.lora_A"] = rng.normal(size=(rank, n_inputs)).astype(np.float32)
        adapter[f"{name}.lora_B"] = rng.normal(size=(n_outputs, rank)).astype(np.float32)
        adapter[f"{name}.scaling"] = np.array(0.1, np.float32)
    return adapter


def test_a_merged_adapter_is_w_plus_scaled_b_a(bundle: Bundle) -> None:
    name = "encoder.layer.1.attention.self.value.weight"
    adapter = adapter_of(dequantise(bundle.weights), [name])
    merged = dequantise(merge_adapter(bundle.weights, adapter))
    before = dequantise(bundle.weights)
    update = adapter[f"{name}.lora_B"] @ adapter[f"{name}.lora_A"] * np.float32(0.1)
    np.testing.assert_allclose(merged[name], before[name] + update, atol=1e-6)
    for other in before.keys() - {name}:
        np.testing.assert_array_equal(merged[other], before[other])


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for an old name
def test_a_merged_adapter_equals_that_of_peft(kit: Pipeline, tiny_folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    bundle = read_bundle(tiny_folder)
    parts = ("query", "value")
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=list(parts))
    plain = bert_model(trunk_of(bundle.weights), bundle.manifest.config)
    model: Any = get_peft_model(plain, lora)
    adapter: dict[str, NDArray[np.float32]] = {}
    for name, value in model.named_parameters():
        if ".lora_" in name:
            seeded = torch.Generator().manual_seed(len(adapter))
            torch.nn.init.normal_(value, std=0.2, generator=seeded)
            name = name.removeprefix("base_model.model.").removesuffix(".default.weight")
            prefix, _, which = name.rpartition(".")
            adapter[f"{prefix}.weight.{which}"] = value.detach().numpy().copy()
            adapter[f"{prefix}.weight.scaling"] = np.array(8 / 4, np.float32)
    batch = batch_of(kit.encoder)
    read = batch.mask == 1
    expected = reference_hidden(model.merge_and_unload(), batch)
    ours = OnnxEngine(bundle.graph, merge_adapter(bundle.weights, adapter), bundle.manifest.config)
    hidden = ours.hidden(batch)[""]
    np.testing.assert_allclose(hidden[read], expected[read], atol=1e-5)
    assert np.abs(hidden - kit.engine.run(batch, HIDDEN)["hidden"]).max() > 0.1


def test_an_adapter_for_another_backbone_is_refused(bundle: Bundle) -> None:
    adapter = {"encoder.layer.9.x.weight.lora_A": np.ones((1, 1), np.float32)}
    with pytest.raises(BundleError, match=r"changes 'encoder\.layer\.9\.x\.weight', which"):
        merge_adapter(bundle.weights, adapter)


# -- whole checkpoints -----------------------------------------------------------------------

SAMPLE = [*TEXTS, QUESTION, string.printable, "engine engines engineer cities London"]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.3,
}


def wordpiece(*, lowercase: bool, chinese: bool = False) -> Tokenizer:
    """BERT's tokenizer over a vocabulary of characters and a few words."""
    text = "".join(SAMPLE) if chinese else "".join(c for t in SAMPLE for c in t if ord(c) < 0x2000)
    characters = sorted({c for c in text + text.lower() if not c.isspace()})
    words = ["lived", "london" if lowercase else "London", "the", "##s", "##ing"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = dict.fromkeys([*special, *characters, *(f"##{c}" for c in characters), *words])
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, handle_chinese_chars=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    return with_template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")


def byte_level() -> Tokenizer:
    """RoBERTa's byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SAMPLE, trainer)
    return with_template(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>")


def sentencepiece() -> Tokenizer:
    """XLM-R's unigram pieces, white space written as a character of its own."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(" {2,}", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(SAMPLE, trainer)
    return with_template(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>")


def with_template(tokenizer: Tokenizer, single: str, pair: str) -> Tokenizer:
    used = {part.partition(":")[0] for part in pair.split() if not part.startswith("$")}
    tokenizer.post_processor = TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in sorted(used)],
    )
    return tokenizer


#: A family's classes and config, and its tokenizer.
FAMILIES: dict[str, tuple[str, Callable[[], Tokenizer], dict[str, Any]]] = {
    "uncased": ("Bert", lambda: wordpiece(lowercase=True), SIZES),
    "cased": ("Bert", lambda: wordpiece(lowercase=False), SIZES),
    "chinese": ("Bert", lambda: wordpiece(lowercase=True, chinese=True), SIZES),
    "roberta": ("Roberta", byte_level, SIZES | {"type_vocab_size": 1, "pad_token_id": 1}),
    "xlm-roberta": ("XLMRoberta", sentencepiece, SIZES | {"type_vocab_size": 1, "pad_token_id": 1}),
    "distilbert": (
        "DistilBert",
        lambda: wordpiece(lowercase=True),
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "initializer_range": 0.3},
    ),
}
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, PreTrainedModel]]:
    """Makes tiny random checkpoints of a family on disk, by architecture."""
    prefix, make_tokenizer, config = FAMILIES[request.param]
    tokenizer = make_tokenizer()
    folder = tmp_path_factory.mktemp(request.param)

    def make(architecture: str, **more: Any) -> tuple[Path, PreTrainedModel]:
        torch.manual_seed(0)
        made = getattr(transformers, f"{prefix}Config")(
            vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=160, **config, **more
        )
        model: PreTrainedModel = getattr(transformers, f"{prefix}{architecture}")(made).eval()
        path = folder / architecture
        model.save_pretrained(path)
        tokenizer.save(str(path / "tokenizer.json"))
        return path, model

    return make


def named(labels: Sequence[str]) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def reference_inputs(path: Path, text: str, pair: str | None = None) -> dict[str, torch.Tensor]:
    """A text or pair as its own tokenizer and model see it."""
    encoding = Tokenizer.from_file(str(path / "tokenizer.json")).encode(text, pair)
    inputs = {"input_ids": torch.tensor([encoding.ids])}
    if '"type_vocab_size": 2' in (path / "config.json").read_text():
        inputs["token_type_ids"] = torch.tensor([encoding.type_ids])
    return inputs


def compare(kit: Pipeline, path: Path, batch: Batch, model: PreTrainedModel, **logits: str) -> None:
    """Every row of a padded batch: ids, types and logits equal those of the row alone."""
    heads = {name: kit.head(name) for name in logits} or HIDDEN
    found = kit.engine.run(batch, heads)
    parts = [[QUESTION], *([text] for text in TEXTS), [QUESTION, TEXTS[0]]]
    for i, texts in enumerate(parts):
        inputs = reference_inputs(path, *texts)
        n = inputs["input_ids"].shape[1]
        assert batch.ids[i, :n].tolist() == inputs["input_ids"][0].tolist()
        assert batch.mask[i].tolist() == [1] * n + [0] * (len(batch.mask[i]) - n)
        if "token_type_ids" in inputs:
            assert batch.types[i, :n].tolist() == inputs["token_type_ids"][0].tolist()
        with torch.inference_mode():
            output = model(**inputs)
        for name in heads:
            got = found[name][i, :n] if heads[name].head.per_token else found[name][i]
            for j, field in enumerate(logits.get(name, "last_hidden_state").split()):
                expected = output[field][0].numpy()
                one = got[:, j] if expected.ndim < got.ndim else got
                np.testing.assert_allclose(one, expected, atol=1e-5)


def test_a_bare_encoder(family: Callable[..., tuple[Path, PreTrainedModel]]) -> None:
    path, model = family("Model")
    kit = nlpkit.load(str(path), device="cpu")
    assert kit.tasks == {"embedding": "pooling"}
    compare(kit, path, batch_of(kit.encoder), model)
    with torch.inference_mode():
        hidden = model(**reference_inputs(path, TEXTS[0])).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(kit.embed(TEXTS[0]), hidden / np.linalg.norm(hidden), atol=1e-5)


def test_token_classification(family: Callable[..., tuple[Path, PreTrainedModel]]) -> None:
    path, model = family("ForTokenClassification", **named(LABELS))
    kit = nlpkit.load(str(path), device="cpu")
    compare(kit, path, batch_of(kit.encoder), model, ner="logits")
    text = " \n Ada Lovelace\r\n\t lived in\n\nLondon \u4e2d\u6587 \U0001f389 \n"
    for entity in kit.ner([text])[0]:
        assert entity.text == text[entity.start : entity.end] == entity.text.strip() != ""


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_sequence_classification(
    family: Callable[..., tuple[Path, PreTrainedModel]], problem: str
) -> None:
    labels = ["NEGATIVE", "POSITIVE"]
    path, model = family("ForSequenceClassification", problem_type=problem, **named(labels))
    kit = nlpkit.load(str(path), device="cpu")
    compare(kit, path, batch_of(kit.encoder), model, sentiment="logits")
    with torch.inference_mode():
        logits = model(**reference_inputs(path, TEXTS[0])).logits[0]
    expected = logits.sigmoid() if problem.startswith("multi") else logits.softmax(-1)
    found = {label.name: label.score for label in kit.classify(TEXTS[0])}
    assert found == pytest.approx(dict(zip(labels, expected.tolist(), strict=True)), abs=1e-5)


def test_question_answering(family: Callable[..., tuple[Path, PreTrainedModel]]) -> None:
    path, model = family("ForQuestionAnswering")
    kit = nlpkit.load(str(path), device="cpu")
    compare(kit, path, batch_of(kit.encoder), model, qa="start_logits end_logits")
    context = " \r\n".join(TEXTS) * 3
    for answer in kit.answer(QUESTION, context, no_answer=False, n_best=5):
        assert answer.text == context[answer.start : answer.end] == answer.text.strip() != ""


def test_checkpoints_whose_layout_is_not_known_are_refused(tmp_path: Path) -> None:
    config = transformers.ElectraConfig(vocab_size=200, embedding_size=32, **SIZES)
    transformers.ElectraForSequenceClassification(config).save_pretrained(tmp_path)
    wordpiece(lowercase=True).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BundleError, match="classifiers of electra checkpoints are not known"):
        nlpkit.load(str(tmp_path), device="cpu")


def test_a_checkpoint_without_safetensors_is_refused(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=200, **SIZES)
    config.save_pretrained(tmp_path)
    torch.save(BertModel(config).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        nlpkit.load(str(tmp_path), device="cpu")


# -- which engine ----------------------------------------------------------------------------


def test_the_cpu_engine_is_chosen_where_there_is_no_gpu() -> None:
    choice = choose("cpu", "fp32")
    assert (choice.engine, choice.device, choice.precision) == ("openvino", "cpu", "fp32")
    assert choice.reason == "device='cpu' was asked for"
    assert choose("cpu", "fp16").engine == "torch"
    assert choose("cpu", "auto", ()) == Choice("torch", "cpu", "fp32", choice.reason)
    assert cpu_limit() >= 1


@pytest.mark.parametrize(
    ("files", "own", "quota"),
    [
        ({}, "0::/\n", None),
        ({"cpu.max": "max 100000"}, "0::/\n", None),
        ({"cpu.max": "150000 100000"}, "0::/elsewhere\n", 1.5),
        ({"cpu.max": "150000 100000"}, None, 1.5),
        ({"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b\n", 0.5),
        ({"a/cpu.max": "50000 100000"}, "0::/b\n", None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/\n", 2.0),
        ({"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "9"}, "1:cpu:/a\n", None),
        (
            {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"},
            "4:memory:/c\n3:cpu,cpuacct:/a\nbroken\n",
            0.5,
        ),
        ({"cpu.max": "much"}, "0::/\n", None),
    ],
)
def test_quotas_of_control_groups(
    files: dict[str, str], own: str | None, quota: float | None, tmp_path: Path
) -> None:
    mount, mine = tmp_path / "mount", tmp_path / "cgroup"
    for name, content in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(content + "\n")
    if own is not None:
        mine.write_text(own)
    assert cgroup_quota(mount, mine) == quota


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("tpu", "auto", "device is 'tpu'; expected one of auto, cpu, cuda, mps"),
        ("cuda:x", "auto", "device is 'cuda:x'"),
        ("cpu", "int3", "precision is 'int3'; expected one of auto, fp32"),
    ],
)
def test_an_unknown_device_or_precision_is_refused(
    tiny_folder: Path, device: str, precision: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        nlpkit.load(str(tiny_folder), device, precision)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match="'cuda'"):
        nlpkit.load(str(tiny_folder), device="cuda")


def test_low_precision_stays_near(tiny_folder: Path, kit: Pipeline) -> None:
    low = nlpkit.load(str(tiny_folder), device="cpu", precision="bf16")
    cosines = (low.embed(list(TEXTS)) * kit.embed(list(TEXTS))).sum(axis=1)
    assert cosines.min() > 0.995


def test_the_head_of_these_tests_keeps_the_contract() -> None:
    check_head(HiddenHead())
