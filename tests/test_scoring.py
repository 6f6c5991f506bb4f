"""What stands behind a score: slices, confusions, calibration, the worst errors, one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from words import WordKit

import nlpkit
from nlpkit import metrics
from nlpkit.heads import SpanHead
from nlpkit.pipeline import Pipeline
from nlpkit.readers import QAExample, Sentence
from nlpkit.scoring import (
    Measured,
    score_answers,
    score_classes,
    score_entities,
    score_label_sets,
    score_rankings,
    score_refusals,
    score_similarities,
    silent,
    weigh,
)
from nlpkit.scoring.answers import _lead, threshold_curve
from nlpkit.scoring.base import Ranges, around, shortened
from nlpkit.scoring.entities import surfaces
from nlpkit.types import Answer, Entity, Label


class Told(WordKit):
    """Finds the entities that it was told, (label, text, score), wherever they stand."""

    def __init__(self, *told: tuple[str, str, float]) -> None:
        super().__init__()
        self._told = told

    def ner(self, texts: list[str], /, task: str = "ner") -> list[list[Entity]]:
        return [
            [
                Entity(name, label, text.index(name), text.index(name) + len(name), score)
                for label, name, score in self._told
                if name in text
            ]
            for text in texts
        ]


def sentence(marked: str) -> Sentence:
    """``"Ada/B-PER left"``: a word without a tag is outside of entities."""
    pairs = [word.partition("/") for word in marked.split()]
    return Sentence(tuple(w for w, _, _ in pairs), tuple(t or "O" for _, _, t in pairs))


SENTENCES = [
    sentence("Ada/B-PER Lovelace/I-PER left London/B-LOC"),
    sentence("ACME/B-ORG BOUGHT PARIS/B-LOC"),
    sentence("we met bob/B-PER in rome"),
]
FOUND = Told(
    ("PER", "Ada Lovelace", 0.9),
    ("ORG", "London", 0.8),  # wrong class
    ("ORG", "ACME BOUGHT", 0.7),  # wrong border
    ("LOC", "rome", 0.95),  # invented
)


@pytest.fixture
def found() -> Measured:
    return score_entities(FOUND, SENTENCES, silent, seen={"london", "bob"})


def rows(measured: Measured, name: str, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(row[key] for key in keys) for row in measured.details["slices"][name]]


# -- entities --------------------------------------------------------------------------------------


def test_confusions_count_what_stands_on_the_same_words(found: Measured) -> None:
    assert found.details["confusion"] == {
        "rows": ["LOC", "ORG", "PER", "(invented)"],
        "columns": ["LOC", "ORG", "PER", "(missed)"],
        "counts": [[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]],
    }


def test_confusions_add_up_to_the_scores(found: Measured) -> None:
    counts = np.array(found.details["confusion"]["counts"])
    classes = found.details["per_class"]
    for i, label in enumerate(("LOC", "ORG", "PER")):
        assert counts[i].sum() == classes[label]["n_gold"]
        assert counts[:, i].sum() == classes[label]["n_predicted"]


def test_errors_are_told_by_what_is_wrong(found: Measured) -> None:
    assert found.details["errors"] == {
        "right": 1,
        "wrong class": 1,
        "wrong border": 1,
        "wrong class and border": 0,
        "invented": 1,
        "missed": 2,  # PARIS and bob; the ORG was touched
    }


def test_the_worst_entities_are_the_surest_of_the_wrong(found: Measured) -> None:
    first, second, third = found.worst
    assert (first["score"], first["predicted"], first["gold"]) == (0.95, "LOC: rome", "nothing")
    assert first["text"][first["start"] : first["end"]] == "rome"
    assert (second["gold"], second["what"]) == ("LOC: London", "wrong class")
    assert (third["predicted"], third["gold"]) == ("ORG: ACME BOUGHT", "ORG: ACME")


def test_entities_are_right_as_often_as_they_say(found: Measured) -> None:
    expected = metrics.expected_calibration_error(
        [0.9, 0.8, 0.7, 0.95], [True, False, False, False]
    )
    assert found.details["expected_calibration_error"] == pytest.approx(expected)
    assert sum(one["n"] for one in found.details["calibration"]) == 4


def test_slices_of_entities_and_sentences(found: Measured) -> None:
    keys = ("name", "n", "f1", "recall")
    # Of one word: London, ACME, PARIS, bob; found: London, rome. Of two: Ada, and ACME BOUGHT.
    assert rows(found, "words of the entity", *keys) == [
        ("1", 4, 0, 0),
        ("2", 1, pytest.approx(2 / 3), 1),
    ]
    assert rows(found, "letters of the sentence", *keys) == [
        ("all lower case", 1, 0, 0),
        ("all upper case", 1, 0, 0),
        ("mixed case", 1, 0.5, 0.5),
    ]
    assert rows(found, "entity in the training file", *keys) == [
        ("seen", 2, 0, 0),
        ("unseen", 3, pytest.approx(2 / 6), pytest.approx(1 / 3)),
    ]
    assert "words of the sentence" not in found.details["slices"]  # all have 1 to 5


def test_a_slice_without_entities_has_no_score() -> None:
    measured = score_entities(FOUND, [*SENTENCES, sentence("1 - 2"), sentence("x")], silent)
    rows_ = measured.details["slices"]["letters of the sentence"]
    assert [row["name"] for row in rows_ if math.isnan(row["f1"])] == ["no letters"]
    assert "entity in the training file" not in measured.details["slices"]


def test_sentences_are_drawn_again_for_intervals(found: Measured) -> None:
    assert found.intervals.keys() == found.scores.keys()
    assert found.intervals["f1"][0] == 0
    assert found.intervals["f1"][1] == pytest.approx(0.5)  # the first sentence three times
    assert found.intervals["ORG_f1"] == [0, 0]


def test_surfaces_are_entities_whatever_their_case() -> None:
    assert surfaces(SENTENCES) == {"ada lovelace", "london", "acme", "paris", "bob"}


def test_nothing_is_found_and_nothing_is_there() -> None:
    measured = score_entities(Told(), [sentence("nothing here"), sentence("NOR here")], silent)
    assert measured.scores["f1"] == 0
    assert measured.worst == []
    assert "calibration" not in measured.details


# -- classes ---------------------------------------------------------------------------------------


def labels(name: str, score: float) -> list[Label]:
    return [Label(name, score)]


def test_classes_by_length_and_the_surest_errors() -> None:
    texts = ["short", "also short", " ".join(["long"] * 30), "x" * 1000]
    results = [labels("a", 0.9), labels("b", 0.6), labels("b", 0.7), labels("b", 0.99)]
    measured = score_classes(texts, ["a", "a", "b", "a"], results, ("a", "b"), "accuracy")
    assert rows(measured, "words of the text", "name", "n", "accuracy") == [
        ("1 to 5", 3, pytest.approx(1 / 3)),
        ("21 to 40", 1, 1),
    ]
    assert [error["score"] for error in measured.worst] == [0.99, 0.6]
    assert measured.worst[0]["text"] == shortened("x" * 1000) == "x" * 399 + "…"
    assert measured.worst[1] == {
        "score": 0.6,
        "predicted": "b",
        "gold": "a",
        "text": "also short",
    }
    assert measured.intervals.keys() == measured.scores.keys()


def test_label_sets_show_the_surest_wrong_label() -> None:
    results = [[Label("x", 0.9), Label("y", 0.8)], [Label("x", 0.7), Label("y", 0.2)]]
    measured = score_label_sets(["one", "two"], [["x"], []], results)
    assert [(e["score"], e["predicted"], e["gold"]) for e in measured.worst] == [
        (0.8, "y", "x"),
        (0.7, "x", "none"),
    ]
    assert measured.scores["micro_f1"] == pytest.approx(2 / 4)
    assert measured.intervals["micro_f1"] == [0, pytest.approx(2 / 3)]


# -- answers ---------------------------------------------------------------------------------------

PLACE = "The tower stands in Paris. It was built in 1889 by Eiffel."


def question(words: str, *answers: str) -> QAExample:
    return QAExample(words, PLACE, tuple((PLACE.index(a), a) for a in answers))


def quoted(text: str, score: float) -> Answer:
    start = PLACE.index(text)
    return Answer(text, start, start + len(text), score)


QUESTIONS = [
    question("Where does it stand?", "Paris"),
    question("When was it built?", "1889", "in 1889"),
    question("By whom?", "Eiffel"),
    question("How many steps has it?"),
]


def test_answers_by_question_and_length() -> None:
    given = [quoted("Paris", 0.9), quoted("built in 1889", 0.6), quoted("tower", 0.8)]
    measured = score_answers(QUESTIONS, [*given, Answer(None, None, None, 0.7)])
    assert rows(measured, "question word", "name", "em") == [
        ("who", 0),
        ("when", 0),
        ("where", 1),
        ("how many", 1),
    ]
    assert rows(measured, "words of the answer", "name", "n") == [("none", 1), ("1", 3)]
    (worst,) = measured.worst  # "built in 1889" has a word right
    assert (worst["predicted"], worst["gold"], worst["what"]) == ("tower", "Eiffel", "By whom?")
    assert worst["text"][worst["start"] : worst["end"]] == "tower"
    right = [True, False, False, True]
    expected = metrics.expected_calibration_error([0.9, 0.6, 0.8, 0.7], right)
    assert measured.details["expected_calibration_error"] == pytest.approx(expected)


def test_a_wrong_refusal_shows_where_the_answer_stands() -> None:
    measured = score_answers(QUESTIONS[:1], [Answer(None, None, None, 0.9)])
    (worst,) = measured.worst
    assert (worst["predicted"], worst["gold"]) == ("no answer", "Paris")
    assert worst["text"][worst["start"] : worst["end"]] == "Paris"


@pytest.mark.parametrize(("nothing", "span", "others"), [(0.2, 0.5, 0.3), (0.7, 0.2, 0.1)])
def test_the_lead_is_the_odds_of_no_answer(nothing: float, span: float, others: float) -> None:
    forced = quoted("Paris", span / (span + others))
    default = quoted("Paris", span) if span > nothing else Answer(None, None, None, nothing)
    assert _lead(default, forced) == pytest.approx(math.log(nothing / span))


def test_the_lead_where_there_is_nothing_to_quote_or_no_doubt() -> None:
    nothing = Answer(None, None, None, 1.0)
    assert _lead(nothing, nothing) == math.inf
    assert _lead(quoted("Paris", 1.0), quoted("Paris", 1.0)) < -30
    assert _lead(nothing, quoted("Paris", 1.0)) > 30
    # Scores that are no shares of one whole, as calibrated ones: the sign is the decision's.
    assert _lead(quoted("Paris", 0.1), quoted("Paris", 0.9)) == 0
    assert _lead(Answer(None, None, None, 0.1), quoted("Paris", 0.9)) > 0


def test_the_curve_of_a_worked_example() -> None:
    curve = threshold_curve([-1.0, 1.0, math.inf], [1.0, 0.5, 0.0], [True, True, False])
    first, last = curve["lead"].index(-1), curve["lead"].index(1)
    assert (curve["f1"][first], curve["answered"][first]) == (0.6667, 0.3333)
    assert (curve["f1"][last], curve["answered"][last]) == (0.8333, 0.6667)
    assert threshold_curve([math.inf], [0.0], [False]) == {}


ASKED = [
    *QUESTIONS,
    QAExample("", PLACE, ()),
    QAExample("Who won the cup in 1998?", PLACE, ()),
    QAExample("Who built it?", "", ()),
    QAExample("Where did Ada Lovelace live?", "Ada Lovelace lived in London.", ((22, "London"),)),
    QAExample("Where is Paris?", "Paris is in France. " * 120, ((12, "France"),)),
]


class TwoCalls:
    """A pipeline that is not ours: what it says is asked for twice."""

    def __init__(self, kit: Pipeline) -> None:
        self._kit = kit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kit, name)


def test_one_pass_answers_both_ways_as_two_do() -> None:
    shipped = nlpkit.load()
    config = shipped.head("qa").head.config()
    lines = ("calibration", "refusal_calibration", "span_calibration")
    for fitted in (*lines, "consensus", "length_cost"):
        assert config.pop(fitted)  # with these scores are no shares of one whole
    kit = shipped.with_head("qa", SpanHead(**config))
    once, twice = weigh(kit, ASKED, silent), weigh(TwoCalls(kit), ASKED, silent)
    calibrated = weigh(TwoCalls(shipped), ASKED, silent)
    for one, other, sure in zip(once, twice, calibrated, strict=True):
        texts = {(found.default.text, found.quoted.text) for found in (one, other, sure)}
        assert len(texts) == 1
        assert one.lead == pytest.approx(other.lead, abs=1e-4)
        assert (one.lead > 0) == (sure.lead > 0)
        assert bool(one.default) == (one.lead <= 0)
    assert {bool(one.default) for one in once} == {True, False}
    assert score_refusals(ASKED, once).scores.keys() == score_refusals(ASKED, twice).scores.keys()


# -- embeddings ------------------------------------------------------------------------------------


def test_rankings_by_query() -> None:
    similarities = np.array([[0.9, 0.1, 0.2], [0.3, 0.2, 0.1]])
    judged: Sequence[dict[str, int]] = [{"a": 1}, {"b": 1, "c": 1, "z": 0}]
    measured = score_rankings(["one", "two " * 7], similarities, ["a", "b", "c"], judged, str.upper)
    assert rows(measured, "words of the query", "name", "mrr_at_10") == [
        ("1 to 5", 1),
        ("6 to 10", 0.5),
    ]
    assert rows(measured, "relevant documents", "name", "n") == [("1", 1), ("2 or more", 1)]
    (worst,) = measured.worst
    assert (worst["predicted"], worst["gold"]) == ("A", "B (rank 2)")
    assert measured.intervals["mrr_at_10"] == [0.5, 1]


def test_similarities_that_are_out_of_order() -> None:
    measured = score_similarities(
        list("abcd"), list("wxyz"), np.array([0.9, 0.2, 0.3, 0.4]), range(4)
    )
    assert measured.scores["spearman"] == pytest.approx(-0.2)
    assert measured.worst[0] == {
        "score": 0.9,
        "predicted": "rank 4 of 4",
        "gold": "rank 1, score 0",
        "text": "a ↔ w",
    }
    low, high = measured.intervals["spearman"]
    assert low < -0.2 < high


# -- helpers ---------------------------------------------------------------------------------------


def test_ranges_are_named() -> None:
    ranges = Ranges(1, 2, 5)
    assert ranges.names == ("0", "1", "2 to 4", "5 or more")
    assert [ranges(n) for n in (0, 1, 4, 5, 99)] == ["0", "1", "2 to 4", "5 or more", "5 or more"]


def test_a_place_keeps_what_stands_around_it() -> None:
    text = "x" * 200 + "here" + "y" * 10
    part = around(text, 200, 204)
    assert part["text"][part["start"] : part["end"]] == "here"
    assert part["text"] == "…" + "x" * 80 + "here" + "y" * 10
