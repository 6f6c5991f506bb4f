"""Documents, chunks, segments and the words of chunks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PlainText = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "state",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("generation", Number, nullable=False),
        sa.Column("next_document", Number, nullable=False),
        sa.Column("next_chunk", Number, nullable=False),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("number", Number, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("meta", sa.Text, nullable=False),
        sa.Column("text_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("meta_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("n_chunks", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )
    op.create_index("documents_by_source", "documents", ["source"])
    op.create_table(
        "copies",
        sa.Column("document", Number, primary_key=True, autoincrement=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "fields",
        sa.Column("document", Number, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("text", PlainText),
        sa.Column("number", sa.Double),
        sa.PrimaryKeyConstraint("document", "name"),
    )
    op.create_index("fields_by_text", "fields", ["name", "text", "document"])
    op.create_index("fields_by_number", "fields", ["name", "number", "document"])
    op.create_table(
        "chunks",
        sa.Column("number", Number, primary_key=True, autoincrement=False),
        sa.Column("document", Number, nullable=False),
        sa.Column("start", Number, nullable=False),
        sa.Column("end", Number, nullable=False),
    )
    op.create_index("chunks_by_document", "chunks", ["document"])
    op.create_table(
        "segments",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("n_rows", Number, nullable=False),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("recall", sa.Double),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("generation", Number, nullable=False),
    )
    op.create_table(
        "tombstones",
        sa.Column("chunk", Number, primary_key=True, autoincrement=False),
        sa.Column("generation", Number, nullable=False),
    )
    op.create_index("tombstones_by_generation", "tombstones", ["generation"])
    if op.get_context().dialect.name == "sqlite":
        # No content of its own: the text stays in documents, the offsets in chunks.
        op.execute(
            "CREATE VIRTUAL TABLE chunk_words USING fts5"
            "(text, content='', tokenize='porter unicode61 remove_diacritics 2')"
        )
    else:
        op.execute("CREATE TABLE chunk_words (chunk BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)")
        op.execute("CREATE INDEX chunk_words_by_word ON chunk_words USING gin (words)")


def downgrade() -> None:
    raise NotImplementedError("an index is not taken back to an older version; build it anew")
