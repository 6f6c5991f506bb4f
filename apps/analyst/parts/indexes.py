"""The indexes of whoever looks at the page, opened once for all sessions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import streamlit as st

from nlpkit.errors import StoreError
from nlpkit.index import Field, Index
from nlpkit.index.opening import MARKER
from nlpkit.pipeline import UNKNOWN_SHARE, Pipeline
from nlpkit.workspace import IndexEntry
from parts.model import pipeline
from parts.work import workspace


def opened(entry: IndexEntry) -> Index:
    """The index, to be read, with the app's model where that is the one it was built with.

    Raises:
        StoreError: it is damaged or no longer there.
        BundleError: the model it was built with is gone.
    """
    kit = pipeline()
    _close_others(workspace().model().identity)
    return _opened(_stamp(entry.path), entry, kit)


def fields_of(index: Index) -> list[Field]:
    """The index's fields as of its last commit."""
    with index.database.read() as connection:
        generation = index.generation(connection)
    return _fields(_stamp(index.folder), generation, index)


def is_unknown(index: Index, text: str) -> bool:
    """Whether much of a text is unknown to the model of the index."""
    if index.pipeline is None:
        return False
    [encoded] = index.pipeline.encoder.encode([text])
    return encoded.unknown > UNKNOWN_SHARE


def _stamp(folder: Path) -> str:
    """Another one for another index in the same place."""
    with suppress(FileNotFoundError):
        marker = (folder / MARKER).stat()
        return f"{folder} {marker.st_ino} {marker.st_mtime_ns}"
    return str(folder)


@st.cache_resource(max_entries=8, show_spinner="Opening the index", on_release=Index.close)
def _opened(stamp: str, _entry: IndexEntry, _kit: Pipeline) -> Index:
    with suppress(StoreError):  # built with another model than the app's, as a rule
        return _entry.open(_kit, read_only=True)
    return _entry.open(read_only=True)


@st.cache_resource(max_entries=1, show_spinner=False)
def _close_others(identity: str) -> None:
    """Where the app's model has changed, let go of indexes that hold the one before."""
    _opened.clear()


@st.cache_data(max_entries=50, show_spinner=False)
def _fields(stamp: str, generation: int, _index: Index) -> list[Field]:
    return _index.fields()
