"""What is killed comes back, and no job is lost by it."""

import time

import psutil
import pytest

from ftlab import Client
from ftlab.schemas import Dataset, Job
from ftlab.status import FailureCause, JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.support.lab import Lab, at_step, follow_until, tiny_job


def has_unbroken_steps(client: Client, job: Job) -> bool:
    steps = [point.step for point in client.jobs.metrics(job.id, names=["loss"])]
    return steps == list(range(1, (job.total_steps or 0) + 1))


def slow_job(dataset: Dataset, *, max_steps: int, **changes: object) -> dict[str, object]:
    """A job whose steps take long enough to be hit by a kill."""
    training = {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 8}
    return tiny_job(dataset, max_steps=max_steps, training=training, **changes)


@pytest.mark.slow
def test_a_killed_worker_resumes_from_the_newest_checkpoint(client: Client, lab: Lab, dataset: Dataset) -> None:
    job = client.jobs.create(slow_job(dataset, max_steps=120))
    follow_until(client, job, at_step(13))
    psutil.Process(lab.pids(job.id)[0]).kill()

    resumed = follow_until(client, job, lambda event: event.data.get("code") == "resuming")
    done = client.jobs.wait(job.id, timeout_s=180)

    first, second = lab.attempts(job.id)
    assert (first.reason, second.reason) == (ReasonCode.WORKER_CRASHED, ReasonCode.OK)
    last_step = max(
        event.data["step"] for event in client.jobs.events(job.id) if event.kind == "metrics" and event.attempt == 1
    )
    # A checkpoint may be committed before the metrics of its step, which the next attempt then tells.
    assert last_step - resumed.data["step"] <= 5, "at most save_steps are repeated"
    assert has_unbroken_steps(client, done)
    assert done.retries_used == 1
    why = client.jobs.failure(job.id)
    assert (why.cause, why.reason, why.attempt) == (FailureCause.KILLED, ReasonCode.WORKER_CRASHED, 1)
    assert any(line.startswith("Ray reports: ") for line in why.evidence)
    assert why.resume_from is not None


@pytest.mark.slow
def test_a_diverged_job_is_tried_again_with_half_the_learning_rate(client: Client, dataset: Dataset) -> None:
    training = {"learning_rate": 1.0, "optim": "sgd", "max_grad_norm": 0.0}
    job = client.jobs.create(tiny_job(dataset, max_steps=400, training=training, tuning="full", recovery="auto"))
    done = client.jobs.wait(job.id, timeout_s=180)
    assert (done.status, done.attempt) == (JobStatus.COMPLETED, 2)
    assert client.jobs.failure(job.id).cause == "diverged"
    [adjustment] = done.adjustments
    assert (adjustment.by, adjustment.attempt, adjustment.sentence) == (
        "automatic",
        1,
        "training.learning_rate 1 -> 0.5",
    )


def test_training_and_followers_survive_the_death_of_coordinator_and_replicas_until_a_cancel_ends_all_in_ten_seconds(
    client: Client, lab: Lab, dataset: Dataset
) -> None:
    job = client.jobs.create(slow_job(dataset, max_steps=500))
    seqs, killed_at, step = [], 0, 0
    for event in client.jobs.follow(job.id):
        seqs.append(event.seq)
        step = event.data["step"] if event.kind == "metrics" else step
        if not killed_at and step >= 3:
            killed_at = step
            _kill_the_coordinator(lab)
            second = client.jobs.create(tiny_job(dataset, max_steps=2))
            for replica in lab.find("ray::ServeReplica"):
                replica.kill()
        if killed_at and step >= killed_at + 10:
            break
    pids = lab.pids(job.id)
    client.jobs.cancel(job.id)
    cancelled_at = time.monotonic()  # the replicas may have been starting until then

    assert pids
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), 30, "the processes to be gone")
    assert time.monotonic() - cancelled_at < 10.0
    seqs += [event.seq for event in client.jobs.follow(job.id, after=seqs[-1])]
    done = client.jobs.get(job.id)
    assert (done.status, done.reason) == (JobStatus.CANCELLED, ReasonCode.USER_CANCELLED)
    assert seqs == list(range(1, done.last_seq + 1)), "no gap, no double"
    assert len(lab.attempts(job.id)) == 1, "the run did not notice"
    steps = [point.step for point in client.jobs.metrics(job.id, names=["loss"])]
    assert steps == list(range(1, done.step + 1))
    assert list(client.jobs.checkpoints(job.id)), "its checkpoints are kept"
    assert client.jobs.wait(second.id, timeout_s=120).status is JobStatus.COMPLETED


def _kill_the_coordinator(lab: Lab) -> None:
    """Another one is there soon: it starts beside the training and the replicas."""
    [coordinator] = lab.find("ray::CoordinatorActor")
    coordinator.kill()
    killed_at = time.monotonic()
    wait_for(
        lambda: any(process.pid != coordinator.pid for process in lab.find("ray::CoordinatorActor")),
        30,
        "a new coordinator",
    )
    assert time.monotonic() - killed_at < 15.0


@pytest.mark.slow
def test_cancel_while_initializing_ends_the_processes_within_ten_seconds(
    client: Client, lab: Lab, dataset: Dataset
) -> None:
    job = client.jobs.create(slow_job(dataset, max_steps=100_000))
    follow_until(client, job, lambda event: event.data.get("status") == "initializing")
    pids = lab.pids(job.id)
    client.jobs.cancel(job.id)
    asked_at = time.monotonic()

    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), 30, "the processes to be gone")
    wait_for(lambda: client.jobs.get(job.id).status is JobStatus.CANCELLED, 30, "the status")

    assert time.monotonic() - asked_at < 10.0
    assert client.jobs.get(job.id).reason is ReasonCode.USER_CANCELLED


@pytest.mark.slow
def test_mlflow_that_hangs_delays_nothing_and_is_filled_in_afterwards(
    client: Client, lab: Lab, dataset: Dataset
) -> None:
    servers = lab.find_by_word("mlflow")
    assert servers
    for server in servers:
        server.suspend()
    try:
        job = client.jobs.create(tiny_job(dataset, max_steps=10, register_as="filled-in"))
        done = client.jobs.wait(job.id, timeout_s=120)
        assert done.status is JobStatus.COMPLETED
        assert done.mlflow_run_id is None
    finally:
        for server in servers:
            server.resume()

    def is_filled_in() -> bool:
        found = client.jobs.get(job.id)
        return found.model_id is not None and client.models.get(found.model_id).mlflow_version is not None

    wait_for(is_filled_in, 90, "MLflow to be filled in")


@pytest.mark.slow
def test_after_a_power_cut_running_jobs_go_on_and_queued_ones_keep_their_order(
    client: Client, lab: Lab, dataset: Dataset
) -> None:
    running = client.jobs.create(slow_job(dataset, max_steps=120))
    waiting = [client.jobs.create(tiny_job(dataset, max_steps=2)) for _ in range(2)]
    follow_until(client, running, at_step(12))
    lab.kill_everything()

    lab.start()

    done = client.jobs.wait(running.id, timeout_s=240)
    assert [attempt.reason for attempt in lab.attempts(running.id)] == [ReasonCode.SERVICE_RESTARTED, ReasonCode.OK]
    assert has_unbroken_steps(client, done)
    assert done.retries_used == 0, "the service's fault does not count"
    first, second = [client.jobs.wait(job.id, timeout_s=120) for job in waiting]
    assert done.finished_at <= first.started_at <= second.started_at
