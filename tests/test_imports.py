"""The core imports nothing beyond its dependencies, and imports them late."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "nlpkit").rglob("*.py"))
#: These need an extra, and are imported by nobody who has not asked for it.
NEED_AN_EXTRA = (
    "nlpkit/engines/graph.py",
    "nlpkit/engines/torch.py",
    "nlpkit/engines/unpadded.py",
    "nlpkit/huggingface.py",
    "nlpkit/training/",
)
#: Import names that differ from the distribution's.
IMPORT_NAMES = {"faiss-cpu": "faiss"}
HEAVY = {
    *("torch", "transformers", "sklearn", "scipy", "pandas", "pyarrow", "onnx", "tensorboard"),
    *("psycopg", "pypdf", "docx", "lxml", "selectolax", "openvino_telemetry"),
}


def core_names() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [Requirement(line).name for line in project["dependencies"]]
    return {"nlpkit", *(IMPORT_NAMES.get(name, name) for name in names)}


def imported_on_load(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Top-level names of what these statements import as the module is loaded."""
    for node in body:
        match node:
            case ast.Import():
                yield from (alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from imported_on_load(node.orelse)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                pass
            case _:
                children = ast.iter_child_nodes(node)
                yield from imported_on_load(c for c in children if isinstance(c, ast.stmt))
                if isinstance(node, ast.Try):
                    for handler in node.handlers:
                        yield from imported_on_load(handler.body)


def modules_loaded_by(code: str) -> set[str]:
    """Top-level names in sys.modules once a new interpreter has run the code."""
    program = f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    return {name.partition(".")[0] for name in run.stderr.split()}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_of_the_core_import_only_its_dependencies(path: Path) -> None:
    if path.relative_to(ROOT).as_posix().startswith(NEED_AN_EXTRA):
        pytest.skip("needs an extra")
    found = set(imported_on_load(ast.parse(path.read_text(encoding="utf-8")).body))
    assert found - sys.stdlib_module_names - core_names() == set()


def test_import_is_light() -> None:
    loaded = modules_loaded_by("import nlpkit")
    assert loaded & (HEAVY | {"numpy", "onnxruntime", "tokenizers", "faiss", "rich"}) == set()


@pytest.mark.parametrize(
    "code",
    [
        "import nlpkit; nlpkit.ner('Ada Lovelace lived in London.')",
        "import nlpkit; nlpkit.analyze('Ada Lovelace lived in London.')",
        "import nlpkit; nlpkit.answer('Who lived there?', 'Ada Lovelace lived in London.')",
        "import nlpkit.cli",
    ],
)
def test_the_core_works_without_the_extras(code: str) -> None:
    assert modules_loaded_by(code) & HEAVY == set()


def test_the_reader_of_imports_sees_through_blocks() -> None:
    source = """
import a.b
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import unseen
else:
    import c
try:
    from d.e import f
except ImportError:
    import g
class C:
    import h
    def method(self):
        import unseen
def function():
    import unseen
"""
    found = set(imported_on_load(ast.parse(source).body))
    assert found == {"a", "typing", "c", "d", "g", "h"}


def test_the_version_is_that_of_the_distribution() -> None:
    import nlpkit
    from nlpkit.version import library_version

    assert nlpkit.__version__ == library_version()
    with pytest.raises(AttributeError, match="no attribute 'versions'"):
        _ = nlpkit.versions
