"""The tables of sweeps and their trials."""

from sqlalchemy import JSON, Boolean, Column, Double, Index, Integer, String, Table, literal_column, or_

from ftlab.schemas.sweeps import SweepStatus, TrialState
from ftlab.status import ReasonCode
from tracking.store.column_types import CleanText, EnumText, UtcDateTime
from tracking.store.rows import jobs, metadata, sequence

sweeps = Table(
    "sweeps",
    metadata,
    sequence("seq"),
    Column("id", String, nullable=False, unique=True),
    Column("owner", String, nullable=False),
    Column("name", String, nullable=False),
    # As it runs: with ids of datasets, and a value for each `auto`.
    Column("config", JSON, nullable=False),
    # Parameters whose ranges are of whole numbers.
    Column("whole", JSON, nullable=False),
    Column("rungs", JSON, nullable=False),
    Column("max_trials", Integer, nullable=False),
    Column("auto", JSON, nullable=False),
    # What the jobs of all trials start from; as in the table of jobs.
    Column("base_job_id", String),
    Column("model_revision", String),
    Column("status", EnumText(SweepStatus), nullable=False),
    Column("message", CleanText, nullable=False),
    # Whether the coordinator has nothing left to do for it.
    Column("is_settled", Boolean, nullable=False),
    Column("idempotency_key", String),
    Column("body_sha256", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    # Its run in MLflow, and the status that MLflow has of it.
    Column("mlflow_run_id", String),
    Column("mlflow_experiment_id", String),
    Column("mlflow_status", EnumText(SweepStatus)),
)
# A literal, so that both databases can prove that the partial index applies.
IS_AT_WORK = sweeps.c.is_settled == literal_column("false")
IS_BEHIND_MLFLOW = or_(sweeps.c.mlflow_status.is_(None), sweeps.c.mlflow_status != sweeps.c.status)
IS_TRIAL = jobs.c.sweep_id.is_not(None)
Index("ix_jobs_sweep", jobs.c.sweep_id, jobs.c.queue_seq, sqlite_where=IS_TRIAL, postgresql_where=IS_TRIAL)
Index("ix_sweeps_owner", sweeps.c.owner, sweeps.c.seq)
Index("ix_sweeps_key", sweeps.c.owner, sweeps.c.idempotency_key, unique=True)
Index("ix_sweeps_at_work", sweeps.c.seq, sqlite_where=IS_AT_WORK, postgresql_where=IS_AT_WORK)
Index("ix_sweeps_behind_mlflow", sweeps.c.seq, sqlite_where=IS_BEHIND_MLFLOW, postgresql_where=IS_BEHIND_MLFLOW)

sweep_trials = Table(
    "sweep_trials",
    metadata,
    Column("sweep_id", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    # No foreign key: the job of a trial that has ended may be deleted, and the search still needs its value.
    Column("job_id", String),
    Column("parameters", JSON, nullable=False),
    Column("state", EnumText(TrialState), nullable=False),
    Column("value", Double),
    # Its values at the rungs that it reached.
    Column("rung_values", JSON, nullable=False),
    # Number of rungs that it may pass.
    Column("rung", Integer, nullable=False),
    # Whether its job is paused because the sweep is.
    Column("is_held", Boolean, nullable=False),
    Column("reason", EnumText(ReasonCode)),
    Column("message", CleanText),
    Column("run_time_s", Double),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
)
