"""Every metric equals the program that the field uses for it, or a worked example."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpkit import metrics
from nlpkit.errors import InputError

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-X-Y"]
LABELS = ["a", "b", "c"]


def paired_tags() -> st.SearchStrategy[list[tuple[list[str], list[str]]]]:
    """Sentences of gold and predicted tags, legal transitions or not."""
    pair = st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS))
    sentence = st.lists(pair, min_size=1, max_size=8)
    return st.lists(
        sentence.map(lambda s: ([g for g, _ in s], [p for _, p in s])), min_size=1, max_size=4
    )


def paired_labels() -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1)


# -- entities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["strict", "conlleval"])
@given(sentences=paired_tags())
def test_entity_scores_equal_seqeval(
    scheme: metrics.Scheme, sentences: list[tuple[list[str], list[str]]]
) -> None:
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    gold, predicted = [g for g, _ in sentences], [p for _, p in sentences]
    ours = metrics.entity_scores(gold, predicted, scheme)
    if not ours.per_class:
        return  # seqeval refuses to report on nothing
    mode = {"mode": "strict", "scheme": IOB2} if scheme == "strict" else {}
    theirs = classification_report(gold, predicted, output_dict=True, zero_division=0, **mode)
    averages = {"micro avg", "macro avg", "weighted avg"}
    assert ours.per_class.keys() == theirs.keys() - averages
    for name, score in [("micro avg", ours.micro), *ours.per_class.items()]:
        expected = theirs[name]
        assert score.precision == pytest.approx(expected["precision"])
        assert score.recall == pytest.approx(expected["recall"])
        assert score.f1 == pytest.approx(expected["f1-score"])
        assert score.n_gold == expected["support"]


@pytest.mark.parametrize(
    ("tags", "strict", "conlleval"),
    [
        ("O B-PER I-PER O", [("PER", 1, 3)], [("PER", 1, 3)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)], [("PER", 0, 1), ("PER", 1, 2)]),
        ("O I-PER", [], [("PER", 1, 2)]),
        ("B-PER I-LOC I-LOC", [("PER", 0, 1)], [("PER", 0, 1), ("LOC", 1, 3)]),
        ("I-LOC B-LOC", [("LOC", 1, 2)], [("LOC", 0, 1), ("LOC", 1, 2)]),
        ("", [], []),
    ],
)
def test_entities_of_tags(
    tags: str, strict: list[metrics.Span], conlleval: list[metrics.Span]
) -> None:
    assert metrics.entities(tags.split()) == strict
    assert metrics.entities(tags.split(), "conlleval") == conlleval


@pytest.mark.parametrize("tag", ["X-PER", "B-", "PER", "", "o", "B", "E-PER"])
def test_an_illegal_tag_is_named(tag: str) -> None:
    with pytest.raises(InputError, match=f"the tag is '{tag}'; expected O, B-LABEL or I-LABEL"):
        metrics.entity_scores([["O"]], [[tag]])


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="sentences: 1 against 2"):
        metrics.entity_scores([["O"]], [["O"], ["O"]])
    with pytest.raises(InputError, match="tags of sentence 1: 1 against 2"):
        metrics.entity_scores([["O"], ["O"]], [["O"], ["O", "O"]])


def test_no_entities_score_zero() -> None:
    nothing: list[list[list[str]]] = [[], [[]], [["O"]]]
    for gold in nothing:
        scores = metrics.entity_scores(gold, gold)
        assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == (0, 0, 0)
        assert scores.per_class == {}


# -- classes -----------------------------------------------------------------------------------


@given(pairs=paired_labels())
def test_class_scores_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    from sklearn import metrics as theirs

    gold, predicted = [g for g, _ in pairs], [p for _, p in pairs]
    ours = metrics.class_scores(gold, predicted, LABELS)
    expected = theirs.precision_recall_fscore_support(
        gold, predicted, labels=LABELS, zero_division=0
    )
    rows = [(s.precision, s.recall, s.f1, s.n_gold) for s in ours.values()]
    np.testing.assert_allclose(rows, np.transpose(expected))
    assert list(ours) == LABELS

    options: dict[str, Any] = {"average": "macro", "zero_division": 0}
    assert metrics.accuracy(gold, predicted) == theirs.accuracy_score(gold, predicted)
    f1 = theirs.f1_score(gold, predicted, **options)
    assert metrics.macro_f1(gold, predicted) == pytest.approx(f1)
    recall = theirs.recall_score(gold, predicted, labels=LABELS, **options)
    assert metrics.macro_recall(gold, predicted, LABELS) == pytest.approx(recall)


@pytest.mark.parametrize("labels", [None, LABELS, ["c", "a"]])
def test_confusion_matrix_equals_scikit_learn(labels: list[str] | None) -> None:
    from sklearn.metrics import confusion_matrix

    random = np.random.default_rng(0)
    gold, predicted = random.choice(LABELS, 50).tolist(), random.choice(LABELS, 50).tolist()
    expected = confusion_matrix(gold, predicted, labels=labels)
    np.testing.assert_array_equal(metrics.confusion_matrix(gold, predicted, labels), expected)


def test_multi_label_scores_equal_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support
    from sklearn.preprocessing import MultiLabelBinarizer

    random = np.random.default_rng(0)
    gold, predicted = (
        [[label for label in LABELS if random.random() < 0.4] for _ in range(40)] for _ in "gp"
    )
    binary = MultiLabelBinarizer(classes=LABELS)
    rows = binary.fit_transform(gold), binary.fit_transform(predicted)
    ours = metrics.multi_label_scores(gold, predicted)
    micro = precision_recall_fscore_support(*rows, average="micro")
    assert (ours.micro.precision, ours.micro.recall, ours.micro.f1) == pytest.approx(micro[:3])
    f1 = precision_recall_fscore_support(*rows)[2]
    assert [score.f1 for score in ours.per_class.values()] == pytest.approx(list(f1))


def test_calibration_error_of_worked_examples() -> None:
    error = metrics.expected_calibration_error
    assert error([0.8] * 10, [True] * 8 + [False] * 2) == pytest.approx(0)
    assert error([1.0, 1.0], [True, False]) == pytest.approx(0.5)
    assert error([0.0], [True]) == pytest.approx(1)
    # Two bins, (0, 0.5] and (0.5, 1]: 2/3 of the gap 0.25 and 1/3 of the gap 0.1.
    assert error([0.5, 0.0, 0.9], [True, False, True], n_bins=2) == pytest.approx(0.6 / 3)


def test_calibration_error_equals_its_definition() -> None:
    random = np.random.default_rng(0)
    confidences = random.random(500)
    correct = random.random(500) < confidences**2
    expected = 0.0
    for m in range(15):
        inside = (confidences > m / 15) & (confidences <= (m + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidences[inside].mean())
    ours = metrics.expected_calibration_error(confidences.tolist(), correct.tolist())
    assert ours == pytest.approx(expected)


def test_calibration_bins_of_a_worked_example() -> None:
    bins = metrics.calibration_bins([0.5, 0.0, 0.9, 1.0], [True, False, True, False], n_bins=4)
    assert bins == [
        metrics.CalibrationBin(0.0, 0.25, 1, 0.0, 0.0),
        metrics.CalibrationBin(0.25, 0.5, 1, 0.5, 1.0),
        metrics.CalibrationBin(0.75, 1.0, 2, 0.95, 0.5),
    ]


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan])
def test_a_confidence_is_a_probability(confidence: float) -> None:
    with pytest.raises(InputError, match="expected \\[0, 1\\]"):
        metrics.expected_calibration_error([confidence], [True])


@pytest.mark.parametrize(
    "score",
    [
        metrics.accuracy,
        metrics.class_scores,
        metrics.macro_recall,
        metrics.macro_f1,
        metrics.confusion_matrix,
        metrics.multi_label_scores,
        metrics.expected_calibration_error,
        metrics.calibration_bins,
    ],
)
def test_nothing_cannot_be_scored(score: Any) -> None:
    with pytest.raises(InputError, match="no examples"):
        score([], [])
    with pytest.raises(InputError, match="examples: 1 against 0"):
        score(["a"], [])


# -- question answering ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Eiffel  Tower!", "eiffel tower"),
        ("an apple a day, the end", "apple day end"),
        ("A.B.C. and the-then", "abc and thethen"),
        ("theatre", "theatre"),
        ("the", ""),
        ("?!", ""),
        ("\n10,000\tmen ", "10000 men"),
        ("l’été", "l’été"),
    ],
)
def test_answers_are_normalised_as_in_squad(text: str, normal: str) -> None:
    assert metrics.normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("the Eiffel Tower", ["Eiffel Tower."], 1, 1),
        ("Eiffel Tower in Paris", ["the Eiffel Tower"], 0, 2 / 3),
        ("Gustave Eiffel", ["Eiffel", "Gustave", "a gustave eiffel"], 1, 1),
        ("red red blue", ["red blue blue"], 0, 2 / 3),
        ("London", ["Paris"], 0, 0),
        ("London", [], 0, 0),
        (None, [], 1, 1),
        ("", [], 1, 1),
        ("the", [], 1, 1),
        (None, ["Paris"], 0, 0),
        ("", ["Paris", "."], 0, 0),  # an answer of nothing but punctuation is none
        ("", ["the"], 1, 1),
    ],
)
def test_exact_match_and_f1(
    prediction: str | None, answers: Sequence[str], exact: float, f1: float
) -> None:
    assert metrics.exact_match(prediction, answers) == exact
    assert metrics.answer_f1(prediction, answers) == pytest.approx(f1)


SQUAD_TEXT = st.text(alphabet="aAnNtThHeE .,'-’é0\t", max_size=25)


@given(prediction=SQUAD_TEXT, answers=st.lists(SQUAD_TEXT, min_size=1, max_size=3))
def test_answers_are_scored_as_the_script_of_squad_2_words_it(
    prediction: str, answers: list[str]
) -> None:
    def words(text: str) -> list[str]:  # lower, then punctuation, then articles, then white space
        for mark in string.punctuation:
            text = text.lower().replace(mark, "")
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    def f1(said: list[str], true: list[str]) -> float:
        if not said or not true:
            return float(said == true)
        same = sum(min(said.count(word), true.count(word)) for word in set(said))
        precision, recall = same / len(said), same / len(true)
        return 2 * precision * recall / (precision + recall) if same else 0.0

    golden = [words(answer) for answer in answers if words(answer)] or [[]]
    assert metrics.normalize_answer(prediction) == " ".join(words(prediction))
    assert metrics.exact_match(prediction, answers) == float(words(prediction) in golden)
    best = max(f1(words(prediction), true) for true in golden)
    assert metrics.answer_f1(prediction, answers) == pytest.approx(best)


def score_at(
    threshold: float, odds: list[float], scores: list[float], answerable: list[bool]
) -> float:
    given = zip(odds, scores, answerable, strict=True)
    return sum(s if o <= threshold else float(not a) for o, s, a in given) / len(odds)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([-math.inf, -1.5, 0.0, 0.25, 2.0, math.inf]),
            st.sampled_from([0.0, 0.5, 1.0]),
            st.booleans(),
        ),
        min_size=1,
    )
)
def test_the_threshold_is_the_best_of_all(rows: list[tuple[float, float, bool]]) -> None:
    odds, answerable = [o for o, _, _ in rows], [a for _, _, a in rows]
    scores = [s if a else 0.0 for _, s, a in rows]
    threshold, best = metrics.best_no_answer_threshold(odds, scores, answerable)
    never = sum(not a for a in answerable) / len(rows)
    every = [never, *(score_at(o, odds, scores, answerable) for o in odds)]
    assert best == pytest.approx(max(every))
    if threshold > -math.inf:
        assert score_at(threshold, odds, scores, answerable) == pytest.approx(best)
    else:
        assert best == pytest.approx(max(never, score_at(-math.inf, odds, scores, answerable)))


def test_the_threshold_of_a_worked_example() -> None:
    odds, scores, answerable = [-2, -1, 1, 3], [1.0, 0.5, 0.0, 0.8], [True, True, False, True]
    # Answering all but those above -1 scores (1 + 0.5 + 1 + 0) / 4, answering all (2.3) / 4.
    assert metrics.best_no_answer_threshold(odds, scores, answerable) == (-1, 2.5 / 4)
    assert metrics.best_no_answer_threshold([0.3], [0.0], [False]) == (-math.inf, 1.0)


# -- similarity and ranking --------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-5, 5)), min_size=2))
def test_spearman_equals_scipy(pairs: list[tuple[int, float]]) -> None:
    from scipy.stats import spearmanr

    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    ours = metrics.spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(ours)  # scipy warns
    else:
        assert ours == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)


def test_spearman_of_too_little() -> None:
    assert math.isnan(metrics.spearman([], []))
    assert math.isnan(metrics.spearman([1], [2]))
    assert math.isnan(metrics.spearman([1, math.nan], [2, 3]))
    with pytest.raises(InputError, match="two equally long lists"):
        metrics.spearman([1, 2], [1, 2, 3])


@given(
    st.lists(
        st.tuples(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0]), st.booleans()), min_size=2
    )
)
def test_roc_auc_equals_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    from sklearn.metrics import roc_auc_score

    scores, positive = [s for s, _ in rows], [p for _, p in rows]
    ours = metrics.roc_auc(scores, positive)
    if len(set(positive)) == 1:
        assert math.isnan(ours)  # scikit-learn warns
    else:
        assert ours == pytest.approx(roc_auc_score(positive, np.maximum(scores, -1e9)))


def test_roc_auc_of_a_worked_example() -> None:
    # Of the four pairs two are in order and one is tied.
    assert metrics.roc_auc([0.9, 0.5, 0.5, 0.7], [True, True, False, False]) == 2.5 / 4
    with pytest.raises(InputError, match="two equally long lists"):
        metrics.roc_auc([1.0], [])


def test_retrieval_equals_trec_eval() -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="needs pytrec-eval-terrier")
    random = np.random.default_rng(0)
    documents = [f"d{i}" for i in range(60)]
    for _ in range(50):
        judged = random.choice(documents, 12, replace=False).tolist()
        relevance = {d: int(random.integers(0, 4)) for d in judged}
        ranked = random.permutation(documents)[: random.integers(1, 60)].tolist()
        run = {d: float(len(ranked) - i) for i, d in enumerate(ranked)}
        measures = {"ndcg_cut.1,3,10", "recall.1,5,100", "recip_rank"}
        evaluator = pytrec_eval.RelevanceEvaluator({"q": relevance}, measures)
        expected = evaluator.evaluate({"q": run})["q"]
        for k in (1, 3, 10):
            ours = metrics.ndcg_at_k(ranked, relevance, k)
            assert ours == pytest.approx(expected[f"ndcg_cut_{k}"])
        for k in (1, 5, 100):
            ours = metrics.recall_at_k(ranked, relevance, k)
            assert ours == pytest.approx(expected[f"recall_{k}"])
        for k in (1, 10, 60):
            cut = evaluator.evaluate({"q": {d: run[d] for d in ranked[:k]}})["q"]["recip_rank"]
            assert metrics.reciprocal_rank_at_k(ranked, relevance, k) == pytest.approx(cut)


def test_ranking_of_a_worked_example() -> None:
    ranked, relevance = ["a", "b", "c"], {"b": 2, "c": 1, "z": 1, "a": 0}
    gain = 2 / math.log2(3) + 1 / math.log2(4)
    ideal = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics.ndcg_at_k(ranked, relevance) == pytest.approx(gain / ideal)
    assert metrics.reciprocal_rank_at_k(ranked, relevance) == 1 / 2
    assert metrics.recall_at_k(ranked, relevance, 2) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "score", [metrics.ndcg_at_k, metrics.reciprocal_rank_at_k, metrics.recall_at_k]
)
def test_ranking_edges(score: Any) -> None:
    assert score([], {"a": 1}) == 0
    assert score(["a"], {}) == 0
    assert score(["a"], {"a": 0}) == 0
    with pytest.raises(InputError, match="'a' is ranked more than once"):
        score(["a", "b", "a"], {"a": 1})
