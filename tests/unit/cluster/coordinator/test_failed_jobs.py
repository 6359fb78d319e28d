"""Whatever dies, and whenever: the job's row has the reason and a message, and its log has the analysis."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from cluster.coordinator import failed_jobs
from cluster.coordinator.stop_requests import HEARTBEAT_TIMEOUT_S
from cluster.runs.failure_record import find_analysis
from ftlab.schemas import EventKind, FailureAnalysis, FailurePayload, LogPayload, MemoryProbePayload, MetricsPayload
from ftlab.schemas.events import MEMORY_PROBED
from ftlab.status import FailureCause, JobStatus, Phase, ReasonCode
from tests.unit.cluster.coordinator.world import World, add_checkpoint
from tests.unit.train.failures.reports import CPU, reported
from tracking.store.records import JobRecord, MetricRecord, NewEvent
from train.plan import Failure

C, R = FailureCause, ReasonCode
PHASES = (Phase.LOADING, Phase.EVALUATING, Phase.TRAINING, Phase.SAVING, Phase.DELIVERING)


def analyses(world: World, job_id: str) -> list[FailureAnalysis]:
    """Those in the job's event log."""
    with world.store.read() as tx:
        events = tx.events.after(job_id, 0, kinds=[EventKind.NOTICE])
    payloads = [event.payload for event in events]
    return [found.analysis for found in payloads if isinstance(found, FailurePayload) and found.analysis]


def enter(world: World, job_id: str, phase: Phase) -> None:
    """The job's run comes up and reports a phase."""
    world.tick()
    world.report(job_id, JobStatus.INITIALIZING)
    if phase is not Phase.LOADING:
        world.report(job_id, JobStatus.RUNNING)
    step = 0 if phase is Phase.LOADING else 5
    ref = world.job(job_id).ref
    with world.store.begin() as tx:
        tx.jobs.record_progress(ref, step=step, total_steps=10, epoch=0.1, phase=phase, now=world.now)


def ends(failure: Failure) -> Callable[[World, str], None]:
    """The run's driver reports the end."""

    def die(world: World, job_id: str) -> None:
        with world.store.begin() as tx:
            ref, details = world.job(job_id).ref, failure.to_details()
            ended = tx.attempts.end(ref, reason=failure.reason, message=failure.message, now=world.now, failure=details)
            assert ended

    return die


def driver_dies(world: World, job_id: str) -> None:
    del world.cluster.running[world.attempt(job_id).driver]


def driver_hangs(world: World, job_id: str) -> None:
    world.driver(job_id).hangs = True
    world.now += timedelta(seconds=HEARTBEAT_TIMEOUT_S + 1)


DEATHS = {
    "an error": (ends(reported("internal_error")), R.INTERNAL_ERROR, C.INTERNAL_ERROR),
    "no GPU memory": (ends(reported("gpu_memory_training")), R.DEVICE_OOM, C.GPU_MEMORY_TRAINING),
    "a worker": (ends(Failure(R.WORKER_CRASHED, "It exited.")), R.RETRY_BUDGET_EXHAUSTED, C.KILLED),
    "a hang": (ends(Failure(R.WORKER_HUNG, "No progress for 9 s.")), R.RETRY_BUDGET_EXHAUSTED, C.STUCK),
    "the driver": (driver_dies, R.RETRY_BUDGET_EXHAUSTED, C.KILLED),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("death", DEATHS)
def test_whatever_dies_in_whatever_phase_the_row_says_why(world: World, death: str, phase: Phase):
    die, reason, cause = DEATHS[death]
    job_id = world.submit(max_retries=0)
    enter(world, job_id, phase)
    die(world, job_id)
    world.tick(after_s=1)
    world.tick(after_s=1)
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, reason)
    assert job.message.endswith(".")
    [found] = analyses(world, job_id)
    assert (found.cause, found.attempt) == (cause, 1)
    if death != "an error" and death != "no GPU memory":  # their tracebacks say the phase
        assert found.phase is phase


def test_a_driver_that_hangs_is_told_apart_from_nothing(world: World):
    job_id = world.submit(max_retries=0)
    enter(world, job_id, Phase.TRAINING)
    driver_hangs(world, job_id)
    world.tick()
    world.tick(after_s=HEARTBEAT_TIMEOUT_S + 1)
    world.tick(after_s=1)
    job = world.job(job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, R.RETRY_BUDGET_EXHAUSTED)
    [found] = analyses(world, job_id)
    assert (found.reason, found.phase) == (R.WORKER_CRASHED, Phase.TRAINING)


def test_a_job_that_fails_before_its_first_attempt(world: World):
    job_id = world.submit(model="model:mdl-gone")
    world.tick()
    assert world.job(job_id).reason is R.MODEL_NOT_FOUND
    [found] = analyses(world, job_id)
    assert (found.cause, found.attempt, found.phase) == (C.MODEL_NOT_FOUND, 0, None)


def test_a_retried_job_keeps_the_analysis_of_its_newest_failure(world: World):
    job_id = world.submit()
    for _ in range(2):
        enter(world, job_id, Phase.TRAINING)
        ends(Failure(R.WORKER_CRASHED, "It exited."))(world, job_id)
        world.tick(after_s=1)
        assert world.status(job_id) is JobStatus.QUEUED
        world.now += timedelta(seconds=60)
    first, second = analyses(world, job_id)
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.evidence == ["Earlier attempts of the job failed with worker_crashed (1)."]
    assert found_in(world, job_id) == second


def test_a_paused_cancelled_or_preempted_attempt_is_no_failure(world: World):
    for kind, reason in ((world.pause, R.OK), (world.cancel, R.USER_CANCELLED)):
        job_id = world.running()
        kind(job_id)
        world.stops(job_id, reason)
        assert analyses(world, job_id) == []
        assert found_in(world, job_id) is None


def test_what_is_read_from_the_record(world: World):
    job_id = world.submit(training={"per_device_train_batch_size": 8, "max_steps": 10})
    enter(world, job_id, Phase.TRAINING)
    add_checkpoint(world, job_id, 4)
    ref = world.job(job_id).ref
    folder = world.settings.home / "jobs" / job_id
    folder.mkdir(parents=True)
    CPU.write(folder)
    probe = MemoryProbePayload(code=MEMORY_PROBED, message="It was tried.", longest=2048, peak_bytes=30 * 10**9)
    texts = ("Loading", "The run failed: no memory", "  File x")
    lines = [NewEvent(LogPayload(level="info", text=text), world.now) for text in texts]
    with world.store.begin() as tx:
        tx.metrics.add([MetricRecord(job_id, "loss", 5, 2.5, world.now, 1)])
        tx.events.append(ref, [NewEvent(probe, world.now), *lines, NewEvent(MetricsPayload(step=5), world.now)])
    ends(Failure(R.HOST_OOM, "No memory.", notes=("The kernel killed 1 process.",)))(world, job_id)
    world.tick(after_s=1)
    [found] = analyses(world, job_id)
    assert found.evidence[0] == "The kernel killed 1 process."
    # The estimate is corrected by the memory probe of this attempt.
    assert any(line.startswith("Computed peak of a training step") and "30.0 GB" in line for line in found.evidence)
    assert (found.resume_from is not None, found.suggestions != []) == (True, True)


def test_an_analysis_that_breaks_keeps_no_job_from_its_end(world: World, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    job_id = world.submit()
    enter(world, job_id, Phase.TRAINING)
    ends(Failure(R.WORKER_CRASHED, "It exited."))(world, job_id)
    world.tick(after_s=1)
    monkeypatch.setattr(failed_jobs, "analysis_of", broken)
    world.now += timedelta(seconds=60)
    enter(world, job_id, Phase.TRAINING)
    ends(Failure(R.LOSS_DIVERGED, "The loss became nan."))(world, job_id)
    world.tick(after_s=1)
    assert (world.status(job_id), world.job(job_id).message) == (JobStatus.FAILED, "The loss became nan.")
    assert [found.attempt for found in analyses(world, job_id)] == [1]
    # Asked for it, the API makes that of the second attempt from the record.
    assert (found := found_in(world, job_id)) is not None
    assert (found.cause, found.attempt) == (C.DIVERGED, 2)


def found_in(world: World, job_id: str) -> FailureAnalysis | None:
    job: JobRecord = world.job(job_id)
    with world.store.read() as tx:
        return find_analysis(tx, world.settings, job, world.now)
