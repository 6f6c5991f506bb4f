"""Bundles and task packs on disk: folders of safetensors, ONNX and JSON under SHA-256.

A bundle runs alone::

    bundle.json           name, version, backbone config, heads, sizes and hashes of the files below
    tokenizer.json        the vocabulary
    weights.safetensors   the backbone, once for all engines (nlpkit.weights)
    heads.safetensors     "<head>/<parameter>", float32
    model.onnx            the fp32 CPU engine's graph, without weights
    activations.safetensors   only where int8 was fitted: its grids (nlpkit.engines.openvino)
    words.safetensors     vectors of common words, for zero-shot labels (nlpkit.zero_shot)

A pack plugs heads into one named and versioned backbone and refuses any other::

    pack.json             name, backbone, heads, hashes
    heads.safetensors     as above
    adapter.safetensors   only with --tune lora: low-rank updates of the backbone's matrices
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from tokenizers import Tokenizer

from nlpkit.engines import PluggedHead
from nlpkit.errors import BundleError, NlpkitError, OutputExistsError, UnknownNameError
from nlpkit.heads import make_head
from nlpkit.text import TextEncoder
from nlpkit.weights import branches_of

#: What is written, and what can be read: 2 added matrices that are stored smoothed.
FORMAT, READABLE = 2, (1, 2)
FOLDER = Path(__file__).parent / "bundles"
WEIGHTS = "weights.safetensors"
ACTIVATIONS = "activations.safetensors"
WORDS = "words.safetensors"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What bundle.json says, checked; ``files`` maps names to SHA-256."""

    name: str
    version: int
    config: dict[str, Any]  #: the backbone's transformers config
    shape_types: bool
    window: int
    overlap: int
    pair_window: int
    pair_overlap: int
    heads: dict[str, dict[str, Any]]
    files: dict[str, str]
    storage: str = "float32"  #: how the backbone's matrices lie on disk: float32 or int8
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.name}-{self.version}"


class MappedTensors(Mapping[str, NDArray[Any]]):
    """The tensors of a safetensors file, mapped into memory: each is copied when it is asked for.

    An engine that is compiled asks for none, and processes share what the system has read.
    """

    def __init__(self, file: Path) -> None:
        opened: Any = safe_open(file, framework="np")
        self._file = opened
        self._names = dict.fromkeys(opened.keys())

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        tensor: NDArray[Any] = self._file.get_tensor(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle read and verified; ``sha256`` names this exact content.

    ``words`` are what zero-shot labels are drawn towards (nlpkit.zero_shot), where it has them.
    """

    path: Path
    manifest: Manifest
    sha256: str
    encoder: TextEncoder
    weights: Arrays
    heads: dict[str, PluggedHead]
    graph: bytes
    activations: Arrays | None = None
    words: Arrays | None = None


@dataclass(frozen=True, slots=True)
class Pack:
    """A task pack read and verified."""

    path: Path
    name: str
    backbone: str
    backbone_sha256: str
    heads: dict[str, PluggedHead]
    adapter: Arrays | None = None

    def require_backbone(self, name: str, sha256: str) -> None:
        """Refuse a backbone that this pack was not trained for.

        Raises:
            BundleError: the hashes of the weights differ.
        """
        if self.backbone_sha256 != sha256:
            raise BundleError(
                f"{self.path} was trained for backbone {self.backbone} "
                f"({self.backbone_sha256[:12]}…), not for {name} ({sha256[:12]}…): "
                f"load {self.backbone}, or train the pack again"
            )


@dataclass(frozen=True, slots=True)
class PackManifest:
    """What pack.json says; ``sha256`` names this exact content."""

    path: Path
    name: str
    backbone: str
    backbone_sha256: str
    heads: dict[str, dict[str, Any]]
    files: dict[str, str]
    training: dict[str, Any]
    sha256: str


def bundles() -> dict[str, Path]:
    """The bundles inside the package, by id, and by name for the newest version of each."""
    found: dict[str, Path] = {}
    paths = [path.parent for path in FOLDER.glob("*-*/bundle.json")]
    paths = [path for path in paths if path.name.rpartition("-")[2].isdecimal()]
    for path in sorted(paths, key=lambda p: int(p.name.rpartition("-")[2])):
        found[path.name] = path
        found[path.name.rpartition("-")[0]] = path
    return found


def read_bundle(name_or_path: str | Path) -> Bundle:
    """Read a bundle by name (``base-en``, ``base-en-1``) or path; every file is checked.

    Raises:
        UnknownNameError: no such bundle in the package, and no such folder.
        BundleError: a file is missing, truncated or altered, or of a version this nlpkit cannot
            read.
    """
    path = _bundle_folder(name_or_path)
    manifest, sha256 = read_manifest(path)
    required = {"tokenizer.json", WEIGHTS, "heads.safetensors", "model.onnx"}
    if not required <= manifest.files.keys():
        raise BundleError(
            f"{path / 'bundle.json'} does not list {sorted(required - manifest.files.keys())}; "
            "the bundle is not whole: get it again"
        )
    mapped = {n: _mapped(path, n, d) for n, d in manifest.files.items() if n in (WEIGHTS, WORDS)}
    digests = {name: digest for name, digest in manifest.files.items() if name not in mapped}
    content = {name: _checked(path, name, digest) for name, digest in digests.items()}
    weights = mapped[WEIGHTS]
    parameters = _tensors(path / "heads.safetensors", content["heads.safetensors"])
    config = manifest.config
    encoder = TextEncoder(
        Tokenizer.from_str(content["tokenizer.json"].decode()),
        shape_types=manifest.shape_types,
        n_types=int(config["type_vocab_size"]),
        max_length=int(config["max_position_embeddings"]),
    )
    heads = _plug(path / "bundle.json", manifest.heads, parameters, int(config["hidden_size"]))
    missing = {plugged.branch for plugged in heads.values()} - {"", *branches_of(weights)}
    if missing:
        raise BundleError(
            f"{path}: heads read branches that the weights lack: {sorted(missing)}; get it again"
        )
    return Bundle(
        path=path,
        manifest=manifest,
        sha256=sha256,
        encoder=encoder,
        weights=weights,
        heads=heads,
        graph=content["model.onnx"],
        activations=_optional(path, content, ACTIVATIONS),
        words=mapped.get(WORDS),
    )


def read_manifest(name_or_path: str | Path) -> tuple[Manifest, str]:
    """What a bundle's bundle.json says, and its SHA-256; no other file is read.

    Raises:
        UnknownNameError: no such bundle in the package, and no such folder.
        BundleError: the file is missing, altered, or of a version this nlpkit cannot read.
    """
    file = _bundle_folder(name_or_path) / "bundle.json"
    record = _json(file, "a bundle")
    try:
        fields = {k: v for k, v in record.items() if k not in ("format", "sha256")}
        manifest = Manifest(**fields)
    except TypeError as error:
        raise BundleError(f"{file}: {error}; the bundle is not whole: get it again") from None
    return manifest, hashlib.sha256(file.read_bytes()).hexdigest()


def _bundle_folder(name_or_path: str | Path) -> Path:
    path = bundles().get(str(name_or_path), Path(name_or_path))
    if not path.is_dir():
        raise UnknownNameError.of(
            "bundle", str(name_or_path), bundles(), "Or give a bundle's folder."
        )
    return path


def write_bundle(
    path: Path,
    manifest: Manifest,
    *,
    tokenizer: str,
    weights: Arrays,
    heads: Mapping[str, PluggedHead],
    graph: bytes,
    activations: Arrays | None = None,
    words: Arrays | None = None,
    extra: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a bundle's folder, complete or not at all; fills in the manifest's heads and files."""
    content = {
        "tokenizer.json": tokenizer.encode(),
        WEIGHTS: _packed(weights),
        "heads.safetensors": _packed(_named(heads)),
        "model.onnx": graph,
    }
    if activations:
        content[ACTIVATIONS] = _packed(activations)
    if words:
        content[WORDS] = _packed(words)
    record = {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "config": manifest.config,
        "shape_types": manifest.shape_types,
        "window": manifest.window,
        "overlap": manifest.overlap,
        "pair_window": manifest.pair_window,
        "pair_overlap": manifest.pair_overlap,
        "storage": manifest.storage,
        "heads": _described(heads),
        "training": manifest.training,
    }
    return _write(path, "bundle.json", record, content, extra or {}, overwrite)


def read_pack(path: str | Path, width: int) -> Pack:
    """Read a task pack for a backbone of this width; every file is checked."""
    path = Path(path)
    manifest = read_pack_manifest(path)
    content = {name: _checked(path, name, digest) for name, digest in manifest.files.items()}
    if "heads.safetensors" not in content:
        raise BundleError(
            f"{path / 'pack.json'} does not list heads.safetensors; the pack is not whole: "
            "get it again"
        )
    parameters = _tensors(path / "heads.safetensors", content["heads.safetensors"])
    return Pack(
        path=path,
        name=manifest.name,
        backbone=manifest.backbone,
        backbone_sha256=manifest.backbone_sha256,
        heads=_plug(path / "pack.json", manifest.heads, parameters, width),
        adapter=_optional(path, content, "adapter.safetensors"),
    )


def read_pack_manifest(path: str | Path) -> PackManifest:
    """What a task pack's pack.json says; no other file is read.

    Raises:
        BundleError: the file is missing, altered, or of a version this nlpkit cannot read.
    """
    file = Path(path) / "pack.json"
    record = _json(file, "a task pack")
    try:
        return PackManifest(
            path=Path(path),
            name=record["name"],
            backbone=record["backbone"],
            backbone_sha256=record["backbone_sha256"],
            heads=record["heads"],
            files=record["files"],
            training=record.get("training", {}),
            sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        )
    except KeyError as error:
        raise BundleError(f"{file} lacks {error}; the pack is not whole: get it again") from None


def write_pack(
    path: Path,
    name: str,
    *,
    backbone: str,
    backbone_sha256: str,
    heads: Mapping[str, PluggedHead],
    adapter: Arrays | None = None,
    training: Mapping[str, Any] | None = None,
    extra: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a task pack's folder, complete or not at all."""
    content = {"heads.safetensors": _packed(_named(heads))}
    if adapter is not None:
        content["adapter.safetensors"] = _packed(adapter)
    record = {
        "format": FORMAT,
        "name": name,
        "backbone": backbone,
        "backbone_sha256": backbone_sha256,
        "heads": _described(heads),
        "training": dict(training or {}),
    }
    return _write(path, "pack.json", record, content, extra or {}, overwrite)


# -- reading ---------------------------------------------------------------------------------


def _json(file: Path, what: str) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(
            f"{file} is missing: {file.parent} is not {what}, or not a whole one: get it again"
        ) from None
    except ValueError as error:
        raise BundleError(f"{file} is not JSON ({error}): get {what} again") from None
    if not isinstance(record, dict) or record.get("format") not in READABLE:
        got = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise BundleError(
            f"{file} is of format {got}, this nlpkit reads formats 1 and 2: "
            "install the nlpkit-bert version that wrote it, or get a newer bundle"
        )
    # Bundles written before this line was have no hash of their own; everything else in them has.
    if record.get("sha256", _own_hash(record)) != _own_hash(record):
        raise BundleError(f"{file} is altered: it does not match its own SHA-256; get {what} again")
    return record


def _own_hash(record: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's content, whatever its layout as text."""
    rest = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _checked(path: Path, name: str, digest: str) -> bytes:
    with _reading(path, name) as file:
        content = file.read_bytes()
    _compare(file, hashlib.sha256(content).hexdigest(), digest)
    return content


def _mapped(path: Path, name: str, digest: str) -> MappedTensors:
    with _reading(path, name) as file:
        with file.open("rb") as opened:
            got = hashlib.file_digest(opened, "sha256").hexdigest()
        _compare(file, got, digest)
        return MappedTensors(file)


@contextmanager
def _reading(path: Path, name: str) -> Iterator[Path]:
    """A file of the folder; what goes wrong with reading it, in words."""
    file = path / name
    if Path(name).name != name:
        raise BundleError(f"{path}: a file outside the folder is listed: {name!r}")
    try:
        yield file
    except OSError as error:
        raise BundleError(
            f"{file} cannot be read ({error.strerror}): get the folder again"
        ) from None
    except SafetensorError as error:
        raise BundleError(f"{file} is not a safetensors file: {error}") from None


def _compare(file: Path, got: str, digest: str) -> None:
    if got != digest:
        raise BundleError(
            f"{file} is altered or truncated: its SHA-256 is {got[:16]}…, expected {digest[:16]}…; "
            "get it again"
        )


def _tensors(file: Path, content: bytes) -> dict[str, NDArray[Any]]:
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise BundleError(f"{file} is not a safetensors file: {error}") from None


def _optional(path: Path, content: Mapping[str, bytes], name: str) -> Arrays | None:
    return _tensors(path / name, content[name]) if name in content else None


def _plug(
    file: Path, heads: Mapping[str, Mapping[str, Any]], parameters: Arrays, width: int
) -> dict[str, PluggedHead]:
    plugged: dict[str, PluggedHead] = {}
    for name, record in heads.items():
        try:
            head = make_head(record["kind"], record["config"])
        except (NlpkitError, KeyError, TypeError) as error:
            raise BundleError(
                f"{file}: head {name!r} cannot be made: {error}; "
                "install what it needs, or a newer nlpkit-bert"
            ) from error
        own = {
            key.removeprefix(f"{name}/"): value
            for key, value in parameters.items()
            if key.startswith(f"{name}/")
        }
        expected = head.parameter_shapes(width)
        got = {key: value.shape for key, value in own.items()}
        if got != expected:
            raise BundleError(
                f"{file}: head {name!r} has parameters {got}, expected {expected}; get it again"
            )
        plugged[name] = PluggedHead(head, own, record.get("branch", ""))
    return plugged


# -- writing ---------------------------------------------------------------------------------


def _named(heads: Mapping[str, PluggedHead]) -> dict[str, NDArray[Any]]:
    return {f"{n}/{key}": value for n, h in heads.items() for key, value in h.parameters.items()}


def _described(heads: Mapping[str, PluggedHead]) -> dict[str, Any]:
    return {
        name: {"kind": plugged.head.kind, "config": plugged.head.config()}
        | ({"branch": plugged.branch} if plugged.branch else {})
        for name, plugged in heads.items()
    }


def _packed(tensors: Arrays) -> bytes:
    packed: bytes = save_tensors({k: np.ascontiguousarray(v) for k, v in tensors.items()})
    return packed


def _write(
    path: Path,
    manifest: str,
    record: dict[str, Any],
    content: Mapping[str, bytes],
    extra: Mapping[str, str],
    overwrite: bool,
) -> Path:
    record["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    record["sha256"] = _own_hash(record)
    files = {**content, **{name: text.encode() for name, text in extra.items()}}
    files[manifest] = (json.dumps(record, indent=2) + "\n").encode()
    return write_folder(path, files, overwrite)


def write_folder(path: Path, files: Mapping[str, bytes], overwrite: bool = False) -> Path:
    """Write a folder of files (names may have folders of their own), complete or not at all.

    Raises:
        OutputExistsError: the path exists and ``overwrite`` is not set.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError.of(path)
    draft = path.with_name(path.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for name, data in files.items():
            file = draft / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    except BaseException:  # a full disk, Ctrl-C
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if path.exists():
        old = path.with_name(path.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        draft.rename(path)
        shutil.rmtree(old)
    else:
        draft.rename(path)
    return path
