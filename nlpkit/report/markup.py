"""HTML and SVG elements as values: what is not markup already is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

#: Characters that no HTML document may hold, and halves of surrogate pairs.
_UNSAYABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """HTML that is safe to write as it is."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]


def tag(name: str, *children: Child, **attributes: str | int | float | None) -> Markup:
    """An element; ``class_`` gives class, and the underscores of other names become hyphens.

    Attributes and children of None are left out; a list of children counts as all of them.
    """
    given = "".join(
        f' {_attribute(key)}="{escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(_written(child) for child in children)
    return Markup(f"<{name}{given}>{inside}</{name}>")


def escaped(text: str) -> Markup:
    """A text as HTML."""
    return Markup(html.escape(_UNSAYABLE.sub("\ufffd", text)))


def _attribute(key: str) -> str:
    return "viewBox" if key == "viewBox" else key.rstrip("_").replace("_", "-")


def _written(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int | float):
        return escaped(str(child))
    return "".join(_written(one) for one in child)
