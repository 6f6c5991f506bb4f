"""Kinds of heads from other packages, found by entry point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nlpkit.bundle import write_pack
from nlpkit.engines import PluggedHead
from nlpkit.errors import UnknownNameError
from nlpkit.heads import HEADS, make_head
from nlpkit.pipeline import Pipeline
from nlpkit.testing import check_head

MODULE = """
import numpy as np

class LengthHead:
    kind = "length"
    per_token = False
    labels = ("words",)

    def __init__(self, scale=1.0):
        self.scale = scale

    def config(self):
        return {"scale": self.scale}

    def parameter_shapes(self, width):
        return {"weight": (1, width), "bias": (1,)}

    def forward(self, hidden, batch, parameters):
        return hidden[:, 0] @ parameters["weight"].T + parameters["bias"]

    def loss(self, logits, targets):
        return ((logits - targets) ** 2).mean()

    def decode(self, logits, reading):
        return self.scale * float(np.mean(logits)) if logits else 0.0
"""


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution on the path with an entry point, as pip would leave it."""
    (tmp_path / "other_heads.py").write_text(MODULE)
    info = tmp_path / "other_heads-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-heads\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nlpkit.heads]\nlength = other_heads:LengthHead\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("nlpkit.heads.HEADS", dict(HEADS))


@pytest.mark.usefixtures("other_package")
def test_a_head_of_another_package_runs_in_the_common_pass(
    own_kit: Pipeline, tmp_path: Path
) -> None:
    head = make_head("length", {"scale": 2.0})
    check_head(head)
    parameters = {"weight": np.zeros((1, 32), np.float32), "bias": np.full(1, 3.0, np.float32)}
    path = write_pack(
        tmp_path / "pack",
        "words",
        backbone=own_kit.name,
        backbone_sha256=own_kit.backbone_sha256,
        heads={"words": PluggedHead(head, parameters)},
    )
    assert own_kit.add(path) == ("words",)
    assert own_kit.apply(["a text", "another"], task="words") == [6.0, 6.0]


def test_a_kind_that_nobody_registered() -> None:
    with pytest.raises(UnknownNameError, match="known: pooling, question-answering, seq"):
        make_head("length", {})
