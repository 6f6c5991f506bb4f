"""Retraining: start it, watch it, compare what was with what would be, take it or leave it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import streamlit as st

from nlpkit.heads import TokenHead
from nlpkit.types import Entity
from nlpkit.workspace import MIN_TEXTS, Comparison, State, Status, Training, ensure_worker
from nlpkit.workspace.trainings import ACCEPTED
from parts import errors, highlight, jobs, marking
from parts.charts import COLOURS, letters
from parts.safe import plain, visible
from parts.table import figures, pager
from parts.users import owner
from parts.words import counted, moment
from parts.work import workspace

#: Texts of a comparison on a page.
PAGE = 10
#: Said once, after a click.
SAID = "label-said-once"


def show(task: str, kind: str, by: str) -> None:
    """All of the view: a button to start, and the trainings of this task, the newest first."""
    if SAID in st.session_state:
        st.success(plain(st.session_state.pop(SAID)), icon=":material/check:")
    st.text(
        "Retraining changes the head of this task alone and takes about a minute. Some of the "
        "corrected texts are held out to compare the old head with the new one. Nothing changes "
        "until you accept it."
    )
    n = workspace().corrections.texts(task, owner())
    there = [one for one in workspace().trainings(owner()) if one.task == task]
    goes_on = any(one.status().state in jobs.GOING for one in there)
    st.text(f"{counted(n, 'text')} corrected; {MIN_TEXTS} are needed, and more are better.")
    kind_of_button: Literal["primary", "secondary"] = "secondary" if there else "primary"
    if st.button("Retrain", type=kind_of_button, disabled=n < MIN_TEXTS or goes_on):
        workspace().start_training(task, owner=owner(), by=by)
        ensure_worker(workspace())
        st.session_state.pop("label-training", None)
        st.rerun()
    if not there:
        return
    numbers = {one.number: one for one in there}
    number = there[0].number
    if len(there) > 1:
        number = st.selectbox(
            "Training",
            list(numbers),
            format_func=lambda number: _name(numbers[number]),
            key="label-training",
        )
    _training(numbers[number], kind, by)


def _training(training: Training, kind: str, by: str) -> None:
    st.subheader(f"Training {training.number}")
    jobs.show(training, "epoch", tell=_told)
    state = training.status().state
    goes_on = state in jobs.GOING
    st.fragment(_curve, run_every=jobs.EVERY if goes_on else None)(training)
    if state != State.DONE:
        return
    scores = training.scores()
    if scores is None:
        return
    st.text(
        f"Trained on {counted(scores.n_train, 'text')}, compared on "
        f"{counted(scores.n_held_out, 'other')}."
    )
    rows = [
        (
            _score_name(name),
            _number(scores.before.get(name)),
            _number(value),
            _change(scores.before, name, value),
        )
        for name, value in scores.after.items()
    ]
    st.html(figures("Scores on the held-out texts", ("Score", "Old", "New", "Change"), rows))
    if not scores.best_epoch:
        st.info(
            "No epoch was better than the old head, so the new one is the same. More corrected "
            "texts may change that.",
            icon=":material/info:",
        )
    elif scores.n_held_out < MIN_TEXTS:
        st.text("So few texts say little: look at where the two differ.")
    _decide(training, by)
    st.fragment(_compare)(training, kind)


def _decide(training: Training, by: str) -> None:
    if training.decision:
        facts = training.result
        done = "The new head was accepted" if training.decision == ACCEPTED else "Thrown away"
        told = f"{done} by {facts['decided_by']}, {moment(facts['decided_at'])}."
        if training.decision == ACCEPTED:
            told += " The page Models switches it off and on."
        st.info(plain(told), icon=":material/info:")
        return
    with st.container(horizontal=True):
        if st.button("Accept the new head", type="primary", icon=":material/check:"):
            training.accept(by=by)
            st.session_state[SAID] = (
                "Accepted. From now on texts are read with the new head, on every page and for "
                "everybody who uses this app."
            )
            st.rerun()
        with st.popover("Throw it away", icon=":material/delete:"):
            st.text("The new head goes for good. The old one and your corrections stay.")
            if st.button("Throw away", type="primary"):
                training.discard(by=by)
                st.session_state[SAID] = "Thrown away. The old head stays in use."
                st.rerun()


# -- the curve -------------------------------------------------------------------------------------


def _curve(training: Training) -> None:
    """The loss on the texts it learns from and on those that say when to stop, by epoch."""
    with errors.shown():
        points = training.curve()
        if not points:
            return
        lines = {"learned from": "loss", "kept aside": "held_out_loss"}
        values = [
            {"epoch": point.epoch, "loss": getattr(point, field), "texts": name}
            for point in points
            for name, field in lines.items()
            if _is_finite(getattr(point, field))
        ]
        colours = alt.Scale(domain=list(lines), range=list(COLOURS[:2]))
        chart = (
            alt.Chart(alt.Data(values=values))
            .mark_line(point=True)
            .encode(
                x=alt.X("epoch:Q", title="Epoch", axis=alt.Axis(tickMinStep=1, format="d")),
                y=alt.Y("loss:Q", title="Loss", scale=alt.Scale(zero=False)),
                color=alt.Color(
                    "texts:N", title=None, scale=colours, legend=alt.Legend(orient="top")
                ),
                tooltip=["texts:N", "epoch:Q", alt.Tooltip("loss:Q", format=".4f")],
            )
            .configure_axis(**letters())
            .configure_legend(**letters())
            .properties(height=300)
        )
        last = points[-1]
        st.altair_chart(chart, alt="Loss by epoch, as lines")
        told = [f"Epoch {last.epoch:,}: loss {_number(last.loss)}"]
        if _is_finite(last.held_out_loss):
            told.append(f"on those kept aside {_number(last.held_out_loss)}")
        if _is_finite(last.score):
            told.append(f"score there {_number(last.score)}")
        st.text(", ".join(told) + ".")


# -- old and new, text by text ---------------------------------------------------------------------


def _compare(training: Training, kind: str) -> None:
    with errors.shown():
        compared = training.comparison()
        if not compared:
            return
        st.subheader("Text by text")
        differing = [one for one in compared if one.before != one.after]
        better = sum(one.after == one.right for one in differing)
        worse = sum(one.before == one.right for one in differing)
        st.text(
            f"The two differ on {len(differing):,} of {counted(len(compared), 'held-out text')}: "
            f"the new head is right on {better:,} of them, the old one on {worse:,}."
        )
        every = st.toggle("Show those on which they agree, too", key=f"all-{training.number}")
        shown = compared if every else differing
        first = pager(len(shown), PAGE, f"compared-{training.number}-{every}")
        for one in shown[first : first + PAGE]:
            _one(one, kind)


def _one(compared: Comparison, kind: str) -> None:
    """A text with what is right and what the two say, side by side."""
    with st.container(border=True, gap="small"):
        answers = {"Right": compared.right, "Old": compared.before, "New": compared.after}
        if kind != TokenHead.kind:
            st.html(marking.box(compared.text))
        columns = st.columns(3)
        for column, (name, value) in zip(columns, answers.items(), strict=True):
            is_right = value == compared.right
            mark = "" if name == "Right" else " (right)" if is_right else " (wrong)"
            with column:
                if kind == TokenHead.kind:
                    st.text(f"{name}{mark}")
                    found = entities_of(compared.text, value)
                    text = compared.text
                    st.html(highlight.marked_entities(text, found, 0, len(text)))
                else:
                    st.text(f"{name}: {in_words(value)}{mark}")


def entities_of(text: str, value: Sequence[Any]) -> list[Entity]:
    """The entities of a correction, as the pages draw them."""
    return [
        Entity(text[one["start"] : one["end"]], one["label"], one["start"], one["end"], 1.0)
        for one in value
    ]


def in_words(value: Any, text: str = "") -> str:
    """What a person or a model said of a text, on a line."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return visible(value)
    if value and not isinstance(value[0], str):
        found = entities_of(text, value)
        return visible("; ".join(f"{one.text} ({one.label})" for one in found))
    return visible(", ".join(value)) or "none"


# -- words -----------------------------------------------------------------------------------------


def _told(status: Status, unit: str) -> str:
    if status.state == State.DONE:
        return f"Trained for {counted(status.done, unit)}."
    if status.state == State.RUNNING and not status.done:
        return "Getting ready: the model reads the corrected texts."
    return jobs.told(status, unit)


def _name(training: Training) -> str:
    status = training.status()
    end = training.decision or jobs.NAMES[status.state]
    return f"Training {training.number}, {moment(status.created_at)}, {end}"


def _score_name(name: str) -> str:
    return visible(name.replace("_", " ").capitalize().replace("f1", "F1"))


def _change(before: Any, name: str, value: float) -> str:
    old = before.get(name)
    return f"{value - old:+.3f}" if _is_finite(old) and _is_finite(value) else ""


def _number(value: Any) -> str:
    return f"{value:.3f}" if _is_finite(value) else "-"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
