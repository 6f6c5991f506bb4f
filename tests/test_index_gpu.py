"""Searching a segment's vectors on a GPU: the same hits as without one.

Where FAISS sees no GPU, its index for CPUs stands in, with the limits that the one for GPUs has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pytest
from small_index import constants

from nlpkit.index import gpu, segments
from nlpkit.index.segments import Mask, Segment, write_segment

WIDTH, ROWS = 16, 6000
HERE = getattr(faiss, "get_num_gpus", int)() > 0


class StandIn:
    """GpuIndexFlatIP in what we use of it."""

    searched = 0

    def __init__(self, resources: Any, width: int) -> None:
        assert resources.memory == gpu.WORK_MEMORY
        self.flat: Any = faiss.IndexFlatIP(width)

    @property
    def ntotal(self) -> int:
        return int(self.flat.ntotal)

    def add(self, vectors: np.ndarray) -> None:
        self.flat.add(vectors)

    def search(self, queries: np.ndarray, k: int) -> Any:
        if k > 2048:
            raise RuntimeError("GPU index only supports min/max-K selection up to 2048")
        StandIn.searched += 1
        return self.flat.search(queries, k)


class Resources:
    memory = 0

    def setTempMemory(self, n: int) -> None:  # noqa: N802 - FAISS's name
        self.memory = n


@pytest.fixture(params=["stand-in", "gpu"])
def _device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "gpu" and not HERE:
        pytest.skip("FAISS sees no GPU")
    if request.param == "stand-in":
        module = SimpleNamespace(
            get_num_gpus=lambda: 1, StandardGpuResources=Resources, GpuIndexFlatIP=StandIn
        )
        monkeypatch.setattr(gpu, "_faiss", lambda: module)
        monkeypatch.setattr(gpu, "_resources", None)
    StandIn.searched = 0
    with constants(gpu, GPU_ROWS=1000), constants(segments, FEW_ROWS=20, FEW_SHARE=0.0):
        yield


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    made = np.random.default_rng(3).normal(size=(ROWS, WIDTH)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def segment_of(vectors: np.ndarray, folder: Path, kind: str) -> Segment:
    numbers = np.arange(len(vectors), dtype=np.int64)
    with constants(gpu, GPU_ROWS=1 << 40):
        record = write_segment(folder, [(vectors, numbers, numbers)], len(vectors), WIDTH, kind)
    return Segment(folder, record)


def best(vectors: np.ndarray, query: np.ndarray, k: int, rows: np.ndarray) -> list[int]:
    scores = vectors.astype(np.float64) @ query
    scores[~rows] = -2
    order: list[int] = np.argsort(-scores, kind="stable")[:k].tolist()
    return order


@pytest.mark.usefixtures("_device")
@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_gpu_finds_exactly_the_nearest(tmp_path: Path, vectors: np.ndarray, kind: str) -> None:
    """Whatever the kind, with and without masked rows, for any k."""
    segment = segment_of(vectors, tmp_path, kind)
    rng = np.random.default_rng(0)
    for k in (1, 10, 500):
        for share in (1.0, 0.9, 0.3):
            rows = rng.random(ROWS) < share
            query = vectors[rng.integers(ROWS)]
            found, scores = segment.search(query, k, None if share == 1.0 else Mask(rows))
            assert found.tolist() == best(vectors, query, k, rows)
            assert np.allclose(scores, vectors[found] @ query, atol=1e-6)
    assert StandIn.searched == 9 or HERE


@pytest.mark.usefixtures("_device")
def test_what_a_gpu_cannot_tell_is_searched_without_it(tmp_path: Path, vectors: np.ndarray) -> None:
    """All of the 2,048 nearest are masked; more are asked for than FAISS finds on a GPU."""
    segment = segment_of(vectors, tmp_path, "flat")
    query = vectors[7]
    far = np.ones(ROWS, bool)
    far[best(vectors, query, 2048, far)] = False
    assert segment.search(query, 5, Mask(far))[0].tolist() == best(vectors, query, 5, far)
    everything = np.ones(ROWS, bool)
    assert segment.search(query, 3000, None)[0].tolist() == best(vectors, query, 3000, everything)


@pytest.mark.parametrize("when", ["add", "search"])
@pytest.mark.usefixtures("_device")
def test_a_full_gpu_is_no_reason_to_fail(
    tmp_path: Path,
    vectors: np.ndarray,
    when: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if HERE:
        pytest.skip("the stand-in can be made to fail")

    def full(*arguments: Any) -> None:
        raise RuntimeError("cudaMalloc failed: out of memory")

    monkeypatch.setattr(StandIn, when, full)
    segment = segment_of(vectors, tmp_path, "flat")
    with caplog.at_level(logging.WARNING):
        for row in (1, 2):
            found = segment.search(vectors[row], 4, None)[0].tolist()
            assert found == best(vectors, vectors[row], 4, np.ones(ROWS, bool))
    (warning,) = caplog.records  # once
    assert "out of memory" in warning.getMessage()


@pytest.mark.usefixtures("_device")
def test_few_vectors_stay_where_they_are(tmp_path: Path, vectors: np.ndarray) -> None:
    segment = segment_of(vectors[:500], tmp_path, "flat")
    segment.search(vectors[0], 4, None)
    assert StandIn.searched == 0
    assert segment._gpu._flat is None
