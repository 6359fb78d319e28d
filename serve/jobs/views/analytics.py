"""Analytics of a job: collects its record, and that of the owner's earlier jobs, for `train.analytics`. It blocks."""

from collections.abc import Collection
from datetime import UTC, datetime
from statistics import median

from ftlab.schemas import EarlierRun, EventKind, JobAnalytics, JobConfig, MetricsPayload, NoticePayload, TimeUse
from ftlab.schemas.events import EVALUATION_CHANGED, CheckpointPayload, ProgressPayload, StatusPayload
from ftlab.status import JobStatus
from serve.context import Services
from serve.jobs.views.job_view import require_training
from tracking.store import Transaction
from tracking.store.records import EventRecord, JobRecord
from train.analytics.analyze import JobFacts, analyze, goal_of, series_of
from train.analytics.compared_configs import differences, has_same_evaluation, is_same_kind
from train.analytics.learning import convergence_of
from train.analytics.series import Measurement
from train.analytics.time_use import AttemptSpan, Reading, StatusChange, time_use_of

MAX_POINTS = 5_000
"""Points of a series that are analysed; longer ones are thinned evenly."""
TRAIN_SERIES = ("loss", "reward", "grad_norm", "tokens_per_s", "step_time_s", "data_wait_s")
MAX_EVENTS = 10_000
"""Newest events of a kind that are read; a job has far fewer checkpoints and changes of its status."""
SEARCHED_JOBS = 200
"""Newest completed jobs before this one among which those of the same kind are searched."""
MAX_EARLIER_RUNS = 5

Measured = dict[str, list[Measurement]]


def analytics(services: Services, owner: str, job: str) -> JobAnalytics:
    """What the record of a job says about its training."""
    now = datetime.now(UTC)
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
        require_training(record, "has an analysis of its training")
        names = [name for name in tx.metrics.names(record.id) if name in TRAIN_SERIES or _is_evaluation(name)]
        measured = measured_series(tx, record.id, names)
        resumed_from = resumed_from_steps(tx, record.id)
        time = _time_use(tx, record, now)
        earlier = _earlier_runs(tx, record, now)
    config = record.training_config
    facts = JobFacts(record.id, record.status, config, record.step, record.total_steps)
    is_thinned = any(len(points) >= MAX_POINTS for points in measured.values())
    return analyze(facts, measured, resumed_from, time, earlier, is_thinned=is_thinned)


def measured_series(tx: Transaction, job_id: str, names: Collection[str]) -> Measured:
    """The named series of all attempts, each thinned to `MAX_POINTS`; evaluations only as far as they can be compared
    with the newest.
    """
    measured: Measured = {name: [] for name in names}
    since = _first_comparable_attempt(tx, job_id) if any(map(_is_evaluation, names)) else 0
    for point in tx.metrics.series(job_id, names, MAX_POINTS):
        if point.attempt >= since or not _is_evaluation(point.name):
            measured[point.name].append(Measurement(point.step, point.value, point.attempt))
    return measured


def _is_evaluation(name: str) -> bool:
    return name.startswith("eval_")


def _first_comparable_attempt(tx: Transaction, job_id: str) -> int:
    """The attempt from which on evaluations measure what the newest one does; 0 where all do."""
    if not tx.jobs.get(job_id).adjustments:
        return 0
    notices = tx.events.tail(job_id, EventKind.NOTICE, MAX_EVENTS)
    changed = [
        event.attempt
        for event in notices
        if isinstance(event.payload, NoticePayload) and event.payload.code == EVALUATION_CHANGED
    ]
    return max(changed, default=0)


def resumed_from_steps(tx: Transaction, job_id: str) -> dict[int, int | None]:
    """The step that each attempt resumed from, `None` for the base model."""
    return {attempt.number: attempt.resumed_from_step for attempt in tx.attempts.of_job(job_id)}


def _time_use(tx: Transaction, record: JobRecord, now: datetime) -> TimeUse:
    newest = tx.events.newest_of_attempts(record.id, (EventKind.METRICS, EventKind.PROGRESS, EventKind.CHECKPOINT))
    checkpoints = tx.events.tail(record.id, EventKind.CHECKPOINT, MAX_EVENTS)
    changes = [
        StatusChange(event.at, event.payload.status, event.attempt)
        for event in tx.events.tail(record.id, EventKind.STATUS, MAX_EVENTS)
        if isinstance(event.payload, StatusPayload)
    ]
    attempts = [
        AttemptSpan(
            each.number,
            each.resumed_from_step,
            each.created_at,
            each.ended_at,
            each.reason,
            max((_step(event) for event in newest if event.attempt == each.number), default=None),
        )
        for each in tx.attempts.of_job(record.id)
    ]
    readings = [reading for event in [*checkpoints, *newest] if (reading := _reading(event)) is not None]
    until = record.finished_at if record.status.is_terminal and record.finished_at else now
    return time_use_of(record.created_at, until, changes, attempts, readings)


def _step(event: EventRecord) -> int:
    payload = event.payload
    return payload.step if isinstance(payload, ProgressPayload | CheckpointPayload) else 0


def _reading(event: EventRecord) -> Reading | None:
    payload = event.payload
    if isinstance(payload, CheckpointPayload) or (isinstance(payload, MetricsPayload) and payload.times_s):
        return Reading(event.attempt, payload.step, event.at, payload.times_s)
    return None


def _earlier_runs(tx: Transaction, record: JobRecord, now: datetime) -> list[EarlierRun]:
    """The owner's newest completed jobs of the same kind that were submitted before this one."""
    config = record.training_config
    if config is None:
        return []
    found: list[EarlierRun] = []
    completed = {JobStatus.COMPLETED}
    kinds = {record.kind}
    for other in tx.jobs.list(
        owner=record.owner, statuses=completed, kinds=kinds, after=record.id, limit=SEARCHED_JOBS
    ):
        if isinstance(other.config, JobConfig) and is_same_kind(config, other.config):
            found.append(_earlier_run(tx, other, other.config, config, now))
        if len(found) == MAX_EARLIER_RUNS:
            break
    return found


def _earlier_run(tx: Transaction, other: JobRecord, its: JobConfig, config: JobConfig, now: datetime) -> EarlierRun:
    goal = goal_of(its)
    measured = measured_series(tx, other.id, (goal.train, goal.evaluation, "tokens_per_s"))
    series = series_of(measured, resumed_from_steps(tx, other.id))
    evaluations = [point for point in series.get(goal.evaluation, []) if point.step > 0]
    best = goal.best(evaluations) if evaluations else None
    course = convergence_of(goal.train, series.get(goal.train, []))
    speeds = [point.value for point in series.get("tokens_per_s", []) if point.value > 0]
    return EarlierRun(
        job_id=other.id,
        name=other.name,
        created_at=other.created_at,
        steps=other.step,
        best=best.value if best else None,
        best_step=best.step if best else None,
        last=course.last if course else None,
        tokens_per_s=median(speeds) if speeds else None,
        run_time_s=tx.attempts.run_times([other.id], now=now).get(other.id),
        is_comparable=has_same_evaluation(config, its),
        differences=differences(config, its),
    )
