"""The workspace behind the analyst's app: what people bring, ask for, find and correct.

>>> from nlpkit.workspace import ensure_worker, open_workspace, preview, start_batch
>>> workspace = open_workspace()
>>> upload = workspace.add_upload("reviews.csv", open("reviews.csv", "rb"))
>>> seen = preview(upload)
>>> batch = start_batch(workspace, upload, text_column=seen.text_column, tasks=["sentiment"])
>>> ensure_worker(workspace)  # a process of its own does the work
>>> batch.status()
>>> batch.export("csv", "results.csv")

A workspace is a folder: ``workspace.db`` (rows), ``uploads/``, ``indexes/``, ``packs/`` and the
worker's log. Everything in it belongs to an ``owner``, "" where users are off. Any number of
processes may have it open; what takes long is done by one worker, see
:mod:`nlpkit.workspace.worker`.
"""

from __future__ import annotations

from nlpkit.retrain import MIN_TEXTS, Comparison, Point
from nlpkit.workspace.background import WorkerStatus, ensure_worker, worker_status
from nlpkit.workspace.batches import Batch, start_batch
from nlpkit.workspace.corrections import Agreement, Correction, Corrections
from nlpkit.workspace.indexes import IndexEntry, IndexJob
from nlpkit.workspace.models import Model
from nlpkit.workspace.results import BatchRow, EntityCount, Filters, Summary
from nlpkit.workspace.tables import (
    DELIMITERS,
    ENCODINGS,
    Preview,
    Reading,
    SetAside,
    guess_reading,
    preview,
)
from nlpkit.workspace.trainings import Scores, Training
from nlpkit.workspace.uploads import Upload
from nlpkit.workspace.work import State, Status
from nlpkit.workspace.workspace import Workspace, default_folder, open_workspace

__all__ = [
    "DELIMITERS",
    "ENCODINGS",
    "MIN_TEXTS",
    "Agreement",
    "Batch",
    "BatchRow",
    "Comparison",
    "Correction",
    "Corrections",
    "EntityCount",
    "Filters",
    "IndexEntry",
    "IndexJob",
    "Model",
    "Point",
    "Preview",
    "Reading",
    "Scores",
    "SetAside",
    "State",
    "Status",
    "Summary",
    "Training",
    "Upload",
    "WorkerStatus",
    "Workspace",
    "default_folder",
    "ensure_worker",
    "guess_reading",
    "open_workspace",
    "preview",
    "start_batch",
    "worker_status",
]
