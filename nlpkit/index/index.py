"""The index: documents in, hits out, and one database transaction between two states.

upsert -> chunks and vectors -> a segment's files -> one transaction that names them
search -> a consistent state -> each segment's nearest -> documents
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from nlpkit.errors import InputError, InputTypeError, StoreError
from nlpkit.heads import SpanHead
from nlpkit.index import facets, filters, predictions, upkeep, words
from nlpkit.index.check import Problem, repair, verify
from nlpkit.index.rows import (
    MANY,
    Stored,
    checked_document,
    dead_chunks,
    new_rows,
    page_after,
    record_of,
    removed,
    segment_row,
    stored,
    written,
)
from nlpkit.index.segments import (
    Bools,
    Floats,
    Ints,
    Mask,
    Segment,
    SegmentRecord,
    remove_segment,
    write_segment,
)
from nlpkit.store.schema import chunks, documents, segments, state
from nlpkit.types import Answer, Document, Hit, Results

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.index.embedder import Embedder
    from nlpkit.pipeline import Pipeline
    from nlpkit.store.database import Database

#: Documents and characters that are embedded and committed together, at most.
BATCH_DOCUMENTS = 1000
BATCH_CHARACTERS = 2_000_000
#: A writer whose documents others change meanwhile tries so often; nothing is embedded twice.
ATTEMPTS = 50
#: Hybrid search: each ranking gives 1 / (RANK_OFFSET + rank) (Cormack et al. 2009).
RANK_OFFSET = 60
RANKED = 100
#: FAISS ranks in float32: two cosines closer than this may have changed places.
ROUNDING = 1e-5
#: Filters whose documents are remembered until the index changes.
REMEMBERED_FILTERS = 16


@dataclass(frozen=True, slots=True)
class Upserted:
    """What an upsert did, in documents; ``duplicates`` are ids that came twice (the last won)."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    chunks: int = 0
    duplicates: tuple[str, ...] = ()

    def __add__(self, other: Upserted) -> Upserted:
        return Upserted(
            self.added + other.added,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.chunks + other.chunks,
            self.duplicates + other.duplicates,
        )


@dataclass(frozen=True, slots=True)
class Passing:
    """What a filter lets through: ``documents`` by number, ``rows`` of each segment of a view."""

    documents: Bools
    rows: tuple[Mask, ...]

    def __contains__(self, document: int) -> bool:
        return document < len(self.documents) and bool(self.documents[document])


@dataclass(frozen=True, slots=True)
class View:
    """The segments of one generation; ``live`` marks the rows that are not deleted (None: all)."""

    generation: int = -1
    segments: tuple[Segment, ...] = ()
    live: tuple[Mask | None, ...] = ()
    remembered: dict[str, Passing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A document by number with the chunk that speaks for it."""

    document: int
    chunk: int
    score: float


class Index:
    """Documents under ids, searched by meaning, by keywords or by both.

    Made by :func:`nlpkit.open_index`; close it, or use it as a context manager. Reading and
    writing may go on from many threads and processes at once: a search sees the state of one
    commit, and writers wait for one another.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        embedder: Embedder,
        options: Mapping[str, Any],
        pipeline: Pipeline | None = None,
    ) -> None:
        self.folder = folder
        self.database = database
        self.embedder = embedder
        self.options = dict(options)
        self.pipeline = pipeline
        self._view = View()
        self._lock = threading.Lock()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Index({str(self.folder)!r}, model={self.embedder.name!r})"

    def close(self) -> None:
        """Give back files and connections."""
        self._view = View()
        self.database.close()

    @property
    def segment_folder(self) -> Path:
        """Where the segments' files lie."""
        return self.folder / "segments"

    # -- writing ----------------------------------------------------------------------------------

    def upsert(self, documents: Iterable[Document], *, source: str = "") -> Upserted:
        """Add documents, or replace those whose ids are there; what has not changed costs nothing.

        Goes through any iterable in bounded memory, a batch a transaction: an error leaves the
        batches before it in place. ``source`` names where the documents come from.

        Raises:
            InputTypeError, InputError: something that is no document, or has no text.
        """
        if isinstance(documents, Document | str | bytes) or not isinstance(documents, Iterable):
            raise InputTypeError.of("documents", documents, "a list of Documents")
        total = Upserted()
        for batch in _batches(documents):
            total = total + self.upsert_batch(batch, source)
        return total

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by id; returns how many there were."""
        if isinstance(ids, str) or not isinstance(ids, Iterable):
            raise InputTypeError.of("ids", ids, "a list of ids")
        wanted = list(dict.fromkeys(ids))
        for one in wanted:
            if not isinstance(one, str):
                raise InputTypeError.of("ids", one, "ids as strings")
        n = 0
        for first in range(0, len(wanted), BATCH_DOCUMENTS):
            with self.database.write() as connection:
                there = stored(connection, wanted[first : first + BATCH_DOCUMENTS])
                removed(connection, [one.number for one in there.values()])
                n += len(there)
        return n

    def upsert_batch(
        self,
        batch: Sequence[Document],
        source: str = "",
        also: Callable[..., None] | None = None,
    ) -> Upserted:
        """Upsert all of a batch in one transaction; ``also`` runs inside it, if need be alone."""
        done = self._upserted(batch, source, also)
        upkeep.merge_small(self)
        return done

    def check(self, document: Document) -> None:
        """Raise the error that indexing this document would raise; nothing is written."""
        self._embed(new_rows([checked_document(document)], ""), {})

    def _upserted(
        self,
        batch: Sequence[Document],
        source: str,
        also: Callable[..., None] | None,
    ) -> Upserted:
        last = {document.id: document for document in batch}
        twice = _repeated(batch) if len(last) < len(batch) else ()
        rows = new_rows(last.values(), source)
        vectors: dict[bytes, tuple[list[tuple[int, int]], Floats]] = {}
        for _ in range(ATTEMPTS):
            with self.database.read() as connection:
                before = stored(connection, last)
            new = [row for row in rows if row.text_differs(before)]
            self._embed([row for row in new if row.text_sha256 not in vectors], vectors)
            changed = sum(row.differs(before) for row in rows if row.id in before)
            added = sum(row.id not in before for row in rows)
            n_chunks = sum(len(vectors[row.text_sha256][0]) for row in new)
            unchanged = len(rows) - changed - added
            done = Upserted(added, changed, unchanged, n_chunks, twice)
            then = None if also is None else partial(also, upserted=done)
            if self._publish(rows, new, before, vectors, then):
                return done
        raise StoreError(
            f"{self.folder}: other writers changed the same {len(rows)} documents again and again; "
            "let one writer at a time have a document"
        )

    def _embed(
        self,
        rows: Sequence[Stored],
        vectors: dict[bytes, tuple[list[tuple[int, int]], Floats]],
    ) -> None:
        """Bounds and vectors of each text's chunks, put under the text's SHA-256."""
        bounds = self.embedder.chunks([row.text for row in rows])
        parts = [row.text[a:b] for row, found in zip(rows, bounds, strict=True) for a, b in found]
        made = self.embedder.embed(parts) if parts else np.zeros((0, 0), np.float32)
        if parts and made.shape != (len(parts), self.embedder.width):
            raise InputError(
                f"{self.embedder.name} gave vectors of shape {made.shape} for {len(parts)} texts; "
                f"expected ({len(parts)}, {self.embedder.width})"
            )
        at = 0
        for row, found in zip(rows, bounds, strict=True):
            part = made[at : at + len(found)]
            if not np.isfinite(part).all():
                raise InputError(
                    f"the vector of document {row.id!r} is not finite (NaN or infinite); nothing "
                    "of its batch was written: check the model"
                )
            vectors[row.text_sha256] = (found, part)
            at += len(found)

    def _publish(
        self,
        rows: Sequence[Stored],
        new: Sequence[Stored],
        before: Mapping[str, Stored],
        vectors: Mapping[bytes, tuple[list[tuple[int, int]], Floats]],
        also: Callable[[Connection], None] | None,
    ) -> bool:
        """Write the segment, then the one transaction; False where another writer came between."""
        changed = [row for row in rows if row.differs(before)]
        if not changed:
            if also is not None:
                with self.database.step() as connection:
                    also(connection)
            return True
        cut = {row.id: vectors[row.text_sha256] for row in new}
        n_chunks = sum(len(bounds) for bounds, _ in cut.values())
        first_document, first_chunk = self._numbers(
            sum(row.id not in before for row in changed), n_chunks
        )
        for row in changed:
            if row.id in before:
                row.number = before[row.id].number
            else:
                row.number, first_document = first_document, first_document + 1
        record: SegmentRecord | None = None
        if n_chunks:
            owners = np.repeat([row.number for row in new], [len(cut[row.id][0]) for row in new])
            numbers = np.arange(first_chunk, first_chunk + n_chunks)
            block = (np.concatenate([cut[row.id][1] for row in new]), owners, numbers)
            width = self.embedder.width
            record = write_segment(self.segment_folder, [block], n_chunks, width)
        try:
            with self.database.write() as connection:
                if stored(connection, before.keys() | {row.id for row in changed}) != before:
                    raise _OvertakenError
                bounds = {row.id: cut[row.id][0] for row in new}
                written(connection, changed, before, bounds, first_chunk)
                if record is not None:
                    connection.execute(sa.insert(segments), segment_row(connection, record))
                if also is not None:
                    also(connection)
        except BaseException as error:
            if record is not None:
                remove_segment(self.segment_folder, record.name)
            if isinstance(error, _OvertakenError):
                return False
            raise
        return True

    def _numbers(self, n_documents: int, n_chunks: int) -> tuple[int, int]:
        """The first of so many numbers that nobody else will use."""
        with self.database.step() as connection:
            return self.take_numbers(connection, n_documents, n_chunks)

    def take_numbers(
        self, connection: Connection, n_documents: int, n_chunks: int
    ) -> tuple[int, int]:
        """The same, inside a transaction of the caller's."""
        row = connection.execute(sa.select(state.c.next_document, state.c.next_chunk)).one()
        connection.execute(
            sa.update(state).values(
                next_document=state.c.next_document + n_documents,
                next_chunk=state.c.next_chunk + n_chunks,
            )
        )
        return row.next_document, row.next_chunk

    def generation(self, connection: Connection) -> int:
        """How many commits the state that a transaction sees has behind it."""
        return int(connection.execute(_GENERATION).scalar_one())

    # -- reading ----------------------------------------------------------------------------------

    def search(
        self,
        query: str | Sequence[str],
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        hybrid: bool = False,
        *,
        keywords: bool = False,
        rerank: Callable[[str, list[Hit]], list[Hit]] | None = None,
    ) -> Any:
        """The ``k`` documents that fit best, each with its best chunk; a list gives lists.

        Args:
            query: words or a question; an empty one finds nothing.
            k: how many different documents; fewer come only where fewer match.
            where: conditions on metadata, joined by and: ``{"year": {">=": 2020}, "lang": "en"}``
                with the operators = != < <= > >= in. A document without the field never matches.
            hybrid: fuse the ranking by meaning with that by keywords, by reciprocal rank.
            keywords: rank by keywords alone.
            rerank: takes the query and the hits (five times ``k``) and gives them in a new order.

        ``score`` is the cosine in [-1, 1]; with ``hybrid`` the fused reciprocal rank; with
        ``keywords`` BM25 (SQLite) or PostgreSQL's rank.

        Raises:
            UnknownNameError: a filter on a field that no document has.
            StoreError: a segment is missing or damaged.
        """
        n = _positive("k", k)
        conditions = filters.checked(where)
        if isinstance(query, str):
            return self._search([query], n, conditions, hybrid, keywords, rerank)[0]
        if not isinstance(query, Sequence) or not all(isinstance(one, str) for one in query):
            raise InputTypeError.of("query", query, "a string or a list of strings")
        return self._search(list(query), n, conditions, hybrid, keywords, rerank)

    def ask(
        self,
        question: str,
        k: int = 5,
        where: Mapping[str, Any] | None = None,
        *,
        n_best: int = 3,
        hybrid: bool = True,
        max_answer_length: int = 30,
    ) -> Results[Answer]:
        """Quotations that answer a question, best first, each with its document and place.

        Retrieves ``k`` documents and reads the best chunk of each. An empty list says that no
        answer was found in them. ``document.text[answer.start:answer.end] == answer.text``.
        """
        if not isinstance(question, str):
            raise InputTypeError.of("question", question, "a string")
        if self.pipeline is None or SpanHead.kind not in self.pipeline.tasks.values():
            raise InputError(f"{self.embedder.name} has no head that answers questions")
        _positive("n_best", n_best)
        hits: list[Hit] = self.search(question, k, where, hybrid)
        pairs = [(question, hit.document.text[hit.start : hit.end]) for hit in hits]
        read = self.pipeline.answer(pairs, max_answer_length=max_answer_length)
        found = [
            Answer(a.text, a.start + h.start, a.end + h.start, a.score, h.document.id, a.warnings)
            for a, h in zip(read, hits, strict=True)
            if a
        ]
        return Results(sorted(found, key=lambda a: -a.score)[:n_best])

    def get(self, ids: Sequence[str]) -> list[Document | None]:
        """Documents by id, None for each that is not there."""
        if isinstance(ids, str) or not isinstance(ids, Sequence):
            raise InputTypeError.of("ids", ids, "a list of ids")
        with self.database.read() as connection:
            there = stored(connection, ids, texts=True)
        return [there[one].document() if one in there else None for one in ids]

    def documents(self, where: Mapping[str, Any] | None = None) -> Iterator[Document]:
        """Every document (that meets the conditions), in the order they were added."""
        conditions = filters.checked(where)
        last = 0
        while True:
            with self.database.read() as connection:
                page = page_after(connection, last, conditions)
            if not page:
                return
            for number, document in page:
                last = number
                yield document

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """How many documents there are (that meet the conditions)."""
        conditions = filters.checked(where)
        with self.database.read() as connection:
            if conditions:
                return len(filters.passing(connection, conditions))
            return int(
                connection.execute(sa.select(sa.func.count(documents.c.number))).scalar_one()
            )

    def fields(self) -> list[facets.Field]:
        """The metadata fields that ``where`` can name, with their kinds and bounds."""
        with self.database.read() as connection:
            return facets.known_fields(connection)

    def values(self, field: str, most: int = 100) -> list[tuple[str, int]]:
        """The strings that most documents have in a field, with how many do; empty if none has."""
        _positive("most", most)
        with self.database.read() as connection:
            return facets.values_of(connection, field, most)

    # -- predictions ------------------------------------------------------------------------------

    def analyze(self, tasks: Sequence[str] | None = None) -> int:
        """Let heads read every document that they have not read yet; returns how many.

        What they say is kept as rows with the model's hash: a document is read again only where
        its text or the model has changed. ``tasks``: by default all that read single texts.
        """
        return predictions.analyze(self, tasks)

    def predictions(self, task: str | None = None) -> Iterator[predictions.Prediction]:
        """What :meth:`analyze` has kept, of one task or of all, by document."""
        return predictions.read(self, task)

    # -- upkeep -----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Sizes, kinds, recall, model and what waits for compaction, as plain values."""
        return upkeep.status(self)

    def verify(self) -> list[Problem]:
        """Compare files, rows and words with one another; an empty list is a sound index."""
        return verify(self)

    def repair(self) -> list[Problem]:
        """Mend what :meth:`verify` finds, from the store; returns what could not be mended."""
        return repair(self)

    def compact(self, kind: str | None = None) -> dict[str, Any]:
        """Write all live vectors into one segment of the best kind, or of ``kind``; status after.

        Searches and writes go on meanwhile.
        """
        upkeep.compact(self, kind)
        return self.status()

    # -- inside -----------------------------------------------------------------------------------

    def view(self, connection: Connection) -> View:
        """The segments of the state that a read transaction sees."""
        generation = self.generation(connection)
        known = self._view
        if known.generation == generation:
            return known
        rows = connection.execute(sa.select(segments).order_by(segments.c.generation)).all()
        opened = {segment.record.name: segment for segment in known.segments}
        live: dict[str, Mask | None] = {}
        since = -1
        if known.generation < generation and all(row.name in opened for row in rows):
            live = {s.record.name: m for s, m in zip(known.segments, known.live, strict=True)}
            since = known.generation
        for row in rows:
            if row.name not in opened:
                opened[row.name] = Segment(self.segment_folder, record_of(row))
        dead = dead_chunks(connection, since)
        current = tuple(opened[row.name] for row in rows)
        masks = tuple(_masked(segment, live.get(segment.record.name), dead) for segment in current)
        view = View(generation, current, masks)
        with self._lock:
            if view.generation > self._view.generation:
                self._view = view
        return view

    def _search(
        self,
        queries: list[str],
        k: int,
        conditions: dict[str, dict[str, Any]],
        hybrid: bool,
        keywords: bool,
        rerank: Callable[[str, list[Hit]], list[Hit]] | None,
    ) -> list[list[Hit]]:
        asked = [query for query in queries if query.strip()]
        vectors = np.zeros((len(asked), self.embedder.width), np.float32)
        if asked and not keywords:
            vectors = self.embedder.embed(asked)
        wanted = k if rerank is None else 5 * k

        def run(connection: Connection) -> list[list[Hit]]:
            view = self.view(connection)
            passing = self._passing(connection, view, conditions)
            hits = []
            for query, vector in zip(asked, vectors, strict=True):
                rankings = []
                depth = max(wanted, RANKED) if hybrid else wanted
                if not keywords:
                    rankings.append(_nearest(view, vector, depth, passing))
                if hybrid or keywords:
                    rankings.append(_by_words(connection, query, depth, passing))
                found = rankings[0] if len(rankings) == 1 else _fused(rankings)
                hits.append(_hits(connection, found[:wanted]))
            return hits

        found = iter(self._consistently(run))
        results = [next(found) if query.strip() else [] for query in queries]
        if rerank is None:
            return results
        return [rerank(q, hits)[:k] for q, hits in zip(queries, results, strict=True)]

    def _consistently(self, run: Callable[[Connection], Any]) -> Any:
        """Run on one state; once more where a compaction took a state's files away meanwhile."""
        for attempt in range(5):
            with self.database.read() as connection:
                try:
                    return run(connection)
                except (StoreError, FileNotFoundError) as error:
                    seen, failure = self.generation(connection), error
            with self.database.read() as connection:
                now = self.generation(connection)
            if now == seen or attempt == 4:
                raise failure
            time.sleep(0.01 * attempt)
        raise AssertionError

    def _passing(
        self, connection: Connection, view: View, conditions: dict[str, dict[str, Any]]
    ) -> Passing | None:
        if not conditions:
            return None
        key = repr(sorted(conditions.items()))
        found = view.remembered.get(key)
        if found is None:
            found = _passing_rows(view, filters.passing(connection, conditions))
            with self._lock:
                if len(view.remembered) >= REMEMBERED_FILTERS:
                    view.remembered.pop(next(iter(view.remembered)))
                view.remembered[key] = found
        return found


class _OvertakenError(Exception):
    """Another writer changed the same documents first."""


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(checked_document(document))
        characters += len(document.text)
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _repeated(batch: Sequence[Document]) -> tuple[str, ...]:
    counts = Counter(document.id for document in batch)
    return tuple(id_ for id_, n in counts.items() if n > 1)


def _masked(segment: Segment, mask: Mask | None, dead: Ints) -> Mask | None:
    """The mask of live rows with these chunks taken out; a new array where it changes."""
    if not len(dead):
        return mask
    places = np.searchsorted(segment.chunks, dead)
    inside = places < len(segment)
    places = places[inside][segment.chunks[places[inside]] == dead[inside]]
    if not len(places):
        return mask
    rows = np.ones(len(segment), bool) if mask is None else mask.rows.copy()
    rows[places] = False
    return Mask(rows)


def _nearest(view: View, vector: Floats, k: int, passing: Passing | None) -> list[Found]:
    """The ``k`` nearest different documents, each with its best chunk.

    Asks each segment for more rows until no row left behind could change the result: chunks of
    one document share a place, and equal scores go by the order of the documents.
    """
    masks = view.live if passing is None else passing.rows
    n = 2 * k
    while True:
        best: dict[int, tuple[float, int]] = {}
        floor = -np.inf  # rows not seen yet score at most this
        for segment, mask in zip(view.segments, masks, strict=True):
            rows, scores = segment.search(vector, n, mask)
            if len(rows) == n:
                floor = max(floor, float(scores[-1]))
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
                document, chunk = int(segment.documents[row]), int(segment.chunks[row])
                if document not in best or (-score, chunk) < (
                    -best[document][0],
                    best[document][1],
                ):
                    best[document] = (score, chunk)
        ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))[:k]
        if floor == -np.inf or (len(ranked) == k and ranked[-1][1][0] > floor + ROUNDING):
            return [Found(document, chunk, score) for document, (score, chunk) in ranked]
        n *= 4


def _passing_rows(view: View, numbers: Ints) -> Passing:
    """The live rows whose documents have these numbers (ascending)."""
    table = np.zeros(int(numbers[-1]) + 1 if len(numbers) else 1, bool)
    table[numbers] = True
    rows = []
    for segment, live in zip(view.segments, view.live, strict=True):
        owners = np.minimum(segment.documents, len(table) - 1)
        inside = table[owners] & (segment.documents < len(table))
        rows.append(Mask(inside if live is None else inside & live.rows))
    return Passing(table, tuple(rows))


def _by_words(connection: Connection, query: str, n: int, passing: Passing | None) -> list[Found]:
    allowed = None if passing is None else passing.__contains__
    return [Found(*row) for row in words.ranked(connection, query, n, allowed)]


def _fused(rankings: Sequence[Sequence[Found]]) -> list[Found]:
    """Reciprocal rank fusion; the chunk is that of the ranking where the document stands higher."""
    scores: dict[int, float] = {}
    chunk: dict[int, tuple[int, int]] = {}
    for ranking in rankings:
        for rank, found in enumerate(ranking, 1):
            scores[found.document] = scores.get(found.document, 0.0) + 1 / (RANK_OFFSET + rank)
            chunk[found.document] = min(
                chunk.get(found.document, (rank, found.chunk)), (rank, found.chunk)
            )
    order = sorted(scores, key=lambda document: (-scores[document], document))
    return [Found(document, chunk[document][1], scores[document]) for document in order]


#: Made once: to build a statement takes SQLAlchemy longer than SQLite takes to run it.
_GENERATION = sa.select(state.c.generation)
_FOUND = (
    sa.select(
        chunks.c.number,
        chunks.c.document,
        chunks.c.start,
        chunks.c.end,
        documents.c.id,
        documents.c.text,
        documents.c.meta,
    )
    .join(documents, documents.c.number == chunks.c.document)
    .where(chunks.c.number.in_(sa.bindparam("numbers", expanding=True)))
)


def _hits(connection: Connection, found: Sequence[Found]) -> list[Hit]:
    rows: dict[int, Any] = {}
    for first in range(0, len(found), MANY):
        numbers = [one.chunk for one in found[first : first + MANY]]
        rows.update((row[0], row) for row in connection.execute(_FOUND, {"numbers": numbers}))
    hits = []
    for one in found:
        row = rows.get(one.chunk)
        if row is None or row[1] != one.document:
            raise StoreError(
                f"the database has lost document number {one.document} or its chunk {one.chunk}; "
                "run: nlpkit index verify, then repair"
            )
        _, _, start, end, id_, text, meta = row
        hits.append(Hit(Document(id_, text, json.loads(meta)), one.score, start, end))
    return hits


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputTypeError.of(name, value, "a whole number")
    if value < 1:
        raise InputError(f"{name} is {value}; expected at least 1")
    return value
