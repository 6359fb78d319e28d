"""Jobs with several files: submitting them, and appending files in every status."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from ftlab.status import JobStatus, StopKind
from tests.support.databases import change_config
from tests.unit.serve.jobs.statuses import NOW, S, bring
from tracking.store import StaleJobError, Store
from tracking.store.jobs import JobRepository
from tracking.store.records import CheckpointRecord, JobRef

JOBS = "/api/training/jobs"
REFUSED = {S.CANCELLING: "job_cancelling", S.FAILED: "job_ended", S.CANCELLED: "job_ended"}
AFTERWARDS = {status: status for status in S if status not in REFUSED} | {S.COMPLETED: S.QUEUED}

NewDataset = Callable[..., str]


@pytest.fixture
def new_dataset(store: Store, dataset: dict[str, Any]) -> NewDataset:
    """Adds a dataset like the one that was uploaded; gives its id."""

    def add(dataset_id: str, **changes: Any) -> str:
        with store.begin() as tx:
            like = tx.datasets.get(dataset["id"])
            tx.datasets.add(replace(like, id=dataset_id, name=f"{dataset_id}.jsonl", **changes))
        return dataset_id

    return add


@pytest.fixture
def job(client: TestClient, config: dict[str, Any]) -> str:
    return str(client.post(JOBS, json=config).json()["id"])


def test_a_job_whose_config_cannot_be_read_takes_no_files(
    client: TestClient, store: Store, job: str, new_dataset: NewDataset
) -> None:
    change_config(store, job, no_longer_known=1)
    assert client.get(f"{JOBS}/{job}").json()["resolved_config"] is None
    reply = append(client, job, new_dataset("ds-b"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "config_invalid")
    assert "no_longer_known is not a known setting" in reply.json()["error"]["message"]


def append(client: TestClient, job: str, *datasets: str, **body: Any) -> Any:
    return client.post(f"{JOBS}/{job}/batches", json={"datasets": list(datasets), **body})


def save_checkpoint(store: Store, ref: JobRef) -> None:
    """Written while the attempt lived."""
    record = CheckpointRecord(ref.id, 8, ref.attempt, "step-00000008", 100, "f" * 64, NOW)
    with store.begin() as tx:
        tx.checkpoints.add(ref, record)


def bring_with_checkpoint(store: Store, job: str, status: JobStatus) -> None:
    if status in (S.COMPLETED, S.FAILED):
        ref = bring(store, job, S.RUNNING)
        save_checkpoint(store, ref)
        with store.begin() as tx:
            tx.attempts.end(ref, reason=None, message=None, now=NOW)
            tx.jobs.move(ref, status, now=NOW)
    else:
        bring(store, job, status)


def test_a_list_of_datasets_is_shown_as_it_was_given(client, store, config, new_dataset):
    several = [config["dataset"], new_dataset("ds-b"), config["dataset"]]
    made = client.post(JOBS, json=config | {"dataset": several}).json()
    shown = client.get(f"{JOBS}/{made['id']}").json()
    assert (shown["config"]["dataset"], shown["num_files"], shown["file"]) == (several, 3, None)
    with store.read() as tx:
        assert tx.job_files.of_job(made["id"]) == several
    alone = client.post(JOBS, json=config).json()
    assert (alone["config"]["dataset"], alone["num_files"]) == (config["dataset"], 1)
    with store.read() as tx:
        assert tx.job_files.of_job(alone["id"]) == []


def test_every_dataset_of_a_list_must_be_there(client, config, new_dataset):
    reply = client.post(JOBS, json=config | {"dataset": [config["dataset"], "ds-unknown"]})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (404, "dataset_not_found", "dataset")
    assert client.get(JOBS).json()["data"] == []


@pytest.mark.parametrize(
    ("datasets", "field"), [([], "dataset"), (["x"] * 1001, "dataset"), (["", "a"], "dataset.0"), ([3], "dataset.0")]
)
def test_a_list_has_bounds(client, config, datasets, field):
    reply = client.post(JOBS, json=config | {"dataset": datasets})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, field)


@pytest.mark.parametrize("status", list(S))
def test_appending_in_every_status(client, store, hub, coordinator, job, new_dataset, config, status):
    bring_with_checkpoint(store, job, status)
    before, wakes, told = client.get(f"{JOBS}/{job}").json(), coordinator.num_wakes, len(hub.events)
    reply = append(client, job, new_dataset("ds-b"), "ds-b")
    after = client.get(f"{JOBS}/{job}").json()
    if status in REFUSED:
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, REFUSED[status]), reply.text
        assert after == before
        assert (coordinator.num_wakes, len(hub.events)) == (wakes, told)
        return
    assert reply.status_code == 202, reply.text
    assert reply.json() == after
    assert after["status"] == AFTERWARDS[status]
    assert after["config"]["dataset"] == [config["dataset"], "ds-b", "ds-b"]
    assert coordinator.num_wakes == wakes + 1
    log = client.get(f"{JOBS}/{job}/events?after={before['last_seq']}").json()["data"]
    assert hub.events[told:] == log
    notice = {"code": "files_appended", "message": "2 files were appended; the job has 3 now."}
    assert log[0]["data"] == notice
    assert [event["data"].get("status") for event in log[1:]] == (
        [] if after["status"] == before["status"] else [after["status"]]
    )
    with store.read() as tx:
        record = tx.jobs.get(job)
        assert tx.job_files.of_job(job) == [config["dataset"], "ds-b", "ds-b"]
    assert record.stop_kind is (StopKind.PAUSE if status is S.PAUSING else None)
    assert record.has_new_files, "it runs on until they are prepared, or waits for that"


def test_a_reopened_job_says_so(client, store, job, new_dataset):
    bring_with_checkpoint(store, job, S.COMPLETED)
    append(client, job, new_dataset("ds-b"))
    events = client.get(f"{JOBS}/{job}/events?kind=status").json()["data"]
    assert [event["data"]["status"] for event in events][-2:] == ["completed", "queued"]
    expected = "The job was reopened because one file was appended; it continues from its checkpoint of step 8."
    assert events[-1]["data"]["message"] == expected
    shown = client.get(f"{JOBS}/{job}").json()
    assert (shown["reason"], shown["finished_at"], shown["queue_position"]) == (None, None, 1)


def test_a_request_that_is_repeated_appends_once(client, job, new_dataset):
    assert append(client, job, new_dataset("ds-b"), after=1).status_code == 202
    again = append(client, job, "ds-b", after=1)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "files_changed")
    assert client.get(f"{JOBS}/{job}").json()["num_files"] == 2


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"datasets": []}, 422, None, "datasets"),
        ({"datasets": "ds-b"}, 422, None, "datasets"),
        ({"dataset": ["ds-b"]}, 422, None, "dataset"),
        ({"datasets": ["ds-b"], "after": 0}, 422, None, "after"),
        ({"datasets": ["ds-unknown"]}, 404, "dataset_not_found", "datasets"),
        ({"datasets": ["ds-foreign"]}, 404, "dataset_not_found", "datasets"),
        ({"datasets": ["ds-b", "ds-pairs"]}, 422, "dataset_kind_mismatch", "datasets"),
        ({"datasets": ["ds-b"] * 1000}, 422, "too_many_datasets", "datasets"),
    ],
)
def test_what_cannot_be_appended(client, job, new_dataset, body, status, code, param):
    new_dataset("ds-b")
    new_dataset("ds-foreign", owner="somebody")
    new_dataset("ds-pairs", kind="preference")
    before = client.get(f"{JOBS}/{job}").json()
    reply = client.post(f"{JOBS}/{job}/batches", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param)
    assert code in (None, error["code"])
    assert client.get(f"{JOBS}/{job}").json() == before


def test_a_run_that_ends_at_max_steps_takes_no_more_files(client, store, config, new_dataset):
    body = config | {"training": {"max_steps": 5}}
    waiting, begun = (client.post(JOBS, json=body).json()["id"] for _ in range(2))
    bring(store, begun, S.RUNNING)
    assert append(client, waiting, new_dataset("ds-b")).status_code == 202
    reply = append(client, begun, "ds-b")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "max_steps_set")


def test_a_completed_job_with_early_stopping_takes_no_more_files(client, store, config, new_dataset):
    body = config | {
        "eval_dataset": new_dataset("ds-eval"),
        "training": {"eval_steps": 1, "early_stopping_patience": 2},
    }
    running, done = (client.post(JOBS, json=body).json()["id"] for _ in range(2))
    bring(store, running, S.RUNNING)
    bring(store, done, S.COMPLETED)
    assert append(client, running, new_dataset("ds-b")).status_code == 202
    reply = append(client, done, "ds-b")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "early_stopping_set")


def test_a_completed_job_needs_its_checkpoint_and_its_datasets(client, store, job, new_dataset, dataset):
    bring(store, job, S.COMPLETED)
    reply = append(client, job, new_dataset("ds-b"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "checkpoint_not_found")
    assert client.delete(f"/api/datasets/{dataset['id']}").status_code == 204
    reply = append(client, job, "ds-b")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "dataset_deleted")


def test_a_completed_job_does_not_pass_the_limit_of_the_queue(client, store, job, new_dataset):
    bring_with_checkpoint(store, job, S.COMPLETED)
    assert client.put("/api/quota", json={"max_queued_jobs": 0}).status_code == 200
    reply = append(client, job, new_dataset("ds-b"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "quota_exceeded")
    assert client.get(f"{JOBS}/{job}").json()["status"] == "completed"


def test_another_owners_job_is_unknown(client, store, job, new_dataset):
    with store.begin() as tx:
        tx.jobs._connection.exec_driver_sql("UPDATE jobs SET owner = 'somebody'")
    assert append(client, job, new_dataset("ds-b")).status_code == 404


def test_an_append_that_loses_a_race_is_tried_again(client, store, job, new_dataset, monkeypatch):
    """The job is claimed between the look at it and the change."""
    lock, races = JobRepository.lock, iter([True])

    def lose_once(self: JobRepository, ref: JobRef) -> Any:
        if next(races, False):
            raise StaleJobError("It has moved on.")
        return lock(self, ref)

    monkeypatch.setattr(JobRepository, "lock", lose_once)
    assert append(client, job, new_dataset("ds-b")).status_code == 202
    assert client.get(f"{JOBS}/{job}").json()["num_files"] == 2
