"""Entities: strict and conlleval scores, slices, kinds of errors, calibration."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlpkit import metrics
from nlpkit.intervals import Weighted, intervals, ratio_of
from nlpkit.metrics import Span
from nlpkit.readers import Sentence
from nlpkit.scoring.base import (
    N_WORST,
    Kit,
    Measured,
    Progress,
    Ranges,
    around,
    by_class,
    calibration,
    in_chunks,
    kept,
    slices,
)
from nlpkit.types import Entity

MISSED, INVENTED = "(missed)", "(invented)"
ENTITY_WORDS = Ranges(1, 2, 3, 4)
SENTENCE_WORDS = Ranges(1, 6, 11, 21, 41)
CASINGS = ("all lower case", "all upper case", "mixed case", "no letters")


@dataclass(frozen=True, slots=True)
class Found:
    """An entity that the head found, on the tokens that it touches."""

    span: Span
    score: float


@dataclass(frozen=True, slots=True)
class Scored:
    """A sentence with the tags of both sides and the entities that the predicted tags spell."""

    sentence: Sentence
    gold: list[str]
    predicted: list[str]
    found: list[Found]

    @property
    def gold_spans(self) -> list[Span]:
        return metrics.entities(self.gold)

    def surface(self, span: Span) -> str:
        return " ".join(self.sentence.tokens[span[1] : span[2]])


def score_entities(
    kit: Kit,
    sentences: Sequence[Sentence],
    progress: Progress,
    *,
    task: str = "ner",
    names: Mapping[str, str] | None = None,
    whole_documents: bool = False,
    seen: Collection[str] | None = None,
) -> Measured:
    """Entity scores, each sentence a text of its own: its words joined by single spaces.

    ``names`` maps the data's labels to the head's; all other labels are left out on both sides.
    With ``whole_documents`` the sentences of a document are read as one text, and scored one by
    one all the same. ``seen`` are the training file's entities, as :func:`surfaces` gives them.
    """
    units = _units(sentences, whole_documents)
    texts = [" ".join(token for s in unit for token in s.tokens) for unit in units]
    results = in_chunks(lambda part: kit.ner(part, task=task), texts, progress)
    scored = [_scored(unit, entities, names) for unit, entities in zip(units, results, strict=True)]
    flat = [one for unit in scored for one in unit]
    gold, predicted = [one.gold for one in flat], [one.predicted for one in flat]
    strict = metrics.entity_scores(gold, predicted)
    conlleval = metrics.entity_scores(gold, predicted, "conlleval")
    scores = {
        "f1": strict.micro.f1,
        "precision": strict.micro.precision,
        "recall": strict.micro.recall,
        "conlleval_f1": conlleval.micro.f1,
    }
    scores |= {f"{label}_f1": score.f1 for label, score in strict.per_class.items()}
    right = [found.span in set(one.gold_spans) for one in flat for found in one.found]
    details = {
        "per_class": by_class(strict.per_class),
        "per_class_conlleval": by_class(conlleval.per_class),
        "confusion": _confusion(flat),
        "errors": _kinds_of_errors(flat),
        "slices": _slices(flat, seen),
        **calibration([found.score for one in flat for found in one.found], right),
    }
    return Measured(
        scores,
        len(units),
        details,
        intervals(_weighted(scored, list(strict.per_class)), len(units)),
        _worst(flat),
    )


def surfaces(sentences: Sequence[Sentence]) -> set[str]:
    """The entities of sentences by their words, whatever their case and label."""
    return {
        " ".join(s.tokens[first:end]).casefold()
        for s in sentences
        for _, first, end in metrics.entities(s.tags, "conlleval")
    }


def tags_of(tokens: Sequence[str], entities: Sequence[Entity]) -> list[str]:
    """IOB2 tags of tokens from entities in the text that joins them by single spaces.

    An entity covers the tokens it touches; a token that two touch belongs to the first.
    """
    return _tags(len(tokens), _on_tokens(tokens, entities))


# From characters to tokens -------------------------------------------------------------------


def _units(sentences: Sequence[Sentence], whole_documents: bool) -> list[list[Sentence]]:
    """What is read at a time."""
    if not whole_documents:
        return [[sentence] for sentence in sentences]
    documents: dict[int, list[Sentence]] = defaultdict(list)
    for sentence in sentences:
        documents[sentence.document].append(sentence)
    return list(documents.values())


def _scored(
    unit: Sequence[Sentence], entities: Sequence[Entity], names: Mapping[str, str] | None
) -> list[Scored]:
    """The sentences of a text with their parts of what was found in it."""
    if names is not None:
        entities = [e for e in entities if e.label in names.values()]
    found = _on_tokens([token for s in unit for token in s.tokens], entities)
    tags = _tags(sum(len(s.tokens) for s in unit), found)
    scored = []
    first = 0
    for sentence in unit:
        end = first + len(sentence.tokens)
        inside = [
            Found((one.span[0], one.span[1] - first, min(one.span[2], end) - first), one.score)
            for one in found
            if first <= one.span[1] < end
        ]
        gold = [_renamed(tag, names) for tag in sentence.tags]
        scored.append(Scored(sentence, gold, tags[first:end], inside))
        first = end
    return scored


def _on_tokens(tokens: Sequence[str], entities: Sequence[Entity]) -> list[Found]:
    found = []
    free = 0
    ends = np.cumsum([len(token) + 1 for token in tokens]) - 1
    starts = ends - [len(token) for token in tokens]
    for entity in sorted(entities, key=lambda e: (e.start, e.end)):
        touched = np.flatnonzero((ends > entity.start) & (starts < entity.end))
        touched = touched[touched >= free]
        if len(touched):
            free = int(touched[-1]) + 1
            found.append(Found((entity.label, int(touched[0]), free), entity.score))
    return found


def _tags(n_tokens: int, found: Sequence[Found]) -> list[str]:
    tags = ["O"] * n_tokens
    for one in found:
        label, first, end = one.span
        tags[first:end] = [f"B-{label}", *[f"I-{label}"] * (end - first - 1)]
    return tags


def _renamed(tag: str, names: Mapping[str, str] | None) -> str:
    if names is None or tag == "O":
        return tag
    return f"{tag[:2]}{names[tag[2:]]}" if tag[2:] in names else "O"


# Intervals -----------------------------------------------------------------------------------


def _weighted(scored: Sequence[Sequence[Scored]], labels: Sequence[str]) -> dict[str, Weighted]:
    """The scores as functions of how often each text counts."""
    strict = _counts(scored, "strict")
    conlleval = _counts(scored, "conlleval")
    right, said, there = strict.T
    weighted = {
        "f1": ratio_of(2 * right, said + there),
        "precision": ratio_of(right, said),
        "recall": ratio_of(right, there),
        "conlleval_f1": ratio_of(2 * conlleval[:, 0], conlleval[:, 1] + conlleval[:, 2]),
    }
    for label in labels:
        right, said, there = _counts(scored, "strict", label).T
        weighted[f"{label}_f1"] = ratio_of(2 * right, said + there)
    return weighted


def _counts(
    scored: Sequence[Sequence[Scored]], scheme: metrics.Scheme, label: str | None = None
) -> Any:
    """Entities right, predicted and there in each text: (texts, 3)."""

    def count(one: Scored) -> tuple[int, int, int]:
        gold, predicted = (
            {span for span in metrics.entities(tags, scheme) if label in (None, span[0])}
            for tags in (one.gold, one.predicted)
        )
        return len(gold & predicted), len(predicted), len(gold)

    return np.array([np.sum([count(one) for one in unit], axis=0) for unit in scored])


# Slices --------------------------------------------------------------------------------------


def _slices(
    scored: Sequence[Scored], seen: Collection[str] | None
) -> dict[str, list[dict[str, Any]]]:
    def of_sentences(name_of: Callable[[Scored], str], order: Sequence[str]) -> list[Any]:
        def score(chosen: list[int]) -> dict[str, float]:
            return _f1_of((scored[i].gold_spans, _spans(scored[i])) for i in chosen)

        return slices([name_of(one) for one in scored], order, score)

    def of_entities(name_of: Callable[[Scored, Span], str], order: Sequence[str]) -> list[Any]:
        rows = []
        for name in order:
            pairs = [
                (
                    [span for span in one.gold_spans if name_of(one, span) == name],
                    [span for span in _spans(one) if name_of(one, span) == name],
                )
                for one in scored
            ]
            n = sum(len(gold) for gold, _ in pairs)
            if n:
                rows.append({"name": name, "n": n, **_f1_of(pairs)})
        return rows if len(rows) > 1 else []

    named = {
        "words of the entity": of_entities(
            lambda _, span: ENTITY_WORDS(span[2] - span[1]), ENTITY_WORDS.names
        ),
        "words of the sentence": of_sentences(
            lambda one: SENTENCE_WORDS(len(one.sentence.tokens)), SENTENCE_WORDS.names
        ),
        "letters of the sentence": of_sentences(
            lambda one: _casing(" ".join(one.sentence.tokens)), CASINGS
        ),
    }
    if seen is not None:
        named["entity in the training file"] = of_entities(
            lambda one, span: "seen" if one.surface(span).casefold() in seen else "unseen",
            ("seen", "unseen"),
        )
    return kept(named)


def _f1_of(pairs: Iterable[tuple[list[Span], list[Span]]]) -> dict[str, float]:
    n_right = n_said = n_there = 0
    for gold, predicted in pairs:
        n_right += len(set(gold) & set(predicted))
        n_said += len(predicted)
        n_there += len(gold)
    score = metrics.ClassScore(n_right, n_said, n_there)
    if not n_said and not n_there:  # right, in its way, but no score says so
        return dict.fromkeys(("f1", "precision", "recall"), math.nan)
    return {"f1": score.f1, "precision": score.precision, "recall": score.recall}


def _spans(one: Scored) -> list[Span]:
    return [found.span for found in one.found]


def _casing(text: str) -> str:
    lower, upper = text == text.lower(), text == text.upper()
    return CASINGS[3 if lower and upper else 0 if lower else 1 if upper else 2]


# Errors --------------------------------------------------------------------------------------


def _confusion(scored: Sequence[Scored]) -> dict[str, Any]:
    """Counts of entities on the very same words, by class; the rest is missed or invented."""
    cells: Counter[tuple[str, str]] = Counter()
    for one in scored:
        gold = {(first, end): label for label, first, end in one.gold_spans}
        said = {(first, end): label for label, first, end in _spans(one)}
        cells.update((label, said.get(place, MISSED)) for place, label in gold.items())
        cells.update((INVENTED, label) for place, label in said.items() if place not in gold)
    labels = sorted({label for pair in cells for label in pair} - {MISSED, INVENTED})
    rows, columns = [*labels, INVENTED], [*labels, MISSED]
    counts = [[cells[row, column] for column in columns] for row in rows]
    return {"rows": rows, "columns": columns, "counts": counts}


def _kinds_of_errors(scored: Sequence[Scored]) -> dict[str, int]:
    """Wrong entities by what is wrong with them, and the missed ones that nothing touches."""
    kinds = dict.fromkeys(
        ("right", "wrong class", "wrong border", "wrong class and border", "invented", "missed"), 0
    )
    for one in scored:
        for found in one.found:
            kinds[_kind(found.span, one.gold_spans)[0]] += 1
        kinds["missed"] += sum(not any(_touch(g, s) for s in _spans(one)) for g in one.gold_spans)
    return kinds


def _kind(span: Span, gold: Sequence[Span]) -> tuple[str, Span | None]:
    """What is wrong with an entity, and the true one that it stands for."""
    touching = [g for g in gold if _touch(g, span)]
    if not touching:
        return "invented", None
    nearest = max(touching, key=lambda g: (g == span, g[1:] == span[1:], g[0] == span[0]))
    if nearest == span:
        return "right", nearest
    if nearest[1:] == span[1:]:
        return "wrong class", nearest
    return "wrong border" if nearest[0] == span[0] else "wrong class and border", nearest


def _touch(one: Span, other: Span) -> bool:
    return one[1] < other[2] and other[1] < one[2]


def _worst(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """The wrong entities with the highest scores."""
    wrong = [
        (found, one, _kind(found.span, one.gold_spans))
        for one in scored
        for found in one.found
        if found.span not in one.gold_spans
    ]
    wrong.sort(key=lambda item: -item[0].score)
    return [_error(*item) for item in wrong[:N_WORST]]


def _error(found: Found, one: Scored, kind: tuple[str, Span | None]) -> dict[str, Any]:
    label, first, _ = found.span
    tokens = one.sentence.tokens
    start = sum(len(token) + 1 for token in tokens[:first])
    said = one.surface(found.span)
    what, gold = kind
    return {
        "score": found.score,
        "predicted": f"{label}: {said}",
        "gold": "nothing" if gold is None else f"{gold[0]}: {one.surface(gold)}",
        "what": what,
        **around(" ".join(tokens), start, start + len(said)),
    }
