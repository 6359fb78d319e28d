"""The table of telemetry: packed points of machines (without a job), and of what the attempts of jobs had of them."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from tracking.store.rows import metadata

telemetry = Table(
    "telemetry",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    # The name of the machine: Ray gives it another id whenever it joins.
    Column("node", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("interval_s", Integer, primary_key=True, autoincrement=False),
    # When its first point was taken, in milliseconds since the epoch.
    Column("begin_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
Index("ix_telemetry_age", telemetry.c.interval_s, telemetry.c.begin_ms)
