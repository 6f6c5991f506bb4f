"""Who is using the app, where that matters: by a password, or by what a proxy says.

The owner of whatever is uploaded or made is the user's name, and "" where users are off.
"""

from __future__ import annotations

import hmac
import time

import streamlit as st

from nlpkit.errors import InputError
from parts.settings import settings

_STATE = "signed-in-as"
#: A wrong password costs this much time, in seconds.
PENALTY = 1.0
LONGEST_NAME = 80


def owner() -> str:
    """Whose things the page may show.

    Raises:
        InputError: the proxy does not say who it is.
        StopException: nobody has signed in; the page to do so is shown instead.
    """
    header = settings().user_header
    if header is not None:
        return _named_by_proxy(header)
    if settings().password_file is None:
        return ""
    if _STATE not in st.session_state:
        _sign_in()
        st.stop()
    return str(st.session_state[_STATE])


def is_known() -> bool:
    """Whether the menu may be shown: users are off, or the user is known."""
    return settings().password_file is None or _STATE in st.session_state


def show_user() -> None:
    """Say in the menu who has signed in, with a way out."""
    if _STATE in st.session_state:
        with st.sidebar:
            st.text(f"Signed in as {st.session_state[_STATE]}")
            st.button("Sign out", icon=":material/logout:", on_click=st.session_state.clear)


def _named_by_proxy(header: str) -> str:
    names = [name.strip() for name in st.context.headers.get_all(header)]
    if len(names) != 1 or not names[0]:
        what = "none" if not any(names) else f"{len(names)} of them"
        raise InputError(
            f"the app takes the user's name from the header {header}, and this request has {what}; "
            "open the app through the proxy that signs people in"
        )
    return names[0]


def _sign_in() -> None:
    st.title("Sign in")
    st.text("Your name keeps your uploads and corrections apart from those of others.")
    with st.form("sign-in"):
        name = st.text_input("Name", max_chars=LONGEST_NAME, autocomplete="username")
        password = st.text_input("Password", type="password", autocomplete="current-password")
        asked = st.form_submit_button("Sign in", type="primary")
    if not asked:
        return
    if not name.strip():
        st.error("Please give your name.", icon=":material/error:")
    elif not _is_right(password):
        time.sleep(PENALTY)
        st.error("That is not the password.", icon=":material/error:")
    else:
        st.session_state[_STATE] = " ".join(name.split())
        st.rerun()


def _is_right(password: str) -> bool:
    """Compare with the file's first line, in a time that does not tell how much is right."""
    file = settings().password_file
    assert file is not None
    try:
        expected = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        expected = ""
    if not expected:
        raise InputError(
            "the password file cannot be read; whoever runs the app has to put it back"
        )
    return hmac.compare_digest(password.encode(), expected.encode())
