"""A segment's vectors in the memory of a GPU, where every query is compared with all (faiss-gpu).

FAISS has no HNSW on GPUs and masks no rows there. To compare everything is quick on them, and
exact. So the kind of a segment plays no part: more rows are asked for than wanted, and the masked
are left out afterwards.
"""

from __future__ import annotations

import logging
import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

log = logging.getLogger(__name__)

#: Below this many rows the way to the GPU and back is not worth it.
GPU_ROWS = 50_000
#: FAISS finds no more rows than this at a time on a GPU.
MOST_FOUND = 2048
#: Memory that FAISS takes on the GPU for its work, in bytes; unless told, 1.5 GB.
WORK_MEMORY = 256 << 20

#: What FAISS's indexes on a GPU share may be used by one thread at a time.
_alone = threading.Lock()
_resources: Any = None


class GpuVectors:
    """A copy of vectors (rows, width) on the first GPU, made when it is first asked."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors: Floats | None = vectors
        self._flat: Any = None

    def nearest(self, query: Floats, n: int, allowed: Bools | None, n_allowed: int) -> Ints | None:
        """The ``n`` best of the allowed rows for one unit vector (width,), by float32 products.

        None where that is not known: no GPU or a full one, few vectors, ``n`` beyond what FAISS
        finds there, or so many better rows masked that fewer than ``n`` were among those found.
        """
        with _alone:
            try:
                flat = self._on_the_gpu()
                if flat is None or n > MOST_FOUND:
                    return None
                wanted = n if allowed is None else math.ceil(1.5 * n * flat.ntotal / n_allowed)
                found: Ints = flat.search(query[None], min(wanted, flat.ntotal, MOST_FOUND))[1][0]
            except RuntimeError as error:
                self._flat = None
                log.warning("the CPU searches from here on, the GPU failed: %s", error)
                return None
        rows = found[found >= 0] if allowed is None else found[(found >= 0) & allowed[found]]
        return rows[:n] if len(rows) >= n else None

    def _on_the_gpu(self) -> Any:
        """FAISS's index; None where there is none."""
        global _resources
        vectors, self._vectors = self._vectors, None
        faiss = _faiss()
        if vectors is not None and len(vectors) >= GPU_ROWS and n_gpus(faiss):
            if _resources is None:
                _resources = faiss.StandardGpuResources()
                _resources.setTempMemory(WORK_MEMORY)
            flat = faiss.GpuIndexFlatIP(_resources, vectors.shape[1])
            flat.add(vectors)
            self._flat = flat
        return self._flat


def n_gpus(faiss: Any) -> int:
    """How many GPUs FAISS can use: none with faiss-cpu."""
    return int(getattr(faiss, "get_num_gpus", int)())


def _faiss() -> Any:
    import faiss

    return faiss
