"""Engines: which job answers for a base model, of one owner or of all, and where the process of its attempt listens."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Index, Integer, Select, String, Table, select, update

from tracking.store.database import insert_into
from tracking.store.errors import StaleJobError
from tracking.store.records import JobRef
from tracking.store.rows import columns_of, jobs, metadata

engines = Table(
    "engines",
    metadata,
    Column("owner", String, primary_key=True),
    # A digest of the base model and of how it is loaded.
    Column("key", String, primary_key=True),
    # No foreign key: an engine that has ended may be deleted.
    Column("job_id", String, nullable=False),
    # The attempt that listens at the address.
    Column("attempt", Integer),
    Column("address", String),
    Column("token", String),
)
Index("ix_engines_job", engines.c.job_id)


@dataclass(frozen=True)
class EngineRecord:
    """The engine of one base model."""

    owner: str
    key: str
    job_id: str
    attempt: int | None = None
    address: str | None = None
    token: str | None = None
    """What the process expects of its callers."""


COLUMNS = columns_of(engines, EngineRecord)


class EngineRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, owner: str, key: str) -> EngineRecord | None:
        """The newest engine of a key, which may have ended."""
        row = self._connection.execute(_of(owner, key)).one_or_none()
        return None if row is None else EngineRecord(*row)

    def of_owner(self, owner: str) -> list[EngineRecord]:
        """The newest engine of each key whose job is the owner's, also those that all owners share."""
        own = select(*COLUMNS).join(jobs, jobs.c.id == engines.c.job_id).where(jobs.c.owner == owner)
        rows = self._connection.execute(own.order_by(engines.c.key))
        return [EngineRecord(*row) for row in rows]

    def lock(self, owner: str, key: str) -> EngineRecord | None:
        """The engine of a key, locked until the transaction ends; `None` for a key that is new.

        Only one of several processes gets past here at a time, also for a new key.
        """
        values = {"owner": owner, "key": key, "job_id": ""}
        self._connection.execute(insert_into(self._connection, engines).values(values).on_conflict_do_nothing())
        row = self._connection.execute(_of(owner, key).with_for_update()).one()
        record = EngineRecord(*row)
        return record if record.job_id else None

    def set_job(self, owner: str, key: str, job_id: str) -> None:
        """Let another job answer for a key that is locked."""
        self._connection.execute(
            update(engines)
            .where(engines.c.owner == owner, engines.c.key == key)
            .values(job_id=job_id, attempt=None, address=None, token=None)
        )

    def set_address(self, ref: JobRef, address: str, token: str) -> None:
        """Record where an attempt listens. Raises `StaleJobError` when another job answers for its key by now."""
        changed = self._connection.execute(
            update(engines).where(engines.c.job_id == ref.id).values(attempt=ref.attempt, address=address, token=token)
        )
        if not changed.rowcount:
            raise StaleJobError(f"Job {ref.id!r} is not the engine of its model any more.")


def _of(owner: str, key: str) -> Select[Any]:
    return select(*COLUMNS).where(engines.c.owner == owner, engines.c.key == key)
