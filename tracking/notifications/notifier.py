"""The notifier: makes notifications of new events, and delivers them to the channels of their owners.

The outbox is a table of the database. A delivery leaves it after the receiver took it; a crash in between repeats it
with the same id. Each channel delivers one notification at a time, in order, so a receiver that is down or slow holds
up nothing else.
"""

import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from functools import partial

from ftlab.errors import ServiceUnavailableError
from ftlab.schemas.notifications import ChannelType, Notification, NotificationKind
from ftlab.settings import Settings
from tracking.follow_loop import repeat, retry_after_s
from tracking.notifications.apprise_url import send_apprise
from tracking.notifications.collect import PAGE_JOBS, Collector, add_notification
from tracking.notifications.mail import send_mail
from tracking.notifications.outcomes import AfterFailure, Undeliverable, after_failure
from tracking.notifications.targets import mail_address
from tracking.notifications.webhook import body_of, send_webhook
from tracking.store import Store, Transaction
from tracking.store.channels import WORKING, ChannelRecord, DueDelivery
from tracking.store.notifications import NewNotification, NotificationRecord

INTERVAL_S, BUSY_S = 1.0, 0.1
"""Pauses between two passes; the second while more is to be expected."""
MAX_AT_ONCE = 8
"""Channels that are delivered to at the same time."""
STOP_GRACE_S = 2.0
"""Seconds that deliveries in progress get when the service stops. Those that take longer are repeated."""

Key = tuple[str, str]
Send = Callable[[ChannelRecord, Notification], None]

logger = logging.getLogger(__name__)


class Notifier:
    """One per service. `send` delivers one notification, or raises `Undeliverable`."""

    def __init__(self, store: Store, send: Send, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._send = send
        self._clock = clock
        self._collector = Collector(store)
        self._pool = ThreadPoolExecutor(MAX_AT_ONCE, "ftlab-delivery")
        self._stopped = threading.Event()
        self._running: dict[Key, Future[None]] = {}
        """By owner and name: the channel's delivery in progress."""

    def run(self, stop: threading.Event) -> None:
        """Make a pass about once a second until `stop` is set; back off while the database is unavailable."""

        def make_pass() -> float:
            return BUSY_S if self.step() else INTERVAL_S

        told = {"paused": "Notifications are paused", "resumed": "Notifications have resumed."}
        repeat(make_pass, stop, logger, **told)
        self._stopped.set()
        self.wait(STOP_GRACE_S)

    def step(self) -> bool:
        """Report new events, and start the deliveries that are due. Returns whether more of either is to be expected.

        Raises `ServiceUnavailableError` when the database does not answer.
        """
        has_more = self._collector.step() >= PAGE_JOBS
        self._running = {key: future for key, future in self._running.items() if not future.done()}
        with self._store.read() as tx:
            due = [each for each in tx.channels.due(now=self._clock()) if _key(each) not in self._running]
            found = [(each, tx.notifications.by_seq(each.notification_seq)) for each in due]
        for each, notification in found[: MAX_AT_ONCE - len(self._running)]:
            self._running[_key(each)] = self._pool.submit(self._deliver, each, notification)
        return has_more or bool(self._running)

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the deliveries in progress have ended."""
        wait(self._running.values(), timeout_s)

    def _deliver(self, due: DueDelivery, notification: NotificationRecord | None) -> None:
        try:
            if notification is not None:
                self._send(due.channel, Notification.of(notification))
        except Undeliverable as error:
            self._record(partial(self._failed, due, error))
        except Exception:  # an edge: the thread has no other, and a silent end would repeat the delivery at once
            logger.exception("The channel %r of %r failed", due.channel.name, due.channel.owner)
            self._record(partial(self._failed, due, Undeliverable("The delivery failed; see the service's logs.")))
        else:
            self._record(partial(self._sent, due))

    def _record(self, change: Callable[[Transaction], None]) -> None:
        """Record the end of a delivery, however long that takes: the channel waits, or else it would be repeated."""
        num_failures = 0
        while True:
            try:
                with self._store.begin() as tx:
                    change(tx)
                return
            except ServiceUnavailableError as error:
                num_failures += 1
                if self._stopped.wait(retry_after_s(num_failures)):
                    logger.warning("The end of a delivery could not be recorded; it will be repeated: %s", error)
                    return

    def _sent(self, due: DueDelivery, tx: Transaction) -> None:
        tx.channels.settle(due)
        tx.channels.update(due.channel, last_sent_at=self._clock(), **WORKING)

    def _failed(self, due: DueDelivery, error: Undeliverable, tx: Transaction) -> None:
        # The random number is for spreading load, not for secrets.
        after = after_failure(due, error, now=self._clock(), jitter=random.random())
        logger.info("Channel %r: %s", due.channel.name, error.message)
        tx.channels.count_try(due)
        num_lost = 0
        if after.is_dead:
            num_lost = tx.channels.clear(due.channel)
            self._switch_off(tx, due.channel, error, after)
        elif after.is_lost:
            tx.channels.settle(due)
            num_lost = 1
        tx.channels.update(
            due.channel,
            num_failures=due.channel.num_failures + 1,
            num_lost=due.channel.num_lost + num_lost,
            failing_since=after.failing_since,
            last_error=error.message,
            retry_at=after.retry_at,
        )

    def _switch_off(self, tx: Transaction, channel: ChannelRecord, error: Undeliverable, after: AfterFailure) -> None:
        tx.channels.update(channel, is_on=False)
        since = "" if error.is_gone else f" It has failed since {after.failing_since:%Y-%m-%d %H:%M} UTC."
        new = NewNotification(
            kind=NotificationKind.CHANNEL_OFF,
            title=f"Channel {channel.name} is off",
            message=f"The channel {channel.name!r} was switched off.{since} {error.message} "
            f"Mend it, then run 'ftlab notify test {channel.name}', which switches it on again.",
            at=self._clock(),
        )
        others = [other for other in tx.channels.list(owner=channel.owner) if other.name != channel.name]
        add_notification(tx, channel.owner, new, others)


def sender(settings: Settings, clock: Callable[[], datetime]) -> Send:
    """The function that delivers over the network, by the type of the channel."""

    def send(channel: ChannelRecord, notification: Notification) -> None:
        match channel.type:
            case ChannelType.WEBHOOK:
                assert channel.secret is not None
                hosts = settings.notify_private_hosts
                body = body_of(notification, channel.format)
                send_webhook(channel.url, channel.secret, notification.id, body, private_hosts=hosts, now=clock())
            case ChannelType.MAIL:
                send_mail(mail_address(channel.url), notification, settings)
            case ChannelType.APPRISE:
                send_apprise(channel.url, notification, private_hosts=settings.notify_private_hosts)

    return send


def _key(due: DueDelivery) -> Key:
    return due.channel.owner, due.channel.name
