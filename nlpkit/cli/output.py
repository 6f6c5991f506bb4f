"""Results for people (tables) and for programs (JSON Lines, .npy), as they come."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar, cast

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from nlpkit.cli.inputs import Item
from nlpkit.errors import InputError, NlpkitWarning, OutputExistsError
from nlpkit.types import Entity

R = TypeVar("R")
Taken = TypeVar("Taken", contravariant=True)

#: Texts in one table; the next ones get another, so that a long file shows as it goes.
PAGE = 50
#: Longer texts are not printed whole above their table.
PRINTED_WHOLE = 2000
#: What --output may not be called: each promises something other than JSON Lines.
OTHER_FORMATS = (".csv", ".tsv", ".parquet", ".xlsx", ".npy", ".npz")

_LABEL_STYLES = {"PER": "green", "ORG": "cyan", "LOC": "magenta", "MISC": "yellow"}
_OTHER_STYLES = ("blue", "green", "cyan", "magenta", "yellow", "red")


@dataclass(frozen=True, slots=True)
class View(Generic[R]):
    """How results of one kind look.

    ``fields`` gives the JSON of a result, ``cells`` its lines in the table of several texts,
    ``alone`` what a single text shows (by default the same table). ``as_array``: a result is a
    vector, which a .npy file may hold.
    """

    columns: tuple[str, ...]
    fields: Callable[[R], dict[str, Any]]
    cells: Callable[[R], Sequence[Sequence[str | Text]]]
    alone: Callable[[Item[Any], R], list[RenderableType]] | None = None
    as_array: bool = False


class Sink(Protocol[Taken]):
    """Takes results one by one."""

    def write(self, item: Item[Any], result: Taken) -> None: ...

    def finish(self) -> None: ...


@contextmanager
def opened(
    view: View[R], output: Path | None, as_json: bool, overwrite: bool, width: int
) -> Iterator[Sink[R]]:
    """Where results go: a file that appears when it is complete, JSON Lines, or tables.

    ``width`` is that of the vectors in a .npy file.
    """
    sink: Sink[R]
    if output is not None:
        with replaced(output, overwrite) as file:
            sink = (
                ArrayFile(file, width)
                if output.suffix == ".npy"
                else JsonLines(view, file, flush=False)
            )
            yield sink
            sink.finish()
        return
    sink = JsonLines(view, sys.stdout.buffer, flush=True) if as_json else Tables(view, console())
    try:
        yield sink
    except Exception:
        sink.finish()  # what came before a bad line is worth seeing
        raise
    sink.finish()


class JsonLines(Generic[R]):
    """One JSON object a text: its fields, then those of its result."""

    def __init__(self, view: View[R], file: BinaryIO, *, flush: bool) -> None:
        self._view = view
        self._file = file
        self._flush = flush

    def write(self, item: Item[Any], result: R) -> None:
        fields = self._view.fields(result)
        if noted := getattr(result, "warnings", ()):
            fields["warnings"] = list(noted)
        for name in fields.keys() & item.fields.keys():
            warnings.warn(
                f"the input's field {name!r} is replaced by the result's",
                NlpkitWarning,
                stacklevel=2,
            )
        self._file.write(json_line({**item.fields, **fields}))
        if self._flush:
            self._file.flush()

    def finish(self) -> None:
        pass


class Tables(Generic[R]):
    """A table for every page of texts; a single text has the whole screen."""

    def __init__(self, view: View[R], screen: Console) -> None:
        self._view = view
        self._console = screen
        self._page: list[tuple[Item[Any], R]] = []
        self._is_first = True

    def write(self, item: Item[Any], result: R) -> None:
        self._page.append((item, result))
        if len(self._page) == PAGE:
            self._print(self._several())

    def finish(self) -> None:
        if self._page:
            only = self._is_first and len(self._page) == 1
            self._print(self._single() if only else self._several())

    def _print(self, parts: Sequence[RenderableType]) -> None:
        for part in parts:
            self._console.print(part)
        self._page, self._is_first = [], False

    def _single(self) -> list[RenderableType]:
        item, result = self._page[0]
        if self._view.alone is not None:
            return self._view.alone(item, result)
        return [table(self._view.columns, self._view.cells(result))]

    def _several(self) -> list[RenderableType]:
        rows: list[Sequence[str | Text]] = []
        for item, result in self._page:
            names = ("id",) if "id" in item.fields else ("text", "question", "context")
            first = " | ".join(str(item.fields[name]) for name in names if name in item.fields)
            for line in self._view.cells(result) or [["-"] * len(self._view.columns)]:
                rows.append([shortened(first, 60), *line])
                first = ""
        return [table(("text", *self._view.columns), rows)]


class ArrayFile(Generic[R]):
    """Vectors as a float32 array of shape (texts, width) in NumPy's format.

    The header leaves room for the number of rows, which is known at the end.
    """

    def __init__(self, file: BinaryIO, width: int) -> None:
        self._file = file
        self._width = width
        self._n_rows = 0
        self._write_header()

    def write(self, item: Item[Any], result: Any) -> None:
        self._file.write(result.astype("<f4").tobytes())
        self._n_rows += 1

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        from numpy.lib.format import write_array_header_1_0

        shape = (self._n_rows, self._width)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        write_array_header_1_0(self._file, header)


# -- files ---------------------------------------------------------------------------------------


def check_output(path: Path | None, overwrite: bool, *, as_array: bool = False) -> None:
    """Refuse, before any work, an output that cannot be written.

    Raises:
        OutputExistsError: it is there and is kept.
        InputError: its name or folder will not do.
    """
    if path is None:
        return
    name = path.name.removesuffix(".gz")
    if Path(name).suffix in OTHER_FORMATS and not (as_array and path.suffix == ".npy"):
        known = ".jsonl, .jsonl.gz or .npy" if as_array else ".jsonl or .jsonl.gz"
        raise InputError(f"--output {path}: results are JSON Lines; expected a name in {known}")
    if path.exists() and not path.is_file():
        raise InputError(f"--output {path}: not a plain file")
    if path.exists() and not overwrite:
        raise OutputExistsError.of(path)
    if not path.resolve().parent.is_dir():
        raise InputError(f"--output {path}: there is no folder {path.parent}")


@contextmanager
def replaced(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """A file under a temporary name that gets its own when the block ends well."""
    path = path.resolve()
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as zipped:
                    yield cast(BinaryIO, zipped)
            else:
                yield file
        if path.exists() and not overwrite:
            raise OutputExistsError.of(path)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def json_line(value: Any) -> bytes:
    """One line of JSON in UTF-8; numbers that JSON does not have become null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, default=_plain)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair: only an escape can write it
        return json.dumps(json.loads(text)).encode() + b"\n"


def _plain(value: Any) -> Any:
    """What JSON does not have: numpy's numbers, and the dates and decimals of Parquet files."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.item() if hasattr(value, "item") else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- for people ----------------------------------------------------------------------------------


def console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is, with colours where a terminal has them."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def say(message: str, style: str = "") -> None:
    """One line on stderr."""
    console(stderr=True).print(Text(visible(message), style=style), soft_wrap=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """A table; columns of numbers stand right."""
    numbers = {"start", "end", "score", "MB"}
    made = Table(header_style="bold", border_style="dim")
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in numbers else "left",
            no_wrap=name in numbers,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(Text(visible(cell)) if isinstance(cell, str) else cell for cell in row))
    return made


def visible(text: str) -> str:
    """The text with control characters and other invisible ones written out."""
    return "".join(
        c if c.isprintable() else " " if c.isspace() and c not in "\n\r\t" else _escaped(c)
        for c in text
    )


def _escaped(character: str) -> str:
    if character in "\u200c\u200d":  # joiners shape Persian words and emoji families
        return character
    return character.encode("unicode_escape").decode()


def shortened(text: str, limit: int) -> str:
    """The beginning of a text, for a cell of a table."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def highlighted(text: str, entities: Sequence[Entity]) -> Text:
    """The text with its entities in colour and their labels behind them."""
    made = Text()
    position = 0
    for entity in entities:
        made.append(visible(text[position : entity.start]))
        made.append(visible(entity.text), style=f"bold {label_style(entity.label)}")
        made.append(f" [{entity.label}]", style=f"dim {label_style(entity.label)}")
        position = entity.end
    made.append(visible(text[position:]))
    return made


def label_style(label: str) -> str:
    """A colour for an entity's label, always the same."""
    return _LABEL_STYLES.get(label) or _OTHER_STYLES[sum(label.encode()) % len(_OTHER_STYLES)]
