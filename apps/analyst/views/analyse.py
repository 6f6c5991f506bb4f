"""Analyse: one text, its entities, classes, answers and reasons."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import streamlit as st

from nlpkit.attribution import PASSES
from nlpkit.errors import InputError
from nlpkit.heads import PoolingHead, SpanHead
from nlpkit.pipeline import Pipeline
from nlpkit.sources.base import UnusableError
from nlpkit.sources.extract import EXTRACTORS, extract, suffix_of
from nlpkit.types import Analysis, Answer, Results, WordWeight
from parts import errors, highlight
from parts.model import literal, model_name, pipeline, python_of_the_model
from parts.safe import plain, visible
from parts.words import counted, roughly, task_name

EXAMPLE = (
    "The Helsinki company Norrwind said on Tuesday that it will build its first wind farm near "
    "the Danish island of Bornholm. Chief executive Maria Lindqvist called the agreement a "
    "wonderful success for her team. The farm will have 42 turbines and is expected to supply "
    "90,000 homes in Denmark and Sweden from 2028."
)
#: Longer texts are refused: they would keep the page waiting for minutes.
LONGEST_TEXT = 2_000_000
#: Of a longer one the beginning is shown while the rest is read, and how long that takes.
LONG_TEXT = 100_000
#: What takes more seconds is announced.
SOON = 5.0
#: JSON of more entities is offered as a file alone: a page that holds it is slow.
SHOWN_ENTITIES = 500
#: A text up to this length is written out in the lines of Python.
WRITTEN_OUT = 200
#: Tasks that stand side by side.
COLUMNS = 3
#: Words named below the coloured text, on each side: so many, and none of much less weight.
NAMED_WORDS, NAMED_SHARE = 5, 0.1

# What the session keeps of this page: widgets forget theirs when another page is opened.
DONE, ANSWERED, EXPLAINED, KEPT = "analyse", "analyse-answer", "analyse-why", "analyse-kept"


@dataclass(frozen=True, slots=True)
class Reading:
    """A text that was analysed, with all that is shown of it: the model may be gone by then."""

    text: str
    source: str  #: the file's name, or "" where it was pasted
    tasks: tuple[str, ...]
    model: str
    answers: bool  #: whether the model answers questions
    python: str  #: lines that make the same analysis
    analysis: Analysis
    seconds: float


def page() -> None:
    st.title("Analyse")
    st.text("Entities, classes and answers in one text. Paste it, or drop a file.")
    with errors.shown():
        ask_for_text(pipeline())
    done: Reading | None = st.session_state.get(DONE)
    if done is None:
        return
    show_summary(done)
    if set(done.tasks) - done.analysis.labels.keys():
        show_entities(done)
    show_classes(done)
    if any(done.analysis.labels.values()):
        explain(done)
    if done.answers:
        answer(done)
    show_copies(done)


# -- what is asked ---------------------------------------------------------------------------------


def ask_for_text(kit: Pipeline) -> None:
    """The form; on a click the text is read and the result kept in the session."""
    known = single_text_tasks(kit)
    st.session_state.setdefault("analyse-text", st.session_state.get(KEPT, ""))
    with st.form("analyse-form", border=False):
        st.text_area("Text", key="analyse-text", height=180, placeholder="Paste a text here")
        file = st.file_uploader("Or a file", type=[*EXTRACTORS])
        picked = st.multiselect(
            "Look for",
            known,
            default=tasks_of_the_url(known),
            format_func=lambda task: task_name(task, kit.tasks.get(task, "")),
        )
        with st.container(horizontal=True):
            asked = st.form_submit_button("Analyse", type="primary")
            example = st.form_submit_button("Try an example", on_click=take_the_example)
    if not (asked or example):
        return
    st.session_state[KEPT] = typed = st.session_state["analyse-text"]
    chosen = [task for task in known if task in picked]  # in the model's order, not the clicks'
    if file is None or example:
        text, source = typed, ""
        if not text.strip():
            raise InputError("there is no text yet: paste one above, or drop a file")
    else:
        text, source = text_of(file, file.name), file.name
    if len(text) > LONGEST_TEXT:
        raise InputError(
            f"the text has {len(text):,} characters, and this page takes {LONGEST_TEXT:,}: split "
            "it, or search in it on the page Indexes"
        )
    if not chosen:
        raise InputError("choose what to look for, one thing at least")
    if chosen == known:
        st.query_params.pop("tasks", None)
    else:
        st.query_params["tasks"] = ",".join(chosen)
    analysis, seconds = read(kit, text, chosen)
    st.session_state[DONE] = Reading(
        text,
        source,
        tuple(chosen),
        model_name(),
        SpanHead.kind in kit.tasks.values(),
        python_of(text, chosen),
        analysis,
        seconds,
    )
    for name in (ANSWERED, EXPLAINED, "analyse-part"):
        st.session_state.pop(name, None)


def read(kit: Pipeline, text: str, tasks: Sequence[str]) -> tuple[Analysis, float]:
    """The analysis and its seconds; the beginning of a long text is shown while it is read."""
    meanwhile = st.empty()
    with meanwhile.container():
        waiting = st.container()
        if len(text) > LONG_TEXT:
            _, end = highlight.parts_of(text, ())[0]
            start = time.perf_counter()
            with waiting, st.spinner("Reading the beginning"):
                beginning = kit.analyze(text[:end], tasks)
            seconds = (time.perf_counter() - start) * len(text) / end
            with waiting:
                announce(seconds)
            st.text("Its beginning:")
            st.html(highlight.marked_entities(text[:end], beginning.entities, 0, end))
        start = time.perf_counter()
        with waiting, st.spinner("Reading the text", show_time=True):
            analysis = kit.analyze(text, tasks)
    meanwhile.empty()
    return analysis, time.perf_counter() - start


def announce(seconds: float) -> None:
    """Say how long something takes with a long text."""
    if seconds > SOON:
        st.text(f"The text is long: this takes {roughly(seconds)}.")


def take_the_example() -> None:
    st.session_state["analyse-text"] = EXAMPLE


def single_text_tasks(kit: Pipeline) -> list[str]:
    """The tasks that read one text, as opposed to a question and a text."""
    skipped = (SpanHead.kind, PoolingHead.kind)
    return [name for name, kind in kit.tasks.items() if kind not in skipped]


def tasks_of_the_url(known: Sequence[str]) -> list[str]:
    """Those that the address names (``?tasks=ner,topic``), as far as they are known; else all."""
    asked = st.query_params.get("tasks", "").split(",")
    return [task for task in known if task in asked] or [*known]


def text_of(file: Any, name: str) -> str:
    """The text of an uploaded file."""
    try:
        text = extract(file, suffix_of(name)).text
    except UnusableError as error:
        raise InputError(f"{name}: {error}") from None
    if not text.strip():
        raise InputError(f"{name} holds no text; expected some words")
    return text


# -- what is shown ---------------------------------------------------------------------------------


def show_summary(done: Reading) -> None:
    facts = [
        done.source or "Pasted text",
        counted(len(done.text), "character"),
        counted(done.analysis.n_windows, "window"),
        f"read by {done.model} in {done.seconds:.2f} s",
    ]
    st.divider()
    st.text(", ".join(facts))
    for warning in done.analysis.warnings:
        st.warning(plain(warning), icon=":material/warning:")


def show_entities(done: Reading) -> None:
    """The text with its entities marked, a part at a time where it is long; and their table."""
    text, entities = done.text, done.analysis.entities
    st.header("Entities")
    if not entities:
        st.text("None found.")
    else:
        st.html(highlight.legend(entities))
    parts = highlight.parts_of(text, entities)
    number = 1
    if len(parts) > 1:
        number = st.number_input(
            f"Part of the text, 1 to {len(parts):,}",
            min_value=1,
            max_value=len(parts),
            key="analyse-part",
            width=240,
        )
    start, end = parts[number - 1]
    st.html(highlight.marked_entities(text, entities, start, end))
    if entities:
        with st.expander(f"All {len(entities):,} entities as a table"):
            st.dataframe(
                {
                    "entity": [visible(entity.text) for entity in entities],
                    "label": [visible(entity.label) for entity in entities],
                    "score": [round(entity.score, 4) for entity in entities],
                    "start": [entity.start for entity in entities],
                    "end": [entity.end for entity in entities],
                },
                hide_index=True,
            )


def show_classes(done: Reading) -> None:
    tasks = done.analysis.labels
    if not tasks:
        return
    st.header("Classes")
    columns = st.columns(min(len(tasks), COLUMNS))
    for number, (task, labels) in enumerate(tasks.items()):
        bars = highlight.score_bars(visible(task).capitalize(), labels)
        columns[number % COLUMNS].html(bars)


@st.fragment
def explain(done: Reading) -> None:
    """Which words carried a class, on demand."""
    st.header("Why")
    choices = [
        (task, label.name) for task, labels in done.analysis.labels.items() for label in labels
    ]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Which words spoke for",
            choices,
            format_func=lambda choice: visible(f"{choice[0]}: {choice[1]}"),
            width=280,
        )
        asked = st.button("Show the words")
    n_windows = done.analysis.n_windows
    if n_windows > 1:
        announce(done.seconds * (1 + PASSES / n_windows))
    if asked:
        with errors.shown(), st.spinner("Leaving out one word after another", show_time=True):
            _, label = chosen
            st.session_state[EXPLAINED] = (label, same_model(done).explain(done.text, *chosen))
    if EXPLAINED in st.session_state:
        show_words(done.text, *st.session_state[EXPLAINED])


def show_words(text: str, label: str, words: Results[WordWeight]) -> None:
    """The words coloured, and the same said in words and in a table."""
    ranked = sorted(words, key=lambda word: -word.weight)
    least = NAMED_SHARE * max((abs(word.weight) for word in words), default=0.0)
    speakers = [word for word in ranked[:NAMED_WORDS] if word.weight > least]
    opponents = [word for word in ranked[::-1][:NAMED_WORDS] if word.weight < -least]
    st.html(highlight.weighed_words(text, words))
    st.text(f"For {label} (blue): {listed(speakers)}.\nAgainst it (orange): {listed(opponents)}.")
    with st.expander("All weights as a table"):
        st.text("A weight is how much the log-odds of the class fall when the word is left out.")
        st.dataframe(
            {
                "word": [visible(word.text) for word in ranked],
                "weight": [round(word.weight, 4) for word in ranked],
                "start": [word.start for word in ranked],
            },
            hide_index=True,
        )
    if words.n_windows > 1:
        st.text("The text is long: only the words in the parts that matter most were weighed.")


def listed(words: Sequence[WordWeight]) -> str:
    found = ", ".join(f"“{visible(word.text)}” ({word.weight:+.2f})" for word in words)
    return found or "no word"


@st.fragment
def answer(done: Reading) -> None:
    """A question about the text, answered by a quotation or by saying that there is none."""
    st.header("Ask")
    with st.form("analyse-question", border=False):
        question = st.text_input("Question about this text")
        always = st.toggle("Quote the likeliest passage even if it may be no answer")
        asked = st.form_submit_button("Ask")
    if done.analysis.n_windows > 1:
        announce(done.seconds)
    if asked:
        with errors.shown():
            if not question.strip():
                raise InputError("there is no question yet: type one above")
            with st.spinner("Looking for the answer", show_time=True):
                found = same_model(done).answer(question, done.text, no_answer=not always)
            st.session_state[ANSWERED] = (question, found)
    if ANSWERED in st.session_state:
        show_answer(done.text, *st.session_state[ANSWERED])


def same_model(done: Reading) -> Pipeline:
    """The pipeline that read the text: another one would speak of other results."""
    if model_name() != done.model:
        raise InputError(
            f"this text was read by {done.model}, and the app now uses {model_name()}: analyse it "
            "again first"
        )
    return pipeline()


def show_answer(text: str, question: str, found: Answer) -> None:
    st.text(question)
    if not found:
        st.info(
            f"This text holds no answer to that (score {found.score:.2f}).",
            icon=":material/help:",
        )
        return
    st.html(highlight.marked_answer(text, found))
    st.text(f"Score {found.score:.2f}, characters {found.start:,} to {found.end:,} of the text.")
    for warning in found.warnings:
        st.warning(plain(warning), icon=":material/warning:")


def show_copies(done: Reading) -> None:
    """The result as JSON, and the lines of Python that give the same."""
    st.header("Take it along")
    with st.expander("As JSON"):
        st.download_button(
            "Download",
            partial(json_of, done),
            "analysis.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )
        if len(done.analysis.entities) <= SHOWN_ENTITIES:
            st.code(json_of(done), language=None, wrap_lines=True)
    with st.expander("In Python"):
        st.code(done.python, language=None, wrap_lines=True)


def json_of(done: Reading) -> str:
    """What ``nlpkit analyze --json`` says, without the embedding: a line for each thing found."""
    analysis = done.analysis
    fields = {
        "model": done.model,
        "entities": [asdict(entity) for entity in analysis.entities],
        "labels": {task: [asdict(x) for x in found] for task, found in analysis.labels.items()},
        "warnings": [*analysis.warnings],
    }
    written = json.dumps(fields, ensure_ascii=False, indent=2)
    # JSON's strings hold no line feeds, so that what is joined are the fields of one object.
    joined = re.compile(r"\n *")
    return re.sub(r"\{\n *([^{}]*?)\n *\}", lambda one: f"{{{joined.sub(' ', one[1])}}}", written)


def python_of(text: str, tasks: Sequence[str]) -> str:
    """Lines of Python that make the same analysis."""
    given = 'open("text.txt", encoding="utf-8", newline="").read()  # your text'
    if len(text) <= WRITTEN_OUT:
        given = literal(text)
    call = f"analysis = kit.analyze(text, {literal(tasks)})"
    return "\n".join([*python_of_the_model(), f"text = {given}", call])


page()
