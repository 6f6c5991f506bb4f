"""What several bundles reach together: a bound on what one can learn from them as teachers.

    python benchmarks/ensemble.py base-en-3 base-en-4 base-en-10 --suite sst2 --suite sst2_test

Prints the main score of each bundle (a name or folder) and of the mean of their probabilities, and
how many texts none of them gets right. For suites of classes with a trained head.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import cast

import numpy as np

import nlpkit
from nlpkit.pipeline import Pipeline
from nlpkit.readers import read_classified
from nlpkit.scoring import Kit
from nlpkit.suites import SUITES
from nlpkit.suites.classes import Classes
from nlpkit.training.teach import taught_classes
from nlpkit.types import Label


class Together:
    """Classifies by the mean probabilities of several pipelines."""

    def __init__(self, kits: Sequence[Pipeline]) -> None:
        self.kits = kits

    def classify(self, texts: list[str], task: str) -> list[list[Label]]:
        taught = {one.text: one for one in taught_classes(self.kits, task, texts)}
        labels = self.kits[0].head(task).head.labels
        results = []
        for text in texts:
            scores = taught[text].probabilities if text in taught else np.zeros(len(labels))
            order = np.argsort(-scores, kind="stable")
            results.append([Label(labels[i], float(scores[i])) for i in order])
        return results


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
        for bundle, kit in zip(options.bundles, kits, strict=True):
            score = suite.run(kit).scores[measure.main]
            print(f"{name}: {measure.main} {score:.4f}, {bundle}", flush=True)
        together = suite.run(cast(Kit, Together(kits))).scores[measure.main]
        print(f"{name}: {measure.main} {together:.4f}, the mean of all", flush=True)
        examples = read_classified(suite.sources[0].path())
        texts = [example.text for example in examples]
        gold = [(measure.names or {}).get(e.labels[0], e.labels[0]) for e in examples]
        found = [
            [next(one.name for one in labels if one.name in measure.labels) for labels in read]
            for read in (kit.classify(texts, measure.task) for kit in kits)
        ]
        never = sum(all(one[i] != label for one in found) for i, label in enumerate(gold))
        print(f"{name}: none is right on {never} of {len(gold)} texts", flush=True)


if __name__ == "__main__":
    main()
