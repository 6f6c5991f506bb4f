"""A whole run: the machine, the rows that were asked for, and files of the results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nlpkit.bench.bench import Bench
from nlpkit.bench.machine import describe
from nlpkit.bench.plots import pictures
from nlpkit.bench.results import Results, Row
from nlpkit.bench.rows import ROWS
from nlpkit.bench.sides import SideError
from nlpkit.bench.tables import markdown
from nlpkit.errors import InputError, UnknownNameError
from nlpkit.version import library_version

#: Names of the files of a run's results.
JSON, MARKDOWN = "speed.json", "speed.md"
#: Whose name a row carries that broke off.
FAILED = "nlpkit bench"


def run(bench: Bench, only: Sequence[str] = ()) -> Iterator[Results]:
    """The results so far, after every row.

    A row that cannot be had here (no data, no GPU), or broke off, is there without figures, with
    the reason.

    Raises:
        UnknownNameError: ``only`` names a row that is not there.
    """
    for name in only:
        if name not in ROWS:
            raise UnknownNameError.of("row", name, ROWS)
    machine = describe()
    roofline = bench.roofline
    limits: dict[str, Any] = {
        **{f"{p}, GFLOP/s": round(rate / 1e9) for p, rate in roofline.rates.items()},
        **{f"{p}, measured with": tool for p, tool in roofline.tools.items()},
        **{f"{p}, not measured": why for p, why in roofline.skipped.items()},
        "memory, GB/s": round(roofline.bandwidth / 1e9, 1),
    }
    rows: list[Row] = []
    for name in only or ROWS:
        try:
            rows.append(ROWS[name](bench))
        except InputError as error:
            rows.append(Row(name, "not measured", refused={"": str(error)}))
        except SideError as error:  # the rows before it are kept, and the next ones measured
            rows.append(Row(name, "not measured", refused={FAILED: str(error)}))
        yield Results(machine, setup(bench), limits, tuple(rows))


def setup(bench: Bench) -> dict[str, Any]:
    """What is measured, and with whom."""
    return {
        "nlpkit": library_version(),
        "bundle": bench.bundle,
        "device": bench.device,
        "precision asked for": bench.precision,
        "texts": bench.texts.origin,
        "rounds": bench.sizes.rounds,
        "peers": ", ".join(peer.name for peer in bench.peers) or "none",
    }


def write(results: Results, folder: Path) -> list[Path]:
    """The results as JSON, Markdown and pictures in a folder; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results.to_json(), indent=2, ensure_ascii=False) + "\n"
    drawn = {f"speed-{name}.svg": svg for name, svg in pictures(results)}
    files = {JSON: text, **drawn, MARKDOWN: f"# Speed\n\n{markdown(results, list(drawn))}"}
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in files]


def read(file: Path) -> Results:
    """The results of an earlier run.

    Raises:
        InputError: the file is none of ours.
    """
    try:
        return Results.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} holds no results of nlpkit bench: {error}") from error
