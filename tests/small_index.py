"""What the tests of the index share: a small embedder, documents, and search done by hand."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from nlpkit.index import Embedder, Index
from nlpkit.index.rows import dead_chunks, segment_records
from nlpkit.index.segments import Segment
from nlpkit.store.schema import chunks, documents
from nlpkit.types import Document, Hit

WORDS = [
    *("engine", "wing", "river", "stone", "paper", "winter", "market", "doctor", "copper"),
    *("violin", "orbit", "garden", "harbour", "signal", "theory", "bridge", "cotton"),
    *("desert", "forest", "glacier"),
]
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class WordEmbedder:
    """A text's vector is the sum of its words' own, each drawn from the word's hash.

    Components are multiples of 1/4096, so that inner products have no rounding: texts of the same
    words are exactly as near, and ties are ties. ``n_texts`` counts what was embedded.
    """

    def __init__(self, width: int = 16, size: int = 6, name: str = "words") -> None:
        self.name, self.width, self.size = name, width, size
        self.identity = hashlib.sha256(f"{name} {width} {size}".encode()).hexdigest()
        self.n_texts = 0

    def chunks(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[*self._parts(text)] for text in texts]

    def _parts(self, text: str) -> Iterator[tuple[int, int]]:
        found = [match.span() for match in re.finditer(r"\S+", text)]
        for first in range(0, len(found), self.size):
            part = found[first : first + self.size]
            yield part[0][0], part[-1][1]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.n_texts += len(texts)
        made = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(made, texts, strict=True):
            total = sum((self._word(word) for word in text.lower().split()), np.zeros(self.width))
            row[:] = np.round(total / max(float(np.linalg.norm(total)), 1e-9) * 4096) / 4096
        return made

    def _word(self, word: str) -> NDArray[np.float64]:
        seed = hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
        values = np.frombuffer((seed * (self.width // 32 + 1))[: self.width], np.uint8)
        return values.astype(np.float64) - 127.5


def some_documents(n: int, seed: int = 0, first: int = 0) -> list[Document]:
    """Documents of a few words to a few chunks, with a year, a language and a mark in some."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(first, first + n):
        text = " ".join(rng.choice(WORDS, int(rng.integers(3, 20)))) + f" n{i}"
        meta: dict[str, Any] = {"year": 2000 + i % 7, "lang": "en" if i % 3 else "de"}
        if i % 5 == 0:
            meta["mark"] = i / 2
        made.append(Document(f"d{i:04}", text, meta))
    return made


def write_jsonl(path: Path, given: Iterable[Document]) -> Path:
    """A file of the documents, put in place at once; ``id`` and ``text`` beside the metadata."""
    rows = (json.dumps({"id": d.id, "text": d.text, **d.meta}) for d in given)
    written = path.with_suffix(".new")
    written.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    os.replace(written, path)
    return path


# -- search by hand ----------------------------------------------------------------------------


def meets(meta: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether metadata meets a filter, in plain Python; conditions are spelled out in full."""
    return all(
        name in meta and all(_meets(meta[name], op, value) for op, value in tests.items())
        for name, tests in where.items()
    )


def _meets(found: Any, operator: str, value: Any) -> bool:
    alike = _kind(found) == _kind(value)
    if operator == "in":
        return any(_meets(found, "=", one) for one in value)
    if operator in ("=", "!="):
        return bool(alike and found == value) == (operator == "=")
    return bool(alike and OPERATORS[operator](found, value))


def _kind(value: Any) -> type:
    return float if isinstance(value, bool | int | float) else type(value)


def nearest(
    among: Iterable[Document], embedder: Embedder, query: str, k: int
) -> list[tuple[str, float, int, int]]:
    """(id, score, start, end) of the ``k`` nearest, equal scores in the order given."""
    vector = embedder.embed([query])[0].astype(np.float64)
    found = []
    for document in among:
        [bounds] = embedder.chunks([document.text])
        vectors = embedder.embed([document.text[a:b] for a, b in bounds]).astype(np.float64)
        scores = vectors @ vector
        best = int(np.argmax(scores))
        found.append((document.id, float(scores[best]), *bounds[best]))
    return sorted(found, key=lambda one: -one[1])[:k]


def as_tuples(hits: Iterable[Hit]) -> list[tuple[str, float, int, int]]:
    return [(hit.document.id, hit.score, hit.start, hit.end) for hit in hits]


def assert_found(
    hits: Sequence[Hit], expected: Sequence[tuple[str, float, int, int]], tolerance: float = 1e-6
) -> None:
    """The same documents in the same order, with the same scores and places."""
    got = as_tuples(hits)
    assert [(i, a, b) for i, _, a, b in got] == [(i, a, b) for i, _, a, b in expected]
    scores = [score for _, score, _, _ in expected]
    np.testing.assert_allclose([score for _, score, _, _ in got], scores, rtol=0, atol=tolerance)


def assert_holds(
    index: Index, expected: Iterable[Document], queries: Iterable[str] = ("engine river", "n3")
) -> None:
    """The index is sound, has these documents and no others, and finds what brute force finds."""
    assert [str(problem) for problem in index.verify()] == []
    held = list(index.documents())
    assert len({d.id for d in held}) == len(held) == index.count()
    assert sorted(held, key=lambda d: d.id) == sorted(expected, key=lambda d: d.id)
    for query in queries:
        assert_found(index.search(query, 7), nearest(held, index.embedder, query, 7))
    assert_vectors(index)


def assert_vectors(index: Index, tolerance: float = 1e-6) -> None:
    """Each live vector is that of its chunk's text."""
    table = chunks.join(documents, documents.c.number == chunks.c.document)
    with index.database.read() as connection:
        rows = connection.execute(sa.select(chunks, documents.c.text).select_from(table)).all()
        texts = {row.number: row.text[row.start : row.end] for row in rows}
        dead = dead_chunks(connection, -1)
        for record in segment_records(connection):
            segment = Segment(index.segment_folder, record)
            kept = ~np.isin(segment.chunks, dead)
            numbers = segment.chunks[kept].tolist()
            again = index.embedder.embed([texts[number] for number in numbers])
            np.testing.assert_allclose(segment.vectors[kept], again, rtol=0, atol=tolerance)
            for number in numbers:
                del texts[number]
    assert not texts, f"{len(texts)} chunks have no vector"


@contextmanager
def constants(module: Any, **values: Any) -> Iterator[None]:
    """A module's constants set for a while."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
