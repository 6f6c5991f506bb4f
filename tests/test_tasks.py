"""The recipes in tasks/: their data as examples, and questions made unanswerable."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from nlpkit.heads import make_head
from nlpkit.readers import QAExample, TextExample, TokenExample
from nlpkit.training.recipe import load_recipe, load_recipe_module

CONTEXT = "Ada was born in 1815 in London. She wrote a program. Her friend Charles built engines."
QUESTION = QAExample("When was Ada born in London?", CONTEXT, ((16, "1815"),))


@pytest.fixture
def qa() -> Any:
    return load_recipe_module("qa")


def test_a_question_without_the_sentence_that_answers_it(qa: Any) -> None:
    changed = qa.cut(QUESTION, random.Random(0))
    assert changed == QAExample(
        QUESTION.question, "She wrote a program. Her friend Charles built engines.", ()
    )


def test_a_question_of_another_paragraph(qa: Any) -> None:
    changed = qa.elsewhere(QUESTION, random.Random(0), [CONTEXT, "Rain fell."])
    assert changed == QAExample(QUESTION.question, "Rain fell.", ())
    assert qa.elsewhere(QUESTION, random.Random(0), [CONTEXT]) is None


def test_a_question_that_its_paragraph_fails(qa: Any) -> None:
    seen = {qa.altered(QUESTION, random.Random(i), ["Oslo"]).question for i in range(50)}
    assert seen == {
        "When was Ada born in Oslo?",
        "When was Oslo born in London?",
        "When was Ada buried in London?",
        "When was not Ada born in London?",
    }
    year = QAExample("What began in 1815?", CONTEXT, ())
    for i in range(20):
        changed = qa.altered(year, random.Random(i), []).question
        assert changed != year.question
        assert changed.startswith(("What began in 18", "What ended in 1815"))


def test_the_most_willing_threshold_near_the_best(qa: Any) -> None:
    """Best is to answer up to -3; up to -1 costs half a point of F1, up to 0 five and a half."""
    leads = [-3.0] * 100 + [-1.0] + [0.0] * 10 + [5.0] * 89
    answerable = [True] * 100 + [False] * 100
    quoted = [1.0] * 100 + [0.0] * 100
    assert qa.willing_threshold(leads, quoted, answerable) == -1.0


def test_clean_headlines() -> None:
    topic = load_recipe_module("topic")
    assert topic.clean("Fed #39;s decision &lt;b&gt;") == "Fed's decision <b>"


@pytest.mark.parametrize("name", ["ner", "sentiment", "topic", "qa", "base_en"])
def test_the_examples_fit_their_heads(name: str, data_folder: Path) -> None:
    recipe = load_recipe(name)
    for stage in recipe.stages:
        for task in stage.tasks:
            examples = task.examples(random.Random(0))
            assert len(examples) > 1000
            assert all(source.sha256 for source in task.sources)
            labels = set(make_head(task.kind, task.config).labels)
            for example in examples[:2000]:
                if isinstance(example, TextExample):
                    assert set(example.labels) <= labels
                elif isinstance(example, TokenExample):
                    assert {f"B-{label}" for _, _, label in example.spans} <= labels
                elif isinstance(example, QAExample):
                    for start, text in example.answers:
                        assert example.context[start:].startswith(text)
