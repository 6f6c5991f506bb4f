"""One error tree, and messages that say what was got, what was expected and what to do."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import nlpkit
from nlpkit import errors
from nlpkit.errors import (
    DataError,
    InputTypeError,
    MissingExtraError,
    NlpkitError,
    OutputExistsError,
    UnknownNameError,
)

TREE = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, NlpkitError) and value is not NlpkitError
]


def test_the_tree_drawn_at_the_top_is_the_tree_there_is() -> None:
    drawn = re.findall(r"[\u251c\u2514]\u2500\u2500 (\w+)", errors.__doc__ or "")
    assert drawn == [error.__name__ for error in TREE]
    assert nlpkit.NlpkitError is NlpkitError


def test_errors_are_caught_as_pythons_own_too() -> None:
    """Whoever knows Python's errors need not know ours."""
    builtin = {error.__name__: {base.__name__ for base in error.__mro__} for error in TREE}
    assert "ValueError" in builtin["InputError"]
    assert "TypeError" in builtin["InputTypeError"]
    assert "ImportError" in builtin["MissingExtraError"]
    assert "FileExistsError" in builtin["OutputExistsError"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputTypeError.of("text", 7, "a string"), "text must be a string, got int: 7"),
        (InputTypeError.of("x", "y" * 99, "one"), f"x must be one, got str: '{'y' * 58}\u2026"),
        (
            UnknownNameError.of("task", "nre", ["topic", "ner"], "Add a pack."),
            "unknown task 'nre'; known: ner, topic. Add a pack.",
        ),
        (UnknownNameError.of("task", "x", []), "unknown task 'x'; known: none"),
        (
            DataError.at("a.jsonl", 3, "not JSON", "one JSON object a line"),
            "a.jsonl, line 3: not JSON; expected one JSON object a line",
        ),
        (
            DataError.at("a.json", "question 'q1'", "no answer", "one"),
            "a.json, question 'q1': no answer; expected one",
        ),
        (
            OutputExistsError.of("out.csv"),
            "out.csv exists and is kept; choose another name, or pass overwrite (--overwrite)",
        ),
        (
            MissingExtraError.of("train", "training", "torch"),
            "training needs the module 'torch', which is not installed; "
            "run: pip install 'nlpkit-bert[train]'",
        ),
    ],
)
def test_messages(error: NlpkitError, message: str) -> None:
    assert str(error) == message


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_an_absent_extra_names_the_pip_command(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    expected = f"needs the module '{module}', .* run: pip install 'nlpkit-bert\\[gpu\\]'"
    with pytest.raises(MissingExtraError, match=expected) as caught:
        nlpkit.load(str(tiny_folder), device="cpu", precision="fp16")
    assert isinstance(caught.value, ImportError)
    nlpkit.load(str(tiny_folder), device="cpu")  # the CPU engine needs none
