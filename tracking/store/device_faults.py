"""Failures of jobs that were the fault of a GPU, and the GPUs that were taken out because of them.

A GPU is known by the name of its machine and its number there: Ray gives a machine another id whenever it joins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, ColumnElement, Connection, Index, Integer, String, Table, delete, select

from tracking.store.column_types import CleanText, UtcDateTime
from tracking.store.database import insert_into
from tracking.store.records import JobRef
from tracking.store.rows import columns_of, metadata

device_faults = Table(
    "device_faults",
    metadata,
    # No foreign key: what a GPU did stays when the job is deleted.
    Column("job_id", String, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("node", String, nullable=False),
    Column("gpu", Integer, nullable=False),
    Column("message", CleanText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)
Index("ix_device_faults_device", device_faults.c.node, device_faults.c.gpu, device_faults.c.at)

gpus_out = Table(
    "gpus_out",
    metadata,
    Column("node", String, primary_key=True),
    Column("gpu", Integer, primary_key=True, autoincrement=False),
    Column("since", UtcDateTime, nullable=False),
    Column("reason", CleanText, nullable=False),
)


@dataclass(frozen=True)
class DeviceFault:
    """A failure of an attempt that its GPU caused."""

    node: str
    """Name of the machine."""
    gpu: int
    message: str
    at: datetime


@dataclass(frozen=True)
class GpuOut:
    """A GPU that no run gets until somebody restores it."""

    node: str
    gpu: int
    since: datetime
    reason: str


OUT_COLUMNS = columns_of(gpus_out, GpuOut)


class DeviceFaultRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, ref: JobRef, fault: DeviceFault) -> None:
        """Record the fault of an attempt, once."""
        insert = insert_into(self._connection, device_faults)
        values = {"job_id": ref.id, "attempt": ref.attempt, **vars(fault)}
        self._connection.execute(insert.values(values).on_conflict_do_nothing())

    def jobs_of(self, node: str, gpu: int, *, since: datetime) -> Sequence[str]:
        """The jobs that failed on a GPU, each once."""
        statement = select(device_faults.c.job_id).distinct().order_by(device_faults.c.job_id)
        conditions = (*_is(device_faults, node, gpu), device_faults.c.at >= since)
        return self._connection.execute(statement.where(*conditions)).scalars().all()

    def forget_before(self, at: datetime) -> None:
        """Delete older faults."""
        self._connection.execute(delete(device_faults).where(device_faults.c.at < at))

    def out(self) -> list[GpuOut]:
        """The GPUs that are taken out, by machine and number."""
        statement = select(*OUT_COLUMNS).order_by(gpus_out.c.node, gpus_out.c.gpu)
        return [GpuOut(*row) for row in self._connection.execute(statement)]

    def take_out(self, found: GpuOut) -> bool:
        """Take a GPU out. Returns False when it is out already."""
        insert = insert_into(self._connection, gpus_out).values(vars(found))
        return self._connection.execute(insert.on_conflict_do_nothing()).rowcount == 1

    def restore(self, node: str, gpu: int) -> bool:
        """Give a GPU to runs again, and forget its faults. Returns False when it was not out."""
        restored = self._connection.execute(delete(gpus_out).where(*_is(gpus_out, node, gpu)))
        self._connection.execute(delete(device_faults).where(*_is(device_faults, node, gpu)))
        return restored.rowcount == 1


def _is(table: Table, node: str, gpu: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.node == node, table.c.gpu == gpu
