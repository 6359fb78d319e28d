"""Users: the owners of records."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from ftlab.errors import ConflictError
from tracking.store.account_rows import users
from tracking.store.database import insert_into
from tracking.store.naming import not_found
from tracking.store.rows import columns_of


@dataclass(frozen=True)
class UserRecord:
    """One user."""

    name: str
    created_at: datetime
    disabled_at: datetime | None


COLUMNS = columns_of(users, UserRecord)

UserRecords = list[UserRecord]


class UserRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, name: str, *, now: datetime) -> UserRecord:
        """Raise `ConflictError` (code `user_exists`) when there is a user of this name."""
        if self.find(name) is not None:
            raise ConflictError(f"There is a user {name!r} already.", "user_exists", "name")
        self._connection.execute(insert(users), {"name": name, "created_at": now})
        return UserRecord(name, now, None)

    def ensure(self, name: str, *, now: datetime) -> None:
        """Add the user unless there is one of this name."""
        self._connection.execute(
            insert_into(self._connection, users).values(name=name, created_at=now).on_conflict_do_nothing()
        )

    def find(self, name: str) -> UserRecord | None:
        row = self._connection.execute(select(*COLUMNS).where(users.c.name == name)).one_or_none()
        return None if row is None else UserRecord(*row)

    def get(self, name: str) -> UserRecord:
        """Raise `NotFoundError` when there is no such user."""
        found = self.find(name)
        if found is None:
            raise not_found("user", name)
        return found

    def list(self) -> UserRecords:
        """All users, by name."""
        records = [UserRecord(*row) for row in self._connection.execute(select(*COLUMNS))]
        return sorted(records, key=lambda record: record.name)  # databases sort '-' and '_' differently

    def set_disabled(self, name: str, disabled_at: datetime | None) -> None:
        """Disable the user at this time; `None` enables them again."""
        self._connection.execute(update(users).where(users.c.name == name).values(disabled_at=disabled_at))
