"""The command line: ``nlpkit ner``, ``nlpkit train`` and their siblings, thin over the library."""

from __future__ import annotations

from nlpkit.cli.app import app_main

__all__ = ["app_main"]
