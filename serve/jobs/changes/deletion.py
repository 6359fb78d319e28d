"""Delete a job: its record in one transaction, then its folder."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from cluster.interfaces import deleted_job_of
from serve.context import CallerContext, Services
from tracking.deleted_folders import remove_folder
from tracking.notifications.collect import read_news, save
from tracking.store import JobBusyError

RELEASE_TIMEOUT_S = 10.0
"""How long a request waits until the scheduler and MLflow's recorder have finished with a job that has just ended."""
POLL_INTERVAL_S = 0.5

Deleted = TypeVar("Deleted")


async def delete_when_released(caller: CallerContext, job: str) -> None:
    """Delete the job with this id or unique name as soon as the service no longer needs its record.

    Raise what `delete` raises; `JobBusyError` only when the service still needs the record after a while.
    """
    await when_released(caller, delete, job)


async def when_released(caller: CallerContext, deletion: Callable[[Services, str, str], Deleted], name: str) -> Deleted:
    """Run a deletion of a record, or of a part of it, as soon as it does not raise `JobBusyError`, for a while."""
    deadline = time.monotonic() + RELEASE_TIMEOUT_S
    while True:
        try:
            return await caller.call(deletion, name)
        except JobBusyError:
            if time.monotonic() >= deadline:
                raise
        caller.services.coordinator.wake()
        await asyncio.sleep(POLL_INTERVAL_S)


def delete(services: Services, owner: str, job: str) -> None:
    """Blocks on the store and the disk. Raise what `DeletionRepository.delete_job` raises.

    The database comes first: after a crash in between, the next start of the service removes the folder.
    """
    now = datetime.now(UTC)
    with services.store.begin() as tx:
        record = tx.jobs.resolve(job, owner=owner, by_prefix=False)
        save(tx, [read_news(tx, tx.notifications.cursor(record.id))])  # its log goes with it
        tx.deletions.delete_job(record.id, now=now)
    services.event_hub.publish([deleted_job_of(owner, record.id)])
    remove_folder(services.store, services.settings.home / "jobs", record.id)
