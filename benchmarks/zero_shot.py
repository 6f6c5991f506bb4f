"""Ways to put zero-shot labels into words, by how often the right one comes first.

    python benchmarks/zero_shot.py --texts 1500

Held-out texts of four sets that no test figure comes from: AG News (of the training part), CLINC150
(150 intents), emotion (six) and SemEval-2017 (three). Each template alone, and the means of two and
of three.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

import nlpkit
from nlpkit.readers import Source, TextExample, read_classified
from nlpkit.training.recipe import load_recipe_module

TEMPLATES = ("{}", "{}.", "This text is about {}.", "topic: {}", "an example of {}")
TOPIC = load_recipe_module("topic")
FILES = {
    "CLINC150": "clinc150/val.jsonl.gz",
    "emotion": "emotion/dev.jsonl.gz",
    "SemEval": "semeval2017_sentiment/dev.jsonl.gz",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=1500, help="of each set")
    parser.add_argument("--model", default="base-en")
    options = parser.parse_args()
    kit = nlpkit.load(options.model, device="cpu")
    sets = {name: measured(kit, some(name, options.texts)) for name in ("AG News", *FILES)}
    ways = [way for n in (1, 2, 3) for way in combinations(TEMPLATES, n)]
    rows = [(way, [accuracy(found, way) for found in sets.values()]) for way in ways]
    print(f"{'':56}{'mean':>8}", *(f"{name:>9}" for name in sets))
    for way, scores in sorted(rows, key=lambda row: -np.mean(row[1])):
        print(f"{' + '.join(way):56}{np.mean(scores):8.3f}", *(f"{score:9.3f}" for score in scores))


def some(name: str, n: int) -> list[TextExample]:
    """Texts of a set, with their labels in words."""
    if name in FILES:
        source = Source(FILES[name], name, "", "", "")
        known: Sequence[TextExample] = read_classified(source.path())
    else:
        known = TOPIC.held_out()
    chosen = random.Random(0).sample([*known], min(n, len(known)))
    return [TextExample(e.text, (e.labels[0].replace("_", " "),)) for e in chosen]


def measured(kit: Any, examples: Sequence[TextExample]) -> tuple[Any, Any, dict[str, Any]]:
    """Vectors of the texts, the number of each one's label, and by template those of the labels."""
    labels = sorted({example.labels[0] for example in examples})
    right = np.array([labels.index(example.labels[0]) for example in examples])
    phrased = {t: kit.embed([t.replace("{}", label) for label in labels]) for t in TEMPLATES}
    return kit.embed([example.text for example in examples]), right, phrased


def accuracy(found: tuple[Any, Any, dict[str, Any]], way: Sequence[str]) -> float:
    texts, right, phrased = found
    targets = np.mean([phrased[template] for template in way], axis=0)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    return float(((texts @ targets.T).argmax(axis=1) == right).mean())


if __name__ == "__main__":
    main()
