"""Jobs that fail, the notices about why an attempt failed, and unexpected errors in the work for one job."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import move_job
from cluster.runs.failure_record import analysis_of, failure_of
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import FailurePayload
from ftlab.schemas.events import FAILURE_ANALYSED
from ftlab.status import JobStatus, ReasonCode
from tracking.store import StaleJobError
from tracking.store.records import AttemptRecord, JobRecord, NewEvent, UnreadableConfig
from train.plan import Failure

TRIES = 3
"""Ticks in a row in which the same work for a job may fail unexpectedly before the job fails."""
LOGGED_EVERY = 100
"""Of the errors that follow, one in this many is logged."""

logger = logging.getLogger(__name__)


def fail_job(tick: Tick, job: JobRecord, failure: Failure) -> None:
    """Fail a job that has no live attempt, with the analysis of why it cannot start."""
    notices = _notices(tick, job, failure, job.attempt)
    move_job(tick, job, JobStatus.FAILED, reason=failure.reason, message=failure.message, notices=notices)


def fail_unreadable(tick: Tick, job: JobRecord, config: UnreadableConfig) -> None:
    """Fail a job whose config cannot be read, so that it does not hold up others."""
    message = f"This version cannot read the job's config: {config.why}"
    fail_job(tick, job, Failure(ReasonCode.CONFIG_INVALID, message))


@contextmanager
def contained(tick: Tick, work: str, job: JobRecord | str) -> Iterator[None]:
    """An edge around the work for one job, so that an unexpected error in it does not hold up the other jobs.

    The next tick tries again; after `TRIES` ticks a job that is given as its record, not as its id, fails. Raises what
    concerns all jobs: that a part of the service does not answer.
    """
    job_id = job if isinstance(job, str) else job.id
    try:
        yield
    except ServiceUnavailableError:
        raise
    except StaleJobError as error:  # the job has changed meanwhile: the next tick looks again
        logger.info("%s", error)
    except Exception:
        tick.unexpected[work, job_id] += 1
        num_times = tick.unexpected[work, job_id]
        if num_times <= TRIES or num_times % LOGGED_EVERY == 0:
            logger.exception("Job %s could not be %s (%d times in a row)", job_id, work, num_times)
        if num_times < TRIES or isinstance(job, str):
            return
        message = f"The service could not get the job {work}; its log says why."
        move_job(tick, job, JobStatus.FAILED, reason=ReasonCode.INTERNAL_ERROR, message=message)
    else:
        tick.unexpected.pop((work, job_id), None)


def notices_of(tick: Tick, job: JobRecord, attempt: AttemptRecord) -> list[NewEvent]:
    """The notice about why an attempt failed; none for one that ended without a failure."""
    failure = failure_of(attempt)
    return [] if failure is None else _notices(tick, job, failure, attempt.number)


def _notices(tick: Tick, job: JobRecord, failure: Failure, number: int) -> list[NewEvent]:
    try:
        with tick.store.read() as tx:
            found = analysis_of(tx, tick.settings, job, failure, number, tick.now)
    except ServiceUnavailableError:
        raise  # the next tick analyses it: an automatic recovery depends on it
    except Exception:  # an edge: the job must get its status, whatever is wrong with its files
        logger.exception("The failure of %s, attempt %d, could not be analysed", job.id, number)
        return []
    text = f"Cause of the failure: {found.cause} ({found.confidence}); see 'ftlab why {job.id}'."
    return [NewEvent(FailurePayload(code=FAILURE_ANALYSED, message=text, analysis=found), tick.now)]
