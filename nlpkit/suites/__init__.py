"""The benchmark suites: real public sets, run through the public pipeline.

``SUITES`` is a dict you can read, made of the four lists beside this file. Each module there says
where its data come from and how they are measured. ``GROUPS`` are the names for several at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from nlpkit.errors import UnknownNameError
from nlpkit.suites.base import Suite
from nlpkit.suites.classes import CLASSES
from nlpkit.suites.embeddings import EMBEDDINGS
from nlpkit.suites.entities import ENTITIES
from nlpkit.suites.questions import QUESTIONS

__all__ = ["GROUPS", "SUITES", "Suite", "find_suite", "find_suites"]

#: Every suite by its name.
SUITES: dict[str, Suite] = {
    suite.name: suite for suite in (*ENTITIES, *CLASSES, *QUESTIONS, *EMBEDDINGS)
}

#: The names of several suites: those to choose by, and those to report.
GROUPS: dict[str, tuple[str, ...]] = {
    split: tuple(s.name for s in SUITES.values() if s.split == split and not s.part_of)
    for split in ("dev", "test")
}


def find_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UnknownNameError: no such suite; the message lists the known ones.
    """
    if name not in SUITES:
        raise UnknownNameError.of("suite", name, [*SUITES, *GROUPS])
    return SUITES[name]


def find_suites(names: Sequence[str]) -> list[Suite]:
    """The suites of names and groups, each once.

    Raises:
        UnknownNameError: no such suite or group; the message lists the known ones.
    """
    found = [one for name in names for one in GROUPS.get(name, (name,))]
    return [find_suite(name) for name in dict.fromkeys(found)]
