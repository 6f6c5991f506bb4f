"""Opening an index: made where absent, refused where it does not fit."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from nlpkit.errors import InputError, InputTypeError, StoreError, UnknownNameError
from nlpkit.index import upkeep
from nlpkit.index.embedder import Embedder, PipelineEmbedder
from nlpkit.index.index import Index
from nlpkit.index.segments import KINDS
from nlpkit.loading import load
from nlpkit.pipeline import Pipeline, arithmetic_of
from nlpkit.store.database import Database
from nlpkit.store.schema import settings

FORMAT = 1
MARKER = "index.json"
#: Bytes that an approximate index may take in memory; above, vectors are stored as codes.
MEMORY_BUDGET = 1_000_000_000


def open_index(
    path: str | Path,
    model: str | Path | Pipeline | Embedder | None = None,
    *,
    database: str | None = None,
    kind: str | None = None,
    chunk_tokens: int | None = None,
    chunk_overlap: int | None = None,
    memory_budget: int | None = None,
    create: bool = True,
    read_only: bool = False,
) -> Index:
    """The index in the folder ``path``, made there if it is absent.

    Args:
        path: the folder.
        model: a bundle's name or folder, a pipeline, or an embedder; by default the one that the
            index was made with, ``base-en`` for a new one.
        database: a SQLAlchemy URL for a new index, by default SQLite in the folder. Give it again
            to open the index only where it holds a password.
        kind: of a new index: ``flat`` (exact), ``hnsw``, ``ivfpq``, or ``auto``: by size and
            ``memory_budget`` (bytes; a gigabyte unless told).
        chunk_tokens: tokens of a chunk in a new index, 256 unless told.
        chunk_overlap: tokens that a chunk repeats at most, in whole sentences; 32 unless told.
        create: whether to make an index where there is none.
        read_only: for readers that may not write there.

    Raises:
        StoreError: no index there, or a damaged one, or one made with another model.
    """
    folder = Path(path)
    if not (folder / MARKER).is_file():
        if read_only or not create:
            raise StoreError(f"{folder} is no index (it has no {MARKER})")
        options = _options(kind, chunk_tokens, chunk_overlap, memory_budget)
        return _make(folder, model, database, options)
    marker = _marker(folder)
    url = database or _url(folder, marker["database"])
    if marker["database"] == "sqlite" and database is None and not (folder / "index.db").is_file():
        raise StoreError(
            f"{folder} has lost its database index.db: restore it from a backup, or delete the "
            "folder and build the index anew from its source"
        )
    opened = Database(url, marker.get("schema"), read_only=read_only)
    try:
        with opened.read() as connection:
            kept = connection.execute(
                sa.select(settings.c.value).where(settings.c.name == "index")
            ).scalar()
        if kept is None:
            raise StoreError(f"{opened.shown} holds no index settings; build the index anew")
        given = {"kind": kind, "chunk_tokens": chunk_tokens, "chunk_overlap": chunk_overlap}
        for name, value in given.items():
            if value is not None and value != kept[name]:
                raise InputError(
                    f"{folder} was made with {name}={kept[name]!r}, got {value!r}; leave it out, "
                    "or build a new index"
                )
        if memory_budget is not None:
            kept["memory_budget"] = memory_budget
        embedder, pipeline = _embedder(model or kept["model_path"], kept)
        if embedder.identity != kept["model_sha256"]:
            raise StoreError(
                f"{folder} was built with the model {kept['model']} "
                f"({kept['model_sha256'][:12]}…, {kept['precision']}), got {embedder.name} "
                f"({embedder.identity[:12]}…): open it with {kept['model']}, or build a new index"
            )
    except BaseException:
        opened.close()
        raise
    return Index(folder, opened, embedder, kept, pipeline)


def _make(
    folder: Path,
    model: str | Path | Pipeline | Embedder | None,
    url: str | None,
    options: dict[str, Any],
) -> Index:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        # Another process may be making it now, or was killed as it did.
        known = {MARKER, "segments", "merging.lock"}
        there_already = {p.name for p in folder.iterdir()} if folder.is_dir() else {""}
        if any(not n.startswith(("index.db", f".{MARKER}")) for n in there_already - known):
            raise StoreError(f"{folder} is there and no index; give a new or empty folder")
    embedder, pipeline = _embedder(model or "base-en", options)
    options |= {
        "model": embedder.name,
        "model_path": _path_of(model),
        "model_sha256": embedder.identity,
        "precision": getattr(getattr(embedder, "pipeline", None), "precision", None),
        "width": embedder.width,
    }
    (folder / "segments").mkdir(parents=True, exist_ok=True)
    with upkeep.exclusively(folder, wait=True):
        if not (folder / MARKER).is_file():
            return _written(folder, embedder, pipeline, url, options)
    return open_index(folder, model, database=url)  # another process was quicker


def _written(
    folder: Path,
    embedder: Embedder,
    pipeline: Pipeline | None,
    url: str | None,
    options: dict[str, Any],
) -> Index:
    marker: dict[str, Any] = {"format": FORMAT, "database": "sqlite", "schema": None}
    if url is not None and sa.make_url(url).get_backend_name() != "sqlite":
        bare = sa.make_url(url).set(password=None).render_as_string()
        marker |= {"database": bare, "schema": f"nlpkit_{uuid.uuid4().hex[:12]}"}
    elif url is not None:
        marker["database"] = url
    opened = Database(url or _url(folder, "sqlite"), marker["schema"])
    with opened.write() as connection:
        query = sa.select(settings.c.value).where(settings.c.name == "index")
        there = connection.execute(query).scalar()
        if there is None:
            connection.execute(sa.insert(settings), {"name": "index", "value": options})
        else:  # a process that made it was killed before the marker
            options = there
    if options["model_sha256"] != embedder.identity:
        opened.close()
        raise StoreError(f"{folder} is being made with another model, {options['model']}")
    written = folder / f".{MARKER}.{os.getpid()}"
    written.write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
    written.replace(folder / MARKER)
    return Index(folder, opened, embedder, options, pipeline)


def _options(
    kind: str | None, chunk_tokens: int | None, overlap: int | None, budget: int | None
) -> dict[str, Any]:
    if kind not in (None, "auto", *KINDS):
        raise UnknownNameError.of("kind of index", kind, ("auto", *KINDS))
    sizes = {"chunk_tokens": (chunk_tokens, 256, 8), "chunk_overlap": (overlap, 32, 0)}
    options: dict[str, Any] = {"kind": kind or "auto", "memory_budget": budget or MEMORY_BUDGET}
    for name, (value, default, least) in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int | None):
            raise InputTypeError.of(name, value, "a whole number")
        if value is not None and value < least:
            raise InputError(f"{name} is {value}; expected at least {least}")
        options[name] = default if value is None else value
    return options


def _embedder(
    model: str | Path | Pipeline | Embedder, options: dict[str, Any]
) -> tuple[Embedder, Pipeline | None]:
    """The embedder, and the pipeline behind it where there is one."""
    if isinstance(model, str | Path):
        # Vectors of another precision would not be comparable with those that are there.
        model = load(model, precision=arithmetic_of(options.get("precision")))
    if not isinstance(model, Pipeline):
        return model, getattr(model, "pipeline", None)
    return PipelineEmbedder(model, options["chunk_tokens"], options["chunk_overlap"]), model


def _path_of(model: str | Path | Pipeline | Embedder | None) -> str:
    if isinstance(model, str | Path):
        return str(Path(model).resolve()) if Path(model).exists() else str(model)
    return "base-en" if model is None else model.name


def _url(folder: Path, kept: str) -> str:
    return f"sqlite:///{folder / 'index.db'}" if kept == "sqlite" else kept


def _marker(folder: Path) -> dict[str, Any]:
    path = folder / MARKER
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(marker, dict) or not isinstance(marker.get("database"), str):
            raise ValueError("it names no database")
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); it is a small file that says where the database "
            'is: for SQLite in this folder, write {"format": 1, "database": "sqlite"}'
        ) from None
    if marker.get("format") != FORMAT:
        raise StoreError(
            f"{folder} is an index of format {marker.get('format')}, this nlpkit knows {FORMAT}; "
            "run: pip install -U nlpkit-bert"
        )
    return marker
