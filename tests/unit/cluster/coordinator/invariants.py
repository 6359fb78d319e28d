"""What must hold for every job at every moment, whatever has happened."""

from itertools import pairwise

from cluster.coordinator.queue_snapshot import held_shape
from cluster.policy import Placement, Spot
from cluster.policy.recovery import MAX_DIVERGENCE_RECOVERIES, MAX_MEMORY_RECOVERIES
from ftlab.schemas import EventKind
from ftlab.status import REOPENED, TRANSITIONS, JobStatus
from tests.unit.cluster.coordinator.world import World
from tests.unit.cluster.policy.builders import room_after
from tracking.store.records import AttemptRecord, EventRecord, JobRecord


class Oracle:
    """Looks at every job that has changed since its last look."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[str, JobRecord] = {}

    def check(self, job_ids: list[str]) -> None:
        with self._world.store.read() as tx:
            jobs = {job.id: job for job in tx.jobs.list(limit=10_000)}
            assert sorted(jobs) == sorted(job_ids), "a job is lost, or nobody submitted it"
            changed = [job for job in jobs.values() if self._seen.get(job.id) != job]
            histories = {job.id: tx.attempts.of_job(job.id) for job in changed}
            events = {job.id: tx.events.after(job.id, 0, limit=100_000) for job in changed}
            live = [(jobs[attempt.job_id], attempt) for attempt in tx.attempts.live()]
            models = {job.id: [model.id for model in tx.models.all_of_job(job.id)] for job in changed}
        for job in changed:
            _check_events(job, events[job.id], models[job.id])
            if job.status is JobStatus.COMPLETED:
                assert self._world.trained[job.id] == job.num_files, "a file was never trained"
            _check_attempts(job, histories[job.id])
        _check_devices(self._world, live)
        self._seen = jobs


def _check_events(job: JobRecord, events: list[EventRecord], models: list[str]) -> None:
    assert [event.seq for event in events] == list(range(1, job.last_seq + 1)), "a gap in the event log"
    told = [event.data for event in events if event.kind is EventKind.STATUS]
    statuses = [JobStatus(data["status"]) for data in told]
    assert statuses[0] is JobStatus.QUEUED
    assert statuses[-1] is job.status
    for before, after in pairwise(statuses):
        is_reopened = before in REOPENED and after is JobStatus.QUEUED
        assert after in TRANSITIONS[before] or is_reopened, f"{before} -> {after}"
    assert all(data["message"] for data in told)
    for data in told[:-1]:
        assert (data["reason"] is not None) == JobStatus(data["status"]).is_terminal
    assert (told[-1]["reason"] is not None) == job.status.is_terminal
    assert (job.reason is not None) == (job.finished_at is not None) == job.status.is_terminal
    assert (job.paused_at is not None) == (job.status is JobStatus.PAUSED)
    assert (job.stop_kind is not None) == (job.status is JobStatus.PAUSING)
    assert job.model_id == (models[-1] if models else None)
    assert len(models) == statuses.count(JobStatus.COMPLETED)
    assert job.waiting_for is None or job.status is JobStatus.QUEUED
    assert job.retries_used <= job.config.max_retries
    changes = [event.data["changes"] for event in events if event.data.get("code") == "config_adjusted"]
    assert changes == [each.model_dump(mode="json")["changes"] for each in job.adjustments], "a change without an event"
    assert [each.attempt for each in job.adjustments] == sorted({each.attempt for each in job.adjustments})
    in_force = {change["field"]: change["to"] for made in changes for change in made}
    config = job.config.model_dump(mode="json")
    assert all(config[group][name] == to for (group, _, name), to in _by_group(in_force)), "a change that is not made"
    assert len(job.adjustments) <= (MAX_MEMORY_RECOVERIES + MAX_DIVERGENCE_RECOVERIES if job.config.recovery else 0)


def _by_group(changes: dict[str, object]) -> list[tuple[tuple[str, str, str], object]]:
    return [(field.partition("."), to) for field, to in changes.items() if "." in field]


def _check_attempts(job: JobRecord, attempts: list[AttemptRecord]) -> None:
    assert [attempt.number for attempt in attempts] == list(range(1, job.attempt + 1))
    for before, after in pairwise(attempts):
        assert before.ended_at is not None
        assert before.ended_at <= after.created_at, "two attempts at one time"
    for attempt in attempts:
        assert (attempt.ended_at is None) == (attempt.reason is None)
        assert attempt.ended_at is None or attempt.message
    if job.status in (JobStatus.QUEUED, JobStatus.PAUSED) or job.status.is_terminal:
        assert not attempts or attempts[-1].ended_at is not None, "a job at rest holds devices"


def _check_devices(world: World, live: list[tuple[JobRecord, AttemptRecord]]) -> None:
    taken = []
    for job, attempt in live:
        placement: Placement = tuple(Spot(*spot) for spot in attempt.placement)
        taken.append((held_shape(attempt, job.config.resources.num_workers), placement))
    room_after(world.cluster.given, *taken)
