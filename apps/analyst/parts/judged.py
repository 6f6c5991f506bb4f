"""What people said so far: the list of corrections, how far people agree, and files of it all."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import streamlit as st

from nlpkit.heads import TokenHead
from nlpkit.workspace import Agreement, Correction
from parts.safe import visible
from parts.table import figures, grid, pager
from parts.trainings import in_words
from parts.users import owner
from parts.words import counted, moment
from parts.work import workspace

PAGE = 50
#: Files for entities and for classes: the name on the button, the ending, the kind.
JSONL = ("JSON lines", "jsonl", "application/x-ndjson")
DOCBIN = ("spaCy DocBin", "docbin", "application/octet-stream")
CONLL = ("CoNLL", "conll", "text/plain")
ENDINGS = {"jsonl": "jsonl", "docbin": "spacy", "conll": "conll"}


def show(task: str, kind: str) -> None:
    """All of the view."""
    corrections = workspace().corrections
    n = corrections.count(task, owner())
    if not n:
        st.info("Nothing is corrected yet for this task.", icon=":material/edit_note:")
        return
    _agreement(corrections.agreement(task, owner()))
    st.subheader("All corrections")
    first = pager(n, PAGE, f"judged-{task}")
    _table(corrections.list(task, owner(), first, PAGE))
    st.subheader("Take them along")
    _files(task, kind)


def _agreement(found: Agreement) -> None:
    """How far two people who judged the same texts agree."""
    st.subheader("Agreement")
    if not found.pairs:
        st.text(
            "No text was judged by two people yet, so nothing can be said of how far they agree."
        )
        return
    names = {"kappa": "Cohen's kappa", "f1": "F1 of entities"}
    measure = names[found.measure]
    st.text(
        f"{counted(found.texts, 'text')} judged by more than one. {measure}: "
        f"{_number(found.value)}; 1 is full agreement"
        + (", 0 is what chance would give." if found.measure == "kappa" else ".")
    )
    rows = [
        (f"{visible(one)} and {visible(other)}", n, _number(value))
        for one, other, n, value in found.pairs
    ]
    st.html(figures("Two by two", ("People", "Texts", measure), rows))


def _table(found: Sequence[Correction]) -> None:
    rows = [
        {
            "when": moment(one.at),
            "who": visible(one.by),
            "corrected": in_words(one.value, one.text),
            "model": "" if one.model_value is None else in_words(one.model_value, one.text),
            "text": one.text,
        }
        for one in found
    ]
    st.text("Choose a correction, by the box before it, to see it whole or to remove it.")
    chosen = st.dataframe(
        grid(list(rows[0]), rows),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"judged-{found[0].number}-{found[-1].number}-{len(found)}",
        alt="Corrections, the newest first",
    )
    for i in chosen.selection.rows:
        _one(found[i])


def _one(correction: Correction) -> None:
    with st.container(border=True):
        st.text(visible(correction.text))
        st.text(f"{visible(correction.by)}: {in_words(correction.value, correction.text)}")
        if st.button("Remove this correction", icon=":material/delete:"):
            workspace().corrections.remove(correction.number, owner())
            st.rerun()


def _files(task: str, kind: str) -> None:
    formats = (JSONL, CONLL, DOCBIN) if kind == TokenHead.kind else (JSONL, DOCBIN)
    st.text("One line or document for each text, as the last person said it is.")
    with st.container(horizontal=True):
        for name, format, mime in formats:
            st.download_button(
                name,
                exporting(format, task, owner()),
                f"corrections-{plain_name(task)}.{ENDINGS[format]}",
                mime,
                icon=":material/download:",
                key=f"judged-{format}",
                on_click="ignore",
            )


def exporting(format: str, task: str, owner: str) -> Callable[[], bytes]:
    """Makes the file when it is asked for, not before."""

    def export() -> bytes:
        file = io.BytesIO()
        workspace().corrections.export(format, file, task, owner)
        return file.getvalue()

    return export


def plain_name(task: str) -> str:
    """A task's name as part of a file's."""
    return "".join(letter if letter.isalnum() else "-" for letter in task)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
