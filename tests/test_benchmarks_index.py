"""The benchmarks of the index, at sizes of seconds: they run, and what they count is right."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts import one another from their folder; without data sets they make up sentences."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delenv("NLPKIT_DATA", raising=False)


def results(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Any:
    """What a script writes."""
    file = folder / "results.json"
    words = [f"{name}.py", "--work", str(folder / "work"), "--output", str(file), *options]
    monkeypatch.setattr(sys, "argv", words)
    import_module(name).main()
    return json.loads(file.read_text(encoding="utf-8"))


def test_copies_lie_at_the_angles_that_were_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(20, 16)).astype(np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    file = tmp_path / "vectors.npy"
    import_module("million").widen(file, base, np.array([0.5]), 70)
    made = np.load(file)
    np.testing.assert_allclose(made[:20], base, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    cosines = (made[20:] * base[np.arange(20, 70) % 20]).sum(axis=1)
    np.testing.assert_allclose(cosines, np.cos(0.5), atol=1e-6)
    assert len(np.unique(made, axis=0)) == 70


def test_a_neighbour_is_never_the_vector_itself() -> None:
    base = np.eye(8, dtype=np.float32)
    np.testing.assert_allclose(import_module("million").neighbour_angles(base), np.pi / 2)


def test_a_small_million(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = ["--n", "600", "--texts", "150", "--queries", "6", "--changes", "40"]
    found = results("million", tmp_path, monkeypatch, *sizes, "--model", str(tiny_folder))
    assert found["vectors"]["copies"] == 450
    assert found["search"]["recall@10"] == 1
    assert found["search"]["recall@10 of the exact searches"] == [1, 1]
    assert [one["documents"] for one in found["filters"].values()] == [300, 6, 1]
    for one in [*found["filters"].values(), found["changes"]["search after both"]]:
        assert one["queries with all k hits, and live ones"] == "6 of 6"
        assert one["recall@10"] == 1
    update, delete = (found["changes"][f"{w} of 40 in 10 calls"] for w in ("update", "delete"))
    assert update["documents that are not as written"] == delete["documents still there"] == 0
    assert update["searches meanwhile"]["errors"] == delete["searches meanwhile"]["errors"] == 0
    assert found["changes"]["search after both"]["documents"] == 560
    assert found["fresh process"]["from the disk"]["searches"] == 6


def test_indexing(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = "--passages 60 --documents 700 --few 50 --many 200".split()  # noqa: SIM905
    found = results("indexing", tmp_path, monkeypatch, *sizes, "--model", str(tiny_folder))
    assert found["overhead"]["passages"] == 60
    assert 0 < found["overhead"]["overhead, share of the wall"] < 1
    assert found["second"]["first run, calls of Pipeline.embed"] == 2
    assert found["second"]["second run, calls of Pipeline.embed"] == 0
    assert found["second"]["second run, documents unchanged"] == 700
    assert found["memory"]["200 documents"]["while indexing"]["resident"] > 10
    assert "NLPKIT_DATA" in found["scifact"]["skipped"]


def test_word_counts_are_unit_vectors_of_the_words_alone() -> None:
    embed = import_module("indexing").WordCounts().embed
    made = embed(["a red house", "A  RED house", "nothing alike"])
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    assert np.array_equal(made[0], made[1])
    assert made[0] @ made[2] < 0.5


def test_our_side_of_the_comparison(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    peers = import_module("search_peers")
    monkeypatch.setattr(sys, "argv", ["search_peers.py", "--n", "200", "--queries", "5"])
    request = peers.task(peers.arguments(), tmp_path)
    assert len(request["updates"]) == len(request["deletes"]) == 2
    assert not {row["id"] for row in request["updates"]} & set(request["deletes"])
    request |= {"model": str(tiny_folder), "folder": str(tmp_path / "index")}
    import_module("peers.txtai_side").run(peers.Nlpkit, request | {"mode": "all"})
    ready, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert (ready, found["rows"], len(found["hits"][0])) == ("ready", 198, 10)
    assert peers.agreed(found, found)["hits in common"] == 1
    command = [sys.executable, peers.__file__, "--side"]
    again = peers.killed("nlpkit", command, request, tmp_path, build=0.4)
    assert again["rows at the end"] == 200


def test_vectors_that_differ_are_not_compared() -> None:
    sides = [{"vectors": [[1.0, 0.0]], "hits": [["a"]]}, {"vectors": [[0.9, 0.2]], "hits": [["a"]]}]
    with pytest.raises(SystemExit, match="cosines"):
        import_module("search_peers").agreed(*sides)


def test_a_peer_that_cannot_be_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    found = results("search_peers", tmp_path, monkeypatch)
    assert found["txtai"].startswith("skipped: txtai cannot be installed")
