"""Notifications and channels of one owner. Every function blocks on the store."""

from collections.abc import Collection
from datetime import UTC, datetime

from ftlab.errors import NotFoundError, RateLimitError
from ftlab.schemas.notifications import (
    Channel,
    ChannelChange,
    ChannelType,
    Notification,
    NotificationKind,
    NotificationPage,
    Unread,
    WebhookFormat,
)
from ftlab.schemas.replies import ChannelList
from serve.context import Services
from serve.http.responses import to_page
from tracking.notifications.apprise_url import check_apprise
from tracking.notifications.collect import add_notification
from tracking.notifications.targets import check_mail, check_webhook, shown_target, type_of
from tracking.store.channels import WORKING, ChannelRecord
from tracking.store.notifications import NewNotification

MAX_CHANNELS = 50
"""Channels of one owner. Each is looked at for each notification."""


def list_notifications(
    services: Services,
    owner: str,
    *,
    kinds: Collection[NotificationKind],
    job: str | None,
    is_unread: bool,
    after: str | None,
    limit: int,
) -> NotificationPage:
    """One page, newest first, with the number of all unread ones."""
    with services.store.read() as tx:
        found = tx.notifications.list(
            owner=owner, kinds=kinds, job=job, is_unread=is_unread, after=after, limit=limit + 1
        )
        num_unread = tx.notifications.num_unread(owner=owner)
    page = to_page([Notification.of(record) for record in found], limit)
    return NotificationPage(**vars(page), num_unread=num_unread)


def read_one(services: Services, owner: str, notification_id: str) -> Notification:
    """Mark a notification as read. Raises `NotFoundError`."""
    with services.store.begin() as tx:
        seq = tx.notifications.get(notification_id, owner=owner).seq
        tx.notifications.mark_read([seq], now=datetime.now(UTC))
        return Notification.of(tx.notifications.get(notification_id, owner=owner))


def read_all(services: Services, owner: str, until: str | None) -> Unread:
    """Mark all as read, or one and all older ones. Raises `NotFoundError`."""
    with services.store.begin() as tx:
        seq = None if until is None else tx.notifications.get(until, owner=owner).seq
        tx.notifications.mark_all_read(owner=owner, until=seq, now=datetime.now(UTC))
        return Unread(num_unread=tx.notifications.num_unread(owner=owner))


def list_channels(services: Services, owner: str) -> ChannelList:
    with services.store.read() as tx:
        found, pending = tx.channels.list(owner=owner), tx.channels.num_pending(owner=owner)
    return ChannelList(data=[_to_channel(record, pending.get(record.name, 0)) for record in found])


def get_channel(services: Services, owner: str, name: str) -> Channel:
    """Raise `NotFoundError`."""
    with services.store.read() as tx:
        found, pending = tx.channels.get(name, owner=owner), tx.channels.num_pending(owner=owner)
    return _to_channel(found, pending.get(name, 0))


def save_channel(
    services: Services,
    owner: str,
    name: str,
    change: ChannelChange,
    format: WebhookFormat = WebhookFormat.FTLAB,
    title: str | None = None,
) -> Channel:
    """Add or replace a channel. It is not connected to here: the notifier delivers.

    Raise `InvalidRequestError` for a URL or secret that cannot be used, and `RateLimitError` (`quota_exceeded`).
    """
    kind = type_of(change.url)
    match kind:
        case ChannelType.WEBHOOK:
            check_webhook(change.url, change.secret, services.settings)
        case ChannelType.MAIL:
            check_mail(change.url, services.settings)
        case ChannelType.APPRISE:
            check_apprise(change.url)
    secret = change.secret if kind is ChannelType.WEBHOOK else None
    with services.store.begin() as tx:
        tx.quotas.lock(owner)  # two requests cannot both take the last place
        own = {channel.name for channel in tx.channels.list(owner=owner)}
        if name not in own and len(own) >= MAX_CHANNELS:
            raise RateLimitError(
                f"You have {MAX_CHANNELS} channels, which is the limit; delete one first.", "quota_exceeded"
            )
        record = tx.channels.save(
            owner,
            name,
            type=kind,
            url=change.url,
            secret=secret,
            kinds=change.kinds,
            jobs=change.jobs,
            now=datetime.now(UTC),
            format=format,
            title=title,
        )
        return _to_channel(record, tx.channels.num_pending(owner=owner).get(name, 0))


def switch_channel(services: Services, owner: str, name: str, is_on: bool) -> Channel:
    """Switch a channel on or off. One that is switched on is tried at once. Raises `NotFoundError`."""
    with services.store.begin() as tx:
        channel = tx.channels.get(name, owner=owner)
        if is_on != channel.is_on:
            tx.channels.update(channel, is_on=is_on, **(WORKING if is_on else {}))
        pending = tx.channels.num_pending(owner=owner)
        return _to_channel(tx.channels.get(name, owner=owner), pending.get(name, 0))


def delete_channel(services: Services, owner: str, name: str) -> None:
    """Raise `NotFoundError`."""
    with services.store.begin() as tx:
        if not tx.channels.delete(name, owner=owner):
            raise NotFoundError(f"There is no channel {name!r}.", "channel_not_found", "name")


def test_channel(services: Services, owner: str, name: str) -> Channel:
    """Put a test notification into the outbox of a channel, and switch it on. Raises `NotFoundError`."""
    now = datetime.now(UTC)
    new = NewNotification(
        kind=NotificationKind.TEST,
        title=f"Test of channel {name}",
        message="Notifications of FineTune Lab arrive here.",
        at=now,
    )
    with services.store.begin() as tx:
        channel = tx.channels.get(name, owner=owner)
        tx.channels.update(channel, is_on=True, **WORKING)
        tx.channels.deliver(channel, add_notification(tx, owner, new, []))
        pending = tx.channels.num_pending(owner=owner)
        return _to_channel(tx.channels.get(name, owner=owner), pending.get(name, 0))


def _to_channel(record: ChannelRecord, num_pending: int) -> Channel:
    return Channel.of(record, target=shown_target(record.url), num_pending=num_pending)
