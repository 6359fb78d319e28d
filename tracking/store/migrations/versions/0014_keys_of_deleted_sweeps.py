"""Idempotency keys of deleted sweeps, which were among those of jobs with a tab before them.

A downgrade drops them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deleted_records", sa.Column("idempotency_key", sa.String()))
    deleted = sa.table("deleted_records", sa.column("id"), sa.column("kind"), sa.column("idempotency_key"))
    keys = sa.table("idempotency_keys", sa.column("job_id"), sa.column("key"))
    is_of_sweep = keys.c.key.startswith("\t")
    key = sa.select(sa.func.substr(keys.c.key, 2)).where(keys.c.job_id == deleted.c.id, is_of_sweep)
    op.execute(sa.update(deleted).where(deleted.c.kind == "sweeps").values(idempotency_key=key.scalar_subquery()))
    op.execute(sa.delete(keys).where(is_of_sweep))
    has_key = sa.text("idempotency_key IS NOT NULL")
    op.create_index(
        "ix_deleted_records_key",
        "deleted_records",
        ["owner", "idempotency_key"],
        sqlite_where=has_key,
        postgresql_where=has_key,
    )


def downgrade() -> None:
    op.drop_index("ix_deleted_records_key", "deleted_records")
    op.drop_column("deleted_records", "idempotency_key")
