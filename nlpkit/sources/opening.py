"""From what a person names to a source: a folder, a file, a database or a recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nlpkit.errors import InputError, InputTypeError, UnknownNameError
from nlpkit.sources.base import DocumentSource
from nlpkit.sources.extract import EXTRACTORS, suffix_of
from nlpkit.sources.folder import FileSource, FolderSource
from nlpkit.sources.listed import ListedSource
from nlpkit.sources.recipe import IndexRecipe, index_recipes, load_index_recipe
from nlpkit.sources.rows import FORMATS
from nlpkit.sources.sql import SqlSource
from nlpkit.sources.table import TableSource

#: How each kind of source is made of what its ``to_json`` gave.
KINDS: dict[str, Callable[[Mapping[str, Any]], DocumentSource]] = {
    "folder": FolderSource.from_json,
    "file": FileSource.from_json,
    "table": TableSource.from_json,
    "sql": SqlSource.from_json,
    "listed": ListedSource.from_json,
}
#: The options that a source takes beside its place.
OPTIONS: dict[Callable[..., DocumentSource], tuple[str, ...]] = {
    FolderSource: ("patterns", "name"),
    FileSource: ("name",),
    TableSource: ("text_column", "id_column", "joiner", "name"),
    SqlSource: ("query", "text_column", "id_column", "joiner", "name"),
}


def open_source(spec: str | Path | Mapping[str, Any], **options: Any) -> DocumentSource:
    """The source of a folder, a file, a database's URL, a recipe or a mapping of ``to_json``.

    ``options`` are those of the source: ``patterns`` of a folder, ``query`` of a database,
    ``text_column``, ``id_column`` and ``joiner`` of rows, and ``name`` of any.

    Raises:
        InputError: nothing is there, or nobody can read it, or it takes no such option.
        UnknownNameError: a single word that is neither a file or folder here nor a recipe.
    """
    return open_recipe(spec, **options).open()


def open_recipe(spec: str | Path | Mapping[str, Any], **options: Any) -> IndexRecipe:
    """The recipe of that name or path; of any other source, one that indexes it as usual."""
    if isinstance(spec, Mapping):
        source = _from_json(spec, options)
    elif not isinstance(spec, str | Path):
        raise InputTypeError.of("the source", spec, "a path, a URL, a recipe's name or a mapping")
    elif isinstance(spec, str) and re.match(r"[A-Za-z][\w+.-]*://", spec):
        source = _database(spec, options)
    else:
        path = Path(spec).expanduser()
        if _is_recipe(str(spec), path):
            if options:
                raise InputError(
                    f"the recipe {spec} takes no options, got {', '.join(options)}; copy the file "
                    "and change the source there"
                )
            return load_index_recipe(spec)
        source = _at(path, options)
    return IndexRecipe(source.name, f"Documents of {source.name}", source)


def _from_json(spec: Mapping[str, Any], options: Mapping[str, Any]) -> DocumentSource:
    if options:
        raise InputError("a source that comes from to_json() has its options; expected no others")
    kind = spec.get("kind")
    if kind not in KINDS:
        raise UnknownNameError.of("kind of source", kind, KINDS)
    try:
        return KINDS[kind](spec)
    except (KeyError, TypeError) as error:
        raise InputError(f"not a source's to_json(): {type(error).__name__} {error}") from None


def _database(url: str, options: Mapping[str, Any]) -> DocumentSource:
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https", "ftp", "file", "s3", "gs"):
        raise InputError(f"{scheme}:// addresses are not read; {_known()}")
    if options.get("query") is None:
        raise InputError("a database needs query=, the SELECT that gives its documents")
    return _made(SqlSource, url, options)


def _is_recipe(given: str, path: Path) -> bool:
    """Whether a recipe is meant; a name that is also a file or folder here is ambiguous."""
    if path.suffix == ".py":
        return True
    named = given in index_recipes()
    if named and path.exists():
        raise InputError(f"{given} is a recipe and something in this folder; for that, ./{given}")
    if not named and not path.exists() and re.fullmatch(r"\w+", given):
        raise UnknownNameError.of("source", given, index_recipes(), f"Besides, {_known()}.")
    return named


def _at(path: Path, options: Mapping[str, Any]) -> DocumentSource:
    if path.is_dir():
        return _made(FolderSource, path, options)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; {_known()}")
    suffix = suffix_of(path.name)
    if suffix in FORMATS:
        return _made(TableSource, path, options)
    if suffix in EXTRACTORS:
        return _made(FileSource, path, options)
    raise InputError(f"{path}: nobody can read such a file; {_known()}")


def _made(
    kind: Callable[..., DocumentSource], place: str | Path, options: Mapping[str, Any]
) -> DocumentSource:
    known = OPTIONS[kind]
    for name in options:
        if name not in known:
            raise InputError(f"{place} takes no option {name!r}; known: {', '.join(known)}")
    return kind(place, **options)


def _known() -> str:
    return (
        f"known are folders, files ({', '.join([*FORMATS, *EXTRACTORS])}), databases "
        "(sqlite:///file.db, postgresql+psycopg://host/name) and recipes "
        f"({', '.join(sorted(index_recipes()))}, or the path of one)"
    )
