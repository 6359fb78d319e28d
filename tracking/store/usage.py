"""Use by owner: recent device time, which fair shares are based on, and what is held now."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from tracking.store.database import insert_into
from tracking.store.records import UsageRecord
from tracking.store.rows import HAS_FILES, IS_QUEUED, attempts, datasets, jobs, owner_usage

HALF_LIFE = timedelta(hours=24)
"""Half-life of device use: a night of training is forgotten within days."""


class UsageRepository:
    """Device use is one number for each owner, which decays with time:

        device_s(t) = device_s(t0) * 2 ** (-(t - t0) / HALF_LIFE)

    It is stored with its time t0, so adding to it is one small write and nothing has to run periodically.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, owner: str, device_s: float, *, now: datetime) -> None:
        """Add seconds of device use that ended now."""
        first = insert_into(self._connection, owner_usage).values(owner=owner, device_s=0.0, at=now)
        self._connection.execute(first.on_conflict_do_nothing())
        mine = owner_usage.c.owner == owner
        row = self._connection.execute(
            select(owner_usage.c.device_s, owner_usage.c.at).where(mine).with_for_update()
        ).one()
        at = max(row.at, now)
        total = _decayed(row.device_s, row.at, at) + _decayed(device_s, now, at)
        self._connection.execute(update(owner_usage).where(mine).values(device_s=total, at=at))

    def all(self, *, now: datetime) -> dict[str, float]:
        """Seconds of device use by owner, decayed to now; owners without any are left out."""
        rows = self._connection.execute(select(owner_usage.c.owner, owner_usage.c.device_s, owner_usage.c.at))
        return {row.owner: _decayed(row.device_s, row.at, now) for row in rows}

    def of(self, owner: str) -> UsageRecord:
        """The owner's current use of everything that a quota limits."""
        queued = select(func.count()).where(IS_QUEUED, jobs.c.owner == owner)
        gpus, cpus = self.running(owner)
        return UsageRecord(
            queued_jobs=self._connection.execute(queued).scalar_one(),
            running_gpus=gpus,
            running_cpus=cpus,
            disk_bytes=self.disk_bytes(owner),
            upload_bytes=self.upload_bytes(owner),
        )

    def running(self, owner: str) -> tuple[float, int]:
        """GPUs and CPU cores that the owner's live attempts hold."""
        # From the few live attempts to their jobs; a join would start from the owner's many jobs.
        owner_of_attempt = select(jobs.c.owner).where(jobs.c.id == attempts.c.job_id).scalar_subquery()
        row = self._connection.execute(
            select(
                func.coalesce(func.sum(attempts.c.gpus), 0.0).label("gpus"),
                func.coalesce(func.sum(attempts.c.cpus), 0).label("cpus"),
            ).where(attempts.c.ended_at.is_(None), owner_of_attempt == owner)
        ).one()
        return float(row.gpus), int(row.cpus)

    def upload_bytes(self, owner: str) -> int:
        """Bytes of the owner's datasets."""
        total = select(func.coalesce(func.sum(datasets.c.size_bytes), 0)).where(datasets.c.owner == owner)
        return int(self._connection.execute(total).scalar_one())

    def disk_bytes(self, owner: str) -> int:
        """Bytes of the owner's datasets and checkpoints. Models are hard links to their checkpoints."""
        total = select(func.coalesce(func.sum(jobs.c.disk_bytes), 0)).where(HAS_FILES, jobs.c.owner == owner)
        return self.upload_bytes(owner) + int(self._connection.execute(total).scalar_one())


def _decayed(device_s: float, at: datetime, now: datetime) -> float:
    """Device use decayed from `at` to `now`; a clock that was set back adds nothing."""
    return float(device_s * 0.5 ** (max(now - at, timedelta(0)) / HALF_LIFE))
