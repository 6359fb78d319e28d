"""Chains over HTTP: what a job waits for, several jobs in one request, and what is refused."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from ftlab.schemas import JobConfig
from ftlab.status import JobStatus
from serve.context import Services
from tests.support.service_fakes import FakeHuggingFace
from tracking.store.records import JobRef

JOBS, CHAINS = "/api/training/jobs", "/api/training/chains"

Body = dict[str, Any]


def submit(client: TestClient, config: Body, **changes: Any) -> Body:
    reply = client.post(JOBS, json=config | changes)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def refusal(reply: Any) -> tuple[int, str, str, str]:
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["param"], error["message"]


@pytest.fixture
def chain(config: Body) -> Body:
    """Two trainings, and an evaluation and an export of what the second one delivers."""
    evaluation = {"kind": "evaluation", "models": ["job:second"], "dataset": config["dataset"], "name": "measured"}
    return {
        "jobs": [
            config | {"name": "first", "lora": {"r": 4, "target_modules": ["q_proj"]}},
            config | {"name": "second", "model": "job:first", "method": {"type": "sft", "max_length": 64}},
            evaluation | {"after": "first"},
            {"kind": "export", "model": "job:second", "name": "exported"},
        ]
    }


def test_a_chain_is_submitted_as_a_whole(
    client: TestClient, chain: Body, huggingface: FakeHuggingFace, services: Services
):
    reply = client.post(CHAINS, json=chain)
    assert reply.status_code == 201, reply.text
    first, second, measured, exported = reply.json()["data"]
    assert (second["config"]["model"], second["config"]["after"]) == (f"job:{first['id']}", [first["id"]])
    assert measured["config"]["models"] == [f"job:{second['id']}"]
    assert measured["config"]["after"] == [first["id"], second["id"]]
    assert (exported["config"]["model"], exported["config"]["after"]) == (f"job:{second['id']}", [second["id"]])
    assert [job["queue_position"] for job in (first, second, measured, exported)] == [1, 2, 3, 4]
    assert set(huggingface.asked) == {("org/tiny-model", None)}, "the base model of both was looked up"
    # The settings of the adapter that is continued are those of the first job.
    assert (second["config"]["lora"]["r"], second["config"]["lora"]["target_modules"]) == (4, ["q_proj"])
    notices = client.get(f"{JOBS}/{second['id']}/events", params={"kind": "notice"}).json()["data"]
    assert "they are checked with its own files when that job has completed" in notices[0]["data"]["message"]
    with services.store.read() as tx:
        found = tx.evaluations.get(measured["id"])
    assert found is not None
    assert (found.key, found.identities) == (None, None), "its models are not known yet"
    first = client.get(f"{JOBS}/{first['id']}").json()
    assert [(link["name"], link["status"], link["model_id"]) for link in first["children"]] == [
        ("second", "queued", None),
        ("measured", "queued", None),
    ]
    assert [link["job_id"] for link in measured["parents"]] == [first["id"], second["id"]]


def test_a_chain_with_an_error_anywhere_submits_nothing(client: TestClient, chain: Body, services: Services):
    chain["jobs"][2]["metrics"] = [{"type": "wrong"}]
    status, code, param, message = refusal(client.post(CHAINS, json=chain))
    assert (status, code, param) == (422, "invalid_config", "jobs.2.metrics.0.type")
    assert message.startswith("jobs.2: metrics.0.type")
    chain["jobs"][2]["metrics"] = [{"type": "exact_match"}]
    client.put("/api/quota", json={"max_queued_jobs": 2})
    assert refusal(client.post(CHAINS, json=chain))[:2] == (429, "quota_exceeded")
    assert client.get(JOBS).json()["data"] == []
    client.put("/api/quota", json={"max_queued_jobs": 4})
    assert client.post(CHAINS, json=chain).status_code == 201


WRONG: list[tuple[int, Body, str, str]] = [
    (0, {"after": "second"}, "jobs.0.after", "comes later in the chain"),
    (0, {"model": "job:measured"}, "jobs.0.model", "comes later in the chain"),
    (1, {"after": ["second"]}, "jobs.1.after", "names the job itself"),
    (1, {"after": ["nobody"]}, "jobs.1.after", "there is no job with this id or name"),
    (1, {"name": "first"}, "jobs.0.name", "give each a name of its own"),
    (1, {"model": "job:first/step-2"}, "jobs.1.model", "leave out '/step-...'"),
    (1, {"lora": {"r": 8}}, "jobs.1.lora.r", "the adapter that the job continues has 4"),
    (1, {"kind": "engine"}, "jobs.1.kind", "are submitted by the service itself"),
    (2, {"dataset": "nothing"}, "jobs.2.dataset", "no dataset"),
]
"""Place, change of the job there, field and words of the error."""


def test_what_is_wrong_is_named_with_its_place(client: TestClient, chain: Body):
    for place, change, param, words in WRONG:
        jobs = [job | change if number == place else job for number, job in enumerate(chain["jobs"])]
        found = refusal(client.post(CHAINS, json={"jobs": jobs}))
        assert (found[2], words in found[3]) == (param, True), found
        assert found == refusal(client.post(f"{CHAINS}/check", json={"jobs": jobs}))
    assert client.get(JOBS).json()["data"] == []


def test_a_check_says_what_was_checked_and_what_comes_later(client: TestClient, chain: Body):
    reply = client.post(f"{CHAINS}/check", json=chain)
    assert reply.status_code == 200, reply.text
    first, second, measured, _ = reply.json()["data"]
    dataset = chain["jobs"][0]["dataset"]
    assert first["checked"] == ["its settings", "model org/tiny-model", f"dataset {dataset}", "its devices"]
    assert (first["later"], second["later"]) == ([], ["the model that job 'first' delivers"])
    assert (second["checked"][1], second["after"]) == ("model org/tiny-model", ["first"])
    assert (measured["kind"], measured["after"]) == ("evaluation", ["first", "second"])
    assert client.get(JOBS).json()["data"] == []


def test_a_repeated_chain_finds_its_jobs(client: TestClient, chain: Body):
    key = {"Idempotency-Key": "once"}
    made = client.post(CHAINS, json=chain, headers=key)
    again = client.post(CHAINS, json=chain, headers=key)
    assert [job["id"] for job in again.json()["data"]] == [job["id"] for job in made.json()["data"]]
    assert again.headers["idempotent-replay"] == "true"
    assert len(client.get(JOBS).json()["data"]) == 4
    del chain["jobs"][2]
    assert refusal(client.post(CHAINS, json=chain, headers=key))[1] == "idempotency_key_reused"
    assert refusal(client.post(JOBS, json=chain["jobs"][0], headers=key))[1] == "idempotency_key_reused"


def test_one_job_waits_for_others_by_name_or_id(client: TestClient, config: Body, services: Services):
    first, second = submit(client, config, name="a"), submit(client, config, name="b")
    child = submit(client, config, after=["a", second["id"], first["id"]])
    assert child["config"]["after"] == [first["id"], second["id"]]
    with services.store.read() as tx:
        waiting_for = tx.jobs.get(child["id"]).waiting_for
    assert waiting_for == f"Waiting for job 'a' ({first['id']}) and 1 more job; that job is queued."
    assert refusal(client.post(JOBS, json=config | {"after": "c"}))[:3] == (404, "job_not_found", "after")


def test_a_name_of_two_jobs_is_refused(client: TestClient, config: Body):
    submit(client, config, name="a")
    submit(client, config, name="a")
    assert refusal(client.post(JOBS, json=config | {"after": "a"}))[:3] == (409, "ambiguous", "after")


def test_no_job_waits_for_one_of_another_owner(client: TestClient, config: Body, services: Services):
    job = submit(client, config, name="mine")
    with services.store.begin() as tx:
        created_at = tx.jobs.get(job["id"]).created_at
        theirs = JobConfig.model_validate(config)
        tx.jobs.add("job-theirs", owner="bob", name="theirs", config=theirs, now=created_at)
    for after in ("theirs", "job-theirs"):
        assert refusal(client.post(JOBS, json=config | {"after": after}))[:2] == (404, "job_not_found")
    assert refusal(client.post(JOBS, json=config | {"model": "job:theirs"}))[:2] == (404, "model_not_found")


def test_a_model_that_a_job_has_yet_to_deliver_makes_its_child_wait(client: TestClient, config: Body):
    first = submit(client, config, name="a", lora={"r": 4})
    child = submit(client, config, model="job:a", training={"per_device_train_batch_size": 1})
    assert (child["config"]["model"], child["config"]["after"]) == (f"job:{first['id']}", [first["id"]])
    assert child["config"]["lora"]["r"] == 4
    # The base model is found through jobs that wait for others themselves.
    grandchild = submit(client, config, model=f"job:{child['id']}")
    assert grandchild["config"]["after"] == [child["id"]]
    # What cannot work with it is refused at once.
    refused = client.post(JOBS, json=config | {"model": "job:a", "lora": {"r": 5}})
    assert refusal(refused)[2] == "lora.r"
    for job in (first, child):
        assert refusal(client.delete(f"{JOBS}/{job['id']}"))[1] == "job_not_ended"


def test_an_evaluation_is_no_model(client: TestClient, config: Body):
    evaluation = {"kind": "evaluation", "models": ["org/tiny-model"], "dataset": config["dataset"], "name": "e"}
    submit(client, evaluation)
    found = refusal(client.post(JOBS, json=config | {"model": "job:e"}))
    assert (found[1], found[2]) == ("invalid_config", "model")
    assert "which delivers no model; put it into 'after'" in found[3]
    assert submit(client, config, after="e")["config"]["after"]


def test_a_job_that_others_wait_for_is_kept_until_they_are_gone(client: TestClient, config: Body, services: Services):
    parent = submit(client, config, name="a")
    child = submit(client, config, after="a")
    with services.store.begin() as tx:
        tx.jobs.move(JobRef(parent["id"], 0), JobStatus.FAILED, now=datetime.now(UTC))
    assert refusal(client.delete(f"{JOBS}/{parent['id']}"))[1] == "job_awaited"
    client.post(f"{JOBS}/{child['id']}/cancel")
    assert client.delete(f"{JOBS}/{parent['id']}").status_code == 204
    # The cancelled one cannot come back to wait for a job that is gone.
    assert refusal(client.post(f"{JOBS}/{child['id']}/resume"))[1] == "model_not_found"


def test_a_held_job_can_be_released_unless_it_needs_the_model(client: TestClient, config: Body):
    submit(client, config, name="a")
    follower, child = submit(client, config, after="a"), submit(client, config, model="job:a")
    released = client.patch(f"{JOBS}/{follower['id']}", json={"after": []}).json()
    assert (released["config"]["after"], released["parents"]) == ([], [])
    assert client.patch(f"{JOBS}/{follower['id']}", json={"after": []}).status_code == 200
    refused = client.patch(f"{JOBS}/{child['id']}", json={"after": []})
    assert refusal(refused)[:2] == (409, "job_awaits_model")
    for body in ({}, {"after": ["a"]}, {"after": [], "priority": 1}):
        assert client.patch(f"{JOBS}/{child['id']}", json=body).status_code == 422


def test_a_waiting_child_can_be_paused_resumed_and_adjusted(client: TestClient, config: Body):
    parent = submit(client, config, name="a")
    child = submit(client, config, model="job:a")
    assert client.post(f"{JOBS}/{child['id']}/pause").json()["status"] == "paused"
    adjusted = {"config_adjustments": {"training.learning_rate": 0.001}}
    again = client.post(f"{JOBS}/{child['id']}/resume", json=adjusted).json()
    assert (again["status"], again["config"]["model"]) == ("queued", f"job:{parent['id']}")
    assert again["config"]["training"]["learning_rate"] == 0.001
    client.post(f"{JOBS}/{child['id']}/pause")
    for change, code in (({"model": "org/other"}, "job_awaits_model"), ({"after": []}, "needs_new_job")):
        reply = client.post(f"{JOBS}/{child['id']}/resume", json={"config_adjustments": change})
        assert refusal(reply)[:2] == (409, code)


def test_an_estimate_follows_from_the_base_of_the_chain(client: TestClient, config: Body, huggingface: FakeHuggingFace):
    submit(client, config, name="a")
    reply = client.post(f"{JOBS}/estimate", json=config | {"model": "job:a"})
    assert reply.status_code == 200, reply.text
    assert {repo for repo, _ in huggingface.asked} == {"org/tiny-model"}
