"""The index against a dict and brute force, through any sequence of writes, merges and readers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from small_index import (
    WORDS,
    WordEmbedder,
    as_tuples,
    assert_found,
    constants,
    meets,
    nearest,
    some_documents,
)

import nlpkit.index.index as index_module
from nlpkit.errors import UnknownNameError
from nlpkit.index import Index, Upserted, open_index, segments, upkeep
from nlpkit.types import Document, Hit

EMBEDDER = WordEmbedder(size=3)
IDS = [f"d{i}" for i in range(12)]
VALUES = st.sampled_from(["", "b", "ä", "1", 0, 1, -3, 2.5, 1.0, True, False, None])
ORDERED = st.sampled_from(["", "b", "1", 0, 1, 2.5, True])
FIELDS = st.sampled_from(["a", "b", "c"])
METAS = st.dictionaries(FIELDS, st.one_of(VALUES, st.just([1, 2])), max_size=3)
TESTS = st.one_of(
    st.dictionaries(st.sampled_from(["=", "!="]), VALUES, max_size=2),
    st.dictionaries(st.sampled_from(["<", "<=", ">", ">="]), ORDERED, max_size=2),
    st.fixed_dictionaries({"in": st.lists(VALUES, max_size=3)}),
)
WHERE = st.dictionaries(FIELDS, TESTS, max_size=2)
#: Few words, so that texts repeat and scores tie; many chunks, so that one text could fill a page.
TEXTS = st.lists(st.sampled_from(WORDS[:4]), min_size=1, max_size=40).map(" ".join)
QUERIES = st.lists(st.sampled_from(WORDS[:6]), min_size=1, max_size=3).map(" ".join)
DOCUMENTS = st.builds(Document, st.sampled_from(IDS), TEXTS, METAS)


@pytest.fixture(scope="module", autouse=True)
def _empty() -> Iterator[None]:
    """An empty index, copied where one is wanted: making its tables takes longest."""
    global EMPTY
    with tempfile.TemporaryDirectory() as folder:
        EMPTY = Path(folder) / "empty"
        open_index(EMPTY, EMBEDDER).close()
        yield


EMPTY: Path


class IndexMachine(RuleBasedStateMachine):
    """``held`` maps ids to documents in the order of their numbers: that of first insertion."""

    @initialize(exact_rows=st.sampled_from([0, 10_000]))
    def open(self, exact_rows: int) -> None:
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "index"
        shutil.copytree(EMPTY, self.folder)
        # Merges after every third segment; with no exact rows, FAISS searches even these few.
        self.stack.enter_context(constants(upkeep, FAN=3))
        self.stack.enter_context(constants(segments, FEW_ROWS=exact_rows, FEW_SHARE=0.0, BLOCK=7))
        self.stack.enter_context(constants(index_module, BATCH_DOCUMENTS=4))
        self.held: dict[str, Document] = {}
        self.handles = [self._open(), self._open(), self._open(read_only=True)]

    def _open(self, **options: Any) -> Index:
        return self.stack.enter_context(open_index(self.folder, EMBEDDER, **options))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    @rule(batch=st.lists(DOCUMENTS, max_size=8), writer=st.integers(0, 1))
    def upsert(self, batch: list[Document], writer: int) -> None:
        total = Upserted()
        for first in range(0, len(batch), 4):
            part = batch[first : first + 4]
            last = {document.id: document for document in part}
            before = {one: self.held.get(one) for one in last}
            self.held.update(last)
            same = sum(_as_json(before[one]) == _as_json(last[one]) for one in last)
            added = sum(document is None for document in before.values())
            total += Upserted(added, len(last) - added - same, same)
        done = self.handles[writer].upsert(iter(batch))
        assert (done.added, done.updated, done.unchanged) == (
            total.added,
            total.updated,
            total.unchanged,
        )

    @precondition(lambda self: self.held)
    @rule(data=st.data(), text=st.none() | TEXTS, writer=st.integers(0, 1))
    def change(self, data: st.DataObject, text: str | None, writer: int) -> None:
        """The text of a document that is there, or its metadata alone, or nothing."""
        old = self.held[data.draw(st.sampled_from(list(self.held)))]
        new = Document(old.id, text or old.text, data.draw(METAS) if text is None else old.meta)
        before = EMBEDDER.n_texts
        done = self.handles[writer].upsert([new])
        assert (done.added, done.updated) == (0, int(_as_json(old) != _as_json(new)))
        assert (EMBEDDER.n_texts == before) == (old.text == new.text)
        self.held[old.id] = new

    @rule(ids=st.lists(st.sampled_from([*IDS, "never"]), max_size=5), writer=st.integers(0, 1))
    def delete(self, ids: list[str], writer: int) -> None:
        there = {one for one in ids if self.held.pop(one, None) is not None}
        assert self.handles[writer].delete(ids) == len(there)

    @rule(writer=st.integers(0, 1))
    def compact(self, writer: int) -> None:
        status = self.handles[writer].compact()
        assert len(status["segments"]) == bool(self.held)
        assert status["deleted_chunks"] == 0

    @rule(handle=st.integers(0, 2))
    def reopen(self, handle: int) -> None:
        self.handles[handle].close()
        self.handles[handle] = self._open(read_only=handle == 2)

    @rule(
        query=QUERIES,
        k=st.integers(1, 4) | st.integers(1, 14),
        where=WHERE,
        handle=st.integers(0, 2),
    )
    def search(self, query: str, k: int, where: dict[str, Any], handle: int) -> None:
        index = self.handles[handle]
        scalars = {
            name
            for document in self.held.values()
            for name, value in document.meta.items()
            if not isinstance(value, list)
        }
        if scalars and set(where) - scalars:
            with pytest.raises(UnknownNameError, match="field"):
                index.search(query, k, where)
            return
        passing = [d for d in self.held.values() if meets(_scalars(d.meta), where)]
        assert index.count(where) == len(passing)
        assert [d.id for d in index.documents(where)] == [d.id for d in passing]
        assert_found(index.search(query, k, where), nearest(passing, EMBEDDER, query, k))

    @rule(query=QUERIES, k=st.integers(1, 14), handle=st.integers(0, 2))
    def search_hybrid(self, query: str, k: int, handle: int) -> None:
        index = self.handles[handle]
        meaning, keywords = index.search(query, 100), index.search(query, 100, keywords=True)
        words = set(query.split())
        assert {h.document.id for h in keywords} == {
            d.id for d in self.held.values() if words & set(d.text.split())
        }
        got = index.search(query, k, hybrid=True)
        assert_found(got, fused([meaning, keywords], list(self.held))[:k])

    @invariant()
    def all_handles_see_the_same(self) -> None:
        if not hasattr(self, "handles"):
            return
        expected = nearest(self.held.values(), EMBEDDER, "wing stone", 5)
        for index in self.handles:
            assert index.count() == len(self.held)
            assert_found(index.search("wing stone", 5), expected)
        assert [_as_json(d) for d in self.handles[0].documents()] == [
            _as_json(d) for d in self.held.values()
        ]
        assert [str(problem) for problem in self.handles[0].verify()] == []


def _as_json(document: Document | None) -> Any:
    """What tells documents apart: 1, 1.0 and True are three values, as they are in JSON."""
    return None if document is None else (document.id, document.text, repr(document.meta))


def _scalars(meta: Any) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if not isinstance(value, list)}


def fused(rankings: list[list[Hit]], order: list[str]) -> list[tuple[str, float, int, int]]:
    """Reciprocal rank fusion by hand, equal scores in the order of the documents."""
    scores: dict[str, float] = {}
    places: dict[str, tuple[int, int, int]] = {}
    for ranking in rankings:
        for rank, (one, _, start, end) in enumerate(as_tuples(ranking), 1):
            scores[one] = scores.get(one, 0.0) + 1 / (60 + rank)
            places[one] = min(places.get(one, (rank, start, end)), (rank, start, end))
    best = sorted(scores, key=lambda one: (-scores[one], order.index(one)))
    return [(one, scores[one], *places[one][1:]) for one in best]


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


# -- approximate kinds -------------------------------------------------------------------------


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """FAISS's threads wait for one another by spinning: on a busy machine that takes minutes."""
    n = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(n)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_an_approximate_index_finds_what_its_recall_says(tmp_path: Path, kind: str) -> None:
    """Its scores are exact, deleted documents are gone, and new ones are found beside it."""
    documents = some_documents(1000)
    with (
        open_index(tmp_path / "index", EMBEDDER, kind=kind) as index,
        constants(segments, FEW_ROWS=50, FEW_SHARE=0.0),
    ):
        index.upsert(documents)
        (segment,) = index.compact()["segments"]
        assert (segment["kind"], segment["rows"] > 1000) == (kind, True)
        assert segment["recall_at_10"] >= 0.9
        found, scores = recall(index, documents)
        assert found >= segment["recall_at_10"] - 0.05
        assert scores < 1e-6
        index.delete([document.id for document in documents[::2]])
        index.upsert([Document("new", "glacier violin", {"year": 1999})])
        left = [*documents[1::2], Document("new", "glacier violin", {"year": 1999})]
        found, scores = recall(index, left)
        assert found >= segment["recall_at_10"] - 0.05
        assert scores < 1e-6
        assert index.search("glacier violin")[0].document.id == "new"
        # A filter that leaves few rows is exact, whatever the kind.
        few = [d for d in left if d.meta.get("mark") in (5.0, 37.5, 12.5)]
        got = index.search("wing stone", 5, {"mark": {"in": [5.0, 37.5, 12.5]}})
        assert_found(got, nearest(few, EMBEDDER, "wing stone", 5))
        assert [str(problem) for problem in index.verify()] == []


def recall(index: Index, documents: list[Document]) -> tuple[float, float]:
    """The share of the ten nearest that are found, and the largest error of a score."""
    rng = np.random.default_rng(1)
    queries = [" ".join(rng.choice(WORDS, 3)) for _ in range(25)]
    cut = EMBEDDER.chunks([d.text for d in documents])
    bounds = {d.id: found for d, found in zip(documents, cut, strict=True)}
    parts = [(d.id, d.text[a:b]) for d in documents for a, b in bounds[d.id]]
    vectors = EMBEDDER.embed([text for _, text in parts]).astype(np.float64)
    n_found, error = 0, 0.0
    for query, hits in zip(queries, index.search(queries, 10), strict=True):
        best: dict[str, float] = {}
        for (one, _), score in zip(parts, vectors @ EMBEDDER.embed([query])[0], strict=True):
            best[one] = max(best.get(one, -1.0), float(score))
        tenth = sorted(best.values())[-10]
        n_found += sum(best[hit.document.id] >= tenth for hit in hits)  # ties are as good
        error = max([error, *(abs(hit.score - best[hit.document.id]) for hit in hits)])
        assert len({hit.document.id for hit in hits}) == 10
    return n_found / (10 * len(queries)), error
