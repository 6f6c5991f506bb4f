"""The pipeline's promises, on any text: offsets, nothing cut, nothing mixed, clear refusals."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny import assert_same, texts

import nlpkit
from nlpkit.bundle import read_bundle, write_pack
from nlpkit.engines import Engine, PluggedHead
from nlpkit.errors import (
    BundleError,
    InputError,
    InputTypeError,
    UnknownNameError,
    UnknownTextWarning,
)
from nlpkit.heads import SequenceHead, TokenHead
from nlpkit.loading import default_pipeline
from nlpkit.pipeline import CHUNK_TEXTS, Pipeline
from nlpkit.search import semantic_search
from nlpkit.testing import tiny_bundle
from nlpkit.types import Analysis, Answer, Entity, Label, Results

any_text = pytest.mark.filterwarnings("ignore::nlpkit.errors.UnknownTextWarning")

FILLER = "the old man of the city lived in the river town "
QUESTION = "who lived there?"
NOTHING: Any = None


# -- the five answers by example -------------------------------------------------------------


def test_the_five_answers(kit: Pipeline) -> None:
    """In the tiny bundle Capitalised words are PER and UPPER-case words LOC."""
    text = "Ada Lovelace lived in LONDON."
    assert [(e.text, e.label, e.start, e.end) for e in kit.ner(text)] == [
        ("Ada Lovelace", "PER", 0, 12),
        ("LONDON", "LOC", 22, 28),
    ]
    sentiment = kit.classify(text)
    assert {label.name for label in sentiment} == {"negative", "neutral", "positive"}
    assert sum(label.score for label in sentiment) == pytest.approx(1)
    assert sentiment == sorted(sentiment, key=lambda label: -label.score)
    answer = kit.answer(QUESTION, text, no_answer=False)
    assert answer.text == text[answer.start : answer.end]
    vector = kit.embed(text)
    assert (vector.dtype, vector.shape) == (np.float32, (32,))
    assert np.linalg.norm(vector) == pytest.approx(1)


def test_analyze_says_the_same_in_one_pass(tiny_folder: Path) -> None:
    kit = nlpkit.load(str(tiny_folder), device="cpu")
    counting = CountingEngine(kit.engine)
    kit.engine = counting
    text = "Ada Lovelace lived in LONDON."
    analysis = kit.analyze(text)
    assert counting.passes == 1
    labels = {"sentiment": kit.classify(text), "topic": kit.classify(text, task="topic")}
    assert_same(analysis, Analysis(list(kit.ner(text)), as_lists(labels), kit.embed(text)))


class CountingEngine:
    """An engine that counts the backbone's passes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name, self.device = engine.name, engine.device
        self.precision, self.width = engine.precision, engine.width
        self.packed = engine.packed
        self.passes = 0

    def run(self, batch: Any, heads: Mapping[str, PluggedHead]) -> dict[str, NDArray[np.float32]]:
        self.passes += 1
        return self.engine.run(batch, heads)


def as_lists(labels: Mapping[str, Sequence[Label]]) -> dict[str, list[Label]]:
    return {name: list(found) for name, found in labels.items()}


def test_zero_shot_compares_the_labels_embeddings(kit: Pipeline) -> None:
    text, names = "the old man", ["river", "phone", "city"]
    found = kit.classify(text, labels=names, template="{} news")
    cosines = kit.embed([f"{name} news" for name in names]) @ kit.embed(text)
    weights = np.exp(20 * cosines) / np.exp(20 * cosines).sum()
    expected = dict(zip(names, weights.tolist(), strict=True))
    assert {label.name: label.score for label in found} == pytest.approx(expected, abs=1e-5)
    assert [label.name for label in found] == sorted(names, key=lambda name: -expected[name])


def test_zero_shot_labels_are_the_mean_of_three_phrases(kit: Pipeline) -> None:
    text, names = "the old man", ["river", "phone", "city"]
    found = {label.name: label.score for label in kit.classify(text, labels=names)}
    ways = ("{}.", "topic: {}", "This text is about {}.")
    means = sum(kit.embed([way.format(name) for name in names]) for way in ways)
    cosines = means @ kit.embed(text) / np.linalg.norm(means, axis=1)
    weights = np.exp(20 * cosines) / np.exp(20 * cosines).sum()
    assert [found[name] for name in names] == pytest.approx(weights.tolist(), abs=1e-5)


def test_semantic_search_is_exact_cosine(kit: Pipeline) -> None:
    documents = ["the old man", "a great phone", "the river town", "poor battery", "London"]
    hits = semantic_search(kit, "who built the city?", documents, k=3)
    cosines = kit.embed(documents) @ kit.embed("who built the city?")
    best = np.argsort(-cosines)[:3]
    assert [hit.document.text for hit in hits] == [documents[i] for i in best]
    assert [hit.score for hit in hits] == pytest.approx(cosines[best].tolist(), abs=1e-5)
    assert semantic_search(kit, ["x", "y"], []) == [[], []]


# -- offsets ---------------------------------------------------------------------------------


@any_text
@given(text=texts())
def test_entities_quote_the_callers_own_text(kit: Pipeline, text: str) -> None:
    entities = kit.ner(text)
    for entity in entities:
        assert text[entity.start : entity.end] == entity.text == entity.text.strip() != ""
        assert 0 <= entity.score <= 1
    bounds = [at for entity in entities for at in (entity.start, entity.end)]
    assert bounds == sorted(bounds)


@any_text
@given(text=texts(), n_best=st.integers(1, 4), length=st.integers(1, 9), no_answer=st.booleans())
def test_answers_quote_the_context(
    kit: Pipeline, text: str, n_best: int, length: int, no_answer: bool
) -> None:
    options: dict[str, Any] = {"max_answer_length": length, "no_answer": no_answer}
    found = kit.answer([(QUESTION, text)], n_best=n_best, **options)[0]
    answers = found if n_best > 1 else [found]
    assert 1 <= len(answers) <= n_best
    for answer in answers:
        assert 0 <= answer.score <= 1
        if answer:
            assert text[answer.start : answer.end] == answer.text
            assert answer.text.strip()
        else:
            assert (answer.text, answer.start, answer.end) == (None, None, None)
            assert no_answer or not kit.embed(text).any()
    assert_same(kit.answer(QUESTION, text, **options), answers[0])


# -- no silent truncation --------------------------------------------------------------------


@given(n_before=st.integers(0, 120), n_after=st.integers(0, 60))
@settings(max_examples=25)
def test_an_entity_is_found_wherever_it_stands(kit: Pipeline, n_before: int, n_after: int) -> None:
    before = FILLER * n_before
    text = before + "Ada Lovelace " + FILLER * n_after
    found = kit.ner(text)
    assert [(e.text, e.label, e.start) for e in found] == [("Ada Lovelace", "PER", len(before))]
    assert (found.n_windows > 1) == (n_before + n_after > 2)


@given(data=st.data())
@settings(max_examples=25)
def test_every_character_of_a_long_text_counts(kit: Pipeline, data: st.DataObject) -> None:
    text = FILLER * 30
    at = data.draw(st.integers(0, len(text.rstrip()) - 1))
    changed = text[:at] + "q" + text[at + 1 :]
    assert np.abs(kit.embed(changed) - kit.embed(text)).max() > 1e-5
    before, after = kit.classify(text, "topic"), kit.classify(changed, "topic")
    assert {label.score for label in before}.isdisjoint(label.score for label in after)
    assert kit.answer(QUESTION, changed).score != kit.answer(QUESTION, text).score


def test_a_document_of_a_megabyte_is_read_to_its_end(kit: Pipeline) -> None:
    text = "x" * 150 + " " + " ".join("x" * 150 for _ in range(7000)) + " Ada"
    assert len(text) > 1_000_000
    with pytest.warns(UnknownTextWarning):
        found = kit.ner(text)
    assert [(e.text, e.start) for e in found] == [("Ada", len(text) - 3)]
    assert found.n_windows > 200


# -- independence of company -----------------------------------------------------------------


@any_text
@given(batch=st.lists(texts(8), max_size=8), budget=st.sampled_from([1, 100, 5000]), data=st.data())
def test_a_texts_result_does_not_depend_on_its_company(
    kit: Pipeline, tiny_folder: Path, batch: list[str], budget: int, data: st.DataObject
) -> None:
    """Not on the batch, its size nor its order."""
    alone = [kit.analyze(text) for text in batch]
    order = data.draw(st.permutations(range(len(batch))))
    other = Pipeline(
        kit.encoder,
        kit.engine,
        {name: kit.head(name) for name in kit.tasks},
        sizes=kit.sizes,
        token_budget=budget,
    )
    together = other.analyze([batch[i] for i in order])
    for i, analysis in zip(order, together, strict=True):
        assert_same(analysis, alone[i])
    pairs = [(QUESTION, batch[i]) for i in order]
    for i, answer in zip(order, other.answer(pairs, no_answer=False), strict=True):
        assert_same(answer, kit.answer(QUESTION, batch[i], no_answer=False))


def test_sixteen_threads_at_once_say_what_one_says(kit: Pipeline) -> None:
    documents = [FILLER * (i % 7) + f"Ada lived in LONDON {i} times" for i in range(24)]
    jobs: list[Callable[[], Any]] = []
    for i, text in enumerate(documents):
        jobs += [
            lambda text=text: kit.analyze(text),  # type: ignore[misc]
            lambda text=text: kit.answer(QUESTION, text, no_answer=False),  # type: ignore[misc]
            lambda i=i: kit.ner(documents[i : i + 5]),  # type: ignore[misc]
        ]
    expected = [job() for job in jobs]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda job: job(), jobs * 3))
    for result, one in zip(found, expected * 3, strict=True):
        assert_same(result, one)


def test_threads_may_add_and_remove_tasks_meanwhile(own_kit: Pipeline, intent_pack: Path) -> None:
    def work(i: int) -> None:
        if i % 4 == 0:
            own_kit.add(intent_pack)
            own_kit.remove("intent")
        else:
            assert len(own_kit.ner("Ada lived in LONDON")) == 2

    with ThreadPoolExecutor(8) as threads:
        outcomes = [threads.submit(work, i) for i in range(200)]
    # Two threads may both add the task: the later is told so.
    clashes = (InputError, UnknownNameError)
    errors = [outcome.exception() for outcome in outcomes]
    assert all(error is None or isinstance(error, clashes) for error in errors)


# -- shapes in, shapes out -------------------------------------------------------------------

CALLS: dict[str, Callable[[Pipeline, Any], Any]] = {
    "ner": lambda kit, x: kit.ner(x),
    "classify": lambda kit, x: kit.classify(x),
    "zero-shot": lambda kit, x: kit.classify(x, labels=["old", "new"]),
    "embed": lambda kit, x: kit.embed(x),
    "analyze": lambda kit, x: kit.analyze(x),
    "apply": lambda kit, x: kit.apply(x, "ner"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_a_text_gives_a_result_a_list_a_list_another_iterable_an_iterator(
    kit: Pipeline, call: Callable[[Pipeline, Any], Any]
) -> None:
    given = ["Ada lived in LONDON", "the old man", ""]
    single = [call(kit, text) for text in given]
    assert_same(list(call(kit, given)), single)
    assert_same(list(call(kit, tuple(given))), single)
    stream = call(kit, iter(given))
    assert isinstance(stream, Iterator)
    assert_same(list(stream), single)
    assert len(call(kit, [])) == 0
    assert list(call(kit, iter([]))) == []


def test_pairs_come_in_the_same_shapes(kit: Pipeline) -> None:
    pairs = [(QUESTION, "Ada lived there"), ("when?", "in 1843"), (QUESTION, "")]
    single = [kit.answer(*pair) for pair in pairs]
    assert_same(kit.answer(pairs), single)
    assert_same(kit.answer(tuple(pairs)), single)
    stream = kit.answer(iter(pairs))
    assert isinstance(stream, Iterator)
    assert_same(list(stream), single)
    assert all(isinstance(found, list) for found in kit.answer(pairs, n_best=2))


def test_a_list_of_embeddings_is_a_matrix(kit: Pipeline) -> None:
    assert kit.embed(["a", "b", "c"]).shape == (3, 32)
    assert kit.embed([]).shape == (0, 32)
    assert kit.embed(["", " \n"]).tolist() == [[0.0] * 32] * 2


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_a_stream_is_read_as_it_is_used(
    kit: Pipeline, call: Callable[[Pipeline, Any], Any]
) -> None:
    """From an endless iterator: nothing before the first result is asked for, then a chunk."""
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"Ada {taken}"

    stream = call(kit, endless())
    assert taken == 0
    assert len(list(itertools.islice(stream, 3))) == 3
    assert 0 < taken <= CHUNK_TEXTS + 1


def test_a_stream_of_long_texts_is_read_a_few_at_a_time(kit: Pipeline) -> None:
    long = "x" * 100_000
    taken: list[int] = []
    stream = kit.ner(taken.append(i) or long for i in range(100))  # type: ignore[func-returns-value]
    with pytest.warns(UnknownTextWarning):
        next(stream)
    assert len(taken) <= 3


# -- what a result says about itself ---------------------------------------------------------


def test_text_unknown_to_the_vocabulary_carries_a_warning(kit: Pipeline) -> None:
    chinese, english = "\u4e2d\u6587\u5f88\u96be", "the old man"
    with pytest.warns(UnknownTextWarning, match="100% of a text's characters are unknown"):
        results = kit.ner([english, chinese])
    assert isinstance(results[0], Results)
    assert results[0].warnings == ()
    (warning,) = results[1].warnings
    with pytest.warns(UnknownTextWarning):
        assert kit.analyze(chinese).warnings == (warning,)
    with pytest.warns(UnknownTextWarning):
        assert kit.classify(chinese, labels=["a", "b"]).warnings == (warning,)
    with pytest.warns(UnknownTextWarning):
        assert kit.answer(QUESTION, chinese).warnings == (warning,)
    assert kit.answer(QUESTION, english).warnings == ()


def test_a_few_unknown_characters_are_no_reason_to_warn(kit: Pipeline) -> None:
    assert kit.ner("the word for writing is \u4e2d\u6587").warnings == ()


# -- input that will not do ------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize("bad", [None, b"bytes", bytearray(b"x"), 7, 1.5, {"text": "x"}])
def test_what_is_no_text_is_a_type_error_that_names_it(
    kit: Pipeline, call: Callable[[Pipeline, Any], Any], bad: Any
) -> None:
    with pytest.raises(InputTypeError, match="text must be a string, a list of strings or an"):
        call(kit, bad)
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, got"):
        call(kit, ["good", bad])


@pytest.mark.parametrize("bad", [None, b"bytes", 7, 1.5, {"a": "b"}])
def test_pairs_that_are_none_are_type_errors_that_name_them(kit: Pipeline, bad: Any) -> None:
    with pytest.raises(InputTypeError, match="question must be"):
        kit.answer(bad)
    with pytest.raises(InputTypeError, match="context must be a string"):
        kit.answer("who?", bad)
    with pytest.raises(InputTypeError, match=r"pairs\[1\] must be a pair"):
        kit.answer([("who?", "Ada"), bad])
    with pytest.raises(InputTypeError, match=r"pairs\[0\] must be a pair of strings"):
        kit.answer([("who?", bad)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda kit: kit.answer("who?", "Ada", n_best=0), InputError, "n_best is 0"),
        (lambda kit: kit.answer("who?", "Ada", n_best=True), InputTypeError, "n_best must be"),
        (lambda kit: kit.answer("?", "Ada", max_answer_length=-1), InputError, "max_answer_length"),
        (lambda kit: kit.answer("?", "Ada", no_answer="no"), InputTypeError, "no_answer must be"),
        (lambda kit: kit.answer(["who?"], "Ada"), InputTypeError, "question must be a string when"),
        (lambda kit: kit.answer(["who?"]), InputTypeError, r"pairs\[0\] must be a pair"),
        (lambda kit: kit.answer("a " * 200, "Ada"), InputError, "question 0 has 200 tokens"),
        (lambda kit: kit.classify("x", labels=[]), InputTypeError, "labels must be a list"),
        (lambda kit: kit.classify("x", labels="ab"), InputTypeError, "labels must be a list"),
        (lambda kit: kit.classify("x", labels=[1]), InputTypeError, "labels must be a list"),
        (lambda kit: kit.classify("x", labels=["a", "a"]), InputError, "the same name twice"),
        (lambda kit: kit.classify("x", labels=["a"], template="x"), InputError, "template is 'x'"),
        (lambda kit: kit.classify("x", "topic", labels=["a"]), InputError, "both task and labels"),
        (lambda kit: kit.classify("x", task=3), InputTypeError, "task must be a string"),
        (lambda kit: kit.analyze("x", tasks="ner"), InputTypeError, "tasks must be a list"),
        (lambda kit: kit.analyze("x", tasks=["qa"]), InputError, "'qa' answers questions"),
        (lambda kit: semantic_search(kit, "x", "abc"), InputTypeError, "texts must be a list"),
        (lambda kit: semantic_search(kit, NOTHING, ["a"]), InputTypeError, "queries must be"),
        (lambda kit: semantic_search(kit, "x", ["a"], k=0), InputError, "k is 0"),
        (lambda kit: nlpkit.load(NOTHING), InputTypeError, "name must be"),
    ],
)
def test_what_cannot_be_is_refused(
    kit: Pipeline, call: Callable[[Pipeline], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(kit)


@pytest.mark.parametrize("task", ["sentimental", ""])
def test_an_unknown_task_lists_the_known_ones(kit: Pipeline, task: str) -> None:
    known = "known: embedding, ner, qa, sentiment, topic"
    with pytest.raises(UnknownNameError, match=f"unknown task '{task}'; {known}"):
        kit.classify("x", task=task)
    with pytest.raises(UnknownNameError, match=known):
        kit.analyze("x", tasks=[task])
    with pytest.raises(UnknownNameError, match=known):
        kit.apply("x", task)


def test_a_task_of_another_kind_lists_those_of_this_kind(kit: Pipeline) -> None:
    with pytest.raises(UnknownNameError, match=r"known: sentiment, topic\. 'ner' is a token-class"):
        kit.classify("x", task="ner")
    with pytest.raises(
        UnknownNameError, match=r"known: ner\. 'topic' is a sequence-classification"
    ):
        kit.ner("x", task="topic")


def test_a_wrong_name_is_unknown_even_where_one_head_would_do(kit: Pipeline) -> None:
    single = Pipeline(kit.encoder, kit.engine, {"mood": kit.head("sentiment")}, sizes=kit.sizes)
    assert_same(single.classify("good"), kit.classify("good"))
    with pytest.raises(UnknownNameError, match="known: mood"):
        single.classify("good", task="modd")


@pytest.mark.parametrize("text", ["", " ", "\r\n\t", "\u3000", "\x00", "\u200b"])
def test_nothing_to_read_gives_an_empty_result(kit: Pipeline, text: str) -> None:
    assert kit.ner(text) == kit.classify(text) == kit.classify(text, labels=["a", "b"]) == []
    assert not kit.embed(text).any()
    assert kit.answer(QUESTION, text, no_answer=False) == Answer(None, None, None, 1.0)
    assert kit.answer(text, "Ada lived", no_answer=False) == Answer(None, None, None, 1.0)


def test_a_hundred_thousand_empty_strings(kit: Pipeline) -> None:
    assert kit.ner([""] * 100_000) == [[]] * 100_000


def test_ten_megabytes_without_a_space(kit: Pipeline) -> None:
    with pytest.warns(UnknownTextWarning):
        assert kit.ner("x" * 10_000_000) == []


@pytest.mark.parametrize("text", ["\ud800 Ada \udfff", "Ada\x00", "\x00\x00Ada \ufffe"])
def test_characters_that_are_none(kit: Pipeline, text: str) -> None:
    (entity,) = kit.ner(text)
    assert (entity.text, entity.start) == ("Ada", text.index("Ada"))


# -- task packs ------------------------------------------------------------------------------


def plugged(head: Any, seed: int = 7, width: int = 32) -> PluggedHead:
    rng = np.random.default_rng(seed)
    shapes = head.parameter_shapes(width).items()
    return PluggedHead(head, {name: rng.normal(size=s).astype(np.float32) for name, s in shapes})


INTENT = SequenceHead(["refund", "delivery", "praise"])


@pytest.fixture(scope="session")
def intent_pack(kit: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack that somebody trained on the tiny backbone."""
    return write_pack(
        tmp_path_factory.mktemp("packs") / "intent",
        "intent",
        backbone=kit.name,
        backbone_sha256=kit.backbone_sha256,
        heads={"intent": plugged(INTENT)},
    )


def test_a_pack_runs_in_the_common_pass_and_says_what_it_says_alone(
    own_kit: Pipeline, intent_pack: Path
) -> None:
    given = ["Ada lived in LONDON", FILLER * 9, ""]
    alone = Pipeline(
        own_kit.encoder, own_kit.engine, {"intent": plugged(INTENT)}, sizes=own_kit.sizes
    )
    before = own_kit.analyze(given)
    assert own_kit.add(intent_pack) == ("intent",)
    assert_same(own_kit.classify(given, task="intent"), alone.classify(given, task="intent"))
    counting = CountingEngine(own_kit.engine)
    own_kit.engine = counting
    after = own_kit.analyze(given[0])
    assert counting.passes == 1
    assert_same(after.labels.pop("intent"), list(alone.classify(given[0], task="intent")))
    assert_same(after, before[0])


def test_a_removed_task_is_unknown_again(own_kit: Pipeline, intent_pack: Path) -> None:
    own_kit.add(intent_pack)
    with pytest.raises(InputError, match="task 'intent' is already there; remove"):
        own_kit.add(intent_pack)
    own_kit.remove("intent")
    with pytest.raises(UnknownNameError, match="unknown task 'intent'"):
        own_kit.classify("x", task="intent")
    with pytest.raises(UnknownNameError, match="unknown task 'intent'"):
        own_kit.remove("intent")
    own_kit.add(intent_pack)


def test_a_pack_for_another_backbone_is_refused(intent_pack: Path, tmp_path: Path) -> None:
    other = nlpkit.load(str(tiny_bundle(tmp_path / "other", seed=1)), device="cpu")
    with pytest.raises(BundleError, match=r"was trained for backbone tiny-1 .*, not for tiny-1"):
        other.add(intent_pack)
    assert "intent" not in other.tasks


def test_a_pack_with_an_adapter_equals_the_merged_model(
    own_kit: Pipeline, tiny_folder: Path, tmp_path: Path
) -> None:
    from nlpkit.engines.onnx import OnnxEngine
    from nlpkit.weights import merge_adapter

    rng = np.random.default_rng(3)
    name = "encoder.layer.0.attention.self.query.weight"
    adapter = {
        f"{name}.lora_A": rng.normal(size=(2, 32)).astype(np.float32),
        f"{name}.lora_B": rng.normal(size=(32, 2)).astype(np.float32),
        f"{name}.scaling": np.array(0.5, np.float32),
    }
    pack = write_pack(
        tmp_path / "mood",
        "mood",
        backbone=own_kit.name,
        backbone_sha256=own_kit.backbone_sha256,
        heads={"mood": plugged(INTENT)},
        adapter=adapter,
    )
    bundle = read_bundle(tiny_folder)
    merged = Pipeline(
        own_kit.encoder,
        OnnxEngine(bundle.graph, merge_adapter(bundle.weights, adapter), bundle.manifest.config),
        {"mood": plugged(INTENT)},
        sizes=own_kit.sizes,
    )
    text = "Ada lived in LONDON"
    before = own_kit.analyze(text)
    own_kit.add(pack)
    after = own_kit.analyze(text)
    expected = list(merged.classify(text, task="mood"))
    assert_same(after.labels.pop("mood"), expected)
    assert_same(after, before)
    # What is under way ends as it began, though the task is removed meanwhile.
    stream = own_kit.classify(itertools.repeat(text, CHUNK_TEXTS + 1), task="mood")
    assert_same(list(next(stream)), expected)
    own_kit.remove("mood")
    assert_same(list(list(stream)[-1]), expected)


def test_a_second_entity_task_has_a_name_of_its_own(own_kit: Pipeline, tmp_path: Path) -> None:
    drugs = plugged(TokenHead(["O", "B-DRUG", "I-DRUG"]))
    drugs = replace(
        drugs, parameters={**drugs.parameters, "bias": np.array([-99, 99, 0], np.float32)}
    )
    pack = write_pack(
        tmp_path / "drugs",
        "drugs",
        backbone=own_kit.name,
        backbone_sha256=own_kit.backbone_sha256,
        heads={"drugs": drugs},
    )
    own_kit.add(pack)
    assert [e.label for e in own_kit.ner("Ada lived", task="drugs")] == ["DRUG", "DRUG"]
    assert [e.label for e in own_kit.ner("Ada lived")] == ["PER"]
    # analyze shows those of "ner", also where it finds none.
    assert own_kit.analyze("the man").entities == []


# -- the module's own functions --------------------------------------------------------------


def test_the_functions_of_the_module_use_one_shared_pipeline() -> None:
    text = "Ada Lovelace lived in London."
    kit = default_pipeline()
    assert kit is default_pipeline()
    assert nlpkit.ner(text) == kit.ner(text)
    assert nlpkit.classify(text) == kit.classify(text)
    assert nlpkit.answer("Who lived?", text) == kit.answer("Who lived?", text)
    np.testing.assert_array_equal(nlpkit.embed(text), kit.embed(text))
    assert_same(nlpkit.analyze(text), kit.analyze(text))
    assert nlpkit.semantic_search("Who?", [text])[0].document.text == text


def test_everything_public_is_there() -> None:
    for name in nlpkit.__all__:
        assert getattr(nlpkit, name) is not None
    assert isinstance(nlpkit.ner("Ada Lovelace lived in London.")[0], Entity)
    assert sys.modules["nlpkit"].__doc__
