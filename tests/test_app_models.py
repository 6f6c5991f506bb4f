"""The page Models without a browser: what is in use, what is known of it, and the change."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_script import open_app, said
from streamlit.testing.v1 import AppTest

from nlpkit.bundle import bundles, read_manifest, write_pack
from nlpkit.card import BundleFacts, TaskFacts, read_card, write_card
from nlpkit.engines import PluggedHead
from nlpkit.errors import DataError
from nlpkit.evaluation import Report, evaluate_files, make_report
from nlpkit.heads import SequenceHead
from nlpkit.pipeline import Pipeline
from nlpkit.readers import Source
from nlpkit.workspace import open_workspace

TAGS = re.compile(r"<[^>]*>")
HOSTILE = "<script>window.hit = 1</script> **bold** [x](https://example.org)"

#: The bundle inside the package.
SHIPPED = bundles()["base-en"].name


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path) -> Path:
    """A copy of the tiny bundle, to be changed."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.fixture
def reports(kit: Pipeline, tmp_path: Path) -> list[Report]:
    """What the tiny bundle scores on texts with a class, and with entities, each."""
    rng = np.random.default_rng(0)
    classes = kit.head("sentiment").head.labels
    lines = [
        json.dumps({"text": f"a good town {i}", "label": str(rng.choice(classes))})
        for i in range(30)
    ]
    (tmp_path / "classes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    words = ["Ada B-PER", "went O", "to O", "LONDON B-LOC", "", "Old B-PER", "town O", ""]
    (tmp_path / "entities.conll").write_text("\n".join(words * 5) + "\n", encoding="utf-8")
    made = []
    for suite, task, file in (
        ("sst2", "sentiment", "classes.jsonl"),
        ("conll2003", "ner", "entities.conll"),
    ):
        made.append(
            make_report(
                suite,
                partial(evaluate_files, kit, task, tmp_path / file),
                bundle="tiny-1",
                engine="onnx",
                precision="fp32",
                command=f"nlpkit evaluate tiny --suite {suite}",
            )
        )
    return made


def facts(**changes: Any) -> BundleFacts:
    source = Source("news/train.conll.gz", "Our news", "CC0", "https://example.org/news", "ab" * 32)
    values: dict[str, Any] = {
        "name": "tiny",
        "version": 1,
        "description": "Entities for nobody",
        "backbone": "a-backbone",
        "seed": 7,
        "precision": "fp32",
        "licence": "See WEIGHTS-LICENSE.",
        "intended_use": "Tests.",
        "tasks": (TaskFacts("ner", "token-classification", ("O", "B-PER"), (source,)),),
        "files": {"weights.safetensors": "cd" * 32},
    }
    return BundleFacts(**values | changes)


def a_pack(path: Path, backbone_sha256: str, name: str = "mood", task: str = "sentiment") -> Path:
    """A pack whose head says "positive" of every text."""
    head = SequenceHead(["negative", "neutral", "positive"])
    shapes = head.parameter_shapes(32)
    parameters = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    parameters["bias"] = np.array([0, 0, 9], np.float32)
    return write_pack(
        path,
        name,
        backbone="tiny-1",
        backbone_sha256=backbone_sha256,
        heads={task: PluggedHead(head, parameters)},
        training={"scores": {"accuracy": 0.75}, "texts": 12},
    )


def shown(app: AppTest) -> str:
    """The text of what the page draws itself."""
    found = [element.value for element in app.html]
    return html.unescape("\n".join(TAGS.sub(" ", one) for one in found if "<style>" not in one))


def using(workspace_folder: Path, bundle: Path) -> AppTest:
    """The page where a bundle is in use."""
    with open_workspace(workspace_folder) as workspace:
        workspace.set_model(bundle)
    return open_app("models")


def look_at(app: AppTest, view: str) -> AppTest:
    app.session_state["models-view"] = view
    return app.run()


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def take(app: AppTest, folder: Path) -> AppTest:
    """Name a folder on the page."""
    app.text_input[0].set_value(str(folder))
    return press(app, "Look there")


# -- what is in use --------------------------------------------------------------------------------


def test_the_tasks_in_use_are_listed(workspace_folder: Path, kit: Pipeline) -> None:
    app = open_app("models")
    assert not app.exception
    assert not app.error
    for task in kit.tasks:
        assert task in shown(app)
    assert "city, trade, art" in shown(app)
    assert "PER, LOC" in shown(app)


def test_a_bundle_without_a_card_says_so(workspace_folder: Path) -> None:
    app = open_app("models")
    assert "has no card" in app.info[0].value


def test_a_model_that_is_gone_is_told_and_another_can_be_chosen(
    workspace_folder: Path, folder: Path
) -> None:
    with open_workspace(workspace_folder) as workspace:
        workspace.set_model(folder)
    shutil.rmtree(folder)
    app = open_app("models")
    assert not app.exception
    assert folder.name in app.error[0].value
    app.selectbox(key="models-bundle").set_value(SHIPPED).run()
    press(app, "Use this model")
    with open_workspace(workspace_folder) as workspace:
        assert workspace.model().bundle == SHIPPED


# -- the change ------------------------------------------------------------------------------------


def test_another_bundle_is_used_after_one_click(workspace_folder: Path) -> None:
    app = open_app("models")
    button = next(one for one in app.button if one.label == "Use this model")
    assert button.disabled
    app.selectbox(key="models-bundle").set_value(SHIPPED).run()
    press(app, "Use this model")
    assert not app.error
    assert f"{SHIPPED} is in use now" in app.success[0].value.replace("\\", "")
    with open_workspace(workspace_folder) as workspace:
        assert workspace.model().bundle == SHIPPED
    assert "World, Sports, Business" in shown(app)


def test_packs_are_switched_on_and_off(
    workspace_folder: Path, tmp_path: Path, kit: Pipeline
) -> None:
    pack = a_pack(tmp_path / "mood", kit.backbone_sha256)
    app = take(open_app("models"), pack)
    [toggle] = app.toggle
    assert toggle.label == "mood \\(sentiment\\)"
    assert not toggle.value
    toggle.set_value(True).run()
    press(app, "Use this model")
    with open_workspace(workspace_folder) as workspace:
        assert workspace.model().packs == (pack,)
        assert workspace.model().load().classify("a bad town")[0].name == "positive"
    assert "pack mood" in shown(app)
    app = open_app("models")
    app.toggle[0].set_value(False).run()
    press(app, "Use this model")
    with open_workspace(workspace_folder) as workspace:
        assert workspace.model().packs == ()


def test_of_two_packs_for_a_task_the_page_says_which_is_used(
    workspace_folder: Path, tmp_path: Path, kit: Pipeline
) -> None:
    app = open_app("models")
    for name in ("first", "second"):
        take(app, a_pack(tmp_path / name, kit.backbone_sha256, name))
    for toggle in app.toggle:
        toggle.set_value(True)
    app.run()
    assert app.warning[0].value == "first and second all answer sentiment\\: second will be used\\."


def test_packs_that_do_not_fit_are_named(workspace_folder: Path, tmp_path: Path) -> None:
    app = take(open_app("models"), a_pack(tmp_path / "foreign", "0" * 64, "foreign"))
    assert "The pack foreign is for tiny-1: it does not fit." in said(app)
    assert not app.toggle


def test_a_pack_that_is_gone_can_be_left_out(
    workspace_folder: Path, tmp_path: Path, tiny_folder: Path, kit: Pipeline
) -> None:
    pack = a_pack(tmp_path / "mood", kit.backbone_sha256)
    with open_workspace(workspace_folder) as workspace:
        workspace.set_model(tiny_folder, [pack])
    shutil.rmtree(pack)
    app = open_app("models")
    assert "mood" in app.error[0].value
    assert "mood: " in said(app)
    press(app, "Use this model")
    with open_workspace(workspace_folder) as workspace:
        assert workspace.model().packs == ()
    assert not open_app("models").error


def test_a_folder_is_taken(workspace_folder: Path, folder: Path) -> None:
    app = take(open_app("models"), folder)
    assert not app.error
    assert app.selectbox(key="models-bundle").value == str(folder)
    press(app, "Use this model")
    with open_workspace(workspace_folder) as workspace:
        assert workspace.model().bundle == str(folder)


@pytest.mark.parametrize(
    ("typed", "told"), [("", "no folder is given"), ("/nowhere/at/all", "neither a bundle")]
)
def test_a_folder_without_a_model_is_told(workspace_folder: Path, typed: str, told: str) -> None:
    app = open_app("models")
    app.text_input[0].set_value(typed)
    press(app, "Look there")
    assert told in app.error[0].value


# -- what is known ---------------------------------------------------------------------------------


def test_a_card_says_what_was_written(
    workspace_folder: Path, folder: Path, reports: list[Report]
) -> None:
    write_card(folder, facts(), reports, ["It knows nothing of irony."])
    app = using(workspace_folder, folder)
    assert "Entities for nobody" in said(app)
    assert "See WEIGHTS-LICENSE." in said(app)
    assert "It knows nothing of irony." in shown(app)
    assert app.dataframe[0].value["terms"].tolist() == ["CC0"]


def test_scores_stand_with_their_intervals(
    workspace_folder: Path, folder: Path, reports: list[Report]
) -> None:
    write_card(folder, facts(), reports)
    app = look_at(using(workspace_folder, folder), "Scores")
    assert not app.error
    for report in reports:
        name, value = report.main
        low, high = report.intervals[name]
        assert f"{value:.4f}" in shown(app)
        assert f"{low:.3f} to {high:.3f}" in shown(app)
    assert "95 % intervals" in said(app)


def test_classes_confusions_and_calibration(
    workspace_folder: Path, folder: Path, reports: list[Report]
) -> None:
    write_card(folder, facts(), reports)
    app = look_at(using(workspace_folder, folder), "By class")
    for scores in reports[0].details["per_class"].values():
        assert f"{scores['recall']:.3f}" in shown(app)
    app.selectbox(key="models-class-test").set_value("conll2003").run()
    assert "PER" in shown(app)
    app = look_at(app, "Confusion")
    assert not app.error
    matrix = next(one.value for one in app.html if 'class="nk-heat"' in one.value)
    cells = [int(cell) for cell in re.findall(r"<td[^>]*--share[^>]*>(\d+)", matrix)]
    assert cells == [n for row in reports[0].details["confusion_matrix"] for n in row]
    app = look_at(app, "Calibration")
    assert not app.error
    assert f"{reports[0].details['expected_calibration_error']:.3f}" in said(app)
    for one in reports[0].details["calibration"]:
        assert f"{one['accuracy']:.3f}" in shown(app)


def test_what_a_card_lacks_is_said(
    workspace_folder: Path, folder: Path, reports: list[Report]
) -> None:
    """As in cards that an older version wrote."""
    details = {"expected_calibration_error": 0.1}
    bare = [replace(report, intervals={}, details=details) for report in reports]
    write_card(folder, facts(), bare)
    app = look_at(using(workspace_folder, folder), "Scores")
    assert "no intervals" in said(app)
    app = look_at(app, "Calibration")
    assert "no calibration curve" in app.info[0].value
    assert app.code[0].value == "nlpkit evaluate tiny-1 --suite sst2 --html page.html"


@pytest.mark.parametrize("view", ["Scores", "By class", "Confusion", "Calibration"])
def test_a_card_without_reports_has_empty_views(
    workspace_folder: Path, folder: Path, view: str
) -> None:
    write_card(folder, facts(), [])
    app = look_at(using(workspace_folder, folder), view)
    assert not app.error
    assert app.info[0].value.startswith("This card")


def test_a_card_is_shown_as_text(workspace_folder: Path, folder: Path) -> None:
    card = facts(description=HOSTILE, intended_use=HOSTILE, licence=HOSTILE)
    write_card(folder, card, [], [HOSTILE])
    app = using(workspace_folder, folder)
    assert said(app).count(HOSTILE) == 3
    assert HOSTILE in shown(app)
    assert not app.markdown
    assert not any("<script>" in element.value for element in app.html)


def test_a_damaged_card_is_told(workspace_folder: Path, folder: Path) -> None:
    (folder / "card.json").write_text('{"tasks": 3}', encoding="utf-8")
    app = using(workspace_folder, folder)
    assert "expected a card" in app.error[0].value


def test_a_pack_is_shown_with_its_scores(
    workspace_folder: Path, tmp_path: Path, kit: Pipeline
) -> None:
    pack = a_pack(tmp_path / "mood", kit.backbone_sha256)
    app = take(open_app("models"), pack)
    app.selectbox(key="models-card").set_value(pack).run()
    assert "negative, neutral, positive" in shown(app)
    assert "0.75" in shown(app)
    assert json.loads(app.json[0].value)["texts"] == 12


# -- the library's part ----------------------------------------------------------------------------


def test_a_card_is_read_as_it_was_written(folder: Path, reports: list[Report]) -> None:
    write_card(folder, facts(), reports, ["None."])
    card = read_card(folder)
    assert card is not None
    assert card.facts == facts()
    assert [one.scores for one in card.reports] == [one.scores for one in reports]
    assert [one.details for one in card.reports] == [one.details for one in reports]
    assert card.known_failures == ("None.",)
    assert read_card(folder.parent) is None
    (folder / "card.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"card\.json"):
        read_card(folder)


def test_the_shipped_card_is_read() -> None:
    manifest, _ = read_manifest("base-en")
    card = read_card(bundles()["base-en"])
    assert card is not None
    assert card.facts.id == manifest.id
    assert card.facts.files == manifest.files
