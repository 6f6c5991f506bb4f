"""Ways to put zero-shot labels into words, by how often the right one comes first.

    python benchmarks/zero_shot.py --texts 1500

Held-out texts of four sets that no test figure comes from: AG News (of the training part), CLINC150
(150 intents), emotion (six) and SemEval-2017 (three). First each template alone, and the means of
two and of three; then, with those that nlpkit takes, by how much a label is drawn towards words of
the vocabulary, and from which cosine on.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import nlpkit
from nlpkit import zero_shot
from nlpkit.heads.base import Floats
from nlpkit.readers import Source, TextExample, read_classified
from nlpkit.training.recipe import load_recipe_module


class Measured(NamedTuple):
    """Vectors of the texts, the number of each one's label, and by template those of the labels."""

    texts: Floats
    right: NDArray[np.int64]
    phrased: dict[str, Floats]


Way = Callable[[Measured], Floats]
TEMPLATES = ("{}", "{}.", "This text is about {}.", "topic: {}", "an example of {}")
TOPIC = load_recipe_module("topic")
FILES = {
    "CLINC150": "clinc150/val.jsonl.gz",
    "emotion": "emotion/dev.jsonl.gz",
    "SemEval": "semeval2017_sentiment/dev.jsonl.gz",
}
NEAR, WEIGHTS = (0.5, 0.55, 0.6, 0.65), (0.25, 0.5, 0.75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=1500, help="of each set")
    parser.add_argument("--model", default="base-en")
    options = parser.parse_args()
    kit = nlpkit.load(options.model, device="cpu")
    sets = {name: measured(kit, some(name, options.texts)) for name in ("AG News", *FILES)}
    ways = [way for n in (1, 2, 3) for way in combinations(TEMPLATES, n)]
    show(sets, [(" + ".join(way), partial(mixed, way)) for way in ways])
    words = zero_shot.phrased(kit.embed, zero_shot.words_of(kit.encoder.vocabulary()))
    show(sets, [("names alone", partial(mixed, zero_shot.TEMPLATES))])
    drawn = [(near, weight) for near in NEAR for weight in WEIGHTS]
    show(sets, [(f"words from {n} on, times {w}", partial(widened, words, n, w)) for n, w in drawn])


def show(sets: Mapping[str, Measured], ways: Sequence[tuple[str, Way]]) -> None:
    """How often each way finds the right label, the best way first."""
    rows = [(name, [accuracy(found, way) for found in sets.values()]) for name, way in ways]
    print(f"\n{'':56}{'mean':>8}", *(f"{name:>9}" for name in sets))
    for name, scores in sorted(rows, key=lambda row: -np.mean(row[1])):
        print(f"{name:56}{np.mean(scores):8.3f}", *(f"{score:9.3f}" for score in scores))


def some(name: str, n: int) -> list[TextExample]:
    """Texts of a set, with their labels in words."""
    if name in FILES:
        source = Source(FILES[name], name, "", "", "")
        known: Sequence[TextExample] = read_classified(source.path())
    else:
        known = TOPIC.held_out()
    chosen = random.Random(0).sample([*known], min(n, len(known)))
    return [TextExample(e.text, (e.labels[0].replace("_", " "),)) for e in chosen]


def measured(kit: Any, examples: Sequence[TextExample]) -> Measured:
    labels = sorted({example.labels[0] for example in examples})
    right = np.array([labels.index(example.labels[0]) for example in examples])
    phrased = {t: kit.embed([t.replace("{}", label) for label in labels]) for t in TEMPLATES}
    return Measured(kit.embed([example.text for example in examples]), right, phrased)


def mixed(way: Sequence[str], found: Measured) -> Floats:
    """Labels as the mean of their phrases."""
    targets = np.mean([found.phrased[template] for template in way], axis=0)
    return np.asarray(targets / np.linalg.norm(targets, axis=1, keepdims=True))


def widened(words: Floats, near: float, weight: float, found: Measured) -> Floats:
    """Labels drawn towards words near them."""
    return zero_shot.widened(mixed(zero_shot.TEMPLATES, found), words, near, weight)


def accuracy(found: Measured, way: Way) -> float:
    return float(((found.texts @ way(found).T).argmax(axis=1) == found.right).mean())


if __name__ == "__main__":
    main()
