"""Quotas of owners, which override the defaults of the settings."""

from dataclasses import fields
from decimal import Decimal
from typing import TypedDict, Unpack

from sqlalchemy import Connection, bindparam, func, select

from ftlab.settings import Settings
from tracking.store.database import insert_into
from tracking.store.records import QuotaRecord
from tracking.store.rows import columns_of, quotas

COLUMNS = columns_of(quotas, QuotaRecord)
_GET = select(*COLUMNS).where(quotas.c.owner == bindparam("of"))
"""Built once: every submission runs it."""
LOCK_SEED = 3
"""Separates the owners' locks from other advisory locks in the same database."""


class QuotaFields(TypedDict, total=False):
    """The fields of a quota; `None` restores the default."""

    max_queued_jobs: int | None
    max_running_gpus: float | None
    max_running_cpus: int | None
    max_disk_bytes: int | None
    max_upload_bytes: int | None
    weight: float | None
    max_monthly_cost: Decimal | None


class QuotaRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, owner: str) -> QuotaRecord:
        """The quota set for this owner; fields that were not set are `None`."""
        row = self._connection.execute(_GET, {"of": owner}).one_or_none()
        return QuotaRecord(owner) if row is None else QuotaRecord(*row)

    def lock(self, owner: str) -> QuotaRecord:
        """Get the quota and lock the owner until the transaction ends.

        A second caller waits, so that what is counted afterwards and compared with a limit does not grow meanwhile.
        """
        if self._connection.dialect.name == "sqlite":
            return self.get(owner)  # write transactions are serial
        gate = func.pg_advisory_xact_lock(func.hashtextextended(owner, LOCK_SEED)).alias("gate")
        statement = select(*COLUMNS).select_from(gate.outerjoin(quotas, quotas.c.owner == owner))
        row = self._connection.execute(statement).one()
        return QuotaRecord(owner) if row.owner is None else QuotaRecord(*row)

    def all(self) -> dict[str, QuotaRecord]:
        """All quotas by owner; owners without one are left out."""
        rows = self._connection.execute(select(*COLUMNS))
        return {row.owner: QuotaRecord(*row) for row in rows}

    def set(self, owner: str, **changes: Unpack[QuotaFields]) -> QuotaRecord:
        """Change the given fields. Returns the whole quota."""
        if changes:
            insert = insert_into(self._connection, quotas).values(owner=owner, **changes)
            self._connection.execute(insert.on_conflict_do_update(index_elements=[quotas.c.owner], set_=dict(changes)))
        return self.get(owner)


def default_quota(settings: Settings, owner: str) -> QuotaRecord:
    """The quota of an owner without one; `None` means no limit."""
    return QuotaRecord(
        owner,
        max_queued_jobs=settings.quota_queued_jobs,
        max_running_gpus=settings.quota_running_gpus,
        max_running_cpus=settings.quota_running_cpus,
        max_disk_bytes=settings.quota_disk_bytes,
        max_upload_bytes=settings.quota_upload_bytes,
        weight=1.0,
        max_monthly_cost=settings.quota_monthly_cost,
    )


def effective_quota(quota: QuotaRecord, settings: Settings) -> QuotaRecord:
    """The quota with defaults filled in; `None` means no limit."""
    default = default_quota(settings, quota.owner)
    values = {field.name: getattr(quota, field.name) for field in fields(quota)}
    return QuotaRecord(**{name: getattr(default, name) if value is None else value for name, value in values.items()})
