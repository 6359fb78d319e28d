"""`POST /api/models/check`, and what a submit does with the answer."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import NotFoundError, PermissionDeniedError
from ftlab.schemas import JobConfig
from serve.models.base_model import UNCHECKED
from serve.models.huggingface_lookup import HubModel
from tests.support.model_folders import write_model
from tests.support.service_fakes import COMMIT, FACTS
from tests.unit.serve.tuned_adapters import add_tuned_adapter
from tracking.store.records import ModelRecord

CHECK, JOBS = "/api/models/check", "/api/training/jobs"


def check(client, model: str) -> dict[str, Any]:
    reply = client.post(CHECK, json={"model": model})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def code(client, model: str) -> tuple[int, str]:
    reply = client.post(CHECK, json={"model": model})
    return reply.status_code, reply.json()["error"]["code"]


@pytest.fixture
def adapter(services) -> Path:
    """A tuned model `mdl-1` on top of `org/base`."""
    return add_tuned_adapter(services, "org/base", revision=COMMIT)


def add(services, record: ModelRecord) -> None:
    with services.store.begin() as tx:
        config = JobConfig(model="org/name", dataset="ds-1")
        tx.jobs.add(record.job_id, owner=record.owner, name="former", config=config, now=record.created_at)
        tx.models.add(record)


def test_a_model_of_the_hub(client, huggingface):
    assert check(client, "org/name@main") == {
        "model": "org/name@main",
        "kind": "hub",
        "is_checked": True,
        "is_local": False,
        "revision": COMMIT,
        "base_model": None,
        "architecture": "LlamaForCausalLM",
        "parameters": 1000,
        "size_bytes": 4000,
        "max_positions": None,
        "target_modules": None,
        "has_chat_template": True,
        "licence": None,
        "warnings": [],
    }
    assert huggingface.asked == [("org/name", "main")]


def test_a_folder_is_named_in_its_normal_form(client, settings):
    folder = write_model(settings.home / "models" / "mine", has_template=False)
    found = check(client, f"{folder.parent}//mine/")
    assert (found["model"], found["kind"], found["is_local"], found["licence"]) == (
        str(folder),
        "path",
        True,
        "apache-2.0",
    )
    assert "no chat template" in found["warnings"][0]


def test_an_adapter_is_told_with_its_base_at_the_revision_it_was_trained_on(client, adapter, huggingface):
    found = check(client, "model:mdl-1")
    assert (found["model"], found["kind"], found["base_model"]) == ("model:mdl-1", "model", f"org/base@{COMMIT}")
    assert (found["revision"], found["size_bytes"], found["architecture"]) == (COMMIT, 4100, "LlamaForCausalLM")
    assert huggingface.asked == [("org/base", COMMIT)]
    huggingface.answers["org/base"] = NotFoundError("It is gone.", "model_not_found", "model")
    reply = client.post(CHECK, json={"model": "model:mdl-1"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert reply.json()["error"]["message"] == "The adapter's base model: It is gone."
    (adapter / "adapter_config.json").write_text("{}")
    assert code(client, "model:mdl-1") == (422, "model_invalid")


def test_a_whole_model_of_a_former_job(client, services, settings):
    folder = write_model(settings.home / "jobs" / "job-1" / "model")
    add(
        services,
        ModelRecord("mdl-1", "local", "job-1", "tuned", "full", "org/x", None, 2, folder, None, datetime.now(UTC)),
    )
    found = check(client, "job:job-1")
    assert (found["kind"], found["base_model"], found["parameters"], found["is_local"]) == ("job", None, 8, True)


def test_another_owners_model_is_not_found(client, services, tmp_path):
    folder = write_model(tmp_path / "theirs")
    record = ModelRecord("mdl-1", "other", "job-1", "t", "full", "org/x", None, 2, folder, None, datetime.now(UTC))
    add(services, record)
    assert code(client, "model:mdl-1") == code(client, "job:job-1") == (404, "model_not_found")


def test_a_refusal_is_the_same_for_the_check_and_the_submit(client, config, huggingface):
    huggingface.answers["org/gated"] = PermissionDeniedError("It is gated.", "model_access_denied", "model")
    for path, body in ((CHECK, {"model": "org/gated"}), (JOBS, config | {"model": "org/gated"})):
        reply = client.post(path, json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "model_access_denied")
        assert reply.json()["error"]["param"] == "model"
    assert client.get(JOBS).json()["data"] == []


def test_a_model_that_does_not_fit_the_disk_is_warned_of(client, huggingface):
    huge = replace(FACTS, size_bytes=10**18)
    huggingface.answers["org/huge"] = HubModel(COMMIT, huge)
    assert "1,000,000,000,000,000,000 bytes" in check(client, "org/huge")["warnings"][0]


def test_the_commit_is_pinned_at_the_submit(client, config, services):
    job = client.post(JOBS, json=config).json()["id"]
    with services.store.read() as tx:
        assert tx.jobs.get(job).model_revision == COMMIT


def test_an_adapters_base_is_pinned_to_the_revision_it_was_trained_on(client, config, services, adapter):
    job = client.post(JOBS, json=config | {"model": "model:mdl-1"}).json()["id"]
    with services.store.read() as tx:
        assert tx.jobs.get(job).model_revision == COMMIT


def test_the_reference_is_kept_in_its_normal_form(client, config, settings):
    folder = write_model(settings.home / "models" / "mine")
    job = client.post(JOBS, json=config | {"model": f"{folder.parent}//mine/"}).json()
    assert job["config"]["model"] == str(folder)


def test_a_job_is_accepted_while_the_hub_is_away_and_says_so(client, config, services, huggingface):
    huggingface.answers["org/name"] = None
    job = client.post(JOBS, json=config | {"model": "org/name"}).json()
    assert job["last_seq"] == 2
    events = client.get(f"{JOBS}/{job['id']}/events").json()["data"]
    assert [event["kind"] for event in events] == ["status", "notice"]
    assert events[1]["data"] == {"code": "model_unchecked", "message": UNCHECKED}
    with services.store.read() as tx:
        assert tx.jobs.get(job["id"]).model_revision is None
    found = check(client, "org/name")
    assert (found["is_checked"], found["architecture"], found["warnings"]) == (False, None, [UNCHECKED])


def test_a_submit_that_is_repeated_gets_its_job_whatever_the_hub_says_by_then(client, config, huggingface):
    body = config | {"model": "org/name"}
    job = client.post(JOBS, json=body, headers={"idempotency-key": "one"}).json()["id"]
    huggingface.answers["org/name"] = NotFoundError("It is gone.", "model_not_found", "model")
    assert client.post(JOBS, json=body, headers={"idempotency-key": "one"}).json()["id"] == job
    assert client.post(JOBS, json=body).status_code == 404


def test_what_is_on_this_machine_is_nobody_elses_business(client, config, settings, huggingface):
    write_model(settings.home / "models" / "org--here")
    assert check(client, "org/here")["is_local"]
    assert client.post(JOBS, json=config | {"model": "org/here"}).status_code == 201
    assert huggingface.asked == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid_body")),
        ({"model": ""}, (422, "invalid_model_id")),
        ({"model": 5}, (422, "invalid_model_id")),
        ({"model": "x" * 513}, (422, "invalid_model_id")),
        ({"model": "https://example.org/x"}, (422, "invalid_model_id")),
        ({"modell": "org/name"}, (422, "unknown_field")),
        ([], (422, "invalid_body")),
    ],
)
def test_bad_questions(client, body, expected):
    reply = client.post(CHECK, json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == expected
