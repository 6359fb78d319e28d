"""What a submit refuses, reports and fills in for the sake of the base model."""

import json
from datetime import UTC, datetime

import pytest

from ftlab.schemas import JobConfig
from tests.support.model_folders import CONFIG, weights, write_model
from tracking.store.records import ModelRecord

JOBS = "/api/training/jobs"
SHAPES = {"model.embed_tokens.weight": [32, 4], "model.layers.0.self_attn.q_proj.weight": [4, 4]}
ADAPTER = {"base_model_name_or_path": "org/here", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


@pytest.fixture
def here(settings, config) -> dict[str, object]:
    """A body that names a model in the models folder."""
    folder = write_model(settings.home / "models" / "org--here", config=CONFIG | {"tie_word_embeddings": True})
    (folder / "model.safetensors").write_bytes(weights(SHAPES))
    return config | {"model": "org/here"}


@pytest.fixture
def adapter(services, here) -> dict[str, object]:
    """A body that names a tuned adapter of `org/here`."""
    folder = services.settings.home / "jobs" / "job-1" / "model"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    (folder / "adapter_model.safetensors").write_bytes(bytes(100))
    now = datetime.now(UTC)
    base = JobConfig(model="org/here", dataset="ds-1")
    with services.store.begin() as tx:
        tx.jobs.add("job-1", owner="local", name="", config=base, idempotency_key=None, body_sha256="", now=now)
        tx.models.add(
            ModelRecord("mdl-1", "local", "job-1", "tuned", "adapter", "org/here", "local-1", 2, folder, None, now)
        )
    return here | {"model": "model:mdl-1"}


def notices(client, job: dict) -> dict[str, str]:
    events = client.get(f"{JOBS}/{job['id']}/events").json()["data"]
    return {event["data"]["code"]: event["data"]["message"] for event in events if event["kind"] == "notice"}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"lora": {"target_modules": ["query"]}}, "lora.target_modules"),
        ({"lora": {"target_modules": ["lm_head"]}}, "lora.target_modules"),
        ({"lora": {"modules_to_save": ["(?P<x"]}}, "lora.modules_to_save"),
        ({"lora": {"modules_to_save": ["lm_head"]}}, "lora.modules_to_save"),
        ({"training": {"fp16": True}, "resources": {"gpus_per_worker": 0}}, "training.fp16"),
        ({"training": {"optim": "paged_adamw_8bit"}, "resources": {"gpus_per_worker": 0}}, "training.optim"),
    ],
)
def test_settings_that_cannot_work_are_refused(client, here, more, param):
    reply = client.post(JOBS, json=here | more)
    assert reply.status_code == 422, reply.text
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_config", param)
    assert client.get(JOBS).json()["data"] == []


def test_a_warm_up_longer_than_the_run_is_refused_with_both_numbers(client, config):
    reply = client.post(JOBS, json=config | {"training": {"max_steps": 2, "warmup_steps": 100}})
    assert reply.status_code == 422
    message = reply.json()["error"]["message"]
    assert "(100)" in message
    assert "(2)" in message


def test_a_setting_without_effect_is_a_notice(client, here):
    job = client.post(JOBS, json=here | {"tuning": "full", "lora": {"r": 8}}).json()
    assert "lora is not used" in notices(client, job)["setting_unused"]


def test_a_job_on_an_adapter_has_the_settings_of_the_adapter(client, adapter):
    job = client.post(JOBS, json=adapter).json()
    for config in (job["config"], job["resolved_config"]):
        assert (config["lora"]["r"], config["lora"]["lora_alpha"]) == (4, 8)
        assert config["lora"]["target_modules"] == ["q_proj"]


def test_other_settings_are_refused_with_both_values(client, adapter):
    reply = client.post(JOBS, json=adapter | {"lora": {"r": 32}})
    assert reply.status_code == 422
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_config", "lora.r")
    assert "32" in error["message"]
    assert "4" in error["message"]
    assert client.post(JOBS, json=adapter | {"lora": {"r": 4, "target_modules": "all-linear"}}).status_code == 201


def test_full_fine_tuning_merges_the_adapter_and_says_so(client, adapter):
    job = client.post(JOBS, json=adapter | {"tuning": "full"}).json()
    assert "(r 4)" in notices(client, job)["adapter_merged"]


def test_a_model_check_names_the_target_modules(client, here):
    found = client.post("/api/models/check", json={"model": "org/here"}).json()
    assert found["target_modules"] == ["q_proj"]
