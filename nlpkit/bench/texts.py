"""What is read: short, mixed, long and news texts, questions with contexts.

Where ``NLPKIT_DATA`` is set they are real (AG News, SciFact, SQuAD), else made up, which is enough
to see a benchmark run and for a ratio of two sides, but says little of entities.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from nlpkit.errors import InputError
from nlpkit.text import TextEncoder

Pair = tuple[str, str]

#: A text of ``short`` is a news text's first words, at most so many characters.
SHORT = 60
#: And one of ``long`` the first words of an abstract, so many that they fill most of a window:
#: longer ones would be cut by some peers, and read whole by others.
LONG = 900
_SUBJECTS = (
    "Shares of the Zeta company",
    "Ada Byron, its founder,",
    "The mayor of Paris",
    "Rovers",
    "Researchers in Kyoto",
    "The European Union",
    "A small firm from Ohio",
    "Oil",
)
_VERBS = ("left", "praised", "sold", "met", "won against", "reported on", "warned", "joined")
_OBJECTS = (
    "the board in London",
    "a record of 3.5 million dollars",
    "the Lions on Sunday",
    "the new engine of NASA",
    "two ministers from Brazil",
    "a market that fell again",
    "the cup in the last minute",
    "IBM and its rivals",
)


@dataclass(frozen=True)
class Texts:
    """Sets of texts by name; each can be made as large as is asked for.

    ``data`` is the folder of the data sets, or None for made-up texts.
    """

    data: Path | None = None

    @classmethod
    def found(cls) -> Texts:
        """Those of ``NLPKIT_DATA``, or made up where it is unset.

        Raises:
            InputError: it names no folder, or one without AG News.
        """
        named = os.environ.get("NLPKIT_DATA")
        if not named:
            return cls()
        if not (Path(named) / "ag_news" / "test.jsonl.gz").is_file():
            raise InputError(
                f"NLPKIT_DATA is {named}, where there is no ag_news/test.jsonl.gz; set it to the "
                "folder of the data sets, or unset it to measure on made-up texts"
            )
        return cls(Path(named))

    @property
    def origin(self) -> str:
        return "AG News test, SciFact, SQuAD 1.1 dev" if self.data else "made up"

    def news(self, n: int) -> list[str]:
        """News texts of some 57 tokens; more than there are begin again from the first."""
        return _repeated(self._news, n)

    def short(self, n: int) -> list[str]:
        """The first words of news texts, some 12 tokens."""
        return [_first_words(text, SHORT) for text in self.news(n)]

    def long(self, n: int) -> list[str]:
        """Abstracts, cut to some 200 tokens."""
        return _repeated(self._long, n)

    def mixed(self, n: int) -> list[str]:
        """Short, news and long texts in turn, from a fixed seed: half news, a quarter each else."""
        rng = random.Random(0)
        pools = [iter(self.news(n)), iter(self.news(n)), iter(self.short(n)), iter(self.long(n))]
        return [next(pools[rng.randrange(4)]) for _ in range(n)]

    def one(self, n_tokens: int, encoder: TextEncoder) -> tuple[str, list[str]]:
        """One text of at least so many tokens (less than a news text more), and its parts."""
        parts: list[str] = []
        left = n_tokens
        for block in _blocks(self._news):
            for text, encoded in zip(block, encoder.encode(block), strict=True):
                parts.append(text)
                left -= len(encoded)
                if left <= 0:
                    return " ".join(parts), parts
        raise AssertionError("blocks go on for ever")

    def pairs(self, n: int) -> list[Pair]:
        """Questions with the paragraph that answers them."""
        return _repeated(self._pairs, n)

    def calibration(self, n: int) -> list[str]:
        """Texts that no row reads: sentiment's training sentences, which is the set that
        sentence-transformers calibrates on by itself."""
        if self.data is None:
            return list(islice(_made_up(1), n))
        return list(islice((r["text"] for r in _rows(self.data / "sst2_glue/train.jsonl.gz")), n))

    @cached_property
    def _news(self) -> list[str]:
        if self.data is None:
            return list(islice(_made_up(0), 4096))
        rows = _rows(self.data / "ag_news" / "test.jsonl.gz")
        return [text for row in rows if (text := row["text"].strip())]

    @cached_property
    def _long(self) -> list[str]:
        if self.data is None:
            news = self.news(4096)
            return [_first_words(" ".join(news[i : i + 8]), LONG) for i in range(0, len(news), 8)]
        rows = _rows(self.data / "scifact" / "corpus.jsonl.gz")
        return [_first_words(text, LONG) for row in rows if (text := row["text"].strip())]

    @cached_property
    def _pairs(self) -> list[Pair]:
        if self.data is None:
            return [("Who met two ministers from Brazil?", text) for text in self.news(512)]
        with gzip.open(
            self.data / "squad_v1.1" / "dev-v1.1.json.gz", "rt", encoding="utf-8"
        ) as file:
            articles = json.load(file)["data"]
        found = [
            (qa["question"].strip(), paragraph["context"].strip())
            for article in articles
            for paragraph in article["paragraphs"]
            for qa in paragraph["qas"][:1]
        ]
        random.Random(0).shuffle(found)
        return found


def write_texts(
    path: Path, texts: Sequence[str | Pair], encoder: TextEncoder | None = None
) -> Path:
    """A file of texts as the sides read it, with word shapes where an encoder is given."""
    shapes: list[Any] | None = None
    if encoder is not None and encoder.shape_types:
        if texts and isinstance(texts[0], str):
            shapes = _shapes(encoder, [text for text in texts if isinstance(text, str)])
        else:
            shapes = [_shapes(encoder, pair) for pair in texts]
    content = {"texts": list(texts), "shapes": shapes}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def token_counts(encoder: TextEncoder, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, special ones counted."""
    special = len(encoder.prefix) + len(encoder.suffix)
    return [len(one) + special for one in encoder.encode(texts)]


def _first_words(text: str, most: int) -> str:
    """The whole words among the first characters of a text."""
    return text if len(text) <= most else text[:most].rpartition(" ")[0].strip() or text[:most]


def _shapes(encoder: TextEncoder, texts: Sequence[str]) -> list[list[int]]:
    return [encoded.shapes.tolist() for encoded in encoder.encode(texts)]


def _repeated(items: Sequence[Any], n: int) -> list[Any]:
    return [items[i % len(items)] for i in range(n)]


def _blocks(items: Sequence[str], size: int = 256) -> Iterator[Sequence[str]]:
    while True:
        for first in range(0, len(items), size):
            yield items[first : first + size]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"{path} is not there; get the data set, or unset NLPKIT_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _made_up(seed: int) -> Iterator[str]:
    """Sentences of names, verbs and things, one to seven a text."""
    rng = random.Random(seed)
    while True:
        parts = [
            f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}."
            for _ in range(rng.randint(1, 7))
        ]
        yield " ".join(parts)
