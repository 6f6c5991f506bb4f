"""Errors on a page: one sentence that says what to do, never a stack trace."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from nlpkit.errors import NlpkitError
from parts.safe import plain

log = logging.getLogger("nlpkit.app")


@contextmanager
def shown() -> Iterator[None]:
    """Show what goes wrong inside as one message on the page, and go on behind it."""
    try:
        yield
    except NlpkitError as error:
        st.error(plain(str(error)), icon=":material/error:")
    except OSError as error:  # a disk that is full, a folder one may not write to
        log.exception("an error of the system")
        place = f"{error.filename}: " if error.filename else ""
        st.error(plain(f"{place}{error.strerror or error}"), icon=":material/error:")
    except Exception as error:
        log.exception("an error nobody foresaw")
        at = time.strftime("%H:%M:%S")
        st.error(
            "Something went wrong here that nobody foresaw. What was saved before is safe. "
            f"Try again; if it stays, whoever runs the app finds the reason in its log at {at} "
            f"({type(error).__name__}).",
            icon=":material/error:",
        )
