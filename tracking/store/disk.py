"""What the records of an owner take up on the disk."""

from typing import Any

from sqlalchemy import Connection, Select, func, select

from ftlab.status import JobKind
from tracking.store.rows import HAS_FILES, checkpoints, datasets, jobs, models

NumAndBytes = tuple[int, int]


class DiskRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def datasets(self, owner: str | None = None) -> dict[str, NumAndBytes]:
        """Number and bytes of the datasets of an owner, or of all owners, by owner; those without any are left out."""
        found = select(datasets.c.owner, func.count(), func.sum(datasets.c.size_bytes)).group_by(datasets.c.owner)
        return self._by_owner(found if owner is None else found.where(datasets.c.owner == owner))

    def checkpoints(self, owner: str | None = None) -> dict[str, NumAndBytes]:
        """The same of checkpoints, including those that are being deleted."""
        found = (
            select(jobs.c.owner, func.count(), func.sum(checkpoints.c.size_bytes))
            .join_from(checkpoints, jobs, checkpoints.c.job_id == jobs.c.id)
            .group_by(jobs.c.owner)
        )
        return self._by_owner(found if owner is None else found.where(jobs.c.owner == owner))

    def _by_owner(self, found: Select[Any]) -> dict[str, NumAndBytes]:
        return {owner: (int(number), int(size)) for owner, number, size in self._connection.execute(found)}

    def models(self, owner: str | None = None) -> list[tuple[str, str, str]]:
        """Owner, job and folder of the tuned models of an owner, or of all owners."""
        found = select(models.c.owner, models.c.job_id, models.c.path)
        if owner is not None:
            found = found.where(models.c.owner == owner)
        return [(row[0], row[1], row[2]) for row in self._connection.execute(found)]

    def exports(self, owner: str | None = None) -> list[tuple[str, str]]:
        """Owner and id of the exports of an owner, or of all owners."""
        found = select(jobs.c.owner, jobs.c.id).where(jobs.c.kind == JobKind.EXPORT)
        if owner is not None:
            found = found.where(jobs.c.owner == owner)
        return [(row[0], row[1]) for row in self._connection.execute(found)]

    def largest_jobs(self, owner: str, limit: int) -> list[tuple[str, str, int, int]]:
        """Id, name, number of checkpoints and their bytes of the owner's largest jobs, the largest first."""
        number = select(func.count()).where(checkpoints.c.job_id == jobs.c.id).scalar_subquery()
        found = (
            select(jobs.c.id, jobs.c.name, number, jobs.c.disk_bytes)
            .where(HAS_FILES, jobs.c.owner == owner)
            .order_by(jobs.c.disk_bytes.desc(), jobs.c.id)
            .limit(limit)
        )
        return [(row[0], row[1], row[2], row[3]) for row in self._connection.execute(found)]
