"""``nlpkit quickstart``: everything at once on a text of our own, for a stranger's first minute."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from nlpkit.cli.output import console, highlighted, table
from nlpkit.cli.texts import ENTITIES, label_line
from nlpkit.types import Answer

PASSAGE = (
    "The Helsinki company Norrwind said on Tuesday that it will build its first wind farm near "
    "the Danish island of Bornholm. Chief executive Maria Lindqvist called the agreement a "
    "wonderful success for her team. The farm will have 42 turbines and is expected to supply "
    "90,000 homes in Denmark and Sweden from 2028."
)
QUESTIONS = (
    "Who is the chief executive of Norrwind?",
    "How many turbines will the farm have?",
    "Which bank lent the money?",  # the passage does not say
)
QUERY = "vehicles that fly"
SENTENCES = (
    "The airline ordered twenty new jets for its long routes.",
    "Simmer the onions until they are soft and golden.",
    "A helicopter carried the injured climbers to the valley.",
    "The central bank raised its interest rate again.",
    "Our hens lay fewer eggs in winter.",
    "She won the final in three sets.",
    "A hot-air balloon drifted over the vineyards at dawn.",
    "The patch repairs a memory leak in the browser.",
)
NEXT_STEPS = """\
import nlpkit
nlpkit.ner("Ada Lovelace lived in London.")  # or classify, answer, embed
nlpkit.analyze(["a text", "another"])        # all of it in one pass"""


def quickstart() -> None:
    """Show entities, sentiment, topic, quoted answers and a semantic search on a text."""
    import nlpkit

    start = time.perf_counter()
    kit = nlpkit.load()
    loaded = time.perf_counter()
    analysis = kit.analyze(PASSAGE)
    answers = kit.answer([(question, PASSAGE) for question in QUESTIONS])
    hits = nlpkit.semantic_search(QUERY, SENTENCES, k=3)
    seconds = time.perf_counter() - loaded

    screen = console()
    _heading(screen, "Entities")
    _indented(screen, highlighted(PASSAGE, analysis.entities))
    _indented(screen, table(ENTITIES.columns, ENTITIES.cells(analysis.entities)))
    for task, labels in analysis.labels.items():
        _heading(screen, task.capitalize())
        _indented(screen, label_line(labels))
    _heading(screen, "Answers, quoted from the text")
    _questions(screen, answers)
    _heading(screen, f"Nearest in meaning to “{QUERY}”")
    for hit in hits:
        _indented(screen, Text(f"{hit.score:.2f}  {hit.document.text}"))
    screen.print()
    screen.print(
        f"{kit.name} ({kit.engine.name}, {kit.engine.device}, {kit.engine.precision}): loaded in "
        f"{loaded - start:.2f} s, all of this in {seconds:.2f} s, offline.",
        style="dim",
        soft_wrap=True,
    )
    _heading(screen, "Next steps")
    _indented(screen, Text(NEXT_STEPS))


def _questions(screen: Console, answers: Sequence[Answer]) -> None:
    for question, answer in zip(QUESTIONS, answers, strict=True):
        found = Text("no answer in the text", style="yellow")
        if answer.text is not None:
            found = Text.assemble(
                (answer.text, "bold green"), (f"  [{answer.start}:{answer.end}]", "dim")
            )
        _indented(screen, Text.assemble(question, "  ", found, (f"  {answer.score:.2f}", "dim")))


def _heading(screen: Console, words: str) -> None:
    screen.print(Text(words, style="bold"))


def _indented(screen: Console, part: object) -> None:
    screen.print(Padding(part, (0, 0, 0, 2)))  # type: ignore[arg-type]
