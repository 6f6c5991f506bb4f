"""Corrections: what counts, how far people agree, and what is taken along."""

from __future__ import annotations

import io
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from nlpkit.errors import InputError, MissingExtraError, UnknownNameError
from nlpkit.pipeline import Pipeline
from nlpkit.readers import read_classified, read_conll
from nlpkit.types import Entity
from nlpkit.workspace import Correction, Workspace

TEXT = "Ada Lovelace went to LONDON 🎉 and Zoë didn't."
ADA = {"start": 0, "end": 12, "label": "PER"}
LONDON = {"start": 21, "end": 27, "label": "LOC"}


def say(workspace: Workspace, text: str, value: Any, by: str = "Ada", **more: Any) -> Correction:
    return workspace.corrections.add(text, more.pop("task", "sentiment"), value, by=by, **more)


# -- keeping ---------------------------------------------------------------------------------------


def test_a_correction_is_kept_with_who_and_when_and_what(workspace: Workspace) -> None:
    source = {"batch": 3, "row": 17}
    given = say(workspace, TEXT, "negative", model_value="positive", source=source)
    (kept,) = workspace.corrections.list()
    assert kept == given
    assert (kept.by, kept.text, kept.task, kept.value) == ("Ada", TEXT, "sentiment", "negative")
    assert (kept.model_value, kept.source) == ("positive", source)
    assert kept.model == "tiny-1"
    assert kept.model_sha256 == workspace.model().identity
    assert abs(kept.at - workspace.corrections.list()[0].at) < 60


def test_values_of_each_kind_of_task(workspace: Workspace) -> None:
    assert say(workspace, TEXT, ["trade", "art", "art"], task="topic").value == ["art", "trade"]
    assert say(workspace, TEXT, [], task="topic").value == []
    given = [LONDON | {"text": "LONDON"}, Entity("Ada Lovelace", "PER", 0, 12, 0.9)]
    assert say(workspace, TEXT, given, task="ner", model_value=[]).value == [ADA, LONDON]
    assert say(workspace, TEXT, (), task="ner").value == []


@pytest.mark.parametrize(
    ("task", "value", "error", "message"),
    [
        ("sentiment", "great", UnknownNameError, "class of 'sentiment' 'great'; known: negative"),
        ("sentiment", ["negative"], InputError, "expected a class"),
        ("topic", "art", InputError, "expected a list of classes"),
        ("topic", ["x"], UnknownNameError, "class of 'topic' 'x'; known: art, city, trade"),
        ("ner", "Ada", InputError, "expected a list of spans"),
        ("ner", [7], InputError, "an entity is 7; expected start, end and label"),
        ("ner", [{"start": 0}], InputError, "expected start, end and label"),
        ("ner", [ADA | {"label": "ORG"}], UnknownNameError, "label 'ORG'; known: LOC, PER"),
        ("ner", [ADA | {"end": 99}], InputError, "from 0 to 99; expected some within 0 and"),
        ("ner", [ADA, ADA | {"start": 4}], InputError, "that do not overlap"),
        ("ner", [ADA | {"end": 0}], InputError, "from 0 to 0"),
        ("qa", "x", UnknownNameError, "task 'qa'; known: ner, sentiment, topic"),
    ],
)
def test_values_that_a_task_cannot_have(
    workspace: Workspace, task: str, value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        say(workspace, TEXT, value, task=task)
    assert workspace.corrections.count() == 0


@pytest.mark.parametrize("text", ["", "  \n", "a\0b", "a\ud800"])
def test_texts_that_cannot_be_kept(workspace: Workspace, text: str) -> None:
    with pytest.raises(InputError):
        say(workspace, text, "negative")


def test_the_latest_of_each_person_counts(workspace: Workspace) -> None:
    first = say(workspace, "one", "negative")
    say(workspace, "two", "positive")
    say(workspace, "one", "positive", by="Grace")
    last = say(workspace, "one", "neutral")
    say(workspace, "one", ["art"], task="topic")
    found = workspace.corrections
    assert (found.count(), found.count("sentiment"), found.texts("sentiment")) == (5, 4, 2)
    latest = [(one.by, one.text, one.value) for one in found.latest("sentiment")]
    assert latest == [
        ("Ada", "two", "positive"),
        ("Grace", "one", "positive"),
        ("Ada", "one", "neutral"),
    ]
    judged = {one.text: one.value for one in found.judged("sentiment")}
    assert judged == {"one": "neutral", "two": "positive"}
    found.remove(last.number)
    assert {o.text: o.value for o in found.judged("sentiment")}["one"] == "positive"
    assert [one.number for one in found.list("sentiment", offset=1, limit=2)] == [2, 1]
    assert found.list("sentiment")[-1] == first


def test_owners_see_their_own(workspace: Workspace) -> None:
    ada = say(workspace, "one", "negative", owner="Ada")
    say(workspace, "one", "positive", by="Grace", owner="Grace")
    found = workspace.corrections
    assert [one.value for one in found.latest("sentiment", "Ada")] == ["negative"]
    assert (found.count(owner="Ada"), found.count(), found.texts("sentiment", "Grace")) == (1, 0, 1)
    assert found.agreement("sentiment", "Ada").pairs == ()
    with pytest.raises(UnknownNameError, match="unknown correction 1"):
        found.remove(ada.number, "Grace")


# -- agreement -------------------------------------------------------------------------------------


def test_kappa_is_scikit_learns(workspace: Workspace) -> None:
    rng = np.random.default_rng(0)
    classes = ["negative", "neutral", "positive"]
    people = {"Ada": 40, "Charles": 30, "Grace": 20}
    said = {
        by: {f"text {i}": str(rng.choice(classes, p=[0.5, 0.3, 0.2])) for i in range(n)}
        for by, n in people.items()
    }
    for by, texts in said.items():
        for text, value in texts.items():
            say(workspace, text, value, by=by)
    say(workspace, "text 0", said["Charles"]["text 0"], by="Ada")  # a second thought
    said["Ada"]["text 0"] = said["Charles"]["text 0"]
    found = workspace.corrections.agreement("sentiment")
    assert (found.measure, found.texts) == ("kappa", 30)
    expected: list[Any] = []
    for one, other in itertools.combinations(people, 2):
        both = said[one].keys() & said[other].keys()
        kappa = cohen_kappa_score([said[one][t] for t in both], [said[other][t] for t in both])
        expected.append((one, other, len(both), pytest.approx(kappa)))
    assert list(found.pairs) == expected
    assert found.value == pytest.approx(np.mean([value for *_, value in found.pairs]))


def test_kappa_of_sets_of_classes(workspace: Workspace) -> None:
    pairs = [(["art"], ["art"]), (["art", "city"], ["city", "art"]), ([], ["art"])]
    for i, values in enumerate(pairs):
        for by, value in zip(("Ada", "Grace"), values, strict=True):
            say(workspace, f"text {i}", value, by=by, task="topic")
    names = [[",".join(sorted(value)) for value in side] for side in zip(*pairs, strict=True)]
    found = workspace.corrections.agreement("topic")
    assert found.value == pytest.approx(cohen_kappa_score(*names))


def test_agreement_that_is_not_defined(workspace: Workspace) -> None:
    found = workspace.corrections.agreement("sentiment")
    assert (found.value, found.texts, found.pairs) == (None, 0, ())
    for by in ("Ada", "Grace"):
        say(workspace, "one", "negative", by=by)
        say(workspace, "one", [], by=by, task="ner")
    found = workspace.corrections.agreement("sentiment")
    assert (found.value, found.texts, found.pairs) == (None, 1, (("Ada", "Grace", 1, None),))
    assert workspace.corrections.agreement("ner").value is None
    with pytest.raises(UnknownNameError, match="unknown task 'nothing'"):
        workspace.corrections.agreement("nothing")


def test_f1_of_entities(workspace: Workspace) -> None:
    """Of the one's four spans and the other's three, two are the same."""
    zoe = {"start": 34, "end": 37, "label": "PER"}
    assert TEXT[34:37] == "Zoë"
    say(workspace, TEXT, [ADA, LONDON, zoe], by="Ada", task="ner")
    say(workspace, TEXT, [ADA, LONDON | {"label": "PER"}, zoe], by="Grace", task="ner")
    say(workspace, "Ada", [ADA | {"end": 3}], by="Ada", task="ner")
    say(workspace, "Ada", [], by="Grace", task="ner")
    say(workspace, "ROME", [{"start": 0, "end": 4, "label": "LOC"}], by="Ada", task="ner")
    found = workspace.corrections.agreement("ner")
    assert (found.measure, found.texts) == ("f1", 2)
    (pair,) = found.pairs
    assert pair == ("Ada", "Grace", 2, found.value)
    assert found.value == pytest.approx(2 * 2 / 7)


# -- taking along ----------------------------------------------------------------------------------


def exported(workspace: Workspace, format: str, task: str) -> bytes:
    file = io.BytesIO()
    n = workspace.corrections.export(format, file, task)
    assert n == workspace.corrections.texts(task)
    return file.getvalue()


@pytest.fixture
def judged(workspace: Workspace) -> Workspace:
    """Three texts with entities and classes."""
    say(workspace, TEXT, [ADA], task="ner")
    say(workspace, TEXT, [ADA, LONDON], task="ner")
    say(workspace, "nothing here", [], task="ner")
    say(workspace, "A.\nB ROME-like", [{"start": 5, "end": 9, "label": "LOC"}], task="ner")
    for i, value in enumerate(["negative", "positive", "positive"]):
        say(workspace, f"text {i}, with\n“signs” 🎉", value)
        say(workspace, f"text {i}", ["art", "city"][:i], task="topic")
    return workspace


def test_jsonl_of_classes_is_what_train_reads(judged: Workspace, tmp_path: Path) -> None:
    for task, expected in (
        ("sentiment", [("negative",), ("positive",), ("positive",)]),
        ("topic", [(), ("art",), ("art", "city")]),
    ):
        path = tmp_path / f"{task}.jsonl"
        judged.corrections.export("jsonl", path, task)
        examples = read_classified(path)
        assert [example.labels for example in examples] == expected
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert [line["text"] for line in lines] == [example.text for example in examples]
        assert {(line["by"], line["model"]) for line in lines} == {("Ada", "tiny-1")}


def test_jsonl_of_entities(judged: Workspace) -> None:
    lines = [json.loads(line) for line in exported(judged, "jsonl", "ner").splitlines()]
    assert lines[0]["text"] == "nothing here" or lines[0]["text"] == TEXT
    by_text = {line["text"]: line["entities"] for line in lines}
    assert by_text[TEXT] == [ADA, LONDON]
    assert by_text["nothing here"] == []


def test_conll_has_nlpkits_words(judged: Workspace, tmp_path: Path, kit: Pipeline) -> None:
    path = tmp_path / "ner.conll"
    judged.corrections.export("conll", path, "ner")
    sentences = {sentence.tokens: sentence.tags for sentence in read_conll(path)}
    assert len(sentences) == 3
    assert sentences["nothing", "here"] == ("O", "O")
    tokens = ("A", ".", "B", "ROME", "-", "like")
    assert sentences[tokens] == ("O", "O", "O", "B-LOC", "O", "O")
    (tagged,) = (
        dict(zip(tokens, tags, strict=True))
        for tokens, tags in sentences.items()
        if "Lovelace" in tokens
    )
    assert (tagged["Ada"], tagged["Lovelace"], tagged["LONDON"]) == ("B-PER", "I-PER", "B-LOC")
    assert {tagged[word] for word in ("went", "🎉", "Zoë", ".")} == {"O"}


def test_a_span_inside_a_word_takes_it_in_whole(workspace: Workspace) -> None:
    say(workspace, "in LONDONERS", [{"start": 3, "end": 9, "label": "LOC"}], task="ner")
    assert exported(workspace, "conll", "ner") == b"in\tO\nLONDONERS\tB-LOC\n\n"


def test_docbin_is_what_spacy_reads(judged: Workspace) -> None:
    import spacy
    from spacy.tokens import DocBin

    vocab = spacy.blank("en").vocab
    docs = {
        doc.text: doc
        for doc in DocBin().from_bytes(exported(judged, "docbin", "ner")).get_docs(vocab)
    }
    assert len(docs) == 3
    entities = [(e.start_char, e.end_char, e.label_) for e in docs[TEXT].ents]
    assert entities == [(0, 12, "PER"), (21, 27, "LOC")]
    assert list(docs["nothing here"].ents) == []
    classes = DocBin().from_bytes(exported(judged, "docbin", "sentiment")).get_docs(vocab)
    assert [doc.cats for doc in classes] == [
        {"negative": 1.0, "neutral": 0.0, "positive": 0.0},
        {"negative": 0.0, "neutral": 0.0, "positive": 1.0},
        {"negative": 0.0, "neutral": 0.0, "positive": 1.0},
    ]
    topics = DocBin().from_bytes(exported(judged, "docbin", "topic")).get_docs(vocab)
    assert [doc.cats["art"] for doc in topics] == [0.0, 1.0, 1.0]


def test_what_cannot_be_taken_along(
    judged: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    corrections = judged.corrections
    with pytest.raises(UnknownNameError, match="format 'xml'; known: conll, docbin, jsonl"):
        corrections.export("xml", tmp_path / "x", "ner")
    with pytest.raises(InputError, match="CoNLL columns hold entities; export 'sentiment' as"):
        corrections.export("conll", tmp_path / "x", "sentiment")
    with pytest.raises(InputError, match="nobody has corrected a text for 'ner' yet"):
        corrections.export("jsonl", tmp_path / "x", "ner", owner="Grace")
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nlpkit-bert\[app\]'"):
        corrections.export("docbin", tmp_path / "x", "ner")
    assert list(tmp_path.glob("*x*")) == []
