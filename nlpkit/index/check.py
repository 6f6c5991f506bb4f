"""Verify and repair: files, rows and words compared with one another, and mended."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import sqlalchemy as sa

from nlpkit.errors import StoreError
from nlpkit.index import filters, upkeep, words
from nlpkit.index.rows import (
    Stored,
    copy_row,
    dead_chunks,
    from_copy,
    new_rows,
    segment_records,
    segment_row,
    sorted_numbers,
)
from nlpkit.index.segments import Ints, Segment, remove_segment, segment_problems, write_segment
from nlpkit.store.schema import chunks, copies, documents, fields, segments, tombstones
from nlpkit.types import Document

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.index.chunks import Bounds
    from nlpkit.index.index import Index

Part = Literal["database", "document", "copy", "chunks", "fields", "words", "segment", "vectors"]
PAGE = 500


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not fit: which part, what exactly, and the document where one is hit."""

    part: Part
    detail: str
    number: int | None = None
    segment: str | None = None

    def __str__(self) -> str:
        return f"{self.part}: {self.detail}"


def verify(index: Index) -> list[Problem]:
    """Everything that does not fit, each thing named; an empty list is a sound index.

    Reads every row and every file once, of one state, and cuts every text again; writers go on
    meanwhile, and merging waits.
    """
    if index.database.read_only:
        return _found(index)
    with upkeep.exclusively(index.folder, wait=True):  # or a merge would take files away
        return _found(index)


def repair(index: Index) -> list[Problem]:
    """Mend what :func:`verify` finds; returns what it still finds afterwards.

    A lost document comes back from its copy, chunks are cut again from the text, vectors are
    computed again for chunks that have none. A document that is gone with its copy cannot come
    back: its vectors are taken away, and it must be indexed again from its source.
    """
    with upkeep.exclusively(index.folder, wait=True):
        for _ in range(3):
            found = _found(index)
            if not found:
                break
            _repair_rows(index, found)
            _repair_vectors(index)
            if any(problem.part == "words" for problem in found):
                _repair_words(index)
        upkeep.remove_leftovers(index)
        return _found(index)


# -- finding ---------------------------------------------------------------------------------------


def _found(index: Index) -> list[Problem]:
    found = []
    try:
        if not index.database.read_only:  # SQLite checks its word index by a statement that writes
            with index.database.step() as connection:
                said = words.problem(connection)
            if said:
                found.append(Problem("words", f"the keyword index is damaged: {said}"))
        with index.database.read() as connection:
            found.extend(_problems(index, connection))
    except StoreError as error:  # so damaged that it cannot be read on
        found.append(Problem("database", str(error)))
    return found


def _problems(index: Index, connection: Connection) -> Iterator[Problem]:
    if index.database.is_sqlite:
        said = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if said != "ok":
            yield Problem("database", f"SQLite finds its file damaged: {said}")
    yield from _row_problems(index, connection)
    yield from _segment_problems(index, connection)
    yield from _word_problems(connection)


def _row_problems(index: Index, connection: Connection) -> Iterator[Problem]:
    """Documents, copies, chunks and fields, in one walk over the documents."""
    seen = _numbers(connection, documents.c.number)
    kept = _numbers(connection, copies.c.document)
    for number in np.setdiff1d(kept, seen).tolist():
        yield Problem("document", f"document number {number} has a copy and no row", number)
    for number in np.setdiff1d(seen, kept).tolist():
        yield Problem("copy", f"document number {number} has lost its copy", number)
    owners = _numbers(connection, chunks.c.document)
    lost = np.setdiff1d(owners, np.union1d(seen, kept))
    for number in np.unique(lost).tolist():
        yield Problem(
            "chunks", f"document number {number} is gone with its copy; its chunks are left", number
        )
    strays = np.setdiff1d(_numbers(connection, fields.c.document), np.union1d(seen, kept))
    for number in np.unique(strays).tolist():
        yield Problem("fields", f"fields of document number {number}, which is not there", number)
    for first in range(0, len(seen), PAGE):
        page = seen[first : first + PAGE].tolist()
        yield from _page_problems(index, connection, page)


def _page_problems(index: Index, connection: Connection, page: Sequence[int]) -> Iterator[Problem]:
    bounds: dict[int, list[tuple[int, int]]] = defaultdict(list)
    cut = sa.select(chunks).where(chunks.c.document.in_(page)).order_by(chunks.c.number)
    for row in connection.execute(cut):
        bounds[row.document].append((row.start, row.end))
    values: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for row in connection.execute(sa.select(fields).where(fields.c.document.in_(page))):
        values[row.document].append((row.name, row.text, row.number))
    payloads: dict[int, bytes] = _pairs(
        connection, sa.select(copies).where(copies.c.document.in_(page))
    )
    rows = connection.execute(sa.select(documents).where(documents.c.number.in_(page)))
    for row in rows:
        name = f"document {row.id!r:.80}"
        if hashlib.sha256(row.text.encode()).digest() != row.text_sha256:
            yield Problem("document", f"the text of {name} was altered", row.number)
        elif hashlib.sha256(row.meta.encode()).digest() != row.meta_sha256:
            yield Problem("document", f"the metadata of {name} was altered", row.number)
        else:
            wanted = filters.field_rows(row.number, json.loads(row.meta))
            if set(values[row.number]) != {(f["name"], f["text"], f["number"]) for f in wanted}:
                yield Problem("fields", f"the fields of {name} are not its metadata's", row.number)
            payload = payloads.get(row.number)
            if payload is not None and not _same(row, payload):
                yield Problem("copy", f"the row and the copy of {name} differ", row.number)
            there = bounds[row.number]
            if len(there) == row.n_chunks and there != _cut(index, row.text):
                yield Problem("chunks", f"the bounds of the chunks of {name} differ", row.number)
        if len(bounds[row.number]) != row.n_chunks:
            yield Problem(
                "chunks",
                f"{name} has {len(bounds[row.number])} chunks, expected {row.n_chunks}",
                row.number,
            )


def _same(row: Any, payload: bytes) -> bool:
    try:
        copy = from_copy(row.number, payload)
    except Exception:  # whatever the bytes have become
        return False
    return (copy.id, copy.text_sha256, copy.meta_sha256, copy.source) == (
        row.id,
        row.text_sha256,
        row.meta_sha256,
        row.source,
    )


def _segment_problems(index: Index, connection: Connection) -> Iterator[Problem]:
    """Files, and that every live chunk has exactly one vector."""
    known: dict[int, int] = _pairs(connection, sa.select(chunks.c.number, chunks.c.document))
    numbers = np.sort(np.fromiter(known, dtype=np.int64, count=len(known)))
    dead = dead_chunks(connection, -1)
    held: list[Ints] = []
    for record in segment_records(connection):
        damage = list(segment_problems(index.segment_folder, record))
        for said in damage:
            yield Problem("segment", f"{record.name}: {said}", segment=record.name)
        if damage:
            continue
        try:
            segment = Segment(index.segment_folder, record)
        except StoreError as error:
            yield Problem("segment", f"{record.name}: {error}", segment=record.name)
            continue
        there = np.array(segment.chunks)
        held.append(there[~np.isin(there, dead)])
        owners = np.fromiter((known.get(c, -1) for c in there.tolist()), np.int64, len(there))
        wrong = (owners >= 0) & (owners != segment.documents)
        for chunk in there[wrong].tolist():
            yield Problem(
                "vectors", f"segment {record.name} gives chunk {chunk} to another document"
            )
    every = np.sort(np.concatenate(held)) if held else np.zeros(0, np.int64)
    for chunk in np.unique(every[1:][np.diff(every) == 0]).tolist():
        yield Problem("vectors", f"chunk {chunk} has more than one vector", known.get(chunk))
    for chunk in np.setdiff1d(numbers, every).tolist():
        yield Problem("vectors", f"chunk {chunk} has no vector", known[chunk])
    for chunk in np.setdiff1d(every, numbers).tolist():
        yield Problem("vectors", f"a vector of chunk {chunk}, which is in no table")


def _word_problems(connection: Connection) -> Iterator[Problem]:
    numbers = _numbers(connection, chunks.c.number)
    known = words.known_chunks(connection)
    missing = [n for n in numbers.tolist() if n not in known]
    if missing or len(known) != len(numbers):
        yield Problem(
            "words",
            f"the keyword index holds {len(known):,} chunks, expected {len(numbers):,}"
            + (f"; chunk {missing[0]} is not among them" if missing else ""),
        )


# -- mending ---------------------------------------------------------------------------------------


def _repair_rows(index: Index, found: Sequence[Problem]) -> None:
    """Documents from copies, copies from documents, chunks and fields anew, a page at a time."""
    numbers = sorted({p.number for p in found if p.number is not None})
    for first in range(0, len(numbers), PAGE):
        with index.database.write() as connection:
            for number in numbers[first : first + PAGE]:
                _repair_document(index, connection, number)


def _cut(index: Index, text: str) -> Bounds:
    [bounds] = index.embedder.chunks([text])
    return bounds


def _repair_document(index: Index, connection: Connection, number: int) -> None:
    row = _best_of(connection, number)
    connection.execute(sa.delete(fields).where(fields.c.document == number))
    if row is None:  # nothing to mend it from
        connection.execute(sa.delete(chunks).where(chunks.c.document == number))
        connection.execute(sa.delete(copies).where(copies.c.document == number))
        connection.execute(sa.delete(documents).where(documents.c.number == number))
        return
    bounds = _cut(index, row.text)
    there = connection.execute(
        sa.select(chunks.c.number, chunks.c.start, chunks.c.end)
        .where(chunks.c.document == number)
        .order_by(chunks.c.number)
    ).all()
    numbers = [c.number for c in there]
    hidden = sa.select(tombstones.c.chunk).where(tombstones.c.chunk.in_(numbers)).limit(1)
    # A number once deleted stays so: readers may have masked its row for good.
    if [(c.start, c.end) for c in there] != bounds or connection.execute(hidden).first():
        connection.execute(sa.delete(chunks).where(chunks.c.document == number))
        at = index.take_numbers(connection, 0, len(bounds))[1]
        connection.execute(
            sa.insert(chunks),
            [
                {"number": at + i, "document": number, "start": a, "end": b}
                for i, (a, b) in enumerate(bounds)
            ],
        )
    row.n_chunks = len(bounds)
    there_row = sa.select(documents.c.updated_at).where(documents.c.number == number)
    updated_at = connection.execute(there_row).scalar()
    other = sa.select(documents.c.number).where(documents.c.id == row.id)
    for there_number in {number, *connection.execute(other).scalars()}:
        for column in (documents.c.number, copies.c.document, fields.c.document):
            connection.execute(sa.delete(column.table).where(column == there_number))
        if there_number != number:  # the same document under an altered number
            connection.execute(sa.delete(chunks).where(chunks.c.document == there_number))
    values = {name: getattr(row, name) for name in Stored.__slots__}
    connection.execute(sa.insert(documents), {**values, "updated_at": updated_at or 0.0})
    connection.execute(sa.insert(copies), copy_row(row))
    fresh = list(filters.field_rows(number, json.loads(row.meta)))
    if fresh:
        connection.execute(sa.insert(fields), fresh)


def _best_of(connection: Connection, number: int) -> Stored | None:
    """A document from its copy, whose compression has a checksum, or from its row if sound."""
    payload = connection.execute(
        sa.select(copies.c.payload).where(copies.c.document == number)
    ).scalar()
    if payload is not None:
        with contextlib.suppress(Exception):  # whatever the bytes have become
            return from_copy(number, payload)
    row = connection.execute(sa.select(documents).where(documents.c.number == number)).first()
    if row is not None and (
        hashlib.sha256(row.text.encode()).digest() == row.text_sha256
        and hashlib.sha256(row.meta.encode()).digest() == row.meta_sha256
    ):
        sound = new_rows([Document(row.id, row.text, json.loads(row.meta))], row.source)[0]
        sound.number = number
        return sound
    return None


def _repair_vectors(index: Index) -> None:
    """Drop damaged segments and stray vectors; embed again every chunk without a vector."""
    with index.database.write() as connection:
        known = _numbers(connection, chunks.c.number)
        dead = dead_chunks(connection, -1)
        sound: list[Ints] = []
        dropped = []
        for record in segment_records(connection):
            try:
                segment = Segment(index.segment_folder, record)
                held = np.array(segment.chunks)
                whole = not (
                    any(segment_problems(index.segment_folder, record))
                    or _misowned(connection, segment)
                    or any(np.intersect1d(held, other).size for other in sound)
                )
            except StoreError:
                whole = False
            if whole:
                sound.append(held)
            else:
                dropped.append(record.name)
        connection.execute(sa.delete(segments).where(segments.c.name.in_(dropped)))
        every = np.concatenate(sound) if sound else np.zeros(0, np.int64)
        strays = np.setdiff1d(np.setdiff1d(every, known), dead)
        generation = index.generation(connection)
        if len(strays):
            connection.execute(
                sa.insert(tombstones),
                [{"chunk": chunk, "generation": generation} for chunk in strays.tolist()],
            )
        nowhere = np.setdiff1d(dead, every).tolist()
        for first in range(0, len(nowhere), PAGE):
            part = nowhere[first : first + PAGE]
            connection.execute(sa.delete(tombstones).where(tombstones.c.chunk.in_(part)))
    for name in dropped:
        remove_segment(index.segment_folder, name)
    missing = np.setdiff1d(known, every)
    for first in range(0, len(missing), PAGE):
        _embed_again(index, missing[first : first + PAGE])


def _embed_again(index: Index, numbers: Ints) -> None:
    with index.database.read() as connection:
        rows = connection.execute(
            sa.select(chunks, documents.c.text)
            .select_from(chunks.join(documents, documents.c.number == chunks.c.document))
            .where(chunks.c.number.in_(numbers.tolist()))
            .order_by(chunks.c.number)
        ).all()
    if not rows:
        return
    vectors = index.embedder.embed([row.text[row.start : row.end] for row in rows])
    owners = np.array([row.document for row in rows], np.int64)
    block = (vectors, owners, np.array([row.number for row in rows], np.int64))
    record = write_segment(index.segment_folder, [block], len(rows), index.embedder.width)
    with index.database.write() as connection:
        connection.execute(sa.insert(segments), segment_row(connection, record))


def _misowned(connection: Connection, segment: Segment) -> bool:
    known: dict[int, int] = _pairs(connection, sa.select(chunks.c.number, chunks.c.document))
    pairs = zip(segment.chunks.tolist(), segment.documents.tolist(), strict=True)
    return any(known.get(chunk, document) != document for chunk, document in pairs)


def _repair_words(index: Index) -> None:
    with index.database.write() as connection:
        words.clear(connection)
        last = 0
        while True:
            rows = connection.execute(
                sa.select(chunks, documents.c.text)
                .select_from(chunks.join(documents, documents.c.number == chunks.c.document))
                .where(chunks.c.number > last)
                .order_by(chunks.c.number)
                .limit(PAGE)
            ).all()
            if not rows:
                return
            words.add(connection, [(r.number, r.text[r.start : r.end]) for r in rows])
            last = rows[-1].number


def _numbers(connection: Connection, column: Any) -> Ints:
    return sorted_numbers(connection, sa.select(column))


def _pairs(connection: Connection, query: Any) -> dict[int, Any]:
    """The two columns of a query as a mapping."""
    return {key: value for key, value in connection.execute(query)}  # noqa: C416
