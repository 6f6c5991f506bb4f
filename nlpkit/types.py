"""The nouns that every layer speaks: small immutable values, no heavy imports.

Offsets count Python characters of the text exactly as the caller gave it, so that
``text[entity.start:entity.end] == entity.text`` always holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[Any]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity: ``text[start:end]`` of the caller's text, with a score in [0, 1]."""

    text: str
    label: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Label:
    """A class with its score in [0, 1]."""

    name: str
    score: float


@dataclass(frozen=True, slots=True)
class WordWeight:
    """A word's share in a class: ``text[start:end]``, and how much the log-odds fall without it.

    Above 0 it speaks for the class, below 0 against it.
    """

    text: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A quotation from a context, or ``text=None`` (and falsy) where it holds no answer.

    ``score`` is in [0, 1]: that of the quotation, or of there being none.
    """

    text: str | None
    start: int | None
    end: int | None
    score: float
    document_id: str | None = None
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.text is not None


@dataclass(frozen=True, slots=True)
class Document:
    """A text under an id, with metadata for filters."""

    id: str
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found by a search; ``start`` and ``end`` bound the part that matched best."""

    document: Document
    score: float
    start: int
    end: int


class Results(list[T]):
    """A list of results for one text that can carry warnings and the number of windows read."""

    __slots__ = ("n_windows", "warnings")

    def __init__(
        self, values: Iterable[T] = (), warnings: tuple[str, ...] = (), n_windows: int = 1
    ) -> None:
        super().__init__(values)
        self.warnings = warnings
        self.n_windows = n_windows


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """All that one backbone pass says of a text.

    ``embedding`` is float32 of shape (width,), of unit length (zeros for an empty text).
    """

    entities: list[Entity]
    labels: dict[str, list[Label]]
    embedding: Vector
    warnings: tuple[str, ...] = ()
    n_windows: int = 1
