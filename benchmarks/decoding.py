"""What each step between logits and entities is worth, on CoNLL-2003's testa.

    python benchmarks/decoding.py base-en --precision int8

The best tag of each word by itself; the best legal sequence of tags; a text's repeated names read
alike (the bundle's own `agreement`). Strict F1 of sentences and of whole documents.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nlpkit
from nlpkit.heads import TokenHead
from nlpkit.training.recipe import load_recipe_module
from nlpkit.training.scores import entity_f1


class Independent(TokenHead):
    """Gives each word its best tag, whatever stands before it.

    As the usual scorers have it, an I- that continues nothing begins an entity.
    """

    def _legal_tags(self, logits: NDArray[Any], of_text: NDArray[Any]) -> NDArray[np.int64]:
        tags: NDArray[np.int64] = logits.argmax(axis=1)
        begins = np.diff(of_text, prepend=-1) != 0
        before = np.where(begins, self._outside, np.roll(tags, 1))
        begin = [self.labels.index(f"B-{name[2:]}") if name != "O" else 0 for name in self.labels]
        return np.where(self._legal[before, tags], tags, np.array(begin)[tags])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundle", nargs="?", default="base-en")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    kit = nlpkit.load(options.bundle, device="cpu", precision=options.precision)
    config = kit.head("ner").head.config()
    ways = {
        "each word alone": Independent(**{**config, "agreement": 0.0}),
        "legal sequences": TokenHead(**{**config, "agreement": 0.0}),
        "repeated names alike": TokenHead(**config),
    }
    ner = load_recipe_module("ner")
    parts = {"sentences": ner.sentences(), "documents": ner.documents()}
    print(f"{kit.name}, {kit.precision}, testa: strict F1 of {' and '.join(parts)}")
    for way, head in ways.items():
        tagger = kit.with_head("ner", head)
        scores = [entity_f1(tagger, examples) for examples in parts.values()]
        print(f"{way:22}{'  '.join(f'{score:.4f}' for score in scores)}")


if __name__ == "__main__":
    main()
