"""Search and ask: an index searched by meaning, and asked questions that it answers by quoting.

The address holds what is shown (``?index=news&q=engines&hybrid=true&filter=year&from:year=2020``),
so that a search can be shared; ``document`` and ``at`` name a document that is open.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from nlpkit.errors import InputError
from nlpkit.heads import SpanHead
from nlpkit.index import Index
from nlpkit.index.words import searched_words
from nlpkit.types import Hit
from nlpkit.workspace import IndexEntry
from parts import document, errors, filters, indexes
from parts.filters import Where
from parts.model import pipeline
from parts.passages import Passage, found, passage_of, quotation
from parts.safe import plain, visible
from parts.users import owner
from parts.words import counted
from parts.work import workspace

SEARCH, ASK = "Search", "Ask"
#: Documents of a search, and documents that are read for an answer: unless told, and at most.
RESULTS, MOST_RESULTS = 10, 100
READ, MOST_READ = 5, 50
#: Passages offered where there is no answer, and characters around a quotation.
NEAREST = 3
AROUND_QUOTATION = 300
#: Questions that a conversation keeps.
LONGEST_CHAT = 50
#: A longer query is refused: of more words the meaning is a blur.
LONGEST_QUERY = 2_000

#: Who speaks in a conversation.
PERSON, QUOTATION = ":material/person:", ":material/format_quote:"

# What the session keeps: the conversation with each index.
CHATS = "search-chats"


@dataclass(frozen=True, slots=True)
class Turn:
    """A question, and the quotations that answer it; without any, the nearest passages."""

    question: str
    where: Where
    n_read: int
    quotations: tuple[Passage, ...]
    nearest: tuple[Passage, ...]
    is_unknown: bool  #: much of the question is in a script that the model has not learned


def page() -> None:
    st.title("Search and ask")
    entries = {entry.name: entry for entry in workspace().indexes(owner())}
    if not entries:
        st.info(
            "There is no index yet. Make one from your documents, then search it here.",
            icon=":material/database:",
        )
        st.page_link("views/indexes.py", label="Make an index", icon=":material/add:")
        return
    name = chosen_index([*entries])
    if name is None:
        st.text("Choose an index to search.")
        return
    entry = entries[name]
    if not entry.is_there:
        told = "has not been built yet" if entry.made_here else "is no longer where it was"
        st.info(f"This index {told}, and cannot be searched.", icon=":material/hourglass_empty:")
        st.page_link(
            "views/indexes.py",
            label="See what is the matter",
            icon=":material/database:",
            query_params={"index": name},
        )
        return
    with errors.shown():
        index = indexes.opened(entry)
        show_facts(entry, index)
        view = st.segmented_control(
            "What to do",
            [SEARCH, ASK],
            default=SEARCH,
            required=True,
            key="view",
            label_visibility="collapsed",
            bind="query-params",
            persist_state="session",
        )
        if view == ASK:
            ask(entry, index)
        else:
            search(entry, index)
        document.show_opened(index)


def chosen_index(names: Sequence[str]) -> str | None:
    """The index that the address names, by default the first; the address always says which."""
    if st.session_state.get("index") not in (None, *names):
        del st.session_state["index"]  # it was deleted
    asked = st.query_params.get("index")
    if "index" not in st.session_state and asked not in names:
        st.session_state["index"] = st.query_params["index"] = names[0]
        if asked:
            st.warning(plain(f"There is no index {asked} here: choose another."))
    return st.selectbox(
        "Index",
        names,
        index=None,
        key="index",
        placeholder="Choose an index",
        on_change=filters.forget,
        bind="query-params",
        persist_state="session",
    )


def show_facts(entry: IndexEntry, index: Index) -> None:
    """How much there is, and which model reads it."""
    n_documents = index.count()
    st.text(f"{counted(n_documents, 'document')}, read by {visible(index.embedder.name)}")
    kit = pipeline()
    if index.pipeline is not kit:
        st.info(
            plain(
                f"This index belongs to the model it was built with, {index.embedder.name}, and is "
                f"searched with that one. The app now uses {kit.name}."
            ),
            icon=":material/info:",
        )
    if any(job.status().state in ("queued", "running") for job in entry.jobs()):
        st.info(
            "A job is at work on this index: what it has finished is found already.",
            icon=":material/hourglass_empty:",
        )


def ask_for_filters(index: Index) -> Where:
    with st.expander("Filters", icon=":material/filter_alt:", key="search-filters"):
        fields = indexes.fields_of(index)
        if not fields:
            st.text("The documents of this index have no fields to filter by.")
            return {}
        return filters.choose(index, fields)


def warn_of_unknown() -> None:
    st.warning(
        "Much of this is in a script that the model of this index has not learned: what is found "
        "means little.",
        icon=":material/warning:",
    )


# -- searching -------------------------------------------------------------------------------------


def search(entry: IndexEntry, index: Index) -> None:
    query = st.text_input(
        "Search for",
        key="q",
        placeholder="Words or a sentence that says what you are looking for",
        icon=":material/search:",
        max_chars=LONGEST_QUERY,
        bind="query-params",
        persist_state="session",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        k = st.number_input(
            "Documents",
            min_value=1,
            max_value=MOST_RESULTS,
            value=RESULTS,
            key="k",
            width=160,
            bind="query-params",
            persist_state="session",
        )
        hybrid = st.toggle(
            "Hybrid: by words, too",
            key="hybrid",
            help="Off, documents are found by what they mean. On, those that hold the very words "
            "of the search move up as well: good for names, numbers and codes.",
            bind="query-params",
            persist_state="session",
        )
    where = ask_for_filters(index)
    if not (query or "").strip():
        st.text("Type what you are looking for, and press Enter.")
        return
    start = time.perf_counter()
    with st.spinner("Searching"):
        hits = index.search(query, k, where, hybrid)
    seconds = time.perf_counter() - start
    if indexes.is_unknown(index, query):
        warn_of_unknown()
    show_hits(query, hits, where, seconds, hybrid=hybrid)
    with st.expander("In Python"):
        st.code(python_of_search(entry, query, k, where, hybrid=hybrid), wrap_lines=True)


def show_hits(
    query: str, hits: Sequence[Hit], where: Where, seconds: float, *, hybrid: bool
) -> None:
    if not hits:
        told = "No document meets these filters." if where else "This index holds no documents."
        st.info(told, icon=":material/search_off:")
        return
    told = f"{counted(len(hits), 'document')} in {seconds:.2f} s, the best first. "
    if hybrid:
        told += "A score adds up the places by meaning and by words."
    else:
        told += "Scores say how near in meaning, from -1 to 1."
    if where:
        told += f"\nOnly documents where {filters.in_words(where)}."
    st.text(told)
    words = searched_words(query)
    for rank, hit in enumerate(hits, 1):
        passage = passage_of(hit.document, hit.start, hit.end, hit.score)
        with st.container(border=True):
            st.html(found(rank, passage, words))
            document.open_button(passage, f"open-{rank}", "Show the whole document")


def python_of_search(entry: IndexEntry, query: str, k: int, where: Where, *, hybrid: bool) -> str:
    given = [repr(query), f"k={k}"]
    if where:
        given.append(f"where={where!r}")
    if hybrid:
        given.append("hybrid=True")
    return python_of(entry, f"hits = index.search({', '.join(given)})")


def python_of(entry: IndexEntry, call: str) -> str:
    """Lines of Python that make the same call."""
    return f"import nlpkit\n\nindex = nlpkit.open_index({str(entry.path)!r})\n{call}"


# -- asking ----------------------------------------------------------------------------------------


def ask(entry: IndexEntry, index: Index) -> None:
    """A conversation; each question stands for itself."""
    if index.pipeline is None or SpanHead.kind not in index.pipeline.tasks.values():
        st.info(
            plain(f"The model of this index, {index.embedder.name}, answers no questions."),
            icon=":material/help:",
        )
        return
    chat: list[Turn] = st.session_state.setdefault(CHATS, {}).setdefault(str(entry.path), [])
    n_read = st.number_input(
        "Documents to read for an answer",
        min_value=1,
        max_value=MOST_READ,
        value=READ,
        key="read",
        width=260,
        help="Those nearest to the question are read. More find more, and take longer.",
        bind="query-params",
        persist_state="session",
    )
    where = ask_for_filters(index)
    question = st.chat_input("Ask a question about these documents", max_chars=LONGEST_QUERY)
    if not chat and not question:
        st.text("Answers are quotations from the documents. Each question stands for itself.")
    for number, turn in enumerate(chat):
        show_turn(number, turn)
    if question:
        with errors.shown():
            with st.chat_message("user", avatar=PERSON):
                st.text(visible(question))
            with (
                st.chat_message("assistant", avatar=QUOTATION),
                st.spinner("Reading", show_time=True),
            ):
                turn = answered(index, question, n_read, where)
            chat.append(turn)
            del chat[:-LONGEST_CHAT]
            st.rerun()
    if chat:
        with st.expander("In Python"):
            st.code(python_of_question(entry, chat[-1]), wrap_lines=True)
        st.button("Forget this conversation", icon=":material/delete:", on_click=chat.clear)


def answered(index: Index, question: str, n_read: int, where: Where) -> Turn:
    """The answers of the index, each with what stands around it."""
    if not question.strip():
        raise InputError("the question is empty: type one below")
    answers = index.ask(question, n_read, where)
    hits = [] if answers else index.search(question, NEAREST, where, hybrid=True)
    documents = index.get([answer.document_id or "" for answer in answers])
    quotations = [
        passage_of(source, answer.start or 0, answer.end or 0, answer.score, AROUND_QUOTATION)
        for answer, source in zip(answers, documents, strict=True)
        if source is not None  # else it was deleted in this moment
    ]
    nearest = [passage_of(hit.document, hit.start, hit.end, hit.score) for hit in hits]
    unknown = indexes.is_unknown(index, question)
    return Turn(question, where, n_read, tuple(quotations), tuple(nearest), unknown)


def show_turn(number: int, turn: Turn) -> None:
    with st.chat_message("user", avatar=PERSON):
        st.text(visible(turn.question))
        if turn.where:
            st.text(f"(only documents where {filters.in_words(turn.where)})")
    with st.chat_message("assistant", avatar=QUOTATION):
        if turn.quotations:
            show_quotation(number, 0, turn.quotations[0])
            others = turn.quotations[1:]
            if others:
                with st.expander(f"{counted(len(others), 'other possible answer')}"):
                    for i, passage in enumerate(others, 1):
                        show_quotation(number, i, passage)
        else:
            show_no_answer(number, turn)
        if turn.is_unknown:
            warn_of_unknown()


def show_quotation(number: int, rank: int, passage: Passage) -> None:
    st.html(quotation(passage, f"Answer {rank + 1} to question {number + 1}"))
    document.open_button(passage, f"answer-{number}-{rank}")


def show_no_answer(number: int, turn: Turn) -> None:
    """Say so, and offer what comes nearest."""
    st.text("There is no answer to this in this index.")
    if not turn.nearest:
        st.text("No document meets the filters." if turn.where else "It holds no documents.")
        return
    n_read = counted(turn.n_read, "document")
    with st.expander(f"The nearest of the {n_read} that were read"):
        for rank, passage in enumerate(turn.nearest, 1):
            st.html(found(rank, passage, searched_words(turn.question)))
            document.open_button(passage, f"nearest-{number}-{rank}")


def python_of_question(entry: IndexEntry, turn: Turn) -> str:
    given = [repr(turn.question), f"k={turn.n_read}"]
    if turn.where:
        given.append(f"where={turn.where!r}")
    return python_of(entry, f"answers = index.ask({', '.join(given)})")


page()
