"""The logs that a stream can follow: the events of one job, or those of all jobs of an owner."""

from dataclasses import dataclass
from typing import Protocol

from cluster.interfaces import EventDocument
from ftlab.errors import NotFoundError
from tracking.store import Transaction
from tracking.store.records import EventRecord


class Log(Protocol):
    """Events in order, each with a number that never changes."""

    def number(self, event: EventDocument) -> int:
        """The event's place in this log."""

    def read(self, tx: Transaction, after: int, limit: int) -> list[EventRecord]:
        """The first `limit` events after a number: all that the log will ever have up to the last of them."""


@dataclass(frozen=True)
class JobLog:
    """The events of one job, numbered by `seq`."""

    job_id: str

    def number(self, event: EventDocument) -> int:
        return event.seq

    def read(self, tx: Transaction, after: int, limit: int) -> list[EventRecord]:
        """Raises `NotFoundError` when the job was deleted."""
        records = tx.events.after(self.job_id, after, limit=limit)
        if not records and not tx.jobs.exists(self.job_id):
            raise job_deleted(self.job_id)
        return records


@dataclass(frozen=True)
class OwnerLog:
    """The events of all jobs of an owner, numbered by `position`."""

    owner: str

    def number(self, event: EventDocument) -> int:
        return event.position

    def read(self, tx: Transaction, after: int, limit: int) -> list[EventRecord]:
        return tx.events.of_owner(self.owner, after, limit=limit)


def logs_of(event: EventDocument) -> tuple[Log, Log]:
    """The logs that contain an event."""
    return JobLog(event.job_id), OwnerLog(event.owner)


def job_deleted(job_id: str) -> NotFoundError:
    """The error for a job that was deleted while it was followed."""
    return NotFoundError(f"Job {job_id!r} was deleted.", "job_deleted", "job_id")
