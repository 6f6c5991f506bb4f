"""``nlpkit index``: build, search, ask and keep semantic-search indexes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from nlpkit.cli.job import AsJson
from nlpkit.cli.output import console, json_line, say, shortened, table, visible
from nlpkit.cli.progress import is_watched, stepping
from nlpkit.errors import DataError, InputError, JobError

if TYPE_CHECKING:
    from nlpkit.index import Index
    from nlpkit.jobs import Job, JobStatus
    from nlpkit.sources import DocumentSource

index = typer.Typer(
    help="Build, search, ask and keep semantic-search indexes.", no_args_is_help=True
)

Place = Annotated[Path, typer.Option("--index", "-i", metavar="FOLDER", help="The index.")]
SourceArgument = Annotated[
    str,
    typer.Argument(
        help="A folder, a file (.txt .md .html .pdf .docx .csv .jsonl .parquet), a database URL "
        "with --query, or a recipe's name or file."
    ),
]
TextColumn_ = Annotated[
    list[str] | None,
    typer.Option("--text-column", help="The field that holds the text; may be repeated."),
]
IdColumn = Annotated[str | None, typer.Option("--id-column", help="The field that holds the id.")]
Query = Annotated[str | None, typer.Option(help="With a database URL: the SELECT of documents.")]
Patterns = Annotated[
    list[str] | None,
    typer.Option("--pattern", help="In a folder: only such files, as in '*.pdf'."),
]
Prune = Annotated[
    bool, typer.Option("--prune", help="At the end, delete what has gone from the source.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes that share the job.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="A condition on metadata, as in 'year>=2020', 'lang=en' or 'lang in [\"en\",\"de\"]'; "
        "may be repeated."
    ),
]
K = Annotated[int, typer.Option("-k", min=1, help="Documents at most.")]
Number = Annotated[int | None, typer.Option("--job", help="The job's number; by default the last.")]

#: Errors that are shown below a job; the rest are counted (nlpkit index errors shows all).
SHOWN_ERRORS = 5
WORD = re.compile(r"^\s*(.+?)\s*(>=|<=|!=|=|<|>|\sin\s)\s*(.*?)\s*$", re.DOTALL)


@index.command()
def build(
    source: SourceArgument,
    place: Place,
    text_column: TextColumn_ = None,
    id_column: IdColumn = None,
    query: Query = None,
    pattern: Patterns = None,
    prune: Prune = False,
    workers: Workers = 1,
    kind: Annotated[
        str | None, typer.Option(help="Of a new index: auto, flat (exact), hnsw or ivfpq.")
    ] = None,
    chunk_tokens: Annotated[
        int | None, typer.Option(help="Of a new index: tokens of a chunk; 256 unless told.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Of a new index: a bundle's name or folder.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="Of a new index: a SQLAlchemy URL; by default SQLite in the folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Index a source: makes the index where it is absent, goes on where a job was broken off."""
    from nlpkit.index import open_index
    from nlpkit.sources import open_recipe

    recipe = open_recipe(source, **_options(text_column, id_column, query, pattern))
    is_new = not (place / "index.json").is_file()
    opened = open_index(
        place,
        model,
        database=database,
        kind=kind or (recipe.kind if is_new else None),
        chunk_tokens=chunk_tokens or (recipe.chunk_tokens if is_new else None),
    )
    with opened:
        _run(opened, recipe.open(), prune, workers, as_json)


@index.command()
def update(
    source: SourceArgument,
    place: Place,
    text_column: TextColumn_ = None,
    id_column: IdColumn = None,
    query: Query = None,
    pattern: Patterns = None,
    prune: Prune = False,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Bring an index up to date with a source; what has not changed costs nothing."""
    from nlpkit.sources import open_recipe

    recipe = open_recipe(source, **_options(text_column, id_column, query, pattern))
    with _opened(place) as opened:
        _run(opened, recipe.open(), prune, workers, as_json)


@index.command()
def search(
    query: Annotated[str, typer.Argument(help="Words or a question.")],
    place: Place,
    k: K = 10,
    where: Where = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="By meaning and by keywords.")] = False,
    keywords: Annotated[bool, typer.Option("--keywords", help="By keywords alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the documents that fit a query best."""
    with _opened(place, read_only=True) as opened:
        hits = opened.search(query, k, _conditions(where), hybrid, keywords=keywords)
    if as_json:
        for hit in hits:
            fields = asdict(hit.document) | {
                "score": hit.score,
                "start": hit.start,
                "end": hit.end,
            }
            sys.stdout.buffer.write(json_line(fields))
        return
    rows: list[list[str | Text]] = [
        [f"{hit.score:.3f}", hit.document.id, _excerpt(hit.document.text[hit.start : hit.end])]
        for hit in hits
    ]
    console().print(table(("score", "document", "text"), rows) if rows else "nothing found")


@index.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    place: Place,
    k: Annotated[int, typer.Option("-k", min=1, help="Documents to read.")] = 5,
    where: Where = None,
    n_best: Annotated[int, typer.Option(min=1, help="Answers at most.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Answer a question with quotations from the documents, or say that there is no answer."""
    with _opened(place, read_only=True) as opened:
        answers = opened.ask(question, k, _conditions(where), n_best=n_best)
        found = opened.get([a.document_id for a in answers if a.document_id is not None])
    if as_json:
        sys.stdout.buffer.write(json_line({"answers": [asdict(a) for a in answers]}))
        return
    if not answers:
        console().print(f"no answer in the {k} documents that fit best")
    for answer, document in zip(answers, found, strict=True):
        if document is not None:
            _print_answer(answer, document.id, document.text)


@index.command()
def analyze(
    place: Place,
    task: Annotated[
        list[str] | None, typer.Option(help="A task; may be repeated. By default all.")
    ] = None,
) -> None:
    """Let heads read every document they have not read yet, and keep what they say as rows."""
    from nlpkit.index import predictions

    with _opened(place) as opened, _live(shown=is_watched(between_lines=True)) as say_live:
        n = predictions.analyze(opened, task, lambda done: say_live(f"{done:,} documents"))
    console().print(f"read {n:,} documents")


@index.command(name="predictions")
def predictions_(
    place: Place,
    task: Annotated[str | None, typer.Option(help="Of this task alone.")] = None,
) -> None:
    """What analyze has kept, as JSON Lines: document, task, value, model, hash, version."""
    with _opened(place, read_only=True) as opened:
        for one in opened.predictions(task):
            sys.stdout.buffer.write(json_line(asdict(one)))


@index.command()
def status(place: Place, as_json: AsJson = False) -> None:
    """Sizes, kinds, recall, model, and how the last job stands."""
    from nlpkit.jobs import list_jobs

    with _opened(place, read_only=True) as opened:
        state = opened.status()
        state["jobs"] = [asdict(job.status()) for job in list_jobs(opened)]
    if as_json:
        sys.stdout.buffer.write(json_line(state))
        return
    segments, jobs = state.pop("segments"), state.pop("jobs")
    console().print(table(("", ""), [(k, _plain(v)) for k, v in state.items() if v is not None]))
    names = ("kind", "rows", "bytes", "recall_at_10")
    if segments:
        rows = [[_plain(segment[name]) for name in names] for segment in segments]
        console().print(table(("segment", *names[1:]), rows))
    for job in jobs[-3:]:
        console().print(_line(job))


@index.command()
def verify(
    place: Place,
    source: Annotated[
        str | None, typer.Option(help="Compare with this source too, row by row.")
    ] = None,
    text_column: TextColumn_ = None,
    id_column: IdColumn = None,
    query: Query = None,
    pattern: Patterns = None,
    as_json: AsJson = False,
) -> None:
    """Compare files, rows and words with one another; status 1 where something does not fit."""
    from nlpkit.jobs import compare
    from nlpkit.sources import open_source

    with _opened(place, read_only=True) as opened:
        found = [str(problem) for problem in opened.verify()]
        if source is not None:
            options = _options(text_column, id_column, query, pattern)
            found += compare(opened, open_source(source, **options))
    _say_problems(found, as_json, "run: nlpkit index repair" if source is None else "")


@index.command()
def repair(place: Place, as_json: AsJson = False) -> None:
    """Mend what verify finds, from the store."""
    with _opened(place) as opened:
        before = len(opened.verify())
        left = [str(problem) for problem in opened.repair()]
    if not left and not as_json:
        console().print(f"mended {before} problems" if before else "nothing to mend")
        return
    _say_problems(left, as_json, "index the source again")


@index.command()
def evaluate(
    place: Place,
    queries: Annotated[Path, typer.Option(help="JSON Lines with _id and text.")],
    judgments: Annotated[
        Path, typer.Option(help="A table (TSV) with query-id, corpus-id and score.")
    ],
    as_json: AsJson = False,
) -> None:
    """nDCG, MRR and recall of the index's rankings, for queries with judged documents (BEIR)."""
    from nlpkit.index import measure
    from nlpkit.readers import read_jsonl, read_judgments

    asked = {}
    for line, row in read_jsonl(queries):
        if not isinstance(row.get("text"), str) or "_id" not in row:
            raise DataError.at(queries, line, f"got {row!r:.120}", "a string 'text' and an '_id'")
        asked[str(row["_id"])] = row["text"]
    with (
        _opened(place, read_only=True) as opened,
        stepping("searching", is_watched(between_lines=True)) as done,
    ):
        scores = measure.evaluate(opened, asked, read_judgments(judgments), done)
    if as_json:
        sys.stdout.buffer.write(json_line(scores))
        return
    names = list(next(iter(scores.values())))
    rows = [[way, *(f"{found[name]:.4f}" for name in names)] for way, found in scores.items()]
    console().print(table(("by", *names), rows))


@index.command()
def compact(
    place: Place,
    kind: Annotated[str | None, typer.Option(help="auto, flat, hnsw or ivfpq.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write all live vectors into one segment; searches go on meanwhile."""
    from nlpkit.index import upkeep

    with _opened(place) as opened, _live(shown=is_watched(between_lines=True)) as say_live:
        upkeep.compact(opened, kind, say_live)
        state = opened.status()
    if as_json:
        sys.stdout.buffer.write(json_line(state))
        return
    for segment in state["segments"]:
        recall = segment["recall_at_10"]
        exact = "exact" if recall is None else f"recall at 10: {recall:.3f}"
        console().print(f"{segment['rows']:,} vectors, {segment['kind']}, {exact}")


@index.command()
def delete(
    ids: Annotated[list[str], typer.Argument(help="Ids of documents.")], place: Place
) -> None:
    """Delete documents by id."""
    with _opened(place) as opened:
        console().print(f"deleted {opened.delete(ids)} of {len(ids)}")


@index.command()
def errors(place: Place, job: Number = None, as_json: AsJson = False) -> None:
    """The rows that a job set aside, with their reasons."""
    from nlpkit.jobs import find_job

    with _opened(place, read_only=True) as opened:
        found = find_job(opened, job).errors()
    if as_json:
        for one in found:
            sys.stdout.buffer.write(json_line(asdict(one)))
        return
    for one in found:
        console().print(Text(visible(f"{one.place}: {one.reason}")), soft_wrap=True)


@index.command()
def pause(place: Place, job: Number = None) -> None:
    """Let a job's workers stop after the batch they are at; resume or build goes on."""
    _change(place, job, lambda found: found.pause())


@index.command()
def cancel(place: Place, job: Number = None) -> None:
    """Stop a job for good; what is indexed stays."""
    _change(place, job, lambda found: found.cancel())


@index.command()
def resume(place: Place, job: Number = None, workers: Workers = 1, as_json: AsJson = False) -> None:
    """Go on with a job that was paused or broken off."""
    from nlpkit.jobs import find_job

    with _opened(place) as opened:
        found = find_job(opened, job)
        found.resume()
        _work(found, workers, as_json)


@index.command()
def retry(place: Place, job: Number = None, as_json: AsJson = False) -> None:
    """Read the rows again that a job set aside."""
    from nlpkit.jobs import find_job

    with _opened(place) as opened:
        found = find_job(opened, job)
        say(f"{found.retry():,} rows to read again")
        _work(found, 1, as_json)


@index.command(hidden=True)
def work(place: Place, job: Number = None) -> None:
    """Share the work of a job that another process shows."""
    from nlpkit.jobs import find_job

    with _opened(place) as opened:
        find_job(opened, job).run()


# -- jobs ------------------------------------------------------------------------------------------


def _run(opened: Index, source: DocumentSource, prune: bool, workers: int, as_json: bool) -> None:
    from nlpkit.jobs import start_job

    job = start_job(opened, source, prune=prune)
    before = job.status()
    if before.done:
        say(f"going on with job {before.number} after {before.done:,} rows")
    _work(job, workers, as_json)


def _work(job: Job, workers: int, as_json: bool) -> None:
    """Work on a job with others, and say how it ends.

    Raises:
        JobError: it did not come to its end.
    """
    others = [_helper(job) for _ in range(workers - 1)]
    try:
        with _following(is_watched(between_lines=True)) as follow:
            end = job.run(follow)
    finally:
        for other in others:
            if other.poll() is None:
                other.send_signal(signal.SIGTERM)
            other.wait()
    if as_json:
        sys.stdout.buffer.write(json_line(asdict(end)))
    else:
        _print_end(job, end)
    if end.state != "done":
        raise JobError(f"job {end.number} is {end.state}; nlpkit index resume goes on")


def _helper(job: Job) -> subprocess.Popen[bytes]:
    words = ["index", "work", "--index", str(job.index.folder), "--job", str(job.number)]
    return subprocess.Popen([sys.executable, "-m", "nlpkit.cli", *words], stdout=subprocess.DEVNULL)


def _print_end(job: Job, end: JobStatus) -> None:
    console().print(_line(asdict(end)), soft_wrap=True)
    for error in job.errors(SHOWN_ERRORS):
        say(f"set aside: {error.place}: {error.reason}", "yellow")
    if end.errors > SHOWN_ERRORS:
        say(f"… and {end.errors - SHOWN_ERRORS:,} more: nlpkit index errors", "yellow")
    if end.note:
        say(end.note, "yellow")


def _line(job: dict[str, Any]) -> str:
    counts = [f"{job[name]:,} {name}" for name in ("added", "updated", "unchanged", "deleted")]
    parts = [f"job {job['number']} ({job['source']}) {job['state']}", f"{job['done']:,} rows"]
    parts += [count for count in counts if not count.startswith("0 ")]
    return " · ".join(parts + ([f"{job['errors']:,} set aside"] if job["errors"] else []))


def _change(place: Path, number: int | None, change: Callable[[Job], None]) -> None:
    from nlpkit.jobs import find_job

    with _opened(place) as opened:
        found = find_job(opened, number)
        change(found)
        console().print(_line(asdict(found.status())))


@contextmanager
def _following(shown: bool) -> Iterator[Callable[[JobStatus], None]]:
    """Call what this yields with a job's status: a bar where a person is looking."""
    if not shown:
        yield lambda _: None
        return
    words = TextColumn("{task.description}", markup=False)
    screen = console(stderr=True)
    with Progress(words, BarColumn(), TimeElapsedColumn(), console=screen, transient=True) as bar:
        task = bar.add_task("reading the source", total=None)

        def draw(now: JobStatus) -> None:
            parts = [f"{now.done:,}" + (f" of {now.total:,}" if now.total is not None else "")]
            if now.rows_per_second:
                parts.append(f"{now.rows_per_second:,.0f} rows/s")
            if now.seconds_left is not None:
                minutes, seconds = divmod(round(now.seconds_left), 60)
                parts.append(f"{minutes}:{seconds:02d} left")
            if now.errors:
                parts.append(f"{now.errors:,} set aside")
            words = " · ".join(parts) if now.total is not None else "reading the source"
            bar.update(task, description=words, total=now.total, completed=now.done)

        yield draw


@contextmanager
def _live(*, shown: bool) -> Iterator[Callable[[str], None]]:
    if not shown:
        yield lambda _: None
        return
    words = TextColumn("{task.description}", markup=False)
    with Progress(words, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("compacting")
        yield lambda said: bar.update(task, description=said)


# -- small things ----------------------------------------------------------------------------------


def _opened(place: Path, *, read_only: bool = False) -> Index:
    from nlpkit.index import open_index

    return open_index(place, create=False, read_only=read_only)


def _options(
    text_column: list[str] | None,
    id_column: str | None,
    query: str | None,
    pattern: list[str] | None,
) -> dict[str, Any]:
    """The options that were given, as a source takes them."""
    text = text_column[0] if text_column and len(text_column) == 1 else text_column
    given = {"text_column": text, "id_column": id_column, "query": query, "patterns": pattern}
    return {name: value for name, value in given.items() if value}


def _conditions(given: list[str] | None) -> dict[str, Any] | None:
    """``['year>=2020', 'lang=en']`` as a filter.

    Raises:
        InputError: something that is no condition.
    """
    where: dict[str, dict[str, Any]] = {}
    for one in given or ():
        found = WORD.match(one)
        if not found:
            raise InputError(f"--where {one!r}: expected FIELD, one of = != < <= > >= in, VALUE")
        name, operator, value = found[1], found[2].strip(), _value(found[3])
        if operator == "in" and not isinstance(value, list):
            raise InputError(f'--where {one!r}: expected a JSON list after in, as in ["a","b"]')
        where.setdefault(name, {})[operator] = value
    return where or None


def _value(text: str) -> Any:
    """A number, true, false, null or a list as JSON has them; anything else is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _excerpt(text: str) -> str:
    return shortened(" ".join(text.split()), 160)


def _print_answer(answer: Any, name: str, text: str) -> None:
    before = " ".join(text[max(0, answer.start - 60) : answer.start].split(" "))
    after = text[answer.end : answer.end + 60]
    line = Text.assemble(
        (visible(answer.text), "bold green"),
        f"  {answer.score:.2f}  ",
        (visible(name), "cyan"),
        (f" [{answer.start}:{answer.end}]", "dim"),
    )
    quoted = " ".join(f"…{before}{answer.text}{after}…".split())
    parts: list[RenderableType] = [line, Text("  " + visible(quoted), style="dim")]
    for part in parts:
        console().print(part)


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _say_problems(found: list[str], as_json: bool, advice: str) -> None:
    if as_json:
        sys.stdout.buffer.write(json_line({"problems": found}))
    else:
        for problem in found[:50]:
            console().print(Text(visible(problem)), soft_wrap=True)
        if not found:
            console().print("sound")
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found):,} problems"
        raise JobError(f"{count}{'; ' if advice else ''}{advice}")
