"""The suites measure what they say, on a small pipeline of words and small files of our own."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nlpkit.engines import PluggedHead
from nlpkit.errors import DataError, InputError, UnknownNameError
from nlpkit.evaluation import (
    SUITES,
    Measured,
    Report,
    evaluate_files,
    find_suite,
    make_report,
    read_reports,
)
from nlpkit.heads import PoolingHead, SequenceHead, SpanHead, TokenHead
from nlpkit.scoring import tags_of
from nlpkit.types import Answer, Entity, Label

if TYPE_CHECKING:
    from nlpkit.types import Vector

WORDS = re.compile(r"\w+")
NAMES = {"Ada Lovelace": "PER", "London": "LOC", "Acme": "ORG"}
MOODS = {"good": "positive", "bad": "negative", "plain": "neutral"}
THEMES = {"war": "World", "goal": "Sports", "bank": "Business", "robot": "Sci/Tech"}
LABELS = {
    "sentiment": ("negative", "neutral", "positive"),
    "topic": tuple(THEMES.values()),
    "tags": ("good", "bad"),
}


class WordKit:
    """A pipeline that knows a few words.

    Names are entities. The class of a text is that of the first word it knows. The answer to a
    question is the word that follows the question's last word in the context. Texts with the
    same words have the same embedding.
    """

    def __init__(self) -> None:
        self.heads: dict[str, Any] = {
            "ner": TokenHead(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]),
            "sentiment": SequenceHead(LABELS["sentiment"]),
            "topic": SequenceHead(LABELS["topic"]),
            "tags": SequenceHead(LABELS["tags"], multi_label=True),
            "qa": SpanHead(),
            "embedding": PoolingHead(),
        }

    def head(self, task: str, /) -> PluggedHead:
        if task not in self.heads:
            raise UnknownNameError.of("task", task, self.heads)
        return PluggedHead(self.heads[task], {})

    def ner(self, texts: list[str], /, task: str = "ner") -> list[list[Entity]]:
        known = re.compile("|".join(NAMES))
        return [
            [Entity(m[0], NAMES[m[0]], m.start(), m.end(), 1.0) for m in known.finditer(text)]
            for text in texts
        ]

    def classify(
        self, texts: list[str], /, task: str | None = None, *, labels: Sequence[str] | None = None
    ) -> list[list[Label]]:
        if task == "tags":
            return [[Label(n, float(n in text)) for n in LABELS["tags"]] for text in texts]
        names = LABELS[task or "sentiment"] if labels is None else labels
        known = MOODS if task == "sentiment" else THEMES
        return [self._ranked(text, names, known) for text in texts]

    def answer(
        self, pairs: list[tuple[str, str]], /, *, no_answer: bool = True, task: str = "qa"
    ) -> list[Answer]:
        return [self._answer(question, context, no_answer) for question, context in pairs]

    def embed(self, texts: list[str], /) -> Vector:
        vectors: Vector = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in WORDS.findall(text.lower()):
                row[zlib.crc32(word.encode()) % 256] += 1
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors

    def _ranked(self, text: str, names: Sequence[str], known: dict[str, str]) -> list[Label]:
        if not text.strip():
            return []
        found = next((known[w] for w in WORDS.findall(text.lower()) if w in known), names[0])
        rest = 0.4 / (len(names) - 1)
        labels = [Label(name, 0.6 if name == found else rest) for name in names]
        return sorted(labels, key=lambda label: -label.score)

    def _answer(self, question: str, context: str, no_answer: bool) -> Answer:
        clue = WORDS.findall(question)[-1]
        found = re.search(rf"\b{clue}\W+(\w+)", context)
        nothing = 0.1 if found else 0.9
        if not found and no_answer:
            return Answer(None, None, None, nothing)
        start, end = found.span(1) if found else (0, len(context.split()[0]))
        return Answer(context[start:end], start, end, 0.5 * (1 - nothing if no_answer else 1))


Measure = Callable[..., Measured]
Question = tuple[str, str, list[str]]  #: question, context, answers


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Runs a suite on texts given in place of its sources, in their order."""

    def run(name: str, *texts: str, **options: Any) -> Measured:
        suite = SUITES[name]
        assert len(texts) == len(suite.sources)
        monkeypatch.setenv("NLPKIT_DATA", str(tmp_path))
        for source, text in zip(suite.sources, texts, strict=True):
            path = tmp_path / source.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(text.encode()))
        sources = tuple(replace(source, sha256="") for source in suite.sources)
        return replace(suite, sources=sources).run(WordKit(), **options)

    return run


def jsonl(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def classified(*rows: tuple[str, Any]) -> str:
    return jsonl(*({"text": text, "label": label} for text, label in rows))


def squad(**articles: list[Question]) -> str:
    """A SQuAD file of articles by title."""
    data = [
        {
            "title": title,
            "paragraphs": [
                {
                    "context": context,
                    "qas": [
                        {
                            "id": question,
                            "question": question,
                            "answers": [
                                {"answer_start": context.index(a), "text": a} for a in answers
                            ],
                        }
                    ],
                }
                for question, context, answers in rows
            ],
        }
        for title, rows in articles.items()
    ]
    return json.dumps({"data": data})


# -- suites --------------------------------------------------------------------------------------


def test_conll2003_is_strict_f1_of_entities_projected_on_tokens(measure: Measure) -> None:
    found = measure(
        "conll2003",
        "Ada\tB-PER\nLovelace\tI-PER\nleft\tO\nLondon-based\tB-ORG\n\nAcme\tB-ORG\nInc\tI-ORG\n",
    )
    # PER is right; London touches the whole token but has another label; Acme is half of one.
    assert found.scores["f1"] == pytest.approx(1 / 3)
    assert found.scores["conlleval_f1"] == pytest.approx(1 / 3)
    assert found.scores["PER_f1"] == 1
    assert found.scores["ORG_f1"] == 0
    assert found.n_examples == 2
    assert found.details["per_class"]["ORG"] == {
        "precision": 0,
        "recall": 0,
        "f1": 0,
        "n_gold": 2,
        "n_predicted": 1,
    }


def test_wnut17_counts_persons_and_locations_alone(measure: Measure) -> None:
    found = measure("wnut17", "London\tB-location\nAcme\tB-corporation\nBob\tB-person\n")
    assert found.scores["precision"] == 1  # Acme is left out on both sides
    assert found.scores["recall"] == 1 / 2
    assert found.details["per_class"].keys() == {"LOC", "PER"}


def test_sst2_leaves_the_neutral_class_out(measure: Measure) -> None:
    found = measure("sst2", classified(("good fun", 1), ("bad", 0), ("plain", 0), ("bad", 1)))
    # "plain" is neutral above all; of the other two classes negative comes first.
    assert found.scores["accuracy"] == 3 / 4
    assert found.details["confusion_matrix"] == [[2, 0], [1, 1]]


def test_sentiment_suites_score_three_classes(measure: Measure) -> None:
    rows = [("good", "positive"), ("good", "positive"), ("bad", "neutral"), ("bad", "negative")]
    tweets = measure("semeval2017", classified(*rows))
    assert next(iter(tweets.scores)) == "macro_recall"
    assert tweets.scores["macro_recall"] == pytest.approx((1 + 0 + 1) / 3)
    reviews = measure("amazon_alexa", classified(*rows))
    assert next(iter(reviews.scores)) == "macro_f1"
    assert reviews.scores["macro_f1"] == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert reviews.details["expected_calibration_error"] == pytest.approx(3 / 4 - 0.6)


def test_ag_news_with_a_head_and_without(measure: Measure) -> None:
    rows = classified(("a goal", "Sports"), ("a robot", "Sci/Tech"), ("a bank", "World"))
    for name in ("ag_news", "ag_news_zero_shot"):
        assert measure(name, rows).scores["accuracy"] == pytest.approx(2 / 3)


def test_a_text_without_a_result_counts_as_wrong(measure: Measure) -> None:
    assert (
        measure("ag_news", classified((" ", "World"), ("war", "World"))).scores["accuracy"] == 0.5
    )


def test_squad_v1_always_answers(measure: Measure) -> None:
    rows = [
        ("Who is the inventor?", "The inventor Ada slept.", ["Ada"]),
        ("Where is the harbour?", "Nobody knows.", ["knows"]),
    ]
    assert measure("squad_v1", squad(t=rows)).scores == {"f1": 1 / 2, "em": 1 / 2}


def test_squad_v2_stands_beside_always_and_never_answering(measure: Measure) -> None:
    known: Question = ("Who is the inventor?", "The inventor Ada slept.", ["Ada"])
    unknown: Question = ("Where is the harbour?", "Nobody knows.", [])
    hidden: Question = ("Where is the harbour?", "Boats lie there.", ["Boats"])
    found = measure("squad_v2", squad(b=[known, unknown], a=[hidden, hidden, unknown], c=[known]))
    scores = found.scores
    assert (scores["f1"], scores["em"]) == (4 / 6, 4 / 6)
    assert (scores["f1_answerable"], scores["f1_unanswerable"]) == (2 / 4, 1)
    assert (scores["f1_always_answer"], scores["f1_never_answer"]) == (4 / 6, 2 / 6)
    assert scores["f1_held_out"] == 1  # a and c are for fitting, b is held out
    assert found.details["held_out_articles"] == ["b"]


def test_squad_v2_of_one_article_has_nothing_held_out(measure: Measure) -> None:
    found = measure("squad_v2", squad(a=[("Where is it?", "It lies there.", [])] * 3), limit=2)
    assert found.n_examples == 2
    assert math.isnan(found.scores["f1_held_out"])


def test_stsb_is_the_rank_correlation_of_cosines(measure: Measure) -> None:
    pairs = [("a red cat", "a red cat", 5), ("a red cat", "a red dog", 3), ("cat", "dog", 0)]
    rows = jsonl(*({"sentence1": a, "sentence2": b, "score": s} for a, b, s in pairs))
    assert measure("stsb", rows).scores == {"spearman": pytest.approx(1)}


def scifact_files(n_documents: int) -> tuple[str, str, str]:
    corpus = jsonl(
        *({"_id": f"d{i}", "title": f"Title{i}", "text": f"word{i}."} for i in range(n_documents))
    )
    queries = jsonl(
        {"_id": "q1", "text": "title0 word0"},
        {"_id": "q2", "text": "title1 word2"},
        {"_id": "q3", "text": "not judged"},
    )
    return corpus, queries, "query-id\tcorpus-id\tscore\nq1\td0\t1\nq2\td2\t1\nq2\td1\t0\n"


def test_scifact_searches_titles_and_texts(measure: Measure) -> None:
    found = measure("scifact", *scifact_files(3))
    # d1 and d2 are equally near to the second query, and stay in their order.
    assert found.scores["ndcg_at_10"] == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert found.scores["mrr_at_10"] == pytest.approx((1 + 1 / 2) / 2)
    assert found.scores["recall_at_100"] == 1
    assert found.n_examples == 2


def test_scifact_with_a_limit_searches_a_smaller_corpus(measure: Measure) -> None:
    found = measure("scifact", *scifact_files(50), limit=1)
    assert (found.n_examples, found.details["n_documents"]) == (1, 10)


def test_scifact_names_a_bad_judgment(measure: Measure) -> None:
    corpus, queries, _ = scifact_files(3)
    with pytest.raises(DataError, match=r"test.tsv.gz, line 3: .*expected query-id"):
        measure("scifact", corpus, queries, "query-id\tcorpus-id\tscore\nq1\td0\t1\nq1\td1\tmuch\n")


def test_limit_takes_the_first_examples_and_progress_counts(measure: Measure) -> None:
    seen: list[tuple[int, int]] = []
    rows = [("war", "World")] * 300 + [("war", "Sports")] * 300
    found = measure("ag_news", classified(*rows), limit=300, progress=lambda *n: seen.append(n))
    assert (found.n_examples, found.scores["accuracy"]) == (300, 1)
    assert seen == [(256, 300), (300, 300)]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="limit is 0; expected at least 1"):
        SUITES["stsb"].run(WordKit(), limit=0)


def test_an_unknown_suite_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown suite 'glue'; known: ag_news, .*wnut17"):
        find_suite("glue")


def test_missing_data_say_where_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLPKIT_DATA", raising=False)
    with pytest.raises(InputError, match="set NLPKIT_DATA"):
        find_suite("conll2003").run(WordKit())


def test_altered_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLPKIT_DATA", str(tmp_path))
    (tmp_path / "stsb").mkdir()
    (tmp_path / "stsb" / "test.jsonl.gz").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(DataError, match="SHA-256"):
        find_suite("stsb").run(WordKit())


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_names_its_data(name: str) -> None:
    suite = SUITES[name]
    assert suite.name == name
    assert suite.measures
    for source in suite.sources:
        assert source.licence
        assert source.address.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", source.sha256)


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_reads_the_real_data(name: str, data_folder: Path) -> None:
    found = find_suite(name).run(WordKit(), limit=20)
    assert found.n_examples == 20
    assert all(abs(score) <= 1 for score in found.scores.values() if math.isfinite(score))


# -- entities on tokens ----------------------------------------------------------------------


def entity(start: int, end: int, label: str = "PER") -> Entity:
    return Entity("", label, start, end, 1.0)


@pytest.mark.parametrize(
    ("entities", "tags"),
    [
        ([], "O O O O"),
        ([entity(0, 3)], "B-PER O O O"),
        ([entity(1, 2)], "B-PER O O O"),  # inside of a token
        ([entity(0, 7)], "B-PER I-PER O O"),
        ([entity(2, 9)], "B-PER I-PER I-PER O"),
        ([entity(3, 4)], "O O O O"),  # a space touches no token
        ([entity(8, 9, "LOC"), entity(4, 7)], "O B-PER B-LOC O"),
        ([entity(0, 5), entity(6, 9, "LOC")], "B-PER I-PER B-LOC O"),  # both touch "two"
        ([entity(0, 9), entity(4, 7, "LOC")], "B-PER I-PER I-PER O"),
    ],
)
def test_entities_become_tags_of_the_tokens_they_touch(entities: list[Entity], tags: str) -> None:
    assert tags_of(["one", "two", "3", "four"], entities) == tags.split()


def test_entities_in_no_token() -> None:
    assert tags_of([], []) == []


# -- files of one's own --------------------------------------------------------------------------


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_conll_file(tmp_path: Path) -> None:
    path = written(tmp_path, "a.conll", "Ada B-PER\nLovelace I-PER\n\nParis B-LOC\n")
    found = evaluate_files(WordKit(), "ner", path)
    assert (found.scores["precision"], found.scores["recall"]) == (1, 1 / 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "text,label\ngood,positive\nbad,negative\nbad,neutral\n"),
        ("a.jsonl", classified(("good", "positive"), ("bad", "negative"), ("bad", "neutral"))),
    ],
)
def test_a_classified_file(tmp_path: Path, name: str, text: str) -> None:
    found = evaluate_files(WordKit(), "sentiment", written(tmp_path, name, text))
    assert found.scores["accuracy"] == pytest.approx(2 / 3)
    assert found.details["labels"] == ["negative", "neutral", "positive"]


def test_a_multi_label_file(tmp_path: Path) -> None:
    rows = classified(("good and bad", ["bad", "good"]), ("good", ["bad"]), ("none", []))
    found = evaluate_files(WordKit(), "tags", written(tmp_path, "a.jsonl", rows))
    assert found.scores["micro_f1"] == pytest.approx(2 / 3)
    assert found.scores["all_labels_right"] == pytest.approx(2 / 3)


def test_a_squad_file(tmp_path: Path) -> None:
    rows = [("Where is the harbour?", "It lies there.", ["It"])]
    path = written(tmp_path, "a.json", squad(a=rows))
    assert evaluate_files(WordKit(), "qa", path).scores == {"f1": 1, "em": 1}  # forced to answer
    path = written(tmp_path, "b.json", squad(a=[*rows, ("Where?", "It lies there.", [])]))
    assert evaluate_files(WordKit(), "qa", path).scores == {"f1": 1 / 2, "em": 1 / 2}


@pytest.mark.parametrize(
    ("task", "name", "text", "file_has", "head_knows"),
    [
        ("ner", "a.conll", "Rome B-CITY\nAda B-PER\n", "CITY, PER", "LOC, ORG, PER"),
        ("topic", "a.csv", "text,label\nx,Art\n", "Art", "Business, Sci/Tech, Sports, World"),
    ],
)
def test_labels_that_the_head_does_not_know(
    tmp_path: Path, task: str, name: str, text: str, file_has: str, head_knows: str
) -> None:
    with pytest.raises(InputError) as caught:
        evaluate_files(WordKit(), task, written(tmp_path, name, text))
    assert f"{name} and the head '{task}' disagree on the labels" in str(caught.value)
    assert f"the file has {file_has}; the head knows {head_knows}" in str(caught.value)


def test_several_labels_for_a_head_that_gives_one(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", classified(("x", ["positive", "negative"])))
    with pytest.raises(InputError, match="1 examples have not exactly one label"):
        evaluate_files(WordKit(), "sentiment", path)


def test_tasks_that_files_cannot_score(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'embedding' is of kind 'pooling'; files can be scored"):
        evaluate_files(WordKit(), "embedding", tmp_path)
    with pytest.raises(UnknownNameError, match="unknown task 'mood'"):
        evaluate_files(WordKit(), "mood", tmp_path)
    with pytest.raises(DataError, match="it holds no question"):
        evaluate_files(WordKit(), "qa", written(tmp_path, "a.json", '{"data": []}'))


# -- reports -------------------------------------------------------------------------------------


def a_report(**changes: Any) -> Report:
    report = Report(
        suite="conll2003",
        scores={"f1": 0.88512, "precision": 0.9, "recall": 0.87, "conlleval_f1": 0.9, "PER_f1": 1},
        n_examples=3453,
        seconds=41.26,
        bundle="base-en-1",
        engine="onnx",
        precision="int8",
        version="0.1.0",
        command="nlpkit evaluate base-en --suite conll2003",
    )
    return replace(report, **changes)


def test_a_report_of_a_measurement() -> None:
    measured = Measured({"f1": 0.5, "em": 0.25}, 4, {"labels": ["a"]})
    report = make_report(
        "mine", lambda: measured, bundle="b-1", engine="e", precision="fp32", command="nlpkit x"
    )
    assert (report.suite, report.scores, report.n_examples) == ("mine", measured.scores, 4)
    assert (report.bundle, report.engine, report.precision) == ("b-1", "e", "fp32")
    assert (report.command, report.details) == ("nlpkit x", {"labels": ["a"]})
    assert report.main == ("f1", 0.5)
    assert report.seconds >= 0
    assert report.version


def test_a_report_as_a_line() -> None:
    assert a_report().line() == (
        "conll2003          f1 0.8851  precision 0.9000  recall 0.8700  conlleval_f1 0.9000  "
        "(3,453 examples, 41.3 s, base-en-1 onnx int8)"
    )


def test_reports_as_json_and_back(tmp_path: Path) -> None:
    undefined = a_report(suite="stsb", scores={"spearman": math.nan}, details={"x": [math.inf]})
    reports = [a_report(details={"é": {"n": 1}}), undefined]
    path = written(tmp_path, "reports.jsonl", "\n".join(report.to_json() for report in reports))
    first, second = read_reports(path)
    assert first == reports[0]
    assert math.isnan(second.scores["spearman"])
    assert second.details == {"x": [None]}


@pytest.mark.parametrize("line", ["{}", '{"scores": 1}', '{"scores": {"f1": 1}}', "[]", "no"])
def test_a_line_that_is_no_report(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, "reports.jsonl", f"{a_report().to_json()}\n{line}\n")
    with pytest.raises(DataError, match=r"reports.jsonl, line 2: "):
        read_reports(path)
