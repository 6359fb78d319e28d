"""Removal of the folders of deleted jobs, with checkpoints, logs and models, and of models that were deleted alone."""

import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

from tracking.store import Store

logger = logging.getLogger(__name__)


def remove_folder(store: Store, jobs_folder: Path, record_id: str, folder: str | None = None) -> None:
    """Remove the folder of a job, or of a model, that the database no longer has. Blocks.

    `folder` is its path below the folder of all jobs, which is the id of a job.

    The database keeps a note until the folder is gone, so that what a crash or an error leaves is removed at the next
    start of the service.
    """
    try:
        shutil.rmtree(jobs_folder / (folder or record_id))
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("The folder of the deleted %s is removed at the next start: %s", record_id, error)
        return
    with store.begin() as tx:
        tx.deletions.files_removed(record_id, now=datetime.now(UTC))


def remove_left_folders(store: Store, jobs_folder: Path) -> None:
    """Remove the folders that interrupted deletions left. Folders without such a note are never touched."""
    with store.read() as tx:
        left = tx.deletions.with_files()
        free = {folder for _, folder in left if tx.deletions.is_folder_free(folder)}
    for record_id, folder in left:
        if folder in free:
            remove_folder(store, jobs_folder, record_id, folder)
        else:
            with store.begin() as tx:
                tx.deletions.files_removed(record_id, now=datetime.now(UTC))
