"""Heads and their registry.

``HEADS`` is a dict you can read. Other packages add kinds by the entry point group
``nlpkit.heads`` (name: the kind, value: the class); see :func:`nlpkit.testing.check_head`.
"""

from __future__ import annotations

from typing import Any

from nlpkit.errors import UnknownNameError
from nlpkit.heads.base import Head, Reading
from nlpkit.heads.pooling import PoolingHead
from nlpkit.heads.sequence import SequenceHead
from nlpkit.heads.span import SpanHead
from nlpkit.heads.token import TokenHead

HEADS: dict[str, type[Any]] = {
    TokenHead.kind: TokenHead,
    SequenceHead.kind: SequenceHead,
    SpanHead.kind: SpanHead,
    PoolingHead.kind: PoolingHead,
}

__all__ = [
    "HEADS",
    "Head",
    "PoolingHead",
    "Reading",
    "SequenceHead",
    "SpanHead",
    "TokenHead",
    "make_head",
]


def make_head(kind: str, config: dict[str, Any]) -> Head:
    """The head of a registered kind.

    Raises:
        UnknownNameError: nobody has registered this kind.
    """
    if kind not in HEADS:
        from importlib.metadata import entry_points

        for entry in entry_points(group="nlpkit.heads"):
            if entry.name not in HEADS:
                HEADS[entry.name] = entry.load()
    if kind not in HEADS:
        raise UnknownNameError.of(
            "kind of head", kind, HEADS, "A kind from another package needs that package installed."
        )
    head: Head = HEADS[kind](**config)
    return head
