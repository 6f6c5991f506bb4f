"""A whole document in a window of its own, open at a passage; the address says which."""

from __future__ import annotations

import re

import streamlit as st

from nlpkit.index import Index
from nlpkit.report.markup import Markup, tag
from nlpkit.types import Document
from parts import errors, highlight
from parts.passages import Passage, fields_of, text_with_mark, title_of
from parts.safe import Html, visible

#: Names in the address: the document's id, and the passage's first and last offset.
DOCUMENT, PLACE = "document", "at"
# What the session keeps: the part that is shown, and what was closed last.
_PART, _CLOSED = "document-part", "document-closed"

# It scrolls to the first mark in the window; there is nothing of any document in it.
_SCROLL = Markup(
    "<script>document.querySelector('[role=dialog] mark.here')"
    "?.scrollIntoView({block: 'center'})</script>"
)


def open_button(passage: Passage, key: str, label: str = "Open the document") -> None:
    """A button that opens a passage's document at the passage."""
    place = f"{passage.start}-{passage.end}"
    st.button(label, key=key, icon=":material/description:", on_click=_open, args=(passage, place))


def show_opened(index: Index) -> None:
    """The window with the document that the address names, if it names one."""
    if DOCUMENT not in st.query_params:
        return
    if st.session_state.get(_CLOSED) == _named():  # a click that came before the new address
        _forget()
    else:
        _window(index, *_named())


def _named() -> tuple[str, str]:
    """The document and the place in the address."""
    return st.query_params[DOCUMENT], st.query_params.get(PLACE, "")


def _close() -> None:
    if DOCUMENT in st.query_params:
        st.session_state[_CLOSED] = _named()
    _forget()


def _forget() -> None:
    for name in (DOCUMENT, PLACE):
        st.query_params.pop(name, None)
    st.session_state.pop(_PART, None)


@st.dialog("Document", width="medium", on_dismiss=_close)
def _window(index: Index, document_id: str, place: str) -> None:
    with errors.shown():
        [document] = index.get([document_id])
        if document is None:
            st.info(
                "This document is no longer in the index. It was deleted, or the index was "
                "built anew.",
                icon=":material/help:",
            )
        else:
            _show(document, _offsets(place))


def _show(document: Document, mark: tuple[int, int]) -> None:
    text, title = document.text, title_of(document)
    facts = f"{len(text):,} characters"
    if title != document.id:
        facts = f"{visible(document.id)} · {facts}"
    st.html(
        Html(
            tag(
                "div",
                tag("p", tag("bdi", visible(title)), class_="nk-title"),
                tag("p", facts, class_="nk-facts"),
                fields_of(document.meta),
                class_="nk-hit",
            )
        )
    )
    parts = highlight.parts_of(text, ())
    number = 1 + sum(end <= mark[0] for _, end in parts[:-1])
    if len(parts) > 1:
        st.session_state.setdefault(_PART, number)
        number = st.number_input(
            f"Part of the document, 1 to {len(parts):,}",
            min_value=1,
            max_value=len(parts),
            key=_PART,
            width=260,
        )
    st.html(text_with_mark(text, *parts[number - 1], mark))
    st.html(Html(_SCROLL), unsafe_allow_javascript=True)


def _open(passage: Passage, place: str) -> None:
    for key in (_PART, _CLOSED):
        st.session_state.pop(key, None)
    st.query_params[DOCUMENT] = passage.document_id
    st.query_params[PLACE] = place


def _offsets(place: str) -> tuple[int, int]:
    """The offsets that the address names; none where it names anything else."""
    found = re.fullmatch(r"([0-9]{1,12})-([0-9]{1,12})", place, re.ASCII)
    return (int(found[1]), int(found[2])) if found else (0, 0)
