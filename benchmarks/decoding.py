"""What each step between logits and results is worth, on examples that are no test.

    python benchmarks/decoding.py base-en --precision int8

Entities, on CoNLL-2003's testa: the best tag of each word by itself; the best legal sequence of
tags; a text's repeated names read alike (the bundle's own `agreement`); what follows what counted,
fitted on every other document and scored on the rest, both ways. Strict F1 of sentences, of whole
documents, and of sentences in lower and upper case.

Answers, with something always quoted, on four held-out articles of SQuAD's training part and on
reviews of SubjQA's dev parts that answers did not learn from, where people marked whole phrases:
the span of the highest logits; the one that the others agree with; long ones at a cost (the
bundle's own `consensus` and `length_cost`). F1 and exact match.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import astuple
from itertools import groupby
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nlpkit
from nlpkit.heads import SpanHead, TokenHead
from nlpkit.metrics import ClassScore, answer_f1, exact_match
from nlpkit.pipeline import Pipeline
from nlpkit.readers import TokenExample, read_conll
from nlpkit.training.recipe import load_recipe_module
from nlpkit.training.scores import entity_score
from nlpkit.training.transitions import fit_transitions


class Independent(TokenHead):
    """Gives each word its best tag, whatever stands before it.

    As the usual scorers have it, an I- that continues nothing begins an entity.
    """

    def tag(self, logits: NDArray[Any], of_text: NDArray[Any] | None = None) -> NDArray[np.int64]:
        tags: NDArray[np.int64] = logits.argmax(axis=1)
        types = [name[2:] for name in self.labels]
        begin = np.array([types.index(name) for name in types])
        goes_on = np.roll(begin[tags], 1) == begin[tags]
        of_text = np.zeros(len(tags)) if of_text is None else of_text
        goes_on[np.diff(of_text, prepend=-1) != 0] = False
        return np.where(goes_on, tags, begin[tags])


class Several(SpanHead):
    """Gives what each of several heads quotes, from one reading."""

    def __init__(self, heads: Sequence[SpanHead]) -> None:
        super().__init__()
        self._heads = heads

    def decode(self, logits: Any, reading: Any, **options: Any) -> Any:
        return [head.decode(logits, reading, no_answer=False)[0] for head in self._heads]


def entities(kit: Pipeline) -> None:
    config = {**kit.head("ner").head.config(), "transitions": None}
    ner = load_recipe_module("ner")
    parts = {
        "sentences": ner.sentences(),
        "documents": ner.documents(),
        "lower case": ner.in_case(str.lower),
        "upper case": ner.in_case(str.upper),
    }
    plain = kit.with_head("ner", TokenHead(**config))
    by_document = groupby(read_conll(ner.DEV.path()), key=lambda sentence: sentence.document)
    document_of = [i for i, (_, sentences) in enumerate(by_document) for _ in sentences]

    def of_half(examples: Sequence[TokenExample], half: int) -> list[TokenExample]:
        """Those of every other document, which are sentences or whole."""
        numbers = document_of if len(examples) == len(document_of) else range(len(examples))
        return [e for e, number in zip(examples, numbers, strict=True) if number % 2 == half]

    def fitted(half: int) -> Pipeline:
        """With the transitions of the other half."""
        others = [one for examples in parts.values() for one in of_half(examples, 1 - half)]
        learned = fit_transitions(plain, "ner", others)
        return kit.with_head("ner", TokenHead(**{**config, "transitions": learned}))

    alone, legal = (head(**{**config, "agreement": 0.0}) for head in (Independent, TokenHead))
    ways = {
        "each word alone": [kit.with_head("ner", alone)] * 2,
        "legal sequences": [kit.with_head("ner", legal)] * 2,
        "repeated names alike": [plain, plain],
        "what follows what": [fitted(0), fitted(1)],
    }
    print(f"entities, testa: strict F1 of {', '.join(parts)}")
    for way, taggers in ways.items():
        scores = []
        for examples in parts.values():
            halves = [entity_score(kit, of_half(examples, i)) for i, kit in enumerate(taggers)]
            scores.append(ClassScore(*np.sum([astuple(one) for one in halves], axis=0)).f1)
        print(f"{way:22}{'  '.join(f'{score:.4f}' for score in scores)}")


def answers(kit: Pipeline) -> None:
    config = kit.head("qa").head.config()
    ways = {
        "the highest logits": {"consensus": 0.0, "length_cost": 0.0},
        "consensus": {"length_cost": 0.0},
        "length cost": {"consensus": 0.0},
        "both": {},
    }
    reader = kit.with_head("qa", Several([SpanHead(**{**config, **v}) for v in ways.values()]))
    sets = {
        "articles": load_recipe_module("qa").held_out(),
        "reviews": load_recipe_module("base_en_questions").answered(),
    }
    scores: dict[str, list[str]] = {way: [] for way in ways}
    for examples in sets.values():
        found = reader.answer([(e.question, e.context) for e in examples], n_best=len(ways))
        for number, way in enumerate(ways):
            for metric in (answer_f1, exact_match):
                each = [
                    metric(quoted[number].text, [text for _, text in example.answers])
                    for quoted, example in zip(found, examples, strict=True)
                ]
                scores[way].append(f"{mean(each):.4f}")
    counts = " and ".join(f"{len(examples):,} on {name}" for name, examples in sets.items())
    print(f"answers, F1 and exact match: questions {counts}")
    for way, values in scores.items():
        print(f"{way:22}{'  '.join(values)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("bundle", nargs="?", default="base-en")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    kit = nlpkit.load(options.bundle, device="cpu", precision=options.precision)
    print(f"{kit.name}, {kit.precision}")
    entities(kit)
    answers(kit)


if __name__ == "__main__":
    main()
