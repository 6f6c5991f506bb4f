"""The version of what is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from nlpkit.errors import DISTRIBUTION


def library_version() -> str:
    """The version of the installed distribution."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "(not installed: run from its folder)"
