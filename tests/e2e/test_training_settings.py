"""Settings of training through the whole service: early stopping as its user sees it, and what runs beside the loop."""

import psutil
import pytest

from ftlab import Client
from ftlab.schemas import Dataset, Job
from ftlab.status import JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.support.lab import Lab, at_step, follow_until, tiny_job

PATIENT_S = 300.0


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_job_of_two_workers_that_ends_early_is_complete_and_says_why(client: Client, ended_early: Job) -> None:
    assert (ended_early.status, ended_early.reason) == (JobStatus.COMPLETED, ReasonCode.OK)
    assert ended_early.message.startswith(
        "Stopped early at step 4 of 20: the last evaluation did not improve the eval loss"
    )
    ending = (ended_early.step, ended_early.total_steps, ended_early.eta_s, ended_early.progress)
    assert ending == (4, 4, None, 1.0)
    assert [point.step for point in client.jobs.metrics(ended_early.id, names=["loss"])] == [1, 2, 3, 4]
    notices = [event.data for event in client.jobs.events(ended_early.id, kinds="notice")]
    codes = [notice["code"] for notice in notices]
    assert codes.count("stopped_early") == 1
    assert not {"record_differs", "final_eval_differs"} & set(codes)
    [devices] = [notice["message"] for notice in notices if notice["code"] == "device_settings"]
    assert devices.endswith("The weights are divided among the 2 workers (fsdp).")


@pytest.mark.slow
def test_loader_workers_end_with_a_run_that_is_paused(lab: Lab, client: Client, dataset: Dataset) -> None:
    job = client.jobs.create(tiny_job(dataset, max_steps=3000, training={"dataloader_num_workers": 2}))
    follow_until(client, job, at_step(3))
    [pid] = lab.pids(job.id)
    workers: set[psutil.Process] = set()

    def has_workers() -> bool:
        workers.update(psutil.Process(pid).children(recursive=True))
        return len(workers) >= 2

    wait_for(has_workers, PATIENT_S, "the loader workers")
    client.jobs.pause(job.id)
    client.jobs.wait(job.id, timeout_s=PATIENT_S, until="paused")
    wait_for(lambda: not any(map(is_alive, workers)), PATIENT_S, "the end of the loader workers")
    client.jobs.cancel(job.id)
