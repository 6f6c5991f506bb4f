"""The tables. SQL is the truth: a vector that no row names does not exist.

state         one row: the generation (counts commits) and the next free numbers
settings      what an index was made with: model, width, chunking, kind
documents     one row a document; ``number`` is its stable integer, never used again
copies        each document once more, compressed: what repair mends a lost row from
fields        the scalars of each document's metadata, one row a value, for filters
chunks        the parts of documents that have a vector, by character offsets
segments      immutable files of vectors, with the SHA-256 of each file
tombstones    chunks that lie in a segment and are deleted; compaction drops both
jobs          indexing jobs, with job_shards, job_errors and job_seen
predictions   what heads said of documents, with the model that said it
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

#: SQLite gives out row numbers for INTEGER alone; elsewhere they want 64 bits.
Number = BigInteger().with_variant(Integer, "sqlite")
#: Strings compare by code point everywhere, as they do in Python and SQLite.
PlainText = Text().with_variant(Text(collation="C"), "postgresql")

state = Table(
    "state",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("generation", Number, nullable=False),
    Column("next_document", Number, nullable=False),
    Column("next_chunk", Number, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", JSON, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("text", Text, nullable=False),
    Column("meta", Text, nullable=False),  # JSON, as it was given
    Column("text_sha256", LargeBinary(32), nullable=False),
    Column("meta_sha256", LargeBinary(32), nullable=False),
    Column("source", Text, nullable=False),
    Column("n_chunks", Integer, nullable=False),
    Column("updated_at", Double, nullable=False),  # seconds since 1970
    Index("documents_by_source", "source"),
)

copies = Table(
    "copies",
    metadata,
    Column("document", Number, primary_key=True, autoincrement=False),
    Column("payload", LargeBinary, nullable=False),  # zlib of JSON [id, text, meta, source]
)

fields = Table(
    "fields",
    metadata,
    Column("document", Number, nullable=False),
    Column("name", Text, nullable=False),
    Column("text", PlainText),
    Column("number", Double),
    PrimaryKeyConstraint("document", "name"),
    Index("fields_by_text", "name", "text", "document"),
    Index("fields_by_number", "name", "number", "document"),
)

chunks = Table(
    "chunks",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=False),
    Column("document", Number, nullable=False),
    Column("start", Number, nullable=False),
    Column("end", Number, nullable=False),
    Index("chunks_by_document", "document"),
)

segments = Table(
    "segments",
    metadata,
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("n_rows", Number, nullable=False),
    Column("files", JSON, nullable=False),  # {file: [bytes, sha256]}
    Column("recall", Double),  # at 10 against exact search, measured when it was built
    Column("details", JSON, nullable=False),
    Column("generation", Number, nullable=False),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("chunk", Number, primary_key=True, autoincrement=False),
    Column("generation", Number, nullable=False),
    Index("tombstones_by_generation", "generation"),
)

predictions = Table(
    "predictions",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("document", Number, nullable=False),
    Column("task", Text, nullable=False),
    Column("value", JSON, nullable=False),
    Column("model", Text, nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("library", Text, nullable=False),
    Column("made_at", Double, nullable=False),
    UniqueConstraint("document", "task", "model_sha256"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("state", String, nullable=False),
    Column("source", JSON, nullable=False),
    Column("source_name", Text, nullable=False),
    Column("options", JSON, nullable=False),
    Column("planned", Integer, nullable=False),  # 1 once every shard is written down
    Column("n_rows", Number, nullable=False),
    Column("n_done", Number, nullable=False),
    Column("n_added", Number, nullable=False),
    Column("n_updated", Number, nullable=False),
    Column("n_unchanged", Number, nullable=False),
    Column("n_deleted", Number, nullable=False),
    Column("n_errors", Number, nullable=False),
    Column("seconds", Double, nullable=False),  # of work, over all workers
    Column("note", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("updated_at", Double, nullable=False),
    Column("finished_at", Double),
)

job_shards = Table(
    "job_shards",
    metadata,
    Column("job", Number, ForeignKey("jobs.number"), nullable=False),
    Column("shard", Number, nullable=False),
    Column("state", String, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("n_rows", Number, nullable=False),
    Column("n_done", Number, nullable=False),
    Column("worker", Text),
    Column("leased_until", Double),
    PrimaryKeyConstraint("job", "shard"),
    Index("job_shards_by_state", "job", "state", "shard"),
)

job_errors = Table(
    "job_errors",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("job", Number, ForeignKey("jobs.number"), nullable=False),
    Column("shard", Number, nullable=False),
    Column("document_id", Text),
    Column("place", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_at", Double, nullable=False),
    Index("job_errors_by_job", "job", "shard"),
)

job_seen = Table(
    "job_seen",
    metadata,
    Column("job", Number, nullable=False),
    Column("document_id", Text, nullable=False),
    PrimaryKeyConstraint("job", "document_id"),
)
