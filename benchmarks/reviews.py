"""Sentiment of whole reviews: films, books, electronics, restaurants, hotels, groceries.

    python benchmarks/reviews.py base-en

The texts are 253 reviews of 60 to 420 words from SubjQA's test parts (NLPKIT_DATA); the labels, in
reviews.jsonl beside this file, are one reader's verdicts on the text, not the writers' stars.
Prints for films, for the rest and for all: how often the highest of the three classes is right on
reviews with a verdict, the same of negative and positive alone and its mean over the two, and how
many are called neutral.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import nlpkit
from nlpkit.readers import Source, read_classified, read_jsonl
from nlpkit.training.recipe import load_recipe_module

LABELS = Path(__file__).with_name("reviews.jsonl")
FILMS = "movies_test"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    rows = [row for _, row in read_jsonl(LABELS)]
    texts = read_texts({row["part"] for row in rows})
    asked = [texts[row["part"], row["review_id"]] for row in rows]
    gold = np.array([row["label"] for row in rows])
    films = np.array([row["part"] == FILMS for row in rows])
    for bundle in options.bundles:
        kit = nlpkit.load(bundle, device="cpu", precision=options.precision)
        read = kit.classify(asked)
        best = np.array([labels[0].name for labels in read])
        pole = np.array([next(x.name for x in labels if x.name != "neutral") for labels in read])
        for name, part in (("films", films), ("others", ~films), ("all", films | ~films)):
            sure = part & (gold != "neutral")
            right = pole[sure] == gold[sure]
            means = [right[gold[sure] == one].mean() for one in ("negative", "positive")]
            line = json.dumps(
                {
                    "bundle": bundle,
                    "reviews": name,
                    "with a verdict": int(sure.sum()),
                    "accuracy": round(float((best[sure] == gold[sure]).mean()), 3),
                    "accuracy of two": round(float(right.mean()), 3),
                    "mean recall of two": round(float(np.mean(means)), 3),
                    "called neutral": int((best[sure] == "neutral").sum()),
                    "neutral found": int(((best == gold) & part & ~sure).sum()),
                    "neutral": int((part & ~sure).sum()),
                }
            )
            print(line, flush=True)


def read_texts(parts: set[str]) -> dict[tuple[str, str], str]:
    """Reviews by part and number, without what SubjQA put behind each."""
    mark = load_recipe_module("base_en_reviews").MARK
    address = "https://github.com/megagonlabs/SubjQA"
    return {
        (part, number): example.text.replace(mark, "").strip()
        for part in sorted(parts)
        for example in read_classified(
            Source(f"subjqa/{part}.csv.gz", f"SubjQA, {part}", "not stated", address).path(),
            "review",
            "review_id",
        )
        for number in example.labels
    }


if __name__ == "__main__":
    main()
