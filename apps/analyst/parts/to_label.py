"""The texts that wait to be corrected: of a batch, of a file, or typed.

``?batch=3`` and ``?upload=2`` in the address choose them; the filters of a batch stand there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from nlpkit.errors import InputError
from nlpkit.sources.base import UnusableError
from nlpkit.sources.extract import EXTRACTORS, extract
from nlpkit.workspace import Batch, Filters, Upload, preview
from nlpkit.workspace.uploads import TABLES
from parts import batch_filters
from parts.safe import visible
from parts.settings import settings
from parts.users import owner
from parts.words import counted, moment
from parts.work import workspace

#: Texts that are put in line at a time, and rows of a file that are looked at for them.
IN_LINE, MOST_ROWS = 100, 2_000
#: Characters of a text that may be corrected: one reads it as a whole.
LONGEST_TEXT = 50_000
BATCH, FILE, TYPED = "A batch", "A file", "One text"
CERTAIN, IN_ORDER = "Least certain first", "In order"
#: What the address may name.
NAMES = {"batch": "Batch", "upload": "File"}

# What the session keeps: the texts in line, and the one that was typed.
LINE, TYPED_TEXT = "label-line", "label-typed"


@dataclass(frozen=True, slots=True)
class Item:
    """A text to be judged; ``source`` goes into the database, ``place`` is for people."""

    text: str
    place: str
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Line:
    """Texts one after another; ``made_for`` says of what, ``at`` is the one that is shown."""

    made_for: tuple[object, ...]
    items: list[Item]
    skipped: int = 0  #: too long to be corrected
    answers: dict[int, Any] = field(default_factory=dict)  #: by place in the line
    saved_at: float = 0.0  #: by time.monotonic()
    at: int = 0

    @property
    def item(self) -> Item | None:
        """The text that is shown, None behind the last one."""
        return self.items[self.at] if self.at < len(self.items) else None


def ask(task: str, by: str) -> Line | None:
    """Show what texts can be had and give those that are chosen, None where none are yet."""
    named = FILE if "upload" in st.query_params or not workspace().batches(owner()) else BATCH
    st.session_state.setdefault("label-from", named)
    kinds = (BATCH, FILE, TYPED)
    chosen = st.segmented_control("Texts from", kinds, key="label-from", required=True)
    assert chosen is not None
    line = {BATCH: _of_batch, FILE: _of_file, TYPED: _typed}[chosen](task, by)
    if line is not None and line.skipped:
        st.text(
            f"{counted(line.skipped, 'text')} of more than {LONGEST_TEXT:,} characters left out: "
            "nobody could correct them here."
        )
    return line


def is_empty() -> bool:
    """Whether there are no texts yet that could be corrected."""
    there = workspace().batches(owner()) or workspace().uploads(owner())
    return not there and TYPED_TEXT not in st.session_state


def again() -> None:
    """Look for texts anew."""
    st.session_state.pop(LINE, None)


# -- a batch ---------------------------------------------------------------------------------------


def _of_batch(task: str, by: str) -> Line | None:
    batches = {batch.number: batch for batch in workspace().batches(owner())}
    if not batches:
        st.info(
            "There is no batch yet: read a table on the page Batch, or take the texts of a file.",
            icon=":material/table_rows:",
        )
        return None
    number = _chosen("batch", batches, lambda one: f"Batch {one}: {visible(batches[one].name)}")
    batch = batches[number]
    order = IN_ORDER
    if task in batch.tasks:
        order = st.radio("Order", (CERTAIN, IN_ORDER), key="label-order", horizontal=True)
    else:
        st.text("This batch was not read for this task, so its rows come in their order.")
    filters = batch_filters.ask(batch)
    least_certain = task if order == CERTAIN else ""
    place = ("batch", batch.number, least_certain, filters)
    return _line(task, by, place, _rows(batch, filters, least_certain))


def _rows(batch: Batch, filters: Filters, least_certain: str) -> Iterator[Item]:
    offset = 0
    while rows := batch.rows(offset, IN_LINE, filters, least_certain):
        for row in rows:
            source = {"batch": batch.number, "row": row.number}
            yield Item(row.text, f"{visible(batch.name)}, row {row.number:,}", source)
        offset += len(rows)


# -- a file ----------------------------------------------------------------------------------------


def _of_file(task: str, by: str) -> Line | None:
    file = st.file_uploader(
        "A table, or a document",
        type=[ending.removeprefix(".") for ending in (*TABLES, *EXTRACTORS)],
        help=f"At most {settings().max_upload_mb} MB.",
        key="label-file",
    )
    if file is not None and st.session_state.get("label-stored") != file.file_id:
        upload = workspace().add_upload(file.name, file, owner())
        st.session_state["label-stored"] = file.file_id
        st.session_state["label-upload"] = upload.number
    uploads = {upload.number: upload for upload in workspace().uploads(owner())}
    if not uploads:
        st.info("Upload a file with texts above.", icon=":material/upload_file:")
        return None

    def name(number: int) -> str:
        return f"{visible(uploads[number].name)}, {moment(uploads[number].uploaded_at)}"

    upload = uploads[_chosen("upload", uploads, name)]
    if not upload.is_table:
        return _of_document(task, by, upload)
    columns, text_columns = _columns(upload.sha256, upload.suffix, upload)
    if not text_columns:
        raise InputError(
            f"no column of {upload.name} holds texts; choose another file, or read it another way "
            "on the page Batch"
        )
    column = st.selectbox(
        "Column with the text",
        columns,
        index=columns.index(text_columns[0]),
        format_func=visible,
        key=f"label-column-{upload.number}",
    )
    texts = _texts(upload.sha256, upload.suffix, column, upload)
    if len(texts) == MOST_ROWS:
        st.text(
            f"These are the first {MOST_ROWS:,} rows. For all of them, and for the least certain "
            "ones first, read the table on the page Batch."
        )
    items = (
        Item(text, f"{visible(upload.name)}, row {row:,}", {"upload": upload.number, "row": row})
        for row, text in texts
    )
    return _line(task, by, ("upload", upload.number, column), items)


def _of_document(task: str, by: str, upload: Upload) -> Line:
    by_line = False
    if upload.suffix.startswith(".txt"):
        by_line = st.toggle(
            "Each line is a text of its own", value=True, key=f"label-lines-{upload.number}"
        )
    text = _document(upload.sha256, upload.suffix, upload)
    parts = text.splitlines() if by_line else [text]
    items = (
        Item(
            part,
            f"{visible(upload.name)}, line {number:,}" if by_line else visible(upload.name),
            {"upload": upload.number} | ({"line": number} if by_line else {}),
        )
        for number, part in enumerate(parts, 1)
    )
    return _line(task, by, ("upload", upload.number, by_line), items)


@st.cache_data(max_entries=16, show_spinner="Looking into the table")
def _columns(sha256: str, suffix: str, _upload: Upload) -> tuple[list[str], list[str]]:
    """All columns, and those that hold texts."""
    seen = preview(_upload, 1)
    return list(seen.columns), list(seen.text_columns)


@st.cache_data(max_entries=4, show_spinner="Reading the table")
def _texts(sha256: str, suffix: str, column: str, _upload: Upload) -> list[tuple[int, str]]:
    """The first texts of a column, with the numbers of their rows."""
    rows = enumerate(preview(_upload, MOST_ROWS).rows, 1)
    return [(row, text) for row, fields in rows if isinstance(text := fields.get(column), str)]


@st.cache_data(max_entries=4, show_spinner="Reading the file")
def _document(sha256: str, suffix: str, _upload: Upload) -> str:
    try:
        with _upload.path.open("rb") as file:
            return extract(file, suffix).text
    except UnusableError as error:
        raise InputError(f"{_upload.name}: {error}") from None


# -- typed -----------------------------------------------------------------------------------------


def _typed(task: str, by: str) -> Line | None:
    with st.form("label-type", border=False):
        text = st.text_area("Text", height=120, placeholder="Type or paste a text here")
        if st.form_submit_button("Take this text"):
            if not text.strip():
                raise InputError("there is no text yet: type one above")
            if len(text) > LONGEST_TEXT:
                raise InputError(
                    f"the text has {len(text):,} characters, and a text to correct may have "
                    f"{LONGEST_TEXT:,}: take a part of it"
                )
            st.session_state[TYPED_TEXT] = text
            again()
    taken = st.session_state.get(TYPED_TEXT)
    if taken is None:
        return None
    return _line(task, by, ("typed", taken), [Item(taken, "Typed")], anew=True)


# -- in line ---------------------------------------------------------------------------------------


def _line(
    task: str, by: str, place: tuple[object, ...], items: Iterable[Item], *, anew: bool = False
) -> Line:
    """Those that this person has yet to judge, each once; put in line anew where ``place`` changes.

    ``anew``: texts that were judged before are there, too.
    """
    made_for = (task, by, *place)
    line: Line | None = st.session_state.get(LINE)
    if line is not None and line.made_for == made_for:
        return line
    line = Line(made_for, [])
    seen = set()
    if not anew:
        judged = workspace().corrections.latest(task, owner())
        seen = {one.text for one in judged if one.by == by}
    for item in items:
        if not item.text.strip() or item.text in seen:
            continue
        seen.add(item.text)
        if len(item.text) > LONGEST_TEXT:
            line.skipped += 1
            continue
        line.items.append(item)
        if len(line.items) == IN_LINE:
            break
    st.session_state[LINE] = line
    return line


def _chosen(name: str, known: Mapping[int, Any], shown: Callable[[int], str]) -> int:
    """The one that the address names, or the newest; the address follows what is chosen."""
    key = f"label-{name}"
    asked = st.query_params.get(name, "")
    if st.session_state.get(key) not in known:
        named = int(asked) if asked.isdecimal() and len(asked) < 16 else 0
        st.session_state[key] = named if named in known else next(iter(known))
    number: int = st.selectbox(NAMES[name], list(known), format_func=shown, key=key)
    for other in NAMES:
        if other != name:
            st.query_params.pop(other, None)
    if asked != str(number):
        st.query_params[name] = str(number)
    return number
