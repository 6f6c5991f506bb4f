"""What ``nlpkit train`` does: a recipe to a bundle, a user's own data to a task pack."""

from __future__ import annotations

import dataclasses
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from nlpkit import zero_shot
from nlpkit.bundle import Bundle, read_bundle, write_bundle, write_pack
from nlpkit.engines import PluggedHead, choose
from nlpkit.engines.torch import check_device, to_torch
from nlpkit.errors import InputError, OutputExistsError, UnknownNameError
from nlpkit.evaluation import evaluate_files
from nlpkit.heads import Head, PoolingHead, SequenceHead, make_head
from nlpkit.loading import load, offered_by
from nlpkit.pipeline import Pipeline
from nlpkit.readers import (
    Example,
    Source,
    TextExample,
    TokenExample,
    join_sentences,
    read_classified,
    read_conll,
    read_squad,
)
from nlpkit.text import TextEncoder, batches, pad
from nlpkit.training.calibrate import calibrate
from nlpkit.training.checkpoint import remove_checkpoints
from nlpkit.training.dev import dev_scores
from nlpkit.training.finish import plugged_heads, save_bundle
from nlpkit.training.items import Item, check_examples, make_items
from nlpkit.training.recipe import Recipe, Task
from nlpkit.training.trainer import (
    Progress,
    Start,
    Trained,
    stack_targets,
    start_from,
    start_of,
    train,
)

TASKS = {
    "classification": "sequence-classification",
    "ner": "token-classification",
    "qa": "question-answering",
}
TUNES = ("head", "lora", "full")
#: LoRA (Hu et al. 2021): the rank of the updates and the matrices they change.
LORA_RANK = 16
LORA_ALPHA = 32
LORA_TARGETS = ("query", "value", "attention.output.dense", "intermediate.dense")

Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class TrainedPack:
    """Where the pack (or, with ``tune="full"``, the bundle) lies and how it does on --dev."""

    path: Path
    scores: dict[str, float]


def train_recipe(
    recipe: Recipe,
    output: Path,
    *,
    begin_from: str | Path | None = None,
    heads_from: Mapping[str, str | Path] | None = None,
    device: str = "cpu",
    checkpoint_minutes: float = 5.0,
    storage: str = "int8",
    overwrite: bool = False,
    report: Report = lambda progress: None,
) -> Path:
    """Train a recipe's tasks together and write the bundle ``output``.

    Checkpoints and curves lie in ``<output>.training``; the same call resumes from them.
    ``<output>.training/float32`` holds the same model with its weights unquantised.
    Where only heads learn there is neither: it takes minutes, and the weights are the bundle's.
    ``begin_from`` is a bundle whose backbone, branches and heads the tasks go on from; without it
    they begin with the recipe's backbone as it is published. ``heads_from`` says of tasks, by name,
    from which other bundle their heads and own layers come.

    Raises:
        InputError: the bundle's backbone reads word shapes and the recipe's does not, or the
            other way about.
    """
    if output.exists() and not overwrite:
        raise OutputExistsError.of(output)
    check_device(device)
    if recipe.heads_only:
        if begin_from is None or heads_from:
            raise InputError(
                f"only heads learn in {recipe.name}: expected a bundle to go on from, and no heads "
                f"of others; got {begin_from} and {dict(heads_from or {})}"
            )
        return _train_heads(recipe, read_bundle(begin_from), output, device, overwrite, report)
    work = work_folder(output)
    if begin_from is not None:
        start = _begin_from(begin_from, heads_from or {}, recipe)
    elif heads_from:
        raise InputError(f"heads from {dict(heads_from)}; expected begin_from too, a bundle")
    else:
        start = start_of(recipe)
    trained = train(
        recipe,
        work,
        start,
        device=device,
        checkpoint_minutes=checkpoint_minutes,
        report=report,
    )
    trained.model.cpu()
    save_trained(trained, recipe, start, output, storage)
    remove_checkpoints(work)
    return output


def _train_heads(
    recipe: Recipe, bundle: Bundle, output: Path, device: str, overwrite: bool, report: Report
) -> Path:
    """Train heads on frozen features; the rest of the bundle stays as it lies there.

    What the recipe's ``config`` says of the other heads goes before what they are there.
    Features are read in int8 where the bundle has it and no GPU is to do it: heads learn from what
    they will meet, whatever is fastest here.
    """
    fitted_for_int8 = "int8" in offered_by(bundle.manifest)
    precision = "int8" if fitted_for_int8 and choose(device).device == "cpu" else "auto"
    kit = load(str(bundle.path), device, precision)
    heads = dict(bundle.heads)
    for task in recipe.tasks:
        if not task.epochs and task.name in heads:
            heads[task.name] = _reconfigured(heads[task.name], task.config)
    facts: dict[str, Any] = {"from": f"{bundle.manifest.id} {bundle.sha256}", "tasks": {}}
    for task in (task for task in recipe.tasks if task.epochs):
        branch = heads[task.name].branch if task.name in heads else ""
        examples = task.examples(random.Random(f"{recipe.seed}/{task.name}"))
        heads[task.name] = fit_head(kit, task, examples, recipe.seed, report, branch)
        facts["tasks"][task.name] = {"epochs": round(task.epochs), "examples": len(examples)}

    def write(path: Path, overwrite: bool) -> Path:
        manifest = dataclasses.replace(
            bundle.manifest,
            name=recipe.name,
            version=recipe.version,
            training={
                "recipe": recipe.name,
                "seed": recipe.seed,
                "backbone": recipe.backbone,
                **facts,
                "sources": sources(recipe),
            },
        )
        return write_bundle(
            path,
            manifest,
            tokenizer=bundle.encoder.to_str(),
            weights=bundle.weights,
            heads=heads,
            graph=bundle.graph,
            activations=bundle.activations,
            words=bundle.words,
            extra={"WEIGHTS-LICENSE": recipe.licence + "\n"} if recipe.licence else None,
            overwrite=overwrite,
        )

    with tempfile.TemporaryDirectory() as folder:
        draft = load(str(write(Path(folder) / "draft", False)), device, precision)
        if recipe.fit:
            for name, values in recipe.fit(draft).items():
                heads[name] = _reconfigured(heads[name], values)
            draft = load(str(write(Path(folder) / "fitted", False)), device, precision)
        fitted, facts["calibration"] = calibrate(draft, recipe)
        for name, values in fitted.items():
            heads[name] = _reconfigured(heads[name], values)
        scores = dev_scores(draft, recipe, whole=True)
        facts["dev"] = {
            f"{task}, {name}": {"score": round(value, 4), "examples": n}
            for (task, name), (value, n) in scores.items()
        }
    return write(output, overwrite)


def _reconfigured(plugged: PluggedHead, values: Mapping[str, Any]) -> PluggedHead:
    head = plugged.head
    return dataclasses.replace(plugged, head=make_head(head.kind, {**head.config(), **values}))


def _begin_from(bundle: str | Path, others: Mapping[str, str | Path], recipe: Recipe) -> Start:
    unknown = {*others} - {task.name for task in recipe.tasks}
    if unknown:
        raise InputError(
            f"heads from other bundles for {sorted(unknown)}; recipe {recipe.name} has the tasks "
            f"{[task.name for task in recipe.tasks]}"
        )
    found = {path: read_bundle(path) for path in dict.fromkeys([bundle, *others.values()])}
    for path, one in found.items():
        if one.manifest.shape_types != recipe.word_shape_types:
            raise InputError(
                f"{path}: word shapes are token types there: {one.manifest.shape_types}; expected "
                f"{recipe.word_shape_types}, as word_shape_types of recipe {recipe.name} says"
            )
    return start_from(found[bundle], {name: found[path] for name, path in others.items()})


def save_trained(
    trained: Trained, recipe: Recipe, start: Start, output: Path, storage: str
) -> None:
    """Fit what the recipe fits and the scores' confidence; write the bundle and its twin."""
    encoder = start.encoder
    fitted = _as_they_were(recipe, start)
    facts = {**trained.record, "sources": sources(recipe)}
    words = _words_as_they_were(trained, recipe, start)

    def save(path: Path, how: str) -> Path:
        return save_bundle(
            trained.model,
            recipe,
            path,
            tokenizer=encoder.to_str(),
            storage=how,
            fitted=fitted,
            facts=facts,
            rows=trained.rows,
            stored=start.bundle,
            words=words,
            extra={"WEIGHTS-LICENSE": recipe.licence + "\n"} if recipe.licence else None,
            overwrite=True,
        )

    twin = save(work_folder(output) / "float32", "float32")
    if recipe.fit:
        fitted |= recipe.fit(load(str(twin)))
        save(twin, "float32")
    if any(task.calibration for task in recipe.tasks):
        # After the rest: whether there is an answer, and so whether it is right, is fitted above.
        values, facts["calibration"] = calibrate(load(str(twin)), recipe)
        for name, value in values.items():
            fitted[name] = {**fitted.get(name, {}), **value}
        save(twin, "float32")
    if not words and any(task.kind == PoolingHead.kind for task in recipe.tasks):
        words |= word_vectors(load(str(twin)), encoder)
        save(twin, "float32")
    save(output, storage)


def _as_they_were(recipe: Recipe, start: Start) -> dict[str, dict[str, Any]]:
    """The configs of heads that learn nothing here, and that nothing is fitted to.

    What the recipe itself says of them goes before.
    """
    return {
        task.name: {**start.heads[task.name].head.config(), **task.config}
        for task in recipe.tasks
        if task.epochs == 0 and task.calibration is None and task.name in start.heads
    }


def _words_as_they_were(trained: Trained, recipe: Recipe, start: Start) -> dict[str, NDArray[Any]]:
    """The words for zero-shot labels of the bundle gone on from, where its embedding stays."""
    pooling = [task.name for task in recipe.tasks if task.kind == PoolingHead.kind]
    frozen = recipe.freeze_layers >= start.backbone.config.num_hidden_layers
    if start.bundle is None or not frozen or not pooling:
        return {}
    after = plugged_heads(trained.model, {})
    for name in pooling:
        was = start.heads[name].parameters if name in start.heads else {}
        now = after[name].parameters
        if was.keys() != now.keys() or any((was[key] != now[key]).any() for key in now):
            return {}
    return dict(start.bundle.words or {})


def word_vectors(kit: Pipeline, encoder: TextEncoder) -> dict[str, NDArray[Any]]:
    """What a bundle brings along for zero-shot labels: none where the vocabulary has no words."""
    words = zero_shot.words_of(encoder.vocabulary())
    return zero_shot.pack_words(zero_shot.phrased(kit.embed, words)) if words else {}


def work_folder(output: Path) -> Path:
    """Where a training keeps its checkpoints and curves."""
    return output.with_name(output.name + ".training")


def sources(recipe: Recipe) -> list[dict[str, str]]:
    """The recipe's data, each file once, with the tasks that read it."""
    found: dict[str, dict[str, str]] = {}
    for task in recipe.tasks:
        for source in task.sources:
            entry = found.setdefault(source.file, {**dataclasses.asdict(source), "tasks": ""})
            entry["tasks"] = ", ".join(filter(None, (entry["tasks"], task.name)))
    return list(found.values())


def train_pack(
    task: str,
    name: str,
    train_file: Path,
    output: Path,
    *,
    dev_file: Path | None = None,
    tune: str = "head",
    model: str = "base-en",
    epochs: int | None = None,
    seed: int = 0,
    text_column: str = "text",
    label_column: str = "label",
    multi_label: bool = False,
    device: str = "cpu",
    overwrite: bool = False,
    report: Report = lambda progress: None,
) -> TrainedPack:
    """Train a head on a user's file and write it as a task pack for the bundle ``model``.

    ``tune="head"`` learns from the frozen backbone's features, computed once; ``"lora"`` adds a
    low-rank adapter; ``"full"`` changes the backbone and writes a bundle of its own.

    Raises:
        UnknownNameError: an unknown task or way to tune.
        DataError: a line of a file that cannot be read, or labels that the head does not have.
        OutputExistsError: the output exists and ``overwrite`` is not set.
    """
    if task not in TASKS:
        raise UnknownNameError.of("kind of task", task, TASKS)
    if tune not in TUNES:
        raise UnknownNameError.of("way to tune", tune, TUNES)
    if output.exists() and not overwrite:
        raise OutputExistsError.of(output)
    check_device(device)
    examples = _examples(task, train_file, text_column, label_column)
    config = _head_config(task, examples, multi_label)
    if dev_file is not None:  # what is wrong with it is said now, not after the training
        _check_dev(dev_file, _examples(task, dev_file, text_column, label_column), config)
    bundle = read_bundle(model)
    epochs = epochs or {"head": 30, "lora": 10, "full": 5}[tune]
    recipe = Recipe(
        name=name,
        description=f"{task} from {train_file.name}",
        tasks=(
            Task(
                name=name,
                kind=TASKS[task],
                config=config,
                examples=lambda rng: examples,
                sources=(Source(str(train_file), train_file.name, "", ""),),
                epochs=epochs,
                batch_tokens=1024,
                keep_embedding=False,
            ),
        ),
        backbone=bundle.manifest.id,
        learning_rate=5e-4 if tune == "lora" else 1e-4,
        word_shape_types=bundle.manifest.shape_types,
        seed=seed,
    )
    facts = {
        "data": {"train": train_file.name, "examples": len(examples)},
        "tune": tune,
        "epochs": epochs,
        "seed": seed,
    }

    def score(kit: Pipeline) -> dict[str, float]:
        if dev_file is None:
            return {}
        return evaluate_files(kit, name, dev_file, text=text_column, label=label_column).scores

    if tune == "full":
        path = _full(recipe, bundle, output, facts, device, overwrite, report)
        kit = load(str(path), device)
        return TrainedPack(path, score(kit))
    adapter = None
    if tune == "head":
        plugged = fit_head(load(model, device), recipe.tasks[0], examples, seed, report)
    else:
        plugged, adapter = _lora(recipe, bundle, output, device, report)

    def write(path: Path, scores: Mapping[str, float]) -> Path:
        return write_pack(
            path,
            name,
            backbone=bundle.manifest.id,
            backbone_sha256=bundle.manifest.files["weights.safetensors"],
            heads={name: plugged},
            adapter=adapter,
            training={**facts, "scores": dict(scores)},
            overwrite=overwrite,
        )

    scores: dict[str, float] = {}
    if dev_file is not None:
        with tempfile.TemporaryDirectory() as folder:
            kit = load(model, device)
            if name in kit.tasks:
                kit.remove(name)
            kit.add(write(Path(folder) / "draft", {}))
            scores = score(kit)
    write(output, scores)
    shutil.rmtree(work_folder(output), ignore_errors=True)
    return TrainedPack(output, scores)


def fit_head(
    kit: Pipeline,
    task: Task,
    examples: Sequence[Example],
    seed: int,
    report: Report,
    branch: str = "",
) -> PluggedHead:
    """A head trained on frozen features, read once: of a branch or of the backbone's own end.

    A classifier learns from pooled vectors (a row of length 1 pools to itself), the others from
    hidden states kept in float16.
    """
    head = make_head(task.kind, task.config)
    check_examples(task, head, examples)
    items = make_items(head, examples, kit.encoder, task.max_length)
    features = _features(kit, head, items, branch)
    generator = torch.Generator().manual_seed(seed)
    parameters = {
        name: torch.zeros(shape)
        if len(shape) == 1
        else torch.empty(shape).normal_(0, 0.02, generator=generator)
        for name, shape in head.parameter_shapes(kit.engine.width).items()
    }
    for value in parameters.values():
        value.requires_grad_()
    batches = _batches(items, 4096 if head.per_token else 64 * task.max_length, seed)
    epochs = round(task.epochs)
    total = epochs * len(batches)
    optimizer = torch.optim.AdamW(parameters.values(), lr=5e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: max(0.0, 1 - s / total))
    rng = random.Random(seed)
    step = 0
    for _ in range(epochs):
        rng.shuffle(batches)
        for group in batches:
            loss = _loss(head, parameters, [items[i] for i in group], [features[i] for i in group])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
        report(Progress(step, total, {task.name: float(loss.detach())}, 0.0, 0.0))
    learned = {n: v.detach().numpy().copy() for n, v in parameters.items()}
    return PluggedHead(head, learned, branch)


def _features(
    kit: Pipeline, head: Head, items: Sequence[Item], branch: str
) -> list[NDArray[np.float16]]:
    """Hidden states (length, width) of each item, or its pooled vector as (1, width)."""
    probe: Head = PoolingHead(head.pooling) if isinstance(head, SequenceHead) else _Hidden()
    plugged = {"": PluggedHead(probe, {}, branch)}
    found: list[NDArray[np.float16]] = [np.zeros((0, 0), np.float16)] * len(items)
    for group in _batches(items, kit.token_budget, 0):
        batch = pad([items[i].row for i in group], kit.encoder.pad_id)
        values = kit.engine.run(batch, plugged)[""]
        for at, i in enumerate(group):
            part = values[at, : len(items[i].row)] if values.ndim == 3 else values[at : at + 1]
            found[i] = part.astype(np.float16)
    return found


class _Hidden(PoolingHead):
    """Gives the hidden states themselves."""

    per_token = True

    def forward(self, hidden: Any, batch: Any, parameters: Any) -> Any:
        return hidden


def _loss(
    head: Head,
    parameters: Mapping[str, torch.Tensor],
    items: Sequence[Item],
    features: Sequence[NDArray[np.float16]],
) -> torch.Tensor:
    batch = pad([item.row for item in items], 0)
    length = max(len(f) for f in features)
    hidden = np.zeros((len(items), length, features[0].shape[1]), dtype=np.float32)
    for i, feature in enumerate(features):
        hidden[i, : len(feature)] = feature
    if length == 1 and not head.per_token:
        ones = np.ones((len(items), 1), dtype=np.int64)
        batch = dataclasses.replace(batch, ids=ones, mask=ones, types=ones, shapes=ones, owned=ones)
    logits = head.forward(torch.from_numpy(hidden), to_torch(batch), parameters)
    targets = stack_targets(head, [item.target for item in items], length)
    loss: torch.Tensor = head.loss(logits, torch.from_numpy(targets))
    return loss


def _batches(items: Sequence[Item], token_budget: int, seed: int) -> list[list[int]]:
    """Indices of items of like length, shuffled, within the budget."""
    made = batches([len(item.row) for item in items], token_budget)
    random.Random(seed).shuffle(made)
    return made


def _lora(
    recipe: Recipe, bundle: Bundle, output: Path, device: str, report: Report
) -> tuple[PluggedHead, dict[str, NDArray[Any]]]:
    start = start_from(bundle)
    wrapped = with_lora(start.backbone, recipe.seed)
    train_to = work_folder(output)
    trained = train(recipe, train_to, Start(wrapped, start.encoder), device=device, report=report)
    return plugged_heads(trained.model, {})[recipe.tasks[0].name], lora_tensors(wrapped)


def with_lora(backbone: PreTrainedModel, seed: int) -> PreTrainedModel:
    """The backbone, frozen, with trainable low-rank updates beside its matrices (peft)."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    # peft asks transformers whether checkpointing is on, by a name that is on its way out.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    config = LoraConfig(
        r=LORA_RANK,
        lora_alpha=LORA_ALPHA,
        lora_dropout=0.05,
        target_modules=list(LORA_TARGETS),
    )
    wrapped: Any = get_peft_model(backbone, config)
    return wrapped  # type: ignore[no-any-return]


def lora_tensors(wrapped: PreTrainedModel) -> dict[str, NDArray[Any]]:
    """The updates as nlpkit.weights.merge_adapter reads them."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, value in wrapped.state_dict().items():
        for part in ("lora_A", "lora_B"):
            if f".{part}.default.weight" in name:
                matrix = name.removeprefix("base_model.model.").split(f".{part}.")[0] + ".weight"
                tensors[f"{matrix}.{part}"] = value.detach().float().cpu().numpy().copy()
                tensors[f"{matrix}.scaling"] = np.array(LORA_ALPHA / LORA_RANK, dtype=np.float32)
    return tensors


def _full(
    recipe: Recipe,
    bundle: Bundle,
    output: Path,
    facts: dict[str, Any],
    device: str,
    overwrite: bool,
    report: Report,
) -> Path:
    start = start_from(bundle)
    start = Start(start.backbone, start.encoder)  # the head is new, whatever its name
    work = work_folder(output)
    trained = train(recipe, work, start, device=device, report=report)
    path = save_bundle(
        trained.model.cpu(),
        recipe,
        output,
        tokenizer=start.encoder.to_str(),
        facts=facts,
        rows=trained.rows,
        overwrite=overwrite,
    )
    shutil.rmtree(work)
    return path


def _examples(task: str, file: Path, text: str, label: str) -> Sequence[Example]:
    if task == "classification":
        return read_classified(file, text, label)
    if task == "qa":
        return read_squad(file)
    return [join_sentences([sentence]) for sentence in read_conll(file)]


def _head_config(task: str, examples: Sequence[Example], multi_label: bool) -> dict[str, Any]:
    if task == "qa":
        return {}
    if task == "classification":
        labels = sorted({x for e in examples if isinstance(e, TextExample) for x in e.labels})
        if len(labels) < 2:
            raise InputError(f"the training file has only the label {labels}; expected two or more")
        return {"labels": labels, "multi_label": multi_label}
    types = sorted({label for e in examples for _, _, label in getattr(e, "spans", ())})
    if not types:
        raise InputError("the training file holds no entity; expected at least one B- tag")
    return {"labels": ["O", *(f"{b}-{t}" for t in types for b in "BI")], "word_shape": True}


def _check_dev(file: Path, examples: Sequence[Example], config: dict[str, Any]) -> None:
    found = {label for e in examples if isinstance(e, TextExample) for label in e.labels} | {
        f"B-{label}" for e in examples if isinstance(e, TokenExample) for _, _, label in e.spans
    }
    unknown = found - set(config.get("labels", found))
    if unknown:
        raise InputError(
            f"{file} has labels that the training file lacks: {', '.join(sorted(unknown))}; "
            f"expected some of {', '.join(config['labels'])}"
        )
