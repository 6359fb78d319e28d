"""What each API process counts for each key, so that limits hold for all of them together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, delete, func, select

from tracking.store.account_rows import key_counts
from tracking.store.database import insert_into

STALE_S = 30.0
"""Counts of a process that has not written for this long are ignored: it has ended."""


@dataclass(frozen=True)
class KeyCount:
    """The counts of one key."""

    key_id: str
    window: int
    """Number of the minute since 1970."""
    num_requests: int
    """Requests in this minute."""
    num_streams: int
    """Live streams that are open."""


class KeyCountRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, process: str, counts: Sequence[KeyCount], *, now: float) -> None:
        """Replace the counts of a process, and remove those of processes that have ended. `now`: seconds since 1970."""
        self._connection.execute(delete(key_counts).where(key_counts.c.at < now - STALE_S))
        if not counts:
            return
        insert = insert_into(self._connection, key_counts)
        changed = {name: insert.excluded[name] for name in ("window", "num_requests", "num_streams", "at")}
        keys = [key_counts.c.process, key_counts.c.key_id]
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=keys, set_=changed),
            [{**vars(count), "process": process, "at": now} for count in counts],
        )

    def of_others(self, process: str, keys: Collection[str], *, window: int, now: float) -> dict[str, KeyCount]:
        """The sums of the other processes in this minute, by key."""
        in_window = case((key_counts.c.window == window, key_counts.c.num_requests), else_=0)
        statement = (
            select(key_counts.c.key_id, func.sum(in_window), func.sum(key_counts.c.num_streams))
            .where(key_counts.c.process != process, key_counts.c.key_id.in_(keys), key_counts.c.at >= now - STALE_S)
            .group_by(key_counts.c.key_id)
        )
        return {
            row[0]: KeyCount(row[0], window, int(row[1]), int(row[2])) for row in self._connection.execute(statement)
        }
