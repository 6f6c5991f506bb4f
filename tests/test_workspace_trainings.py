"""Trainings: what people corrected becomes a head, which is taken or thrown away."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tiny import assert_same
from workspaces import as_csv, reviews, some_batch, worked

from nlpkit.errors import InputError, UnknownNameError
from nlpkit.readers import TextExample
from nlpkit.retrain import EPOCHS, retrain
from nlpkit.testing import tiny_bundle
from nlpkit.workspace import Model, State, Training, Workspace
from nlpkit.workspace.schema import features
from nlpkit.workspace.worker import Worker

TEXTS = [row["review"] for row in reviews(60, seed=5)]
SLOW = """
import sys, time
from nlpkit import retrain
from nlpkit.workspace.worker import run_worker
scores = retrain._Classes.scores
def slowly(self, right, said):
    time.sleep(0.05)
    return scores(self, right, said)
retrain._Classes.scores = slowly
sys.exit(not run_worker(sys.argv[1], idle_seconds=0))
"""


def right(text: str) -> str:
    """What people say of a text."""
    return "positive" if "engine" in text else "negative"


def correct(workspace: Workspace, n: int = 60, owner: str = "") -> None:
    """Let Ada correct some of TEXTS."""
    for text in TEXTS[:n]:
        workspace.corrections.add(text, "sentiment", right(text), by="Ada", owner=owner)


def done(training: Training) -> Training:
    """The training once it is done."""
    Worker(training.workspace).run()
    status = training.status()
    assert status.state == State.DONE, status.note
    return training


@pytest.fixture
def trained(workspace: Workspace) -> Training:
    """A training of all of TEXTS, done."""
    correct(workspace)
    return done(workspace.start_training("sentiment", by="Ada"))


# -- training --------------------------------------------------------------------------------------


def test_a_training_is_what_retrain_makes(workspace: Workspace, trained: Training) -> None:
    kit = workspace.model().load()
    expected = retrain(kit, "sentiment", [TextExample(text, (right(text),)) for text in TEXTS])
    status = trained.status()
    assert (status.kind, status.name) == ("training", "training of sentiment")
    assert status.done == status.total == len(expected.curve) - 1
    assert trained.curve() == list(expected.curve)
    scores = trained.scores()
    assert scores is not None
    assert (scores.before, scores.after) == (expected.before, expected.after)
    assert scores.n_train == expected.n_train + expected.n_stopping
    assert scores.n_held_out == expected.n_held_out == len(expected.comparisons)
    assert scores.best_epoch == expected.best_epoch > 0
    assert trained.comparison() == list(expected.comparisons)
    assert (trained.decision, trained.by, trained.task) == ("", "Ada", "sentiment")
    assert workspace.model().packs == ()


def test_the_comparison_of_entities_is_in_spans(workspace: Workspace) -> None:
    for text in TEXTS[:20]:
        value = [{"start": 0, "end": 1, "label": "PER"}]
        workspace.corrections.add(text, "ner", value, by="Ada")
    training = done(workspace.start_training("ner"))
    for one in training.comparison():
        said: Any = one.right
        assert said == [{"start": 0, "end": 1, "label": "PER"}]
        assert all(set(span) == {"start", "end", "label"} for span in [*one.before, *one.after])


def test_several_classes(workspace: Workspace) -> None:
    for text in TEXTS[:20]:
        value = [name for name, word in (("art", "town"), ("city", "good")) if word in text]
        workspace.corrections.add(text, "topic", value, by="Ada")
    training = done(workspace.start_training("topic"))
    scores = training.scores()
    assert scores is not None
    assert list(scores.after) == ["f1", "precision", "recall"]
    assert all(isinstance(one.right, list) for one in training.comparison())


def test_the_latest_word_on_a_text_is_learned(workspace: Workspace) -> None:
    correct(workspace, 20)
    for text in TEXTS[:20]:
        workspace.corrections.add(text, "sentiment", "neutral", by="Grace")
    training = done(workspace.start_training("sentiment"))
    assert {one.right for one in training.comparison()} == {"neutral"}


def test_features_are_kept_for_the_next_time(
    workspace: Workspace, trained: Training, tmp_path: Path
) -> None:
    def kept() -> int:
        with workspace.database.read() as connection:
            found = connection.execute(sa.select(sa.func.count()).select_from(features))
            return int(found.scalar_one())

    assert kept() == 60
    again = done(workspace.start_training("sentiment"))
    assert again.curve() == trained.curve()
    assert kept() == 60
    workspace.set_model(tiny_bundle(tmp_path / "other", seed=1))
    done(workspace.start_training("sentiment"))
    assert kept() == 60, "those of the other backbone are of no more use"


def test_a_text_without_words_is_left_out(workspace: Workspace) -> None:
    correct(workspace, 12)
    workspace.corrections.add("\u200b", "sentiment", "neutral", by="Ada")
    assert done(workspace.start_training("sentiment")).scores() is not None


@pytest.mark.parametrize("n", [0, 9])
def test_too_few_corrections(workspace: Workspace, n: int) -> None:
    correct(workspace, n)
    with pytest.raises(InputError, match=f"{n} texts are corrected .* correct {10 - n} more"):
        workspace.start_training("sentiment")
    assert workspace.trainings() == []


@pytest.mark.parametrize("task", ["qa", "nothing"])
def test_tasks_without_a_head_to_train(workspace: Workspace, task: str) -> None:
    with pytest.raises(UnknownNameError, match=f"task '{task}'; known: ner, sentiment, topic"):
        workspace.start_training(task)


def test_owners_train_on_their_own(workspace: Workspace) -> None:
    correct(workspace, 20, owner="Ada")
    with pytest.raises(InputError, match="0 texts are corrected"):
        workspace.start_training("sentiment", "Grace")
    training = workspace.start_training("sentiment", "Ada")
    assert [one.number for one in workspace.trainings("Ada")] == [training.number]
    assert workspace.trainings("Grace") == []
    with pytest.raises(UnknownNameError, match="unknown training"):
        workspace.training(training.number, "Grace")


# -- stopped in the middle -------------------------------------------------------------------------


def test_a_killed_training_begins_anew(workspace: Workspace, until: Callable[..., None]) -> None:
    correct(workspace)
    training = workspace.start_training("sentiment")
    command = [sys.executable, "-c", SLOW, str(workspace.folder)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE)
    until(lambda: len(training.curve()) > 2)
    status = training.status()
    assert (status.state, status.total) == (State.RUNNING, EPOCHS)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    done(training)
    assert [point.epoch for point in training.curve()] == [*range(len(training.curve()))]
    training.accept()
    assert workspace.model().load().tasks["sentiment"] == "sequence-classification"


def test_a_training_is_cancelled_and_resumed(
    workspace: Workspace, until: Callable[..., None]
) -> None:
    correct(workspace)
    training = workspace.start_training("sentiment")
    command = [sys.executable, "-c", SLOW, str(workspace.folder)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE)
    until(lambda: len(training.curve()) > 2)
    training.cancel()
    assert running.wait(60) == 0
    running.communicate()
    assert training.status().state == State.CANCELLED
    assert training.scores() is None
    with pytest.raises(InputError, match="the training of sentiment is cancelled; expected one"):
        training.accept()
    training.resume()
    assert done(training).scores() is not None


# -- decisions -------------------------------------------------------------------------------------


def test_an_accepted_head_is_what_the_workspace_reads_with(
    workspace: Workspace, trained: Training
) -> None:
    before = workspace.model()
    trained.accept("Grace")
    model = workspace.model()
    assert (trained.decision, trained.result["decided_by"]) == ("accepted", "Grace")
    assert model.packs == (trained.pack,)
    assert model.name == f"tiny-1 + sentiment-{trained.number}"
    assert model.identity != before.identity
    assert model.tasks == before.tasks
    old, new = before.load(), model.load()
    said = {one.text: one.after for one in trained.comparison()}
    assert {text: new.classify(text)[0].name for text in said} == said
    assert_same(new.ner(TEXTS), old.ner(TEXTS))
    batch = some_batch(workspace, as_csv([{"review": text} for text in said]))
    assert worked(batch).model_sha256 == model.identity
    assert {row.text: row.labels["sentiment"][0].name for row in batch.rows(limit=None)} == said


def test_a_training_starts_from_the_head_in_use(workspace: Workspace, trained: Training) -> None:
    trained.accept()
    again = done(workspace.start_training("sentiment"))
    scores, first = again.scores(), trained.scores()
    assert scores is not None
    assert first is not None
    assert scores.before == first.after
    again.accept()
    assert workspace.model().packs == (again.pack,)


def test_a_discarded_head_is_gone(workspace: Workspace, trained: Training) -> None:
    assert trained.pack.is_dir()
    trained.discard()
    assert (trained.decision, trained.pack.exists()) == ("discarded", False)
    assert workspace.model().packs == ()
    for decide in (trained.accept, trained.discard):
        with pytest.raises(InputError, match="the training of sentiment is discarded"):
            decide()


def test_a_head_is_for_its_backbone(
    workspace: Workspace, trained: Training, tiny_folder: Path, tmp_path: Path
) -> None:
    workspace.set_model(tiny_bundle(tmp_path / "other", seed=1))
    with pytest.raises(
        InputError, match=r"was made for tiny-1, the model in use is tiny-1: switch"
    ):
        trained.accept()
    assert trained.decision == ""
    workspace.set_model(tiny_folder)
    trained.accept()
    assert workspace.set_model(tmp_path / "other").packs == ()
    assert workspace.set_model(tiny_folder).packs == (trained.pack,)
    assert workspace.set_model(tiny_folder, []).packs == ()
    with pytest.raises(InputError, match="the pack sentiment-1 was made for tiny-1, not for"):
        workspace.set_model(tmp_path / "other", [trained.pack])


def test_a_deleted_training_leaves_what_is_in_use(workspace: Workspace, trained: Training) -> None:
    trained.accept()
    trained.delete()
    assert workspace.trainings() == []
    assert workspace.model().load().tasks
    other = done(workspace.start_training("sentiment"))
    assert other.pack != trained.pack
    other.delete()
    assert (other.pack.exists(), trained.pack.exists()) == (False, True)


# -- models ----------------------------------------------------------------------------------------


def test_a_models_identity_is_that_of_its_content(
    workspace: Workspace, tiny_folder: Path, tmp_path: Path, trained: Training
) -> None:
    model = workspace.model()
    copy = Model(str(shutil.copytree(tiny_folder, tmp_path / "copy")))
    assert copy.identity == model.identity
    packed = Model(model.bundle, (trained.pack,))
    moved = Model(model.bundle, (shutil.copytree(trained.pack, tmp_path / "pack"),))
    assert packed.identity == moved.identity != model.identity
    assert Model.from_json(packed.to_json()) == packed
    other = Model(str(tiny_bundle(tmp_path / "other", seed=1)))
    assert other.identity != model.identity


def test_a_model_that_is_not_there_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    before = workspace.model()
    cases: list[tuple[Any, ...]] = [("nothing",), (before.bundle, [tmp_path / "no-pack"])]
    for given in cases:
        with pytest.raises(Exception, match=r"unknown bundle|is missing"):
            workspace.set_model(*given)
    assert workspace.model() == before


def test_points_have_the_words_of_the_page(trained: Training) -> None:
    assert set(asdict(trained.curve()[0])) == {"epoch", "loss", "held_out_loss", "score"}
