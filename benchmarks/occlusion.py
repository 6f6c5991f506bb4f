"""Which way of leaving a word out ranks words best: why nlpkit.attribution takes tokens out.

    python benchmarks/occlusion.py [--sentences 150]

Words of sentences (SST-2's development set, from NLPKIT_DATA) are ranked by the fall of the class's
log-odds without each, a word being left out in three ways. Then the three words ranked highest are
left out together, again in each way, and the fall of the class's probability is taken. A way may
favour its own ranking: what counts is how it is judged by the others.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nlpkit
from nlpkit.pipeline import Pipeline
from nlpkit.text import Encoded, Window, batches, pad

Doubles = NDArray[np.float64]
#: A sentence without some of its tokens.
Way = Callable[[Encoded, NDArray[np.bool_]], Encoded]
TOP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=150)
    options = parser.parse_args()
    kit = nlpkit.load()
    encoded = kit.encoder.encode(sentences(options.sentences))
    base = logits(kit, encoded)
    classes = base.argmax(axis=1)
    known = {"taken out": taken_out, "[MASK]": put("[MASK]", kit), "[UNK]": put("[UNK]", kit)}
    rankings = {name: ranked(kit, encoded, base, classes, way) for name, way in known.items()}
    rng = random.Random(0)
    rankings["chance"] = [np.array(rng.sample(range(n := words(e)), n)) for e in encoded]
    print(f"{'ranked by':<12}", *(f"{name:>16}" for name in known))
    for name, ranking in rankings.items():
        cells = []
        for way in known.values():
            left = logits(
                kit,
                [way(e, np.isin(e.words, r[:TOP])) for e, r in zip(encoded, ranking, strict=True)],
            )
            fall = probability(base, classes) - probability(left, classes)
            cells.append(f"{fall.mean():>9.3f} ± {fall.std() / len(fall) ** 0.5:.3f}")
        print(f"{name:<12}", *cells)


def sentences(n: int) -> list[str]:
    file = Path(os.environ["NLPKIT_DATA"]) / "sst2_glue" / "dev.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    random.Random(0).shuffle(texts)
    return [text for text in texts if len(text.split()) >= 8][:n]


def taken_out(sentence: Encoded, hit: NDArray[np.bool_]) -> Encoded:
    kept = ~hit
    return Encoded(
        sentence.ids[kept],
        sentence.starts[kept],
        sentence.ends[kept],
        sentence.words[kept],
        sentence.shapes[kept],
        sentence.unknown,
    )


def put(token: str, kit: Pipeline) -> Way:
    """The way that puts a special token in the place of every token."""
    vocabulary: dict[str, Any] = json.loads(kit.encoder.to_str())["model"]["vocab"]

    def way(sentence: Encoded, hit: NDArray[np.bool_]) -> Encoded:
        return replace(sentence, ids=np.where(hit, vocabulary[token], sentence.ids))

    return way


def words(sentence: Encoded) -> int:
    return int(sentence.words[-1]) + 1


def ranked(
    kit: Pipeline, encoded: Sequence[Encoded], base: Doubles, classes: Any, way: Way
) -> list[NDArray[np.int64]]:
    """The numbers of each sentence's words, the weightiest first."""
    variants = [way(e, e.words == word) for e in encoded for word in range(words(e))]
    owner = np.repeat(np.arange(len(encoded)), [words(e) for e in encoded])
    left = logits(kit, variants)
    fall = log_odds(base[owner], classes[owner]) - log_odds(left, classes[owner])
    return [np.argsort(-fall[owner == i], kind="stable") for i in range(len(encoded))]


def logits(kit: Pipeline, encoded: Sequence[Encoded]) -> Doubles:
    """*Shape:* (n, n_labels)"""
    head = kit.head("sentiment")
    rows = [kit.encoder.row(e, Window(0, len(e), 0, len(e))) for e in encoded]
    found = np.empty((len(rows), len(head.head.labels)))
    for indices in batches([len(row) for row in rows], kit.token_budget):
        batch = pad([rows[i] for i in indices], kit.encoder.pad_id)
        found[indices] = kit.engine.run(batch, {"": head})[""]
    return found


def probability(logits: Doubles, classes: Any) -> Doubles:
    odds = log_odds(logits, classes)
    return np.asarray(1 / (1 + np.exp(-odds)))


def log_odds(logits: Doubles, classes: Any) -> Doubles:
    rows = np.arange(len(logits))
    others = logits.copy()
    others[rows, classes] = -np.inf
    return np.asarray(logits[rows, classes] - np.logaddexp.reduce(others, axis=1))


if __name__ == "__main__":
    main()
