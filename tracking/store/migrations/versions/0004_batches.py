"""Where a job is in its files, and one model for each time that it completes."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("file", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("file_progress", sa.Double(), nullable=True))
    with op.batch_alter_table("models") as batch:
        batch.drop_constraint("uq_models_job_id", type_="unique")
    op.create_index("ix_models_job", "models", ["job_id", "seq"])


def downgrade() -> None:
    op.drop_index("ix_models_job", "models")
    # The newest model of a job is the one that the older release knows.
    op.execute("DELETE FROM models WHERE seq NOT IN (SELECT max(seq) FROM models GROUP BY job_id)")
    with op.batch_alter_table("models") as batch:
        batch.create_unique_constraint("uq_models_job_id", ["job_id"])
    for name in ("file_progress", "file"):
        op.drop_column("jobs", name)
