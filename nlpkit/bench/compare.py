"""Whether two sides say the same: looked at before a time counts.

Labels are compared word by word, as the model gives them: decoders differ in what they make of tags
that are not legal (nlpkit's finds the best legal ones, others take what comes), so the words of the
entities that come out are compared too, but do not decide. Classes are compared text by text,
answers by the words they share, vectors by cosine. Two sides
are compared directly, but for vectors: those of each are compared with nlpkit's in fp32, since two
honest roundings of one vector may be further from one another than either is from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import InputError

#: What must agree at least, as a share or a mean cosine.
LEAST_LABELS, LEAST_CLASSES, LEAST_ANSWERS, LEAST_COSINE = 0.99, 0.99, 0.95, 0.995
_WORD = re.compile(r"\S+")

Outputs = Mapping[str, Any]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two sides agree: a share or a cosine by what was compared, and what is too little."""

    shares: dict[str, float]
    too_little: tuple[str, ...]

    @property
    def is_enough(self) -> bool:
        return not self.too_little

    def __str__(self) -> str:
        return ", ".join(f"{name} {share:.4f}" for name, share in self.shares.items())


def read_outputs(stem: Path, task: str) -> dict[str, Any]:
    """What a side kept under a stem, by task."""
    found = json.loads(stem.with_name(f"{stem.name}.json").read_text(encoding="utf-8"))
    outputs: dict[str, Any] = found if isinstance(found, dict) else {task: found}
    vectors = stem.with_name(f"{stem.name}.npy")
    if vectors.is_file():
        outputs["embed"] = np.load(vectors)
    return outputs


def agreement(
    texts: Sequence[Any], ours: Outputs, theirs: Outputs, exact: Outputs | None = None
) -> Agreement:
    """Compare the outputs of nlpkit and of another side on the same texts.

    ``exact`` holds nlpkit's vectors in fp32, against which both are held; without it they are
    compared with one another.

    Raises:
        InputError: the sides gave different tasks, or numbers of results.
    """
    if ours.keys() != theirs.keys():
        raise InputError(f"results are of {[*ours]} and {[*theirs]}; expected the same tasks")
    shares: dict[str, float] = {}
    short: list[str] = []

    def note(name: str, share: float, least: float) -> None:
        shares[name] = share
        if not share >= least:  # not a number is too little, too
            short.append(f"{name} {share:.4f}, expected {least}")

    for task, mine in ours.items():
        other = theirs[task]
        if len(mine) != len(other):
            raise InputError(f"{task}: {len(mine)} and {len(other)} results")
        if task == "embed":
            against = exact["embed"] if exact else mine
            note("cosine", float(cosines(other, against).mean()), LEAST_COSINE)
            if exact:
                note("cosine of nlpkit", float(cosines(mine, against).mean()), LEAST_COSINE)
        elif task == "ner":
            note("labels", same_tags(mine, other), LEAST_LABELS)
            shares["words of entities"] = same_labels(texts, mine, other)
        elif task == "answer":
            note("answers", shared_words(texts, mine, other), LEAST_ANSWERS)
        else:
            same = float(np.mean([a == b for a, b in zip(mine, other, strict=True)]))
            note(task, same, LEAST_CLASSES)
    return Agreement(shares, tuple(short))


def same_tags(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The share of the words that both sides know (by where they start) with the same tag.

    Tokenizers part words differently: 0 where fewer than eight of ten of nlpkit's words are known
    to the other side.
    """
    same = known = total = 0
    for mine, other in zip(ours, theirs, strict=True):
        tags = {start: tag for start, _, tag in other["tags"]}
        total += len(mine["tags"])
        for start, _, tag in mine["tags"]:
            if start in tags:
                known += 1
                same += tag == tags[start]
    return same / max(known, 1) if known >= 0.8 * total else 0.0


def same_labels(texts: Sequence[str], ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The share of words (white space parts them) that lie in entities of the same label."""
    same = total = 0
    for text, mine, other in zip(texts, ours, theirs, strict=True):
        words = [match.span() for match in _WORD.finditer(text)]
        a, b = (labels_of(words, side["entities"]) for side in (mine, other))
        total += len(words)
        same += sum(x == y for x, y in zip(a, b, strict=True))
    return same / max(total, 1)


def labels_of(words: Sequence[tuple[int, int]], entities: Sequence[Any]) -> list[str]:
    """The label of the first entity that reaches into each word, or nothing."""
    ordered = sorted(entities)
    found, at = [], 0
    for start, end in words:
        while at < len(ordered) and ordered[at][1] <= start:
            at += 1
        inside = at < len(ordered) and ordered[at][0] < end
        found.append(ordered[at][2] if inside else "")
    return found


def shared_words(texts: Sequence[Any], ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The mean F1 of the words of two answers; two that are none agree."""
    scores = []
    for (_, context), mine, other in zip(texts, ours, theirs, strict=True):
        a = context[slice(*mine)].split() if mine else []
        b = context[slice(*other)].split() if other else []
        common = sum(min(a.count(word), b.count(word)) for word in set(a))
        scores.append(2 * common / (len(a) + len(b)) if a or b else 1.0)
    return float(np.mean(scores))


def cosines(a: Vectors, b: Vectors) -> Vectors:
    """Row by row."""
    a, b = (np.asarray(x, dtype=np.float32) for x in (a, b))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: Vectors = (a * b).sum(axis=1) / np.maximum(lengths, 1e-12)
    return found
