"""Uploads in pieces."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, select, update

from ftlab.errors import NotFoundError
from tracking.store.records import UploadRecord
from tracking.store.rows import columns_of, uploads

COLUMNS = columns_of(uploads, UploadRecord)
IS_OPEN = uploads.c.dataset_id.is_(None)

UploadRecords = list[UploadRecord]


class UploadRepository:
    """A complete upload is kept for a while, so that a client that retries gets its dataset."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, record: UploadRecord) -> None:
        self._connection.execute(insert(uploads), vars(record))

    def get(self, upload_id: str, *, owner: str) -> UploadRecord:
        """Raise `NotFoundError` when there is no such upload, or it is another owner's."""
        row = self._connection.execute(
            select(*COLUMNS).where(uploads.c.id == upload_id, uploads.c.owner == owner)
        ).one_or_none()
        if row is None:
            raise NotFoundError(f"There is no upload {upload_id!r}.", "upload_not_found", "upload_id")
        return UploadRecord(*row)

    def open_of(self, owner: str) -> UploadRecords:
        """The owner's incomplete uploads, newest first."""
        statement = select(*COLUMNS).where(uploads.c.owner == owner, IS_OPEN)
        return self._records(statement.order_by(uploads.c.created_at.desc(), uploads.c.id))

    def open_bytes(self, owner: str) -> int:
        """The declared size of the owner's incomplete uploads."""
        total = select(func.coalesce(func.sum(uploads.c.size_bytes), 0)).where(uploads.c.owner == owner, IS_OPEN)
        return int(self._connection.execute(total).scalar_one())

    def restart(self, record: UploadRecord) -> None:
        """Store the new name and options of a restarted upload; received bytes stay."""
        values = {"filename": record.filename, "options": record.options, "updated_at": record.updated_at}
        self._connection.execute(update(uploads).where(uploads.c.id == record.id, IS_OPEN).values(**values))

    def advance(self, upload_id: str, *, start: int, stop: int, now: datetime) -> bool:
        """Record that the bytes from `start` to `stop` are durable; False when `start` is not the current end."""
        changed = self._connection.execute(
            update(uploads)
            .where(uploads.c.id == upload_id, uploads.c.received_bytes == start, IS_OPEN)
            .values(received_bytes=stop, updated_at=now)
        )
        return changed.rowcount == 1

    def complete(self, upload_id: str, dataset_id: str, *, now: datetime) -> bool:
        """Record the dataset that was made of it; False when it is complete already, or removed."""
        changed = self._connection.execute(
            update(uploads).where(uploads.c.id == upload_id, IS_OPEN).values(dataset_id=dataset_id, updated_at=now)
        )
        return changed.rowcount == 1

    def remove(self, upload_id: str, *, untouched_since: datetime | None = None) -> bool:
        """Remove an upload, unless it changed after `untouched_since`; False when nothing was removed."""
        conditions: list[ColumnElement[bool]] = [uploads.c.id == upload_id]
        if untouched_since is not None:
            conditions.append(uploads.c.updated_at <= untouched_since)
        return self._connection.execute(delete(uploads).where(*conditions)).rowcount == 1

    def untouched_since(self, instant: datetime) -> list[str]:
        """Ids of uploads, complete or not, that have not changed since `instant`."""
        return list(self._connection.execute(select(uploads.c.id).where(uploads.c.updated_at <= instant)).scalars())

    def _records(self, statement: Select[Any]) -> UploadRecords:
        return [UploadRecord(*row) for row in self._connection.execute(statement)]
