"""Indexes: make one from files, watch its jobs, look after it, delete it.

The address says what is shown: nothing more (all indexes), ``?uploads=3-12`` (files that are about
to become an index) or ``?index=news`` (one index; with ``uploads``, files that are to be added).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from nlpkit.errors import InputError, NlpkitError
from nlpkit.index import Index
from nlpkit.sources.extract import EXTRACTORS
from nlpkit.workspace import (
    IndexEntry,
    IndexJob,
    Preview,
    SetAside,
    State,
    Status,
    Upload,
    ensure_worker,
    preview,
)
from nlpkit.workspace.uploads import TABLES
from parts import errors, indexes, jobs
from parts.model import pipeline
from parts.numbers import ranges_of, ranges_text
from parts.safe import plain, visible
from parts.settings import settings
from parts.table import figures, grid, pager
from parts.users import owner
from parts.words import counted, listed, moment, size, stem
from parts.work import workspace

#: What can be uploaded here: documents, and tables with a document a row.
ENDINGS = sorted({name.rpartition(".")[2] for name in (*EXTRACTORS, *TABLES)})
UPLOAD, FOLDER, PATH = "Upload files", "A folder on this machine", "An index that is there"
#: Rows of the preview, of a page of rows that were set aside; files and jobs that are listed.
SEEN_ROWS, BAD_ROWS, LISTED = 10, 100, 20
#: Seconds between two looks at a list in which something goes on, and at an index's figures.
EVERY, STATUS_EVERY = 2.0, 3.0
LONGEST_NAME = 100
#: What jobs are called in a list, and what they say while they run.
TITLES = {
    "build": "Read documents",
    "retry": "Read rows again",
    "compact": "Compact",
    "verify": "Check for damage",
    "repair": "Repair",
    "look": "Take stock",
}
DOING = {
    "compact": "Compacting. The index can be searched meanwhile.",
    "verify": "Checking every file and every row.",
    "repair": "Repairing.",
    "look": "Taking stock.",
}
#: These go through documents, and can stop between two of them.
BY_ROWS = ("build", "retry")

# What the session keeps: words to be said once, and what went wrong with some of the files.
SAID, REFUSED = "indexes-said", "indexes-refused"


def page() -> None:
    st.title("Indexes")
    if st.query_params:
        st.button("All indexes", icon=":material/arrow_back:", type="tertiary", on_click=go)
    with errors.shown():
        if SAID in st.session_state:
            st.success(plain(st.session_state.pop(SAID)), icon=":material/check:")
        for reason in st.session_state.pop(REFUSED, ()):
            st.warning(plain(reason), icon=":material/warning:")
        entry = None
        if "index" in st.query_params:
            entry = workspace().index(st.query_params["index"], owner())
        if "uploads" in st.query_params:
            numbers = ranges_of(st.query_params["uploads"])
            set_up([workspace().upload(number, owner()) for number in numbers], entry)
        elif entry is not None:
            show_index(entry)
        else:
            begin()


def go(**where: str) -> None:
    """Make the address ask for an index, for uploads, both or neither."""
    st.query_params.from_dict(where)


def leave(said: str) -> None:
    """Go back to the beginning, and say something there."""
    st.session_state[SAID] = said
    go()
    st.rerun()


# -- the beginning: a new index, or one of those that are there ------------------------------------


def begin() -> None:
    st.text(
        "An index makes documents searchable by what they mean, and answers questions by quoting "
        "them."
    )
    entries = workspace().indexes(owner())
    show_list(entries)
    st.subheader("Make an index")
    kind = UPLOAD
    if not owner():  # else a path could lead to what is somebody else's
        kind = st.segmented_control(
            "From", [UPLOAD, FOLDER, PATH], default=UPLOAD, required=True, key="indexes-from"
        )
    with errors.shown():
        if kind == UPLOAD:
            take_uploads(None)
        else:
            take_path(kind)


def show_list(entries: Sequence[IndexEntry]) -> None:
    if not entries:
        return
    st.subheader("Your indexes")
    goes_on = any(status.state in jobs.GOING for _, _, status in latest(entries))
    live = st.fragment(show_cards, run_every=EVERY if goes_on else None)
    live(entries, goes_on)


def latest(entries: Sequence[IndexEntry]) -> list[tuple[IndexEntry, IndexJob, Status]]:
    """Each index with its newest job."""
    found = []
    for entry in entries:
        for job in entry.jobs()[:1]:
            found.append((entry, job, job.status()))
    return found


def show_cards(entries: Sequence[IndexEntry], was_going: bool) -> None:
    with errors.shown():
        found = latest(entries)
        if any(status.state in jobs.GOING for _, _, status in found) != was_going:
            st.rerun()
        if was_going:
            ensure_worker(workspace())
        for entry, job, status in found:
            with st.container(border=True, gap="small"):
                # By a callback: one click may come just when the page is redrawn.
                if st.button(
                    plain(entry.name),
                    f"open-{entry.number}",
                    icon=jobs.ICONS[status.state],
                    type="tertiary",
                    on_click=go,
                    kwargs={"index": entry.name},
                ):
                    st.rerun()
                told = [facts_in_words(entry.facts)] if entry.facts else []
                if status.state != State.DONE:
                    told.append(f"{TITLES[job.do]}: {tell(job, status)}")
                st.text("\n".join(told))
                if entry.is_there:
                    link_to_search(entry)


def link_to_search(entry: IndexEntry) -> None:
    st.page_link(
        "views/search.py",
        label="Search and ask",
        icon=":material/search:",
        query_params={"index": entry.name},
    )


def facts_in_words(facts: dict[str, Any]) -> str:
    return visible(
        f"{counted(facts['documents'], 'document')}, {size(facts['bytes'])}, "
        f"read by {facts['model']}"
    )


def take_uploads(entry: IndexEntry | None) -> None:
    """Files from this computer, or some that were uploaded before."""
    files = st.file_uploader(
        "Documents (.txt .md .html .pdf .docx), or tables with a document in each row (.csv .xlsx "
        ".jsonl .parquet)",
        type=ENDINGS,
        accept_multiple_files=True,
        help=f"At most {settings().max_upload_mb} MB each.",
    )
    if files:
        with st.spinner("Storing the files"):
            stored, refused = [], []
            for file in files:
                try:
                    stored.append(workspace().add_upload(file.name, file, owner()).number)
                except NlpkitError as error:
                    refused.append(str(error))
        if stored:
            st.session_state[REFUSED] = refused
            go_to_uploads(stored, entry)
        raise InputError("; ".join(refused))
    known = workspace().uploads(owner())
    if known:
        with st.expander("Files that were uploaded before"):
            chosen = st.multiselect(
                "Files",
                known,
                format_func=lambda one: f"{visible(one.name)}, {moment(one.uploaded_at)}",
                placeholder="Choose files",
            )
            if st.button("Use these files") and chosen:
                go_to_uploads([upload.number for upload in chosen], entry)


def go_to_uploads(numbers: Sequence[int], entry: IndexEntry | None) -> None:
    where = {"uploads": ranges_text(numbers)}
    go(**where if entry is None else {"index": entry.name, **where})
    st.rerun()


def take_path(kind: str) -> None:
    """A folder of documents, or an index, on the machine on which the app runs."""
    with st.form("indexes-path"):
        path = st.text_input(
            "Path of the folder" if kind == FOLDER else "Path of the index's folder",
            placeholder="/home/me/documents" if kind == FOLDER else "/home/me/news.index",
        )
        name = st.text_input("Name", max_chars=LONGEST_NAME, help="By default the folder's.")
        label = "Build the index" if kind == FOLDER else "Add it to the list"
        asked = st.form_submit_button(label, type="primary")
    if kind == FOLDER:
        st.text(
            "All documents in the folder and below it are read: .txt .md .html .pdf .docx. Read "
            "the folder again later, and only what has changed costs time."
        )
    if asked:
        if not path.strip():
            raise InputError("there is no path yet: type one above")
        name = name.strip() or path.rstrip("/\\ ").replace("\\", "/").rpartition("/")[2]
        folder, there = (path.strip(), None) if kind == FOLDER else (None, path.strip())
        entry = workspace().add_index(name, folder=folder, path=there, owner=owner())
        ensure_worker(workspace())
        go(index=entry.name)
        st.rerun()


# -- files that are about to be read ---------------------------------------------------------------


def set_up(uploads: Sequence[Upload], entry: IndexEntry | None) -> None:
    """What was given, which columns count, and the name of the new index."""
    st.header("New index" if entry is None else plain(f"Add to {entry.name}"))
    n_bytes = sum(upload.n_bytes for upload in uploads)
    names = [visible(upload.name) for upload in uploads[:LISTED]]
    if len(uploads) > LISTED:
        names.append(f"{len(uploads) - LISTED:,} more")
    st.text(f"{counted(len(uploads), 'file')}, {size(n_bytes)}: {listed(names)}")
    tables = [upload for upload in uploads if upload.is_table]
    columns: dict[str, str | None] = {}
    if tables:
        columns = ask_for_columns(tables)
    with st.form("indexes-new"):
        if entry is None:
            proposed = stem(uploads[0].name) if len(uploads) == 1 else "Documents"
            name = st.text_input("Name", proposed[:LONGEST_NAME], max_chars=LONGEST_NAME)
            asked = st.form_submit_button("Build the index", type="primary")
        else:
            prune = st.checkbox(
                "Delete documents that came from files of these names and are no longer in them"
            )
            asked = st.form_submit_button("Read these files", type="primary")
    if not asked:
        return
    with errors.shown():
        if entry is None:
            entry = workspace().add_index(name, uploads=uploads, owner=owner(), **columns)
        else:
            entry.add(uploads=uploads, prune=prune, **columns)
        ensure_worker(workspace())
        go(index=entry.name)
        st.rerun()


def ask_for_columns(tables: Sequence[Upload]) -> dict[str, str | None]:
    """The columns with text and id, that all of the tables must have; and the first one's rows."""
    seen = previewed(tables[0].sha256, tables[0].suffix, tables[0])
    st.dataframe(grid(seen.columns, seen.rows), hide_index=True, height=240, alt="First rows")
    if seen.text_column is None:
        raise InputError(
            f"no column of {tables[0].name} holds texts, so there is nothing to search; is it "
            "split into columns the right way? The page Batch shows how it is read"
        )
    left, right = st.columns(2)
    text_column = left.selectbox(
        "Column with the text",
        seen.columns,
        index=seen.columns.index(seen.text_column),
        format_func=visible,
    )
    others = [name for name in seen.columns if name != text_column]
    ids = [name for name in others if name.lower() == "id"]
    id_column = right.selectbox(
        "Column with the id",
        [None, *others],
        index=1 + others.index(ids[0]) if ids else 0,
        format_func=lambda name: "none: number the rows" if name is None else visible(name),
        help="Ids tell the documents apart: a row whose id is known replaces that document.",
    )
    st.text("All other columns become fields that searches can filter by.")
    return {"text_column": text_column, "id_column": id_column}


@st.cache_data(max_entries=32, show_spinner="Looking into the table")
def previewed(sha256: str, suffix: str, _upload: Upload) -> Preview:
    return preview(_upload, SEEN_ROWS)


# -- an index --------------------------------------------------------------------------------------


def show_index(entry: IndexEntry) -> None:
    st.header(plain(entry.name))
    done = entry.jobs()
    if entry.is_there:
        link_to_search(entry)
    for job in reversed(done):
        if job.status().state != State.DONE:
            show_job(job, is_newest=job.number == done[0].number)
    is_going = any(job.status().state in jobs.GOING for job in done)
    live = st.fragment(show_status, run_every=STATUS_EVERY if is_going else None)
    live(entry, was_there=entry.is_there)
    if entry.is_there:
        show_condition(entry, done, is_going=is_going)
        with st.expander("Add documents", icon=":material/add:"), errors.shown():
            read_folder_again(entry, done)
            take_uploads(entry)
    elif not entry.made_here:
        st.warning(
            plain(f"There is no index in {entry.path} any more: put it back, or delete it here."),
            icon=":material/warning:",
        )
    show_set_aside(done)
    show_history(done)
    with st.expander("Delete this index", icon=":material/delete:"):
        ask_for_deletion(entry)


def read_folder_again(entry: IndexEntry, done: Sequence[IndexJob]) -> None:
    """Where the index was made from a folder: take up what has changed there."""
    folders = [job.options["folder"] for job in done if "folder" in job.options]
    if not folders:
        return
    with st.form(f"indexes-folder-{entry.number}"):
        st.text(f"From the folder {visible(folders[0])}")
        prune = st.checkbox("Delete documents whose files are gone")
        asked = st.form_submit_button("Read the folder again", icon=":material/refresh:")
    if asked:
        entry.add(folder=folders[0], prune=prune)
        ensure_worker(workspace())
        st.rerun()


def show_job(job: IndexJob, *, is_newest: bool) -> None:
    """A job that goes on, or one that rests and could; of the latter only the newest matters."""
    if job.status().state in jobs.GOING or is_newest:
        with st.container(border=True):
            st.text(TITLES[job.do])
            can_stop = job.do in BY_ROWS
            jobs.show(job, "document", lambda now, _: tell(job, now), can_stop=can_stop)


def tell(job: IndexJob, status: Status) -> str:
    """How far a job is, or what came of it."""
    if status.state == State.DONE:
        return outcome(job, status)
    if status.state == State.RUNNING and job.do in DOING:
        return DOING[job.do]
    if status.state not in jobs.GOING and job.do in DOING:
        return f"{jobs.NAMES[status.state].capitalize()}."
    return jobs.told(status, "document")


def outcome(job: IndexJob, status: Status) -> str:
    if job.do in ("verify", "repair"):
        if not status.errors:
            return "No problems." if job.do == "verify" else "No problems are left."
        left = "found" if job.do == "verify" else "left"
        return f"{counted(status.errors, 'problem')} {left}."
    if job.do not in BY_ROWS:
        return "Done."
    names = ("added", "updated", "unchanged", "deleted")
    counts = [f"{job.result[name]:,} {name}" for name in names if job.result.get(name)]
    if status.errors:
        counts.append(f"{status.errors:,} set aside")
    told = f"{', '.join(counts)}." if counts else "There was nothing to read."
    return told if job.do == "build" else f"in all {told}"


def show_status(entry: IndexEntry, *, was_there: bool) -> None:
    """The index in figures, live while a job is at it."""
    if entry.is_there != was_there:
        st.rerun()
    if entry.is_there:
        with errors.shown():
            show_figures(entry, indexes.opened(entry))


def show_figures(entry: IndexEntry, index: Index) -> None:
    status = index.status()
    kinds = {segment["kind"] for segment in status["segments"]} - {"flat"}
    recalls = [
        segment["recall_at_10"]
        for segment in status["segments"]
        if segment["recall_at_10"] is not None
    ]
    model = status["model"]
    if index.pipeline is not pipeline():
        model += " (not the one that the app uses now)"
    rows: list[tuple[str, str | int]] = [
        ("Documents", status["documents"]),
        ("Passages (chunks)", status["chunks"]),
        ("On disk", size(status["vector_bytes"] + (status["database_bytes"] or 0))),
        ("Search", f"approximate ({', '.join(sorted(kinds))})" if kinds else "exact"),
        ("Recall at 10", f"{min(recalls):.1%}" if recalls else "100% (exact)"),
        ("Model", model),
        ("Changes so far (generation)", status["generation"]),
        ("Made", moment(entry.created_at)),
    ]
    st.html(figures("In figures", ("What", "Value"), rows))
    if status["needs_compaction"]:
        st.info(
            "Much of this index lies in small or deleted parts: compacting it would make searches "
            "faster.",
            icon=":material/speed:",
        )


def show_condition(entry: IndexEntry, done: Sequence[IndexJob], *, is_going: bool) -> None:
    """What the last check has found, and the jobs that look after an index."""
    checks = [job for job in done if job.do in ("verify", "repair")]
    newest = next((job for job in checks if job.status().state == State.DONE), None)
    problems: list[str] = [] if newest is None else newest.result["problems"]
    if newest is not None:
        status = newest.status()
        when = moment(status.finished_at or status.created_at)
        if problems:
            st.error(
                f"Checked on {when}: {counted(status.errors, 'problem')}. Repair mends what can be "
                "mended.",
                icon=":material/error:",
            )
            cells = [{"problem": problem} for problem in problems]
            st.dataframe(grid(["problem"], cells), hide_index=True, alt="Problems")
        else:
            st.success(f"Checked on {when}: no problems.", icon=":material/check:")
    with st.container(horizontal=True):
        for label, icon, start in (
            ("Check for damage", ":material/health_and_safety:", entry.verify),
            ("Compact", ":material/compress:", entry.compact),
            *((("Repair", ":material/build:", entry.repair),) if problems else ()),
        ):
            if st.button(label, icon=icon, disabled=is_going):
                start()
                ensure_worker(workspace())
                st.rerun()


def show_set_aside(done: Sequence[IndexJob]) -> None:
    """The rows that the newest finished reading has set aside, to be looked at and tried again."""
    readings = [job for job in done if job.do in BY_ROWS]
    job = next((job for job in readings if job.status().state == State.DONE), None)
    if job is None or not (n_errors := job.status().errors):
        return
    with st.expander(f"{counted(n_errors, 'document')} set aside", icon=":material/warning:"):
        st.text("These could not be read. The others are not touched by that.")
        bad = job.errors(pager(n_errors, BAD_ROWS, f"aside-{job.number}"), BAD_ROWS)
        show_bad(bad)
        if st.button("Read these again", icon=":material/refresh:"):
            with errors.shown():
                job.retry()
                ensure_worker(workspace())
                st.rerun()


def show_bad(bad: Sequence[SetAside]) -> None:
    cells = [{"place": one.place, "reason": one.reason} for one in bad]
    st.dataframe(
        grid(["place", "reason"], cells), hide_index=True, alt="Documents set aside, and why"
    )


def show_history(done: Sequence[IndexJob]) -> None:
    """The newest jobs."""
    with st.expander("Jobs so far", icon=":material/history:"):
        for job in done[:LISTED]:
            status = job.status()
            st.text(f"{moment(status.created_at)}\n{TITLES[job.do]}: {tell(job, status)}")


def ask_for_deletion(entry: IndexEntry) -> None:
    if entry.made_here:
        st.text("Its documents and vectors are deleted from the disk, for good. Uploads stay.")
    else:
        st.text(f"It is taken off the list. Its files stay in {visible(str(entry.path))}.")
    with st.form(f"indexes-delete-{entry.number}", border=False):
        typed = st.text_input(f"Type {plain(entry.name)} to confirm", autocomplete="off")
        asked = st.form_submit_button("Delete", type="primary")
    if asked:
        with errors.shown():
            if typed.strip() != entry.name:
                raise InputError(
                    f"that is not the name of the index: type {entry.name} to delete it"
                )
            workspace().remove_index(entry.name, owner())
            leave(f"The index {entry.name} is deleted.")


page()
