"""Texts with parts of them marked, and scores as bars: markup in which every text is escaped."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

from nlpkit.report.markup import Child, Markup, escaped, tag
from nlpkit.types import Answer, Entity, Label, WordWeight
from parts.look import label_colour
from parts.safe import Html, visible

#: Characters of a text that one page shows at most.
PART = 15_000
#: How far back a cut looks for the end of a line or word.
SLACK = 1_000
#: Characters shown around an answer, and around words of a long text.
AROUND = 300
AROUND_WORD = 80

# What displaCy puts around an entity. The label is drawn by the style sheet, so that the page
# holds the text as it was given and nothing between; {text} and {label} come escaped.
_ENTITY = '<mark class="entity" style="background: {bg}" data-label="{label}">{text}</mark>'


def marked_entities(text: str, entities: Sequence[Entity], start: int, end: int) -> Html:
    """The part ``text[start:end]`` with its entities marked; it must cut none of them."""
    from spacy import displacy

    inside = entities[
        bisect_left(entities, start, key=_start) : bisect_left(entities, end, key=_start)
    ]
    spans = [
        {
            "start": entity.start - start,
            "end": entity.end - start,
            "label": entity.label,
            "params": {"label": escaped(entity.label)},  # displaCy escapes texts, not labels
        }
        for entity in inside
    ]
    markup = displacy.render(
        {"text": visible(text)[start:end], "ents": spans, "title": None},
        style="ent",
        manual=True,
        jupyter=False,
        options={
            "colors": {entity.label: label_colour(entity.label) for entity in inside},
            "template": _ENTITY,
        },
    )
    return _box("The text, entities marked", Markup(markup.strip()))


def legend(entities: Iterable[Entity]) -> Html:
    """The labels with their colours and how many entities each has."""
    counts = Counter(entity.label for entity in entities)
    items = [
        tag("li", tag("mark", label, style=f"background: {label_colour(label)}"), f" {n:,}")
        for label, n in counts.most_common()
    ]
    return Html(tag("ul", items, class_="nk-legend"))


def parts_of(text: str, entities: Sequence[Entity], size: int = PART) -> list[tuple[int, int]]:
    """A text cut into parts of about this many characters, between words and outside entities."""
    parts: list[tuple[int, int]] = []
    start = 0
    while len(text) - start > size:
        end = _cut(text, entities, start, start + size)
        parts.append((start, end))
        start = end
    return parts if parts and start == len(text) else [*parts, (start, len(text))]


def marked_answer(text: str, answer: Answer) -> Html:
    """The answer marked in the passage around it."""
    assert answer.start is not None
    assert answer.end is not None
    text = visible(text)
    start, end = max(0, answer.start - AROUND), min(len(text), answer.end + AROUND)
    pieces = [
        "…" if start else "",
        text[start : answer.start],
        tag("mark", text[answer.start : answer.end], class_="answer"),
        text[answer.end : end],
        "…" if end < len(text) else "",
    ]
    return _box("The passage, answer marked", pieces)


def weighed_words(text: str, words: Sequence[WordWeight]) -> Html:
    """A text with its words coloured by weight; of a long one, what stands around those words."""
    text = visible(text)
    most = max((abs(word.weight) for word in words), default=0.0) or 1.0
    pieces: list[str] = []
    position = 0
    for start, end in _shown_of(text, words):
        pieces.append("" if start == position else " … ")
        position = start
        for word in words[
            bisect_left(words, start, key=_start) : bisect_left(words, end, key=_start)
        ]:
            pieces.append(text[position : word.start])
            pieces.append(
                tag(
                    "span",
                    text[word.start : word.end],
                    class_=f"nk-word {'for' if word.weight > 0 else 'against'}",
                    style=f"--share: {abs(word.weight) / most:.3f}",
                )
            )
            position = word.end
        pieces.append(text[position:end])
        position = end
    pieces.append("" if position == len(text) else " …")
    return _box("The text, words coloured by their weight", pieces)


def score_bars(title: str, labels: Sequence[Label]) -> Html:
    """The classes of a task as bars, best first."""
    rows = [
        tag(
            "tr",
            tag("th", label.name, scope="row"),
            tag("td", tag("div", _fill(label.score), class_="nk-track")),
            tag("td", f"{label.score:.1%}", class_="n"),
            class_="best" if number == 0 else None,
        )
        for number, label in enumerate(labels)
    ]
    return Html(tag("table", tag("caption", title), tag("tbody", rows), class_="nk-scores"))


def _box(name: str, content: Child) -> Html:
    """A box that scrolls, by the keyboard too."""
    box = tag("div", content, class_="nk-text", role="region", tabindex=0, aria_label=name)
    return Html(box)


def _fill(score: float) -> Markup:
    return tag("div", class_="nk-fill", style=f"width: {score:.1%}")


def _start(span: Entity | WordWeight) -> int:
    return span.start


def _cut(text: str, entities: Sequence[Entity], start: int, end: int) -> int:
    """The best place to cut before ``end``: an end of a line, else of a word."""
    for space in ("\n", " "):
        found = text.rfind(space, max(start, end - SLACK), end) + 1
        if found > start:
            end = found
            break
    before = bisect_right(entities, end, key=_start) - 1
    if before >= 0 and entities[before].start < end < entities[before].end:
        inside = entities[before]
        return inside.start if inside.start > start else inside.end
    return end


def _shown_of(text: str, words: Sequence[WordWeight]) -> list[tuple[int, int]]:
    """All of a short text; of a longer one, the parts in which words were weighed."""
    if len(text) <= PART or not words:
        return [(0, len(text[:PART]))]
    spans: list[tuple[int, int]] = []
    for word in words:
        start, end = max(0, word.start - AROUND_WORD), min(len(text), word.end + AROUND_WORD)
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans
