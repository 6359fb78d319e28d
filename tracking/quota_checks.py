"""Checks of an owner's quotas before something is added, in the transaction that adds it."""

from ftlab.errors import RateLimitError
from ftlab.settings import Settings
from tracking.store import Transaction
from tracking.store.quotas import effective_quota
from tracking.store.records import QuotaRecord


def check_submit(tx: Transaction, settings: Settings, owner: str) -> None:
    """Raise `RateLimitError` (code `quota_exceeded`) when one more job would be too many, or the disk is used up."""
    limits = locked_limits(tx, settings, owner)
    most = limits.max_queued_jobs
    if most is not None and tx.jobs.has_queued(owner, most):
        raise exceeded(f"You have {most} jobs in the queue, which is your limit", "max_queued_jobs")
    if limits.max_disk_bytes is not None and tx.usage.disk_bytes(owner) >= limits.max_disk_bytes:
        raise exceeded(f"Your datasets and checkpoints use up your {limits.max_disk_bytes} bytes", "max_disk_bytes")


def locked_limits(tx: Transaction, settings: Settings, owner: str) -> QuotaRecord:
    """The owner's limits, locked until the transaction ends, so that two requests cannot both use the last place."""
    return effective_quota(tx.quotas.lock(owner), settings)


def exceeded(what: str, limit: str) -> RateLimitError:
    """The error for a limit that would be exceeded."""
    return RateLimitError(f"{what} ({limit}).", "quota_exceeded", limit)
