"""`/api/sweeps`, with the SDK and the command line over it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from ftlab.schemas.sweeps import SweepStatus, TrialState
from serve.jobs.changes import deletion
from serve.sweeps import submit
from tracking.store import Store

PARAMETERS: dict[str, Any] = {
    "training.learning_rate": {"min": 1e-5, "max": 1e-3, "log": True},
    "lora.r": [4, 8],
}


@pytest.fixture
def sweep(config: dict[str, Any]) -> dict[str, Any]:
    """A body that is accepted."""
    job = config | {"eval_split": 0.34, "training": {"max_steps": 9, "eval_steps": 1}}
    return {"name": "rates", "job": job, "parameters": PARAMETERS, "method": "random", "max_trials": 4}


def post(client: TestClient, body: dict[str, Any], key: str | None = None) -> Any:
    return client.post("/api/sweeps", json=body, headers={"idempotency-key": key} if key else {})


def test_a_sweep_is_stored_with_what_its_trials_share(client: TestClient, sweep: dict[str, Any], store: Store):
    reply = post(client, sweep)
    assert reply.status_code == 201, reply.text
    found = reply.json()
    assert reply.headers["location"] == f"/api/sweeps/{found['id']}"
    assert (found["name"], found["status"], found["max_trials"]) == ("rates", "running", 4)
    assert found["trials"] == []
    assert "there are 0" in found["importance_note"]
    assert found["config"]["job"]["dataset"] == sweep["job"]["dataset"]
    assert client.get("/api/sweeps/rates").json()["id"] == found["id"]
    [listed] = client.get("/api/sweeps").json()["data"]
    assert listed["objective"]["metric"] == "eval_loss"
    with store.read() as tx:
        [record] = tx.sweeps.at_work()
    assert record.parsed.parameters["lora.r"].values == [4, 8]
    assert record.whole == ("lora.r",)


def test_auto_is_resolved_once_for_all_trials(client: TestClient, sweep: dict[str, Any]):
    sweep["job"]["training"]["num_train_epochs"] = "auto"
    found = post(client, sweep).json()
    value = found["auto"]["training.num_train_epochs"]["value"]
    assert found["config"]["job"]["training"]["num_train_epochs"] == value


def test_the_same_key_makes_one_sweep(client: TestClient, sweep: dict[str, Any]):
    first = post(client, sweep, "once")
    again = post(client, sweep, "once")
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replay"] == "true"
    other = post(client, sweep | {"seed": 7}, "once")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/api/sweeps").json()["data"]) == 1


@pytest.mark.parametrize(
    ("changes", "status", "code", "words"),
    [
        ({"parameters": {}}, 422, "invalid_body", "parameters"),
        ({"parameters": {"training.learning_rte": [1e-4]}}, 422, "invalid_config", "Did you mean 'learning_rate'?"),
        ({"parameters": {"lora.r": ["4"]}}, 422, "invalid_config", "lora.r must be a whole number"),
        ({"parameters": {"lora.r": [4, 100000]}}, 422, "invalid_config", "lora.r must be at most"),
        ({"parameters": {"lora.r": 4}}, 422, "invalid_body", "parameters"),
        ({"parameters": {"lora.r": [["a"]]}}, 422, "invalid_body", "parameters"),
        ({"parameters": {"lora.r": {"mni": 4}}}, 422, "unknown_field", "mni"),
        ({"method": "annealing"}, 422, "invalid_body", "method"),
        ({"method": {"type": "grid", "num_random": 3}}, 422, "unknown_field", "num_random"),
        ({"max_trials": 0}, 422, "invalid_body", "max_trials must be at least 1"),
        ({"max_cost": 5}, 422, "max_cost_without_price", "max_cost needs a price"),
        ({"job": {"model": "org/m", "dataset": "ds-none"}, "objective": {"metric": "loss"}}, 404, None, "no dataset"),
        ({"job": []}, 422, "invalid_body", "job"),
    ],
)
def test_bad_input(
    client: TestClient, sweep: dict[str, Any], changes: dict[str, Any], status: int, code: str | None, words: str
):
    for path in ("/api/sweeps", "/api/sweeps/preview"):
        reply = client.post(path, json=sweep | changes)
        assert reply.status_code == status, reply.text
        error = reply.json()["error"]
        assert code in (None, error["code"])
        assert words in error["message"]
    assert client.get("/api/sweeps").json()["data"] == []


def test_a_preview_stores_nothing_and_names_the_first_trials(client: TestClient, sweep: dict[str, Any]):
    method = {"type": "successive_halving", "min_steps": 1}
    found = client.post("/api/sweeps/preview", json=sweep | {"method": method}).json()
    assert (found["max_trials"], found["rungs"]) == (4, [1, 3])
    assert len({str(trial) for trial in found["trials"]}) == 4
    assert found["job"]["lora"]["r"] == found["trials"][0]["lora.r"]
    assert client.get("/api/sweeps").json()["data"] == []


def test_pause_resume_cancel_and_delete(
    client: TestClient, sweep: dict[str, Any], store: Store, monkeypatch: pytest.MonkeyPatch
):
    sweep_id = post(client, sweep, "once").json()["id"]
    for verb, status in (("pause", "paused"), ("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        reply = client.post(f"/api/sweeps/{sweep_id}/{verb}")
        assert (reply.status_code, reply.json()["status"]) == (202, status)
    assert client.post(f"/api/sweeps/{sweep_id}/cancel").status_code == 202
    refused = client.post(f"/api/sweeps/{sweep_id}/resume")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "sweep_ended")
    busy = client.delete(f"/api/sweeps/{sweep_id}")
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "sweep_not_ended")
    with store.begin() as tx:
        tx.sweeps.settle(sweep_id)
    monkeypatch.setattr(deletion, "RELEASE_TIMEOUT_S", 0.0)
    unrecorded = client.delete(f"/api/sweeps/{sweep_id}")
    assert (unrecorded.status_code, unrecorded.json()["error"]["code"]) == (409, "sweep_not_recorded")
    with store.begin() as tx:
        tx.sweeps.set_mlflow_run(sweep_id, run_id="run-1", experiment_id="7")
        tx.sweeps.set_mlflow_status(sweep_id, SweepStatus.CANCELLED)
    assert "/#/experiments/7/runs/run-1?" in client.get(f"/api/sweeps/{sweep_id}").json()["mlflow_url"]
    assert client.delete(f"/api/sweeps/{sweep_id}").status_code == 204
    assert client.get(f"/api/sweeps/{sweep_id}").status_code == 404
    assert client.get(f"/api/sweeps?after={sweep_id}").status_code == 200
    late = post(client, sweep, "once")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "sweep_deleted")
    assert sweep_id in late.json()["error"]["message"]
    assert post(client, sweep, "twice").status_code == 201


def test_trials_are_shown_with_the_best_and_their_importance(client: TestClient, sweep: dict[str, Any], store: Store):
    sweep_id = post(client, sweep).json()["id"]
    now = datetime.now(UTC)
    with store.begin() as tx:
        record = tx.sweeps.get(sweep_id)
        for number in range(6):
            values = {"training.learning_rate": 1e-4 * (number + 1), "lora.r": 4 if number % 2 else 8}
            trial = tx.sweeps.add_trial(record, number, values, now=now, job_id=f"job-{number}")
            ended = {"value": 1.0 - 0.1 * number, "run_time_s": 2.0, "finished_at": now}
            tx.sweeps.change_trial(trial, state=TrialState.COMPLETED, **ended)
    found = client.get(f"/api/sweeps/{sweep_id}").json()
    assert found["best"]["number"] == 5
    assert found["run_time_s"] == 12.0
    assert sum(found["importance"].values()) == pytest.approx(1)
    assert found["importance_note"] is None
    assert [trial["job_id"] for trial in found["trials"]] == [f"job-{number}" for number in range(6)]


def test_jobs_are_listed_by_sweep(client: TestClient, sweep: dict[str, Any], config: dict[str, Any], store: Store):
    sweep_id = post(client, sweep).json()["id"]
    ids = [client.post("/api/training/jobs", json=config).json()["id"] for _ in range(2)]
    with store.begin() as tx:
        tx.jobs._connection.exec_driver_sql(f"UPDATE jobs SET sweep_id = '{sweep_id}' WHERE id = '{ids[0]}'")
    [listed] = client.get("/api/training/jobs?sweep=rates").json()["data"]
    assert (listed["id"], listed["sweep_id"]) == (ids[0], sweep_id)
    assert client.get("/api/training/jobs?sweep=nope").status_code == 404
    with store.begin() as tx:
        record = tx.sweeps.get(sweep_id)
        tx.sweeps.move(record, SweepStatus.CANCELLED, "It was cancelled.", now=datetime.now(UTC))
        tx.sweeps.settle(sweep_id)
        tx.sweeps.set_mlflow_status(sweep_id, SweepStatus.CANCELLED)
    assert client.delete(f"/api/sweeps/{sweep_id}").status_code == 204
    assert client.get(f"/api/training/jobs/{ids[0]}").json()["sweep_id"] is None  # the job stays


def test_an_owner_has_a_limited_number_of_sweeps_at_work(
    client: TestClient, sweep: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(submit, "MAX_AT_WORK", 1)
    assert post(client, sweep).status_code == 201
    refused = post(client, sweep)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota_exceeded")
