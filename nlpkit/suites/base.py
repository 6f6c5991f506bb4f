"""What a suite is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nlpkit.errors import InputError
from nlpkit.readers import Source
from nlpkit.scoring import Kit, Measured, Progress, silent

#: Takes the paths of the suite's sources in their order.
Measure = Callable[[Kit, Sequence[Path], int | None, Progress], Measured]


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark: what it measures, on which data, and the function that does.

    ``split`` says what its scores are for: ``dev`` to choose by, ``test`` to report. A suite that
    is ``part_of`` another has its numbers there too, so no group runs it.
    """

    name: str
    measures: str
    sources: tuple[Source, ...]
    measure: Measure
    task: str
    split: Literal["dev", "test"] = "test"
    part_of: str = ""
    higher_is_better: bool = True

    def run(self, kit: Kit, limit: int | None = None, progress: Progress = silent) -> Measured:
        """Measure a pipeline, on the first ``limit`` examples for a quick look.

        Raises:
            InputError: NLPKIT_DATA is unset or lacks a file, or the limit is below 1.
            DataError: a file is not the one this suite was written for.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}; expected at least 1")
        files = [source.path() for source in self.sources]
        return self.measure(kit, files, limit, progress)
