"""The recipes in tasks/: their data as examples, and questions made unanswerable."""

from __future__ import annotations

import html
import random
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlpkit
from nlpkit.heads import Reading, SpanHead, make_head
from nlpkit.readers import QAExample, Sentence, read_jsonl, read_squad
from nlpkit.text import Window
from nlpkit.training.items import check_examples
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


def test_a_question_with_one_thing_changed(data_folder: Path) -> None:
    recipe = load_recipe_module("base_en_doubts")
    context = "The first mill in Oslo ground wheat in 1815. In Bergen mills came in 1840."
    asked = QAExample("Why was the first mill in Oslo built in 1815?", context, ((0, "The"),))
    names = [("in", "Oslo"), ("in", "Bergen"), ("by", "Ada")]
    made = [recipe.changes(asked, random.Random(i), names) for i in range(30)]
    assert {one["name"] for one in made} == {"Why was the first mill in Bergen built in 1815?"}
    assert {one["number"] for one in made} == {"Why was the first mill in Oslo built in 1840?"}
    assert "Why was the last mill in Oslo built in 1815?" in {one["kind"] for one in made}
    assert {one["opposite"] for one in made} == {"Why was the last mill in Oslo built in 1815?"}
    assert {one["negation"] for one in made} == {
        "Why wasn't the first mill in Oslo built in 1815?",
        "Why was not the first mill in Oslo built in 1815?",
    }
    assert {one["condition"] for one in made} == {None}  # it has one
    changed = recipe.turned(asked, random.Random(0), names)
    assert changed.question != asked.question
    assert (changed.context, changed.answers) == (context, ())
    assert recipe.turned(QAExample("Why", context, ((0, "The"),)), random.Random(0), []) is None


def test_a_condition_that_is_not_met(data_folder: Path) -> None:
    recipe = load_recipe_module("base_en_doubts")
    asked = QAExample("Who came?", "Ada came to Oslo.", ((0, "Ada"),))
    names = [("in", "Bergen"), ("in", "Oslo"), ("by", "Rome")]
    made = {recipe.changes(asked, random.Random(i), names)["condition"] for i in range(40)}
    assert "Who came in Bergen?" in made
    assert all(one == "Who came in Bergen?" or one[12:16].isdigit() for one in made)


def test_the_most_willing_threshold_near_the_best(qa: Any) -> None:
    """Best is to answer up to -3; up to -1 costs half a point of F1, up to 0 five and a half."""
    leads = [-3.0] * 100 + [-1.0] + [0.0] * 10 + [5.0] * 89
    answerable = [True] * 100 + [False] * 100
    quoted = [1.0] * 100 + [0.0] * 100
    assert qa.willing_threshold(leads, quoted, answerable) == -1.0


def test_a_review_is_read_whole_and_by_sentences() -> None:
    """Both count alike; the more they differ or waver, the more is left for neutral."""
    verdict = load_recipe_module("base_en_reviews").verdict
    labels = ["negative", "neutral", "positive"]
    good, bad, neither = (np.array(p) for p in ([0.1, 0.2, 0.7], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1]))
    for whole, sentences, best in ((good, (good, bad, good), 2), (bad, (bad, bad, neither), 0)):
        found = verdict(whole, np.array(sentences), labels)
        assert found.sum() == pytest.approx(1)
        assert found.argmax() == best
        assert found[1] < 0.3
    split = verdict(good, np.array([bad, bad]), labels)
    np.testing.assert_allclose(split, [0.275, 0.45, 0.275])


def test_answers_are_chosen_alike_in_recipe_bundle_and_benchmark(
    qa: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = nlpkit.load().head("qa").head.config()
    assert qa.task().config == qa.CHOICE == {name: config[name] for name in qa.CHOICE}
    peers = Path(__file__).parents[1] / "benchmarks" / "peers"
    monkeypatch.syspath_prepend(peers)
    peer = runpy.run_path(str(peers / "transformers_side.py"))

    head, rng = SpanHead(**qa.CHOICE), np.random.default_rng(0)
    (encoded,) = nlpkit.load().encoder.encode([CONTEXT])
    n = len(encoded)
    reading = Reading(CONTEXT, encoded, [Window(0, n, 0, n)], [1], [n], 384)
    opened = {*encoded.starts[encoded.word_starts].tolist()}
    for _ in range(50):
        logits = [(2 * rng.normal(size=(n + 2, 2))).astype(np.float32)]
        (quoted,) = head.decode(logits, reading, no_answer=False)
        _, spans = head.candidates(logits, reading, 1, 30)
        scores = {(span.start, span.end): span.score for span in spans}
        assert peer["chosen"](scores, opened, **head.choice) == [quoted.start, quoted.end]


def test_parts_of_a_review() -> None:
    recipe = load_recipe_module("base_en_reviews")
    text = 'It works.It is loud! "Buy it" they said. ... Pay 4.5 dollars.'
    sentences = recipe.sentences_of(text)
    assert sentences == ["It works.", "It is loud!", '"Buy it" they said. ...', "Pay 4.5 dollars."]
    assert recipe.sentences_of("?!") == ["?!"]
    seen = {recipe.part_of(text, random.Random(seed)) for seed in range(60)}
    assert {text, *sentences} <= seen
    assert all(part in text or part in " ".join(sentences) for part in seen)


def test_clean_headlines() -> None:
    topic = load_recipe_module("topic")
    assert topic.clean("Fed #39;s decision &lt;b&gt;") == "Fed's decision <b>"


def test_recipes_are_read_without_torch() -> None:
    """A card is written, and an absent extra is named, where it is not installed."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from nlpkit.training.recipe import load_recipe\n"
        "print(load_recipe('base_en').name)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "base-en"


def test_a_question_of_the_paragraph_most_like_it(qa: Any) -> None:
    """The nearest holds the answer, the next one is taken."""
    texts = [CONTEXT, "Ada was born in London, in 1815.", "London was born of Ada.", "Rain fell."]
    contexts = {text: frozenset(re.findall(r"\w{3,}", text.lower())) for text in texts}
    changed = qa.near(QUESTION, random.Random(0), contexts)
    assert changed == QAExample(QUESTION.question, "London was born of Ada.", ())
    assert qa.near(QUESTION, random.Random(0), {CONTEXT: contexts[CONTEXT]}) is None


def test_a_question_of_a_few_sentences(qa: Any) -> None:
    """The sentence with the answer stays, else the one most like the question; offsets move."""
    text = "It rained. Ada was born in London. She wrote a program. Babbage built it. He died."
    asked = QAExample("Where was Ada born?", text, ((text.index("London"), "London"),))
    seen = {qa.shortened(asked, random.Random(i)).context for i in range(60)}
    assert "Ada was born in London." in seen
    assert len(seen) > 4
    for seed in range(60):
        short = qa.shortened(asked, random.Random(seed))
        [(start, answer)] = short.answers
        assert short.context[start : start + len(answer)] == answer == "London"
        without = qa.shortened(replace(asked, answers=()), random.Random(seed))
        assert not without.answers
        assert "Ada was born in London." in without.context


def test_a_sentence_in_a_case_of_its_own() -> None:
    ner = load_recipe_module("ner")
    sentence = Sentence(("EU", "rejects", "German", "call"), ("B-ORG", "O", "B-MISC", "O"), 3)
    seen = {ner._in_random_case(sentence, random.Random(i)).tokens for i in range(40)}
    assert seen == {
        ("EU", "rejects", "German", "call"),
        ("eu", "rejects", "german", "call"),
        ("EU", "REJECTS", "GERMAN", "CALL"),
    }


def test_held_out_phrases_of_a_sentence() -> None:
    parts = load_recipe_module("sentiment")._parts("a truly bad film")
    assert parts == {"a truly bad film", "a truly bad", "truly bad film"}


@pytest.mark.parametrize(
    "name", ["ner", "sentiment", "topic", "qa", "base_en", "base_en_embedding"]
)
def test_the_examples_fit_their_heads(name: str, data_folder: Path) -> None:
    for task in load_recipe(name).tasks:
        if name == "base_en" and task.name == "ner":
            continue  # what teachers make of texts: tests/test_training_teach.py
        examples = task.examples(random.Random(0))
        assert len(examples) > 1000
        assert all(source.sha256 for source in task.sources)
        head = make_head(task.kind, task.config)
        check_examples(task, head, examples)
        if task.calibration is not None:
            assert len(task.calibration()) > 500
            check_examples(task, head, task.calibration())


def test_what_is_held_out_is_not_learned_from(data_folder: Path) -> None:
    """Beside CoNLL, whose parts are its own: its datelines occur in all of them."""
    sentiment, topic, qa = (load_recipe_module(name) for name in ("sentiment", "topic", "qa"))
    rng = random.Random(0)
    learned = {example.text.strip() for example in sentiment.examples(rng)}
    for example in (*sentiment.held_out_sentences(), *sentiment.dev_tweets()):
        assert example.text.strip() not in learned
    assert not {e.text for e in topic.examples(rng)} & {e.text for e in topic.held_out()}
    contexts = {example.context for example in qa.examples(rng)}
    assert not contexts & {example.context for example in qa.held_out()}
    assert len({example.title for example in qa.held_out()}) == 4


def test_reviews_that_measure_are_not_learned_from(data_folder: Path) -> None:
    benchmarks = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "reviews.py"))
    rows = [row for _, row in read_jsonl(benchmarks["LABELS"])]
    texts = benchmarks["read_texts"]({row["part"] for row in rows})
    asked = {html.unescape(texts[row["part"], row["review_id"]]) for row in rows}
    learned = load_recipe_module("base_en_reviews").reviews()
    assert len(asked) == len(rows) == 253
    assert len(learned) > 7000
    assert not asked & {*learned}


def test_questions_about_reviews(data_folder: Path) -> None:
    """Answers lie where the data says, and nothing is learned from that watches."""
    recipe = load_recipe_module("base_en_questions")
    taught, watched = recipe.questions(recipe.TAUGHT), recipe.answered()
    assert len(taught) == 9106
    assert sum(bool(example.answers) for example in taught) == 4262
    for example in (*taught, *watched):
        for start, answer in example.answers:
            assert example.context[start : start + len(answer)] == answer
    assert len(watched) > 200
    assert not {e.context for e in taught} & {e.context for e in watched}
    learned = recipe.examples(random.Random(0))
    assert len(learned) > 50_000
    assert not any(recipe.base.qa.is_held_out(example) for example in learned)


def test_questions_that_nearly_fit(data_folder: Path) -> None:
    """They keep their text and lose their answer; what watches them is not learned from."""
    recipe = load_recipe_module("base_en_doubts")
    assert "prince" in recipe._closest("king")
    assert not {"king", "kings", "kingdom"} & {*recipe._closest("king")}
    known = [e for e in read_squad(recipe.qa.SOURCES[0].path()) if not recipe.qa.is_held_out(e)]
    turned = recipe.turning(known)["turned"]
    rng = random.Random(0)
    made = [(example, turned(example, rng)) for example in rng.sample(known, 300)]
    assert sum(changed is not None for _, changed in made) > 280
    for example, changed in made:
        if changed is not None:
            assert (changed.context, changed.answers) == (example.context, ())
            assert changed.question != example.question
    measure = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "doubts.py"))
    answered, unanswered = measure["about_articles"]()
    assert (len(answered), len(unanswered)) == (386, 180)
    assert all(recipe.qa.is_held_out(example) for example in answered)
    assert not {e.question for e in unanswered} & {e.question for e in recipe.qa.held_out()}
