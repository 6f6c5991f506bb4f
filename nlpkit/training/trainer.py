"""The multi-task training loop: one backbone, a batch of one task a step, killable at any line.

The whole schedule follows from the recipe and its seed, so a run that is killed and resumed goes
through the same batches, the same dropout and the same learning rates as one that is not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from nlpkit.engines.torch import run_backbone, to_torch
from nlpkit.errors import InputError, TrainingError
from nlpkit.heads import Head, make_head
from nlpkit.heads.token import IGNORE
from nlpkit.huggingface import load_backbone, load_encoder
from nlpkit.text import Batch, TextEncoder, pad
from nlpkit.training.items import Item, length_batches, make_items
from nlpkit.training.model import MultiTaskModel, add_shape_types
from nlpkit.training.recipe import Recipe, Task

LOG_EVERY = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One batch of one task."""

    task: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands; handed to the caller's callback every LOG_EVERY steps."""

    step: int
    steps: int
    losses: dict[str, float]
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Start:
    """Where a training starts: an encoder with its tokenizer. Frozen parameters stay frozen."""

    backbone: PreTrainedModel
    encoder: TextEncoder


def start_of(recipe: Recipe) -> Start:
    """The recipe's backbone as it is published, with word-shape types if the recipe wants them."""
    backbone = load_backbone(recipe.backbone)
    if recipe.word_shape_types:
        add_shape_types(backbone)
    encoder = load_encoder(recipe.backbone, backbone.config, shape_types=recipe.word_shape_types)
    return Start(backbone, encoder)


def train(
    recipe: Recipe,
    folder: Path,
    start: Start,
    *,
    device: str = "cpu",
    after: MultiTaskModel | None = None,
    checkpoint_minutes: float = 5.0,
    report: Callable[[Progress], None] = lambda progress: None,
) -> MultiTaskModel:
    """Train a recipe and return the model; checkpoints and the loss curve stay in ``folder``.

    ``after`` is the model of an earlier stage on the same backbone: heads of the same name go on
    from theirs. Started again with the same folder, it resumes from the last checkpoint. SIGTERM
    and Ctrl-C leave a checkpoint behind.

    Raises:
        TrainingError: the loss is not finite, or the run was told to stop.
    """
    torch.manual_seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    heads = {task.name: make_head(task.kind, task.config) for task in recipe.tasks}
    model = MultiTaskModel(start.backbone, heads, recipe.seed)
    if after is not None:
        model.head_parameters.load_state_dict(after.head_parameters.state_dict())
    model.to(device)
    teacher = None
    if recipe.keep_embedding:
        teacher = load_backbone(recipe.backbone).eval()
        nn.Module.to(teacher, device)

    steps = schedule(recipe, heads, start.encoder)
    run = _Run(recipe, model, teacher, folder, device, steps)
    first = run.resume()
    started, tokens = time.monotonic(), 0
    saved = started
    losses: dict[str, list[float]] = {}
    model.train()
    with _stop_on_signal() as stopped:
        for number in range(first, len(steps)):
            step = steps[number]
            for name, value in run.step(number, step).items():
                losses.setdefault(name, []).append(value)
            tokens += sum(len(item.row) for item in step.items)
            now = time.monotonic()
            if (number + 1) % LOG_EVERY == 0 or number + 1 == len(steps):
                speed = tokens / (now - started)
                left = (now - started) / (number + 1 - first) * (len(steps) - number - 1)
                means = {name: float(np.mean(values)) for name, values in losses.items()}
                run.log(number + 1, means)
                report(Progress(number + 1, len(steps), means, speed, left))
                losses = {}
            if stopped() or now - saved > checkpoint_minutes * 60 or number + 1 == len(steps):
                run.save(number + 1)
                saved = time.monotonic()
            if stopped():
                raise TrainingError(
                    f"stopped by a signal after step {number + 1} of {len(steps)}; "
                    "run the same command again to resume"
                )
    return model.eval()


def schedule(recipe: Recipe, heads: dict[str, Head], encoder: TextEncoder) -> list[Step]:
    """All steps of the run: each task's epochs in order, the tasks spread evenly over the whole."""
    placed: list[tuple[float, int, Step]] = []
    for t, task in enumerate(recipe.tasks):
        groups: list[list[Item]] = []
        for epoch in range(task.epochs):
            rng = random.Random(f"{recipe.seed}/{task.name}/{epoch}")
            items = make_items(heads[task.name], task.examples(rng), encoder, task.max_length)
            if not items:
                raise InputError(f"task {task.name!r} has no examples to train on")
            groups += length_batches(items, task.batch_tokens, rng)
        for i, group in enumerate(groups):
            placed.append(((i + 0.5) / len(groups), t, Step(task.name, group)))
    return [step for _, _, step in sorted(placed, key=lambda p: p[:2])]


def stack_targets(head: Head, targets: Sequence[Any], length: int) -> NDArray[Any]:
    """One array for a batch; tags are padded to its length."""
    if head.kind == "token-classification":
        targets = [np.pad(t, (0, length - len(t)), constant_values=IGNORE) for t in targets]
    return np.stack([np.asarray(target) for target in targets])


class _Run:
    """The state of a training: model, optimiser, where it is kept."""

    def __init__(
        self,
        recipe: Recipe,
        model: MultiTaskModel,
        teacher: PreTrainedModel | None,
        folder: Path,
        device: str,
        steps: Sequence[Step],
    ) -> None:
        self.recipe = recipe
        self.model = model
        self.teacher = teacher
        self.folder = folder
        self.device = device
        self.n_steps = n_steps = len(steps)
        self.identity = _identity(recipe, model, steps)
        self.tasks: dict[str, Task] = {task.name: task for task in recipe.tasks}
        self.embedding = next((t.name for t in recipe.tasks if t.kind == "pooling"), None)
        self.optimizer = torch.optim.AdamW(_parameter_groups(recipe, model), eps=1e-6)
        self.n_warm = max(1, int(recipe.warmup * n_steps))

    def step(self, number: int, step: Step) -> dict[str, float]:
        """Forward, backward and update on one batch; the losses by name."""
        torch.manual_seed(self.recipe.seed * 1_000_003 + number)  # the same dropout after a resume
        task = self.tasks[step.task]
        padded = pad(
            [item.row for item in step.items], self.model.backbone.config.pad_token_id or 0
        )
        batch = to_torch(padded, self.device)
        dtype = torch.bfloat16
        with torch.autocast(self.device.split(":")[0], dtype=dtype):
            hidden = self.model.hidden(batch)
        hidden = hidden.float()
        total = hidden.new_zeros(())
        losses: dict[str, float] = {}
        if task.kind != "pooling":
            logits = self.model.logits(task.name, hidden, batch)
            head = self.model.heads[task.name]
            targets = stack_targets(head, [item.target for item in step.items], batch.ids.shape[1])
            loss = head.loss(logits, torch.from_numpy(targets).to(self.device))
            losses[task.name] = float(loss.detach())
            total = total + task.weight * loss
        if self.teacher is not None and self.embedding and task.keep_embedding:
            head = self.model.heads[self.embedding]
            pooled = self.model.logits(self.embedding, hidden, batch)
            distance = head.loss(pooled, self._teacher_vectors(batch, dtype))
            losses[f"{self.embedding}/{task.name}"] = float(distance.detach())
            total = total + self.recipe.keep_embedding * distance
        if not math.isfinite(float(total.detach())):
            raise TrainingError(
                f"the loss of step {number} (task {task.name!r}, {len(step.items)} rows) is "
                f"{float(total.detach())}; the last good checkpoint is kept in {self.folder}"
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._rate(number)
        self.optimizer.step()
        return losses

    def _rate(self, step: int) -> float:
        """The share of the peak learning rate at a step: up in a line, then down to nothing."""
        rising = (step + 1) / self.n_warm
        return min(rising, (self.n_steps - step) / max(1, self.n_steps - self.n_warm))

    def _teacher_vectors(self, batch: Batch, dtype: torch.dtype) -> Tensor:
        """What the original backbone makes of the same tokens: the mean over all of them."""
        assert self.teacher is not None
        types = torch.zeros_like(batch.types)
        plain = Batch(batch.ids, batch.mask, types, batch.shapes, batch.mask)
        with torch.no_grad(), torch.autocast(self.device.split(":")[0], dtype=dtype):
            hidden = run_backbone(self.teacher, plain).float()
        mask = batch.mask[:, :, None]
        vectors: Tensor = (hidden * mask).sum(1) / mask.sum(1)
        return vectors

    # -- checkpoints: a folder per checkpoint, complete once it has its final name ------------

    def save(self, step: int) -> None:
        target = self.folder / f"checkpoint-{step:07d}"
        draft = self.folder / "checkpoint.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        save_file(self._tensors(), draft / "state.safetensors")
        (draft / "state.json").write_text(json.dumps({"step": step, "identity": self.identity}))
        for file in draft.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        for old in self._checkpoints():
            if old != target:
                shutil.rmtree(old)

    def resume(self) -> int:
        """Load the newest checkpoint, if there is one, and return the step to go on with."""
        found = self._checkpoints()
        if not found:
            return 0
        state = json.loads((found[-1] / "state.json").read_text())
        if state["identity"] != self.identity:
            raise InputError(
                f"{found[-1]} belongs to a training with another recipe, seed, setting or data; "
                "delete it to start anew, or write to another output"
            )
        self._restore(load_file(found[-1] / "state.safetensors", device=self.device))
        return int(state["step"])

    def _checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*"))

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {}
        for name, parameter in _trained(self.model):
            tensors[f"model/{name}"] = parameter.detach().contiguous()
            state = self.optimizer.state.get(parameter, {})
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in state:
                    tensors[f"{key}/{name}"] = state[key].contiguous()
        return tensors

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in _trained(self.model):
            parameter.data.copy_(tensors[f"model/{name}"])
            if f"exp_avg/{name}" in tensors:
                self.optimizer.state[parameter] = {
                    key: tensors[f"{key}/{name}"].clone()
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }

    def log(self, step: int, losses: dict[str, float]) -> None:
        line = {"step": step, **{name: round(value, 5) for name, value in losses.items()}}
        with (self.folder / "losses.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def _identity(recipe: Recipe, model: MultiTaskModel, steps: Sequence[Step]) -> str:
    """A hash of all that a run follows from: settings, what is trained, every row and target."""
    digest = hashlib.sha256()
    settings = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    settings["fit"] = settings["then"] = None
    settings["tasks"] = [(t.name, t.kind, t.config, t.weight) for t in recipe.tasks]
    digest.update(repr((settings, [name for name, _ in _trained(model)])).encode())
    for step in steps:
        digest.update(step.task.encode())
        for item in step.items:
            digest.update(item.row.ids.tobytes())
            digest.update(np.asarray(item.target).tobytes())
    return digest.hexdigest()


def remove_checkpoints(folder: Path) -> None:
    """Once a training's result is written, its checkpoints have done their work."""
    for checkpoint in folder.glob("checkpoint*"):
        shutil.rmtree(checkpoint)


def _trained(model: MultiTaskModel) -> list[tuple[str, Any]]:
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]


def _parameter_groups(recipe: Recipe, model: MultiTaskModel) -> list[dict[str, Any]]:
    """Backbone and embedding projection learn slowly, heads fast; vectors do not decay."""
    groups: dict[tuple[bool, bool], list[Any]] = {}
    for name, parameter in _trained(model):
        pooling = any(
            name.startswith(f"head_parameters.{task.name}/")
            for task in recipe.tasks
            if task.kind == "pooling"
        )
        fast = name.startswith("head_parameters.") and not pooling
        groups.setdefault((fast, parameter.ndim > 1 and not pooling), []).append(parameter)
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
