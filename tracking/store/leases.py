"""Leases: the exclusive right to schedule. The epoch grows with every change of holder and fences earlier holders."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, case, select, update

from tracking.store.database import insert_into
from tracking.store.errors import StaleJobError
from tracking.store.records import Lease
from tracking.store.rows import columns_of, leases

COORDINATOR = "coordinator"
COLUMNS = columns_of(leases, Lease)
_CURRENT = select(*COLUMNS).where(leases.c.name == bindparam("lease"))
"""Built once: every submission and every tick runs it."""


class LeaseRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def acquire(self, name: str, holder: str, *, ttl_s: float, now: datetime) -> Lease:
        """Take a lease, also from a holder whose lease has not expired: that one has an old epoch from now on.

        `holder` must be unique to one process: the same holder keeps its epoch.
        """
        insert = insert_into(self._connection, leases).values(
            name=name, holder=holder, epoch=1, expires_at=now + timedelta(seconds=ttl_s)
        )
        row = self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=[leases.c.name],
                set_={
                    "holder": holder,
                    "epoch": case((leases.c.holder == holder, leases.c.epoch), else_=leases.c.epoch + 1),
                    "expires_at": insert.excluded.expires_at,
                },
            ).returning(*COLUMNS)
        ).one()
        return Lease(*row)

    def renew(self, lease: Lease, *, ttl_s: float, now: datetime) -> Lease:
        """Extend the lease to `ttl_s` from now. Raises `StaleJobError` when it has a newer epoch."""
        row = self._connection.execute(
            update(leases)
            .where(leases.c.name == lease.name, leases.c.epoch == lease.epoch)
            .values(expires_at=now + timedelta(seconds=ttl_s))
            .returning(*COLUMNS)
        ).one_or_none()
        if row is None:
            raise StaleJobError(f"The lease {lease.name!r} has a new holder.")
        return Lease(*row)

    def current(self, name: str) -> Lease | None:
        row = self._connection.execute(_CURRENT, {"lease": name}).one_or_none()
        return None if row is None else Lease(*row)
