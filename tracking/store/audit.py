"""The audit log: who did what, when, and from where."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from tracking.store.account_rows import audit_entries
from tracking.store.paging import newest_first
from tracking.store.rows import columns_of


@dataclass(frozen=True)
class AuditRecord:
    """One request that could change something, after its reply, or one with a wrong key."""

    id: str
    at: datetime
    user: str
    key_id: str | None
    owner: str
    action: str
    path: str
    status: int
    address: str | None
    request_id: str | None


COLUMNS = columns_of(audit_entries, AuditRecord)

AuditRecords = list[AuditRecord]


class AuditRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, records: Sequence[AuditRecord]) -> None:
        if records:
            self._connection.execute(insert(audit_entries), [vars(record) for record in records])

    def remove_before(self, instant: datetime, *, limit: int) -> int:
        """Remove the oldest entries that are older, at most `limit` of them; return their number."""
        oldest = select(audit_entries.c.seq).order_by(audit_entries.c.seq).limit(limit)
        # Entries are added in the order of their times, give or take the second that they wait in a process.
        old = (audit_entries.c.seq.in_(oldest), audit_entries.c.at < instant)
        return self._connection.execute(delete(audit_entries).where(*old)).rowcount

    def list(self, *, user: str | None = None, after: str | None = None, limit: int = 20) -> AuditRecords:
        """One page, newest first. `after` is the id of the last entry of the page before."""
        statement = select(*COLUMNS)
        if user is not None:
            statement = statement.where(audit_entries.c.user == user)
        page = newest_first(
            self._connection, statement, audit_entries, audit_entries.c.seq, owner=None, after=after, limit=limit
        )
        return [AuditRecord(*row) for row in self._connection.execute(page)]
