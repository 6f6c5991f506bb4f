"""The progress of a piece of work in the background, and the buttons that steer it.

>>> jobs.show(batch)

The page asks anew every second while the work goes on, and not at all once it rests. It is the
worker that works, so that closing the page changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from nlpkit.errors import NlpkitError, UnknownNameError
from nlpkit.report.markup import tag
from nlpkit.workspace import State, Status, ensure_worker
from parts import errors
from parts.safe import Html, plain
from parts.words import counted, duration
from parts.work import workspace

#: Seconds between two looks at work that goes on.
EVERY = 1.0
GOING = (State.QUEUED, State.RUNNING)
#: Work that can be cancelled.
STEERED = (*GOING, State.PAUSED)
#: Work that rests and can be taken up again.
RESTING = (State.PAUSED, State.CANCELLED, State.FAILED)

ICONS = {
    State.QUEUED: ":material/hourglass_empty:",
    State.RUNNING: ":material/play_circle:",
    State.PAUSED: ":material/pause_circle:",
    State.CANCELLED: ":material/cancel:",
    State.FAILED: ":material/error:",
    State.DONE: ":material/check_circle:",
}
NAMES = {
    State.QUEUED: "waiting",
    State.RUNNING: "running",
    State.PAUSED: "paused",
    State.CANCELLED: "cancelled",
    State.FAILED: "failed",
    State.DONE: "done",
}


class Job(Protocol):
    """A batch, a job of an index or a training."""

    @property
    def number(self) -> int: ...

    def status(self) -> Status: ...

    def pause(self) -> None: ...

    def cancel(self) -> None: ...

    def resume(self) -> None: ...


def show(
    job: Job,
    unit: str = "row",
    tell: Callable[[Status, str], str] | None = None,
    *,
    can_stop: bool = True,
) -> None:
    """How far a job is, live, with its buttons; when it comes to rest the whole page is redrawn.

    ``tell`` says how far it is in a sentence, as :func:`told` does. Work that cannot stop between
    two rows (``can_stop=False``) has no buttons once it runs.
    """
    goes_on = job.status().state in GOING
    with live(f"{job.number}"):
        again = st.fragment(_progress, run_every=EVERY if goes_on else None)
        again(job, unit, tell or told, goes_on, can_stop=can_stop)


def live(name: str) -> DeltaGenerator:
    """A container for what is redrawn again and again: its parts do not fade meanwhile."""
    return st.container(key=f"live-{name}")


def progress_of(status: Status) -> float:
    """The part that is done, from 0 to 1."""
    if status.state == State.DONE:
        return 1.0
    return min(status.done / status.total, 1.0) if status.total else 0.0


def told(status: Status, unit: str = "row") -> str:
    """How far it is, in a sentence."""
    aside = f", {status.errors:,} of them set aside" if status.errors else ""
    if status.state == State.DONE:
        return f"Done: {counted(status.done, unit)}{aside}."
    if status.state == State.QUEUED and not status.done:
        if not status.ahead:
            return "Waiting for the worker to begin."
        return f"Waiting: {counted(status.ahead, 'other job')} before this one."
    how_far = counted(status.done, unit)
    if status.total is not None:
        how_far = f"{status.done:,} of {counted(status.total, unit)} ({progress_of(status):.0%})"
    if status.state not in GOING:
        return f"{NAMES[status.state].capitalize()} at {how_far}{aside}."
    if not status.done:
        return "Getting ready: the model is loaded and the file looked through."
    words = [f"{how_far}{aside}"]
    if status.rows_per_second:
        words.append(f"{status.rows_per_second:,.0f} {unit}s a second")
    if status.seconds_left is not None:
        words.append(f"about {duration(status.seconds_left)} left")
    return ", ".join(words) + "."


def _progress(
    job: Job, unit: str, tell: Callable[[Status, str], str], was_going: bool, *, can_stop: bool
) -> None:
    with errors.shown():
        try:
            status = job.status()
        except UnknownNameError:  # it was deleted, perhaps on another page
            st.rerun()
        if (status.state in GOING) != was_going:
            st.rerun()
        if was_going:
            ensure_worker(workspace())  # one that was killed is followed by another
        if status.state != State.DONE:
            st.html(_bar(status))
        st.text(tell(status, unit))
        if status.state == State.FAILED:
            st.error(plain(status.note), icon=ICONS[State.FAILED])
        elif status.note:
            st.info(plain(status.note), icon=":material/info:")
        _buttons(job, status, can_stop=can_stop)
        if _problem(job) in st.session_state:
            st.error(plain(st.session_state.pop(_problem(job))), icon=":material/error:")


def _buttons(job: Job, status: Status, *, can_stop: bool) -> None:
    """One button to pause or go on, another to cancel: what one clicks on must not move away."""
    if status.state == State.DONE:
        return
    with st.container(horizontal=True):
        if status.state in GOING and can_stop:
            _button(job, "first", "Pause", ":material/pause:", job.pause)
        if status.state in RESTING:
            _button(job, "first", "Go on", ":material/play_arrow:", job.resume)
        if status.state in STEERED and (can_stop or status.state != State.RUNNING):
            _button(job, "second", "Cancel", ":material/stop:", job.cancel)


def _button(job: Job, place: str, label: str, icon: str, do: Callable[[], None]) -> None:
    key = f"{place}-button-{job.number}"
    st.button(label, key, icon=icon, on_click=_steer, args=(job, do))


def _steer(job: Job, do: Callable[[], None]) -> None:
    """Do what the button said when it was clicked on."""
    try:
        do()
    except NlpkitError as error:
        st.session_state[_problem(job)] = str(error)


def _problem(job: Job) -> str:
    return f"problem-{job.number}"


def _bar(status: Status) -> Html:
    """A bar of our own: it has a name, and does not move where it cannot say how far it is."""
    percent = f"{progress_of(status):.1%}"
    fill = tag("div", class_="nk-fill", style=f"width: {percent}")
    return Html(
        tag(
            "div",
            fill,
            class_="nk-track",
            role="progressbar",
            aria_label="Progress",
            aria_valuemin=0,
            aria_valuemax=100,
            aria_valuenow=round(100 * progress_of(status)),
        )
    )
