"""The repository says true things about itself: names, pins, extras, the wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NAME = "nlpkit-bert"
FOLDERS = ("nlpkit", "apps", "tasks", "indexes", "benchmarks", "tests", "docs", ".ci")
TEXT_SUFFIXES = ("", ".ipynb", ".md", ".py", ".rst", ".sh", ".toml", ".txt", ".yaml", ".yml")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    read: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert len(found) == sum("==" in line for line in lines), "a package is pinned twice"
    return found


# -- pip commands ----------------------------------------------------------------------------

INSTALL = re.compile(r"\b(?:pip[\d.]*|pipx|uv)(?: tool| pip| -\S+)* (?:install|add) ([^`;|&#\n]*)")
OURS_ALONE = re.compile(r"""(?:^|[\s'"])nlpkit(?![\w-])(?=$|[\s'"\[=<>~!@,.):])""")


def pip_commands(text: str) -> Iterator[str]:
    """The arguments of each pip command, joined where a line or a Python string is broken."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"""(["'])\s*\n\s*[rf]*\1""", "", text)
    yield from (found[1].strip() for found in INSTALL.finditer(text))


def names_the_wrong_package(arguments: str) -> bool:
    return bool(OURS_ALONE.search(arguments))


def text_files() -> Iterator[Path]:
    files = [*ROOT.iterdir(), *(f for folder in FOLDERS for f in (ROOT / folder).rglob("*"))]
    for file in files:
        if file.is_file() and file.suffix in TEXT_SUFFIXES and file != Path(__file__):
            yield file


def test_every_pip_command_names_our_distribution() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}: pip install {arguments}"
        for file in text_files()
        for arguments in pip_commands(file.read_text(encoding="utf-8", errors="replace"))
        if names_the_wrong_package(arguments)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("pip install nlpkit", True),
        ("`pip3 install nlpkit`", True),
        ("run: pip install 'nlpkit[train]'", True),
        ('pip install -U "nlpkit>=0.1"', True),
        ("uv pip install --system nlpkit==0.1.0", True),
        ("uv add nlpkit", True),
        ("python -m pip --quiet install nlpkit", True),
        ("pipx install nlpkit.", True),
        ("pip install \\\n    nlpkit", True),
        ('x = ("pip install "\n     f"nlpkit[{extra}]")', True),
        ("pip install nlpkit-bert", False),
        ("pip install 'nlpkit-bert[train]' and nlpkit works", True),  # as a shell would read it
        ("`pip install 'nlpkit-bert[train]'` and nlpkit works", False),
        ("pip install '{DISTRIBUTION}[{extra}]'", False),
        ("pip install -c constraints.txt -e '.[dev]'", False),
        ("pip install dist/nlpkit_bert-0.1.0-py3-none-any.whl", False),
        ("pip install --target /srv/nlpkit nlpkit-bert", False),
        ("pip uninstall nlpkit", False),
    ],
)
def test_the_guard_of_pip_commands_bites(text: str, wrong: bool) -> None:
    assert any(names_the_wrong_package(arguments) for arguments in pip_commands(text)) == wrong


# -- metadata, extras, pins ------------------------------------------------------------------


def test_installed_metadata_is_that_of_the_repository(project: dict[str, Any]) -> None:
    installed = metadata(NAME)
    assert installed["Name"] == project["project"]["name"] == NAME
    assert installed["Version"] == project["project"]["version"]
    assert f"## [{installed['Version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_errors_offer_extras_that_exist(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]
    for file in sorted((ROOT / "nlpkit").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="MissingExtraError"), attr="of"),
                    args=[ast.Constant(value=extra), *_],
                ):
                    assert extra in extras, f"{file.relative_to(ROOT)}:{node.lineno}"


def test_constraints_are_plain_pins(pins: dict[str, str]) -> None:
    assert list(pins) == sorted(pins)
    for name, version in pins.items():
        assert name == canonicalize_name(name)
        assert re.fullmatch(r"\d[\w.]*", version), f"{name}=={version}"


def test_every_dependency_is_pinned_within_its_range(
    project: dict[str, Any], pins: dict[str, str]
) -> None:
    table = project["project"]
    groups = [table["dependencies"], *table["optional-dependencies"].values()]
    for requirement in (Requirement(line) for group in groups for line in group):
        if requirement.name != NAME:
            assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


# -- the wheel -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_one_top_level_module(wheel_files: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel_files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nlpkit"}


def test_the_wheel_holds_all_of_the_package(wheel_files: set[str]) -> None:
    files = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "nlpkit").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert files - wheel_files == set()
    assert "nlpkit/py.typed" in wheel_files


@pytest.mark.parametrize("folder", ["tasks", "indexes", "apps"])
def test_the_wheel_carries_what_lies_beside_the_package(wheel_files: set[str], folder: str) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        assert f"nlpkit/recipes/{folder}/{file.relative_to(ROOT / folder)}" in wheel_files


def test_the_wheel_carries_the_app_with_its_looks(wheel_files: set[str]) -> None:
    for file in (ROOT / "apps" / "analyst").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert f"nlpkit/recipes/{file.relative_to(ROOT)}" in wheel_files


def test_the_wheel_carries_the_sides_of_the_benchmark(wheel_files: set[str]) -> None:
    for file in (ROOT / "benchmarks" / "peers").rglob("*"):
        if file.suffix in (".py", ".txt"):
            relative = file.relative_to(ROOT / "benchmarks" / "peers")
            assert f"nlpkit/recipes/peers/{relative}" in wheel_files
