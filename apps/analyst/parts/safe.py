"""Texts that people gave, made fit to be shown: as themselves, with nothing in them at work.

Streamlit reads what it is told to show as Markdown (errors, labels, captions) or as HTML. A text
of unknown origin goes through one of these, or into `st.text`, `st.code` or `st.dataframe`, which
take it as it is.
"""

from __future__ import annotations

import re

from nlpkit.report.markup import Markup

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")
#: What turns the direction of all that follows, our own words included.
_OVERRIDES = re.compile("[\u202a-\u202e\u2066-\u2069]")
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_LINKS = re.compile(r"(?<=://)|(?<=\bwww)(?=\\?\.)|(?=\\?@)", re.IGNORECASE)
_WORDS = re.compile(r"[^\W_]+([ _-][^\W_]+)*")
_WORD_JOINER = "\u2060"


class Html:
    """Markup for `st.html`, which takes it from here unchanged (a string it would dedent)."""

    def __init__(self, markup: Markup) -> None:
        self._markup = markup

    def _repr_html_(self) -> str:
        return str(self._markup)


def visible(text: str) -> str:
    """The same text, character for character, with all that no page can hold made visible.

    Its length stays, so that offsets do. Control characters and lone surrogates become a
    replacement character, ends of lines of any kind a line feed.
    """
    text = _LINE_ENDS.sub(lambda end: " \n" if len(end[0]) == 2 else "\n", text)
    return _CONTROLS.sub("\ufffd", text)


def plain(text: str) -> str:
    """Markdown that shows a text as it is: no emphasis, link, image, formula, colour or icon.

    Addresses would become links whatever is escaped; an invisible joiner inside prevents that.
    Plain words stay as they are: what escapes them would be read aloud with the label of a widget.
    """
    if _WORDS.fullmatch(text):
        return text
    shown = _LINKS.sub(_WORD_JOINER, _OVERRIDES.sub("\ufffd", visible(text)))
    indented = _INDENT.sub(lambda found: "\u00a0" * len(found[0]), shown)  # else it would be code
    return _PUNCTUATION.sub(r"\\\1", indented)


def one_line(text: str) -> str:
    """A text as :func:`visible` shows it, without breaks of the line."""
    return " ".join(visible(text).split())
