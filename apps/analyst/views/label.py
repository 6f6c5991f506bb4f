"""Label and retrain: correct what the model says, and let it learn from that.

The address says what is shown: ``?task=ner``, ``&show=retrain``, ``&batch=3``.
"""

from __future__ import annotations

import streamlit as st

from nlpkit.heads import SequenceHead, TokenHead
from parts import errors, judged, judging, to_label, trainings
from parts.model import pipeline
from parts.safe import plain
from parts.settings import settings
from parts.users import owner
from parts.words import task_name

VIEWS = {"correct": "Correct", "corrections": "Corrections", "retrain": "Retrain"}
NAME = "label-name"
#: Who judges where users are off and no name is given.
NOBODY = "somebody"


def page() -> None:
    st.title("Label and retrain")
    st.text(
        "Correct what the model gets wrong. From ten corrected texts on it can learn from them."
    )
    judging.style()
    tasks = {
        task: kind
        for task, kind in pipeline().tasks.items()
        if kind in (SequenceHead.kind, TokenHead.kind)
    }
    if not tasks:
        st.info(
            "The model in use gives neither entities nor classes: there is nothing to correct. "
            "Choose another one on the page Models.",
            icon=":material/info:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        task = choose(
            "task", "What to correct", {t: plain(task_name(t, k)) for t, k in tasks.items()}
        )
        view = choose("show", "Step", VIEWS)
    kind = tasks[task]
    by = owner() or str(st.session_state.get(NAME, "")).strip() or NOBODY
    if view == "correct":
        correct(task, kind, by)
    elif view == "corrections":
        judged.show(task, kind)
    else:
        trainings.show(task, kind, by)


def choose(name: str, label: str, options: dict[str, str]) -> str:
    """One of a few, kept in the address."""
    key = f"label-{name}"
    asked = st.query_params.get(name)
    if key not in st.session_state or st.session_state[key] not in options:
        st.session_state[key] = asked if asked in options else next(iter(options))
    chosen = st.segmented_control(
        label, list(options), format_func=options.__getitem__, key=key, required=True
    )
    assert chosen is not None
    if asked != chosen:
        st.query_params[name] = chosen
    return chosen


def correct(task: str, kind: str, by: str) -> None:
    """Which texts, folded away once there are any, and the one that is next."""
    line = None
    with (
        st.expander("Texts and settings", icon=":material/tune:", expanded=to_label.is_empty()),
        errors.shown(),
    ):
        line = to_label.ask(task, by)
        if not (settings().user_header or settings().password_file):
            st.text_input(
                "Your name",
                key=NAME,
                help="Kept with what you correct, to see how far people agree.",
                persist_state="session",
                max_chars=80,
            )
        st.toggle(
            "Keys: 1 to 9 for the buttons, S to save, N to skip, B to go back",
            value=True,
            key=judging.KEYS,
            persist_state="session",
        )
    if line is not None:
        judging.judge(task, kind, by)


page()
