"""Automatic recovery: a job whose attempt failed is queued again with other settings, in one transaction."""

import logging
from collections.abc import Sequence

from cluster.coordinator.preparation import DataKey
from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import publish, require_unchanged
from cluster.policy.recovery import RECOVERABLE, Recover, recover
from ftlab.errors import InvalidRequestError
from ftlab.schemas import FailurePayload, JobConfig
from ftlab.schemas.adjustments import AdjustedBy, Adjustment
from ftlab.schemas.config_changes import adjusted, changes_between
from ftlab.schemas.failures import Change, FailureAnalysis
from ftlab.schemas.job_file import parse_job_config
from ftlab.status import JobStatus, ReasonCode
from tracking.store import StaleJobError
from tracking.store.jobs import MoveFields
from tracking.store.records import JobRecord, NewEvent
from train.checkpoints.setting_changes import refused_changes

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
        has_checkpoint = bool(tx.checkpoints.of_job(job.id))

    def can_take(changes: Sequence[Change]) -> bool:
        after = _config_after(job, changes)
        found = changes_between(config, after) if after else []
        return bool(found) and not refused_changes(config, found, has_checkpoint=has_checkpoint)

    decision = recover(reason, analysis, job.adjustments, learning_rate=config.learning_rate, can_take=can_take)
    if decision is None:
        return False
    _queue_again(tick, job, config, decision, f"{reason.value}: {message}", notices)
    return True


def _queue_again(
    tick: Tick, job: JobRecord, config: JobConfig, decision: Recover, failed: str, notices: Sequence[NewEvent]
) -> None:
    """Change the config, record it and queue the job, all or nothing; the next tick decides again where it cannot."""
    after = _config_after(job, decision.changes)
    assert after is not None, "the policy chose changes that the job can take"
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


def _config_after(job: JobRecord, changes: Sequence[Change]) -> JobConfig | None:
    """The job's config with the changes; `None` where it would be refused."""
    try:
        return parse_job_config(adjusted(job.submitted_config, {change.field: change.to for change in changes}))
    except InvalidRequestError:
        return None


def _analysis_in(notices: Sequence[NewEvent]) -> FailureAnalysis | None:
    found = (notice.payload.analysis for notice in notices if isinstance(notice.payload, FailurePayload))
    return next(found, None)
