"""Rows of the store for documents: read, written and removed inside the caller's transaction."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from nlpkit.errors import InputError, InputTypeError
from nlpkit.index import filters, words
from nlpkit.index.segments import SegmentRecord
from nlpkit.store.schema import (
    chunks,
    copies,
    documents,
    fields,
    predictions,
    segments,
    state,
    tombstones,
)
from nlpkit.types import Document

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Values in one IN (...): databases have a bound.
MANY = 500
LONGEST_ID = 1000
PAGE = 1000


@dataclass(slots=True)
class Stored:
    """A document's row. ``text`` and ``meta`` (JSON) are empty where they were not asked for."""

    number: int
    id: str
    text: str
    meta: str
    text_sha256: bytes
    meta_sha256: bytes
    source: str
    n_chunks: int = 0

    def text_differs(self, before: Mapping[str, Stored]) -> bool:
        """Whether the text is new or another than before."""
        there = before.get(self.id)
        return there is None or there.text_sha256 != self.text_sha256

    def differs(self, before: Mapping[str, Stored]) -> bool:
        """Whether anything is new or another than before."""
        there = before.get(self.id)
        return there is None or (
            (there.text_sha256, there.meta_sha256, there.source)
            != (self.text_sha256, self.meta_sha256, self.source)
        )

    def document(self) -> Document:
        """The document as it was given."""
        return Document(self.id, self.text, json.loads(self.meta))


def checked_document(document: Any) -> Document:
    """The document, if it can be stored.

    Raises:
        InputTypeError: no document, or a part of the wrong type.
        InputError: no id, no text, or characters that no database keeps.
    """
    if not isinstance(document, Document):
        raise InputTypeError.of("documents", document, "Documents")
    for name in ("id", "text"):
        value = getattr(document, name)
        if not isinstance(value, str):
            raise InputTypeError.of(f"document {document.id!r:.80}: {name}", value, "a string")
        if not value.strip():
            raise InputError(f"document {document.id!r:.80} has no {name} (empty or white space)")
        at = value.find("\0")
        if at >= 0:
            raise InputError(
                f"document {document.id!r:.80}: a NUL character at offset {at} of its {name}; "
                "databases keep none: remove it"
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"document {document.id!r:.80}: half a surrogate pair at offset {error.start} of "
                f"its {name}; replace it"
            ) from None
    if len(document.id) > LONGEST_ID:
        raise InputError(
            f"document {document.id[:80]!r}…: its id has {len(document.id)} characters, "
            f"expected at most {LONGEST_ID}"
        )
    if not isinstance(document.meta, Mapping) or not all(isinstance(k, str) for k in document.meta):
        raise InputTypeError.of(
            f"document {document.id!r:.80}: meta", document.meta, "a mapping with strings as keys"
        )
    for name, value in document.meta.items():
        filters.check_scalar(f"document {document.id!r:.80}: a field's name", name)
        filters.check_scalar(f"document {document.id!r:.80}: the field {name!r:.60}", value)
    return document


def new_rows(given: Iterable[Document], source: str) -> list[Stored]:
    """Rows for documents, without numbers yet."""
    rows = []
    for document in given:
        try:
            meta = json.dumps(dict(document.meta), ensure_ascii=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"document {document.id!r:.80}: its meta cannot be kept as JSON ({error}); "
                "use strings, finite numbers, booleans, None, and lists or mappings of them"
            ) from None
        rows.append(
            Stored(
                0,
                document.id,
                document.text,
                meta,
                hashlib.sha256(document.text.encode()).digest(),
                hashlib.sha256(meta.encode()).digest(),
                source,
            )
        )
    return rows


def stored(
    connection: Connection, ids: Collection[str], *, texts: bool = False
) -> dict[str, Stored]:
    """The rows of those ids that are there."""
    text, meta = (documents.c.text, documents.c.meta) if texts else (sa.literal(""), sa.literal(""))
    query = sa.select(
        documents.c.number,
        documents.c.id,
        text,
        meta,
        documents.c.text_sha256,
        documents.c.meta_sha256,
        documents.c.source,
        documents.c.n_chunks,
    )
    found = {}
    for part in _parts(list(ids)):
        for row in connection.execute(query.where(documents.c.id.in_(part))):
            found[row[1]] = Stored(*row)
    return found


def by_number(connection: Connection, numbers: Sequence[int]) -> dict[int, Document]:
    """Documents by their numbers."""
    query = sa.select(documents.c.number, documents.c.id, documents.c.text, documents.c.meta)
    found = {}
    for part in _parts(numbers):
        for number, id_, text, meta in connection.execute(
            query.where(documents.c.number.in_(part))
        ):
            found[number] = Document(id_, text, json.loads(meta))
    return found


def page_after(
    connection: Connection, last: int, conditions: Mapping[str, Mapping[str, Any]]
) -> list[tuple[int, Document]]:
    """The next documents by number, that meet the conditions."""
    if conditions:
        passing = filters.passing(connection, conditions)
        numbers = passing[np.searchsorted(passing, last, side="right") :][:PAGE].tolist()
    else:
        query = sa.select(documents.c.number).where(documents.c.number > last)
        numbers = list(connection.execute(query.order_by(documents.c.number).limit(PAGE)).scalars())
    found = by_number(connection, numbers)
    return [(number, found[number]) for number in numbers if number in found]


def written(
    connection: Connection,
    changed: Sequence[Stored],
    before: Mapping[str, Stored],
    bounds: Mapping[str, Sequence[tuple[int, int]]],
    first_chunk: int,
) -> None:
    """Write documents whose numbers are set; ``bounds`` has the chunks of new texts by id.

    Chunk numbers count up from ``first_chunk`` in the order of ``bounds``.
    """
    now = time.time()
    old_texts = [row.number for row in changed if row.id in before and row.id in bounds]
    remove_chunks(connection, old_texts)
    by_id = {row.id: row for row in changed}
    chunk_rows, word_rows = [], []
    number = first_chunk
    for id_, cut in bounds.items():
        row = by_id[id_]
        row.n_chunks = len(cut)
        for start, end in cut:
            chunk_rows.append(
                {"number": number, "document": row.number, "start": start, "end": end}
            )
            word_rows.append((number, row.text[start:end]))
            number += 1
    for row in changed:
        if row.id not in bounds:
            row.n_chunks = before[row.id].n_chunks
    there = [row.number for row in changed if row.id in before]
    _delete(connection, documents.c.number, there)
    _delete(connection, fields.c.document, there)
    _delete(connection, copies.c.document, there)
    _insert(connection, documents, [_document_row(row, now) for row in changed])
    _insert(connection, copies, [copy_row(row) for row in changed])
    _insert(
        connection,
        fields,
        [f for row in changed for f in filters.field_rows(row.number, json.loads(row.meta))],
    )
    _insert(connection, chunks, chunk_rows)
    words.add(connection, word_rows)


def removed(connection: Connection, numbers: Sequence[int]) -> None:
    """Delete documents with all that hangs on them."""
    remove_chunks(connection, numbers)
    for column in (documents.c.number, fields.c.document, copies.c.document):
        _delete(connection, column, numbers)


def remove_chunks(connection: Connection, numbers: Sequence[int]) -> None:
    """Delete the chunks of documents: rows and words go, tombstones hide the vectors."""
    generation = connection.execute(sa.select(state.c.generation)).scalar_one()
    for part in _parts(numbers):
        query = (
            sa.select(chunks.c.number, chunks.c.start, chunks.c.end, documents.c.text)
            .select_from(chunks.join(documents, documents.c.number == chunks.c.document))
            .where(chunks.c.document.in_(part))
        )
        rows = connection.execute(query).all()
        words.remove(connection, [(n, text[start:end]) for n, start, end, text in rows])
        _insert(
            connection,
            tombstones,
            [{"chunk": row.number, "generation": generation} for row in rows],
        )
    _delete(connection, chunks.c.document, numbers)
    _delete(connection, predictions.c.document, numbers)


def copy_row(row: Stored) -> dict[str, Any]:
    """The row of ``copies`` for a document."""
    payload = json.dumps([row.id, row.text, row.meta, row.source]).encode()
    return {"document": row.number, "payload": zlib.compress(payload, 1)}


def from_copy(number: int, payload: bytes) -> Stored:
    """The document that a row of ``copies`` holds."""
    id_, text, meta, source = json.loads(zlib.decompress(payload))
    row = new_rows([Document(id_, text, json.loads(meta))], source)[0]
    row.number = number
    return row


def segment_row(connection: Connection, record: SegmentRecord) -> dict[str, Any]:
    """The row of a segment that the running write transaction brings in."""
    generation = connection.execute(sa.select(state.c.generation)).scalar_one()
    return {
        "name": record.name,
        "kind": record.kind,
        "n_rows": record.n_rows,
        "files": record.files,
        "recall": record.recall,
        "details": record.details,
        "generation": generation,
    }


def record_of(row: Any) -> SegmentRecord:
    """The record that a row of ``segments`` holds."""
    return SegmentRecord(row.name, row.kind, row.n_rows, row.files, row.recall, row.details)


def segment_records(connection: Connection) -> list[SegmentRecord]:
    """All segments, oldest first."""
    rows = connection.execute(sa.select(segments).order_by(segments.c.generation)).all()
    return [record_of(row) for row in rows]


def dead_chunks(connection: Connection, since: int) -> NDArray[np.int64]:
    """Numbers of the chunks that were deleted after a generation, ascending."""
    query = sa.select(tombstones.c.chunk).where(tombstones.c.generation > since)
    return sorted_numbers(connection, query)


def sorted_numbers(connection: Connection, query: Any) -> NDArray[np.int64]:
    """The only column of a query, ascending."""
    rows = connection.execute(query, execution_options={"stream_results": True})
    numbers = np.fromiter((row[0] for row in rows), dtype=np.int64)
    numbers.sort()
    return numbers


def _document_row(row: Stored, now: float) -> dict[str, Any]:
    return {
        "number": row.number,
        "id": row.id,
        "text": row.text,
        "meta": row.meta,
        "text_sha256": row.text_sha256,
        "meta_sha256": row.meta_sha256,
        "source": row.source,
        "n_chunks": row.n_chunks,
        "updated_at": now,
    }


def _insert(connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(table), rows)


def _delete(connection: Connection, column: Any, values: Sequence[int]) -> None:
    for part in _parts(values):
        connection.execute(sa.delete(column.table).where(column.in_(part)))


def _parts(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[first : first + MANY] for first in range(0, len(values), MANY))
