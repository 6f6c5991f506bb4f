"""The suites measure what they say, on a small pipeline of words and small files of our own."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from words import NAMES, WordKit

from nlpkit.errors import DataError, InputError, UnknownNameError
from nlpkit.evaluation import (
    GROUPS,
    SUITES,
    Measured,
    Report,
    evaluate_files,
    find_suite,
    find_suites,
    make_report,
    read_reports,
)
from nlpkit.scoring import tags_of
from nlpkit.types import Entity

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


def test_documents_are_read_whole_and_scored_by_sentence(measure: Measure) -> None:
    # One text, "by Ada Lovelace left Acme London": the name goes over the border of a sentence.
    text = "-DOCSTART- O\n\nby O\nAda B-PER\n\nLovelace B-PER\nleft O\n\nAcme B-ORG\n"
    found = measure("conll2003_documents", text + "\n-DOCSTART- O\n\nLondon B-LOC\n")
    assert found.n_examples == 2
    scores = found.details["per_class"]
    assert (scores["PER"]["n_gold"], scores["PER"]["n_predicted"]) == (2, 1)
    assert scores["PER"]["f1"] == pytest.approx(2 / 3)
    # conlleval reads an entity off the I-PER that opens the second sentence.
    assert found.details["per_class_conlleval"]["PER"]["f1"] == 1
    assert scores["ORG"]["f1"] == scores["LOC"]["f1"] == 1
    assert measure("conll2003_documents", text, limit=1).n_examples == 1


@pytest.mark.parametrize(("name", "f1"), [("conll2003_lower", 0), ("conll2003_upper", 0.5)])
def test_other_letters_reach_the_head(
    measure: Measure, monkeypatch: pytest.MonkeyPatch, name: str, f1: float
) -> None:
    monkeypatch.setitem(NAMES, "OSLO", "LOC")
    found = measure(name, "Oslo B-LOC\nstraße O\n\nLondon B-LOC\n")
    assert found.scores["recall"] == f1


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
    found = measure("squad_v1", squad(t=rows), squad(s=rows, t=rows))
    assert found.scores == {"f1": 1 / 2, "em": 1 / 2}
    assert found.intervals == {"f1": [0, 1], "em": [0, 1]}
    assert sum(one["n"] for one in found.details["calibration"]) == 2


def test_confidence_in_answers_is_judged_where_it_was_not_fitted(measure: Measure) -> None:
    known: Question = ("Who is the inventor?", "The inventor Ada slept.", ["Ada"])
    hidden: Question = ("Where is the harbour?", "Boats lie there.", ["there"])
    second = squad(a=[known], b=[known, hidden], c=[known])
    found = measure("squad_v1", squad(a=[known], b=[hidden], d=[hidden], c=[known]), second)
    assert sum(one["n"] for one in found.details["calibration"]) == 2  # b and d
    assert found.details["calibration"][0]["accuracy"] == 0
    assert found.scores["em"] == 2 / 4
    found = measure("squad_v2", second)
    assert sum(one["n"] for one in found.details["calibration"]) == 2  # b
    nothing = measure("squad_v1", squad(a=[known]), second)
    assert "expected_calibration_error" not in nothing.details


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
    assert scores["f1_over_never_answer"] == pytest.approx(2 / 6)
    assert scores["f1_over_never_answer_held_out"] == pytest.approx(1 - 1 / 2)
    assert found.intervals.keys() == scores.keys()
    # Two answers are found, by the word before them; of the other four none looks better.
    assert scores["auc_answerable"] == pytest.approx((2 * 2 + 2 * 2 / 2) / (4 * 2))
    curve = found.details["threshold_curve"]
    assert curve["f1"][curve["lead"].index(0)] == pytest.approx(4 / 6, abs=1e-4)
    assert curve["answered"][-1] == 1
    assert curve["f1"][-1] == pytest.approx(4 / 6, abs=1e-4)


def test_squad_v2_heldout_is_the_other_half_of_the_articles(measure: Measure) -> None:
    known: Question = ("Who is the inventor?", "The inventor Ada slept.", ["Ada"])
    hidden: Question = ("Where is the harbour?", "Boats lie there.", ["Boats"])
    file = squad(a=[hidden], b=[known, known], c=[hidden], d=[hidden])
    found = measure("squad_v2_heldout", file)
    assert found.n_examples == 3
    assert found.scores["f1"] == pytest.approx(2 / 3)
    assert found.scores["f1_over_never_answer"] == pytest.approx(2 / 3)
    # The halves are those of the whole file, whatever the limit.
    assert measure("squad_v2_heldout", file, limit=2).scores["f1"] == 1
    assert measure("squad_v2", file, limit=3).scores["f1_held_out"] == 1


def test_squad_v2_of_one_article_has_nothing_held_out(measure: Measure) -> None:
    found = measure("squad_v2", squad(a=[("Where is it?", "It lies there.", [])] * 3), limit=2)
    assert found.n_examples == 2
    assert math.isnan(found.scores["f1_held_out"])


def test_stsb_is_the_rank_correlation_of_cosines(measure: Measure) -> None:
    pairs = [("a red cat", "a red cat", 5), ("a red cat", "a red dog", 3), ("cat", "dog", 0)]
    rows = jsonl(*({"sentence1": a, "sentence2": b, "score": s} for a, b, s in pairs))
    found = measure("stsb", rows)
    assert found.scores == {"spearman": pytest.approx(1)}
    assert found.worst == []  # all stand in their order


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


def test_scifact_shows_the_worst_queries_with_what_was_found(measure: Measure) -> None:
    found = measure("scifact", *scifact_files(3))
    (worst,) = found.worst
    assert worst["score"] == pytest.approx(1 / math.log2(3))
    assert (worst["text"], worst["predicted"]) == ("title1 word2", "Title1")
    assert worst["gold"] == "Title2 (rank 2)"
    assert found.scores["recall_at_10"] == 1


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
    with pytest.raises(UnknownNameError, match=r"unknown suite 'glue'; known: .*dev, .*test"):
        find_suites(["dev", "glue"])


def test_groups_are_the_suites_to_choose_by_and_those_to_report() -> None:
    assert not set(GROUPS["dev"]) & set(GROUPS["test"])
    assert {"conll2003_dev", "stsb_dev", "semeval2017_dev"} <= set(GROUPS["dev"])
    assert SUITES.keys() - {*GROUPS["dev"], *GROUPS["test"]} == {"squad_v2_heldout"}
    test_files = {source.file for name in GROUPS["test"] for source in SUITES[name].sources}
    dev_files = {source.file for name in GROUPS["dev"] for source in SUITES[name].sources}
    assert not test_files & dev_files
    names = [suite.name for suite in find_suites(["sst2", "dev", "conll2003_dev", "sst2"])]
    assert names == ["sst2", *GROUPS["dev"]]


def test_a_suite_that_is_part_of_another_names_it() -> None:
    assert {s.part_of for s in SUITES.values()} - {""} <= SUITES.keys()


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
    found = evaluate_files(WordKit(), "qa", path)
    assert list(found.scores.items())[:2] == [("f1", 1 / 2), ("em", 1 / 2)]
    assert found.scores["f1_never_answer"] == 1 / 2


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
    measured = Measured({"f1": 0.5, "em": 0.25}, 4, {"labels": ["a"]}, {"f1": [0, 1]}, [{"x": 1}])
    report = make_report(
        "mine", lambda: measured, bundle="b-1", engine="e", precision="fp32", command="nlpkit x"
    )
    assert (report.suite, report.scores, report.n_examples) == ("mine", measured.scores, 4)
    assert (report.bundle, report.engine, report.precision) == ("b-1", "e", "fp32")
    assert (report.command, report.details) == ("nlpkit x", {"labels": ["a"]})
    assert (report.intervals, report.worst) == ({"f1": [0, 1]}, [{"x": 1}])
    assert report.main == ("f1", 0.5)
    assert report.seconds >= 0
    assert report.version


def test_a_report_as_a_line() -> None:
    assert a_report().line() == (
        "conll2003                f1 0.8851  precision 0.9000  recall 0.8700  conlleval_f1 0.9000  "
        "(3,453 examples, 41.3 s, base-en-1 onnx int8)"
    )


def test_a_line_has_the_interval_of_the_main_score() -> None:
    intervals = {"f1": [0.88, 0.8949], "precision": [0.8, 0.95]}
    line = a_report(intervals=intervals).line()
    assert "f1 0.8851 [0.8800, 0.8949]  precision 0.9000  recall" in line


def test_a_report_of_the_first_version_can_be_read(tmp_path: Path) -> None:
    row = json.loads(a_report().to_json())
    del row["intervals"], row["worst"]
    assert read_reports(written(tmp_path, "old.jsonl", json.dumps(row))) == [a_report()]


def test_reports_as_json_and_back(tmp_path: Path) -> None:
    undefined = a_report(
        suite="stsb",
        scores={"spearman": math.nan},
        details={"x": [math.inf]},
        intervals={"spearman": [math.nan, 1.0]},
    )
    worst = [{"score": 0.5, "text": "é"}]
    reports = [a_report(details={"é": {"n": 1}}, intervals={"f1": [0, 1]}, worst=worst), undefined]
    path = written(tmp_path, "reports.jsonl", "\n".join(report.to_json() for report in reports))
    first, second = read_reports(path)
    assert first == reports[0]
    assert math.isnan(second.scores["spearman"])
    assert second.details == {"x": [None]}
    assert math.isnan(second.intervals["spearman"][0])


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"scores": {}, "intervals": {"f1": [1]}}',
        '{"scores": 1}',
        '{"scores": {"f1": 1}}',
        "[]",
        "no",
    ],
)
def test_a_line_that_is_no_report(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, "reports.jsonl", f"{a_report().to_json()}\n{line}\n")
    with pytest.raises(DataError, match=r"reports.jsonl, line 2: "):
        read_reports(path)
