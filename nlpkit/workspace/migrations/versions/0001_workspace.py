"""A workspace's tables as they first were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "state",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("generation", Number, nullable=False),
        sa.Column("model", sa.JSON, nullable=False),
    )
    op.create_table(
        "uploads",
        sa.Column("number", Number, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("suffix", sa.String(16), nullable=False),
        sa.Column("n_bytes", Number, nullable=False),
        sa.Column("uploaded_at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("uploads_by_owner", "uploads", ["owner"])
    op.create_table(
        "work",
        sa.Column("number", Number, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("result", sa.JSON, nullable=False),
        sa.Column("n_rows", Number),
        sa.Column("n_done", Number, nullable=False),
        sa.Column("n_errors", Number, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sqlite_autoincrement=True,
    )
    op.create_index("work_by_state", "work", ["state"])
    op.create_index("work_by_owner", "work", ["owner", "kind"])
    op.create_table(
        "work_parts",
        sa.Column("work", Number, nullable=False),
        sa.Column("part", Number, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("first_row", Number, nullable=False),
        sa.Column("n_rows", Number, nullable=False),
        sa.Column("n_done", Number, nullable=False),
        sa.PrimaryKeyConstraint("work", "part"),
    )
    op.create_table(
        "work_errors",
        sa.Column("number", Number, primary_key=True, autoincrement=True),
        sa.Column("work", Number, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("work_errors_by_work", "work_errors", ["work", "number"])
    op.create_table(
        "batch_rows",
        sa.Column("batch", Number, nullable=False),
        sa.Column("row", Number, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("results", sa.Text, nullable=False),
        sa.Column("date", sa.String(10)),
        sa.Column("warning", sa.Text),
        sa.PrimaryKeyConstraint("batch", "row"),
    )
    op.create_index("batch_rows_by_date", "batch_rows", ["batch", "date"])
    warned = sa.text("warning IS NOT NULL")
    op.create_index(
        "batch_rows_warned", "batch_rows", ["batch"], sqlite_where=warned, postgresql_where=warned
    )
    op.create_table(
        "batch_labels",
        sa.Column("batch", Number, nullable=False),
        sa.Column("row", Number, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("given", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("batch", "row", "task", "rank"),
    )
    op.create_index(
        "batch_labels_by_label", "batch_labels", ["batch", "task", "label", "given", "row"]
    )
    op.create_table(
        "batch_entities",
        sa.Column("batch", Number, nullable=False),
        sa.Column("row", Number, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("batch", "row", "position"),
    )
    op.create_index("batch_entities_by_text", "batch_entities", ["batch", "label", "text", "row"])
    op.create_table(
        "indexes",
        sa.Column("number", Number, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("made_here", sa.Integer, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("owner", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "corrections",
        sa.Column("number", Number, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("text_sha256", sa.String(64), nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("model_value", sa.JSON),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("source", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("corrections_by_text", "corrections", ["owner", "task", "text_sha256", "by"])
    op.create_table(
        "features",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("text_sha256", sa.String(64), nullable=False),
        sa.Column("n_rows", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("model", "text_sha256"),
    )
    op.create_table(
        "workers",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("pid", Number, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("beat_at", sa.Double, nullable=False),
        sa.Column("work", Number),
        sa.Column("leaving", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("a workspace is not taken back to an older version")
