"""What each API process counts for each key, so that limits hold for all of them together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, delete, func, select

from tracking.store.account_rows import key_counts
from tracking.store.database import insert_into

STALE_S = 30.0
"""Requests and streams of a process that has not written for this long are ignored: it has ended."""


@dataclass(frozen=True)
class Windows:
    """The current windows of time, as their numbers since 1970."""

    requests: int
    uploads: int


@dataclass(frozen=True)
class KeyCount:
    """The counts of one key."""

    key_id: str
    window: int
    """Window of the requests."""
    num_requests: int
    num_streams: int
    """Live streams that are open."""
    upload_window: int = 0
    """Window of the uploads."""
    num_upload_bytes: int = 0


FIELDS = ("window", "num_requests", "num_streams", "upload_window", "num_upload_bytes")


class KeyCountRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, process: str, counts: Sequence[KeyCount], *, windows: Windows, now: float) -> None:
        """Replace the counts of a process, and remove those that no longer count. `now`: seconds since 1970."""
        # Bytes that a process received count until the end of their window, also when it has ended.
        is_over = (key_counts.c.at < now - STALE_S) & (key_counts.c.upload_window < windows.uploads)
        self._connection.execute(delete(key_counts).where(is_over))
        if not counts:
            return
        insert = insert_into(self._connection, key_counts)
        changed = {name: insert.excluded[name] for name in (*FIELDS, "at")}
        keys = [key_counts.c.process, key_counts.c.key_id]
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=keys, set_=changed),
            [{**vars(count), "process": process, "at": now} for count in counts],
        )

    def of_others(self, process: str, keys: Collection[str], *, windows: Windows, now: float) -> dict[str, KeyCount]:
        """The sums of the other processes in the current windows, by key."""
        table = key_counts.c
        is_alive = table.at >= now - STALE_S
        requests = case((is_alive & (table.window == windows.requests), table.num_requests), else_=0)
        streams = case((is_alive, table.num_streams), else_=0)
        uploaded = case((table.upload_window == windows.uploads, table.num_upload_bytes), else_=0)
        statement = (
            select(table.key_id, func.sum(requests), func.sum(streams), func.sum(uploaded))
            .where(table.process != process, table.key_id.in_(keys))
            .group_by(table.key_id)
        )
        return {
            key: KeyCount(key, windows.requests, int(requests), int(streams), windows.uploads, int(uploaded))
            for key, requests, streams, uploaded in self._connection.execute(statement)
        }
