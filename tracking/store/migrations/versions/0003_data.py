"""Canonical data, resumable uploads, claims of content, and the files of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_columns_to_datasets()
    op.create_index("ix_datasets_owner", "datasets", ["owner", "seq"])
    op.create_index("ix_datasets_content", "datasets", ["bucket", "sha256"])
    _create_uploads()
    _create_content_claims()
    _create_job_files()


def downgrade() -> None:
    for table in ("job_files", "content_claims", "uploads"):
        op.drop_table(table)
    for name in ("ix_datasets_content", "ix_datasets_owner"):
        op.drop_index(name, "datasets")
    for name in ("confidence", "column_mapping", "num_skipped", "canonical", "kind"):
        op.drop_column("datasets", name)


def _add_columns_to_datasets() -> None:
    op.add_column("datasets", sa.Column("kind", sa.String(), server_default=sa.text("'messages'"), nullable=False))
    op.add_column("datasets", sa.Column("canonical", sa.String(), server_default=sa.text("''"), nullable=False))
    op.add_column("datasets", sa.Column("num_skipped", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("datasets", sa.Column("column_mapping", sa.JSON(), nullable=True))
    op.add_column("datasets", sa.Column("confidence", sa.Double(), server_default=sa.text("1"), nullable=False))


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("bucket", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("received_bytes", sa.BigInteger(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("dataset_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index("ix_uploads_owner", "uploads", ["owner"])


def _create_content_claims() -> None:
    op.create_table(
        "content_claims",
        sa.Column("bucket", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "sha256", name=op.f("pk_content_claims")),
    )


def _create_job_files() -> None:
    op.create_table(
        "job_files",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_files_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", "position", name=op.f("pk_job_files")),
    )
    op.create_index("ix_job_files_dataset", "job_files", ["dataset_id"])
