"""A text as words to be picked, its entities marked: how people correct entities.

>>> span = marking.pick(text, words, marks, key="words")
>>> marks = marking.marked(marks, span, "PER")

All words are the buttons of one `st.pills`, which the keyboard and a screen reader know as a
toolbar; styles make them look like running text. One word is picked, or the first and the last of
several. The entities are drawn by the styles alone, so that the buttons stay the same, and keep
the focus, when an entity changes.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import streamlit as st

from nlpkit.pipeline import Pipeline
from nlpkit.report.markup import Markup, tag
from nlpkit.text import words_of
from parts.look import label_colour
from parts.safe import Html, one_line, plain, visible

Span = tuple[int, int]  #: first character, one past the last

#: Words that are shown at a time, and how far back from there a sentence's end is looked for.
PART, SLACK = 250, 60
_SENTENCE_ENDS = frozenset(".!?\u2026\u3002\uff01\uff1f")

STYLE = """
{box} { gap: .3rem 0 !important; align-items: stretch; direction: {direction}; }
{box} button {
  border: 0 !important; border-radius: 0; min-height: 2rem; height: auto; max-width: 100%;
  padding: .1rem .14rem; margin: 0; margin-inline-start: .12rem; background: transparent;
  border-bottom: 2px solid transparent !important; color: inherit;
}
{box} button p {
  font-size: 1.05rem !important; white-space: normal !important; overflow-wrap: anywhere;
}
{box} button:hover { background: color-mix(in srgb, currentColor 12%, transparent); }
{box} button[aria-pressed="true"] { background: #1f5fa8 !important; color: #ffffff !important; }
"""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """An entity as a person marked it: ``text[start:end]``."""

    start: int
    end: int
    label: str


def spans_of(kit: Pipeline, text: str) -> list[Span]:
    """The words of a text as the model reads them: an entity begins and ends with one."""
    [encoded] = kit.encoder.encode([text])
    words = words_of(encoded)
    return list(zip(words.starts.tolist(), words.ends.tolist(), strict=True))


def parts_of(text: str, words: Sequence[Span], size: int = PART) -> list[range]:
    """The numbers of the words, cut where a line or sentence ends into parts that fit a page."""
    parts = []
    first = 0
    while len(words) - first > size:
        last = first + size
        back = range(last, last - min(SLACK, size // 2), -1)
        last = next((i for i in back if "\n" in _before(text, words, i)), last)
        if last == first + size:
            ends = (i for i in back if text[words[i - 1][0] : words[i - 1][1]] in _SENTENCE_ENDS)
            last = next(ends, last)
        parts.append(range(first, last))
        first = last
    return [*parts, range(first, len(words))]


def pick(
    text: str, words: Sequence[Span], part: range, marks: Sequence[Mark], key: str
) -> Span | None:
    """Show a part of the words with their entities; what is picked, None where nothing is."""
    options: list[int] = []  # words by number; a break of the line before one is its -number - 1
    for i in part:
        if i > part.start and "\n" in _before(text, words, i):
            options.append(-i - 1)
        options.append(i)
    found = chosen(words, marks, st.session_state.get(key, ()))
    st.html(Html(styles(text, words, options, marks, found, key)))

    def shown(i: int) -> str:
        word = plain(text[slice(*words[i])]) if i >= 0 else "\u00b6"
        return word + _invisible(i if i >= 0 else len(words) - i)

    st.pills(
        "Pick a word, or the first and the last of several; then say what it is",
        options,
        selection_mode="multi",
        format_func=shown,
        key=key,
    )
    return found


def chosen(words: Sequence[Span], marks: Iterable[Mark], picked: Iterable[int]) -> Span | None:
    """From the first to the last picked word; one word inside an entity stands for all of it."""
    numbers = sorted(i for i in picked if 0 <= i < len(words))
    if not numbers:
        return None
    start, end = words[numbers[0]][0], words[numbers[-1]][1]
    if len(numbers) == 1:
        for mark in marks:
            if mark.start <= start and end <= mark.end:
                return mark.start, mark.end
    return start, end


def marked(marks: Iterable[Mark], span: Span, label: str) -> list[Mark]:
    """The entities with this one in the place of all it touches; without a label, without it."""
    start, end = span
    kept = [mark for mark in marks if mark.end <= start or mark.start >= end]
    return sorted([*kept, Mark(start, end, label)] if label else kept)


def told(text: str, marks: Sequence[Mark]) -> str:
    """The entities in words."""
    named = [f"{one_line(text[mark.start : mark.end])} ({visible(mark.label)})" for mark in marks]
    return ", ".join(named)


def box(text: str) -> Html:
    """A text as it is, in a box that scrolls, by the keyboard too."""
    return Html(
        tag(
            "div", visible(text), class_="nk-text", role="region", tabindex=0, aria_label="The text"
        )
    )


# -- styles ----------------------------------------------------------------------------------------


def styles(
    text: str,
    words: Sequence[Span],
    options: Sequence[int],
    marks: Sequence[Mark],
    found: Span | None,
    key: str,
) -> Markup:
    """What makes the buttons a text: spaces, breaks, entities, and what is picked."""
    box = f'.st-key-{key} [role="toolbar"]'
    places = {i: f"{box} button:nth-child({at})" for at, i in enumerate(options, 1)}
    shown = sorted(i for i in options if i >= 0)
    starts = [words[i][0] for i in shown]

    def inside(start: int, end: int) -> list[int]:
        return [i for i in shown[max(bisect_right(starts, start) - 1, 0) :] if _in(i, start, end)]

    def _in(i: int, start: int, end: int) -> bool:
        return words[i][0] < end and words[i][1] > start

    direction = "rtl" if _runs_right_to_left(text) else "ltr"
    lines = [STYLE.replace("{box}", box).replace("{direction}", direction)]
    breaks = [i for i in options if i < 0]
    lines += _rule(
        [places[i] for i in breaks],
        "flex-basis: 100%; height: 0; min-height: 0; padding: 0; border: 0 !important;"
        "visibility: hidden; overflow: hidden",
    )
    glued = [i for i in shown if i and words[i][0] == words[i - 1][1]]
    lines += _rule([places[i] for i in glued], "margin-inline-start: 0; padding-inline-start: 0")
    before = [places[i - 1] for i in glued if i - 1 in places]
    lines += _rule(before, "padding-inline-end: 0")
    for mark in marks:
        own = inside(mark.start, mark.end)
        if not own:
            continue
        colour = label_colour(mark.label)
        lines += _rule(
            [places[i] for i in own],
            f"background: {colour}; color: #1b1f24; margin-inline-start: 0",
        )
        lines += _rule(
            [places[own[0]]],
            "margin-inline-start: .15rem; padding-inline-start: .2rem;"
            "border-start-start-radius: .35rem; border-end-start-radius: .35rem",
        )
        lines += _rule(
            [places[own[-1]]],
            "padding-inline-end: .2rem; border-start-end-radius: .35rem;"
            "border-end-end-radius: .35rem",
        )
        label = f'content: "{_css_text(visible(mark.label))}"; font-size: .7em; font-weight: 700;'
        lines += _rule([places[own[-1]] + "::after"], label + "margin-inline-start: .35em")
    if found is not None:
        chosen_words = [places[i] for i in inside(*found)]
        lines += _rule(chosen_words, "border-bottom-color: #2f72b8 !important")
    return Markup(f"<style>{''.join(lines)}</style>")


def _rule(selectors: Sequence[str], style: str) -> list[str]:
    return [f"{','.join(selectors)}{{{style}}}\n"] if selectors else []


def _css_text(text: str) -> str:
    """A text inside the quotes of a style: letter by letter as numbers, so that none does more."""
    return "".join(f"\\{ord(letter):06x}" for letter in text)


def _invisible(number: int) -> str:
    """A number that nobody sees: `st.pills` tells its buttons apart by what they say."""
    return "".join("\u2060" if bit == "1" else "\u200b" for bit in f"{number:020b}")


def _before(text: str, words: Sequence[Span], i: int) -> str:
    """What stands between a word and the one before it."""
    return visible(text[words[i - 1][1] : words[i][0]]) if 0 < i < len(words) else ""


def _runs_right_to_left(text: str) -> bool:
    """Whether the first letter that has a direction runs from right to left."""
    for letter in text:
        direction = unicodedata.bidirectional(letter)
        if direction in ("L", "R", "AL"):
            return direction != "L"
    return False
