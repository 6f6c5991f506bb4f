"""One text at a time: what the model says of it, and the person's answer, by a click or a key.

All of it is one fragment, so that a click runs nothing else of the page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import streamlit as st

from nlpkit.errors import NlpkitError
from nlpkit.heads import TokenHead
from nlpkit.pipeline import Pipeline
from nlpkit.report.markup import Markup
from nlpkit.scoring.base import MULTI_LABEL_THRESHOLD
from nlpkit.types import Entity, Label
from nlpkit.workspace import MIN_TEXTS, Model
from parts import errors, highlight, marking
from parts.marking import Mark
from parts.model import pipeline
from parts.safe import Html, one_line, plain, visible
from parts.to_label import LINE, Item, Line, again
from parts.users import owner
from parts.words import counted
from parts.work import workspace

#: More classes than these are not all put on buttons: the likeliest are, the rest are in a list.
MOST_BUTTONS, LIKELIEST = 12, 9
#: Seconds in which a second click belongs to the first: nobody reads a text as fast.
DOUBLE_CLICK = 0.25

# What the session keeps: which text is drafted, its entities, and what went wrong on a click.
DRAFT, MARKS, FAILED = "label-draft", "label-marks", "label-failed"
SPANS, WORDS, CLASSES, KEYS = "label-spans", "label-words", "label-classes", "label-keys"

# The buttons stay in sight below a text that is longer than the screen.
STYLE = """
<style>
:has(> .st-key-label-bar) { position: sticky; bottom: 0; z-index: 2; }
.st-key-label-bar { padding: .5rem 0; background: light-dark(#ffffff, #14171b); }
</style>
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a model says of a text; ``value`` is as a correction has it."""

    text: str
    task: str
    model: Model
    identity: str
    labels: Sequence[Label]
    value: Any


@st.fragment
def judge(task: str, kind: str, by: str) -> None:
    """Show the text that is next, with what one can do about it."""
    with errors.shown():
        if FAILED in st.session_state:
            st.error(plain(st.session_state.pop(FAILED)), icon=":material/error:")
        line: Line = st.session_state[LINE]
        item = line.item
        if item is None:
            _at_the_end(line)
        else:
            kit = pipeline()
            said = _said(kit, task, kind, item.text)
            st.text(f"Text {line.at + 1} of {len(line.items)}: {item.place}")
            if kind == TokenHead.kind:
                _entities(kit, line, item, said, by)
            else:
                _classes(kit, line, item, said, by)
        n = workspace().corrections.texts(task, owner())
        enough = "enough to retrain" if n >= MIN_TEXTS else f"{MIN_TEXTS} needed to retrain"
        st.text(f"{counted(n, 'text')} corrected, {enough}.")


def _at_the_end(line: Line) -> None:
    if line.items:
        st.success("That was the last text in line.", icon=":material/check:")
    else:
        st.info("No text is left here that you have not judged.", icon=":material/check:")
    with st.container(horizontal=True):
        if line.items:
            st.button("Back", icon=":material/arrow_back:", on_click=_go, args=(line, -1))
            if st.button("Look for more", type="primary"):
                again()
                st.rerun()


def _ways(line: Line) -> None:
    """On without an answer, and back."""
    keys = st.session_state.get(KEYS, True)
    st.button(
        "Skip",
        type="tertiary",
        icon=":material/arrow_forward:",
        shortcut="N" if keys else None,
        on_click=_go,
        args=(line, 1),
    )
    st.button(
        "Back",
        type="tertiary",
        icon=":material/arrow_back:",
        disabled=line.at == 0,
        shortcut="B" if keys else None,
        on_click=_go,
        args=(line, -1),
    )


# -- classes ---------------------------------------------------------------------------------------


def _classes(kit: Pipeline, line: Line, item: Item, said: Said, by: str) -> None:
    text = item.text
    parts = highlight.parts_of(text, ())
    st.html(marking.box(text[slice(*parts[_part(len(parts))])]))
    head = kit.head(said.task).head
    before = line.answers.get(line.at)
    if getattr(head, "multi_label", False):
        _several(head.labels, line, said, by)
    else:
        st.text("Which class is right?" if before is None else f"You said: {visible(before)}.")
        _one(head.labels, line, said, by)


def _one(labels: Sequence[str], line: Line, said: Said, by: str) -> None:
    """A button for each class, the model's own filled."""
    scores = {label.name: label.score for label in said.labels}
    shown = list(labels)
    if len(labels) > MOST_BUTTONS:
        shown = [label.name for label in said.labels[:LIKELIEST]]
    with st.container(key="label-bar", horizontal=True):
        for number, name in enumerate(shown, 1):
            st.button(
                f"{plain(name)} {scores.get(name, 0.0):.0%}",
                key=f"label-class-{number}",
                type="primary" if name == said.value else "secondary",
                shortcut=_key(number),
                on_click=_trying(_save),
                args=(line, said, name, by),
            )
        _ways(line)
    if len(shown) < len(labels):
        _another([name for name in labels if name not in shown], line, said, by)


def _another(labels: Sequence[str], line: Line, said: Said, by: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            "Another class",
            labels,
            index=None,
            format_func=visible,
            key=f"label-another-{line.at}",
            width=280,
        )
        st.button(
            "Save and next",
            disabled=name is None,
            on_click=_trying(_save),
            args=(line, said, name, by),
        )


def _several(labels: Sequence[str], line: Line, said: Said, by: str) -> None:
    """Any number of classes, those of the model chosen beforehand."""
    scores = {label.name: label.score for label in said.labels}
    if _is_new(line, said):
        st.session_state[CLASSES] = list(line.answers.get(line.at, said.value))
    st.pills(
        "Which classes are right? Any number of them, or none",
        list(labels),
        selection_mode="multi",
        format_func=lambda name: f"{plain(name)} {scores.get(name, 0.0):.0%}",
        key=CLASSES,
    )
    with st.container(key="label-bar", horizontal=True):
        _save_button(line, said, by, lambda: [x for x in labels if x in st.session_state[CLASSES]])
        _ways(line)


# -- entities --------------------------------------------------------------------------------------


def _entities(kit: Pipeline, line: Line, item: Item, said: Said, by: str) -> None:
    """The text as words to pick; a label makes an entity of what is picked."""
    text = item.text
    words = marking.spans_of(kit, text)
    if _is_new(line, said):
        value = line.answers.get(line.at, said.value)
        st.session_state[MARKS] = [Mark(**one) for one in value]
        st.session_state[WORDS] = []
    st.session_state[SPANS] = words
    marks: list[Mark] = st.session_state[MARKS]
    parts = marking.parts_of(text, words)
    span = marking.pick(text, words, parts[_part(len(parts))], marks, WORDS)
    picked = one_line(text[slice(*span)]) if span else "nothing yet"
    with st.container(key="label-bar", gap="small"):
        st.text(f"Picked: {picked}")
        with st.container(horizontal=True):
            head = kit.head(said.task).head
            assert isinstance(head, TokenHead)
            for number, label in enumerate(head.entity_types, 1):
                st.button(
                    plain(label),
                    key=f"label-mark-{number}",
                    shortcut=_key(number),
                    on_click=_mark,
                    args=(label,),
                )
            st.button(
                "No entity",
                key="label-mark-none",
                icon=":material/close:",
                shortcut=_key(0),
                on_click=_mark,
                args=("",),
            )
            _save_button(line, said, by, lambda: list(map(asdict, st.session_state[MARKS])))
            _ways(line)
    if marks:
        st.text(f"{counted(len(marks), 'entity', 'entities')}: {marking.told(text, marks)}")
    else:
        st.text("No entities in this text.")


def _mark(label: str) -> None:
    """Make an entity of what is picked by now, which may be more than the page shows yet."""
    marks: list[Mark] = st.session_state[MARKS]
    span = marking.chosen(st.session_state[SPANS], marks, st.session_state[WORDS])
    if span is not None:
        st.session_state[MARKS] = marking.marked(marks, span, label)
        st.session_state[WORDS] = []


# -- what both do ----------------------------------------------------------------------------------


def _said(kit: Pipeline, task: str, kind: str, text: str) -> Said:
    """What the model in use says; asked once for each text."""
    model = workspace().model()
    said: Said | None = st.session_state.get("label-said")
    identity = model.identity
    if said is None or (said.text, said.task, said.identity) != (text, task, identity):
        labels: Sequence[Label] = ()
        value: Any
        if kind == TokenHead.kind:
            found: Sequence[Entity] = kit.ner(text, task=task)
            value = [asdict(Mark(one.start, one.end, one.label)) for one in found]
        else:
            labels = kit.classify(text, task)
            several = getattr(kit.head(task).head, "multi_label", False)
            value = labels[0].name if labels else None
            if several:
                given = {one.name for one in labels if one.score >= MULTI_LABEL_THRESHOLD}
                value = [name for name in kit.head(task).head.labels if name in given]
        said = Said(text, task, model, identity, labels, value)
        st.session_state["label-said"] = said
    return said


def _is_new(line: Line, said: Said) -> bool:
    """Whether the text has just come up: what was drafted for the last one is forgotten."""
    draft = (line.made_for, line.at, said.identity)
    is_new = st.session_state.get(DRAFT) != draft
    st.session_state[DRAFT] = draft
    return is_new


def _part(n_parts: int) -> int:
    """Which part of a long text is shown, from 0."""
    if n_parts == 1:
        return 0
    number = st.number_input(
        f"Part of the text, 1 to {n_parts:,}",
        min_value=1,
        max_value=n_parts,
        key=f"label-part-{st.session_state[LINE].at}",
        width=240,
    )
    return int(number) - 1


def _save_button(line: Line, said: Said, by: str, value: Callable[[], Any]) -> None:
    """``value`` is asked on the click: a key may come before the page shows what it saves."""

    def save() -> None:
        _save(line, said, value(), by)

    st.button(
        "Save and next",
        type="primary",
        shortcut="S" if st.session_state.get(KEYS, True) else None,
        on_click=_trying(save),
    )


def _save(line: Line, said: Said, value: Any, by: str) -> None:
    item = line.item
    now = time.monotonic()
    if item is None or item.text != said.text or now - line.saved_at < DOUBLE_CLICK:
        return  # the second half of a double click, perhaps on the next text already
    line.saved_at = now
    workspace().corrections.add(
        item.text,
        said.task,
        value,
        by=by,
        owner=owner(),
        model_value=said.value,
        model=said.model,
        source=dict(item.source),
    )
    line.answers[line.at] = value
    _go(line, 1)


def _go(line: Line, step: int) -> None:
    line.at = min(max(line.at + step, 0), len(line.items))
    st.session_state.pop(DRAFT, None)


def _trying(do: Callable[..., None]) -> Callable[..., None]:
    """What a click does; where it fails, the page says why and nothing is lost."""

    def tried(*args: Any) -> None:
        try:
            do(*args)
        except NlpkitError as error:
            st.session_state[FAILED] = str(error)

    return tried


def _key(number: int) -> str | None:
    """The key that does the same as a button."""
    return str(number) if number <= 9 and st.session_state.get(KEYS, True) else None


def style() -> None:
    """Put the styles of this part into the page."""
    st.html(Html(Markup(STYLE)))
