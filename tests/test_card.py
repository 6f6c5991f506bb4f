"""A card says what was measured, on what, and nothing that was not."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nlpkit.card import BundleFacts, TaskFacts, card_json, card_markdown, compare, write_card
from nlpkit.errors import InputError, OutputExistsError
from nlpkit.evaluation import Report
from nlpkit.readers import Source
from nlpkit.suites import SUITES
from nlpkit.training.recipe import Recipe, Task

NEWS = Source(
    file="news/train.conll.gz",
    name="Our news",
    licence="CC0 | own",
    address="https://example.org/news",
    sha256="ab" * 32,
)
FACTS = BundleFacts(
    name="base-xx",
    version=3,
    description="Entities for nobody",
    backbone="a-backbone",
    seed=7,
    precision="int8",
    licence="See WEIGHTS-LICENSE.",
    intended_use="Tests.",
    tasks=(TaskFacts("ner", "token-classification", ("O", "B-PER", "I-PER"), (NEWS,)),),
    files={"weights.safetensors": "cd" * 32, "model.onnx": "ef" * 32},
)


def a_report(suite: str = "conll2003", precision: str = "int8", **changes: Any) -> Report:
    suffix = "" if precision == "int8" else f" --precision {precision}"
    report = Report(
        suite=suite,
        scores={"f1": 0.88, "precision": 0.9},
        n_examples=3453,
        seconds=40.0,
        bundle="base-xx-3",
        engine="onnx",
        precision=precision,
        version="0.1.0",
        command=f"nlpkit evaluate base-xx --suite {suite}{suffix}",
    )
    return replace(report, **changes)


def test_a_score_stands_with_its_command_and_its_loss() -> None:
    card = card_markdown(FACTS, [a_report(), a_report(precision="fp32", scores={"f1": 0.885})])
    assert (
        "| suite | what | score | int8 | fp32 | loss, points | examples | command |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| conll2003 | CoNLL-2003 test, strict entity F1, one sentence a call | f1 | 0.8800 | "
        "0.8850 | 0.50 | 3,453 | `nlpkit evaluate base-xx --suite conll2003` |\n"
    ) in card
    assert "- conll2003: precision 0.9000" in card
    assert "```\nnlpkit evaluate base-xx --suite conll2003 --precision fp32\n```" in card
    assert "Measured with nlpkit-bert 0.1.0, engine onnx." in card


def test_without_a_reference_there_is_no_loss() -> None:
    card = card_markdown(FACTS, [a_report(scores={"f1": 0.88})])
    assert "| suite | what | score | int8 | examples | command |" in card
    assert "fp32" not in card
    assert "Further scores" not in card


def test_a_reference_alone_is_not_a_shipped_score() -> None:
    card = card_markdown(FACTS, [a_report(), a_report("mine", "fp32")])
    assert "| mine |  | f1 |  | 0.8800 |  | 3,453 |" in card


def test_a_bundle_shipped_in_fp32_is_its_own_reference() -> None:
    (compared,) = compare(replace(FACTS, precision="fp32"), [a_report(precision="fp32")])
    assert (compared.reference, compared.loss) == (None, None)


def test_the_card_says_what_the_bundle_is() -> None:
    card = card_markdown(FACTS, [], ["Sarcasm is read as praise.", "Lower-case names are missed."])
    assert card.startswith("# base-xx-3\n\nEntities for nobody. Made from a-backbone with seed 7;")
    assert "See WEIGHTS-LICENSE." in card
    assert "## Intended use\n\nTests.\n" in card
    assert "| ner | token-classification | O, B-PER, I-PER |" in card
    assert (
        "| ner | Our news | CC0 \\| own | https://example.org/news | news/train.conll.gz | "
        f"`{'ab' * 32}` |"
    ) in card
    assert "- Sarcasm is read as praise.\n- Lower-case names are missed.\n" in card
    assert card.index("model.onnx") < card.index("weights.safetensors")
    assert "Nothing was measured." in card
    assert "None was recorded." in card_markdown(FACTS, [])


def test_the_last_report_of_a_suite_counts() -> None:
    (compared,) = compare(FACTS, [a_report(), a_report(scores={"f1": 0.9})])
    assert compared.shipped is not None
    assert compared.shipped.main == ("f1", 0.9)


def test_a_loss_has_the_sign_of_the_suites_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = [a_report(), a_report(precision="fp32", scores={"f1": 0.87})]
    assert compare(FACTS, reports)[0].loss == pytest.approx(-1)  # it gained
    lower = replace(SUITES["conll2003"], higher_is_better=False)
    monkeypatch.setitem(SUITES, "conll2003", lower)
    assert compare(FACTS, reports)[0].loss == pytest.approx(1)


def test_an_undefined_score_has_no_loss() -> None:
    undefined = a_report(scores={"spearman": math.nan})
    (compared,) = compare(FACTS, [undefined, a_report(precision="fp32")])
    assert compared.loss is None
    assert "| undefined |" in card_markdown(FACTS, [undefined])
    assert json.loads(card_json(FACTS, [undefined]))["reports"][0]["scores"] == {"spearman": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bundle": "base-xx-2"}, "is of base-xx-2; expected base-xx-3"),
        ({"precision": "bf16"}, "is of precision bf16; expected int8 or fp32"),
    ],
)
def test_reports_of_something_else_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        card_markdown(FACTS, [a_report(**changes)])


def test_weights_as_they_are_stored_are_compared_where_there_are_no_others() -> None:
    stored = [a_report(suite, "int8 weights, fp32") for suite in ("conll2003", "sst2")]
    card = card_markdown(FACTS, [a_report(), *stored])
    assert "| score | int8 | int8 weights, fp32 | loss, points |" in card
    assert "The int8 weights, fp32 scores come from:" in card
    card = card_markdown(FACTS, [a_report(), *stored, a_report(precision="fp32")])
    assert "| score | int8 | fp32 | loss, points |" in card
    assert "sst2" not in card


def test_an_interval_stands_beside_its_score() -> None:
    shipped = a_report(intervals={"f1": [0.87, 0.895], "precision": [0.85, 0.95]})
    card = card_markdown(FACTS, [shipped, a_report(precision="fp32"), a_report("mine")])
    assert "| suite | what | score | int8 | 95 % | fp32 | loss, points | examples | comm" in card
    assert "| f1 | 0.8800 | 0.8700 to 0.8950 | 0.8800 | 0.00 | 3,453 |" in card
    assert "| mine |  | f1 | 0.8800 |  |  |  | 3,453 |" in card
    assert "95 %: the interval of the score over 1,000 resamples" in card


def test_entities_stand_by_class_and_calibration_in_a_line() -> None:
    classes = {"PER": {"precision": 0.9, "recall": 0.8, "f1": 0.847, "n_gold": 1617}}
    details = {"per_class": classes, "expected_calibration_error": 0.0312}
    card = card_markdown(FACTS, [a_report(details=details), a_report("sst2", details=details)])
    assert (
        "| suite | class | precision | recall | F1 | support |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| conll2003 | PER | 0.9000 | 0.8000 | 0.8470 | 1,617 |\n\n"
    ) in card  # and none of sst2
    assert "Expected calibration error (15 bins): conll2003 0.0312, sst2 0.0312." in card
    assert "by class" not in card_markdown(FACTS, [a_report()])
    answers = card_markdown(FACTS, [a_report("squad_v1", details=details)])
    assert "squad_v1 0.0312; that of SQuAD on articles that nothing was fitted on." in answers


def test_a_card_passes_no_text_of_the_data_on() -> None:
    report = a_report(worst=[{"score": 0.9, "text": "a sentence that is not ours"}])
    made = card_json(FACTS, [report]) + card_markdown(FACTS, [report])
    assert "not ours" not in made


def test_the_card_for_programs() -> None:
    reports = [a_report(), a_report(precision="fp32", scores={"f1": 0.885})]
    card = json.loads(card_json(FACTS, reports, ["Sarcasm."]))
    assert (card["id"], card["name"], card["version"], card["seed"]) == (
        "base-xx-3",
        "base-xx",
        3,
        7,
    )
    assert card["tasks"][0]["sources"][0]["licence"] == NEWS.licence
    assert [report["scores"]["f1"] for report in card["reports"]] == [0.88, 0.885]
    assert card["loss_in_points"] == {"conll2003": pytest.approx(0.5)}
    assert card["known_failures"] == ["Sarcasm."]
    assert card["files"] == FACTS.files


def test_cards_are_written_and_kept(tmp_path: Path) -> None:
    paths = write_card(tmp_path, FACTS, [a_report()])
    assert paths == (tmp_path / "CARD.md", tmp_path / "card.json")
    assert paths[0].read_text(encoding="utf-8") == card_markdown(FACTS, [a_report()])
    with pytest.raises(OutputExistsError, match=r"CARD\.md exists and is kept"):
        write_card(tmp_path, FACTS, [])
    write_card(tmp_path, FACTS, [], overwrite=True)
    assert json.loads(paths[1].read_text(encoding="utf-8"))["reports"] == []


def test_facts_of_a_recipe() -> None:
    task = Task("ner", "token-classification", {"labels": ["O", "B-X"]}, lambda _: [], (NEWS,))
    pooling = Task("embedding", "pooling", {}, lambda _: [], ())
    recipe = Recipe("base-xx", "Entities", (task, pooling), backbone="b", version=3, seed=7)
    recipe = dataclasses.replace(recipe, licence="Free.", intended_use="Tests.")
    facts = BundleFacts.of_recipe(recipe, precision="int8", files={})
    assert (facts.id, facts.seed, facts.backbone) == ("base-xx-3", 7, "b")
    assert facts.tasks == (
        TaskFacts("ner", "token-classification", ("O", "B-X"), (NEWS,)),
        TaskFacts("embedding", "pooling", (), ()),
    )
