"""The index as it is used: upsert, search, filters, ask; from many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_index import (
    WORDS,
    WordEmbedder,
    assert_found,
    assert_holds,
    constants,
    nearest,
    some_documents,
)
from tiny import texts

import nlpkit
from nlpkit.errors import InputError, InputTypeError, UnknownNameError
from nlpkit.index import Index, PipelineEmbedder, Upserted, open_index, segments, upkeep
from nlpkit.index import index as index_module
from nlpkit.pipeline import Pipeline
from nlpkit.types import Document, Hit

DOCUMENTS = some_documents(40)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def index(tmp_path: Path, embedder: WordEmbedder) -> Iterator[Index]:
    with open_index(tmp_path / "index", embedder) as opened:
        yield opened


# -- what is asked first -----------------------------------------------------------------------


def test_documents_in_hits_out(index: Index) -> None:
    """A worked example: two chunks of six words, of which the second speaks for the document."""
    text = "river stone river stone river stone engine wing engine wing engine wing"
    flight = Document("a1", text, {"year": 2024})
    assert index.upsert([flight, Document("b2", "paper")]) == Upserted(added=2, chunks=3)
    (hit,) = index.search("wing engine", k=1)
    assert hit == Hit(flight, hit.score, 36, len(text))
    assert hit.score == pytest.approx(1.0, abs=1e-3)
    assert text[hit.start : hit.end] == "engine wing engine wing engine wing"


def test_search_is_brute_force(index: Index) -> None:
    index.upsert(DOCUMENTS)
    queries = [" ".join(WORDS[i : i + 2]) for i in range(0, 20, 2)]
    for query, hits in zip(queries, index.search(queries, 12), strict=True):
        assert_found(hits, nearest(DOCUMENTS, index.embedder, query, 12))
    assert_holds(index, DOCUMENTS)


def test_upsert_counts_and_costs_what_changed(index: Index, embedder: WordEmbedder) -> None:
    index.upsert(DOCUMENTS, source="s")
    n = embedder.n_texts
    assert index.upsert(iter(DOCUMENTS), source="s") == Upserted(unchanged=40)
    new_meta = Document("d0001", DOCUMENTS[1].text, {"year": 1})
    assert index.upsert([new_meta], source="s") == Upserted(updated=1)
    assert embedder.n_texts == n
    done = index.upsert([Document("x", "one"), Document("y", "two"), Document("x", "three")])
    assert done == Upserted(added=2, chunks=2, duplicates=("x",))
    assert index.get(["x", "none"]) == [Document("x", "three"), None]


def test_an_error_leaves_the_batches_before_it(index: Index) -> None:
    def some() -> Iterator[Any]:
        yield from DOCUMENTS[:7]
        yield "no document"

    with (
        constants(index_module, BATCH_DOCUMENTS=3),
        pytest.raises(InputTypeError, match="Documents, got str"),
    ):
        index.upsert(some())
    assert_holds(index, DOCUMENTS[:6])


def test_a_batch_is_bounded_in_characters(index: Index) -> None:
    with constants(index_module, BATCH_CHARACTERS=100), constants(upkeep, FAN=100):
        index.upsert(DOCUMENTS)
    assert len(index.status()["segments"]) > 10
    assert_holds(index, DOCUMENTS)


def test_merging_keeps_the_number_of_segments_low(index: Index) -> None:
    with constants(upkeep, FAN=4):
        for document in DOCUMENTS:
            index.upsert([document])
            assert len(index.status()["segments"]) <= 9
    assert_holds(index, DOCUMENTS)


def test_compaction_takes_deleted_rows_away(index: Index) -> None:
    index.upsert(DOCUMENTS)
    index.delete(d.id for d in DOCUMENTS[:30])
    assert index.status()["needs_compaction"]
    status = index.compact()
    assert (status["documents"], status["deleted_chunks"]) == (10, 0)
    assert [s["rows"] for s in status["segments"]] == [status["chunks"]]
    assert not status["needs_compaction"]
    assert [path.name for path in index.segment_folder.iterdir()] == [status["segments"][0]["name"]]
    assert_holds(index, DOCUMENTS[30:])
    index.delete(d.id for d in DOCUMENTS)
    assert index.compact()["segments"] == []
    assert index.search("engine") == []


def test_an_empty_index_and_an_empty_query_find_nothing(index: Index) -> None:
    assert index.search("engine") == []
    assert index.search("engine", hybrid=True, where={"a": 1}) == []
    assert index.search([]) == []
    index.upsert(DOCUMENTS)
    assert index.search(["", " \n"]) == [[], []]
    assert len(index.search("engine", 1000)) == 40
    assert list(index.documents()) == DOCUMENTS


def test_rerank_sees_more_and_has_the_last_word(index: Index) -> None:
    index.upsert(DOCUMENTS)
    seen: list[Hit] = []

    def backwards(query: str, hits: list[Hit]) -> list[Hit]:
        assert query == "engine"
        seen.extend(hits)
        return hits[::-1]

    hits = index.search("engine", 2, rerank=backwards)
    assert len(seen) == 10
    assert hits == seen[::-1][:2]


def test_equal_scores_go_by_the_order_of_documents(index: Index) -> None:
    """Also across segments, and where FAISS would cut in the middle of them."""
    same = [Document(f"same{i}", "engine river") for i in range(30)]
    with constants(upkeep, FAN=100), constants(segments, FEW_ROWS=0, FEW_SHARE=0.0):
        index.upsert(same[:20])
        index.upsert(same[20:])
        index.upsert([Document("same3", "river engine")])
        for k in (1, 5, 25):
            got = [hit.document.id for hit in index.search("engine river", k)]
            assert got == [document.id for document in same[:k]]


def test_many_chunks_of_one_document_take_one_place(index: Index) -> None:
    index.upsert([Document("long", "engine wing " * 600), *DOCUMENTS])
    hits = index.search("engine wing", 8)
    assert len({hit.document.id for hit in hits}) == 8
    assert (hits[0].document.id, hits[0].start) == ("long", 0)


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        ("year", InputTypeError, "where must be a mapping"),
        ({1: 2}, InputTypeError, "names of fields as keys"),
        ({"year": {"~": 1}}, InputError, "known: = != < <= > >= in"),
        ({"year": {"in": "abc"}}, InputTypeError, "a list of values"),
        ({"year": {"in": {"a": 1}}}, InputTypeError, "a list of values"),
        ({"year": {"in": 3}}, InputTypeError, "a list of values"),
        ({"year": [1]}, InputTypeError, "a string, number, bool or None"),
        ({"year": {"<": None}}, InputError, "compares with None"),
        ({"year": float("nan")}, InputError, "within floats' range"),
        ({"year": 10**400}, InputError, "within floats' range"),
        ({"year": "\ud800"}, InputError, "half a surrogate pair"),
        ({"yaer": 1}, UnknownNameError, "unknown field 'yaer'; known: lang, mark, year"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(
    index: Index, where: Any, error: type[Exception], said: str
) -> None:
    index.upsert(DOCUMENTS)
    for ask in (index.count, lambda w: list(index.documents(w)), lambda w: index.search("x", 3, w)):
        with pytest.raises(error, match=said):
            ask(where)


def test_in_takes_anything_that_can_be_gone_through(index: Index) -> None:
    index.upsert(DOCUMENTS)
    expected = sum(d.meta["year"] in (2001, 2003) for d in DOCUMENTS)
    for values in ([2001, 2003], (2001.0, 2003), {2001, 2003}, range(2001, 2004, 2)):
        assert index.count({"year": {"in": values}}) == expected
    assert index.count({"year": {"in": (year for year in (2001, 2003))}}) == expected


@pytest.mark.parametrize("k", [0, -1, True, 2.0, "3"])
def test_k_is_a_number_from_one_up(index: Index, k: Any) -> None:
    with pytest.raises((InputError, InputTypeError), match="k "):
        index.search("engine", k)


def test_arguments_of_other_types_are_refused(index: Index) -> None:
    for call in (
        lambda: index.upsert(Document("a", "b")),  # type: ignore[arg-type]
        lambda: index.upsert("text"),  # type: ignore[arg-type]
        lambda: index.delete("d0001"),
        lambda: index.delete([1]),  # type: ignore[list-item]
        lambda: index.get("d0001"),
        lambda: index.search(3),  # type: ignore[arg-type]
        lambda: index.search(["a", 3]),  # type: ignore[list-item]
    ):
        with pytest.raises(InputTypeError):
            call()


@given(query=texts())
def test_any_text_at_all_can_be_asked(query: str, asked: Index) -> None:
    modes: list[dict[str, Any]] = [{}, {"hybrid": True}, {"keywords": True}]
    for options in modes:
        assert len(asked.search(query, 3, **options)) <= 3


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with open_index(tmp_path_factory.mktemp("asked") / "index", WordEmbedder()) as opened:
        opened.upsert(DOCUMENTS)
        yield opened


# -- at once -----------------------------------------------------------------------------------


def in_threads(*targets: Any) -> None:
    """Run functions at once; the first error of any comes out."""
    errors: list[BaseException] = []

    def run(target: Any) -> None:
        try:
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def test_a_search_sees_one_state_while_a_writer_publishes(index: Index, tmp_path: Path) -> None:
    """Every commit changes all ten documents: no search has two versions, too few, or an error."""

    def version(n: int) -> list[Document]:
        return [Document(f"d{i}", f"engine version{n} w{i}", {"n": n}) for i in range(10)]

    index.upsert(version(0))
    done = threading.Event()

    def write() -> None:
        try:
            with constants(upkeep, FAN=2), open_index(tmp_path / "index", WordEmbedder()) as writer:
                for n in range(1, 25):
                    writer.upsert(version(n))
                    if n % 4 == 0:
                        writer.compact("hnsw" if n % 8 else "flat")
        finally:
            done.set()

    def read() -> None:
        last = 0
        while not done.is_set():
            for options in ({}, {"hybrid": True}, {"where": {"n": {">=": 0}}}):
                hits = index.search("engine", 10, **options)
                versions = {hit.document.meta["n"] for hit in hits}
                assert len(hits) == 10
                assert len(versions) == 1
                assert all(f"version{hit.document.meta['n']}" in hit.document.text for hit in hits)
                assert min(versions) >= last
                last = min(versions)

    in_threads(write, read, read)
    assert_holds(index, version(24))


def test_sixteen_threads_write_and_read(index: Index) -> None:
    parts = [some_documents(6, seed=n, first=10 * n) for n in range(12)]

    def read() -> None:
        for n in range(15):
            assert len(index.search("engine", 6, {"year": {">=": 1990 + n}})) <= 6

    index.upsert(parts[0])
    writers = [lambda part=part: index.upsert(part) for part in parts[1:]]
    with constants(upkeep, FAN=3), constants(index_module, REMEMBERED_FILTERS=2):
        in_threads(*writers, read, read, read, read, index.verify)
    assert_holds(index, [d for part in parts for d in part])


def test_writers_of_the_same_documents_wait_for_one_another(index: Index) -> None:
    def write(n: int) -> None:
        for i in range(4):
            index.upsert([Document(f"d{j}", f"by {n} {i}") for j in range(3)])

    in_threads(lambda: write(1), lambda: write(2))
    assert index.count() == 3
    assert len({d.text for d in index.documents()}) <= 3
    assert_holds(index, list(index.documents()))


class Meanwhile(WordEmbedder):
    """Does something else once, between what a writer has read and what it will write."""

    do: Any = None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        do, self.do = self.do, None
        if do is not None:
            do()
        return super().embed(texts)


@pytest.mark.parametrize("before", [True, False])
def test_a_writer_that_was_overtaken_starts_from_the_new_state(
    tmp_path: Path, before: bool
) -> None:
    """Another adds, changes or deletes the same document while its text is being embedded."""
    embedder = Meanwhile()
    mine = Document("a", "mine engine", {})
    with (
        open_index(tmp_path / "index", embedder) as index,
        open_index(tmp_path / "index", WordEmbedder()) as other,
    ):
        if before:
            index.upsert([Document("a", "first")])
        embedder.do = lambda: other.upsert([Document("a", "theirs river")])
        assert index.upsert([mine]) == Upserted(updated=1, chunks=1)
        assert_holds(index, [mine])
        embedder.do = lambda: other.delete(["a"])
        newer = Document("a", "mine once more")
        assert index.upsert([newer]) == Upserted(added=1, chunks=1)
        assert_holds(index, [newer])
        assert_holds(other, [newer])


# -- pipelines ---------------------------------------------------------------------------------


def test_the_tiny_pipeline(kit: Pipeline, tmp_path: Path) -> None:
    """Chunks on sentence edges; the score is the cosine of the pipeline's own embeddings."""
    long = "The old man lived in London. " * 20 + "Ada had an engine."
    given = [Document("long", long), *(Document(f"d{i}", f"Ada saw {i} men.") for i in range(5))]
    with nlpkit.open_index(tmp_path / "index", kit, chunk_tokens=24, chunk_overlap=8) as index:
        assert index.upsert(given).chunks > 6
        assert index.verify() == []
        query = "Ada had an engine"
        for hit in index.search(query, 6):
            part = hit.document.text[hit.start : hit.end]
            expected = float(kit.embed(query) @ kit.embed(part))
            assert hit.score == pytest.approx(expected, abs=1e-4)
            assert part == part.strip()
    with nlpkit.open_index(tmp_path / "index", kit) as index:
        assert index.options["chunk_tokens"] == 24
        assert index.count() == 6
    assert PipelineEmbedder(kit).identity != PipelineEmbedder(kit, 128).identity


def test_base_en_finds_and_quotes(tmp_path: Path) -> None:
    """The default model: what fits in meaning comes first, and an answer is a quotation."""
    given = [
        Document("wright", "The Wright brothers flew the first motor aeroplane in 1903."),
        Document("soup", "Boil the lentils with carrots and cumin for half an hour."),
        Document("bank", "The central bank raised interest rates to slow inflation."),
        Document("mars", "The rover found signs of ancient water on Mars."),
    ]
    with nlpkit.open_index(tmp_path / "index") as index:
        index.upsert(given)
        for query, first in (
            ("early aviation", "wright"),
            ("a recipe for dinner", "soup"),
            ("monetary policy", "bank"),
            ("space exploration", "mars"),
        ):
            assert index.search(query)[0].document.id == first
        answer = index.ask("When did the Wright brothers fly the first motor aeroplane?")[0]
        assert (answer.document_id, answer.text) == ("wright", "1903")
        assert given[0].text[answer.start : answer.end] == answer.text
        vectors = nlpkit.embed([d.text for d in given])
        expected = vectors @ nlpkit.embed("monetary policy")
        scores = {hit.document.id: hit.score for hit in index.search("monetary policy")}
        np.testing.assert_allclose([scores[d.id] for d in given], expected, rtol=0, atol=5e-3)
        assert index.verify() == []


@given(parts=st.lists(st.sampled_from(["Ada saw him. ", "x" * 90, "\n\n", "中文。", "1843 "])))
def test_chunks_cover_every_character(kit: Pipeline, parts: list[str]) -> None:
    """All that is not white space lies in a chunk, in order, none longer than asked."""
    text = "".join(parts)
    [bounds, same] = PipelineEmbedder(kit, 16, 4).chunks([text, text])
    assert same == bounds
    assert bounds == sorted(bounds)
    covered = {at for start, end in bounds for at in range(start, end)}
    assert all(at in covered for at, char in enumerate(text) if not char.isspace())
