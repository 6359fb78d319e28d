"""Limits of one owner: what they are, who may change them, and what meets them."""

import pytest

from ftlab.settings import Settings
from ftlab.status import JobStatus
from tests.unit.serve.conftest import ROWS
from tests.unit.serve.jobs.statuses import bring

JOBS = "/api/training/jobs"
QUOTA = "/api/quota"


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path / "home", max_upload_bytes=1024 * 1024, quota_queued_jobs=3, quota_running_cpus=8)


def upload(client, content=ROWS, name="more.jsonl"):
    return client.post("/api/datasets", content=content, headers={"x-filename": name})


def error_of(reply):
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["param"], reply.headers.get("x-should-retry")


def test_limits_come_from_the_settings_and_use_from_the_record(client, config, store):
    first = client.post(JOBS, json=config).json()["id"]
    client.post(JOBS, json=config)
    bring(store, first, JobStatus.RUNNING)
    assert client.get(QUOTA).json() == {
        "owner": "local",
        "max_queued_jobs": 3,
        "max_running_gpus": None,
        "max_running_cpus": 8,
        "max_disk_bytes": None,
        "max_upload_bytes": None,
        "weight": 1.0,
        "max_monthly_cost": None,
        "monthly_cost": "0",
        "currency": None,
        "queued_jobs": 1,
        "running_gpus": 0.0,
        "running_cpus": 1,
        "disk_bytes": len(ROWS),
        "upload_bytes": len(ROWS),
    }


def test_a_change_keeps_what_it_leaves_out_and_null_goes_back(client, coordinator):
    changed = client.put(QUOTA, json={"max_queued_jobs": 5, "max_running_gpus": 0.5, "weight": 2})
    assert changed.status_code == 200
    again = client.put(QUOTA, json={"max_queued_jobs": None}).json()
    assert (again["max_queued_jobs"], again["max_running_gpus"], again["weight"]) == (3, 0.5, 2.0)
    assert client.put(QUOTA, json={}).json() == client.get(QUOTA).json() == again
    assert coordinator.num_wakes == 3


def test_a_full_queue_refuses_and_takes_again(client, config):
    jobs = [client.post(JOBS, json=config).json()["id"] for _ in range(3)]
    reply = client.post(JOBS, json=config)
    assert error_of(reply) == (429, "quota_exceeded", "max_queued_jobs", "false")
    assert "3 jobs in the queue" in reply.json()["error"]["message"]
    assert len(client.get(JOBS).json()["data"]) == 3
    client.post(f"{JOBS}/{jobs[0]}/pause")
    assert client.post(JOBS, json=config).status_code == 201
    # Accepted once is accepted: a resume is not a submit.
    assert client.post(f"{JOBS}/{jobs[0]}/resume").status_code == 202
    client.put(QUOTA, json={"max_queued_jobs": 5})
    assert client.post(JOBS, json=config).status_code == 201


def test_paths_of_earlier_clients_meet_the_same_limit(client, config):
    client.put(QUOTA, json={"max_queued_jobs": 0})
    assert error_of(client.post("/api/training/start", json=config))[:2] == (429, "quota_exceeded")


@pytest.mark.parametrize("limit", ["max_upload_bytes", "max_disk_bytes"])
def test_an_upload_that_would_be_too_much_is_refused_and_leaves_nothing(client, dataset, settings, limit):
    client.put(QUOTA, json={limit: 2 * len(ROWS)})
    assert upload(client).status_code == 201
    assert error_of(upload(client, name="third.jsonl")) == (429, "quota_exceeded", limit, "false")
    assert len(client.get("/api/datasets").json()["data"]) == 2
    assert list((settings.home / "uploads").iterdir()) == []
    client.delete(f"/api/datasets/{dataset['id']}")
    assert upload(client, name="third.jsonl").status_code == 201


def test_a_large_upload_is_refused_before_it_is_read(client, settings):
    client.put(QUOTA, json={"max_upload_bytes": 1000})

    def body():
        yield b"x"
        raise AssertionError("the rest of the body was read")

    headers = {"x-filename": "a.jsonl", "content-length": "500000"}
    assert error_of(client.post("/api/datasets", content=body(), headers=headers))[:2] == (429, "quota_exceeded")
    assert not (settings.home / "buckets" / "training-files").exists()


def test_a_full_disk_quota_refuses_jobs_too(client, config):
    client.put(QUOTA, json={"max_disk_bytes": len(ROWS)})
    assert error_of(client.post(JOBS, json=config)) == (429, "quota_exceeded", "max_disk_bytes", "false")
    client.put(QUOTA, json={"max_disk_bytes": len(ROWS) + 1})
    assert client.post(JOBS, json=config).status_code == 201
