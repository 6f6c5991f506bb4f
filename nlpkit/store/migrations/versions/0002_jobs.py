"""Jobs and predictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("number", Number, primary_key=True, autoincrement=True),
        sa.Column("document", Number, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("library", sa.Text, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.UniqueConstraint("document", "task", "model_sha256"),
    )
    op.create_table(
        "jobs",
        sa.Column("number", Number, primary_key=True, autoincrement=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("source", sa.JSON, nullable=False),
        sa.Column("source_name", sa.Text, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("planned", sa.Integer, nullable=False),
        sa.Column("n_rows", Number, nullable=False),
        sa.Column("n_done", Number, nullable=False),
        sa.Column("n_added", Number, nullable=False),
        sa.Column("n_updated", Number, nullable=False),
        sa.Column("n_unchanged", Number, nullable=False),
        sa.Column("n_deleted", Number, nullable=False),
        sa.Column("n_errors", Number, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
    )
    op.create_table(
        "job_shards",
        sa.Column("job", Number, sa.ForeignKey("jobs.number"), nullable=False),
        sa.Column("shard", Number, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("n_rows", Number, nullable=False),
        sa.Column("n_done", Number, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("leased_until", sa.Double),
        sa.PrimaryKeyConstraint("job", "shard"),
    )
    op.create_index("job_shards_by_state", "job_shards", ["job", "state", "shard"])
    op.create_table(
        "job_errors",
        sa.Column("number", Number, primary_key=True, autoincrement=True),
        sa.Column("job", Number, sa.ForeignKey("jobs.number"), nullable=False),
        sa.Column("shard", Number, nullable=False),
        sa.Column("document_id", sa.Text),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
    )
    op.create_index("job_errors_by_job", "job_errors", ["job", "shard"])
    op.create_table(
        "job_seen",
        sa.Column("job", Number, nullable=False),
        sa.Column("document_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job", "document_id"),
    )


def downgrade() -> None:
    raise NotImplementedError("an index is not taken back to an older version; build it anew")
