"""Cancel in the statuses that a job passes quickly or rests in; `test_life` and `test_faults` have the others."""

import psutil
import pytest

from ftlab import Client
from ftlab.errors import ConflictError
from ftlab.schemas import Dataset, Job
from ftlab.status import JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.support.lab import Lab, at_step, follow_until, tiny_job

pytestmark = pytest.mark.slow

ENDLESS = 100_000
GONE_S = 30.0


def assert_cancelled(client: Client, job: Job) -> None:
    """Once, and for the user's reason."""
    done = client.jobs.wait(job.id, timeout_s=GONE_S, raise_on_failure=False)
    assert (done.status, done.reason) == (JobStatus.CANCELLED, ReasonCode.USER_CANCELLED)
    told = [event.data["status"] for event in client.jobs.events(job.id, kinds="status")]
    assert told[-2:] == ["cancelling", "cancelled"]
    assert told.count("cancelled") == 1
    with pytest.raises(ConflictError) as refused:
        client.jobs.cancel(job.id)
    assert refused.value.code == "job_ended"


def test_a_pending_job(client: Client, lab: Lab, dataset: Dataset) -> None:
    # No standby run takes a job of two workers, so its way to the first step is long enough to be met on it.
    job = client.jobs.create(tiny_job(dataset, max_steps=ENDLESS, resources={"num_workers": 2}))
    follow_until(client, job, lambda event: event.data.get("status") == "pending")
    assert client.jobs.cancel(job.id).status is JobStatus.CANCELLING
    assert_cancelled(client, job)
    wait_for(lambda: not any(map(psutil.pid_exists, lab.pids(job.id))), GONE_S, "the processes to be gone")


def test_a_job_that_pauses_and_gets_no_further(client: Client, lab: Lab, dataset: Dataset) -> None:
    job = client.jobs.create(tiny_job(dataset, max_steps=ENDLESS))
    follow_until(client, job, at_step(7))
    [pid] = lab.pids(job.id)
    worker = psutil.Process(pid)
    worker.suspend()  # so that the save does not end before the cancel comes
    assert client.jobs.pause(job.id).status is JobStatus.PAUSING
    assert client.jobs.cancel(job.id).status is JobStatus.CANCELLING
    assert_cancelled(client, job)
    wait_for(lambda: not worker.is_running(), GONE_S, "the suspended worker to be gone")
    assert client.jobs.checkpoints(job.id), "its checkpoints are kept"


def test_a_paused_job(client: Client, dataset: Dataset) -> None:
    job = client.jobs.create(tiny_job(dataset, max_steps=ENDLESS))
    follow_until(client, job, at_step(7))
    client.jobs.pause(job.id)
    client.jobs.wait(job.id, timeout_s=GONE_S, until="paused")
    assert client.jobs.cancel(job.id).status is JobStatus.CANCELLED
    assert_cancelled(client, job)
    assert client.jobs.checkpoints(job.id), "its checkpoints are kept"
