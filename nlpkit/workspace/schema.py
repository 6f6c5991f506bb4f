"""The workspace's tables. What a person sees of their work is here; files lie beside it.

state           one row: the generation (counts changes of the model) and the model in use
uploads         files that were given, by the SHA-256 under which they lie in ``uploads/``
work            what the worker does: batches, jobs of indexes, trainings
work_parts      the parts of a batch's file, with how far each is read
work_errors     rows that were set aside
batch_rows      a row of a batch: its text, its other fields and all results
batch_labels    the same results' classes, one row each, for filters and charts
batch_entities  likewise the entities
indexes         indexes by name
corrections     what people said of texts
features        what a backbone gave for a corrected text, to train heads on
workers         one row: the latest worker, when it was last heard of and what it is at
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    JSON,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from nlpkit.store.database import Tables
from nlpkit.store.schema import Number

metadata = MetaData()

state = Table(
    "state",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("generation", Number, nullable=False),
    Column("model", JSON, nullable=False),  # {"bundle": name or folder, "packs": [folder, ...]}
)

uploads = Table(
    "uploads",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),  # as it was given; for display only
    Column("sha256", String(64), nullable=False),
    Column("suffix", String(16), nullable=False),  # one of those we know
    Column("n_bytes", Number, nullable=False),
    Column("uploaded_at", Double, nullable=False),  # seconds since 1970
    Index("uploads_by_owner", "owner"),
    sqlite_autoincrement=True,  # no number is given out twice
)

work = Table(
    "work",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),  # batch, index or training
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("options", JSON, nullable=False),  # what was asked for
    Column("result", JSON, nullable=False),  # what is known so far
    Column("n_rows", Number),  # of all; unknown until the source has been gone through
    Column("n_done", Number, nullable=False),
    Column("n_errors", Number, nullable=False),
    Column("seconds", Double, nullable=False),  # of work
    Column("note", Text, nullable=False),
    Column("worker", Text, nullable=False),  # that has it, or had it last
    Column("attempts", Integer, nullable=False),  # to get on, since it last did
    Column("model", Text, nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("updated_at", Double, nullable=False),
    Column("finished_at", Double),
    Index("work_by_state", "state"),
    Index("work_by_owner", "owner", "kind"),
    sqlite_autoincrement=True,  # no number is given out twice
)

work_parts = Table(
    "work_parts",
    metadata,
    Column("work", Number, nullable=False),
    Column("part", Number, nullable=False),
    Column("spec", JSON, nullable=False),  # where its first row lies in the file
    Column("first_row", Number, nullable=False),
    Column("n_rows", Number, nullable=False),
    Column("n_done", Number, nullable=False),
    PrimaryKeyConstraint("work", "part"),
)

work_errors = Table(
    "work_errors",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("work", Number, nullable=False),
    Column("place", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("work_errors_by_work", "work", "number"),
)

batch_rows = Table(
    "batch_rows",
    metadata,
    Column("batch", Number, nullable=False),
    Column("row", Number, nullable=False),  # counts the source's rows from 1
    Column("text", Text, nullable=False),
    Column("fields", Text, nullable=False),  # JSON: the other columns
    Column("results", Text, nullable=False),  # JSON: {"labels": {task: ...}, "entities": [...]}
    Column("date", String(10)),  # ISO
    Column("warning", Text),
    PrimaryKeyConstraint("batch", "row"),
    Index("batch_rows_by_date", "batch", "date"),
    Index(
        "batch_rows_warned",
        "batch",
        sqlite_where=text("warning IS NOT NULL"),
        postgresql_where=text("warning IS NOT NULL"),
    ),
)

batch_labels = Table(
    "batch_labels",
    metadata,
    Column("batch", Number, nullable=False),
    Column("row", Number, nullable=False),
    Column("task", Text, nullable=False),
    Column("rank", Integer, nullable=False),  # 0 is the best class
    Column("label", Text, nullable=False),
    Column("score", Double, nullable=False),
    Column("given", Integer, nullable=False),  # 0: the best of several that all are too unlikely
    PrimaryKeyConstraint("batch", "row", "task", "rank"),
    Index("batch_labels_by_label", "batch", "task", "label", "given", "row"),
)

batch_entities = Table(
    "batch_entities",
    metadata,
    Column("batch", Number, nullable=False),
    Column("row", Number, nullable=False),
    Column("position", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("score", Double, nullable=False),
    PrimaryKeyConstraint("batch", "row", "position"),
    Index("batch_entities_by_text", "batch", "label", "text", "row"),
)

indexes = Table(
    "indexes",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("made_here", Integer, nullable=False),
    Column("facts", JSON, nullable=False),  # as of its last job
    Column("created_at", Double, nullable=False),
    UniqueConstraint("owner", "name"),
    sqlite_autoincrement=True,  # no number is given out twice
)

corrections = Table(
    "corrections",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("made_at", Double, nullable=False),
    Column("text", Text, nullable=False),
    Column("text_sha256", String(64), nullable=False),
    Column("task", Text, nullable=False),
    Column("value", JSON, nullable=False),
    Column("model_value", JSON),
    Column("model", Text, nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("source", JSON, nullable=False),
    Index("corrections_by_text", "owner", "task", "text_sha256", "by"),
    sqlite_autoincrement=True,  # no number is given out twice
)

features = Table(
    "features",
    metadata,
    Column("model", String(64), nullable=False),
    Column("text_sha256", String(64), nullable=False),
    Column("n_rows", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # float16, row by row
    PrimaryKeyConstraint("model", "text_sha256"),
)

workers = Table(
    "workers",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("pid", Number, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("beat_at", Double, nullable=False),  # last heard of
    Column("work", Number),  # what it is at
    Column("leaving", Integer, nullable=False),  # 1: it takes up nothing more
)

WORKSPACE = Tables(
    migrations=Path(__file__).parent / "migrations",
    revision="0001",
    state=state,
    first={"one": 1, "generation": 0, "model": {"bundle": "base-en", "packs": []}},
    name="a workspace",
    remedy="choose another folder for a new workspace",
)
