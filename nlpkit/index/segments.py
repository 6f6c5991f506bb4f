"""Segments: immutable files of vectors, memory-mapped, searched exactly or through FAISS.

A segment is a folder that is written, flushed to the disk and renamed before any row names it:

    vectors.npy     float32 (n, width), of unit length
    rows.npy        int64 (n, 2): the document's and the chunk's number; chunks ascending
    ann.faiss       an approximate index over the rows (kinds hnsw and ivfpq alone)

Approximate indexes only propose: every score that leaves a segment is the exact inner product of
the stored vectors. Deleted rows are masked in the search and never removed from the files.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import InputError, StoreError
from nlpkit.index.gpu import GpuVectors, n_gpus

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

KINDS = ("flat", "hnsw", "ivfpq")
VECTORS, ROWS, ANN = "vectors.npy", "rows.npy", "ann.faiss"
#: Rows that are in memory at a time while a segment is written or built.
BLOCK = 2048
#: Below this many rows, or this share of a segment, a filter's rows are compared one by one.
FEW_ROWS, FEW_SHARE = 10_000, 0.02
#: An approximate index is searched as widely as it takes for this recall, up to a bound.
TARGET_RECALL = 0.97
#: Approximate indexes propose this many rows for each one asked, at least MIN_PROPOSED.
PROPOSED, MIN_PROPOSED = 4, 100
#: Rows beside the k best that a product in float32 may have put in the wrong order.
ROUNDING_ROWS = 32
TRAINING_ROWS = 120_000
CHECKED_QUERIES = 200


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """What the store keeps of a segment. ``files``: bytes and SHA-256 of each."""

    name: str
    kind: str
    n_rows: int
    files: dict[str, list[Any]]
    recall: float | None
    details: dict[str, Any] = field(default_factory=dict)


class Mask:
    """Rows of a segment that may be found; counted, and packed for FAISS, once."""

    def __init__(self, rows: Bools) -> None:
        self.rows = rows
        self.n = int(np.count_nonzero(rows))

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """One bit a row."""
        return np.packbits(self.rows, bitorder="little")


class Segment:
    """An opened segment; shared by threads.

    Raises:
        StoreError: a file is missing or of another size than recorded.
    """

    def __init__(self, folder: Path, record: SegmentRecord) -> None:
        self.record = record
        self.folder = folder / record.name
        advice = f"run: nlpkit index repair --index {folder.parent}"
        for problem in segment_problems(folder, record, hashes=False):
            raise StoreError(f"{problem}; {advice}")
        self._ann: Any = None
        try:
            self.vectors: Floats = np.load(self.folder / VECTORS, mmap_mode="r")
            rows = np.load(self.folder / ROWS, mmap_mode="r")
            if record.kind != "flat":
                faiss = _faiss()
                self._ann = faiss.read_index(str(self.folder / ANN), faiss.IO_FLAG_MMAP_IFC)
        except (OSError, ValueError, RuntimeError) as error:  # gone since, or altered
            raise StoreError(f"{self.folder} cannot be read ({error}); {advice}") from None
        if len(self.vectors) != record.n_rows or rows.shape != (record.n_rows, 2):
            raise StoreError(
                f"{self.folder} has {len(self.vectors)} vectors and {len(rows)} rows, expected "
                f"{record.n_rows}; {advice}"
            )
        self._gpu = GpuVectors(self.vectors)
        self.documents: Ints = rows[:, 0]
        self.chunks: Ints = rows[:, 1]

    def __len__(self) -> int:
        return self.record.n_rows

    def let_go(self) -> None:
        """Take the vectors' pages out of this process's memory; they come back when read."""
        mapped = getattr(self.vectors, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def search(self, query: Floats, k: int, allowed: Mask | None) -> tuple[Ints, Floats]:
        """Up to ``k`` rows nearest to one unit vector (width,), best first, with cosines.

        ``allowed`` marks the rows that may be found; None allows all. Fewer rows come back only
        where fewer are allowed.
        """
        n_allowed = len(self) if allowed is None else allowed.n
        k = min(k, n_allowed)
        if k == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        few = n_allowed <= max(FEW_ROWS, FEW_SHARE * len(self))
        if not few:
            n, live = min(k + ROUNDING_ROWS, n_allowed), None if allowed is None else allowed.rows
            best = self._gpu.nearest(query, n, live, n_allowed)
            if best is not None:
                return _best(best, _cosines(self.vectors[best], query), k)
        if few or self._ann is None:
            return self._exact(query, k, allowed, n_allowed)
        rows = self._proposed(query, max(PROPOSED * k, MIN_PROPOSED), allowed, n_allowed)
        if len(rows) < k:
            return self._exact(query, k, allowed, n_allowed)
        return _best(rows, _cosines(self.vectors[rows], query), k)

    def _exact(
        self, query: Floats, k: int, allowed: Mask | None, n_allowed: int
    ) -> tuple[Ints, Floats]:
        """A matrix product proposes, at the precision of float32; exact products decide."""
        if allowed is not None and n_allowed <= max(FEW_ROWS, FEW_SHARE * len(self)):
            rows = np.flatnonzero(allowed.rows)
            return _best(rows, _cosines(self.vectors[rows], query), k)
        scores = self.vectors @ query
        if allowed is not None:
            scores[~allowed.rows] = -np.inf
        n = min(k + ROUNDING_ROWS, n_allowed)
        rows = np.argpartition(scores, len(scores) - n)[-n:]
        return _best(rows, _cosines(self.vectors[rows], query), k)

    def _proposed(
        self, query: Floats, n: int, allowed: Mask | None, n_allowed: int, effort: int = 0
    ) -> Ints:
        """Rows that the approximate index finds; the rarer the allowed, the wider it looks."""
        faiss = _faiss()
        effort = effort or self.record.details["effort"]
        widened = math.ceil(effort * min(len(self) / n_allowed, 16.0))
        selector = _selector(allowed)
        if self.record.kind == "hnsw":
            options = faiss.SearchParametersHNSW(efSearch=max(widened, n), sel=selector)
        else:
            options = faiss.SearchParametersIVF(nprobe=widened, sel=selector)
        found: Ints = self._ann.search(query[None], min(n, len(self)), params=options)[1][0]
        return found[found >= 0]


# -- writing ---------------------------------------------------------------------------------------


def write_segment(
    folder: Path,
    blocks: Iterable[tuple[Floats, Ints, Ints]],
    n_rows: int,
    width: int,
    kind: str = "flat",
    on_progress: Callable[[str], None] = lambda _: None,
) -> SegmentRecord:
    """Write a segment of ``n_rows`` from blocks (vectors, documents, chunks), durably.

    Raises:
        InputError: a vector that is not finite; nothing is written then.
        StoreError: the disk is full, say; nothing is left then.
    """
    name = uuid.uuid4().hex
    made = folder / f".{name}"
    try:
        made.mkdir(parents=True)
        _write_rows(made, blocks, n_rows, width)
        recall, details = (None, {}) if kind == "flat" else _build(made, kind, on_progress)
        files = {path.name: [path.stat().st_size, _sha256(path)] for path in sorted(made.iterdir())}
        for path in (*made.iterdir(), made):
            _flush(path)
        made.rename(folder / name)
        _flush(folder)
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError):
            raise StoreError(
                f"{folder} cannot be written to ({error.strerror or error}); nothing of this "
                "batch was written: see to space and permissions, and go on"
            ) from error
        raise
    return SegmentRecord(name, kind, n_rows, files, recall, details)


def segment_problems(folder: Path, record: SegmentRecord, *, hashes: bool = True) -> Iterator[str]:
    """What is wrong with a segment's files, each file named."""
    for name, (size, sha256) in record.files.items():
        path = folder / record.name / name
        try:
            found = path.stat().st_size
            if found != size:
                yield f"{path} has {found} bytes, expected {size}"
            elif hashes and _sha256(path) != sha256:
                yield f"{path} was altered (its SHA-256 is not the recorded one)"
        except FileNotFoundError:
            yield f"{path} is missing"


def remove_segment(folder: Path, name: str) -> None:
    """Delete a segment's files; a reader that has them open keeps them."""
    shutil.rmtree(folder / name, ignore_errors=True)


def _write_rows(
    made: Path, blocks: Iterable[tuple[Floats, Ints, Ints]], n_rows: int, width: int
) -> None:
    rows = np.empty((n_rows, 2), np.int64)
    at = 0
    with (made / VECTORS).open("wb") as file:
        _write_header(file, (n_rows, width))
        for vectors, documents, chunks in blocks:
            if not np.isfinite(vectors).all():
                bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
                raise InputError(
                    f"the vector of document number {documents[bad]} is not finite (NaN or "
                    "infinite); nothing of this batch was written: check the model"
                )
            file.write(np.ascontiguousarray(vectors, np.float32).tobytes())
            rows[at : at + len(vectors), 0], rows[at : at + len(vectors), 1] = documents, chunks
            at += len(vectors)
    assert at == n_rows, f"{at} rows came, {n_rows} were said"
    assert (np.diff(rows[:, 1]) > 0).all(), "chunk numbers must ascend"
    np.save(made / ROWS, rows)


def _write_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _build(
    made: Path, kind: str, on_progress: Callable[[str], None]
) -> tuple[float, dict[str, Any]]:
    """Train and fill an approximate index over the written vectors; its recall and details."""
    faiss = _faiss()
    vectors: Floats = np.load(made / VECTORS, mmap_mode="r")
    n, width = vectors.shape
    rng = np.random.default_rng(0)
    on_progress(f"training {kind}")
    ann, n_training = _untrained(kind, n, width)
    if n_training:
        sample = np.sort(rng.choice(n, min(n, n_training), replace=False))
        ann.train(vectors[sample])
    for first in range(0, n, BLOCK):
        ann.add(np.ascontiguousarray(vectors[first : first + BLOCK]))
        on_progress(f"{kind}: {min(first + BLOCK, n):,} of {n:,} vectors")
    faiss.write_index(ann, str(made / ANN))
    del ann
    record = SegmentRecord(made.name, kind, n, {}, None)
    return _measured(Segment(made.parent, record), rng)


def _untrained(kind: str, n: int, width: int) -> tuple[Any, int]:
    """An empty index and the number of rows that it wants for training."""
    faiss = _faiss()
    ann: Any
    if kind == "hnsw":
        ann = faiss.IndexHNSWSQ(
            width, faiss.ScalarQuantizer.QT_8bit, 24, faiss.METRIC_INNER_PRODUCT
        )
        ann.hnsw.efConstruction = 80
        return ann, 20_000
    n_lists = max(1, min(int(4 * math.sqrt(n)), n // 40))
    coarse = faiss.IndexFlatIP(width)
    bits = 8 if n >= 40 * 256 else 4
    n_parts = next(m for m in (64, 48, 32, 16, 8, 4, 2, 1) if width % m == 0)
    ann = faiss.IndexIVFPQ(coarse, width, n_lists, n_parts, bits, faiss.METRIC_INNER_PRODUCT)
    ann.cp.niter, ann.pq.cp.niter = 12, 12
    if n_gpus(faiss):  # k-means, the longest part, runs there
        ann.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(width))
    ann.cp.min_points_per_centroid = ann.pq.cp.min_points_per_centroid = 1
    return ann, max(40 * n_lists, min(TRAINING_ROWS, n))


def _measured(segment: Segment, rng: np.random.Generator) -> tuple[float, dict[str, Any]]:
    """The recall at 10, and the least effort that gives the recall aimed at.

    Stored vectors are the queries; each looks for its nearest others, as it would itself be found
    by any index.
    """
    n = len(segment)
    k = min(10, n - 1)
    queries = rng.choice(n, min(n, CHECKED_QUERIES), replace=False) if k else np.zeros(0, np.int64)
    truth = [_others(segment._exact(segment.vectors[i], k + 1, None, n)[0], i, k) for i in queries]
    efforts = (32, 64, 128, 256, 512) if segment.record.kind == "hnsw" else (8, 16, 32, 64, 128)
    recall, effort = 1.0, efforts[0]
    for effort in efforts if k else ():
        hits = 0
        for i, right in zip(queries, truth, strict=True):
            query = segment.vectors[i]
            rows = segment._proposed(query, max(PROPOSED * (k + 1), MIN_PROPOSED), None, n, effort)
            found, _ = _best(rows, _cosines(segment.vectors[rows], query), k + 1)
            hits += len(right & _others(found, i, k))
        recall = hits / (k * len(queries))
        if recall >= TARGET_RECALL:
            break
    return recall, {"effort": effort, "checked_queries": len(queries)}


def _others(rows: Ints, own: int, k: int) -> set[int]:
    """The first ``k`` rows beside the query's own."""
    return set([row for row in rows.tolist() if row != own][:k])


# -- small things ----------------------------------------------------------------------------------


def _cosines(vectors: Floats, query: Floats) -> Floats:
    """Inner products, the same to the last bit wherever a row lies and whatever is beside it."""
    products: Floats = np.einsum("rd,d->r", vectors, query, dtype=np.float64, optimize=False)
    return products


def _best(rows: Ints, scores: Floats, k: int) -> tuple[Ints, Floats]:
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _selector(allowed: Mask | None) -> Any:
    """A FAISS selector of the rows; it reads the mask's memory, which must outlive it."""
    faiss = _faiss()
    if allowed is None:
        return None
    return faiss.IDSelectorBitmap(len(allowed.bits) * 8, faiss.swig_ptr(allowed.bits))


def _faiss() -> Any:
    """The module, untyped: its stubs lag behind its classes."""
    import faiss

    return faiss


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def total_bytes(files: Mapping[str, Any]) -> int:
    """Of a segment's files on the disk."""
    return sum(int(size) for size, _ in files.values())
