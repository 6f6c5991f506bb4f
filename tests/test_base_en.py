"""The shipped model on real sentences: what anybody would call obvious. Scores are for evaluate."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from tiny import assert_same

import nlpkit
from nlpkit.pipeline import Pipeline
from nlpkit.types import Entity

PASSAGE = (
    "The lighthouse on Gull Island was built in 1874 by the engineer Robert Hale. It stands forty "
    "metres high and was painted red in 1921. Today it is looked after by Clara Jensen, who lives "
    "there with two dogs."
)
NEWS = (
    "Ada Lovelace was born in London and never visited Paris.",
    "Toyota and Microsoft opened an office in Germany on Monday.",
    "The striker scored twice as the team won the cup final after extra time.",
    "Shares fell sharply after the bank reported lower quarterly profits and cut its dividend.",
    "Soldiers and rebels clashed near the capital as the president called for peace talks.",
    "What a wonderful, funny and moving story!",
    "A terrible, boring mess. I want my money back.",
    PASSAGE,
)
UNEVENTFUL = "The weather was mild and nothing much happened that day. " * 60


@pytest.fixture(scope="module")
def base() -> Pipeline:
    """The bundle inside the package, on the CPU engine."""
    return nlpkit.load("base-en", device="cpu")


def pairs_of(entities: list[Entity]) -> set[tuple[str, str]]:
    return {(entity.text, entity.label) for entity in entities}


def test_its_tasks(base: Pipeline) -> None:
    assert base.tasks == {
        "ner": "token-classification",
        "sentiment": "sequence-classification",
        "topic": "sequence-classification",
        "qa": "question-answering",
        "embedding": "pooling",
    }
    assert set(base.head("ner").head.labels) == {
        "O",
        *(f"{prefix}-{kind}" for prefix in "BI" for kind in ("PER", "ORG", "LOC", "MISC")),
    }
    assert base.head("sentiment").head.labels == ("negative", "neutral", "positive")
    assert base.head("topic").head.labels == ("World", "Sports", "Business", "Sci/Tech")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NEWS[0], {("Ada Lovelace", "PER"), ("London", "LOC"), ("Paris", "LOC")}),
        (NEWS[1], {("Microsoft", "ORG"), ("Germany", "LOC")}),
        ("Maria Garcia flew from Kenya to Spain.", {("Maria Garcia", "PER"), ("Kenya", "LOC")}),
        ("It rained all day and nobody came.", set()),
    ],
)
def test_obvious_entities(base: Pipeline, text: str, expected: set[tuple[str, str]]) -> None:
    entities = base.ner(text)
    assert expected <= pairs_of(entities)
    assert expected or not entities
    for entity in entities:
        assert text[entity.start : entity.end] == entity.text


@pytest.mark.parametrize(
    ("text", "best"),
    [
        ("This is the best film I have seen in years, I loved every minute.", "positive"),
        (NEWS[5], "positive"),
        (NEWS[6], "negative"),
        ("The worst service ever, I hated it and will never return.", "negative"),
    ],
)
def test_obvious_sentiment(base: Pipeline, text: str, best: str) -> None:
    assert base.classify(text)[0].name == best


@pytest.mark.parametrize(
    ("text", "best"),
    [
        (NEWS[2], "Sports"),
        (NEWS[3], "Business"),
        (NEWS[4], "World"),
        ("The update fixes a security hole in the browser, software engineers said.", "Sci/Tech"),
    ],
)
def test_obvious_topics(base: Pipeline, text: str, best: str) -> None:
    assert base.classify(text, task="topic")[0].name == best


def test_topics_that_were_never_trained(base: Pipeline) -> None:
    text = "The goalkeeper saved a penalty in the last minute of the football match."
    labels = base.classify(text, labels=["football", "politics", "cooking"])
    assert labels[0].name == "football"


@pytest.mark.parametrize(
    ("question", "quoted"),
    [
        ("Who built the lighthouse?", "Robert Hale"),
        ("When was the lighthouse built?", "1874"),
        ("Who looks after the lighthouse today?", "Clara Jensen"),
    ],
)
def test_obvious_answers(base: Pipeline, question: str, quoted: str) -> None:
    answer = base.answer(question, PASSAGE, no_answer=False)
    assert quoted in answer.text
    assert PASSAGE[answer.start : answer.end] == answer.text


@pytest.mark.parametrize(
    "question", ["What is the capital of Australia?", "How many people live in Tokyo?"]
)
def test_questions_that_the_passage_does_not_answer(base: Pipeline, question: str) -> None:
    assert not base.answer(question, PASSAGE)


def test_texts_of_like_meaning_lie_closer(base: Pipeline) -> None:
    twins = [
        ("A man is playing a guitar.", "Someone plays a guitar."),
        ("The stock market fell sharply today.", "Share prices dropped a lot."),
        ("How do I reset my password?", "I forgot my login and need a new password."),
    ]
    left = base.embed([one for one, _ in twins])
    right = base.embed([other for _, other in twins])
    assert (left @ right.T).argmax(axis=1).tolist() == [0, 1, 2]
    hit = nlpkit.semantic_search("music", [one for one, _ in twins], k=1)[0]
    assert hit.document.text == "A man is playing a guitar."


def test_nothing_is_cut_off(base: Pipeline) -> None:
    """Planted behind 120 sentences, all of it is still read."""
    before = UNEVENTFUL * 2
    text = before + "Angela Merkel met a friend in Berlin. " + PASSAGE
    found = base.ner(text)
    assert {("Angela Merkel", "PER"), ("Berlin", "LOC")} <= pairs_of(found)
    assert found.n_windows > 3
    answer = base.answer("Who built the lighthouse?", text, no_answer=False)
    assert answer.start >= len(before)


def test_a_texts_result_is_the_same_alone_and_in_company(base: Pipeline) -> None:
    together = base.analyze([*NEWS, UNEVENTFUL])
    for text, analysis in zip(NEWS, together, strict=False):
        assert_same(analysis, base.analyze(text))


def test_low_precision_says_the_same(base: Pipeline) -> None:
    """bf16, which ``auto`` chooses on a GPU, on the CPU through torch."""
    low = nlpkit.load("base-en", device="cpu", precision="bf16").analyze(NEWS[:6])
    for ours, full in zip(low, base.analyze(NEWS[:6]), strict=True):
        assert ours.embedding @ full.embedding >= 0.995
        assert pairs_of(ours.entities) == pairs_of(full.entities)
        for task, labels in full.labels.items():
            assert ours.labels[task][0].name == labels[0].name


def test_it_runs_where_torch_is_not_installed() -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'onnx', 'sklearn', 'pandas'):\n"
        "    sys.modules[name] = None\n"
        "import nlpkit\n"
        f"print([e.text for e in nlpkit.ner({NEWS[0]!r})])\n"
        f"print(nlpkit.analyze({NEWS[2]!r}).labels['topic'][0].name)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["['Ada Lovelace', 'London', 'Paris']", "Sports"]


def test_chinese_is_met_with_a_warning(base: Pipeline) -> None:
    """Its vocabulary holds a few hundred Chinese characters: most of a sentence is lost."""
    text = "\u673a\u5668\u5b66\u4e60\u9700\u8981\u5927\u91cf\u7684\u8ba1\u7b97\u8d44\u6e90"
    with pytest.warns(nlpkit.NlpkitWarning, match="unknown to the model's vocabulary"):
        found = base.ner(text)
    assert found.warnings


def test_its_embeddings_are_of_unit_length(base: Pipeline) -> None:
    vectors = base.embed(list(NEWS))
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(NEWS), 384))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
