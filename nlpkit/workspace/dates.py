"""Dates as people write them in tables: which way a column does, and the day of a value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

#: Ways to write a date, by a name that can be shown; the first that fits best is taken. Where
#: day and month cannot be told apart, the month is the first.
WAYS: dict[str, str] = {
    "2024-12-31": "",  # ISO 8601, with a time of day or without
    "12/31/2024": "%m/%d/%Y",
    "31/12/2024": "%d/%m/%Y",
    "31.12.2024": "%d.%m.%Y",
    "31-12-2024": "%d-%m-%Y",
    "2024/12/31": "%Y/%m/%d",
    "20241231": "%Y%m%d",
    "12/31/24": "%m/%d/%y",
    "31/12/24": "%d/%m/%y",
    "31.12.24": "%d.%m.%y",
    "Dec 31, 2024": "%b %d, %Y",
    "December 31, 2024": "%B %d, %Y",
    "31 Dec 2024": "%d %b %Y",
    "31 December 2024": "%d %B %Y",
    "seconds since 1970": "",
    "milliseconds since 1970": "",
}
ISO, SECONDS, MILLISECONDS = "2024-12-31", "seconds since 1970", "milliseconds since 1970"
#: A column holds dates if this share of its values reads as dates, all written the same way.
SHARE = 0.8
#: Values that are looked at.
SAMPLE = 200

_TIME = re.compile(
    r"[ T,]+\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?( ?(Z|UTC|[+-]\d{2}:?\d{2}))?$"
)


def guess_way(values: Iterable[Any]) -> str | None:
    """How most of a column's values write a date; None where they don't."""
    there = [value for value in values if value not in (None, "")][:SAMPLE]
    if not there:
        return None
    counts = {way: sum(day_of(value, way) is not None for value in there) for way in WAYS}
    best = max(counts, key=lambda way: counts[way])
    return best if counts[best] >= SHARE * len(there) else None


def day_of(value: Any, way: str) -> str | None:
    """The ISO date of a value that is written that way; None for any other."""
    try:
        if way in (SECONDS, MILLISECONDS):
            return _since_1970(value, 1 if way == SECONDS else 1000)
        if not isinstance(value, str):
            return None
        text = value.strip()
        if way == ISO:
            return _iso(text)
        found = datetime.strptime(_TIME.sub("", text), WAYS[way]).date()
    except (ValueError, OverflowError, OSError):
        return None
    return found.isoformat() if 1900 <= found.year <= 2200 else None


def _iso(text: str) -> str | None:
    """``2024-12-31``, with whatever time of day behind it."""
    if not re.match(r"\d{4}-\d{2}-\d{2}($|[ T])", text):
        return None
    return date.fromisoformat(text[:10]).isoformat()


def _since_1970(value: Any, per_second: int) -> str | None:
    """Numbers from 1990 to 2100 only: smaller ones are more likely to count something else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    seconds = float(value) / per_second
    if not 631_152_000 <= seconds < 4_102_444_800:
        return None
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
