"""Makes notifications of the events that jobs' logs have gained, and puts them into the outboxes of channels.

All of it happens in the transaction that moves the job's cursor: each event is reported once, whatever is killed.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import EventKind, StatusPayload
from ftlab.schemas.notifications import WebhookFormat
from ftlab.status import ATTEMPT_STATUSES, JobKind, JobStatus
from tracking.notifications.wording import NOTIFIED_KINDS, notifications_of
from tracking.store import Store, Transaction
from tracking.store.channels import ChannelRecord
from tracking.store.notifications import JobCursor, NewNotification, NotificationRecord

PAGE_JOBS = 50
PAGE_EVENTS = 500
MAX_UNSAVED_EVENTS = 5000
"""Events of a running job that are looked at again after a restart, at most."""
MAX_KEPT = 10_000
"""Newest notifications of an owner that are kept."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class News:
    """The new events of one job, as notifications; `seq` is where its cursor moves."""

    job: JobCursor
    seq: int
    notifications: list[NewNotification]


class Collector:
    """Looks at new events; one per service. Remembers how far it looked where there was nothing to save."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked_at: dict[str, int] = {}
        """By the id of a job that runs: its newest event that was looked at."""

    def step(self) -> int:
        """Report new events of up to `PAGE_JOBS` jobs; return the number of jobs with news.

        Raises `ServiceUnavailableError` when the database does not answer.
        """
        with self._store.read() as tx:
            behind = tx.notifications.behind(limit=PAGE_JOBS + len(self._looked_at))
            self._looked_at = {job.id: self._looked_at[job.id] for job in behind if job.id in self._looked_at}
            fresh = [job for job in behind if job.last_seq > self._looked_at.get(job.id, job.notified_seq)]
            news = [found for job in fresh if (found := self._look_at(tx, job)) is not None]
        if news:
            with self._store.begin() as tx:
                save(tx, news)
        for each in news:
            self._looked_at.pop(each.job.id, None)
        return len(news)

    def _look_at(self, tx: Transaction, job: JobCursor) -> News | None:
        """What there is to save. The metrics of a running job are no reason to write to the database."""
        looked_at = self._looked_at.get(job.id, job.notified_seq)
        try:
            news = read_news(tx, replace(job, notified_seq=looked_at))
        except ServiceUnavailableError:
            raise
        except Exception:  # an edge: one log that cannot be read must not hold up the notifications of all others
            logger.exception("The events of %s after %d could not be read, and are not reported", job.id, looked_at)
            return News(job, job.last_seq, [])
        is_running = job.status in ATTEMPT_STATUSES
        if is_running and not news.notifications and job.last_seq - job.notified_seq < MAX_UNSAVED_EVENTS:
            self._looked_at[job.id] = news.seq
            return None
        return replace(news, job=job)


def read_news(tx: Transaction, job: JobCursor) -> News:
    """The notifications about the job's events after its cursor, of the first `PAGE_EVENTS` at most."""
    found = tx.events.after(job.id, job.notified_seq, limit=PAGE_EVENTS, kinds=NOTIFIED_KINDS)
    events = [event for event in found if event.seq <= job.last_seq]
    seq = events[-1].seq if len(events) == PAGE_EVENTS else job.last_seq
    return News(job, seq, list(notifications_of(job, events, _status_at(tx, job))))


def save(tx: Transaction, news: Iterable[News]) -> None:
    """Move the cursors and store the notifications, except where another process has done so."""
    channels: dict[str, list[ChannelRecord]] = {}
    for each in news:
        owner = each.job.owner
        if not tx.notifications.advance(each.job, each.seq) or not each.notifications:
            continue
        if owner not in channels:
            channels[owner] = tx.channels.list(owner=owner)
        knowing = [channel for channel in channels[owner] if _knows(channel, each.job)]
        for new in each.notifications:
            add_notification(tx, owner, new, knowing)
    for owner in channels:
        tx.notifications.prune(owner=owner, keep=MAX_KEPT)


def _knows(channel: ChannelRecord, job: JobCursor) -> bool:
    """Whether a channel has a format for the events of a job: OpenAI has none for other kinds than training."""
    return job.kind is JobKind.TRAINING or channel.format is not WebhookFormat.OPENAI


def add_notification(
    tx: Transaction, owner: str, new: NewNotification, channels: Iterable[ChannelRecord]
) -> NotificationRecord:
    """Store a notification, and put it into the outboxes of those channels that take it."""
    record = tx.notifications.add(owner, new)
    for channel in channels:
        if channel.takes(record):
            tx.channels.deliver(channel, record)
    return record


def _status_at(tx: Transaction, job: JobCursor) -> JobStatus | None:
    """The status that the job had at its cursor; `None` before its first event."""
    if job.notified_seq == 0:
        return None
    earlier = tx.events.last_before(job.id, EventKind.STATUS, job.notified_seq)
    assert earlier is not None, "the first event of every job is a status"
    payload = earlier.payload
    assert isinstance(payload, StatusPayload)
    return payload.status
