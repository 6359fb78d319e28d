"""Automatic recovery: a job whose attempt failed is queued again with other settings, in one transaction."""

import logging
from collections.abc import Sequence

from cluster.coordinator.preparation import DataKey
from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import publish, require_unchanged
from cluster.policy.recovery import RECOVERABLE, Recover, recover
from ftlab.schemas import FailurePayload, JobConfig
from ftlab.schemas.adjustments import AdjustedBy, Adjustment, Change
from ftlab.schemas.config_changes import changes_between
from ftlab.schemas.failures import FailureAnalysis
from ftlab.status import JobStatus, ReasonCode
from tracking.store import StaleJobError
from tracking.store.checkpoints import pinned_after
from tracking.store.jobs import MoveFields
from tracking.store.records import JobRecord, NewEvent
from train.checkpoints.setting_changes import changed_config

logger = logging.getLogger(__name__)


def try_recovery(
    tick: Tick, job: JobRecord, config: JobConfig, reason: ReasonCode, message: str, notices: Sequence[NewEvent]
) -> bool:
    """Queue the job again with settings that are likely to cure the failure.

    `notices` are those about the failed attempt, with its analysis. Returns False when the failure is final.
    """
    analysis = _analysis_in(notices)
    if (config.recovery or tick.settings.recovery) != "auto" or reason not in RECOVERABLE or analysis is None:
        return False
    with tick.store.read() as tx:
        checkpoints = tx.checkpoints.of_job(job.id)
    has_checkpoint = bool(checkpoints)

    def after(changes: Sequence[Change]) -> JobConfig | None:
        return changed_config(config, job.document, changes, has_checkpoint=has_checkpoint)

    rate, earlier = config.learning_rate, job.adjustments
    decision = recover(reason, analysis, earlier, learning_rate=rate, can_take=lambda changes: bool(after(changes)))
    new = after(decision.changes) if decision else None
    if decision is None or new is None:
        return False
    if pinned := pinned_after(checkpoints, decision.resume_from):
        logger.info("Job %s is not recovered: %s is pinned, and a resume would remove it", job.id, pinned)
        return False
    _queue_again(tick, job, new, decision, f"{reason.value}: {message}", notices)
    return True


def _queue_again(
    tick: Tick, job: JobRecord, after: JobConfig, decision: Recover, failed: str, notices: Sequence[NewEvent]
) -> None:
    """Change the config, record it and queue the job, all or nothing; the next tick decides again where it cannot."""
    config = job.config
    assert isinstance(config, JobConfig)
    adjustment = Adjustment(
        at=tick.now,
        by=AdjustedBy.AUTOMATIC,
        attempt=job.attempt,
        changes=changes_between(config, after),
        reason=decision.reason,
    )
    needs_data = DataKey.of(config, job.model_revision) != DataKey.of(after, job.model_revision)
    fields: MoveFields = {"resume_from": decision.resume_from} if decision.resume_from else {}
    message = f"Queued again with {adjustment.sentence}, after {failed}"
    try:
        with tick.store.begin() as tx:
            require_unchanged(tx.jobs.lock(job.ref), job)
            events = tx.events.append(job.ref, notices)
            events.append(tx.adjustments.apply(job, after, adjustment, needs_data=needs_data))
            events.append(tx.jobs.move(job.ref, JobStatus.QUEUED, now=tick.now, message=message, **fields))
    except StaleJobError as error:
        logger.info("%s", error)
        return
    publish(tick, events)


def _analysis_in(notices: Sequence[NewEvent]) -> FailureAnalysis | None:
    found = (notice.payload.analysis for notice in notices if isinstance(notice.payload, FailurePayload))
    return next(found, None)
