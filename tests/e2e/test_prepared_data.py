"""Data is prepared before a device is held, once for all who want the same."""

from pathlib import Path

import pytest

from ftlab import Client
from ftlab.schemas import Dataset, EventKind
from ftlab.status import FailureCause, JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.support.lab import Lab, rows, tiny_job


def prepared(lab: Lab) -> dict[str, int]:
    """The entries of the cache, each with the inode of its data: a new one would be another file."""
    files = (lab.settings.home / "cache" / "prepared").glob("*/data.arrow")
    return {file.parent.name: file.stat().st_ino for file in files}


@pytest.mark.slow
def test_a_second_identical_job_tokenises_nothing(client: Client, lab: Lab, dataset: Dataset) -> None:
    config = tiny_job(dataset, max_steps=2, method={"max_length": 60, "packing": True})
    before = prepared(lab)
    first = client.jobs.wait(client.jobs.create(config).id, timeout_s=180)
    made = prepared(lab)
    assert len(made) == len(before) + 1

    second = client.jobs.wait(client.jobs.create(config).id, timeout_s=180)

    assert first.status is second.status is JobStatus.COMPLETED
    for job in (first, second):
        notices = [event.data for event in client.jobs.events(job.id, kinds=EventKind.NOTICE)]
        [checked] = [notice["message"] for notice in notices if notice["code"] == "data_checked"]
        assert checked.startswith(f"Dataset {dataset.name} ({dataset.id}): {dataset.num_rows} rows, ")
    assert prepared(lab) == made
    assert [point.value for point in client.jobs.metrics(first.id, names=["loss"])] == [
        point.value for point in client.jobs.metrics(second.id, names=["loss"])
    ]


def test_a_dataset_without_a_token_to_learn_fails_the_job_before_it_holds_a_device(
    client: Client, lab: Lab, tmp_path: Path
) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text(rows(5).replace("What is", "What is " * 40))
    dataset = client.datasets.upload(file)
    job = client.jobs.create(tiny_job(dataset))

    wait_for(lambda: client.jobs.get(job.id).status.is_terminal, 60, "the job to end")

    failed = client.jobs.get(job.id)
    assert (failed.status, failed.reason) == (JobStatus.FAILED, ReasonCode.DATASET_INVALID)
    assert failed.message.startswith(
        f"Dataset {dataset.name} ({dataset.id}): None of the 5 rows has a token to train on"
    )
    assert lab.attempts(job.id) == []
    why = client.jobs.failure(job.id)
    assert (why.cause, why.attempt, why.sentence) == (FailureCause.BAD_DATA, 0, failed.message)


@pytest.mark.slow
def test_a_data_worker_that_is_killed_in_the_middle_starts_again(client: Client, lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text(rows(40_000))
    dataset = client.datasets.upload(file)
    job = client.jobs.create(tiny_job(dataset, max_steps=1))
    wait_for(lambda: "%" in (client.jobs.get(job.id).waiting_for or ""), 60, "the preparation to be under way")
    [worker] = lab.find("ray::DataWorkerActor")
    worker.kill()

    wait_for(
        lambda: any(process.pid != worker.pid for process in lab.find("ray::DataWorkerActor")), 30, "a new data worker"
    )
    done = client.jobs.wait(job.id, timeout_s=240)

    assert done.status is JobStatus.COMPLETED
    assert [attempt.reason for attempt in lab.attempts(job.id)] == [ReasonCode.OK], "no attempt was spent on it"
    assert not list((lab.settings.home / "cache" / "prepared").glob(".tmp-*"))
