"""Removal of the folders of deleted jobs: checkpoints, logs and models."""

import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

from tracking.store import Store

logger = logging.getLogger(__name__)


def remove_folder(store: Store, jobs_folder: Path, job_id: str) -> None:
    """Remove the folder of a job that the database no longer has. Blocks.

    The database keeps a note until the folder is gone, so that what a crash or an error leaves is removed at the next
    start of the service.
    """
    try:
        shutil.rmtree(jobs_folder / job_id)
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("The folder of the deleted job %s is removed at the next start: %s", job_id, error)
        return
    with store.begin() as tx:
        tx.deletions.files_removed(job_id, now=datetime.now(UTC))


def remove_left_folders(store: Store, jobs_folder: Path) -> None:
    """Remove the folders that interrupted deletions left. Folders without such a note are never touched."""
    with store.read() as tx:
        left = tx.deletions.jobs_with_files()
    for job_id in left:
        remove_folder(store, jobs_folder, job_id)
