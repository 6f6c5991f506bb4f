"""Compiled models kept in the user's cache folder: the next process need not compile them.

Some are thrown away as new ones come. A file that is damaged counts as missing, and where none
can be written each process compiles for itself.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: So many are kept: those used last. One of the default bundle takes 4 to 20 MB.
MOST = 20
_CHECKSUM = 4


def cache_folder() -> Path:
    """Where nlpkit keeps what can be made again: ``$XDG_CACHE_HOME/nlpkit`` or like it."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "nlpkit"


def read(key: str) -> NDArray[np.uint8] | None:
    """What was kept under this key, if it is there and whole; mapped, not copied."""
    file = _file(key)
    try:
        content = np.memmap(file, np.uint8, mode="c")  # OpenVINO takes no read-only memory
        data = content[:-_CHECKSUM]
        if not len(data) or _checksum(data.data) != content[-_CHECKSUM:].tobytes():
            return None
        os.utime(file)  # used just now
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None
    return data


def keep(key: str, data: bytes) -> None:
    """Keep it; of more than MOST, those go that were not used for longest."""
    file = _file(key)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data + _checksum(data))
        draft.replace(file)
        kept = sorted(file.parent.iterdir(), key=lambda one: one.stat().st_mtime)
        for old in kept[:-MOST]:
            old.unlink()
    except OSError:  # no room, or another process cleared up at the same time
        with suppress(OSError):
            draft.unlink()


def _file(key: str) -> Path:
    return cache_folder() / "compiled" / key


def _checksum(data: bytes | memoryview) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM, "big")
