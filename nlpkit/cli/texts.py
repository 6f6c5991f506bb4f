"""The five answers as commands: ner, classify, answer, embed, analyze."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from nlpkit.cli.inputs import Format, Item, pair_items, text_items
from nlpkit.cli.job import Job, TextArgument, with_job
from nlpkit.cli.output import (
    PRINTED_WHOLE,
    View,
    highlighted,
    label_style,
    shortened,
    table,
)
from nlpkit.errors import InputError
from nlpkit.types import Analysis, Answer, Entity, Label

if TYPE_CHECKING:
    from nlpkit.types import Vector


@with_job
def ner(
    job: Job,
    text: TextArgument = None,
    task: Annotated[str, typer.Option(help="The token classification task.")] = "ner",
) -> None:
    """Name the entities of texts, with their offsets."""
    inputs = job.inputs(text)
    items = text_items(iter(inputs), job.column)
    job.run(inputs, items, lambda kit, texts: kit.ner(texts, task), ENTITIES)


@with_job
def classify(
    job: Job,
    text: TextArgument = None,
    task: Annotated[
        str | None, typer.Option(help="A classification task; by default sentiment.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Names of your own, by commas, for zero-shot classes.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Puts each of --labels into words, as in '{} news'.")
    ] = None,
) -> None:
    """Give texts labels with scores, by a trained task or by labels of your own."""
    names = None if labels is None else [name.strip() for name in labels.split(",")]
    if names is not None and not all(names):
        raise InputError(f"--labels is {labels!r}; expected names separated by commas")
    inputs = job.inputs(text)
    job.run(
        inputs,
        text_items(iter(inputs), job.column),
        lambda kit, texts: kit.classify(texts, task, labels=names, template=template),
        LABELS,
    )


@with_job
def answer(
    job: Job,
    question: Annotated[
        str | None,
        typer.Argument(
            help="The question. Without it, --file or standard input holds JSONL (or CSV) with "
            "the fields question and context.",
            show_default=False,
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Argument(
            help="The text to quote from. Without it, contexts come from --file or standard input.",
            show_default=False,
        ),
    ] = None,
    asked: Annotated[
        str | None, typer.Option("--question", help="The question, asked of every context.")
    ] = None,
    n_best: Annotated[int, typer.Option(help="How many answers at most.")] = 1,
    no_answer: Annotated[
        bool,
        typer.Option("--no-answer/--always-answer", help="Whether a context may hold no answer."),
    ] = True,
    max_answer_length: Annotated[int, typer.Option(help="Words of an answer at most.")] = 30,
) -> None:
    """Quote the part of a context that answers a question."""
    if asked is not None:
        if context is not None:
            raise InputError("got the question twice; expected QUESTION or --question")
        question, context = asked, question
    if question == "-":
        question, context = None, "-"
    inputs = job.inputs(context, default=Format.JSONL if question is None else None)

    def read(kit: Any, pairs: Any) -> Any:
        return kit.answer(
            pairs, no_answer=no_answer, n_best=n_best, max_answer_length=max_answer_length
        )

    job.run(inputs, pair_items(iter(inputs), question, job.column), read, ANSWERS)


@with_job
def embed(job: Job, text: TextArgument = None) -> None:
    """Embed texts; --output x.npy writes a float32 array."""
    inputs = job.inputs(text)
    items = text_items(iter(inputs), job.column)
    job.run(inputs, items, lambda kit, texts: kit.embed(texts), VECTORS)


@with_job
def analyze(job: Job, text: TextArgument = None) -> None:
    """Entities, labels of every task and the embedding of texts, in one pass."""
    inputs = job.inputs(text)
    items = text_items(iter(inputs), job.column)
    job.run(inputs, items, lambda kit, texts: kit.analyze(texts), ANALYSES)


# -- how their results look ------------------------------------------------------------------------


def _entity_rows(entities: Sequence[Entity]) -> list[Sequence[str | Text]]:
    return [
        (
            e.text,
            Text(e.label, style=label_style(e.label)),
            str(e.start),
            str(e.end),
            f"{e.score:.3f}",
        )
        for e in entities
    ]


def _entities_alone(item: Item[str], entities: Sequence[Entity]) -> list[RenderableType]:
    shown: list[RenderableType] = []
    if len(item.value) <= PRINTED_WHOLE:
        shown.append(highlighted(item.value, entities))
    rows = _entity_rows(entities)
    return [*shown, table(ENTITIES.columns, rows) if rows else Text("no entities", style="dim")]


def label_line(labels: Sequence[Label]) -> Text:
    """Labels with scores on one line, the first in bold."""
    parts = [
        Text(f"{label.name} {label.score:.3f}", style="" if i else "bold")
        for i, label in enumerate(labels)
    ]
    return Text(" · ", style="dim").join(parts)


def _answer_rows(answers: Answer | Sequence[Answer]) -> list[Sequence[str | Text]]:
    return [
        (
            a.text if a.text is not None else Text("no answer", style="dim"),
            *("" if a.start is None else str(x) for x in (a.start, a.end)),
            f"{a.score:.3f}",
        )
        for a in _listed(answers)
    ]


def _answer_fields(answers: Answer | Sequence[Answer]) -> dict[str, Any]:
    keys = ("text", "start", "end", "score")
    found = _listed(answers)
    fields: dict[str, Any] = {"answers": [{key: getattr(a, key) for key in keys} for a in found]}
    return {**fields, "warnings": list(found[0].warnings)} if found[0].warnings else fields


def _listed(answers: Answer | Sequence[Answer]) -> Sequence[Answer]:
    return [answers] if isinstance(answers, Answer) else answers


def _vector_line(vector: Vector) -> str:
    first = " ".join(f"{x:+.4f}" for x in vector[:5])
    return f"{first} … ({len(vector)} numbers)"


def _analysis_fields(analysis: Analysis) -> dict[str, Any]:
    return {
        "entities": [asdict(e) for e in analysis.entities],
        "labels": {task: [asdict(x) for x in found] for task, found in analysis.labels.items()},
        "embedding": analysis.embedding.tolist(),
    }


def _analysis_rows(analysis: Analysis) -> list[Sequence[str | Text]]:
    entities = [
        Text.assemble(shortened(e.text, 40), (f" [{e.label}]", label_style(e.label)))
        for e in analysis.entities
    ]
    best = [Text(f"{task}: {x[0].name}") for task, x in analysis.labels.items() if x]
    return [(Text(", ").join(entities), Text("\n").join(best))]


def _analysis_alone(item: Item[str], analysis: Analysis) -> list[RenderableType]:
    facts: list[Sequence[str | Text]] = [
        (task, label_line(found)) for task, found in analysis.labels.items()
    ]
    facts.append(("embedding", _vector_line(analysis.embedding)))
    return [*_entities_alone(item, analysis.entities), table(("task", "result"), facts)]


ENTITIES: View[Sequence[Entity]] = View(
    columns=("entity", "label", "start", "end", "score"),
    fields=lambda entities: {"entities": [asdict(e) for e in entities]},
    cells=_entity_rows,
    alone=_entities_alone,
)
LABELS: View[Sequence[Label]] = View(
    columns=("labels",),
    fields=lambda labels: {"labels": [asdict(label) for label in labels]},
    cells=lambda labels: [(label_line(labels),)] if labels else [],
    alone=lambda item, labels: [
        table(("label", "score"), [(x.name, f"{x.score:.3f}") for x in labels])
    ],
)
ANSWERS: View[Any] = View(
    columns=("answer", "start", "end", "score"), fields=_answer_fields, cells=_answer_rows
)
VECTORS: View[Any] = View(
    columns=("embedding",),
    fields=lambda vector: {"embedding": vector.tolist()},
    cells=lambda vector: [(_vector_line(vector),)],
    as_array=True,
)
ANALYSES: View[Analysis] = View(
    columns=("entities", "labels"),
    fields=_analysis_fields,
    cells=_analysis_rows,
    alone=_analysis_alone,
)
