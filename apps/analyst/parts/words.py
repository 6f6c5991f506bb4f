"""Numbers, times and names as people say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import PurePath
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from nlpkit.heads import TokenHead
from parts.safe import visible


def counted(n: int, one: str, several: str = "") -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"


def share(n: int, total: int) -> str:
    """A part of a total in percent: ``12.5%``."""
    return f"{n / total:.1%}" if total else "0%"


def duration(seconds: float) -> str:
    """``20 s``, ``2 min 5 s``, ``1 h 20 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def roughly(seconds: float) -> str:
    """An estimate: ``about 7 s``, ``about 40 s``, ``about 3 min``."""
    if seconds < 55:
        return f"about {duration(seconds if seconds < 10 else round(seconds, -1))}"
    return f"about {round(seconds / 60):,} min"


def moment(seconds: float) -> str:
    """A time since 1970 by the clock of whoever looks at the page: ``31 Dec 2024, 16:30``."""
    when = datetime.fromtimestamp(seconds, _timezone())
    return f"{when.day} {when:%b %Y, %H:%M}"


def size(n_bytes: int) -> str:
    """``3 kB``, ``1.2 MB``."""
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e6 else f"{max(1, n_bytes // 1000)} kB"


def stem(name: str) -> str:
    """A file's name without its endings, for names made of it."""
    return PurePath(name).name.partition(".")[0] or "table"


def listed(names: Sequence[str]) -> str:
    """``one``, ``one and two``, ``one, two and three``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def task_name(task: str, kind: str) -> str:
    """A task as the pages call it."""
    return "entities" if kind == TokenHead.kind else visible(task)


def heading(name: str) -> str:
    """A name as a sentence begins with it."""
    return name[:1].upper() + name[1:]


def _timezone() -> tzinfo:
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return UTC
