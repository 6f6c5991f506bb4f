"""``nlpkit bundles``: what is at hand to load."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nlpkit.cli.job import AsJson
from nlpkit.cli.output import console, json_line, table


def bundles(
    card: Annotated[
        str | None, typer.Option(help="Print the card of this bundle (a name or folder).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the bundles inside the package, or print a bundle's card."""
    from nlpkit.bundle import bundles as known
    from nlpkit.bundle import read_bundle
    from nlpkit.errors import InputError

    if card is not None:
        file = read_bundle(card).path / ("card.json" if as_json else "CARD.md")
        if not file.is_file():
            raise InputError(f"{file}: this bundle has no card")
        typer.echo(file.read_text(encoding="utf-8").rstrip("\n"))
        return
    paths = known()
    screen = console()
    rows = []
    for path in sorted(set(paths.values())):
        manifest = read_bundle(path).manifest
        names = sorted(name for name, at in paths.items() if at == path)
        size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        if as_json:
            heads = {name: head["kind"] for name, head in manifest.heads.items()}
            line = {"id": manifest.id, "names": names, "heads": heads, "bytes": size}
            sys.stdout.buffer.write(json_line({**line, "path": str(path), "card": _card(path)}))
        rows.append((", ".join(names), ", ".join(manifest.heads), f"{size / 1e6:.1f}", str(path)))
    if not as_json:
        screen.print(table(("bundle", "heads", "MB", "folder"), rows))
    sys.stdout.buffer.flush()


def _card(path: Path) -> str | None:
    card = path / "CARD.md"
    return str(card) if card.is_file() else None
