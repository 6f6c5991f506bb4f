"""Keeping an index in shape: merging segments, and what it weighs.

A merge reads one state, writes a new segment beside it, and publishes it in one transaction that
takes the old segments' rows away. Documents deleted meanwhile stay deleted: tombstones name
chunks, wherever these lie.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from nlpkit.errors import UnknownNameError
from nlpkit.index.rows import dead_chunks, segment_records, segment_row
from nlpkit.index.segments import (
    BLOCK,
    KINDS,
    Floats,
    Ints,
    Segment,
    remove_segment,
    total_bytes,
    write_segment,
)
from nlpkit.store.schema import chunks, documents, segments, state, tombstones

if TYPE_CHECKING:
    from nlpkit.index.index import Index

#: This many segments of like size become one. Larger ones than MERGED_ROWS wait for compact.
FAN = 8
MERGED_ROWS = 65_536
#: Up to this many vectors an exact search takes some ten milliseconds, and building nothing is
#: quicker than building anything.
FLAT_ROWS = 250_000
#: Deleted rows' share above which a compaction is worth its time.
DEAD_SHARE = 0.3
#: Files that no row names are some writer's work in progress until they are this old.
LEFTOVER_SECONDS = 3600.0


def merge_small(index: Index) -> None:
    """Keep the number of segments low; does nothing while another process is at it."""
    while True:
        with index.database.read() as connection:
            records = segment_records(connection)
        group = _crowded([(r.name, r.n_rows) for r in records if r.kind == "flat"])
        if not group:
            return
        with exclusively(index.folder, wait=False) as ours:
            if not ours or not merge(index, group, "flat"):
                return


def compact(
    index: Index, kind: str | None = None, on_progress: Callable[[str], None] = lambda _: None
) -> None:
    """Write every live vector into one segment; take deleted ones and leftovers away."""
    if kind is not None and kind != "auto" and kind not in KINDS:
        raise UnknownNameError.of("kind of index", kind, ("auto", *KINDS))
    with exclusively(index.folder, wait=True):
        for _ in range(10):  # writers may add segments while we read
            with index.database.read() as connection:
                records = segment_records(connection)
                n_dead = connection.execute(
                    sa.select(sa.func.count(tombstones.c.chunk))
                ).scalar_one()
            chosen = _chosen(index, kind, sum(r.n_rows for r in records) - n_dead)
            if not n_dead and [r.kind for r in records] in ([], [chosen]):
                break
            if merge(index, [r.name for r in records], chosen, on_progress):
                break
        _optimise_words(index)
        remove_leftovers(index)


def needs_compaction(index: Index) -> bool:
    """Whether much lies in small or dead rows, so that a search would gain."""
    with index.database.read() as connection:
        records = segment_records(connection)
        n_dead = connection.execute(sa.select(sa.func.count(tombstones.c.chunk))).scalar_one()
    n_rows = sum(r.n_rows for r in records)
    n_flat = sum(r.n_rows for r in records if r.kind == "flat")
    built = n_rows - n_flat
    wanted = _chosen(index, None, n_rows - n_dead)
    return n_dead > DEAD_SHARE * max(n_rows, 1) or (
        wanted != "flat" and n_flat > max(0.2 * built, FLAT_ROWS)
    )


def merge(
    index: Index,
    names: Sequence[str],
    kind: str,
    on_progress: Callable[[str], None] = lambda _: None,
) -> bool:
    """Make one segment of several; False where they are no longer what they were."""
    folder = index.segment_folder
    with index.database.read() as connection:
        records = [r for r in segment_records(connection) if r.name in set(names)]
        opened = [Segment(folder, record) for record in records]
        dead = dead_chunks(connection, -1)
    if len(opened) != len(names):
        return False
    order, gone = _live_rows(opened, dead)
    record = None
    if len(order):
        blocks = _blocks(opened, order)
        record = write_segment(folder, blocks, len(order), index.embedder.width, kind, on_progress)
    with index.database.write() as connection:
        there = sa.select(sa.func.count(segments.c.name)).where(segments.c.name.in_(names))
        as_before = connection.execute(there).scalar_one() == len(names)
        if as_before:
            connection.execute(sa.delete(segments).where(segments.c.name.in_(names)))
            for first in range(0, len(gone), 500):
                part = gone[first : first + 500].tolist()
                connection.execute(sa.delete(tombstones).where(tombstones.c.chunk.in_(part)))
            if record is not None:
                connection.execute(sa.insert(segments), segment_row(connection, record))
    for name in names if as_before else [record.name] if record else []:
        remove_segment(folder, name)
    return as_before


def status(index: Index) -> dict[str, Any]:
    """Plain values: sizes in rows and bytes, kinds, recall, model, what waits."""
    with index.database.read() as connection:
        records = segment_records(connection)
        count = connection.execute(
            sa.select(
                sa.select(sa.func.count(documents.c.number)).scalar_subquery(),
                sa.select(sa.func.count(chunks.c.number)).scalar_subquery(),
                sa.select(sa.func.count(tombstones.c.chunk)).scalar_subquery(),
                sa.select(state.c.generation).scalar_subquery(),
            )
        ).one()
    file = Path(index.database.url.database or "") if index.database.is_sqlite else None
    return {
        "path": str(index.folder),
        "database": index.database.shown,
        "model": index.embedder.name,
        "model_sha256": index.embedder.identity,
        "precision": index.options.get("precision"),
        "width": index.embedder.width,
        "chunk_tokens": index.options.get("chunk_tokens"),
        "documents": count[0],
        "chunks": count[1],
        "deleted_chunks": count[2],
        "generation": count[3],
        "kind": index.options["kind"],
        "segments": [
            {
                "name": record.name,
                "kind": record.kind,
                "rows": record.n_rows,
                "bytes": total_bytes(record.files),
                "recall_at_10": record.recall,
                **record.details,
            }
            for record in records
        ],
        "vector_bytes": sum(total_bytes(record.files) for record in records),
        "database_bytes": file.stat().st_size if file is not None and file.is_file() else None,
        "needs_compaction": needs_compaction(index),
    }


def leftovers(index: Index, older_than: float = 0.0) -> list[Path]:
    """Segment folders that no row names: a killed process left them, or one is writing them."""
    with index.database.read() as connection:
        named = {record.name for record in segment_records(connection)}
    if not index.segment_folder.is_dir():
        return []
    now = time.time()
    found = []
    for path in sorted(index.segment_folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            if path.name not in named and now - path.stat().st_mtime >= older_than:
                found.append(path)
    return found


def remove_leftovers(index: Index) -> None:
    """Delete what killed processes left long enough ago."""
    for path in leftovers(index, LEFTOVER_SECONDS):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def exclusively(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Alone in merging, over all processes; a process that dies lets go by dying.

    Gives False where ``wait`` is not wanted and another has it.
    """
    import fcntl

    with (folder / "merging.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


# -- inside ----------------------------------------------------------------------------------------


def _crowded(sizes: Sequence[tuple[str, int]]) -> list[str]:
    """The names of the segments of the lowest size class that has FAN of them."""
    classes: dict[int, list[str]] = {}
    for name, n in sizes:
        if n < MERGED_ROWS:
            classes.setdefault(int(math.log(max(n, 1), FAN)), []).append(name)
    full = [level for level, names in classes.items() if len(names) >= FAN]
    return classes[min(full)] if full else []


def _chosen(index: Index, kind: str | None, n: int) -> str:
    """The kind named, or the one that fits the size and the memory budget."""
    kind = kind or index.options["kind"]
    if kind != "auto":
        return kind
    if n <= FLAT_ROWS:
        return "flat"
    # A row of hnsw: 8 bits a component, and 2 x 24 links of 4 bytes with their share of levels.
    needed = n * (index.embedder.width + 210)
    return "hnsw" if needed <= index.options["memory_budget"] else "ivfpq"


def _live_rows(opened: Sequence[Segment], dead: Ints) -> tuple[Ints, Ints]:
    """(chunk, segment, row) of the rows that live, by chunk; and the chunks that do not."""
    if not opened:
        return np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    parts = [
        np.stack([s.chunks, np.full(len(s), i), np.arange(len(s))], axis=1)
        for i, s in enumerate(opened)
    ]
    every = np.concatenate(parts)
    is_dead = np.isin(every[:, 0], dead)
    live = every[~is_dead]
    return live[np.argsort(live[:, 0], kind="stable")], every[is_dead, 0]


def _blocks(opened: Sequence[Segment], order: Ints) -> Iterator[tuple[Floats, Ints, Ints]]:
    """The rows in order, a block at a time."""
    width = opened[0].vectors.shape[1]
    for first in range(0, len(order), BLOCK):
        part = order[first : first + BLOCK]
        vectors = np.empty((len(part), width), np.float32)
        owners = np.empty(len(part), np.int64)
        for i in np.unique(part[:, 1]):
            mine = part[:, 1] == i
            vectors[mine] = opened[i].vectors[part[mine, 2]]
            owners[mine] = opened[i].documents[part[mine, 2]]
            opened[i].let_go()  # each row is read once
        yield vectors, owners, part[:, 0]


def _optimise_words(index: Index) -> None:
    """Let SQLite merge its word index too, so that deleted words leave the file."""
    if index.database.is_sqlite:
        with index.database.step() as connection:
            connection.execute(sa.text("INSERT INTO chunk_words (chunk_words) VALUES ('optimize')"))
