"""``nlpkit doctor``: what is installed, which engine runs and why, and whether it works."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from nlpkit.cli.job import AsJson
from nlpkit.cli.output import console, json_line, table, visible
from nlpkit.errors import DISTRIBUTION, NlpkitError

if TYPE_CHECKING:
    from nlpkit.pipeline import Pipeline

Status = Literal["ok", "absent", "warning", "broken"]

STYLES: dict[Status, str] = {
    "ok": "green",
    "absent": "dim",
    "warning": "yellow",
    "broken": "bold red",
}
#: Pairs of distributions that own the same module: of two, the one installed last wins.
SWAPS = (("faiss-cpu", "faiss-gpu", "faiss"), ("onnxruntime", "onnxruntime-gpu", "onnxruntime"))
#: Extras for those who develop nlpkit, and the one that names all others.
UNLISTED = ("dev", "all")

SENTENCE = "Ada Lovelace lived in London."
QUESTION = "Where did Ada Lovelace live?"
#: The first two must be nearer to each other in meaning than to the third.
ALIKE = ("The engine of the plane failed.", "The aircraft's motor broke.", "She bakes bread.")
#: How far two engines may be apart in fp32, in scores and in embedding components.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: how it stands, and where it is wrong what to do."""

    part: str
    status: Status
    detail: str
    fix: str = ""


def doctor(
    full: Annotated[
        bool, typer.Option("--full", help="Also compare the CPU engine with torch.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the installation and try the default bundle; exit status 1 if something is broken."""
    checks = []
    screen = console()
    for check in all_checks(full):
        checks.append(check)
        if as_json:
            sys.stdout.buffer.write(json_line(asdict(check)))
            sys.stdout.buffer.flush()
    if not as_json:
        rows = [
            (
                c.part,
                Text(c.status, style=STYLES[c.status]),
                Text(f"{visible(c.detail)}\n{visible(c.fix)}".strip()),
            )
            for c in checks
        ]
        screen.print(table(("part", "status", "what was found"), rows))
    broken = [check.part for check in checks if check.status == "broken"]
    if broken:
        if not as_json:
            screen.print(Text(f"broken: {', '.join(broken)}", style="bold red"))
        raise typer.Exit(1)
    if not as_json:
        screen.print("all that is installed works")


def all_checks(full: bool) -> Iterator[Check]:
    """Every check in turn, as its result is known."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield from installed()
    yield from swaps()
    yield from _guarded("processors", _processors)
    yield from _guarded("engine", _engine)
    yield from _guarded("bundles", _bundles)
    yield from _guarded("self-test", self_test)
    if full:
        yield from _guarded("engines agree", _engines_agree)


# -- what is installed -----------------------------------------------------------------------------


def installed() -> Iterator[Check]:
    """The library, its dependencies and its extras."""
    try:
        yield Check(DISTRIBUTION, "ok", version(DISTRIBUTION))
    except PackageNotFoundError:
        yield Check(
            DISTRIBUTION,
            "warning",
            "runs from its folder, not installed: dependencies and extras are not known",
            "run: pip install -e . in the folder that holds pyproject.toml",
        )
        return
    core, extras = requirements()
    missing = [name for name in core if _version(name) is None]
    yield Check(
        "dependencies",
        "broken" if missing else "ok",
        _versions(core),
        f"run: pip install {' '.join(missing)}" if missing else "",
    )
    for extra, names in extras.items():
        missing = [name for name in names if _version(name) is None]
        yield Check(
            f"extra {extra}",
            "absent" if missing else "ok",
            f"missing: {', '.join(missing)}" if missing else _versions(names),
            f"run: pip install '{DISTRIBUTION}[{extra}]'" if missing else "",
        )


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Names of the distributions that the core needs, and those of each extra."""
    core: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in requires(DISTRIBUTION) or ():
        found = re.match(r"[\w.-]+", line)
        assert found is not None
        extra = re.search(r"""extra\s*==\s*["']([\w-]+)""", line)
        if extra is None:
            core.append(found[0])
        elif extra[1] not in UNLISTED and found[0] != DISTRIBUTION:
            extras.setdefault(extra[1], []).append(found[0])
    return core, extras


def swaps() -> Iterator[Check]:
    """Distributions that overwrite each other's module."""
    for plain, gpu, module in SWAPS:
        if _own_version(plain) and _own_version(gpu):
            yield Check(
                module,
                "warning",
                f"{plain} and {gpu} are both installed and own the same module {module!r}",
                f"run: pip uninstall {plain} {gpu} && pip install {gpu} (or {plain} for no GPU)",
            )


def _version(name: str) -> str | None:
    """The version of a distribution, or of what was swapped for it."""
    swapped = {plain: gpu for plain, gpu, _ in SWAPS}
    return _own_version(name) or _own_version(swapped.get(name, name))


def _own_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _versions(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {_version(name)}" for name in names)


# -- what the machine has --------------------------------------------------------------------------


def _processors() -> Iterator[Check]:
    from nlpkit.engines import cpu_limit

    try:
        affinity = f", {len(os.sched_getaffinity(0))} by affinity"
    except AttributeError:  # macOS and Windows
        affinity = ""
    yield Check("processors", "ok", f"{cpu_limit()} used, of {os.cpu_count()}{affinity}")


def _engine() -> Iterator[Check]:
    from nlpkit.bundle import bundles, read_manifest
    from nlpkit.engines import choose, nvidia_in_sight
    from nlpkit.loading import DEFAULT, offered_by

    path = bundles().get(DEFAULT)
    choice = choose(offered=offered_by(read_manifest(path)[0])) if path else choose()
    if nvidia_in_sight() and choice.device == "cpu":
        torch = _version("torch")
        yield Check(
            "gpu",
            "warning",
            "an NVIDIA GPU is in sight and not used: "
            + (f"torch {torch} cannot use it" if torch else "torch is not installed"),
            f"run: pip install '{DISTRIBUTION}[gpu]'"
            if torch is None
            else "install a build of torch for CUDA: https://pytorch.org/get-started/locally",
        )
    else:
        yield Check("gpu", "ok" if nvidia_in_sight() else "absent", choice.reason.split(";")[0])
    yield Check(
        "engine",
        "ok",
        f"{choice.engine} on {choice.device} in {choice.precision}: {choice.reason}",
    )


def _bundles() -> Iterator[Check]:
    from nlpkit.bundle import bundles, read_bundle

    paths = sorted(set(bundles().values()))
    if not paths:
        yield Check("bundles", "broken", "there is none in the package", _REINSTALL)
    for path in paths:
        try:
            manifest = read_bundle(path).manifest
        except NlpkitError as error:
            yield Check(f"bundle {path.name}", "broken", str(error), _REINSTALL)
        else:
            detail = f"{len(manifest.files)} files as their SHA-256 says; heads: "
            yield Check(f"bundle {path.name}", "ok", detail + ", ".join(manifest.heads))


_REINSTALL = f"run: pip install --force-reinstall --no-deps {DISTRIBUTION}"


# -- whether it works ------------------------------------------------------------------------------


def self_test() -> Iterator[Check]:
    """Each answer on a sentence, and whether it makes sense."""
    import nlpkit

    start = time.perf_counter()
    kit = nlpkit.load()
    seconds = time.perf_counter() - start
    yield Check("self-test load", "ok", f"{kit.name} in {seconds:.2f} s")
    for name in _TESTS:
        yield from _guarded(f"self-test {name}", partial(_tried, name, kit))


def _tried(name: str, kit: Pipeline) -> Iterator[Check]:
    good, detail = _TESTS[name](kit)
    fix = "" if good else "the bundle or an engine's library is damaged: install both again"
    yield Check(f"self-test {name}", "ok" if good else "broken", detail, fix)


def _try_ner(kit: Pipeline) -> tuple[bool, str]:
    found = kit.ner(SENTENCE)
    good = bool(found) and all(SENTENCE[e.start : e.end] == e.text for e in found)
    return good, ", ".join(f"{e.text} {e.label}" for e in found) or "no entity found"


def _try_classify(kit: Pipeline) -> tuple[bool, str]:
    praise, blame = kit.classify(["I love it, wonderful!", "I hate it, awful!"])
    good = abs(sum(label.score for label in praise) - 1) < 1e-3 and praise[0].name != blame[0].name
    return good, f"praise is {praise[0].name}, blame is {blame[0].name}"


def _try_answer(kit: Pipeline) -> tuple[bool, str]:
    found = kit.answer(QUESTION, SENTENCE, no_answer=False)
    return bool(found) and SENTENCE[found.start : found.end] == found.text, f"{found.text!r}"


def _try_embed(kit: Pipeline) -> tuple[bool, str]:
    first, second, third = kit.embed(ALIKE)
    near, far = float(first @ second), float(first @ third)
    unit = abs(float(first @ first) - 1) < 1e-4
    return unit and near > far, f"{len(first)} numbers; like {near:.2f}, unlike {far:.2f}"


_TESTS: dict[str, Callable[[Pipeline], tuple[bool, str]]] = {
    "ner": _try_ner,
    "classify": _try_classify,
    "answer": _try_answer,
    "embed": _try_embed,
}


def _engines_agree() -> Iterator[Check]:
    """The CPU engine and torch in fp32 on the same weights and texts."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        fix = f"run: pip install '{DISTRIBUTION}[gpu]'"
        yield Check("engines agree", "absent", "torch is not installed: nothing to compare", fix)
        return
    import nlpkit
    from nlpkit.bundle import read_bundle
    from nlpkit.engines.torch import TorchEngine
    from nlpkit.pipeline import Pipeline
    from nlpkit.weights import dequantise

    bundle = read_bundle("base-en")
    weights = dequantise(bundle.weights)
    engine = TorchEngine.from_weights(weights, bundle.manifest.config, "cpu", "fp32")
    torch = Pipeline(bundle.encoder, engine, bundle.heads)
    plain = nlpkit.load("base-en", "cpu", "fp32")
    texts = [SENTENCE, QUESTION, *ALIKE]
    worst = float(abs(plain.embed(texts) - torch.embed(texts)).max())
    same = [_spans(plain, text) == _spans(torch, text) for text in texts]
    yield Check(
        "engines agree",
        "ok" if worst <= TOLERANCE and all(same) else "broken",
        f"{plain.engine.name} and torch: embeddings differ by at most {worst:.1e}, entities are "
        f"{'the same' if all(same) else 'different'}",
        "" if worst <= TOLERANCE and all(same) else "install openvino and torch again",
    )


def _spans(kit: Pipeline, text: str) -> list[tuple[int, int, str]]:
    return [(e.start, e.end, e.label) for e in kit.ner(text)]


def _guarded(part: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks; whatever goes wrong within them is a finding, not the end of the visit."""
    try:
        yield from checks()
    except Exception as error:
        yield Check(part, "broken", f"{type(error).__name__}: {error}")
