"""The gate of chains: a job waits until the jobs before it have completed, and is held when one of them has not.

All of it is in the database: a coordinator that starts later sees the same. A job that was released once never waits
for these jobs again, whatever becomes of them.
"""

from cluster.coordinator.failed_jobs import contained, fail_job, fail_unreadable
from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import publish, require_unchanged
from cluster.interfaces import QUEUE_CHANGED
from cluster.policy import waiting_reasons
from cluster.runs.chained_model import Delivered, delivered_by, fit_to_delivered, why_waiting
from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.schemas import BaseJobConfig, NoticePayload
from ftlab.schemas.events import CHAIN_RELEASED
from ftlab.status import JobStatus, ReasonCode
from tracking.store import StaleJobError, Transaction
from tracking.store.records import EventRecord, JobRecord, NewEvent, UnreadableConfig
from train.plan import Failure

CHAIN_WINDOW = 100
"""How many waiting jobs a tick looks at; those that can be released come first."""


def release_chained(tick: Tick) -> None:
    """Put jobs whose parents have all completed among those that may start, and record what the others wait for.

    Until then they are not among the jobs that the scheduling policy reads: they hold no device, no reservation, and no
    place that another job could have.
    """
    with tick.store.read() as tx:
        waiting = tx.chains.waiting_jobs(CHAIN_WINDOW)
        sentences = {job.id: why_waiting(job.parents) for job in waiting}
        released = [tx.jobs.get(job_id) for job_id, why in sentences.items() if why is None]
    for job in released:
        with contained(tick, "released after the jobs before it", job):
            _release_or_fail(tick, job)
    changed = {job.id: why for job in waiting if (why := sentences[job.id]) not in (None, job.waiting_for)}
    if changed:
        with tick.store.begin() as tx:
            num_changed = tx.jobs.set_waiting(changed)
        if num_changed:
            tick.hub.publish([QUEUE_CHANGED])


def _release_or_fail(tick: Tick, job: JobRecord) -> None:
    """Release the job, or fail it where the models that it starts from rule out its settings."""
    if isinstance(job.config, UnreadableConfig):
        fail_unreadable(tick, job, job.config)
        return
    try:
        with tick.store.begin() as tx:
            events = _release(tick, tx, job)
    except NotFoundError as error:
        fail_job(tick, job, Failure(ReasonCode.MODEL_NOT_FOUND, error.message, field=error.param))
    except InvalidRequestError as error:
        fail_job(tick, job, Failure(ReasonCode.CONFIG_INVALID, error.message, field=error.param))
    except OSError as error:
        message = f"The model that it starts from could not be read: {error.strerror or 'an error of the storage'}."
        fail_job(tick, job, Failure(ReasonCode.STORAGE_ERROR, message))
    else:
        publish(tick, events)


def _release(tick: Tick, tx: Transaction, job: JobRecord) -> list[EventRecord]:
    """Record what each parent has delivered, and have the job start from it."""
    record = tx.jobs.lock(job.ref)
    require_unchanged(record, job)
    assert isinstance(record.config, BaseJobConfig)
    parents = tx.chains.open_parents([job.id])[job.id]
    found: list[Delivered] = []
    for parent in parents:
        tx.jobs.hold(parent.id)
        found.append(delivered_by(tx, tx.jobs.get(parent.id)))
    if any(each.status is not JobStatus.COMPLETED for each in found):
        raise StaleJobError(f"Job {job.id!r} waits again: a job before it has been reopened.")
    fitted = fit_to_delivered(tx, tick.settings, record.config, found)
    tx.chains.release(job.id, {each.job_id: (each.attempt, each.model_id) for each in found})
    tx.chains.start_from(record, fitted.config, now=tick.now, **fitted.columns)
    messages = [waiting_reasons.released_by([each.in_words for each in found]), *fitted.notes]
    notices = [NewEvent(NoticePayload(code=CHAIN_RELEASED, message=message), tick.now) for message in messages]
    return tx.events.append(record.ref, notices)
