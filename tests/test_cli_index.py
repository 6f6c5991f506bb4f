"""``nlpkit index`` as its user types it: what it prints, what it returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nlpkit.bundle import bundles
from nlpkit.cli import app_main

ROWS = [
    "id,text,year,lang",
    'a,"Engines that fly, and their pilots",2021,en',
    "b,Bread wants flour and water,2019,en",
    "c,,2020,en",
    "d,Charles Babbage built the difference engine in London.,1822,en",
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(ROWS) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def place(tmp_path: Path, source: Path) -> Path:
    folder = tmp_path / "my.index"
    assert app_main(["index", "build", str(source), "--index", str(folder)]) == 0
    return folder


def lines(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[Any]:
    """What a command prints as JSON Lines."""
    capsys.readouterr()
    assert app_main(["index", *words, "--json"]) == status
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_build_sets_the_bad_row_aside(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app_main(["index", "build", str(source), "--index", str(tmp_path / "x.index")]) == 0
    shown = capsys.readouterr()
    assert "3 added" in shown.out
    assert "1 set aside" in shown.out
    assert "rows.csv, line 4" in shown.err


def test_search_filters_and_shows_the_place(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = lines(capsys, "search", "aeroplanes", "-i", str(place), "-k", "1")
    assert found[0]["id"] == "a"
    assert found[0]["text"][found[0]["start"] : found[0]["end"]].startswith("Engines")
    old = lines(capsys, "search", "aeroplanes", "-i", str(place), "--where", "year<2000")
    assert [hit["id"] for hit in old] == ["d"]
    listed = lines(capsys, "search", "x", "-i", str(place), "--where", "year in [2019, 2021]")
    assert {hit["id"] for hit in listed} == {"a", "b"}
    words = lines(capsys, "search", "flour", "-i", str(place), "--keywords")
    assert [hit["id"] for hit in words] == ["b"]


@pytest.mark.parametrize(
    ("condition", "said"),
    [("year", "expected FIELD"), ("year in 3", "a JSON list"), ("yaer=3", "unknown field 'yaer'")],
)
def test_a_bad_condition_is_explained(
    place: Path, capsys: pytest.CaptureFixture[str], condition: str, said: str
) -> None:
    assert app_main(["index", "search", "x", "-i", str(place), "--where", condition]) == 2
    assert said in capsys.readouterr().err


def test_ask_quotes_or_says_that_there_is_no_answer(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "Where did Charles Babbage build the difference engine?"
    answers = lines(capsys, "ask", question, "-i", str(place))[0]["answers"]
    assert (answers[0]["text"], answers[0]["document_id"]) == ("London", "d")
    assert app_main(["index", "ask", "Who won the cup?", "-i", str(place), "-k", "1"]) == 0
    assert "no answer" in capsys.readouterr().out


def test_update_costs_what_changed_and_prunes(
    place: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = lines(capsys, "update", str(source), "-i", str(place))[0]
    assert (again["unchanged"], again["added"], again["updated"]) == (3, 0, 0)
    rows = [ROWS[0], ROWS[1].replace("pilots", "wings"), ROWS[4]]
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    end = lines(capsys, "update", str(source), "-i", str(place), "--prune")[0]
    assert (end["updated"], end["unchanged"], end["deleted"]) == (1, 1, 1)
    assert lines(capsys, "verify", "-i", str(place), "--source", str(source)) == [{"problems": []}]


def test_damage_is_named_and_repaired(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segment = next((place / "segments").iterdir())
    vectors = segment / "vectors.npy"
    data = bytearray(vectors.read_bytes())
    data[-1] ^= 1
    vectors.write_bytes(bytes(data))
    problems = lines(capsys, "verify", "-i", str(place), status=1)[0]["problems"]
    assert segment.name in problems[0]
    assert "vectors.npy" in problems[0]
    assert app_main(["index", "repair", "-i", str(place)]) == 0
    assert app_main(["index", "verify", "-i", str(place)]) == 0


def test_errors_and_retry(place: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, "errors", "-i", str(place))[0]["place"].endswith("line 4")
    rows = [*ROWS[:3], "c,Now it has a text,2020,en", ROWS[4]]
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines(capsys, "retry", "-i", str(place))
    status = lines(capsys, "status", "-i", str(place))[0]
    assert (status["documents"], status["jobs"][0]["errors"]) == (4, 0)


def test_workers_share_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "many.jsonl"
    source.write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(2500)))
    words = ["build", str(source), "-i", str(tmp_path / "m.index"), "--workers", "2"]
    end = lines(capsys, *words)[0]
    assert (end["state"], end["added"], end["done"]) == ("done", 2500, 2500)


def test_compact_delete_and_status(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app_main(["index", "delete", "a", "zz", "-i", str(place)]) == 0
    assert "deleted 1 of 2" in capsys.readouterr().out
    state = lines(capsys, "compact", "-i", str(place))[0]
    assert (state["documents"], state["deleted_chunks"], len(state["segments"])) == (2, 0, 1)
    assert app_main(["index", "status", "-i", str(place)]) == 0


def test_evaluate_agrees_with_trec_eval(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pytrec_eval

    asked = {"q1": "flour and aeroplanes", "q2": "engine London", "q3": "never judged"}
    judged = {"q1": {"b": 2, "a": 1}, "q2": {"d": 1, "zz": 1}}
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "test.tsv"
    queries.write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in asked.items()))
    rows = [f"{q}\t{d}\t{score}" for q, found in judged.items() for d, score in found.items()]
    qrels.write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    files = ["--queries", str(queries), "--judgments", str(qrels)]
    scores = lines(capsys, "evaluate", "-i", str(place), *files)[0]
    for way, options in (("meaning", []), ("keywords", ["--keywords"]), ("hybrid", ["--hybrid"])):
        run = {}
        for name in judged:
            hits = lines(capsys, "search", asked[name], "-i", str(place), "-k", "100", *options)
            run[name] = {hit["id"]: 100.0 - rank for rank, hit in enumerate(hits)}
        measures = {"ndcg_cut_10", "recip_rank", "recall_100"}
        found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
        means = {m: sum(one[m] for one in found.values()) / len(judged) for m in measures}
        assert scores[way] == pytest.approx(
            {
                "ndcg_at_10": means["ndcg_cut_10"],
                "mrr_at_10": means["recip_rank"],
                "recall_at_100": means["recall_100"],
            }
        )


def test_predictions_are_kept_with_their_model(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["index", "analyze", "-i", str(place), "--task", "ner"]
    assert app_main(words) == 0
    assert app_main(words) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["read 3 documents", "read 0 documents"]
    assert app_main(["index", "predictions", "-i", str(place), "--task", "ner"]) == 0
    kept = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["document_id"] for row in kept] == ["a", "b", "d"]
    assert kept[2]["value"][0]["text"] == "Charles Babbage"
    assert (kept[2]["model"], len(kept[2]["model_sha256"])) == (bundles()["base-en"].name, 64)


def test_a_finished_job_cannot_be_paused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app_main(["index", "pause", "-i", str(place)]) == 2
    assert "is done" in capsys.readouterr().err


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app_main(["index", "search", "x", "-i", str(tmp_path / "none")]) == 2
    assert "no index" in capsys.readouterr().err
    assert app_main(["index", "build", "no-such", "-i", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()
