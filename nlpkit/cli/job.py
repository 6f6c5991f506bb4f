"""What every text command shares: its options, and the loop from rows to results."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

import nlpkit
from nlpkit.cli import progress
from nlpkit.cli.inputs import Format, Inputs, Item
from nlpkit.cli.output import View, check_output, opened
from nlpkit.errors import NlpkitError

if TYPE_CHECKING:
    from nlpkit.pipeline import Pipeline

T = TypeVar("T")
R = TypeVar("R")

TextArgument = Annotated[
    str | None,
    typer.Argument(
        help="The text. Without it, or with -, texts come from --file or standard input.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A bundle's name or folder, a checkpoint's folder, or a hub id."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda (or cuda:1), mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16, int8, fp16.")]
Packs = Annotated[
    list[Path] | None,
    typer.Option("--pack", metavar="PATH", help="A task pack to plug in; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON Lines, for programs.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="A file to write; it appears when complete.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def load(
    model: str, device: str = "auto", precision: str = "auto", packs: Iterable[Path] | None = None
) -> Pipeline:
    """A pipeline with its packs plugged in."""
    kit = nlpkit.load(model, device, precision)
    for path in packs or ():
        kit.add(path)
    return kit


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The options that all text commands share."""

    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="PATH",
            help="A file of texts (.txt .csv .jsonl .parquet); may be repeated.",
        ),
    ] = None
    format: Annotated[
        Format | None,
        typer.Option(help="What files or standard input hold; by default the suffix says, or txt."),
    ] = None
    column: Annotated[str | None, typer.Option(help="The column or field that holds the text.")] = (
        None
    )
    as_json: AsJson = False
    output: Output = None
    overwrite: Overwrite = False
    model: Model = "base-en"
    device: Device = "auto"
    precision: Precision = "auto"
    pack: Packs = None

    def inputs(self, text: str | None, default: Format | None = None) -> Inputs:
        """The rows to read; ``default`` is the format of standard input."""
        given = self.format or (None if self.file else default)
        return Inputs(text, self.file, given)

    def run(
        self,
        inputs: Inputs,
        items: Iterable[Item[T]],
        call: Callable[[Pipeline, Iterator[T]], Iterable[R]],
        view: View[R],
    ) -> None:
        """Call the pipeline on the values of items and show each result as it comes."""
        check_output(self.output, self.overwrite, as_array=view.as_array)
        kit = load(self.model, self.device, self.precision, self.pack)
        waiting: deque[Item[T]] = deque()  # read by the pipeline, their results yet to come

        bad: list[NlpkitError] = []  # raised once the results of what came before are out

        def values() -> Iterator[T]:
            try:
                for item in items:
                    waiting.append(item)
                    yield item.value
            except NlpkitError as error:
                bad.append(error)

        with (
            opened(view, self.output, self.as_json, self.overwrite, kit.engine.width) as sink,
            progress.counting(inputs, progress.is_watched(self.output)) as advance,
        ):
            for result in call(kit, values()):
                sink.write(waiting.popleft(), result)
                advance()
            if bad:
                raise bad[0]


def with_job(command: Callable[..., None]) -> Callable[..., None]:
    """The command, its parameter ``job`` replaced by the options of :class:`Job`."""
    hints = get_type_hints(Job, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name])
        for f in dataclasses.fields(Job)
    ]
    own = dict(inspect.signature(command, eval_str=True).parameters)
    del own["job"]
    parameters = [p.replace(kind=keyword) for p in own.values()] + shared

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = {p.name: values.pop(p.name) for p in shared}
        command(job=Job(**options), **values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run
