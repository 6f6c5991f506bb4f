"""Every example of README and docs runs, in order, in a folder that holds the files it names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nlpkit.bundle import bundles

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)( no-run)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    n_run = 0
    for language, no_run, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if no_run:
            continue
        if language == "python":
            exec(compile(code, str(page), "exec"), names)
        elif language == "sh":
            run_commands(code)
        else:
            assert language == "toml", f"{page.name}: who runs a block of {language}?"
        n_run += 1
    assert n_run, f"{page.name} has no example"


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def run_commands(code: str) -> None:
    for line in code.splitlines():
        command = line.split("  #")[0].strip()
        if not command or ("--suite" in command and not os.environ.get("NLPKIT_DATA")):
            continue
        found = subprocess.run(
            ["bash", "-c", command],
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert found.returncode == 0, f"{command}\n{found.stdout}\n{found.stderr}"


def write_files(folder: Path) -> None:
    """The small files of our own that the examples read."""
    shutil.copy(ROOT / "README.md", folder)
    refund = ["I want my money back", "please refund the order", "give me a refund now"]
    parcel = ["where is my parcel", "has my package been sent", "the delivery is late"]
    rows = [{"text": t, "label": "refund"} for t in refund] + [
        {"text": t, "label": "delivery"} for t in parcel
    ]
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelled = [
        {"text": "A lovely film.", "label": "positive"},
        {"text": "Dull.", "label": "negative"},
    ]
    (folder / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    (folder / "news.csv").write_text(
        'id,text\n1,"Shares fell, and oil rose."\n2,Rovers won the cup.\n'
    )
    (folder / "texts.txt").write_text("Ada Lovelace lived in London.\nGreat phone.\n")
    sentence = "We\tO\nsold\tO\nthe\tO\nZeta\tB-PRODUCT\nX1\tI-PRODUCT\ntoday\tO\n\n"
    for name in ("train.conll", "dev.conll"):
        (folder / name).write_text(sentence * 6)
    context = "Refunds are paid within ten days. Parcels leave on Mondays."
    qas = [
        {
            "id": "1",
            "question": "When are refunds paid?",
            "answers": [{"text": "within ten days", "answer_start": context.index("within")}],
        },
        {"id": "2", "question": "Who owns the shop?", "answers": []},
    ]
    squad = {"data": [{"title": "shop", "paragraphs": [{"context": context, "qas": qas}]}]}
    (folder / "train.json").write_text(json.dumps(squad))


def test_the_scores_of_the_readme_are_those_of_the_card() -> None:
    card = json.loads((bundles()["base-en"] / "card.json").read_text(encoding="utf-8"))
    measured = {
        (report["suite"], f"{100 * score:.1f}")
        for report in card["reports"]
        for score in report["scores"].values()
    }
    rows = re.findall(
        r"^\| (\w+) \| [^|]+ \| ([\d.]+) \|", PAGES[0].read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) > 10
    assert set(rows) <= measured
