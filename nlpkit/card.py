"""Model cards: what a bundle scores, learned from and is for, as ``CARD.md`` and ``card.json``.

Made from the reports of ``nlpkit evaluate``, so that no number is typed by hand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nlpkit.errors import DISTRIBUTION, DataError, InputError, OutputExistsError
from nlpkit.evaluation import Report, report_of
from nlpkit.readers import Source
from nlpkit.suites import SUITES
from nlpkit.training.recipe import Recipe

#: What the shipped precision is compared with: the model before its weights were rounded, or else
#: the weights as they are stored.
REFERENCES = ("fp32", "int8 weights, fp32")


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A head of a bundle and the data it learned from."""

    name: str
    kind: str
    labels: tuple[str, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What a card says of a bundle besides its scores; ``files`` maps names to SHA-256."""

    name: str
    version: int
    description: str
    backbone: str
    seed: int
    precision: str
    licence: str
    intended_use: str
    tasks: tuple[TaskFacts, ...]
    files: Mapping[str, str]

    @property
    def id(self) -> str:
        return f"{self.name}-{self.version}"

    @classmethod
    def of_recipe(
        cls,
        recipe: Recipe,
        *,
        precision: str,
        files: Mapping[str, str],
    ) -> BundleFacts:
        """The facts of the bundle that a recipe made."""
        return cls(
            name=recipe.name,
            version=recipe.version,
            description=recipe.description,
            backbone=recipe.backbone,
            seed=recipe.seed,
            precision=precision,
            licence=recipe.licence,
            intended_use=recipe.intended_use,
            tasks=tuple(
                TaskFacts(task.name, task.kind, tuple(task.config.get("labels", ())), task.sources)
                for task in recipe.tasks
            ),
            files=files,
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The main score of a suite: of the shipped precision, of the reference, or of both."""

    suite: str
    shipped: Report | None
    reference: Report | None

    @property
    def loss(self) -> float | None:
        """Points (hundredths) that the shipped precision loses; negative where it gains."""
        if self.shipped is None or self.reference is None:
            return None
        lost = 100 * (self.reference.main[1] - self.shipped.main[1])
        if math.isnan(lost):
            return None
        suite = SUITES.get(self.suite)
        return lost if suite is None or suite.higher_is_better else -lost


@dataclass(frozen=True, slots=True)
class Card:
    """What ``card.json`` says; ``losses`` are those of the shipped precision, by suite."""

    facts: BundleFacts
    reports: tuple[Report, ...]
    losses: Mapping[str, float]
    known_failures: tuple[str, ...]


def read_card(folder: str | Path) -> Card | None:
    """The card in a bundle's folder, None where there is none.

    Raises:
        DataError: its ``card.json`` is no card, or cannot be read.
    """
    path = Path(folder) / "card.json"
    try:
        card = json.loads(path.read_bytes())
        tasks = tuple(
            TaskFacts(
                task["name"],
                task["kind"],
                tuple(task["labels"]),
                tuple(Source(**source) for source in task["sources"]),
            )
            for task in card["tasks"]
        )
        names = [one.name for one in fields(BundleFacts)]
        facts = BundleFacts(**{name: card[name] for name in names} | {"tasks": tasks})
        return Card(
            facts,
            tuple(report_of(row) for row in card["reports"]),
            dict(card["loss_in_points"]),
            tuple(card["known_failures"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        got = error.strerror or str(error)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
    raise DataError.at(path, "whole file", got, "a card as nlpkit card writes it")


def write_card(
    folder: str | Path,
    facts: BundleFacts,
    reports: Sequence[Report],
    known_failures: Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write ``CARD.md`` and ``card.json`` into a bundle's folder; returns their paths.

    Raises:
        OutputExistsError: one of them is there and is kept.
        InputError: a report is of another bundle or precision.
    """
    paths = Path(folder) / "CARD.md", Path(folder) / "card.json"
    texts = card_markdown(facts, reports, known_failures), card_json(facts, reports, known_failures)
    for path in paths:
        if path.exists() and not overwrite:
            raise OutputExistsError.of(path)
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def card_markdown(
    facts: BundleFacts, reports: Sequence[Report], known_failures: Sequence[str] = ()
) -> str:
    """The card for people."""
    compared = compare(facts, reports)
    parts = [
        f"# {facts.id}",
        f"{facts.description}. Made from {facts.backbone} with seed {facts.seed}; shipped as "
        f"{facts.precision}.",
        "## Terms",
        facts.licence,
        "## Intended use",
        facts.intended_use,
        "## Tasks",
        _table(
            ("task", "kind of head", "labels"),
            [(task.name, task.kind, ", ".join(task.labels) or "none") for task in facts.tasks],
        ),
        "## Scores",
        *_scores(facts, compared),
        "## Training data",
        "None of these texts is part of the bundle.",
        _table(
            ("task", "data", "terms", "from", "file", "SHA-256"),
            [
                (task.name, one.name, one.licence, one.address, one.file, _code(one.sha256))
                for task in facts.tasks
                for one in task.sources
            ],
        ),
        "## Known failures",
        "\n".join(f"- {failure}" for failure in known_failures) or "None was recorded.",
        "## Files",
        _table(
            ("file", "SHA-256"),
            [(name, _code(digest)) for name, digest in sorted(facts.files.items())],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def card_json(
    facts: BundleFacts, reports: Sequence[Report], known_failures: Sequence[str] = ()
) -> str:
    """The card for programs: the facts, every report, and the loss of the shipped precision."""
    compared = compare(facts, reports)
    kept = [r for c in compared for r in (c.shipped, c.reference) if r is not None]
    losses = {c.suite: c.loss for c in compared if c.loss is not None}
    card: dict[str, Any] = {
        **asdict(facts),
        "id": facts.id,
        "files": dict(facts.files),
        "reports": [_without_data(one) for one in kept],
        "loss_in_points": losses,
        "known_failures": list(known_failures),
    }
    return json.dumps(card, indent=2, ensure_ascii=False) + "\n"


def _without_data(report: Report) -> dict[str, Any]:
    """The report as JSON, without the errors: they quote texts that are not ours to pass on."""
    found: dict[str, Any] = json.loads(report.to_json())
    del found["worst"]
    return found


def compare(facts: BundleFacts, reports: Iterable[Report]) -> list[Comparison]:
    """The reports side by side, a suite each; of several of the same kind the last counts.

    Raises:
        InputError: a report is of another bundle, or neither of the shipped precision nor fp32.
    """
    references = [precision for precision in REFERENCES if precision != facts.precision]
    found: dict[str, dict[str, Report]] = {}
    for one in reports:
        if one.bundle != facts.id:
            raise InputError(f"a report of {one.suite} is of {one.bundle}; expected {facts.id}")
        if one.precision not in (facts.precision, *references):
            raise InputError(
                f"a report of {one.suite} is of precision {one.precision}; expected "
                f"{facts.precision} or {' or '.join(references)}"
            )
        found.setdefault(one.suite, {})[one.precision] = one
    measured = {precision for by in found.values() for precision in by}
    reference = next((precision for precision in references if precision in measured), "")
    return [
        Comparison(suite, by.get(facts.precision), by.get(reference))
        for suite, by in found.items()
        if by.keys() & {facts.precision, reference}
    ]


def _scores(facts: BundleFacts, compared: Sequence[Comparison]) -> list[str]:
    """Paragraphs: the main scores, the further ones, and how the reference was measured."""
    if not compared:
        return ["Nothing was measured."]
    shipped = [c.shipped for c in compared if c.shipped is not None]
    references = [c.reference for c in compared if c.reference is not None]
    header = ["suite", "what", "score", facts.precision, "examples", "command"]
    with_intervals = any(r.main[0] in r.intervals for r in shipped)
    if with_intervals:
        header[4:4] = ["95 %"]
    if references:
        header[-2:-2] = [references[0].precision, "loss, points"]
    rows = [_score_row(c, bool(references), with_intervals) for c in compared]
    ran = {f"{DISTRIBUTION} {r.version}, engine {r.engine}" for r in (*shipped, *references)}
    parts = [_table(header, rows), f"Measured with {'; '.join(sorted(ran))}."]
    if with_intervals:
        parts.append(
            "95 %: the interval of the score over 1,000 resamples of the examples (percentile "
            "bootstrap)."
        )
    further = [
        f"- {r.suite}: " + ", ".join(f"{k} {_shown(v)}" for k, v in list(r.scores.items())[1:])
        for r in shipped
        if len(r.scores) > 1
    ]
    if further:
        parts += [f"Further scores in {facts.precision}:", "\n".join(further)]
    parts += _entity_classes(shipped)
    parts += _calibration(shipped)
    if references:
        commands = "\n".join(r.command for r in references)
        parts += [f"The {references[0].precision} scores come from:", f"```\n{commands}\n```"]
    return parts


def _entity_classes(reports: Sequence[Report]) -> list[str]:
    """The classes of the suites of entities."""
    rows = [
        [
            report.suite,
            name,
            *(_shown(one[key]) for key in ("precision", "recall", "f1")),
            f"{one['n_gold']:,}",
        ]
        for report in reports
        if report.suite in SUITES and SUITES[report.suite].task == "ner"
        for name, one in report.details.get("per_class", {}).items()
    ]
    header = ("suite", "class", "precision", "recall", "F1", "support")
    return ["Entities by class, strict:", _table(header, rows)] if rows else []


def _calibration(reports: Sequence[Report]) -> list[str]:
    """The calibration errors that were measured."""
    name = "expected_calibration_error"
    found = [f"{r.suite} {_shown(r.details[name])}" for r in reports if name in r.details]
    if not found:
        return []
    where = ""
    if any(report.suite.startswith("squad") for report in reports):
        where = "; that of SQuAD on articles that nothing was fitted on"
    return [f"Expected calibration error (15 bins): {', '.join(found)}{where}."]


def _score_row(compared: Comparison, with_reference: bool, with_interval: bool) -> list[str]:
    either = compared.shipped or compared.reference
    assert either is not None
    suite = SUITES.get(compared.suite)
    row = [
        compared.suite,
        "" if suite is None else suite.measures,
        either.main[0],
        "" if compared.shipped is None else _shown(compared.shipped.main[1]),
        f"{either.n_examples:,}",
        f"`{either.command}`",
    ]
    if with_interval:
        row[4:4] = [_interval(compared.shipped)]
    if with_reference:
        row[-2:-2] = [
            "" if compared.reference is None else _shown(compared.reference.main[1]),
            "" if compared.loss is None else f"{compared.loss:.2f}",
        ]
    return row


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _interval(report: Report | None) -> str:
    found = None if report is None else report.intervals.get(report.main[0])
    return "" if found is None else f"{_shown(found[0])} to {_shown(found[1])}"


def _shown(score: float | None) -> str:
    return "undefined" if score is None or math.isnan(score) else f"{score:.4f}"


def _code(digest: str) -> str:
    return f"`{digest}`" if digest else ""
