"""The paths and short forms of earlier clients."""

import pytest

from ftlab.errors import InvalidRequestError
from serve.legacy.config import to_document


@pytest.mark.parametrize("path", ["/api/training/start", "/api/training/execute"])
def test_short_forms_become_a_config(client, dataset, path):
    body = {"model_name": "org/tiny", "dataset_id": dataset["id"], "batch_size": 2, "num_epochs": 1, "lr": 0.001}
    reply = client.post(path, json=body)
    assert reply.status_code == 201, reply.text
    job = reply.json()
    assert job["job_id"] == job["id"]
    assert reply.headers["location"] == f"/api/training/jobs/{job['id']}"
    training = job["config"]["training"]
    assert training["per_device_train_batch_size"] == 2
    assert (training["num_train_epochs"], training["learning_rate"]) == (1.0, 0.001)


def test_a_nested_config_counts_as_well():
    assert to_document(
        {
            "base_model": "org/m",
            "dataset": "ds-1",
            "config": {"epochs": 2, "learning_rate": 0.1, "training": {"max_steps": 5}, "lora": {"r": 4}},
        }
    ) == {
        "model": "org/m",
        "dataset": "ds-1",
        "training": {"num_train_epochs": 2, "learning_rate": 0.1, "max_steps": 5},
        "lora": {"r": 4},
    }


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"lr": 1, "learning_rate": 2}, "invalid_config", "training.learning_rate"),
        ({"lr": 1, "config": {"training": {"learning_rate": 2}}}, "invalid_config", "training.learning_rate"),
        ({"batchsize": 1}, "unknown_field", "batchsize"),
        ({"config": {"batchsize": 1}}, "unknown_field", "config.batchsize"),
        ({"config": {"config": {}}}, "unknown_field", "config.config"),
        ({"config": 3}, "invalid_config", "config"),
        ({"training": 3, "lr": 1}, "invalid_config", "training"),
        ({"lr": 1, "training": 3}, "invalid_config", "training"),
    ],
)
def test_what_is_unclear_is_refused(body, code, param):
    with pytest.raises(InvalidRequestError) as caught:
        to_document(body)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_setting_may_be_given_twice_with_one_value():
    assert to_document({"lr": 1, "learning_rate": 1}) == {"training": {"learning_rate": 1}}


def test_aliases_answer_as_the_canonical_paths(client, config):
    job = client.post("/api/training/jobs", json=config).json()
    base, job_id = f"/api/training/jobs/{job['id']}", job["id"]
    assert client.get(f"/api/training/status/{job_id}").json() == client.get(base).json() | {"job_id": job_id}
    for alias, canonical in (
        (f"/api/training/metrics/{job_id}", f"{base}/metrics"),
        (f"/api/training/logs/{job_id}", f"{base}/logs"),
        (f"/api/training/local/{job_id}/logs", f"{base}/logs"),
        (f"/api/training/{job_id}/checkpoints", f"{base}/checkpoints"),
        ("/api/training/local/jobs", "/api/training/jobs"),
    ):
        reply = client.get(alias)
        assert (reply.status_code, reply.json()) == (200, client.get(canonical).json())
    overview = client.get(f"/api/jobs/{job_id}").json()
    assert overview["job"]["id"] == job_id
    assert overview["dataset"]["id"] == config["dataset"]
    assert (overview["metrics"], overview["cost_records"]) == ([], [])
    assert client.post(f"/api/jobs/{job_id}/cancel").json()["status"] == "cancelled"
    assert client.post(f"/api/training/cancel/{job_id}").status_code == 409


def test_a_resume_takes_the_short_forms_of_settings(client, config):
    job = client.post("/api/training/jobs", json=config).json()["id"]
    path = f"/api/training/local/{job}/resume"
    client.post(f"/api/training/pause/{job}")
    adjustments = {"batch_size": 2, "lr": 0.001, "lora": {"r": 4}, "training.warmup_steps": 3}
    reply = client.post(path, json={"config_adjustments": adjustments})
    assert reply.status_code == 202, reply.text
    assert (reply.json()["job_id"], reply.json()["status"]) == (job, "queued")
    training = reply.json()["config"]["training"]
    assert (training["per_device_train_batch_size"], training["learning_rate"], training["warmup_steps"]) == (
        2,
        0.001,
        3,
    )
    assert reply.json()["config"]["lora"]["r"] == 4
    client.post(f"/api/training/cancel/{job}")
    assert client.post(path).json()["status"] == "queued"
    client.post(f"/api/training/cancel/{job}")
    for body, param in (({"config_adjustments": {"batchsize": 1}}, "batchsize"), ({"adjustments": {}}, "adjustments")):
        reply = client.post(path, json=body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (422, param)


def test_an_overview_outlives_its_dataset(client, config):
    job = client.post("/api/training/jobs", json=config).json()["id"]
    client.post(f"/api/training/jobs/{job}/cancel")
    client.delete(f"/api/datasets/{config['dataset']}")
    assert client.get(f"/api/jobs/{job}").json()["dataset"] is None
