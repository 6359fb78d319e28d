"""Channels, and the deliveries that are due on them, which are the outbox."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from ftlab.schemas.notifications import ChannelType, NotificationKind, WebhookFormat
from tracking.store.database import insert_into
from tracking.store.naming import not_found
from tracking.store.notification_rows import channels, deliveries
from tracking.store.notifications import NotificationRecord
from tracking.store.rows import columns_of


@dataclass(frozen=True)
class ChannelRecord:
    """A channel, with its secrets: they are for the process that delivers."""

    owner: str
    name: str
    type: ChannelType
    url: str = field(repr=False)
    secret: str | None = field(repr=False)
    kinds: list[NotificationKind]
    jobs: list[str]
    is_on: bool
    num_failures: int
    num_lost: int
    failing_since: datetime | None
    last_error: str | None
    last_sent_at: datetime | None
    retry_at: datetime | None
    created_at: datetime
    format: WebhookFormat = WebhookFormat.FTLAB
    title: str | None = None

    def takes(self, notification: NotificationRecord) -> bool:
        """Whether the channel delivers this notification of its owner."""
        about = (notification.job_id, notification.job_name)
        is_kind = not self.kinds or notification.kind in self.kinds
        return self.is_on and is_kind and (not self.jobs or any(job in self.jobs for job in about))


@dataclass(frozen=True)
class DueDelivery:
    """The oldest notification that waits on a channel."""

    channel: ChannelRecord
    notification_seq: int
    num_tries: int
    """Tries that have failed."""


WORKING = {"num_failures": 0, "failing_since": None, "last_error": None, "retry_at": None}
"""Fields of a channel without a failure since its last delivery."""
COLUMNS = columns_of(channels, ChannelRecord)

ChannelRecords = list[ChannelRecord]


class ChannelRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save(
        self,
        owner: str,
        name: str,
        *,
        type: ChannelType,
        url: str,
        secret: str | None,
        kinds: Sequence[NotificationKind],
        jobs: Sequence[str],
        now: datetime,
        format: WebhookFormat = WebhookFormat.FTLAB,
        title: str | None = None,
    ) -> ChannelRecord:
        """Add the channel, or replace the one with this name; it is on. What waits on it goes to the new URL."""
        changed = {
            "type": type,
            "url": url,
            "secret": secret,
            "kinds": [kind.value for kind in kinds],
            "jobs": list(jobs),
            "is_on": True,
            "format": format,
            "title": title,
            **WORKING,
        }
        new = insert_into(self._connection, channels).values(
            owner=owner, name=name, num_lost=0, last_sent_at=None, created_at=now, **changed
        )
        keys = [channels.c.owner, channels.c.name]
        self._connection.execute(new.on_conflict_do_update(index_elements=keys, set_=changed))
        return self.get(name, owner=owner)

    def get(self, name: str, *, owner: str) -> ChannelRecord:
        """Raise `NotFoundError` when the owner has no such channel."""
        found = [each for each in self.list(owner=owner) if each.name == name]
        if not found:
            raise not_found("channel", name)
        return found[0]

    def list(self, *, owner: str) -> ChannelRecords:
        """All channels of the owner, by name."""
        rows = self._connection.execute(select(*COLUMNS).where(channels.c.owner == owner))
        return sorted((_to_record(row._asdict()) for row in rows), key=lambda channel: channel.name)

    def delete(self, name: str, *, owner: str) -> bool:
        """Whether the owner had such a channel. What waits on it is not delivered."""
        self._connection.execute(delete(deliveries).where(deliveries.c.owner == owner, deliveries.c.channel == name))
        mine = (channels.c.owner == owner, channels.c.name == name)
        return self._connection.execute(delete(channels).where(*mine)).rowcount > 0

    def update(self, channel: ChannelRecord, **values: object) -> None:
        """Change fields of a channel."""
        mine = (channels.c.owner == channel.owner, channels.c.name == channel.name)
        self._connection.execute(update(channels).where(*mine).values(**values))

    def deliver(self, channel: ChannelRecord, notification: NotificationRecord) -> None:
        """Put a notification into the outbox of a channel."""
        new = {"owner": channel.owner, "channel": channel.name, "notification_seq": notification.seq, "num_tries": 0}
        self._connection.execute(insert(deliveries), new)

    def due(self, *, now: datetime) -> Sequence[DueDelivery]:
        """The oldest waiting notification of each channel that may be tried now."""
        oldest = (
            select(deliveries.c.owner, deliveries.c.channel, func.min(deliveries.c.notification_seq).label("seq"))
            .group_by(deliveries.c.owner, deliveries.c.channel)
            .subquery()
        )
        statement = (
            select(*COLUMNS, deliveries.c.notification_seq, deliveries.c.num_tries)
            .join(oldest, (oldest.c.owner == channels.c.owner) & (oldest.c.channel == channels.c.name))
            .join(
                deliveries,
                (deliveries.c.owner == oldest.c.owner)
                & (deliveries.c.channel == oldest.c.channel)
                & (deliveries.c.notification_seq == oldest.c.seq),
            )
            .where(channels.c.is_on, or_(channels.c.retry_at.is_(None), channels.c.retry_at <= now))
        )
        rows = (row._asdict() for row in self._connection.execute(statement))
        found = [(row.pop("notification_seq"), row.pop("num_tries"), _to_record(row)) for row in rows]
        return [DueDelivery(channel, seq, num_tries) for seq, num_tries, channel in found]

    def num_pending(self, *, owner: str) -> dict[str, int]:
        """Waiting notifications by channel; channels without any are left out."""
        counted = (
            select(deliveries.c.channel, func.count()).where(deliveries.c.owner == owner).group_by(deliveries.c.channel)
        )
        return {row[0]: row[1] for row in self._connection.execute(counted)}

    def settle(self, due: DueDelivery) -> None:
        """Take a notification out of the outbox."""
        self._connection.execute(delete(deliveries).where(*_is(due)))

    def count_try(self, due: DueDelivery) -> None:
        self._connection.execute(update(deliveries).where(*_is(due)).values(num_tries=deliveries.c.num_tries + 1))

    def clear(self, channel: ChannelRecord) -> int:
        """Take all notifications of a channel out of the outbox; return their number."""
        mine = (deliveries.c.owner == channel.owner, deliveries.c.channel == channel.name)
        return self._connection.execute(delete(deliveries).where(*mine)).rowcount


def _is(due: DueDelivery) -> tuple[ColumnElement[bool], ...]:
    return (
        deliveries.c.owner == due.channel.owner,
        deliveries.c.channel == due.channel.name,
        deliveries.c.notification_seq == due.notification_seq,
    )


def _to_record(values: dict[str, object]) -> ChannelRecord:
    kinds = [NotificationKind(kind) for kind in values["kinds"]]  # type: ignore[attr-defined]
    return ChannelRecord(**{**values, "kinds": kinds})  # type: ignore[arg-type]
