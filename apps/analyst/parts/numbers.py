"""Many numbers in an address, written short: ``3-12,15``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nlpkit.errors import InputError

#: An address names so many numbers at most.
MOST = 10_000


def ranges_text(numbers: Iterable[int]) -> str:
    """The numbers in ascending order, neighbours drawn together."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def ranges_of(text: str) -> list[int]:
    """The numbers of what :func:`ranges_text` wrote.

    Raises:
        InputError: it is something else, or too many.
    """
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]{1,12})(?:-([0-9]{1,12}))?", part, re.ASCII)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first or len(numbers) + last - first >= MOST:
            raise InputError(
                f"the address names the numbers {text!r:.40}; expected such as 3-12,15"
            )
        numbers += range(first, last + 1)
    return numbers
