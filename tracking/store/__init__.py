"""The database: jobs, attempts, events, metrics, checkpoints, datasets, models, uploads and quotas."""

from tracking.store import records
from tracking.store.errors import DuplicateError, JobBusyError, StaleJobError
from tracking.store.store import Store, Transaction

__all__ = ["DuplicateError", "JobBusyError", "StaleJobError", "Store", "Transaction", "records"]
