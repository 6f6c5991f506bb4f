"""Parts of documents, to be shown where they were found: markup in which every text is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nlpkit.report.markup import Child, Markup, tag
from nlpkit.types import Document
from parts.safe import Html, visible

#: Characters of a passage that are shown, and of what stands on each side of it.
LONGEST_PASSAGE = 2_000
AROUND = 160
#: Longer parts of a document are tinted, not marked.
LONGEST_QUOTATION = 200
#: Fields shown beside a passage, and characters of each.
MOST_FIELDS, LONGEST_FIELD = 8, 120
#: Fields that hold a document's title, where it has one.
TITLES = ("title", "headline", "subject", "name")
#: A word of a text counts as one that was searched for from this length on if it begins like it.
SHORTEST_STEM = 4


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document with what stands around it; the offsets are those of the document."""

    document_id: str
    title: str
    score: float
    start: int
    end: int
    before: str
    text: str
    after: str
    meta: Mapping[str, Any] = field(default_factory=dict)


def passage_of(
    document: Document, start: int, end: int, score: float, around: int = AROUND
) -> Passage:
    """The passage ``document.text[start:end]``."""
    text = document.text
    first, shown, last = max(0, start - around), min(end, start + LONGEST_PASSAGE), end + around
    if shown < end:
        last = shown
    return Passage(
        document.id,
        title_of(document),
        score,
        start,
        end,
        ("…" if first else "") + text[first:start],
        text[start:shown],
        text[shown:last] + ("…" if last < len(text) else ""),
        document.meta,
    )


def title_of(document: Document) -> str:
    """The document's title, or its id where it has none."""
    name = _title_field(document.meta)
    return document.id if name is None else " ".join(document.meta[name].split())


def found(rank: int, passage: Passage, words: Sequence[str]) -> Html:
    """A hit: the document's title and facts, and the passage with the searched words marked."""
    pieces = [
        visible(passage.before),
        tag("span", marked_words(passage.text, words), class_="passage"),
        visible(passage.after),
    ]
    return Html(
        tag(
            "article",
            tag("h2", f"{rank}. ", tag("bdi", visible(passage.title))),
            facts(passage),
            _box(f"Passage {rank}", pieces),
            fields_of(passage.meta, MOST_FIELDS),
            class_="nk-hit",
        )
    )


def quotation(passage: Passage, name: str) -> Html:
    """An answer, marked in the passage around it."""
    pieces = [
        visible(passage.before),
        tag("mark", visible(passage.text), class_="answer"),
        visible(passage.after),
    ]
    return Html(tag("div", _box(name, pieces), facts(passage, with_title=True), class_="nk-hit"))


def facts(passage: Passage, *, with_title: bool = False) -> Markup:
    """Where a passage is, and its score."""
    named = passage.title != passage.document_id
    where = f"characters {passage.start:,} to {passage.end:,}"
    parts: list[Child] = [
        tag("bdi", visible(passage.title)) if with_title and named else None,
        tag("bdi", visible(passage.document_id)) if with_title or named else None,
        where,
        f"score {passage.score:.3f}",
    ]
    joined: list[Child] = []
    for part in parts:
        if part is not None:
            joined += [" · ", part]
    return tag("p", joined[1:], class_="nk-facts")


def fields_of(meta: Mapping[str, Any], most: int | None = None) -> Markup | None:
    """Metadata but for the title, as names and values, or the first of them."""
    title = _title_field(meta)
    fields = [(name, value) for name, value in meta.items() if name != title]
    rows = [
        tag("div", tag("dt", visible(name)), tag("dd", tag("bdi", _short(value))))
        for name, value in fields[:most]
    ]
    if not rows:
        return None
    left = len(fields) - len(rows)
    more = tag("div", tag("dt", "more fields"), tag("dd", f"{left:,}")) if left else None
    return tag("dl", rows, more, class_="nk-fields")


def text_with_mark(text: str, start: int, end: int, mark: tuple[int, int]) -> Html:
    """The part ``text[start:end]`` of a document, with what lies in it of ``mark`` marked."""
    first, last = (min(max(place, start), end) for place in mark)
    kind = "answer" if mark[1] - mark[0] <= LONGEST_QUOTATION else "passage"
    pieces = [
        visible(text[start:first]),
        tag("mark", visible(text[first:last]), class_=f"{kind} here") if first < last else None,
        visible(text[last:end]),
    ]
    return Html(_box("The document", pieces))


def marked_words(text: str, words: Sequence[str]) -> list[Child]:
    """A text with those words marked that begin like one of ``words`` (in lower case)."""
    return [
        tag("mark", visible(part), class_="answer") if is_match else visible(part)
        for part, is_match in _split(text, words)
    ]


def _title_field(meta: Mapping[str, Any]) -> str | None:
    for name in TITLES:
        title = meta.get(name)
        if isinstance(title, str) and title.strip():
            return name
    return None


def _split(text: str, words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    position = 0
    for word in re.finditer(r"\w+", text):
        if any(_alike(word[0].lower(), wanted) for wanted in words):
            yield text[position : word.start()], False
            yield word[0], True
            position = word.end()
    yield text[position:], False


def _alike(word: str, wanted: str) -> bool:
    """Whether two words are one but for an ending: the search compares stems, too."""
    shorter, longer = sorted((word, wanted), key=len)
    return word == wanted or (len(shorter) >= SHORTEST_STEM and longer.startswith(shorter))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return visible(text if len(text) <= LONGEST_FIELD else text[:LONGEST_FIELD] + "…")


def _box(name: str, content: Child) -> Markup:
    """A box that scrolls, by the keyboard too."""
    return tag("div", content, class_="nk-text", role="region", tabindex=0, aria_label=name)
