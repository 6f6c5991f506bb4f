"""Answers: which questions they are refused, of those that a paragraph nearly answers.

    python benchmarks/doubts.py base-en

The paragraphs are those of four articles of SQuAD's training part that no recipe learns from
(NLPKIT_DATA). 180 questions without an answer, written for them in the manner of SQuAD 2.0's, are
in doubts.jsonl beside this file; those with one are SQuAD's own, of the same paragraphs. Prints how
well the lead of "no answer" tells the two apart (area under the ROC curve), the F1 where both count
half with the threshold that suits best, and what the bundle's own threshold does. The second line
is of questions that the recipe `qa` leaves without an answer by rule, as training does, the last of
questions about reviews (SubjQA) that nothing was learned from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import nlpkit
from nlpkit.metrics import roc_auc
from nlpkit.pipeline import Pipeline
from nlpkit.readers import QAExample, read_jsonl
from nlpkit.training.recipe import load_recipe_module

QUESTIONS = Path(__file__).with_name("doubts.jsonl")
qa = load_recipe_module("qa")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    for bundle in options.bundles:
        kit = nlpkit.load(bundle, device="cpu", precision=options.precision)
        for name, answered, unanswered in (
            ("articles", *about_articles()),
            ("articles, changed by rule", *changed_by_rule()),
            ("reviews", list(load_recipe_module("base_en_questions").answered()), []),
        ):
            row = {"bundle": bundle, "questions": name, **told_apart(kit, answered, unanswered)}
            print(json.dumps(row), flush=True)


def about_articles() -> tuple[list[QAExample], list[QAExample]]:
    """Questions with and without an answer, of the same paragraphs."""
    paragraphs: dict[str, list[str]] = {}
    for example in qa.held_out():
        known = paragraphs.setdefault(example.title, [])
        if example.context not in known:
            known.append(example.context)
    rows = [row for _, row in read_jsonl(QUESTIONS)]
    unanswered = [
        QAExample(row["question"], paragraphs[row["article"]][row["paragraph"]], ()) for row in rows
    ]
    contexts = {example.context for example in unanswered}
    return [one for one in qa.held_out() if one.context in contexts], unanswered


def changed_by_rule() -> tuple[list[QAExample], list[QAExample]]:
    """All questions on these articles, and the same without an answer as the recipe `qa` has it."""
    both = qa.held_out_with_unanswerable()
    return [one for one in both if one.answers], [one for one in both if not one.answers]


def told_apart(
    kit: Pipeline, answered: Sequence[QAExample], unanswered: Sequence[QAExample]
) -> dict[str, float]:
    """Areas and shares between 0 and 1."""
    leads, quoted, has = map(np.asarray, qa.leads_and_scores(kit, [*answered, *unanswered]))
    shown = leads <= kit.head("qa").head.config()["threshold"]
    numbers = {
        "answerable": len(answered),
        "F1, always answering": quoted[has].mean(),
        "F1, default": (quoted * shown)[has].mean(),
        "answerable, refused": 1 - shown[has].mean(),
    }
    if unanswered:
        at = leads <= leads[:, None]
        halves = ((quoted * at)[:, has].mean(axis=1) + (~at)[:, ~has].mean(axis=1)) / 2
        numbers |= {
            "unanswerable": len(unanswered),
            "unanswerable, refused": 1 - shown[~has].mean(),
            "area": roc_auc(leads, ~has),
            "F1 of both, best threshold": halves.max(),
        }
    return {name: round(float(number), 4) for name, number in numbers.items()}


if __name__ == "__main__":
    main()
