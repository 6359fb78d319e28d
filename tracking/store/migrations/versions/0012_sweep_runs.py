"""The run of a sweep in MLflow."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("mlflow_run_id", "mlflow_experiment_id", "mlflow_status"):
        op.add_column("sweeps", sa.Column(column, sa.String()))
    # MLflow has the runs of their trials, which are not below a run of the sweep: a new run would be empty.
    op.execute("UPDATE sweeps SET mlflow_status = status WHERE is_settled")
    is_behind = sa.text("mlflow_status IS NULL OR mlflow_status != status")
    op.create_index("ix_sweeps_behind_mlflow", "sweeps", ["seq"], sqlite_where=is_behind, postgresql_where=is_behind)


def downgrade() -> None:
    op.drop_index("ix_sweeps_behind_mlflow", "sweeps")
    for column in ("mlflow_status", "mlflow_experiment_id", "mlflow_run_id"):
        op.drop_column("sweeps", column)
