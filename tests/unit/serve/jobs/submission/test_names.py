"""A unique name of a dataset, job or model is accepted in a job's config, and stored as an id."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from ftlab.status import JobStatus
from tests.support.model_folders import write_model
from tests.unit.serve.conftest import ROWS
from tests.unit.serve.jobs.statuses import NOW, bring
from tests.unit.tracking.samples import checkpoint
from tracking.store.records import ModelRecord

JOBS = "/api/training/jobs"


@pytest.fixture
def parent(client, config, store, settings):
    """A completed job's record: two checkpoints and a registered model."""
    job = client.post(JOBS, json=config | {"name": "parent job"}).json()
    folder = settings.home / "jobs" / job["id"]
    for step in (2, 4):
        write_model(folder / "checkpoints" / f"step-{step:08}")
    write_model(folder / "model")
    ref = bring(store, job["id"], JobStatus.PENDING)
    with store.begin() as tx:
        tx.models.add(
            ModelRecord("mdl-1", "local", job["id"], "the model", "full", "org/x", None, 4, folder / "model", None, NOW)
        )
        for step in (2, 4):
            tx.checkpoints.add(ref, checkpoint(ref.id, step))
    return job


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("job:parent job", "job:{id}"),
        ("job:parent job/step-4", "job:{id}/step-4"),
        ("model:the model", "model:mdl-1"),
    ],
)
def test_a_model_by_name_is_stored_by_id(client, config, parent, given, stored):
    reply = client.post(JOBS, json=config | {"model": given})
    assert reply.status_code == 201, reply.text
    expected = stored.format(id=parent["id"])
    assert reply.json()["config"]["model"] == expected
    assert reply.json()["resolved_config"]["model"] == expected


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("job:nobody", "There is no job with this id or name."),
        ("job:job", "There is no job with this id or name."),  # the beginning of an id is not enough here
        ("job:parent job/step-5", "has no checkpoint of step 5; it has steps 2, 4."),
        ("model:nothing", "There is no model with this id or name."),
    ],
)
def test_a_model_that_does_not_exist_is_named(client, config, parent, model, message):
    reply = client.post(JOBS, json=config | {"model": model})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert message in error["message"]


def test_an_ambiguous_name_lists_the_ids(client, config, parent):
    twin = client.post(JOBS, json=config | {"name": "parent job"}).json()
    other = client.post("/api/datasets", content=ROWS * 2, headers={"x-filename": "chat.jsonl"}).json()
    for change, param, ids in (
        ({"model": "job:parent job"}, "model", (twin["id"], parent["id"])),
        ({"dataset": "chat.jsonl"}, "dataset", (other["id"], config["dataset"])),
        ({"eval_dataset": "chat.jsonl"}, "eval_dataset", (other["id"], config["dataset"])),
    ):
        reply = client.post(JOBS, json=config | change)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (409, "ambiguous", param)
        assert ", ".join(ids) in error["message"]
    assert client.get("/api/datasets/chat.jsonl").status_code == 409


def test_datasets_by_name(client, config, dataset):
    reply = client.post(JOBS, json=config | {"dataset": ["chat.jsonl", dataset["id"]], "eval_dataset": "chat.jsonl"})
    assert reply.json()["config"]["dataset"] == [dataset["id"]] * 2
    assert reply.json()["config"]["eval_dataset"] == dataset["id"]
    job = reply.json()["id"]
    longer = client.post(f"{JOBS}/{job}/batches", json={"datasets": ["chat.jsonl"]}).json()
    assert longer["config"]["dataset"] == [dataset["id"]] * 3
    longer = client.post(f"{JOBS}/{job}/append", json={"datasets": ["chat.jsonl"]}).json()
    assert longer["config"]["dataset"] == [dataset["id"]] * 4
    assert client.get("/api/datasets/chat.jsonl").json() == dataset
    assert client.get("/api/datasets/chat.jsonl/content").content == ROWS
    assert client.get("/api/datasets/chat.jsonl/preview").json()["dataset_id"] == dataset["id"]
    client.post(f"{JOBS}/{job}/cancel")
    assert client.delete("/api/datasets/chat.jsonl").status_code == 204
    missing = client.post(JOBS, json=config | {"dataset": "chat.jsonl"}).json()["error"]
    assert (missing["message"], missing["param"]) == ("There is no dataset with this id or name.", "dataset")


def test_models_and_sockets_by_name(client: TestClient, parent, config) -> None:
    assert client.get("/api/models/the model").json()["id"] == "mdl-1"
    assert client.get("/api/models/nothing").json()["error"]["code"] == "model_not_found"
    checked = client.post("/api/models/check", json={"model": "model:the model"})
    assert checked.json()["model"] == "model:mdl-1"
    client.post(JOBS, json=config | {"name": "parent job"})
    for name, code, error in (("parent job", 4400, "ambiguous"), ("nobody", 4404, "job_not_found")):
        with client.websocket_connect(f"ws://127.0.0.1:8000/ws/training/{name}") as socket:
            assert socket.receive_json()["error"]["code"] == error
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
        assert closed.value.code == code


def test_a_name_never_becomes_a_path(client, config, settings: object, tmp_path: Path) -> None:
    for name in ("..", "../x", "a/../../b"):
        reply = client.post(JOBS, json=config | {"model": f"job:{name}"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_model_id")
