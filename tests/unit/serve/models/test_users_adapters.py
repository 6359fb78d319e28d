"""Adapters from a folder or the hub as the start of a job: the check, the submit, the estimate."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve.models.huggingface_lookup import HubModel
from tests.support.model_folders import write_adapter, write_linear_model, write_model
from tests.support.service_fakes import COMMIT, FACTS
from train.model.adapter_files import adapter_facts

CHECK, JOBS = "/api/models/check", "/api/training/jobs"
ADAPTER_COMMIT = "a" * 40


@pytest.fixture
def models(settings) -> Path:
    """The models folder, with `org/base`."""
    folder = settings.home / "models"
    write_linear_model(folder / "org--base")
    return folder


def hub_adapter(tmp_path: Path, base: str, **changes: Any) -> HubModel:
    facts = adapter_facts(write_adapter(tmp_path / "hub", base, **changes))
    assert facts is not None
    return HubModel(ADAPTER_COMMIT, facts)


def refusal(client, config: dict[str, Any], model: object) -> tuple[int, str, str]:
    """The error for the model, which the check and the submit share."""
    errors = []
    for path, body in ((CHECK, {"model": str(model)}), (JOBS, config | {"model": str(model)})):
        reply = client.post(path, json=body)
        error = reply.json()["error"]
        assert error["param"] == "model"
        errors.append((reply.status_code, error["code"], error["message"]))
    assert errors[0] == errors[1]
    assert client.get(JOBS).json()["data"] == []
    return errors[0]


def test_a_folder_with_an_adapter_is_checked_with_its_base(client, models, huggingface):
    folder = write_adapter(models / "mine", "org/base")
    found = client.post(CHECK, json={"model": str(folder)}).json()
    assert (found["model"], found["kind"], found["base_model"], found["is_local"]) == (
        str(folder), "path", "org/base", True,
    )  # fmt: skip
    assert found["architecture"] == "LlamaForCausalLM"
    assert found["size_bytes"] > sum(file.stat().st_size for file in folder.iterdir())
    assert huggingface.asked == []


def test_a_job_has_the_settings_of_the_adapter(client, config, models):
    job = client.post(JOBS, json=config | {"model": str(write_adapter(models / "mine", "org/base"))}).json()
    lora = job["resolved_config"]["lora"]
    assert (lora["r"], lora["lora_alpha"], lora["target_modules"]) == (2, 6, ["q_proj"])


def test_other_settings_are_refused(client, config, models):
    folder = write_adapter(models / "mine", "org/base")
    reply = client.post(JOBS, json=config | {"model": str(folder), "lora": {"r": 8}})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "lora.r")


def test_full_fine_tuning_merges_the_adapter(client, config, models):
    job = client.post(JOBS, json=config | {"model": str(write_adapter(models / "mine", "org/base")), "tuning": "full"})
    events = client.get(f"{JOBS}/{job.json()['id']}/events").json()["data"]
    assert "adapter_merged" in [event["data"].get("code") for event in events]


def test_an_adapter_in_the_models_folder_goes_by_its_hub_id(client, config, models, huggingface):
    write_adapter(models / "acme--tuned", "org/base")
    assert client.post(CHECK, json={"model": "acme/tuned"}).json()["base_model"] == "org/base"
    assert client.post(JOBS, json=config | {"model": "acme/tuned"}).status_code == 201
    assert huggingface.asked == []


@pytest.mark.parametrize("name", ["{models}/org--base", "folder:org--base"])
def test_a_base_in_an_allowed_folder(client, config, models, name):
    folder = write_adapter(models / "mine", name.format(models=models))
    assert client.post(JOBS, json=config | {"model": str(folder)}).status_code == 201


def test_a_base_outside_the_allowed_folders_is_refused(client, config, models, tmp_path):
    outside = write_linear_model(tmp_path / "outside")
    (models / "link").symlink_to(outside)
    for number, base in enumerate((str(outside), str(models / "link"), f"{models}/../../outside", "/etc")):
        folder = write_adapter(models / f"adapter-{number}", base)
        assert refusal(client, config, folder)[:2] == (422, "invalid_model_id"), base
    assert refusal(client, config, write_adapter(models / "up", "folder:../../outside"))[:2] == (404, "model_not_found")
    assert refusal(client, config, write_adapter(tmp_path / "away", "org/base"))[:2] == (422, "invalid_model_id")


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("{models}/missing", (404, "model_not_found")),
        ("{models}/empty", (404, "model_not_found")),
        ("{models}/nul\0", (404, "model_not_found")),
        ("{models}/" + "x" * 300, (404, "model_not_found")),
        ("folder:" + "x" * 300, (404, "model_not_found")),
        ("org/base@no revision", (422, "model_invalid")),
        ("{models}/other", (422, "model_invalid")),
        ("job:job-1", (422, "model_invalid")),
        ("model:mdl-1", (422, "model_invalid")),
        ("org/shaped", (422, "model_invalid")),
        ("gpt2", (422, "model_invalid")),
    ],
)
def test_a_base_that_cannot_be_used(client, config, models, base, expected):
    (models / "empty").mkdir()
    write_adapter(models / "other", "org/base")
    write_model(models / "org--shaped")
    folder = write_adapter(models / "mine", base.format(models=models))
    assert refusal(client, config, folder)[:2] == expected


def test_an_adapter_with_pickled_weights_is_refused(client, config, models):
    folder = write_adapter(models / "mine", "org/base", without=["adapter_model.safetensors"])
    (folder / "adapter_model.bin").write_bytes(b"x")
    assert refusal(client, config, folder)[:2] == (422, "unsafe_weights")


def test_the_base_of_a_folders_adapter_is_looked_up_on_the_hub(client, config, models, services, huggingface):
    folder = write_adapter(models / "mine", "acme/far", revision="v1")
    assert client.post(CHECK, json={"model": str(folder)}).json()["revision"] == COMMIT
    job_id = client.post(JOBS, json=config | {"model": str(folder)}).json()["id"]
    with services.store.read() as tx:
        assert tx.jobs.get(job_id).model_revision == COMMIT
    assert set(huggingface.asked) == {("acme/far", "v1")}
    huggingface.answers["acme/far"] = None
    assert client.post(JOBS, json=config | {"model": str(folder)}).status_code == 201


def test_an_adapter_of_the_hub_is_pinned_with_its_base(client, config, services, huggingface, tmp_path):
    huggingface.answers["acme/tuned"] = hub_adapter(tmp_path, "acme/far")
    found = client.post(CHECK, json={"model": "acme/tuned"}).json()
    shown = (found["model"], found["base_model"], found["revision"])
    assert shown == (f"acme/tuned@{ADAPTER_COMMIT}", "acme/far", COMMIT)
    assert (found["is_local"], found["size_bytes"] > FACTS.size_bytes) == (False, True)
    job = client.post(JOBS, json=config | {"model": "acme/tuned"}).json()
    assert job["resolved_config"]["model"] == f"acme/tuned@{ADAPTER_COMMIT}"
    assert job["resolved_config"]["lora"]["r"] == 2
    with services.store.read() as tx:
        assert tx.jobs.get(job["id"]).model_revision == COMMIT


def test_an_adapter_of_the_hub_on_a_base_of_this_machine(client, config, models, huggingface, tmp_path):
    huggingface.answers["acme/tuned"] = hub_adapter(tmp_path, "org/base")
    assert client.post(JOBS, json=config | {"model": "acme/tuned"}).status_code == 201
    assert {repo for repo, _ in huggingface.asked} == {"acme/tuned"}


def test_adapters_of_the_hub_that_cannot_be_used(client, config, models, huggingface, tmp_path):
    huggingface.answers["acme/tuned"] = tuned = hub_adapter(tmp_path, str(models / "org--base"))
    assert "not on the hub" in refusal(client, config, "acme/tuned")[2]
    huggingface.answers |= {"acme/far": tuned, "acme/two": hub_adapter(tmp_path / "two", "acme/far")}
    assert "another adapter" in refusal(client, config, "acme/two")[2]


def test_the_estimate_is_that_of_the_base_with_the_adapter(client, config, models):
    folder = write_adapter(models / "mine", "org/base")
    reply = client.post(f"{JOBS}/estimate", json=config | {"model": str(folder)})
    assert reply.status_code == 200, reply.text
    assert json.loads(reply.text)["model"] == str(folder)
