"""The multi-task trainer: one batch of one task a step, exactly resumable.

A run that is killed and started again goes through the same batches with the same dropout as one
that was left alone, and ends with the same weights, bit for bit. Dev scores are taken between the
steps and leave no trace in them.
"""

from __future__ import annotations

import hashlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from nlpkit.bundle import Bundle
from nlpkit.engines import PluggedHead
from nlpkit.engines.torch import TorchEngine, run_backbone, to_torch, training_precision
from nlpkit.errors import InputError, TrainingError
from nlpkit.heads import Head, make_head
from nlpkit.heads.token import IGNORE, TokenHead
from nlpkit.huggingface import load_backbone, load_encoder
from nlpkit.text import Batch, Row, TextEncoder, pad
from nlpkit.training.checkpoint import Checkpoints
from nlpkit.training.curve import Curve, Means
from nlpkit.training.dev import Scores, dev_scores, mean_score, pipeline_of
from nlpkit.training.model import MultiTaskModel, add_shape_types
from nlpkit.training.plan import Plan, Step
from nlpkit.training.recipe import Recipe, Task
from nlpkit.weights import dequantise

LOG_EVERY = 20
#: Tokens of each task that int8 is fitted on.
SAMPLE_TOKENS = 8_000
#: Names of the model's parameters: those of heads, and the rows of word shapes.
HEADS = "head_parameters."
SHAPE_ROWS = "backbone.embeddings.token_type_embeddings.weight"
#: Texts of a bad batch that a message quotes.
QUOTED = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands; handed to the caller's callback every LOG_EVERY steps.

    ``steps`` is how many there will be about, until the last, which is exact.
    """

    step: int
    steps: int
    losses: dict[str, float]
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Start:
    """Where a training starts: an encoder with its tokenizer. Frozen parameters stay frozen.

    ``branches`` and ``heads`` are what tasks of the same names go on from, ``origin`` is whose
    they are; ``bundle`` is where the backbone lies, whose weights stay as they are stored there if
    none of them learns.
    """

    backbone: PreTrainedModel
    encoder: TextEncoder
    branches: Mapping[str, nn.ModuleList] = field(default_factory=dict)
    heads: Mapping[str, PluggedHead] = field(default_factory=dict)
    origin: str = ""
    bundle: Bundle | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, what is worth recording of how it came about, and some of what it read."""

    model: MultiTaskModel
    record: dict[str, Any]
    rows: list[Row]


def start_of(recipe: Recipe) -> Start:
    """The recipe's backbone as it is published, with word-shape types if the recipe wants them."""
    backbone = load_backbone(recipe.backbone)
    if recipe.word_shape_types:
        add_shape_types(backbone)
    encoder = load_encoder(recipe.backbone, backbone.config, shape_types=recipe.word_shape_types)
    return Start(backbone, encoder)


def start_from(bundle: Bundle, others: Mapping[str, Bundle] | None = None) -> Start:
    """A bundle's backbone, branches and heads; ``others`` give the heads that they are named by.

    Such a head comes with all layers up to it, of which a task takes as many as it has for itself.

    Raises:
        InputError: another bundle's backbone is of another shape, or it has no such head.
    """
    config = bundle.manifest.config
    engine = _torch_engine(bundle)
    branches, heads = dict(engine.branches), dict(bundle.heads)
    origin = [f"{bundle.manifest.id} {bundle.sha256}"]
    engines: dict[str, TorchEngine] = {}  # a bundle may give several heads
    for name, other in (others or {}).items():
        if other.manifest.config != config:
            raise InputError(
                f"{other.manifest.id} has the backbone {dict(other.manifest.config)}; expected "
                f"that of {bundle.manifest.id}, {dict(config)}"
            )
        if name not in other.heads:
            raise InputError(f"{other.manifest.id} has no head {name!r}; it has {[*other.heads]}")
        heads[name] = other.heads[name]
        branch = other.heads[name].branch
        if other.sha256 not in engines:
            engines[other.sha256] = _torch_engine(other)
        branches[branch or name] = _layers_up_to(engines[other.sha256], branch)
        origin.append(f"{name} of {other.manifest.id} {other.sha256}")
    return Start(engine.backbone, bundle.encoder, branches, heads, " ".join(origin), bundle)


def _layers_up_to(engine: TorchEngine, branch: str) -> nn.ModuleList:
    """The layers of the backbone that a branch (``""``: its own end) goes on from, and its own.

    None of a backbone that is no BERT: no head has layers of its own there.
    """
    backbone: Any = engine.backbone
    if backbone.config.model_type != "bert":
        return nn.ModuleList()
    own = [*engine.branches.get(branch, ())]
    shared = [*backbone.encoder.layer][: backbone.config.num_hidden_layers - len(own)]
    return nn.ModuleList([*shared, *own])


def _torch_engine(bundle: Bundle) -> TorchEngine:
    return TorchEngine.from_weights(
        dequantise(bundle.weights), bundle.manifest.config, "cpu", "fp32"
    )


def train(
    recipe: Recipe,
    folder: Path,
    start: Start,
    *,
    device: str = "cpu",
    checkpoint_minutes: float = 5.0,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train a recipe; checkpoints, losses and dev scores stay in ``folder``.

    Started again with the same folder, it resumes from the last checkpoint. SIGTERM and Ctrl-C
    leave a checkpoint behind.

    Raises:
        DataError: examples that cannot be learned from.
        TrainingError: the loss is not finite, a checkpoint cannot be written, or the run was told
            to stop.
    """
    torch.manual_seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    heads = {task.name: make_head(task.kind, task.config) for task in recipe.tasks}
    own_layers = {task.name: task.own_layers for task in recipe.tasks}
    branch_names = {task.name: task.branch for task in recipe.tasks}
    model = MultiTaskModel(start.backbone, heads, recipe.seed, own_layers, branch_names)
    model.go_on_from(start.branches, start.heads)
    if recipe.published_layers:
        model.begin_anew(load_backbone(recipe.backbone), recipe.published_layers)
    model.freeze(recipe.freeze_layers)
    model.set_attention_dropout(recipe.attention_dropout)
    model.to(device)
    teacher = None
    if recipe.keep_embedding:
        teacher = load_backbone(recipe.backbone).eval()
        nn.Module.to(teacher, device)
    plan = Plan(recipe, heads, start.encoder)
    run = _Run(recipe, model, teacher, folder, device, plan, start.origin)
    run.resume()
    with _stop_on_signal() as stopped, Curve(folder, run.number) as curve:
        run.loop(start.encoder, curve, checkpoint_minutes, stopped, report)
    return Trained(model.eval(), run.finish(start.encoder), run.plan.some(SAMPLE_TOKENS))


def stack_targets(head: Head, targets: Sequence[Any], length: int) -> NDArray[Any]:
    """One array for a batch; tags are padded to its length.

    Where some rows have probabilities of tags or classes, all get them, and none where there is no
    target.
    """
    if isinstance(head, TokenHead):
        if any(t.ndim == 2 for t in targets):
            every = np.arange(len(head.labels))
            targets = [t if t.ndim == 2 else (t[:, None] == every) for t in targets]
            made = np.zeros((len(targets), length, len(every)), dtype=np.float32)
            for row, target in zip(made, targets, strict=True):
                row[: len(target)] = target
            return made
        targets = [np.pad(t, (0, length - len(t)), constant_values=IGNORE) for t in targets]
    arrays = [np.asarray(target) for target in targets]
    if len({one.ndim for one in arrays}) > 1:
        every = np.arange(len(head.labels))
        arrays = [one if one.ndim else (one == every).astype(np.float32) for one in arrays]
    return np.stack(arrays)


class _Run:
    """The state of a training: the model, its optimiser and average, and where it stands."""

    def __init__(
        self,
        recipe: Recipe,
        model: MultiTaskModel,
        teacher: PreTrainedModel | None,
        folder: Path,
        device: str,
        plan: Plan,
        origin: str,
    ) -> None:
        self.recipe = recipe
        self.model = model
        self.teacher = teacher
        self.device = device
        self.precision = training_precision(device)
        self.plan = plan
        self.origin = origin
        self.begun: dict[str, Tensor] = {}
        if recipe.keep_start:
            self.begun = {name: p.detach().clone() for name, p in _trained(model)}
        self.checkpoints = Checkpoints(folder, _identity(recipe, model, plan, origin))
        self.tasks: dict[str, Task] = {task.name: task for task in recipe.tasks}
        self.embedding = next((t.name for t in recipe.tasks if t.kind == "pooling"), None)
        kind = device.split(":")[0]
        # One kernel instead of a dozen over every weight: a tenth of a step on the CPU.
        groups = _parameter_groups(recipe, model)
        self.optimizer = torch.optim.AdamW(groups, eps=1e-6, fused=kind in ("cpu", "cuda"))
        self.averages: dict[str, Tensor] = {}
        if recipe.ema:
            self.averages = {name: p.detach().clone() for name, p in _trained(model)}
        self.has_dev = any(task.dev for task in recipe.tasks)
        self.n_warm = max(1, int(recipe.warmup * plan.steps))
        self.number = 0  #: steps done
        self.tokens = 0  #: tokens read
        self.minutes = 0.0  #: time spent, over all sittings
        self.recent = Means()  #: losses since the last line
        self.since_dev = Means()  #: losses since the last dev scores

    # -- the loop ----------------------------------------------------------------------------

    def loop(
        self,
        encoder: TextEncoder,
        curve: Curve,
        checkpoint_minutes: float,
        stopped: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> None:
        first, before = self.number, self.minutes
        begun = saved = time.monotonic()
        done_before, tokens_before = self.plan.done, self.tokens
        self.model.train()
        while not self.plan.finished:
            share = self.plan.done
            rate = self._rate(share)
            step = self.plan.next()
            losses = self.step(step, rate)
            self.number += 1
            self.recent.add(losses)
            self.since_dev.add(losses)
            due = self.tokens // self.recipe.evaluate_tokens
            self.tokens += step.n_tokens
            last = self.plan.finished
            self.minutes = before + (time.monotonic() - begun) / 60
            if self.has_dev and (last or self.tokens // self.recipe.evaluate_tokens > due):
                self._evaluate(encoder, curve)
            if last or self.number % LOG_EVERY == 0:
                means = self.recent.take()
                curve.losses(self.number, means, rate)
                seconds = max(time.monotonic() - begun, 1e-9)
                read = max(self.plan.done - done_before, 1e-9)
                report(
                    Progress(
                        self.number,
                        self.number if last else max(self.plan.steps, self.number + 1),
                        means,
                        (self.tokens - tokens_before) / seconds,
                        seconds / read * (1 - self.plan.done),
                    )
                )
            if last or stopped() or time.monotonic() - saved > checkpoint_minutes * 60:
                self._save()
                saved = time.monotonic()
            if stopped():
                raise TrainingError(
                    f"stopped by a signal after step {self.number} of "
                    f"{max(self.plan.steps, self.number)}, {self.number - first} of them now; "
                    "run the same command again to resume"
                )

    def step(self, step: Step, rate: float) -> dict[str, float]:
        """Forward, backward and update on one batch; the losses by name."""
        # The same dropout after a resume.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.number)
        task = self.tasks[step.task]
        pairs = [i for i, item in enumerate(step.items) if item.other is not None]
        rows = [item.row for item in step.items]
        rows += [row for item in step.items for row in item.rows[1:]]
        padded = pad(rows, self.model.backbone.config.pad_token_id or 0)
        batch = to_torch(padded, self.device)
        kept = self.embedding if self._keeps(task) else None
        with _attention(self.device), self._autocast():
            states = self.model.hidden(
                batch, filter(None, {task.name, kept}), train_backbone=task.train_backbone
            )
        hidden = {name: state.float() for name, state in states.items()}
        total = torch.zeros((), device=self.device)
        losses: dict[str, float] = {}
        if task.kind != "pooling":
            logits = self.model.logits(task.name, hidden[task.name], batch)
            head: Any = self.model.heads[task.name]
            targets = stack_targets(head, [item.target for item in step.items], batch.ids.shape[1])
            smoothing = {"label_smoothing": task.label_smoothing} if task.label_smoothing else {}
            loss = head.loss(logits, torch.from_numpy(targets).to(self.device), **smoothing)
            losses[task.name] = float(loss.detach())
            total = total + task.weight * loss
        elif pairs:
            head = self.model.heads[task.name]
            vectors = self.model.logits(task.name, hidden[task.name], batch)
            others = slice(len(step.items), None)
            loss = head.contrast(vectors[pairs], vectors[others], batch.ids[others])
            losses[f"{task.name}/pairs"] = float(loss.detach())
            total = total + task.weight * loss
        if kept:
            head = self.model.heads[kept]
            pooled = self.model.logits(kept, hidden[kept], batch)
            distance = head.loss(pooled, self._teacher_vectors(batch))
            losses[f"{kept}/{task.name}"] = float(distance.detach())
            times = 1 if task.kind == "pooling" else self.recipe.keep_every
            total = total + self.recipe.keep_embedding * times * distance
        self._check("loss", float(total.detach()), step)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._check("gradient", float(norm), step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        self.optimizer.step()
        self._average()
        return losses

    def _keeps(self, task: Task) -> bool:
        """Whether this step holds the embedding: every so manieth does, an embedding's always."""
        due = task.kind == "pooling" or self.number % self.recipe.keep_every == 0
        wanted = task.keep_embedding and task.train_backbone
        return self.teacher is not None and wanted and due

    def _check(self, what: str, value: float, step: Step) -> None:
        if math.isfinite(value):
            return
        texts = "; ".join(repr(item.excerpt) for item in step.items[:QUOTED])
        raise TrainingError(
            f"the {what} of step {self.number} (task {step.task!r}, {len(step.items)} rows) is "
            f"{value}; its texts begin with {texts}; the last good checkpoint is kept in "
            f"{self.checkpoints.folder}"
        )

    def _rate(self, done: float) -> float:
        """The share of the peak learning rate: up in a line, flat, then down to nothing."""
        rising = (self.number + 1) / self.n_warm
        falling = (1 - done) / self.recipe.cooldown
        return min(1.0, rising, falling)

    def _average(self) -> None:
        """Move the average of the weights towards them, faster in the first steps."""
        if self.averages:
            decay = min(self.recipe.ema, (1 + self.number) / (10 + self.number))
            current = [p.detach() for _, p in _trained(self.model)]
            torch._foreach_lerp_([*self.averages.values()], current, 1 - decay)

    def _autocast(self) -> torch.autocast:
        low = self.precision == "bf16"
        return torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16, enabled=low)

    def _teacher_vectors(self, batch: Batch) -> Tensor:
        """What the original backbone makes of the same tokens: the mean over all of them."""
        assert self.teacher is not None
        types = torch.zeros_like(batch.types)
        plain = Batch(batch.ids, batch.mask, types, batch.shapes, batch.mask)
        with torch.no_grad(), self._autocast():
            hidden = run_backbone(self.teacher, plain).float()
        mask = batch.mask[:, :, None]
        vectors: Tensor = (hidden * mask).sum(1) / mask.sum(1)
        return vectors

    # -- dev scores --------------------------------------------------------------------------

    def _evaluate(self, encoder: TextEncoder, curve: Curve) -> None:
        """Take the dev scores; keep the weights if none were better."""
        scores = self._scores(encoder, self.precision, whole=False)
        curve.scores(self.number, self.tokens, self.minutes, scores, self.since_dev.take())
        mean = mean_score(scores, self.recipe)
        best = self.checkpoints.best()
        if math.isfinite(mean) and (best is None or best[0] > self.number or mean > best[1]):
            self.checkpoints.save_best(self.number, mean, self._kept())

    def _scores(self, encoder: TextEncoder, precision: str, *, whole: bool) -> Scores:
        kit = pipeline_of(self.model, encoder, self.device, precision, self.averages)
        return dev_scores(kit, self.recipe, whole=whole)

    def finish(self, encoder: TextEncoder) -> dict[str, Any]:
        """Give the model the weights that are kept, score them on whole dev sets, and tell."""
        best = self.checkpoints.best() if self.has_dev else None
        kept = self._kept() if best is None else self.checkpoints.load_best(self.device)
        for name, parameter in _trained(self.model):
            parameter.data.copy_(kept[name])
            if self.begun:
                parameter.data.lerp_(self.begun[name], self.recipe.keep_start)
        self.averages = {}
        why = "the last" if best is None else f"the best mean of dev scores, {best[1]:.4f}"
        record: dict[str, Any] = {
            "tokens": self.tokens,
            "steps": self.number,
            "minutes": round(self.minutes, 1),
            **({"from": self.origin} if self.origin else {}),
            "tasks": {
                name: {"epochs": round(self.plan.epochs[name], 3), "tokens_an_epoch": size}
                for name, size in self.plan.sizes.items()
            },
            "kept": {
                "step": self.number if best is None else best[0],
                "weights": f"average, decay {self.recipe.ema}" if self.recipe.ema else "as trained",
                **({"start": self.recipe.keep_start} if self.begun else {}),
                "why": why,
            },
        }
        if self.has_dev:
            scores = self._scores(encoder, "fp32", whole=True)
            record["dev"] = {
                f"{task}, {name}": {"score": round(value, 4), "examples": n}
                for (task, name), (value, n) in scores.items()
            }
        return record

    # -- checkpoints -------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        found = self.checkpoints.load(self.device)
        if found is None:
            return
        tensors, state = found
        for name, parameter in _trained(self.model):
            parameter.data.copy_(tensors[f"model/{name}"])
            if f"exp_avg/{name}" in tensors:
                self.optimizer.state[parameter] = {
                    key: tensors[f"{key}/{name}"].clone()
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
            if self.averages:
                self.averages[name].copy_(tensors[f"average/{name}"])
        self.number, self.tokens, self.minutes = state["step"], state["tokens"], state["minutes"]
        self.recent, self.since_dev = Means(state["recent"]), Means(state["since_dev"])
        self.plan.go_to(state["places"])

    def _save(self) -> None:
        tensors = {f"average/{name}": value for name, value in self.averages.items()}
        for name, parameter in _trained(self.model):
            tensors[f"model/{name}"] = parameter.detach().contiguous()
            state = self.optimizer.state.get(parameter, {})
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in state:
                    tensors[f"{key}/{name}"] = state[key].contiguous()
        state = {
            "places": self.plan.places,
            "tokens": self.tokens,
            "minutes": self.minutes,
            "recent": self.recent.sums,
            "since_dev": self.since_dev.sums,
        }
        self.checkpoints.save(self.number, tensors, state)

    def _kept(self) -> dict[str, Tensor]:
        """The weights that the run would end with if it ended here."""
        return self.averages or {name: p.detach() for name, p in _trained(self.model)}


def _attention(device: str) -> AbstractContextManager[object]:
    """On a CPU attention by plain products: going back through torch's fused one takes twice as
    long (2.13, batches of 1,024 tokens)."""
    if device != "cpu":
        return nullcontext()
    return torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)


def _identity(recipe: Recipe, model: MultiTaskModel, plan: Plan, origin: str) -> str:
    """A hash of all that a run follows from: start, settings, what is trained, the first passes."""
    settings: dict[str, Any] = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    for words in ("fit", "licence", "intended_use", "known_failures", "description"):
        del settings[words]
    settings["tasks"] = [
        {
            **{f.name: getattr(task, f.name) for f in fields(task) if f.name in _TASK_SETTINGS},
            "dev": [(dev.name, dev.most, dev.weight) for dev in task.dev],
        }
        for task in recipe.tasks
    ]
    described = repr((settings, [name for name, _ in _trained(model)], plan.sha256, origin))
    return hashlib.sha256(described.encode()).hexdigest()


_TASK_SETTINGS = (
    "name",
    "kind",
    "config",
    "epochs",
    "max_length",
    "batch_tokens",
    "weight",
    "label_smoothing",
    "keep_embedding",
    "own_layers",
    "branch",
    "train_backbone",
)


def _trained(model: MultiTaskModel) -> list[tuple[str, Any]]:
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]


def _parameter_groups(recipe: Recipe, model: MultiTaskModel) -> list[dict[str, Any]]:
    """Backbone and embedding projection learn slowly, heads fast; vectors do not decay.

    Word shapes are as new to the backbone as the heads are, so their rows learn as fast.
    """
    pooling = tuple(f"{HEADS}{task.name}/" for task in recipe.tasks if task.kind == "pooling")
    groups: dict[tuple[bool, bool], list[Any]] = {}
    for name, parameter in _trained(model):
        shapes = recipe.word_shape_types and name == SHAPE_ROWS
        projection = name.startswith(pooling)
        fast = shapes or (name.startswith(HEADS) and not projection)
        decays = parameter.ndim > 1 and not (shapes or projection)
        groups.setdefault((fast, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": recipe.head_learning_rate if fast else recipe.learning_rate,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (fast, decays), parameters in groups.items()
    ]


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Within this block SIGTERM and Ctrl-C only ask the loop to stop (main thread only)."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    try:
        before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread
        before = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
