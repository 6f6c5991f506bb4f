"""Which batch comes next: the order of a training, known from its seed alone.

A task is read pass after pass, every example once before any comes again. The next batch is
always of the task that lags most behind its share, so the tasks are spread evenly over the run.
Where a run stands is a pass and a batch of each task; to go on there, only those passes are
made again.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nlpkit.errors import InputError
from nlpkit.heads import Head
from nlpkit.text import Row, TextEncoder
from nlpkit.training.augment import varied
from nlpkit.training.items import Item, check_examples, length_batches, make_items
from nlpkit.training.recipe import Recipe, Task

Place = tuple[int, int]  #: a pass over a task's examples, and a batch in it


@dataclass(frozen=True, slots=True)
class Step:
    """One batch of one task."""

    task: str
    items: Sequence[Item]

    @property
    def n_tokens(self) -> int:
        return sum(len(row) for item in self.items for row in item.rows)


class Stream:
    """A task's batches, pass after pass; one pass at a time is in memory.

    ``size`` counts the tokens of the first pass, ``sha256`` names its rows and targets.
    """

    def __init__(self, task: Task, head: Head, encoder: TextEncoder, recipe: Recipe) -> None:
        self._task, self._head, self._encoder, self._recipe = task, head, encoder, recipe
        self._number = self._index = self._made = 0
        self._batches = self._pass(0)
        self.size = sum(Step(task.name, batch).n_tokens for batch in self._batches)
        self.n_batches = len(self._batches)
        self.sha256 = _fingerprint(self._batches)

    @property
    def place(self) -> Place:
        return self._number, self._index

    @property
    def position(self) -> float:
        """Passes done, the one under way by its share of batches."""
        return self._number + (self._index / len(self._batches) if self._index else 0.0)

    def after_half(self) -> float:
        """About the position at the middle of the next batch.

        From the first pass, because a run that was resumed may know no other.
        """
        return self.position + 0.5 / self.n_batches

    def next(self) -> list[Item]:
        """The next batch."""
        if self._made != self._number:
            self._batches = self._pass(self._number)
        batch = self._batches[self._index]
        self._index += 1
        if self._index == len(self._batches):
            self._number, self._index = self._number + 1, 0
        return batch

    def some(self, n_tokens: int) -> list[Row]:
        """Rows of about so many tokens, from batches spread over the pass in memory."""
        size = sum(len(item.row) for batch in self._batches for item in batch)
        every = max(1, size // n_tokens)
        return [item.row for batch in self._batches[::every] for item in batch]

    def go_to(self, place: Place) -> None:
        self._number, self._index = place
        if self._index and self._made != self._number:
            self._batches = self._pass(self._number)

    def _pass(self, number: int) -> list[list[Item]]:
        task, recipe = self._task, self._recipe
        name = f"{recipe.seed}/{task.name}/{number}"
        rng, chance = random.Random(name), random.Random(f"{name}/varied")
        examples = task.examples(rng)
        if not examples:
            raise InputError(f"task {task.name!r} has no examples to train on")
        check_examples(task, self._head, examples)
        examples = [varied(example, recipe, chance) for example in examples]
        items = make_items(self._head, examples, self._encoder, task.max_length)
        if not items:
            raise InputError(f"task {task.name!r} has nothing but empty texts to train on")
        self._made = number
        return length_batches(items, task.batch_tokens, rng)


class Plan:
    """The steps of a run in their order.

    ``epochs`` are the passes over each task, ``tokens`` the size of the whole, ``steps`` about how
    many there are (later passes may fall into a few batches more or less).
    """

    def __init__(self, recipe: Recipe, heads: Mapping[str, Head], encoder: TextEncoder) -> None:
        self._streams = {t.name: Stream(t, heads[t.name], encoder, recipe) for t in recipe.tasks}
        self.sizes = {name: stream.size for name, stream in self._streams.items()}
        self.epochs = epochs_of(recipe, self.sizes)
        self.tokens = round(sum(self.sizes[name] * self.epochs[name] for name in self.sizes))
        self.steps = sum(
            math.ceil(stream.n_batches * self.epochs[name])
            for name, stream in self._streams.items()
        )

    @property
    def done(self) -> float:
        """The share of the run that lies behind, by tokens."""
        read = sum(
            stream.size * min(stream.position, self.epochs[name])
            for name, stream in self._streams.items()
        )
        whole = sum(self.sizes[name] * self.epochs[name] for name in self.sizes)
        return min(1.0, read / whole) if whole else 1.0

    @property
    def finished(self) -> bool:
        return self._next() is None

    @property
    def places(self) -> dict[str, Place]:
        """Where each task stands, to be kept in a checkpoint."""
        return {name: stream.place for name, stream in self._streams.items()}

    @property
    def sha256(self) -> list[str]:
        """The first pass of each task, named by its content."""
        return [stream.sha256 for stream in self._streams.values()]

    def some(self, n_tokens: int) -> list[Row]:
        """Rows of about so many tokens of each task."""
        return [row for stream in self._streams.values() for row in stream.some(n_tokens)]

    def go_to(self, places: Mapping[str, Sequence[int]]) -> None:
        """Go on from where a checkpoint says."""
        for name, (number, index) in places.items():
            self._streams[name].go_to((number, index))

    def next(self) -> Step:
        """The next batch; not to be called once the run is finished."""
        name = self._next()
        assert name is not None
        return Step(name, self._streams[name].next())

    def _next(self) -> str | None:
        """The task that lags most, or nothing where each has done its epochs or has none."""
        lag = {
            name: stream.after_half() / self.epochs[name]
            for name, stream in self._streams.items()
            if self.epochs[name]
        }
        name = min(lag, key=lag.__getitem__, default=None)  # of equal ones the first in the recipe
        return name if name is not None and lag[name] < 1 else None


def epochs_of(recipe: Recipe, sizes: Mapping[str, int]) -> dict[str, float]:
    """The passes over each task of this size (in tokens); see Recipe."""
    asked = {task.name: float(task.epochs) for task in recipe.tasks}
    if any(not epochs >= 0 for epochs in asked.values()):
        raise InputError(f"epochs are {asked}; expected 0 or more of each task")
    if recipe.tokens is None:
        return asked
    if not any(asked.values()):
        raise InputError(f"epochs are {asked}, and tokens {recipe.tokens:,} to divide among them")
    shares = {name: asked[name] * size**recipe.alpha for name, size in sizes.items()}
    scale = recipe.tokens / sum(shares.values())
    return {name: scale * share / sizes[name] for name, share in shares.items()}


def _fingerprint(batches: Sequence[Sequence[Item]]) -> str:
    digest = hashlib.sha256()
    for batch in batches:
        for item in batch:
            for row in item.rows:
                digest.update(row.ids.tobytes())
                digest.update(row.types.tobytes())
            digest.update(np.asarray(item.target).tobytes())
    return digest.hexdigest()
