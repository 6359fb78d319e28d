"""Errors that only the store raises."""

from ftlab.errors import ConflictError


class StaleJobError(ConflictError):
    """The job, its attempt or the lease has changed in the meantime: the write came too late and changed nothing."""

    default_code = "stale_job"


class DuplicateError(ConflictError):
    """A record with the same unique value exists. The transaction cannot continue: look the record up in a new one."""

    default_code = "duplicate"


class JobBusyError(ConflictError):
    """The service still works on a job or sweep that has ended; the same request succeeds once that is done."""

    default_code = "job_ending"
