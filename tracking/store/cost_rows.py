"""The table of what attempts held and cost. Rows are added once, and neither changed nor deleted."""

from sqlalchemy import JSON, Column, Index, Integer, String, Table

from tracking.store.column_types import DecimalText, UtcDateTime
from tracking.store.rows import metadata, sequence

cost_records = Table(
    "cost_records",
    metadata,
    sequence("seq"),
    Column("owner", String, nullable=False),
    # No foreign key: what was spent stays when the job is deleted.
    Column("job_id", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("job_name", String, nullable=False),
    Column("model", String, nullable=False),
    Column("held_from", UtcDateTime, nullable=False),
    Column("held_until", UtcDateTime, nullable=False),
    # A list of documents of `DeviceCost`.
    Column("devices", JSON, nullable=False),
    # A document of `EnergyCost`.
    Column("energy", JSON(none_as_null=True)),
    Column("amount", DecimalText),
    Column("currency", String),
)
Index("ix_cost_records_attempt", cost_records.c.job_id, cost_records.c.attempt, unique=True)
Index("ix_cost_records_owner", cost_records.c.owner, cost_records.c.held_until)
