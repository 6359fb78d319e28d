"""Uploads that come in pieces."""

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
    """One that is complete is kept for a while, so that a client that asks again hears what became of it."""

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
            raise NotFoundError(f"No upload {upload_id!r}.", "upload_not_found", "upload_id")
        return UploadRecord(*row)

    def open_of(self, owner: str) -> UploadRecords:
        """The owner's uploads that are not complete, newest first."""
        statement = select(*COLUMNS).where(uploads.c.owner == owner, IS_OPEN)
        return self._records(statement.order_by(uploads.c.created_at.desc(), uploads.c.id))

    def open_bytes(self, owner: str) -> int:
        """What the owner's uploads that are not complete will take."""
        total = select(func.coalesce(func.sum(uploads.c.size_bytes), 0)).where(uploads.c.owner == owner, IS_OPEN)
        return int(self._connection.execute(total).scalar_one())

    def restart(self, record: UploadRecord) -> None:
        """Keep a new name and new options of an upload that is begun again; what has come so far stays."""
        values = {"filename": record.filename, "options": record.options, "updated_at": record.updated_at}
        self._connection.execute(update(uploads).where(uploads.c.id == record.id, IS_OPEN).values(**values))

    def advance(self, upload_id: str, *, start: int, stop: int, now: datetime) -> bool:
        """Say that the bytes from `start` to `stop` are safe; False when the next piece does not begin at `start`."""
        changed = self._connection.execute(
            update(uploads)
            .where(uploads.c.id == upload_id, uploads.c.received_bytes == start, IS_OPEN)
            .values(received_bytes=stop, updated_at=now)
        )
        return changed.rowcount == 1

    def complete(self, upload_id: str, dataset_id: str, *, now: datetime) -> bool:
        """Say which dataset it became; False when it is complete, or gone, already."""
        changed = self._connection.execute(
            update(uploads).where(uploads.c.id == upload_id, IS_OPEN).values(dataset_id=dataset_id, updated_at=now)
        )
        return changed.rowcount == 1

    def remove(self, upload_id: str, *, untouched_since: datetime | None = None) -> bool:
        """Remove it, if nothing has changed it since; False when that is not so, or it is gone."""
        conditions: list[ColumnElement[bool]] = [uploads.c.id == upload_id]
        if untouched_since is not None:
            conditions.append(uploads.c.updated_at <= untouched_since)
        return self._connection.execute(delete(uploads).where(*conditions)).rowcount == 1

    def untouched_since(self, instant: datetime) -> list[str]:
        """Ids of uploads, complete or not, that nothing has changed since."""
        return list(self._connection.execute(select(uploads.c.id).where(uploads.c.updated_at <= instant)).scalars())

    def _records(self, statement: Select[Any]) -> UploadRecords:
        return [UploadRecord(*row) for row in self._connection.execute(statement)]
