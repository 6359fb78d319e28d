"""Removal of the files of single checkpoints whose rows say that they are being deleted."""

import logging

from ftlab.settings import Settings
from tracking.store import Store
from tracking.store.records import CheckpointRecord
from train.checkpoints import checkpoint_files

logger = logging.getLogger(__name__)


def remove_checkpoint(store: Store, settings: Settings, record: CheckpointRecord) -> None:
    """Remove the files of a checkpoint, then its row. Blocks.

    The row stays until the files are gone, so that what a crash or an error leaves is removed at the next start of the
    service.
    """
    try:
        checkpoint_files.remove(settings.home / "jobs" / record.job_id / "checkpoints" / record.name)
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("Checkpoint %s of job %s is removed at the next start: %s", record.name, record.job_id, error)
        return
    with store.begin() as tx:
        tx.checkpoints.end_deletion(record.job_id, record.step)


def remove_left_checkpoints(store: Store, settings: Settings) -> None:
    """Remove the checkpoints whose deletion was interrupted, except those of jobs that hold devices."""
    with store.read() as tx:
        left = tx.checkpoints.in_deletion()
        live = {job.id for job in tx.jobs.live()} if left else set()
    for record in left:
        if record.job_id not in live:
            remove_checkpoint(store, settings, record)
