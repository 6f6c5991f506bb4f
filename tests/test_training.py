"""Training on a tiny backbone: resuming, stopping, packs, bundles."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

import nlpkit
from nlpkit import zero_shot
from nlpkit.bundle import read_bundle
from nlpkit.engines.onnx import OnnxEngine
from nlpkit.engines.torch import TorchEngine, run_backbone, to_torch
from nlpkit.errors import DataError, InputError, OutputExistsError, TrainingError, UnknownNameError
from nlpkit.heads import make_head
from nlpkit.pipeline import Pipeline
from nlpkit.readers import (
    Example,
    PairExample,
    PlainText,
    QAExample,
    TaughtExample,
    TextExample,
    TokenExample,
)
from nlpkit.text import pad, windows
from nlpkit.training.model import MultiTaskModel
from nlpkit.training.recipe import Dev, Recipe, Task, load_recipe
from nlpkit.training.run import fit_head, lora_tensors, train_pack, train_recipe, with_lora
from nlpkit.training.scores import accuracy, answer_f1, entity_f1
from nlpkit.training.trainer import Progress, start_of, train
from nlpkit.weights import branches_of, dequantise, merge_adapter, trunk_of

MOODS = {"good": "positive", "fine": "positive", "bad": "negative", "poor": "negative"}


@pytest.fixture(scope="module")
def backbone(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny bundle's backbone as a transformers checkpoint."""
    bundle = read_bundle(tiny_folder)
    engine = TorchEngine.from_weights(
        dequantise(bundle.weights), bundle.manifest.config, "cpu", "fp32"
    )
    folder = tmp_path_factory.mktemp("checkpoint")
    engine.backbone.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(bundle.encoder.to_str())
    return str(folder)


@pytest.fixture
def recipe(backbone: str) -> Recipe:
    def ner(rng: random.Random) -> Sequence[Example]:
        return [TokenExample(f"{n} saw Ada", ((len(n) + 5, len(n) + 8, "PER"),)) for n in "abcdef"]

    def mood(rng: random.Random) -> Sequence[Example]:
        words = list(MOODS) * 4
        rng.shuffle(words)
        return [TextExample(word, (MOODS[word],)) for word in words]

    def qa(rng: random.Random) -> Sequence[Example]:
        known = QAExample("Who?", "There Ada stood.", ((6, "Ada"),))
        return [known, QAExample("Why?", "There Ada stood.", ())] * 3

    def texts(rng: random.Random) -> Sequence[Example]:
        return [PlainText(f"text {i} of many") for i in range(8)]

    labels = ["negative", "positive"]
    tags = {"labels": ["O", "B-PER", "I-PER"]}
    return Recipe(
        name="small",
        description="Tests",
        tasks=(
            Task("ner", "token-classification", tags, ner, (), own_layers=1),
            Task("mood", "sequence-classification", {"labels": labels}, mood, (), batch_tokens=24),
            Task("qa", "question-answering", {}, qa, (), keep_embedding=False, own_layers=1),
            Task("embedding", "pooling", {"projection": True}, texts, ()),
        ),
        backbone=backbone,
        keep_embedding=2.0,
        licence="Free.",
    )


def three_layers() -> BertModel:
    config = BertConfig(
        vocab_size=20,
        num_hidden_layers=3,
        hidden_size=8,
        num_attention_heads=1,
        intermediate_size=8,
    )
    return BertModel(config)


def longer(recipe: Recipe, epochs: float) -> Recipe:
    return replace(recipe, tasks=tuple(replace(task, epochs=epochs) for task in recipe.tasks))


def values(folder: Path) -> dict[str, np.ndarray]:
    return dict(read_bundle(folder).weights) | {
        f"{name}/{key}": value
        for name, plugged in read_bundle(folder).heads.items()
        for key, value in plugged.parameters.items()
    }


def watched(recipe: Recipe) -> Recipe:
    """The recipe with dev scores, an average of the weights and varied texts."""
    ada = [TokenExample("Ada met Bob", ((0, 3, "PER"),))]
    moods = [TextExample(word, (mood,)) for word, mood in MOODS.items()]
    questions = [QAExample("Who?", "There Ada stood.", ((6, "Ada"),))]

    def spread(kit: Pipeline, texts: Sequence[str]) -> float:
        first, second = kit.embed([*texts])
        return -float(first @ second)

    devs = {
        "ner": Dev("f1", lambda: ada, entity_f1),
        "mood": Dev("accuracy", lambda: moods, lambda kit, e: accuracy(kit, e, "mood"), most=2),
        "qa": Dev("f1", lambda: questions, answer_f1, weight=0.5),
        "embedding": Dev("spread", lambda: ["a city", "an old man"], spread),
    }
    return replace(
        recipe,
        tasks=tuple(replace(task, dev=(devs[task.name],)) for task in recipe.tasks),
        ema=0.9,
        lower=0.2,
        upper=0.2,
        unpunctuated=0.2,
        cooldown=0.5,
        evaluate_tokens=300,
    )


def table(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_own_layers_are_changed_by_their_task_alone(recipe: Recipe, tmp_path: Path) -> None:
    ner = replace(recipe, tasks=recipe.tasks[:1], keep_embedding=0.0)
    still = replace(ner, learning_rate=0.0)  # in float32: how int8 is rounded follows all layers
    start = values(train_recipe(still, tmp_path / "0", storage="float32"))
    trained = values(train_recipe(ner, tmp_path / "1", storage="float32"))
    assert branches_of(trained) == {"ner": 1}
    last = "encoder.layer.1."
    for name in (name for name in trunk_of(trained) if name.startswith(last)):
        np.testing.assert_array_equal(start[name], start[f"branches.ner.{name}"])
        np.testing.assert_array_equal(trained[name], start[name])
        assert (trained[f"branches.ner.{name}"] != start[name]).any() or name.endswith("key.bias")


def test_tasks_may_share_a_branch(recipe: Recipe, tmp_path: Path) -> None:
    ner, mood, *_ = (replace(task, own_layers=1, branch="words") for task in recipe.tasks)
    out = train_recipe(replace(recipe, tasks=(ner, mood), keep_embedding=0.0), tmp_path / "two")
    bundle = read_bundle(out)
    assert branches_of(bundle.weights) == {"words": 1}
    assert {plugged.branch for plugged in bundle.heads.values()} == {"words"}
    assert nlpkit.load(str(out)).analyze("Ada is fine").labels["mood"]
    uneven = {"ner": 1, "mood": 2}
    heads = {name: make_head("pooling", {}) for name in uneven}
    with pytest.raises(InputError, match="'words' ask for 1 and 2 own layers; expected the same"):
        MultiTaskModel(three_layers(), heads, 0, uneven, dict.fromkeys(uneven, "words"))


def test_an_embedding_brings_words_for_labels_that_were_never_trained(
    recipe: Recipe, tmp_path: Path
) -> None:
    ner, *_, embedding = recipe.tasks
    out = train_recipe(replace(recipe, tasks=(embedding,)), tmp_path / "with")
    twin = nlpkit.load(str(tmp_path / "with.training" / "float32"))
    words = zero_shot.words_of(twin.encoder.vocabulary())
    assert words
    expected = zero_shot.pack_words(zero_shot.phrased(twin.embed, words))
    for path in (out, tmp_path / "with.training" / "float32"):
        found = read_bundle(path).words
        assert found is not None
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
    alone = train_recipe(replace(recipe, tasks=(ner,), keep_embedding=0.0), tmp_path / "without")
    assert read_bundle(alone).words is None


def test_words_for_labels_stay_where_the_embedding_does(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ner, *_, embedding = recipe.tasks
    before = train_recipe(replace(recipe, tasks=(embedding,)), tmp_path / "before")
    ner = replace(ner, own_layers=1, train_backbone=False)
    later = replace(recipe, tasks=(ner, replace(embedding, epochs=0)), freeze_layers=2)

    def again(*_: Any) -> dict[str, Any]:
        raise AssertionError("the words were read once more")

    with monkeypatch.context() as patch:
        patch.setattr("nlpkit.training.run.word_vectors", again)
        after = train_recipe(later, tmp_path / "after", begin_from=before)
        projection = replace(ner, own_layers=0, train_backbone=True)  # held near the original
        learning = replace(later, tasks=(projection, later.tasks[1]))
        for number, other in enumerate((replace(later, freeze_layers=1), learning)):
            with pytest.raises(AssertionError, match="once more"):
                train_recipe(other, tmp_path / f"other-{number}", begin_from=before)
    assert (after / "words.safetensors").read_bytes() == (before / "words.safetensors").read_bytes()


def test_too_many_own_layers_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    tasks = (replace(recipe.tasks[0], own_layers=2),)
    with pytest.raises(InputError, match=r"2 own layers .* of 2 layers; expected"):
        train_recipe(replace(recipe, tasks=tasks), tmp_path / "out")


def test_a_run_killed_and_resumed_equals_an_unbroken_one(recipe: Recipe, tmp_path: Path) -> None:
    recipe = watched(longer(recipe, 5.5))
    unbroken = train_recipe(recipe, tmp_path / "unbroken")

    def die(progress: Progress) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):  # after step 20, before its checkpoint
        train_recipe(recipe, tmp_path / "killed", checkpoint_minutes=0, report=die)
    work = tmp_path / "killed.training"
    assert len(list(work.glob("checkpoint-*"))) == 1
    (work / "checkpoint.draft").mkdir()  # killed while it was written
    with (work / "curve.jsonl").open("a") as curve:
        curve.write('{"step": 21, "tok')
    resumed = train_recipe(recipe, tmp_path / "killed")

    expected, got = values(unbroken), values(resumed)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)

    for name in ("losses.jsonl", "curve.jsonl"):  # no line is lost, none is doubled
        lines = [table(tmp_path / f"{run}.training" / name) for run in ("unbroken", "killed")]
        for line in (*lines[0], *lines[1]):
            line.pop("minutes", None)
        assert lines[0] == lines[1]
    steps = [line["step"] for line in lines[0] if line["task"] == "mood"]
    assert len(steps) > 2
    assert steps == sorted(set(steps))
    assert lines[0][1]["examples"] == 2  # of four
    record = read_bundle(unbroken).manifest.training
    assert record["kept"]["step"] in steps
    assert record["dev"]["mood, accuracy"]["examples"] == 4
    assert record["tasks"]["ner"]["epochs"] == 5.5


def test_dev_scores_leave_no_trace(recipe: Recipe, tmp_path: Path) -> None:
    seen = watched(longer(recipe, 3))
    unseen = replace(seen, tasks=tuple(replace(task, dev=()) for task in seen.tasks))
    states = []
    for name, one in (("seen", seen), ("unseen", unseen)):
        train(one, tmp_path / name, start_of(one))
        (checkpoint,) = (tmp_path / name).glob("checkpoint-*")
        states.append(load_file(checkpoint / "state.safetensors"))
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


@pytest.mark.parametrize("best", [1, 3])
def test_the_weights_with_the_best_dev_scores_are_kept(
    recipe: Recipe, tmp_path: Path, best: int
) -> None:
    """A score that is highest the ``best``-th time it is taken."""
    calls = iter(range(1, 100))
    scores: list[float] = []

    def score(kit: Pipeline, examples: Sequence[Any]) -> float:
        scores.append(-abs(next(calls) - best))
        return scores[-1]

    tasks = (replace(recipe.tasks[1], epochs=4, dev=(Dev("x", lambda: [1], score),)),)
    small = replace(recipe, tasks=tasks, keep_embedding=0.0, evaluate_tokens=60)
    trained = train(small, tmp_path, start_of(small))
    assert len(scores) > best + 1  # the last is that of the whole dev set
    steps = [line["step"] for line in table(tmp_path / "curve.jsonl")]
    assert trained.record["kept"] == {
        "step": steps[best - 1],
        "weights": "as trained",
        "why": "the best mean of dev scores, 0.0000",
    }
    kept = load_file(tmp_path / "best.safetensors")
    for name, parameter in trained.model.named_parameters():
        assert torch.equal(parameter, kept[name]), name


def test_without_dev_sets_the_last_average_is_kept(recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, ema=0.9)
    trained = train(recipe, tmp_path, start_of(recipe))
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    state = load_file(checkpoint / "state.safetensors")
    assert trained.record["kept"]["why"] == "the last"
    for name, parameter in trained.model.named_parameters():
        assert torch.equal(parameter, state[f"average/{name}"]), name
    assert any(not torch.equal(state[k], state["average" + k[5:]]) for k in state if "model/" in k)


def test_sigterm_leaves_a_checkpoint_to_go_on_from(recipe: Recipe, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    recipe = longer(recipe, 6)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingError, match=r"stopped by a signal after step \d+ of \d+"):
        train(recipe, tmp_path, start_of(recipe), report=stop)
    assert signal.getsignal(signal.SIGTERM) is before
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    step = json.loads((checkpoint / "state.json").read_text())["step"]
    seen: list[int] = []
    train(recipe, tmp_path, start_of(recipe), report=lambda p: seen.append(p.step))
    assert min(seen) > step


def test_a_loss_that_is_not_finite_stops_the_run(recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(longer(recipe, 6), learning_rate=1e30, head_learning_rate=1e30)
    message = r"the (loss|gradient) of step \d+ \(task '\w+', \d+ rows\) is .*begin with '\w+"
    with pytest.raises(TrainingError, match=message):
        train(recipe, tmp_path, start_of(recipe), checkpoint_minutes=0)


def test_a_checkpoint_of_another_recipe_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path, start_of(recipe))
    for other in (replace(recipe, seed=1), replace(recipe, learning_rate=1e-3), longer(recipe, 2)):
        with pytest.raises(InputError, match="belongs to a training with another recipe"):
            train(other, tmp_path, start_of(other))


def test_a_recipe_becomes_a_bundle(recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, fit=lambda kit: {"qa": {"threshold": 0.5}})
    path = train_recipe(recipe, tmp_path / "small-1")
    kit = nlpkit.load(str(path), device="cpu")
    assert kit.tasks["mood"] == "sequence-classification"
    assert kit.head("qa").head.config()["threshold"] == 0.5
    assert (path / "WEIGHTS-LICENSE").read_text() == "Free.\n"
    exact = nlpkit.load(str(tmp_path / "small-1.training" / "float32"), device="cpu")
    assert float(kit.embed("a good day") @ exact.embed("a good day")) > 0.99
    assert (kit.storage, exact.storage) == ("int8", "float32")
    fitted = read_bundle(path).activations
    assert fitted is not None
    assert {name.rpartition(".")[2] for name in fitted} == {"smooth", "range", "exact"}
    assert not list((tmp_path / "small-1.training").glob("checkpoint*"))
    with pytest.raises(OutputExistsError):
        train_recipe(recipe, path)


def test_a_recipe_goes_on_from_a_bundle(recipe: Recipe, tmp_path: Path) -> None:
    first = train_recipe(longer(recipe, 2), tmp_path / "first", storage="float32")
    still = replace(recipe, learning_rate=0.0, head_learning_rate=0.0, weight_decay=0.0)
    second = train_recipe(still, tmp_path / "second", begin_from=first, storage="float32")
    for name, value in values(first).items():
        np.testing.assert_array_equal(values(second)[name], value, err_msg=name)
    record = read_bundle(second).manifest.training
    assert record["from"] == f"small-1 {read_bundle(first).sha256}"


def test_a_head_with_a_hidden_layer_learns(recipe: Recipe, tmp_path: Path) -> None:
    """And another training goes on from it."""
    tasks = [
        replace(task, config={**task.config, "dense": 6}) if task.name == "mood" else task
        for task in recipe.tasks
    ]
    deep = replace(recipe, tasks=tuple(tasks))
    first = train_recipe(longer(deep, 2), tmp_path / "first", storage="float32")
    assert values(first)["mood/dense.weight"].shape == (6, 32)
    assert abs(values(first)["mood/dense.bias"]).max() > 0, "it began with nothing"
    still = replace(deep, learning_rate=0.0, head_learning_rate=0.0, weight_decay=0.0)
    second = train_recipe(still, tmp_path / "second", begin_from=first, storage="float32")
    for name, value in values(first).items():
        np.testing.assert_array_equal(values(second)[name], value, err_msg=name)


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_a_training_of_no_step_fits_confidence(
    recipe: Recipe, tmp_path: Path, storage: str
) -> None:
    """And leaves the weights as they are stored."""
    first = train_recipe(longer(recipe, 2), tmp_path / "first", storage=storage)
    tasks = [replace(task, epochs=0) for task in recipe.tasks]
    qa = next(i for i, task in enumerate(tasks) if task.name == "qa")
    questions = tasks[qa].examples(random.Random(0))
    tasks[qa] = replace(tasks[qa], calibration=lambda: questions)
    still = replace(recipe, tasks=tuple(tasks))
    second = train_recipe(still, tmp_path / "second", begin_from=first, storage=storage)
    before, after = (read_bundle(path).manifest for path in (first, second))
    files = {"weights.safetensors", "heads.safetensors"}
    files |= {"activations.safetensors"} if storage == "int8" else set()
    for name in files:
        assert after.files[name] == before.files[name]
    head = read_bundle(second).heads["qa"].head
    assert head.config()["calibration"] is not None
    assert after.training["steps"] == 0


def test_heads_that_do_not_learn_keep_what_was_fitted_to_them(
    recipe: Recipe, tmp_path: Path
) -> None:
    """But what the recipe says of a head counts."""
    fitted = {"qa": {"threshold": -3.0}, "ner": {"temperature": 2.0, "agreement": 0.5}}
    first = train_recipe(replace(recipe, fit=lambda kit: fitted), tmp_path / "first")
    ner, mood, qa, embedding = (replace(task, epochs=0) for task in recipe.tasks)
    ner = replace(ner, config={**ner.config, "agreement": 0.25})
    mood = replace(mood, own_layers=1, epochs=1)
    again = replace(
        recipe, tasks=(ner, mood, qa, embedding), freeze_layers=2, keep_embedding=0.0, seed=1
    )
    second = train_recipe(again, tmp_path / "second", begin_from=first)
    heads = read_bundle(second).heads
    assert heads["qa"].head.config()["threshold"] == -3.0
    assert heads["ner"].head.config()["temperature"] == 2.0
    assert heads["ner"].head.config()["agreement"] == 0.25


def test_heads_alone_learn(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On what the bundle's layers give them; all else stays, as it is stored."""
    read_in: list[str] = []

    def watched(kit: Pipeline, *given: Any) -> Any:
        read_in.append(kit.precision)
        return fit_head(kit, *given)

    monkeypatch.setattr("nlpkit.training.run.fit_head", watched)
    ner, mood, qa, embedding = (replace(task, epochs=1) for task in recipe.tasks)
    mood = replace(mood, own_layers=1)
    first = train_recipe(replace(recipe, tasks=(ner, mood, qa, embedding)), tmp_path / "first")
    known = [TextExample(word, (label,)) for word, label in MOODS.items()]
    learns = replace(
        mood,
        epochs=100,
        config={**mood.config, "dense": 6},
        dev=(Dev("accuracy", lambda: known, lambda kit, some: accuracy(kit, some, "mood")),),
        calibration=lambda: known,
    )
    qa = replace(qa, config={"length_cost": 0.5})
    tasks = (*(replace(task, epochs=0) for task in (ner, qa, embedding)), learns)
    n_tags = len(ner.config["labels"])
    learned = np.eye(n_tags + 1, n_tags).tolist()

    def fit(kit: Pipeline) -> dict[str, dict[str, Any]]:
        assert kit.head("mood").head.config()["dense"] == 6, "the heads as they have learned"
        return {"ner": {"transitions": learned}}

    heads_only = replace(recipe, version=2, tasks=tasks, heads_only=True, fit=fit)
    with pytest.raises(InputError, match="only heads learn in small: expected a bundle"):
        train_recipe(heads_only, tmp_path / "second")
    second = train_recipe(heads_only, tmp_path / "second", begin_from=first)
    assert read_in == ["int8"]  # as it is shipped
    before, after = (read_bundle(path) for path in (first, second))
    for name, sha256 in before.manifest.files.items():
        same = after.manifest.files[name] == sha256
        assert same == (name != "heads.safetensors"), name
    old, new = values(first), values(second)
    assert new["mood/dense.weight"].shape == (6, 32)
    for name in {*old} - {"mood/weight", "mood/bias"}:
        np.testing.assert_array_equal(new[name], old[name], err_msg=name)
    assert after.heads["mood"].branch == "mood"
    said = {**before.heads["qa"].head.config(), "length_cost": 0.5}
    assert after.heads["qa"].head.config() == said
    assert after.heads["ner"].head.config()["transitions"] == learned
    assert after.manifest.id == "small-2"
    training = after.manifest.training
    assert training["from"] == f"small-1 {before.sha256}"
    assert training["dev"]["mood, accuracy"]["score"] == 1.0
    assert (
        after.heads["mood"].head.config()["temperature"]
        == (training["calibration"]["mood"]["temperature"])
    )
    assert nlpkit.load(second).classify("bad", "mood")[0].name == "negative"


def test_a_share_of_the_start_is_kept(recipe: Recipe, tmp_path: Path) -> None:
    first = train_recipe(recipe, tmp_path / "first", storage="float32")
    for name, share in (("none", 0.0), ("half", 0.5)):
        one = replace(recipe, keep_start=share)
        train_recipe(one, tmp_path / name, begin_from=first, storage="float32")
    begun, end, half = (values(tmp_path / name) for name in ("first", "none", "half"))
    for name, value in half.items():
        np.testing.assert_allclose(value, (begun[name] + end[name]) / 2, atol=1e-6, err_msg=name)
    assert any((begun[name] != end[name]).any() for name in begun)
    assert read_bundle(tmp_path / "half").manifest.training["kept"]["start"] == 0.5


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_a_frozen_backbone_stays(recipe: Recipe, tmp_path: Path, storage: str) -> None:
    """All of it, with the head whose task is not read, as it is stored."""
    first = train_recipe(recipe, tmp_path / "first", storage=storage)
    ner, mood, *others = recipe.tasks
    tasks = (ner, replace(mood, own_layers=1), *(replace(task, epochs=0) for task in others))
    frozen = replace(recipe, tasks=tasks, freeze_layers=2, keep_embedding=0.0)
    second = train_recipe(frozen, tmp_path / "second", begin_from=first, storage=storage)
    before, after = values(first), values(second)
    assert branches_of(after) == {"ner": 1, "mood": 1, "qa": 1}
    changed = {name for name in before if (after[name] != before[name]).any()}
    assert {"ner/weight", "mood/weight"} <= changed
    assert all(name.startswith(("ner/", "mood/", "branches.ner.")) for name in changed)
    assert any("branches.ner." in name and "dense" in name for name in changed)
    old, new = (read_bundle(path).activations for path in (first, second))
    assert bool(old) == (storage == "int8")
    for name, value in (old or {}).items():
        same = not name.startswith("ner.layer.")
        assert not same or np.array_equal((new or {})[name], value), name
    tasks = read_bundle(second).manifest.training["tasks"]
    assert [tasks[name]["epochs"] for name in ("ner", "mood", "qa")] == [1, 1, 0]


def test_first_layers_that_are_frozen_stay(recipe: Recipe, tmp_path: Path) -> None:
    first = train_recipe(recipe, tmp_path / "first", storage="float32")
    partly = replace(recipe, freeze_layers=1)
    before = values(first)
    after = values(train_recipe(partly, tmp_path / "second", begin_from=first, storage="float32"))
    changed = {name for name in before if (after[name] != before[name]).any()}
    assert "encoder.layer.1.output.dense.weight" in changed
    assert not [name for name in changed if name.startswith(("embeddings.", "encoder.layer.0."))]


def test_texts_are_learned_from_pairs_and_from_a_teacher(recipe: Recipe, tmp_path: Path) -> None:
    """Beside examples of the other kind, in the same batches; both losses fall."""

    def ner_examples(rng: random.Random) -> Sequence[Example]:
        sure = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=np.float16)
        taught = [TaughtExample(f"{name} saw", sure) for name in ("Ada", "Bob", "Eve")]
        return [*taught, TokenExample("the Ada saw", ((4, 7, "PER"),))]

    def pairs(rng: random.Random) -> Sequence[Example]:
        texts = ("the city", "old man", "phone great", "river bad")
        return [PlainText("text of many"), *(PairExample(text, f"{text} it is") for text in texts)]

    ner, _, _, embedding = recipe.tasks
    tasks = (
        replace(ner, examples=ner_examples, epochs=30),
        replace(embedding, examples=pairs, epochs=30),
    )
    fast = replace(
        recipe, tasks=tasks, keep_embedding=0.1, learning_rate=2e-3, head_learning_rate=1e-2
    )
    train_recipe(fast, tmp_path / "new")
    lines = table(tmp_path / "new.training" / "losses.jsonl")
    assert {"ner", "embedding/pairs", "embedding/embedding"} <= set(lines[0])
    for name in ("ner", "embedding/pairs"):
        assert lines[-1][name] < 0.8 * lines[0][name]


def test_classes_are_learned_from_a_teacher(recipe: Recipe, tmp_path: Path) -> None:
    """Beside examples with labels, in the same batches, and alone."""
    sure = {"good": [0.1, 0.9], "bad": [0.8, 0.2]}
    taught = [TaughtExample(word, np.array(sure[word])) for word in sure]
    known = [TextExample(word, (MOODS[word],)) for word in ("fine", "poor")]
    both: tuple[Sequence[Example], ...] = ([*taught, *known], taught)
    for examples in both:

        def given(rng: random.Random, these: Sequence[Example] = examples) -> Sequence[Example]:
            return these

        task = replace(recipe.tasks[1], examples=given, epochs=40)
        fast = replace(
            recipe, tasks=(task,), keep_embedding=0.0, learning_rate=2e-3, head_learning_rate=1e-2
        )
        kit = nlpkit.load(train_recipe(fast, tmp_path / str(len(examples)), storage="float32"))
        for word, (_, positive) in sure.items():
            found = {label.name: label.score for label in kit.classify(word, "mood")}
            assert found["positive"] == pytest.approx(positive, abs=0.1)
    wrong = replace(task, examples=lambda rng: [TaughtExample("good", np.ones(3))])
    with pytest.raises(DataError, match=r"the shape \(3,\).*expected \(2,\), labels"):
        train_recipe(replace(fast, tasks=(wrong,)), tmp_path / "wrong")


def test_a_teachers_words_must_be_the_texts(recipe: Recipe, tmp_path: Path) -> None:
    wrong = TaughtExample("Ada saw it", np.ones((2, 3)))
    task = replace(recipe.tasks[0], examples=lambda rng: [wrong])
    with pytest.raises(DataError, match=r"\(2, 3\).*\(3, 3\), words and labels"):
        train_recipe(replace(recipe, tasks=(task,)), tmp_path / "new")


def test_a_task_may_spare_the_backbone(recipe: Recipe, tmp_path: Path) -> None:
    """Its own layers and head learn, alone and beside a task that trains the backbone."""
    first = train_recipe(recipe, tmp_path / "first", storage="float32")
    ner, mood, *_ = recipe.tasks

    def changed(*tasks: Task) -> set[str]:
        """Which of the first's weights are others after these tasks."""
        again = replace(recipe, tasks=tasks, keep_embedding=1.0)
        folder = tmp_path / str(len(tasks))
        after = values(train_recipe(again, folder, begin_from=first, storage="float32"))
        return {name for name in after if (after[name] != values(first)[name]).any()}

    sparing = replace(ner, train_backbone=False)
    assert all(name.startswith(("ner/", "branches.ner.")) for name in changed(sparing))
    both = changed(sparing, mood)
    assert {"ner/weight", "mood/weight", "encoder.layer.0.output.dense.weight"} <= both
    assert any(name.startswith("branches.ner.") for name in both)


def test_a_longer_branch_ends_as_the_shorter() -> None:
    head = {"ner": make_head("token-classification", {"labels": ["O", "B-PER", "I-PER"]})}
    short = MultiTaskModel(three_layers(), head, own_layers={"ner": 1})
    long = MultiTaskModel(three_layers(), head, own_layers={"ner": 2})
    long.go_on_from(short.own_layers, {})
    backbone: Any = long.backbone
    for mine, begun in (
        (long.own_layers["ner"][1], short.own_layers["ner"][0]),
        (long.own_layers["ner"][0], backbone.encoder.layer[1]),
    ):
        for key, value in begun.state_dict().items():
            assert torch.equal(mine.state_dict()[key], value)


def test_what_does_not_fit_begins_anew(recipe: Recipe, tmp_path: Path) -> None:
    """Another number of own layers, another set of labels; a head that is not in the recipe."""
    first = train_recipe(recipe, tmp_path / "first", storage="float32")
    ner, mood, *_ = recipe.tasks
    labels = {"labels": ["positive", "negative"]}
    other = replace(
        recipe,
        tasks=(replace(ner, own_layers=0), replace(mood, config=labels)),
        keep_embedding=0.0,
        learning_rate=0.0,
        head_learning_rate=0.0,
    )
    second = train_recipe(other, tmp_path / "second", begin_from=first, storage="float32")
    before, after = values(first), values(second)
    assert not branches_of(after)
    assert sorted(read_bundle(second).heads) == ["mood", "ner"]
    np.testing.assert_array_equal(after["ner/weight"], before["ner/weight"])
    assert (after["mood/weight"] != before["mood/weight"]).all()


def test_a_head_may_come_from_another_bundle(recipe: Recipe, tmp_path: Path) -> None:
    """With all layers up to it, of which its task takes as many as it has for itself."""
    ner, mood, qa, _ = recipe.tasks
    still = replace(recipe, learning_rate=0.0, head_learning_rate=0.0, weight_decay=0.0)
    plain, own = replace(qa, own_layers=0), replace(qa, own_layers=1)
    tasks = {"first": (ner, own), "second": (mood, plain), "third": (ner, mood, own)}
    found: dict[str, dict[str, np.ndarray]] = {}
    for seed, (name, its) in enumerate(tasks.items()):
        one = replace(recipe if name != "third" else still, tasks=its, keep_embedding=0.0)
        given: dict[str, Any] = {}
        if name == "third":
            given = {"begin_from": tmp_path / "first", "heads_from": {"qa": tmp_path / "second"}}
        folder = train_recipe(replace(one, seed=seed), tmp_path / name, storage="float32", **given)
        found[name] = values(folder)
    first, second, third = found.values()
    for name, value in third.items():
        if name.startswith("branches.qa."):
            np.testing.assert_array_equal(value, second[name.removeprefix("branches.qa.")])
            assert first[name].shape == value.shape
        elif not name.startswith("mood/"):
            whose = second if name.startswith("qa/") else first
            np.testing.assert_array_equal(value, whose[name], err_msg=name)
    assert (third["qa/weight"] != first["qa/weight"]).any()
    assert (third["mood/weight"] != second["mood/weight"]).any()
    origin = read_bundle(tmp_path / "third").manifest.training["from"]
    assert [read_bundle(tmp_path / name).sha256 in origin for name in tasks] == [True, True, False]
    assert "qa of small-1" in origin

    for heads_from, match in (
        ({"qa": tmp_path / "first", "faces": tmp_path / "first"}, r"\['faces'\]; recipe .*'ner'"),
        ({"mood": tmp_path / "first"}, r"no head 'mood'; it has \['ner', 'qa'\]"),
    ):
        with pytest.raises(InputError, match=match):
            train_recipe(
                replace(still, tasks=tasks["third"]),
                tmp_path / "fourth",
                begin_from=tmp_path / "first",
                heads_from=heads_from,
            )
    with pytest.raises(InputError, match="expected begin_from too"):
        train_recipe(recipe, tmp_path / "fourth", heads_from={"qa": tmp_path / "first"})


def test_last_layers_may_begin_as_published(recipe: Recipe, tmp_path: Path) -> None:
    """Those of the backbone; a branch goes on from where the bundle's end was."""
    ner, mood, *_ = recipe.tasks
    one = replace(recipe, tasks=(replace(ner, own_layers=0), mood), keep_embedding=0.0)
    first = train_recipe(one, tmp_path / "first", storage="float32")
    anew = replace(
        one,
        tasks=(ner, mood),
        published_layers=1,
        learning_rate=0.0,
        head_learning_rate=0.0,
        weight_decay=0.0,
    )
    after = values(train_recipe(anew, tmp_path / "second", begin_from=first, storage="float32"))
    before = values(first)
    published: Any = start_of(recipe).backbone
    last = dict(published.encoder.layer[1].named_parameters())
    changed = 0
    for name, value in last.items():
        trunk, branch = f"encoder.layer.1.{name}", f"branches.ner.encoder.layer.1.{name}"
        np.testing.assert_array_equal(after[trunk], value.detach().numpy())
        np.testing.assert_array_equal(after[branch], before[trunk])
        changed += (after[trunk] != after[branch]).any()
    assert changed
    np.testing.assert_array_equal(
        after["encoder.layer.0.output.dense.weight"], before["encoder.layer.0.output.dense.weight"]
    )


def test_a_bundle_that_reads_otherwise_is_no_start(recipe: Recipe, tmp_path: Path) -> None:
    first = train_recipe(replace(recipe, word_shape_types=False), tmp_path / "first")
    with pytest.raises(InputError, match=r"first: .* there: False; expected True, as word_shape"):
        train_recipe(recipe, tmp_path / "second", begin_from=first)
    stopped = tmp_path / "third"
    with pytest.raises(TrainingError, match="stopped by a signal"):
        train_recipe(longer(recipe, 6), stopped, report=lambda p: os.kill(os.getpid(), 15))
    again = train_recipe(recipe, tmp_path / "fourth")
    with pytest.raises(InputError, match="belongs to a training with another recipe"):
        train_recipe(longer(recipe, 6), stopped, begin_from=again)


@pytest.mark.parametrize("tune", ["head", "lora", "full"])
def test_a_pack_learns_a_users_file(tune: str, tiny_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    rows = [{"text": f"{word} {i}", "label": MOODS[word]} for i in range(8) for word in MOODS]
    file.write_text("\n".join(map(json.dumps, rows)))
    trained = train_pack(
        "classification",
        "mood",
        file,
        tmp_path / "pack",
        dev_file=file,
        tune=tune,
        model=str(tiny_folder),
        epochs=300 if tune == "head" else 60,
    )
    assert trained.scores["accuracy"] > 0.9
    if tune == "full":
        kit = nlpkit.load(str(trained.path), device="cpu")
    else:
        kit = nlpkit.load(str(tiny_folder), device="cpu")
        assert kit.add(trained.path) == ("mood",)
    assert kit.classify("good 3", task="mood")[0].name == "positive"
    assert kit.analyze("bad 3").labels["mood"][0].name == "negative"


def test_an_adapter_equals_the_merged_model(tiny_folder: Path) -> None:
    """Weights with the updates added, on the CPU engine, against peft's own merge in torch."""
    bundle = read_bundle(tiny_folder)
    plain = dequantise(bundle.weights)
    config = bundle.manifest.config
    wrapped = with_lora(TorchEngine.from_weights(plain, config, "cpu", "fp32").backbone, seed=0)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapter = lora_tensors(wrapped)
    merged = wrapped.merge_and_unload().eval()  # type: ignore[operator]

    (encoded,) = bundle.encoder.encode(["Ada Lovelace lived in London."])
    (window,) = windows(len(encoded), 100, 10)
    batch = pad([bundle.encoder.row(encoded, window)], 0)
    engine = OnnxEngine(bundle.graph, merge_adapter(bundle.weights, adapter), config)
    with torch.inference_mode():
        expected = run_backbone(merged, to_torch(batch)).numpy()
    np.testing.assert_allclose(engine.hidden(batch)[""], expected, atol=1e-5)
    before = OnnxEngine(bundle.graph, bundle.weights, config).hidden(batch)[""]
    assert np.abs(before - expected).max() > 0.01


def test_bad_requests(tiny_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"text": "a", "label": "x"}\n')
    model = str(tiny_folder)
    with pytest.raises(InputError, match=r"only the label \['x'\]"):
        train_pack("classification", "t", file, tmp_path / "p", model=model)
    with pytest.raises(UnknownNameError, match="known: classification, ner, qa"):
        train_pack("sorting", "t", file, tmp_path / "p", model=model)
    with pytest.raises(UnknownNameError, match="known: full, head, lora"):
        train_pack("classification", "t", file, tmp_path / "p", model=model, tune="half")
    with pytest.raises(OutputExistsError):
        train_pack("classification", "t", file, tmp_path, model=model)
    file.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": ["x", "y"]}\n')
    with pytest.raises(DataError, match="expected exactly one"):
        train_pack("classification", "t", file, tmp_path / "p", model=model)
    dev = tmp_path / "dev.jsonl"
    file.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    dev.write_text('{"text": "a", "label": "z"}\n')
    with pytest.raises(InputError, match=r"dev\.jsonl has labels that the training file lacks: z"):
        train_pack("classification", "t", file, tmp_path / "p", model=model, dev_file=dev)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="sees no CUDA GPU"):
            train_pack("classification", "t", file, tmp_path / "p", model=model, device="cuda")
    file.write_text("a O\n")
    with pytest.raises(InputError, match="holds no entity"):
        train_pack("ner", "t", file, tmp_path / "p", model=model)


def test_recipes_by_name_and_path(tmp_path: Path) -> None:
    assert [task.name for task in load_recipe("base_en_confidence").tasks] == [
        "ner",
        "sentiment",
        "topic",
        "qa",
        "embedding",
    ]
    with pytest.raises(
        UnknownNameError,
        match="known: base_en, base_en_answers, base_en_classes, base_en_confidence, "
        "base_en_doubts, base_en_embedding, base_en_entities, base_en_joint, base_en_questions, "
        "base_en_quotes, base_en_reviews, base_en_sequences, ner, qa, sentiment, topic",
    ):
        load_recipe("cooking")
    path = tmp_path / "mine.py"
    path.write_text("x = 1\n")
    with pytest.raises(InputError, match="has no function recipe"):
        load_recipe(path)
