"""The analysis of a failed attempt from the record of its job, and the one that was recorded."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from cluster.runs.model_location import job_folder
from cluster.runs.run_limits import lasted_s, max_cost, spent_by
from ftlab.schemas import EventKind, FailurePayload, JobConfig, LogPayload, MemoryProbePayload, NoticePayload
from ftlab.schemas.events import ALARMS
from ftlab.schemas.failures import FailureAnalysis
from ftlab.settings import Settings
from ftlab.status import CAUSES, JobStatus, ReasonCode
from tracking.store import Transaction
from tracking.store.records import AttemptRecord, EventRecord, JobRecord
from train.estimate.job_memory import JobMemory
from train.estimate.memory import training_peak
from train.failures.analyse import analyse
from train.failures.facts import FailureFacts, SavedCheckpoint
from train.plan import Failure

SERIES = ("loss", "grad_norm", "eval_loss")
MAX_POINTS = 1000
"""Newest metric points of the job that are read."""
MAX_NOTICES = 200
MAX_LOG_LINES = 400
TAIL_LINES = 20
FIRST_LINE_OF_ERROR = "The run failed:"


def failure_of(attempt: AttemptRecord) -> Failure | None:
    """How an attempt failed; `None` for one that is alive, or ended without a failure."""
    if attempt.reason not in CAUSES:
        return None
    return Failure.from_details(attempt.reason, attempt.message or "", attempt.failure or {})


def analysis_of(
    tx: Transaction, settings: Settings, job: JobRecord, failure: Failure, number: int, now: datetime
) -> FailureAnalysis:
    """Analyse the failure of the attempt `number`, or of a job that failed before one (0)."""
    attempts = tx.attempts.of_job(job.id)
    notices = tx.events.tail(job.id, EventKind.NOTICE, MAX_NOTICES)
    points = [point for point in tx.metrics.last(job.id, MAX_POINTS) if point.name in SERIES]
    config = job.training_config
    earlier = [each.reason.value for each in attempts if each.number < number and each.reason in CAUSES and each.reason]
    facts = FailureFacts(
        failure=failure,
        attempt=number,
        config=config,
        phase=job.phase,
        step=job.step,
        total_steps=job.total_steps,
        has_stepped=any(point.attempt == number for point in points),
        metrics={name: [(point.step, point.value) for point in points if point.name == name] for name in SERIES},
        alarms=_alarms(notices),
        log_tail=_log_tail(tx.events.tail(job.id, EventKind.LOG, MAX_LOG_LINES), number),
        checkpoints=_checkpoints(tx, job),
        memory=_memory(settings, job, config, notices, number),
        run_time_s=lasted_s(attempts, now),
        spent=spent_by(tx, settings, [job.id], now)[0] if max_cost(job) is not None else None,
        earlier=tuple(earlier),
    )
    return analyse(facts)


def find_analysis(tx: Transaction, settings: Settings, job: JobRecord, now: datetime) -> FailureAnalysis | None:
    """The analysis of the job's newest failure: the recorded one, or a new one where none was recorded.

    `None` for a job that never failed.
    """
    payloads = [event.payload for event in tx.events.tail(job.id, EventKind.NOTICE, MAX_NOTICES)]
    analyses = [notice.analysis for notice in payloads if isinstance(notice, FailurePayload) and notice.analysis]
    failures = [(each.number, failure) for each in tx.attempts.of_job(job.id) if (failure := failure_of(each))]
    if analyses and (not failures or analyses[-1].attempt >= failures[-1][0]):
        return analyses[-1]
    if failures:
        number, failure = failures[-1]
        return analysis_of(tx, settings, job, failure, number, now)
    if job.status is JobStatus.FAILED:
        reason = job.reason if job.reason in CAUSES and job.reason else ReasonCode.INTERNAL_ERROR
        return analysis_of(tx, settings, job, Failure(reason, job.message), job.attempt, now)
    return None


def _alarms(notices: Sequence[EventRecord]) -> frozenset[str]:
    payloads = [event.payload for event in notices]
    return frozenset(notice.code for notice in payloads if isinstance(notice, NoticePayload)) & ALARMS


def _log_tail(events: Sequence[EventRecord], number: int) -> tuple[str, ...]:
    """The newest lines of the attempt before those of its error."""
    lines: list[str] = []
    for event in events:
        if event.attempt == number and isinstance(event.payload, LogPayload):
            if event.payload.text.startswith(FIRST_LINE_OF_ERROR):
                break
            lines.append(event.payload.text)
    return tuple(lines[-TAIL_LINES:])


def _checkpoints(tx: Transaction, job: JobRecord) -> tuple[SavedCheckpoint, ...]:
    return tuple(
        SavedCheckpoint(saved.name, saved.step, saved.size_bytes, saved.metrics.get("eval_loss"), saved.is_best)
        for saved in tx.checkpoints.of_job(job.id)
    )


def _memory(
    settings: Settings, job: JobRecord, config: JobConfig | None, notices: Sequence[EventRecord], number: int
) -> JobMemory | None:
    """What the attempt wrote down, corrected by its own memory probe: another attempt may have had other settings."""
    memory = JobMemory.read(job_folder(settings, job.id))
    if memory is None or config is None:
        return memory
    for event in notices:
        probe = event.payload
        if event.attempt == number and isinstance(probe, MemoryProbePayload) and probe.longest and probe.peak_bytes:
            computed = training_peak(memory.shape, config, probe.longest, memory.traits).total
            return replace(memory, correction=probe.peak_bytes / computed)
    return memory
