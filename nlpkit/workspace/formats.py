"""Corrected texts as training data: JSON lines, CoNLL columns, spaCy's DocBin."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nlpkit.bundle import read_bundle
from nlpkit.errors import InputError, MissingExtraError
from nlpkit.readers import TokenExample
from nlpkit.text import words_of
from nlpkit.training.items import word_tags
from nlpkit.workspace.models import Model

if TYPE_CHECKING:
    from nlpkit.workspace.corrections import Correction


def as_jsonl(judged: Sequence[Correction], model: Model, *, entities: bool) -> bytes:
    """A line for each text: ``text``, ``label`` or ``entities``, and where that comes from.

    ``nlpkit train`` reads those of a classification task as they are.
    """
    lines = []
    for one in judged:
        line = {
            "text": one.text,
            "entities" if entities else "label": one.value,
            "model_value": one.model_value,
            "model": one.model,
            "by": one.by,
            "at": one.at,
            "source": dict(one.source),
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def as_conll(judged: Sequence[Correction], model: Model, *, entities: bool) -> bytes:
    """Words as nlpkit cuts them, each with its IOB2 tag; a word that a span touches is in it."""
    if not entities:
        raise InputError(f"CoNLL columns hold entities; export {judged[0].task!r} as jsonl")
    encoder = read_bundle(model.bundle).encoder
    lines: list[str] = []
    for one in judged:
        example = token_example(one)
        types = sorted({label for _, _, label in example.spans})
        labels = ("O", *(f"{prefix}-{label}" for label in types for prefix in "BI"))
        [encoded] = encoder.encode([one.text])
        tags = word_tags(example, encoded, labels)
        words = words_of(encoded)
        for first, start, end in zip(words.firsts, words.starts, words.ends, strict=True):
            lines.append(f"{one.text[start:end]}\t{labels[tags[encoded.words[first]]]}\n")
        lines.append("\n")
    return "".join(lines).encode()


def as_docbin(judged: Sequence[Correction], model: Model, *, entities: bool) -> bytes:
    """What ``spacy train`` reads: entities as ``doc.ents``, classes as ``doc.cats``.

    A span that ends inside of one of spaCy's tokens takes the whole token in.
    """
    try:
        import spacy
        from spacy.tokens import DocBin
        from spacy.util import filter_spans
    except ModuleNotFoundError:
        raise MissingExtraError.of("app", "writing a DocBin", "spacy") from None
    tokenizer = spacy.blank("en")
    classes = [] if entities else model.heads[judged[0].task]["config"]["labels"]
    made = DocBin()
    for one in judged:
        doc = tokenizer.make_doc(one.text)
        if entities:
            spans = [
                doc.char_span(start, end, label=label, alignment_mode="expand")
                for start, end, label in token_example(one).spans
            ]
            doc.ents = filter_spans([span for span in spans if span is not None])
        else:
            given = [one.value] if isinstance(one.value, str) else one.value
            doc.cats = {name: float(name in given) for name in classes}
        made.add(doc)
    data: bytes = made.to_bytes()
    return data


def token_example(one: Correction) -> TokenExample:
    """A text with its corrected entities."""
    spans: Any = one.value
    return TokenExample(one.text, tuple((s["start"], s["end"], s["label"]) for s in spans))


FORMATS: dict[str, Callable[..., bytes]] = {
    "jsonl": as_jsonl,
    "conll": as_conll,
    "docbin": as_docbin,
}
