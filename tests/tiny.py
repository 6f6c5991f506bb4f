"""Fixtures of the tiny bundle (nlpkit.testing.tiny_bundle), and texts that are hard to read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import nlpkit
from nlpkit.pipeline import Pipeline
from nlpkit.testing import tiny_bundle
from nlpkit.text import TextEncoder
from nlpkit.types import Analysis, Answer, Entity, Label

FRAGMENTS = (
    "Ada Lovelace",
    "LONDON",
    "the old man lived in",
    "1843",
    "iPhone",
    "don't",
    "www.example.org/a_b?c=1",
    " ",
    "\n\n",
    "\r\n",
    "\t",
    "\u00a0\u2003",
    "\U0001f389",  # an emoji
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",  # a family: three, joined
    "\u2764\ufe0f",  # a heart and its variation selector
    "Zoe\u0308",  # letters with combining marks
    "a\u0301\u0302\u0303",
    "\u0301",
    "\u4e2d\u6587\u3001\u65e5\u672c\u8a9e",  # Chinese, Japanese
    "\ud55c\uad6d\uc5b4",  # Korean
    "\u0928\u092e\u0938\u094d\u0924\u0947",  # Hindi
    "\u05e9\u05dc\u05d5\u05dd \u200f\u0645\u0631\u062d\u0628\u0627",  # right to left
    "\u0130stanbul Stra\u00dfe \ufb01n \u01c5",  # letters that change their number in lower case
    "\x00",
    "\x07\x1b",
    "\ufeff",
    "\u00ad",
    "\u200b",
    "\ud800",  # a lone surrogate
    "\udfff",
    "\U000e0001",
    "x" * 150,
)


def texts(max_parts: int = 20) -> st.SearchStrategy[str]:
    """Any text at all: hard fragments, any characters, lone surrogates included."""
    part = st.one_of(st.sampled_from(FRAGMENTS), st.text(st.characters(), max_size=6))
    return st.lists(part, max_size=max_parts).map("".join)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny bundle; read it, don't change it."""
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def kit(tiny_folder: Path) -> Pipeline:
    """The tiny bundle's pipeline as users get it on a CPU; use it, don't change it."""
    return nlpkit.load(str(tiny_folder), device="cpu")


@pytest.fixture
def own_kit(tiny_folder: Path) -> Pipeline:
    """A tiny pipeline of the test's own, to change at will; in fp32, for exact comparisons."""
    return nlpkit.load(str(tiny_folder), "cpu", "fp32")


@pytest.fixture(scope="session")
def encoder(kit: Pipeline) -> TextEncoder:
    """The tiny bundle's text encoder."""
    return kit.encoder


def assert_same(got: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """The same labels, texts and offsets; scores and components within the tolerance."""
    assert type(got) is type(expected)
    if isinstance(got, np.ndarray):
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)
    elif isinstance(got, dict):
        assert got.keys() == expected.keys()
        for key in got:
            assert_same(got[key], expected[key], tolerance)
    elif isinstance(got, Iterable) and not isinstance(got, str):
        got, expected = list(got), list(expected)
        assert len(got) == len(expected), f"{got} and {expected}"
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(got, Entity | Answer):
        assert (got.text, got.start, got.end) == (expected.text, expected.start, expected.end)
        assert getattr(got, "label", "") == getattr(expected, "label", "")
        assert got.score == pytest.approx(expected.score, abs=tolerance)
    elif isinstance(got, Label):
        assert got.name == expected.name
        assert got.score == pytest.approx(expected.score, abs=tolerance)
    else:
        assert isinstance(got, Analysis), f"nothing is known of {type(got)}"
        assert (got.warnings, got.n_windows) == (expected.warnings, expected.n_windows)
        for name in ("entities", "labels", "embedding"):
            assert_same(getattr(got, name), getattr(expected, name), tolerance)
