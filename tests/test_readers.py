"""Files of examples, and what is said of their bad lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nlpkit.errors import DataError, InputError
from nlpkit.readers import (
    QAExample,
    Source,
    TextExample,
    TokenExample,
    join_sentences,
    read_classified,
    read_conll,
    read_squad,
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return written


def test_conll_to_text_and_spans(write: Write) -> None:
    """IOB1 becomes IOB2: I-LOC after O opens an entity, B-LOC after I-LOC another."""
    path = write(
        "a.conll.gz",
        "-DOCSTART- -X- O O\n\nAda NNP I-PER\nsaw VBD O\nRome NNP I-LOC\nParis NNP B-LOC\n\n"
        "-DOCSTART- -X- O O\n\nBye UH O\n",
    )
    first, second = read_conll(path)
    assert first.tags == ("B-PER", "O", "B-LOC", "B-LOC")
    assert (first.document, second.document) == (1, 2)
    assert join_sentences([first, second]) == TokenExample(
        "Ada saw Rome Paris Bye", ((0, 3, "PER"), (8, 12, "LOC"), (13, 18, "LOC"))
    )


def test_classified_jsonl_and_csv(write: Write) -> None:
    rows = [{"text": "good", "label": "up"}, {"text": "odd", "label": ["up", "down"]}]
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read_classified(path) == [
        TextExample("good", ("up",)),
        TextExample("odd", ("up", "down")),
    ]
    path = write("a.csv", 'body,kind\n"one, two",up\n')
    assert read_classified(path, "body", "kind") == [TextExample("one, two", ("up",))]


def test_squad(write: Write) -> None:
    qas = [
        {"id": "1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]},
        {"id": "2", "question": "Why?", "answers": []},
    ]
    article = {"title": "T", "paragraphs": [{"context": "Ada wrote.", "qas": qas}]}
    path = write("a.json", json.dumps({"data": [article]}))
    assert read_squad(path) == [
        QAExample("Who?", "Ada wrote.", ((0, "Ada"),), "1", "T"),
        QAExample("Why?", "Ada wrote.", (), "2", "T"),
    ]


@pytest.mark.parametrize(
    ("content", "place"),
    [("Ada B-PER\nRome\n", "line 2"), ("Ada B-PER\n\nRome X-LOC\n", "line 3"), ("", "line 0")],
)
def test_bad_conll(write: Write, content: str, place: str) -> None:
    with pytest.raises(DataError, match=rf"a\.conll, {place}: .*expected"):
        read_conll(write("a.conll", content))


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl", '{"text": "x", "label": "y"}\nnonsense\n', "line 2"),
        ("a.jsonl", '{"text": "x"}\n', "line 1"),
        ("a.jsonl", '["x", "y"]\n', "line 1"),
        ("a.jsonl", '{"text": "x", "label": {"y": 1}}\n', "line 1"),
        ("a.jsonl", '{"text": 3, "label": "y"}\n', "line 1"),
        ("a.csv", "text,label\nx,y,z\n", "line 2"),
        ("a.csv", "text,label\nx\n", "line 2"),
        ("a.csv", "words,label\nx,y\n", "line 2"),
        ("a.jsonl", b'{"text": "\xff", "label": "y"}\n', "line 1"),
    ],
)
def test_bad_classified(write: Write, name: str, content: str | bytes, place: str) -> None:
    with pytest.raises(DataError, match=rf"{name}, {place}: .*expected"):
        read_classified(write(name, content))


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "not json",
        '{"data": [{"paragraphs": [{"context": "x", "qas": ["y"]}]}]}',
        '{"data": [{"paragraphs": [{"context": 1, "qas": [{"id": 1, "question": "y"}]}]}]}',
        '{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": "7", "question": "q", '
        '"answers": [{"text": "y", "answer_start": 0}]}]}]}]}',
    ],
)
def test_bad_squad(write: Write, content: str) -> None:
    with pytest.raises(DataError, match=r"a\.json, .*expected"):
        read_squad(write("a.json", content))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_conll(tmp_path / "none.conll")


def test_a_truncated_gzip_file(tmp_path: Path) -> None:
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress(b"Ada B-PER\n" * 1000)[:-20])
    with pytest.raises(DataError, match="expected a whole gzip file"):
        read_conll(path)


def test_a_source_is_looked_for_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("set/a.txt", "A set", "free", "https://example.org/set", "0" * 64)
    monkeypatch.delenv("NLPKIT_DATA", raising=False)
    with pytest.raises(InputError, match=r"set NLPKIT_DATA .*https://example.org/set"):
        source.path()
    monkeypatch.setenv("NLPKIT_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"is missing: get A set from .* \(licence: free\)"):
        source.path()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.txt").write_text("other")
    with pytest.raises(DataError, match="SHA-256"):
        source.path()
