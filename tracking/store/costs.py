"""Records of what attempts held and cost. There is no way to change one."""

from collections.abc import Collection, Iterator
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, Select, insert, select

from ftlab.schemas.costs import CostRecord
from tracking.store.cost_rows import cost_records

COLUMNS = [cost_records.c[name] for name in CostRecord.model_fields]
BATCH = 1000


class CostRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, record: CostRecord) -> None:
        """Add the record of an attempt that has ended."""
        document = record.model_dump(exclude={"devices", "energy"})
        parts = record.model_dump(mode="json", include={"devices", "energy"})
        self._connection.execute(insert(cost_records), document | parts)

    def of_jobs(self, job_ids: Collection[str]) -> dict[str, list[CostRecord]]:
        """Records by job, first attempt first; jobs without one are left out."""
        found: dict[str, list[CostRecord]] = {}
        ids = cost_records.c.job_id.in_(job_ids)
        for record in self._read(select(*COLUMNS).where(ids).order_by(cost_records.c.attempt)):
            found.setdefault(record.job_id, []).append(record)
        return found

    def of_period(self, *, owner: str, since: datetime | None, until: datetime | None) -> Iterator[CostRecord]:
        """Records of attempts that ended from `since` on and before `until`, oldest first."""
        conditions = [cost_records.c.owner == owner]
        if since is not None:
            conditions.append(cost_records.c.held_until >= since)
        if until is not None:
            conditions.append(cost_records.c.held_until < until)
        return self._read(select(*COLUMNS).where(*conditions).order_by(cost_records.c.held_until, cost_records.c.seq))

    def amounts(self, *, owner: str, since: datetime, currency: str) -> list[Decimal]:
        """What the owner's attempts cost that ended from `since` on, in one currency."""
        conditions = (
            cost_records.c.owner == owner,
            cost_records.c.held_until >= since,
            cost_records.c.currency == currency,
            cost_records.c.amount.is_not(None),
        )
        return list(self._connection.execute(select(cost_records.c.amount).where(*conditions)).scalars())

    def _read(self, statement: Select[tuple[object, ...]]) -> Iterator[CostRecord]:
        rows = self._connection.execute(statement.execution_options(yield_per=BATCH))
        return (CostRecord.model_validate(row._asdict()) for row in rows)
