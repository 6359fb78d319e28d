"""Jobs that fail, and the notices about why an attempt failed."""

import logging

from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import move_job
from cluster.runs.failure_record import analysis_of, failure_of
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import FailurePayload
from ftlab.schemas.events import FAILURE_ANALYSED
from ftlab.status import JobStatus, ReasonCode
from tracking.store.records import AttemptRecord, JobRecord, NewEvent, UnreadableConfig
from train.plan import Failure

logger = logging.getLogger(__name__)


def fail_job(tick: Tick, job: JobRecord, failure: Failure) -> None:
    """Fail a job that has no live attempt, with the analysis of why it cannot start."""
    notices = _notices(tick, job, failure, job.attempt)
    move_job(tick, job, JobStatus.FAILED, reason=failure.reason, message=failure.message, notices=notices)


def fail_unreadable(tick: Tick, job: JobRecord, config: UnreadableConfig) -> None:
    """Fail a job whose config cannot be read, so that it does not hold up others."""
    message = f"This version cannot read the job's config: {config.why}"
    fail_job(tick, job, Failure(ReasonCode.CONFIG_INVALID, message))


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
