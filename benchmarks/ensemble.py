"""What several bundles reach together: a bound on what one can learn from them as teachers.

    python benchmarks/ensemble.py base-en-3 base-en-4 base-en-10 --suite sst2 --suite sst2_test

Prints the main score of each bundle (a name or folder) and of the mean of their probabilities, and
how many texts none of them gets right. For suites of classes with a trained head.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import nlpkit
from nlpkit.readers import read_classified
from nlpkit.scoring import Kit
from nlpkit.suites import SUITES
from nlpkit.suites.classes import Classes
from nlpkit.types import Label


class Read:
    """Gives what was read of these texts before, to a suite that asks."""

    def __init__(self, texts: Sequence[str], results: Sequence[list[Label]]) -> None:
        self.known = dict(zip(texts, results, strict=True))

    def classify(self, texts: list[str], task: str) -> list[list[Label]]:
        return [self.known[text] for text in texts]


def mean(each: Sequence[list[Label]]) -> list[Label]:
    """The classes of one text by their mean probabilities, best first."""
    scores: dict[str, float] = defaultdict(float)
    for label in (one for labels in each for one in labels):
        scores[label.name] += label.score / len(each)
    return sorted((Label(*pair) for pair in scores.items()), key=lambda one: -one.score)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--suite", action="append", required=True)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    kits = [nlpkit.load(one, device="cpu", precision=options.precision) for one in options.bundles]
    for name in options.suite:
        suite = SUITES[name]
        measure = suite.measure
        if not isinstance(measure, Classes) or measure.task is None:
            raise SystemExit(f"{name} is no suite of classes with a trained head")
        examples = read_classified(suite.sources[0].path())
        texts = [example.text for example in examples]
        gold = [(measure.names or {}).get(e.labels[0], e.labels[0]) for e in examples]
        read = [kit.classify(texts, measure.task) for kit in kits]
        sides = [*zip(options.bundles, read, strict=True)]
        sides.append(("the mean of all", [mean(each) for each in zip(*read, strict=True)]))
        for side, results in sides:
            score = suite.run(cast(Kit, Read(texts, results))).scores[measure.main]
            print(f"{name}: {measure.main} {score:.4f}, {side}", flush=True)
        found = [
            {next((x.name for x in labels if x.name in measure.labels), "") for labels in each}
            for each in zip(*read, strict=True)
        ]
        never = sum(label not in names for label, names in zip(gold, found, strict=True))
        print(f"{name}: none is right on {never} of {len(gold)} texts", flush=True)


if __name__ == "__main__":
    main()
