"""Pausing, resuming and ordering jobs, from the terminal monitor or the SDK to the training process and back."""

import sys
import time

import pytest

from ftlab import Client
from ftlab.errors import InvalidRequestError
from ftlab.schemas import Dataset, Event, Job
from ftlab.status import JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.support.lab import Lab, at_step, follow_until, tiny_job
from tests.support.terminal import Terminal

PATIENT_S = 120.0
MANY_STEPS = 3000
"""More than any of these tests waits for."""
ENDLESS = 100_000
MONITOR = [sys.executable, "-m", "ftlab.cli.main", "monitor"]


def notice(code: str, job: Job, client: Client) -> Event:
    found = [event for event in client.jobs.events(job.id, kinds="notice") if event.data["code"] == code]
    assert found, f"no notice {code}"
    return found[-1]


def is_running(client: Client, job: Job) -> bool:
    return client.jobs.get(job.id).status is JobStatus.RUNNING


def test_a_job_is_watched_paused_resumed_cancelled_and_resumed_with_a_change(
    lab: Lab, client: Client, dataset: Dataset
) -> None:
    """In a real terminal with real keys; the SDK names the checkpoint to go on from."""
    config = tiny_job(dataset, max_steps=ENDLESS, name="watched", training={"save_total_limit": 1000})
    job = client.jobs.create(config)
    with Terminal([*MONITOR, "--server", lab.settings.server_url], lab.environment(), (80, 24)) as terminal:
        terminal.wait_for("FineTune Lab", "NAME", "watched", "live")
        terminal.press("/", *"watched", "enter")
        terminal.wait_for(f"/{ENDLESS}", timeout_s=PATIENT_S)
        terminal.press("enter")
        terminal.wait_for("● running", "Charts", "learning_rate", job.id, timeout_s=PATIENT_S)
        terminal.press("l")
        terminal.wait_for(f"/{ENDLESS}: loss")
        terminal.press("3")
        terminal.wait_for("CHECKPOINT", "step-000000", timeout_s=PATIENT_S)
        follow_until(client, job, at_step(12))
        terminal.press("p")
        terminal.wait_for("‖ paused", timeout_s=PATIENT_S)
        _resume_from_step_10(client, job)
        terminal.wait_for("● running", timeout_s=PATIENT_S)
        terminal.press("d")
        terminal.wait_for("Cancel job 'watched'", "No")
        terminal.press("enter")  # No
        terminal.wait_until_gone("Cancel job")
        terminal.press("d")
        terminal.wait_for("Cancel job 'watched'")
        terminal.press("y")
        terminal.wait_until_gone("Cancel job")
        terminal.wait_for("⊘ cancelled", timeout_s=PATIENT_S)
        cancelled = client.jobs.wait(job.id, timeout_s=PATIENT_S, raise_on_failure=False)
        assert cancelled.status is JobStatus.CANCELLED
        terminal.press("1", "R")
        terminal.wait_for("Resume 'watched'")
        terminal.press("tab", *"training.learning_rate = 1e-4")
        terminal.wait_for("training.learning_rate = 1e-4")
        terminal.press("ctrl+r")
        terminal.wait_until_gone("Resume 'watched'")
        terminal.wait_for("Changed:", timeout_s=PATIENT_S)
        terminal.wait_for("● running", timeout_s=PATIENT_S)
        terminal.press("q")
        assert terminal.wait_until_ended() == 0
    follow_until(client, job, lambda event: event.attempt == 3 and event.data.get("code") == "resumed")
    receipt = notice("resumed", job, client)
    assert receipt.data["step"] == client.jobs.attempts(job.id)[-1].resumed_from_step == cancelled.step
    assert [why.partition(" ")[0] for why in receipt.data["why_not"]] == ["training.learning_rate"]
    [adjustment] = client.jobs.get(job.id).adjustments
    assert (adjustment.by, adjustment.attempt) == ("user", 2)
    assert adjustment.sentence == "training.learning_rate 0.001 -> 0.0001"
    assert not [event for event in client.jobs.events(job.id, kinds="notice") if event.data["code"] == "record_differs"]
    _check_sampled_load(client, job)
    client.jobs.cancel(job.id)
    client.jobs.wait(job.id, timeout_s=PATIENT_S, raise_on_failure=False)


def _check_sampled_load(client: Client, job: Job) -> None:
    """Wait for samples of the running job: its load is known from the second one of an attempt on."""
    wait_for(lambda: any("cpu_cores" in each.values for each in client.jobs.gpu(job.id).data), 60, "the job's load")
    [worker] = client.jobs.gpu(job.id).data
    assert (worker.node, worker.device) == (client.nodes()[0].name, "processes")
    assert max(cores or 0 for cores in worker.values["cpu_cores"].max) > 0.2
    assert max(worker.values["memory_bytes"].max) > 100e6
    began = {attempt.number: attempt.created_at.timestamp() for attempt in client.jobs.attempts(job.id)}
    times = zip(worker.times, worker.attempts, strict=True)
    assert all(began[number] - 1 <= at.timestamp() <= time.time() + 1 for at, number in times)


def _resume_from_step_10(client: Client, job: Job) -> None:
    """Continue the paused job from an earlier checkpoint than its newest."""
    paused = client.jobs.get(job.id)
    assert paused.status is JobStatus.PAUSED
    assert paused.paused_at is not None
    newest = client.jobs.checkpoints(job.id)[0]
    assert newest.step == paused.step >= 12
    [attempt] = client.jobs.attempts(job.id)
    assert attempt.reason is ReasonCode.OK

    assert client.jobs.resume(job.id, "step-00000010").status is JobStatus.QUEUED
    follow_until(client, job, lambda event: event.attempt == 2 and at_step(12)(event))

    assert client.jobs.attempts(job.id)[-1].resumed_from_step == 10
    assert newest.step in notice("checkpoints_given_up", job, client).data["removed_steps"]
    receipt = notice("resumed", job, client)
    assert (receipt.attempt, receipt.data["step"], receipt.data["bit_exact"]) == (2, 10, True)
    steps = [point.step for point in client.jobs.metrics(job.id, ["loss"], max_points=5000)]
    assert steps == list(range(1, steps[-1] + 1))


@pytest.mark.slow
def test_a_job_that_has_cost_its_limit_saves_and_goes_on_with_a_higher_one(
    lab: Lab, client: Client, dataset: Dataset
) -> None:
    """A core costs a cent a second here; what it costs to start is far less than the limit."""
    one_core = {"cpus_per_worker": 1}
    job = client.jobs.create(tiny_job(dataset, max_steps=MANY_STEPS, resources=one_core, max_cost="0.75"))
    ended = client.jobs.wait(job.id, timeout_s=PATIENT_S, raise_on_failure=False)

    assert (ended.status, ended.reason) == (JobStatus.FAILED, ReasonCode.COST_LIMIT)
    assert client.jobs.checkpoints(job.id)[0].step == ended.step > 0
    assert "its max_cost is 0.75 EUR" in notice("cost_limit_reached", job, client).data["message"]
    with pytest.raises(InvalidRequestError, match="max_cost"):
        client.jobs.resume(job.id)
    client.jobs.resume(job.id, config_adjustments={"max_cost": 9})
    follow_until(client, job, lambda event: event.attempt == 2 and at_step(ended.step + 1)(event))
    assert client.jobs.attempts(job.id)[-1].resumed_from_step == ended.step
    client.jobs.cancel(job.id)
    client.jobs.wait(job.id, timeout_s=PATIENT_S, raise_on_failure=False)


@pytest.mark.slow
def test_waiting_jobs_say_what_for_and_can_be_reordered(lab: Lab, client: Client, dataset: Dataset) -> None:
    running = client.jobs.create(tiny_job(dataset, max_steps=MANY_STEPS))
    wait_for(lambda: is_running(client, running), PATIENT_S, "the first job to run")
    first, second, third = (client.jobs.create(tiny_job(dataset, max_steps=3)) for _ in range(3))

    wait_for(lambda: "core" in (client.jobs.get(first.id).waiting_for or ""), PATIENT_S, "a word on what is missing")
    assert client.jobs.get(second.id).waiting_for == "Waiting for 1 job ahead of it."
    assert client.jobs.move_to_front(third.id).queue_position == 1
    assert client.jobs.pause(first.id).status is JobStatus.PAUSED
    assert client.jobs.set_priority(second.id, 80).queue_position == 1

    client.jobs.cancel(running.id)
    ended = [client.jobs.wait(job.id, timeout_s=PATIENT_S) for job in (second, third)]
    assert ended[0].started_at is not None
    assert ended[1].started_at is not None
    assert ended[0].started_at < ended[1].started_at
    assert client.jobs.get(first.id).status is JobStatus.PAUSED
    client.jobs.resume(first.id)
    assert client.jobs.wait(first.id, timeout_s=PATIENT_S).status is JobStatus.COMPLETED
