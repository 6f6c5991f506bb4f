"""The model that a workspace reads with: a bundle, and task packs plugged into it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nlpkit.bundle import bundles, read_manifest, read_pack_manifest
from nlpkit.errors import BundleError, InputError
from nlpkit.loading import load
from nlpkit.workspace.schema import state

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nlpkit.pipeline import Pipeline
    from nlpkit.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle, by name or folder, and the folders of packs; a later pack's task replaces one.

    What it holds is read from those folders when it is asked for: all properties raise
    :class:`BundleError` or :class:`UnknownNameError` where one of them is gone or broken.
    """

    bundle: str
    packs: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The bundle's id and the names of the packs, to be shown."""
        return " + ".join([read_manifest(self.bundle)[0].id, *(pack.name for pack in self.packs)])

    @property
    def identity(self) -> str:
        """SHA-256 over the content of all of its files, backbone and heads."""
        parts = [read_manifest(self.bundle)[1]]
        parts += [read_pack_manifest(pack).sha256 for pack in self.packs]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def backbone_sha256(self) -> str:
        """The backbone that a pack must have been made for."""
        return read_manifest(self.bundle)[0].files["weights.safetensors"]

    @property
    def heads(self) -> dict[str, dict[str, Any]]:
        """The ``kind`` and ``config`` of each head, by the name of its task."""
        heads = dict(read_manifest(self.bundle)[0].heads)
        for pack in self.packs:
            heads |= read_pack_manifest(pack).heads
        return heads

    @property
    def tasks(self) -> dict[str, str]:
        """The names of the heads and their kinds."""
        return {name: head["kind"] for name, head in self.heads.items()}

    def load(self, device: str = "auto") -> Pipeline:
        """The pipeline, with every file checked against its SHA-256."""
        kit = load(self.bundle, device)
        for pack in self.packs:
            for task in read_pack_manifest(pack).heads:
                if task in kit.tasks:
                    kit.remove(task)
            kit.add(pack)
        return kit

    def to_json(self) -> dict[str, Any]:
        """What :meth:`from_json` makes it of again."""
        return {"bundle": self.bundle, "packs": [str(pack) for pack in self.packs]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Model:
        """The model of what :meth:`to_json` gave."""
        return cls(value["bundle"], tuple(Path(pack) for pack in value["packs"]))


def model_in_use(connection: Connection) -> Model:
    """The workspace's model."""
    return Model.from_json(connection.execute(sa.select(state.c.model)).scalar_one())


def model_of(bundle: str | Path, packs: Sequence[str | Path] = ()) -> Model:
    """A bundle, by name or folder, and packs, as a model that means the same everywhere."""
    named = str(bundle) in bundles()
    return Model(
        str(bundle) if named else str(Path(bundle).expanduser().resolve()),
        tuple(Path(pack).expanduser().resolve() for pack in packs),
    )


def set_model(workspace: Workspace, bundle: str | Path, packs: Sequence[str | Path]) -> Model:
    """Let the workspace read with a bundle and packs.

    Raises:
        UnknownNameError, BundleError: one of them is not there, or broken.
        InputError: a pack is for another backbone.
    """
    model = model_of(bundle, packs)
    _check(model)
    with workspace.database.write() as connection:
        connection.execute(sa.update(state).values(model=model.to_json()))
    return model


def fits(model: Model, pack: Path) -> bool:
    """Whether a pack is there and made for the model's backbone."""
    try:
        return read_pack_manifest(pack).backbone_sha256 == model.backbone_sha256
    except BundleError:
        return False


def _check(model: Model) -> None:
    backbone = model.backbone_sha256
    for pack in model.packs:
        found = read_pack_manifest(pack)
        if found.backbone_sha256 != backbone:
            raise InputError(
                f"the pack {pack.name} was made for {found.backbone}, not for {model.bundle}; "
                f"choose {found.backbone}, or leave the pack out"
            )
