"""Batch: a table through the model in the background, then charts, rows and a file.

The address says what is shown: nothing more (what one may begin with), ``?upload=3`` (a table that
is about to be read) or ``?batch=3`` (one that is read, or being read).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import streamlit as st

from nlpkit.errors import InputError, NlpkitError, UnknownNameError
from nlpkit.heads import SequenceHead, TokenHead
from nlpkit.workspace import (
    DELIMITERS,
    ENCODINGS,
    Batch,
    BatchRow,
    Filters,
    Preview,
    Reading,
    SetAside,
    Summary,
    Upload,
    ensure_worker,
    guess_reading,
    preview,
    start_batch,
)
from parts import batch_filters, charts, errors, highlight, jobs
from parts.safe import plain, visible
from parts.table import cell_text, figures, grid, pager
from parts.users import owner
from parts.words import counted, heading, listed, moment, size, stem, task_name
from parts.work import workspace

#: What can be uploaded here.
ENDINGS = ("csv", "tsv", "xlsx", "jsonl", "ndjson", "parquet", "gz")
FORMATS = {"xlsx": "Excel", "csv": "CSV", "jsonl": "JSON lines", "parquet": "Parquet"}
#: Downloads: the name on the button, the ending of the file, its kind.
DOWNLOADS = (
    ("CSV", "csv", "text/csv"),
    ("Parquet", "parquet", "application/vnd.apache.parquet"),
    ("JSON lines", "jsonl", "application/x-ndjson"),
)
#: Rows of the preview, of a page of results, of a page of rows that were set aside.
SEEN_ROWS, PAGE_ROWS, BAD_ROWS = 20, 50, 200
#: Batches that are listed at first.
LISTED = 10
#: Seconds between two looks at a list in which something goes on.
EVERY = 2.0

# What the session keeps: words to be said once, and whether all batches are listed.
SAID, ALL_LISTED = "batch-said", "batch-all"


Found = TypeVar("Found")


def page() -> None:
    st.title("Batch")
    asked = [name for name in ("batch", "upload") if name in st.query_params]
    if asked:
        st.button("All batches", icon=":material/arrow_back:", type="tertiary", on_click=go)
    with errors.shown():
        if SAID in st.session_state:
            st.success(plain(st.session_state.pop(SAID)), icon=":material/check:")
        if "batch" in asked:
            show_batch(found("batch", workspace().batch))
        elif "upload" in asked:
            set_up(found("upload", workspace().upload))
        else:
            begin()


def go(**where: int) -> None:
    """Make the address ask for a batch, an upload, or neither."""
    st.query_params.from_dict({name: str(number) for name, number in where.items()})


def found(name: str, look_up: Callable[[int, str], Found]) -> Found:
    """What the address asks for by its number."""
    text = st.query_params[name]
    if not text.isdecimal() or len(text) > 15:
        raise InputError(f"the address asks for the {name} {text!r:.40}; expected a number")
    try:
        return look_up(int(text), owner())
    except UnknownNameError:
        raise InputError(f"there is no {name} {text} here; it may have been deleted") from None


# -- the beginning: a table, or a batch of before --------------------------------------------------


def begin() -> None:
    st.text("Let the model read every row of a table: reviews, tickets, answers, headlines.")
    with errors.shown():
        take_upload()
    uploads = [upload for upload in workspace().uploads(owner()) if upload.is_table]
    if uploads:
        chosen = st.selectbox(
            "Or a table that is here already",
            uploads,
            index=None,
            placeholder="Choose a table",
            format_func=upload_name,
        )
        if chosen is not None:
            go(upload=chosen.number)
            st.rerun()
    st.subheader("Your batches")
    batches = workspace().batches(owner())
    if not batches:
        st.info("No batches yet: upload a table above.", icon=":material/table_rows:")
        return
    n_listed = len(batches) if ALL_LISTED in st.session_state else LISTED
    listed_here = batches[:n_listed]
    goes_on = any(batch.status().state in jobs.GOING for batch in listed_here)
    with jobs.live("batches"):
        st.fragment(show_list, run_every=EVERY if goes_on else None)(listed_here, goes_on)
    if n_listed < len(batches):
        keep = st.session_state.__setitem__
        st.button(f"Show all {len(batches):,}", on_click=keep, args=(ALL_LISTED, True))


def upload_name(upload: Upload) -> str:
    """An upload in a list, told apart from others of the same name."""
    return f"Table {upload.number}: {visible(upload.name)}, {moment(upload.uploaded_at)}"


def take_upload() -> None:
    file = st.file_uploader("A table: CSV, Excel, JSON lines or Parquet", type=ENDINGS)
    if file is not None:
        with st.spinner("Storing the table"):
            upload = workspace().add_upload(file.name, file, owner())
        go(upload=upload.number)
        st.rerun()


def show_list(batches: Sequence[Batch], was_going: bool) -> None:
    with errors.shown():
        try:
            states = {batch.number: batch.status() for batch in batches}
        except UnknownNameError:  # one was deleted, perhaps on another page
            st.rerun()
        if any(status.state in jobs.GOING for status in states.values()) != was_going:
            st.rerun()
        if was_going:
            ensure_worker(workspace())
        for batch in batches:
            status = states[batch.number]
            with st.container(horizontal=True, vertical_alignment="center"):
                label = f"Batch {batch.number}: {plain(batch.name)}"
                if st.button(label, f"open-{batch.number}", icon=jobs.ICONS[status.state]):
                    go(batch=batch.number)
                    st.rerun()
                st.text(f"{jobs.told(status)} Begun {moment(status.created_at)}.")


# -- a table that is about to be read --------------------------------------------------------------


def set_up(upload: Upload) -> None:
    """How the table is read, its first rows, and what the model is to do with them."""
    st.header(plain(upload.name), anchor=False)
    with errors.shown():
        reading = ask_for_reading(upload, guessed_reading(upload.sha256, upload.suffix, upload))
        seen = previewed(upload.sha256, reading, upload)
        show_preview(seen)
        ask_for_tasks(upload, seen)
    with st.popover("Remove this table", icon=":material/delete:"):
        st.text("The file goes for good. Batches that have read it stay.")
        if st.button("Remove the file", type="primary"):
            with errors.shown():
                workspace().remove_upload(upload.number, owner())
                leave(f"{upload.name} is removed.")


@st.cache_data(max_entries=32, show_spinner="Looking into the table")
def guessed_reading(sha256: str, suffix: str, _upload: Upload) -> Reading:
    return guess_reading(_upload)


@st.cache_data(max_entries=32, show_spinner="Looking into the table")
def previewed(sha256: str, reading: Reading, _upload: Upload) -> Preview:
    return preview(_upload, SEEN_ROWS, reading)


def ask_for_reading(upload: Upload, guessed: Reading) -> Reading:
    """What was detected, to be changed where it is wrong."""
    kind = FORMATS[guessed.format]
    if guessed.format == "xlsx":
        sheets = previewed(upload.sha256, guessed, upload).sheets
        st.text(f"{kind}, {size(upload.n_bytes)}, {counted(len(sheets), 'sheet')}")
        if len(sheets) == 1:
            return guessed
        return replace(guessed, sheet=st.selectbox("Sheet", sheets, format_func=visible))
    if guessed.format != "csv":
        st.text(f"{kind}, {size(upload.n_bytes)}")
        return guessed
    found = f"columns split by {DELIMITERS[guessed.delimiter]}, {ENCODINGS[guessed.encoding]}"
    st.text(f"{kind}, {size(upload.n_bytes)}. Detected: {found}.")
    with st.expander("Read it another way", expanded=not can_be_read(upload, guessed)):
        st.text("Change this where the columns or the letters below look wrong.")
        left, right = st.columns(2)
        delimiter = left.selectbox(
            "Columns are split by",
            list(DELIMITERS),
            index=list(DELIMITERS).index(guessed.delimiter),
            format_func=DELIMITERS.__getitem__,
        )
        encoding = right.selectbox(
            "Encoding of the letters",
            list(ENCODINGS),
            index=list(ENCODINGS).index(guessed.encoding),
            format_func=ENCODINGS.__getitem__,
        )
    return replace(guessed, delimiter=delimiter, encoding=encoding)


def can_be_read(upload: Upload, reading: Reading) -> bool:
    try:
        previewed(upload.sha256, reading, upload)
    except NlpkitError:
        return False
    return True


def show_preview(seen: Preview) -> None:
    st.dataframe(grid(seen.columns, seen.rows), hide_index=True, height=280, alt="First rows")
    facts = [f"First {counted(len(seen.rows), 'row')} of {counted(len(seen.columns), 'column')}."]
    if seen.text_columns:
        facts.append(f"Texts in {listed(seen.text_columns)}.")
    if seen.date_columns:
        ways = [f"{name} (as {way})" for name, way in seen.date_columns.items()]
        facts.append(f"Dates in {listed(ways)}.")
    st.text(visible(" ".join(facts)))
    if seen.bad:
        with st.expander(f"{counted(len(seen.bad), 'row')} here cannot be read"):
            show_bad(seen.bad)


def ask_for_tasks(upload: Upload, seen: Preview) -> None:
    if seen.text_column is None:
        raise InputError(
            f"no column of {upload.name} holds texts, so there is nothing for the model to read; "
            "is it split into columns the right way, and the right sheet?"
        )
    kinds = workspace().model().tasks
    tasks = [task for task, kind in kinds.items() if kind in (SequenceHead.kind, TokenHead.kind)]
    with st.form("batch-tasks"):
        columns = list(seen.columns)
        text_column = st.selectbox(
            "Column with the text",
            columns,
            index=columns.index(seen.text_column),
            format_func=visible,
        )
        chosen = st.multiselect(
            "Look for", tasks, tasks, format_func=lambda task: task_name(task, kinds[task])
        )
        dates = list(seen.date_columns)
        date_column = None
        if dates:
            date_column = st.selectbox(
                "Column with the date, for charts over time",
                [*dates, None],
                format_func=lambda name: "no chart over time" if name is None else visible(name),
            )
        asked = st.form_submit_button("Read all rows", type="primary")
    if asked:
        with errors.shown():
            batch = start_batch(
                workspace(),
                upload,
                text_column=text_column,
                tasks=chosen,
                date_column=date_column,
                reading=seen.reading,
                owner=owner(),
            )
            ensure_worker(workspace())
            go(batch=batch.number)
            st.rerun()


# -- a batch ---------------------------------------------------------------------------------------


def show_batch(batch: Batch) -> None:
    status = batch.status()
    st.header(plain(batch.name), anchor=False)
    names = listed([task_name(task, kind) for task, kind in batch.kinds.items()])
    st.text(
        f"Batch {batch.number}: {names} in the column {visible(batch.text_column)}, "
        f"read by {visible(status.model)}. Begun {moment(status.created_at)}."
    )
    jobs.show(batch)
    if status.state in jobs.GOING:
        st.button("Show what is read so far", icon=":material/refresh:")
    if status.done:
        st.fragment(show_results)(batch)
    st.divider()
    with st.popover("Delete this batch", icon=":material/delete:"):
        ask_for_deletion(batch)


def ask_for_deletion(batch: Batch) -> None:
    st.text(visible(f"Batch {batch.number}, {batch.name}: its results go for good."))
    with_file = st.checkbox("Delete the uploaded file, too", value=True)
    if not st.button("Delete it", type="primary"):
        return
    with errors.shown():
        batch.delete()
        said = f"Batch {batch.number} ({batch.name}) is deleted."
        if with_file:
            said += remove_file(batch)
        leave(said)


def remove_file(batch: Batch) -> str:
    """Delete what a batch has read; returns why not, or nothing."""
    try:
        workspace().remove_upload(batch.upload_number, owner())
    except UnknownNameError:
        return ""  # it was deleted before
    except InputError as error:
        return f" Its file is kept: {error}."
    return ""


def classes_of(batch: Batch) -> list[str]:
    """The tasks that give a text a class, as opposed to entities."""
    return [task for task, kind in batch.kinds.items() if kind != TokenHead.kind]


def leave(said: str) -> None:
    """Go back to the beginning, and say something there."""
    st.session_state[SAID] = said
    go()
    st.rerun()


def show_results(batch: Batch) -> None:
    """Filters, and what passes them as charts, as rows and as a file."""
    with errors.shown():
        filters = batch_filters.ask(batch)
        if filters != Filters():
            st.text(
                f"{batch.count(filters):,} of {counted(batch.count(), 'row')} pass the filters."
            )
        shows = {
            "Charts": show_charts,
            "Rows": show_rows,
            "Download": offer_files,
            "Set aside": list_bad,
        }
        offer_to_correct(batch, filters)
        views = st.tabs(list(shows), on_change="rerun", key=f"view-{batch.number}")
        for view, show in zip(views, shows.values(), strict=True):
            if view.open:  # the others are not even asked for
                with view, errors.shown():
                    show(batch, filters)


def offer_to_correct(batch: Batch, filters: Filters) -> None:
    """The way to where these rows are corrected, the least certain first."""
    if not st.button("Correct these", icon=":material/edit_note:"):
        return
    about = [*filters.labels, *filters.scores, *classes_of(batch)]
    if filters.entity or filters.entity_label or not about:
        about = [task for task, kind in batch.kinds.items() if kind == TokenHead.kind]
    where = batch_filters.parameters_of(filters)
    st.switch_page(
        "views/label.py", query_params={"task": about[0], "batch": str(batch.number), **where}
    )


def show_charts(batch: Batch, filters: Filters) -> None:
    status = batch.status()
    summary = summed(batch.number, status.created_at, status.done, filters, batch)
    if not summary.rows:
        st.info(nothing(filters), icon=":material/filter_alt_off:")
        return
    if summary.warned:
        st.warning(
            f"{counted(summary.warned, 'row')} may be misread: the column warning among the rows "
            "says why.",
            icon=":material/warning:",
        )
    tasks = list(summary.classes)
    n_columns = min(len(tasks), 2)
    for i in range(0, len(tasks), 2):
        for column, task in zip(st.columns(n_columns), tasks[i : i + 2], strict=False):
            with column:
                title = heading(task)
                st.subheader(plain(title))
                charts.classes(title, summary.classes[task], summary.rows)
                st.text(
                    f"Score of the likeliest class, on average: {summary.mean_scores[task]:.2f}"
                )
    if summary.entities:
        title = "Most frequent entities"
        st.subheader(title)
        charts.entities(title, summary.entities, batch.entity_labels())
    if summary.dates:
        show_time(batch, summary)


@st.cache_data(max_entries=64, show_spinner="Adding up")
def summed(number: int, begun: float, n_done: int, filters: Filters, _batch: Batch) -> Summary:
    """What the rows add up to; of a large batch that takes a second."""
    return _batch.summary(filters)


def show_time(batch: Batch, summary: Summary) -> None:
    """The classes of a task over time."""
    st.subheader(f"Over time, by {summary.date_unit}")
    tasks = list(summary.dates)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        task = tasks[0]
        if len(tasks) > 1:
            task = st.selectbox(
                "Classes of", tasks, format_func=visible, width=200, key=f"time-{batch.number}"
            )
        as_share = st.toggle("As shares", key=f"share-{batch.number}")
    title = f"{visible(task)} over {visible(batch.date_column or '')}"
    charts.over_time(title, summary.dates[task], summary.date_unit, as_share=as_share)
    if summary.undated:
        st.text(f"{counted(summary.undated, 'row')} without a date that can be read are left out.")


def show_rows(batch: Batch, filters: Filters) -> None:
    """A page of rows; the one that is chosen is shown whole."""
    n_rows = batch.count(filters)
    if not n_rows:
        st.info(nothing(filters), icon=":material/filter_alt_off:")
        return
    place = f"rows-{batch.number}"
    least_certain = st.selectbox(
        "Order of the rows",
        ["", *classes_of(batch)],
        format_func=lambda task: f"least certain {visible(task)} first" if task else "as they came",
        key=f"{place}-order",
        width=320,
    )
    table = st.container()
    first = pager(n_rows, PAGE_ROWS, f"{place}-page")
    rows = batch.rows(first, PAGE_ROWS, filters, least_certain)
    cells = batch.cells(rows)
    # What is found stands beside the text. Lists of entities are for programs.
    results = [name for name in batch.result_columns if not isinstance(cells[0][name], list)]
    columns = dict.fromkeys([batch.text_column, *results, *batch.columns])
    widths: dict[str, Any] = {visible(batch.text_column): st.column_config.Column(width=360)}
    for name in results:
        widths[visible(name)] = st.column_config.Column(width=120)
        if any(isinstance(one[name], float) for one in cells):
            widths[visible(name)] = st.column_config.NumberColumn(format="%.3f")
    chosen = table.dataframe(
        grid([*columns], cells, [row.number for row in rows]),
        on_select="rerun",
        selection_mode="single-row",
        key=f"{place}-{rows[0].number}-{rows[-1].number}",
        column_config=widths,
        placeholder="",
        alt="Rows with their results",
    )
    if not chosen.selection.rows:
        st.text("Tick the box before a row to see it whole.")
    for i in chosen.selection.rows:
        show_row(rows[i])


def show_row(row: BatchRow) -> None:
    """A row with its whole text, all scores and all other columns."""
    st.subheader(f"Row {row.number:,}")
    if row.warning:
        st.warning(plain(row.warning), icon=":material/warning:")
    text, entities = row.text, row.entities
    parts = highlight.parts_of(text, entities)
    number = 1
    if len(parts) > 1:
        number = st.number_input(f"Part of the text, 1 to {len(parts):,}", 1, len(parts), width=240)
    if entities:
        st.html(highlight.legend(entities))
    st.html(highlight.marked_entities(text, entities, *parts[number - 1]))
    if row.labels:
        columns = st.columns(len(row.labels))
        for column, (task, labels) in zip(columns, row.labels.items(), strict=True):
            column.html(highlight.score_bars(visible(heading(task)), labels))
    if row.fields:
        fields = [(name, cell_text(value)) for name, value in row.fields.items()]
        st.html(figures("Other columns", ("Column", "Value"), fields, n_texts=2))


def offer_files(batch: Batch, filters: Filters) -> None:
    """Downloads, which are made when they are asked for."""
    if filters != Filters():
        n_rows = batch.count(filters)
        choices = {f"The {counted(n_rows, 'row')} that pass the filters": filters}
        choices["All rows"] = Filters()
        filters = choices[st.radio("Which rows", list(choices), key=f"which-{batch.number}")]
    st.text(
        "Your columns, and beside them what the model found. CSV opens in Excel; Parquet and JSON "
        "lines keep every entity with its place and score."
    )
    with st.container(horizontal=True):
        for name, ending, kind in DOWNLOADS:
            st.download_button(
                name,
                partial(exported, batch, ending, filters),
                f"{stem(batch.name)}-results.{ending}",
                kind,
                key=f"download-{ending}-{batch.number}",
                on_click="ignore",
                icon=":material/download:",
            )


def exported(batch: Batch, format: str, filters: Filters) -> bytes:
    """The file, written to the disk row by row and read once it is whole."""
    with TemporaryDirectory(prefix="nlpkit-") as folder:
        path = Path(folder) / f"results.{format}"
        batch.export(format, path, filters)
        return path.read_bytes()


def list_bad(batch: Batch, filters: Filters) -> None:
    """The rows that could not be read, whatever the filters."""
    n_rows = batch.status().errors
    if not n_rows:
        st.info("No row was set aside: all could be read.", icon=":material/check:")
        return
    st.text(f"{counted(n_rows, 'row')} could not be read. The others are not touched by that.")
    table = st.container()
    first = pager(n_rows, BAD_ROWS, f"bad-{batch.number}")
    with table:
        show_bad(batch.errors(first, BAD_ROWS))


def show_bad(bad: Sequence[SetAside]) -> None:
    cells = [{"place": one.place, "reason": one.reason} for one in bad]
    st.dataframe(
        grid(["place", "reason"], cells), hide_index=True, alt="Rows that were set aside, and why"
    )


# -- words -----------------------------------------------------------------------------------------


def nothing(filters: Filters) -> str:
    if filters == Filters():
        return "No row could be read: the tab Set aside says why."
    return "No row passes these filters: widen or clear them."


page()
