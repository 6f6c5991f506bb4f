"""What a benchmark found, as values that go to JSON and back."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nlpkit.errors import InputError

#: What two runs must have in common for their rows to stand in one table.
SAME_MACHINE = ("processor", "extensions", "processors used", "gpu")
SAME_SETUP = ("nlpkit", "bundle", "device", "precision asked for", "texts", "rounds")
#: Where ``setup`` names rows of another run.
OTHER_RUN = "rows of a run of their own"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several runs, and the least and the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def times(self, factor: float) -> Spread:
        return Spread(self.median * factor, self.low * factor, self.high * factor)

    def under(self, whole: float) -> Spread:
        """``whole`` divided by each: from seconds to a rate."""
        return Spread(whole / self.median, whole / self.high, whole / self.low)


@dataclass(frozen=True, slots=True)
class Check:
    """A figure with what is asked of it: ``floor`` at least, ``aim`` worth aiming at.

    ``at_most`` turns both round. ``against`` names the peer that it compares with.
    """

    what: str
    value: Spread
    unit: str
    floor: float | None = None
    aim: float | None = None
    at_most: bool = False
    against: str = ""

    @property
    def reached(self) -> str:
        """``aim``, ``floor`` or ``no``; nothing where nothing is asked."""
        if self.floor is None or self.aim is None:
            return ""
        if self._meets(self.aim):
            return "aim"
        return "floor" if self._meets(self.floor) else "no"

    def _meets(self, mark: float) -> bool:
        return self.value.median <= mark if self.at_most else self.value.median >= mark


@dataclass(frozen=True, slots=True)
class Runs:
    """What one side did in a row: a rate or a size by name, and what it ran with."""

    figures: Mapping[str, Spread]
    unit: str
    ran_with: str = ""
    agreement: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: what each side did, what is asked, who could not take part and why.

    ``curves`` are named lines of (x, y) by plot; ``details`` whatever else is worth keeping.
    """

    name: str
    title: str
    sides: dict[str, Runs] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    curves: dict[str, dict[str, list[tuple[float, float]]]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run; ``setup`` says what was measured, ``roofline`` what the machine could do."""

    machine: dict[str, Any]
    setup: dict[str, Any]
    roofline: dict[str, Any]
    rows: tuple[Row, ...]

    def with_rows_of(self, later: Results) -> Results:
        """These with the rows of a later run on the same machine, which stand for those here.

        The sides of a row ran in turns all the same; ``setup`` names the rows of another run.

        Raises:
            InputError: the runs are of different machines or models.
        """
        for name, ours, theirs in (
            *((key, self.machine.get(key), later.machine.get(key)) for key in SAME_MACHINE),
            *((key, self.setup.get(key), later.setup.get(key)) for key in SAME_SETUP),
        ):
            if ours != theirs:
                raise InputError(
                    f"results of different runs cannot stand in one table: {name} is {ours} in one "
                    f"and {theirs} in the other"
                )
        again = {row.name: row for row in later.rows}
        rows = [again.pop(row.name, row) for row in self.rows]
        taken = f"{', '.join(row.name for row in later.rows)} ({later.machine.get('date')})"
        before = self.setup.get(OTHER_RUN)
        return replace(
            self,
            setup=self.setup | {OTHER_RUN: f"{before}; {taken}" if before else taken},
            rows=(*rows, *again.values()),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Results:
        """The results that :meth:`to_json` wrote.

        Raises:
            TypeError, KeyError: they are none.
        """
        return cls(
            found["machine"],
            found["setup"],
            found["roofline"],
            tuple(_row(row) for row in found["rows"]),
        )


def _row(found: Mapping[str, Any]) -> Row:
    sides = {
        name: Runs(**{**runs, "figures": {k: Spread(**v) for k, v in runs["figures"].items()}})
        for name, runs in found["sides"].items()
    }
    checks = tuple(Check(**{**one, "value": Spread(**one["value"])}) for one in found["checks"])
    curves = {
        plot: {name: [(x, y) for x, y in line] for name, line in lines.items()}
        for plot, lines in found["curves"].items()
    }
    return Row(**{**found, "sides": sides, "checks": checks, "curves": curves})
