"""Examples for training and tests: where they come from, and readers for their formats.

Every reader takes plain or gzip files in UTF-8 and raises :class:`DataError` with the file, the
line and what was expected there.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import DataError, InputError


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a public data set, looked for under the folder ``NLPKIT_DATA``."""

    file: str
    name: str
    licence: str
    address: str
    sha256: str = ""

    def path(self) -> Path:
        """Where the file lies, its content checked.

        Raises:
            InputError: NLPKIT_DATA is unset or lacks the file; the message says where to get it.
            DataError: the file is not the one the recipe was written for.
        """
        root = os.environ.get("NLPKIT_DATA")
        if not root:
            raise InputError(
                f"the data set {self.name} is needed: set NLPKIT_DATA to a folder that holds "
                f"{self.file} (from {self.address}; licence: {self.licence})"
            )
        path = Path(root) / self.file
        if not path.is_file():
            raise InputError(
                f"{path} is missing: get {self.name} from {self.address} (licence: {self.licence})"
            )
        if self.sha256:
            with path.open("rb") as file:
                got = hashlib.file_digest(file, "sha256").hexdigest()
            if got != self.sha256:
                raise DataError.at(path, "whole file", f"SHA-256 {got}", self.sha256)
        return path


@dataclass(frozen=True, slots=True)
class TokenExample:
    """A text with entity spans (start, end, label) in characters."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True)
class TextExample:
    """A text with its class, or with any number of them for a multi-label head."""

    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QAExample:
    """A question on a context with its answers (start, text); none where it has no answer."""

    question: str
    context: str
    answers: tuple[tuple[int, str], ...]
    id: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text without labels, to keep the embedding where it was."""

    text: str


@dataclass(frozen=True, slots=True)
class TaughtExample:
    """A text with what a teacher makes of it, in probabilities.

    *Shape:* (n_words, n_labels) for words' tags, (n_labels,) for the text's class.
    """

    text: str
    probabilities: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class PairExample:
    """Two texts that belong together: a question and its passage, a title and what follows."""

    text: str
    other: str


Example = TokenExample | TextExample | QAExample | PlainText | TaughtExample | PairExample


@dataclass(frozen=True, slots=True)
class Sentence:
    """Tokens with IOB2 tags and the number of the document they stand in."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    document: int = 0
    line: int = field(default=0, compare=False)


def read_conll(path: str | Path) -> list[Sentence]:
    """Sentences of a CoNLL file: the token in the first column, the tag in the last.

    Columns are split by tabs or spaces, sentences by blank lines, documents by ``-DOCSTART-``
    lines. IOB1 tags (``I-X`` opening an entity) become IOB2.
    """
    sentences: list[Sentence] = []
    rows: list[tuple[str, str]] = []
    document = first_line = number = 0

    def close() -> None:
        if rows:
            tags = _iob2([tag for _, tag in rows])
            sentences.append(Sentence(tuple(t for t, _ in rows), tags, document, first_line))
            rows.clear()

    for number, line in _lines(path):
        columns = line.split()
        if not columns:
            close()
        elif columns[0] == "-DOCSTART-":
            close()
            document += 1
        else:
            tag = columns[-1]
            if len(columns) < 2 or not (tag == "O" or (tag[:2] in ("B-", "I-") and len(tag) > 2)):
                raise DataError.at(
                    path, number, f"got {line!r}", "a token and a tag: O, B-LABEL or I-LABEL"
                )
            first_line = first_line if rows else number
            rows.append((columns[0], tag))
    close()
    if not sentences:
        raise DataError.at(path, number, "the file holds no sentence", "CoNLL columns")
    return sentences


def join_sentences(sentences: Sequence[Sentence]) -> TokenExample:
    """One text of sentences, all words joined by single spaces."""
    spans: list[tuple[int, int, str]] = []
    position = 0
    for sentence in sentences:
        for token, tag in zip(sentence.tokens, sentence.tags, strict=True):
            end = position + len(token)
            if tag[:2] == "B-":
                spans.append((position, end, tag[2:]))
            elif tag[:2] == "I-":
                spans[-1] = (spans[-1][0], end, tag[2:])
            position = end + 1
    return TokenExample(" ".join(t for s in sentences for t in s.tokens), tuple(spans))


def read_classified(
    path: str | Path, text: str = "text", label: str = "label"
) -> list[TextExample]:
    """Examples of a JSONL or CSV file. A list of labels makes a multi-label example."""
    rows = _csv_rows(path) if _suffix(path) == ".csv" else read_jsonl(path)
    examples = []
    for number, row in rows:
        if not isinstance(row.get(text), str) or row.get(label) in (None, ""):
            raise DataError.at(
                path, number, f"got {row!r:.120}", f"a string {text!r} and a {label!r}"
            )
        value = row[label]
        labels = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str | int) for one in labels):
            raise DataError.at(path, number, f"the label {value!r}", "a name, or a list of names")
        examples.append(TextExample(row[text], tuple(str(one) for one in labels)))
    if not examples:
        raise DataError.at(
            path, 0, "the file holds no example", f"rows with {text!r} and {label!r}"
        )
    return examples


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects."""
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError.at(
                path, number, f"not JSON ({error})", "one JSON object a line"
            ) from None
        if not isinstance(row, dict):
            raise DataError.at(path, number, f"got {line[:80]!r}", "one JSON object a line")
        yield number, row


def read_squad(path: str | Path) -> list[QAExample]:
    """Questions of a SQuAD 1.1 or 2.0 file.

    Answers whose offset does not hold their text are refused.
    """
    try:
        articles = json.loads("\n".join(line for _, line in _lines(path)))["data"]
        return [
            _squad_example(path, article.get("title", ""), paragraph["context"], qa)
            for article in articles
            for paragraph in article["paragraphs"]
            for qa in paragraph["qas"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise DataError.at(
            path,
            "whole file",
            f"{type(error).__name__}: {error}",
            "the SQuAD layout data/paragraphs/qas",
        ) from None


def read_judgments(path: str | Path) -> dict[str, dict[str, int]]:
    """Relevance by query and document, from BEIR's columns query-id, corpus-id, score (TSV)."""
    opener = gzip.open if str(path).endswith(".gz") else open
    judged: dict[str, dict[str, int]] = {}
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter="\t"), 2):
            try:
                judged.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
            except (KeyError, TypeError, ValueError):
                raise DataError.at(
                    path, number, f"got {row!r:.120}", "query-id, corpus-id and a whole score"
                ) from None
    return judged


def _squad_example(path: str | Path, title: str, context: str, qa: dict[str, Any]) -> QAExample:
    if not isinstance(qa["question"], str) or not isinstance(context, str):
        raise DataError.at(path, f"question {qa['id']!r}", "no text", "a question and a context")
    answers = tuple((int(a["answer_start"]), str(a["text"])) for a in qa.get("answers", ()))
    for start, text in answers:
        there = context[start : start + len(text)]
        if there != text:
            raise DataError.at(
                path,
                f"question {qa['id']!r}",
                f"characters {start}:{start + len(text)} are {there!r}",
                f"the answer {text!r}",
            )
    return QAExample(qa["question"], context, answers, str(qa["id"]), title)


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines without their ends; only a line feed ends a line."""
    opener = gzip.open if str(path).endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, 1):
                encoding = "utf-8-sig" if number == 1 else "utf-8"
                yield number, line.decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError.at(path, number, f"not UTF-8 ({error.reason})", "UTF-8 text") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError.at(path, number + 1, str(error), "a whole gzip file") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _csv_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader((line + "\n" for _, line in _lines(path)), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                n_columns = len([v for v in row.values() if v is not None])
                header = f"the header's {len(reader.fieldnames or ())}"
                raise DataError.at(path, reader.line_num, f"{n_columns} columns", header)
            yield reader.line_num, dict(row)
    except csv.Error as error:
        number = reader.reader.line_num
        raise DataError.at(path, number, str(error), "comma-separated values") from None


def _suffix(path: str | Path) -> str:
    name = str(path).removesuffix(".gz")
    return Path(name).suffix.lower()


def _iob2(tags: Sequence[str]) -> tuple[str, ...]:
    fixed = []
    before = "O"
    for tag in tags:
        opens = tag[:2] == "I-" and (before == "O" or before[2:] != tag[2:])
        fixed.append(f"B-{tag[2:]}" if opens else tag)
        before = tag
    return tuple(fixed)
