"""Exports over HTTP: submitted, written for real in this process, listed and downloaded."""

import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from cluster.runs.make_plan import make_plan
from serve.context import Services
from tests.support.tiny_models import make_tiny_model
from tests.unit.cluster.runs.attempt import claim, complete_without_model
from tests.unit.serve.jobs.evaluations.test_evaluations import refusal
from tests.unit.serve.jobs.submission.test_former_jobs import Trainer
from tests.unit.train.runs import Link
from tracking.store.records import MetricRecord
from train.export.run import run
from train.plan import ExportPlan

JOBS = "/api/training/jobs"


@pytest.fixture
def trainer(client: TestClient, services: Services, config: dict[str, Any]) -> Trainer:
    make_tiny_model(services.settings.home / "models" / "org--tiny-model")
    return Trainer(client, services, config)


def post(trainer: Trainer, model: str, **config: Any) -> Any:
    return trainer.client.post(JOBS, json={"kind": "export", "model": model, "prompts": ["Why?"]} | config)


def export(trainer: Trainer, model: str, **config: Any) -> dict[str, Any]:
    """An export that has completed."""
    reply = post(trainer, model, **config)
    assert reply.status_code == 201, reply.text
    job_id, store, settings = reply.json()["id"], trainer.services.store, trainer.services.settings
    ref = claim(store, job_id)
    with store.read() as tx:
        job, [attempt] = tx.jobs.get(job_id), tx.attempts.of_job(job_id)
        plan = make_plan(tx, settings, job, attempt, datetime.now(UTC))
    assert isinstance(plan, ExportPlan)
    assert plan.facts.step == 2
    run(plan, Link())
    complete_without_model(store, ref)
    return dict(trainer.client.get(f"{JOBS}/{job_id}").json())


def exports_of(trainer: Trainer, job_id: str) -> list[dict[str, Any]]:
    reply = trainer.client.get(f"{JOBS}/{job_id}/exports")
    assert reply.status_code == 200, reply.text
    return list(reply.json()["data"])


def test_an_export_is_listed_with_its_receipt_and_downloaded(trainer: Trainer):
    tuned, _ = trainer.train("org/tiny-model")
    job = export(trainer, f"job:{tuned}")
    assert (job["kind"], job["status"], job["model_id"]) == ("export", "completed", None)
    assert job["message"] == "The export is finished; its artifacts can be downloaded."
    assert job["config"]["model"] == f"model:mdl-{tuned}"
    [found] = exports_of(trainer, tuned)
    assert exports_of(trainer, job["id"]) == [found]
    assert (found["job_id"], found["status"], found["model"]) == (job["id"], "completed", f"model:mdl-{tuned}")
    [artifact] = found["artifacts"]
    assert (artifact["name"], artifact["format"], artifact["weight_type"]) == ("merged", "merged", "f32")
    assert artifact["receipt"]["is_good"] is True
    address = f"{JOBS}/{job['id']}/exports/merged"
    reply = trainer.client.get(address)
    assert reply.headers["content-disposition"].count("merged.zip") > 0
    archive = zipfile.ZipFile(io.BytesIO(reply.content))
    assert archive.testzip() is None
    names = archive.namelist()
    assert {"model.safetensors", "config.json", "tokenizer.json", "receipt.json"} <= set(names)
    assert json.loads(archive.read("receipt.json"))["prompts"] == ["Why?"]
    card = archive.read("README.md").decode()
    dataset = trainer.client.get(f"/api/datasets/{trainer.config['dataset']}").json()
    assert "`org/tiny-model` (revision `local-" in card
    assert f"in job `{tuned}` (sft, lora); this is the state after step 2." in card
    assert f"| {dataset['name']} | {dataset['num_rows']} |" in card
    assert "      max_steps: 2" in card
    assert trainer.client.get(address, headers={"range": "bytes=0-9"}).content == reply.content[:10]
    error = refusal(trainer.client.get(f"{JOBS}/{job['id']}/exports/gguf-q8_0"), 404)
    assert error["code"] == "artifact_not_found"
    assert error["message"].endswith("no artifact of this name; it has merged.")
    assert refusal(trainer.client.get(f"{JOBS}/{job['id']}/exports/..%2Fmerged"), 404)


def test_the_card_has_no_eval_loss_of_another_step(trainer: Trainer):
    tuned, _ = trainer.train("org/tiny-model")
    with trainer.services.store.begin() as tx:
        points = {"loss": 7.25, "eval_loss": 9.125, "final_eval_loss": 9.5}
        tx.metrics.add([MetricRecord(tuned, name, 1, value, datetime.now(UTC), 1) for name, value in points.items()])
        tx.metrics.add([MetricRecord(tuned, "eval_loss", 3, 8.125, datetime.now(UTC), 1)])
    job = export(trainer, f"job:{tuned}")
    card = zipfile.ZipFile(io.BytesIO(trainer.client.get(f"{JOBS}/{job['id']}/exports/merged").content)).read(
        "README.md"
    )
    assert b"- loss: 7.25" in card
    assert b"eval_loss:" not in card


def test_a_model_that_is_exported_cannot_be_deleted_until_the_export_has_ended(trainer: Trainer):
    tuned, _ = trainer.train("org/tiny-model")
    waiting = post(trainer, f"job:{tuned}").json()["id"]
    assert [found["artifacts"] for found in exports_of(trainer, tuned)] == [[]]
    with trainer.services.store.read() as tx:
        assert tx.jobs.bases_of(waiting) == [tuned]
        assert tx.checkpoints.users_of(tuned) == [(waiting, f"model:mdl-{tuned}")]


def test_what_cannot_be_exported_is_refused(trainer: Trainer):
    tuned, _ = trainer.train("org/tiny-model")
    error = refusal(post(trainer, "org/tiny-model"), 422)
    assert (error["code"], error["param"]) == ("invalid_model_id", "model")
    assert refusal(post(trainer, "job:none"), 404)["param"] == "model"
    assert refusal(post(trainer, f"job:{tuned}/step-7"), 404)["code"] == "model_not_found"
    for config, param in (
        ({"formats": []}, "formats"),
        ({"formats": ["onnx"]}, "formats.0"),
        ({"dtype": "int4"}, "dtype"),
        ({"gguf_type": "q4_0"}, "gguf_type"),
        ({"prompts": []}, "prompts"),
    ):
        assert refusal(post(trainer, f"job:{tuned}", **config), 422)["param"] == param
    error = refusal(post(trainer, f"job:{tuned}", formats=["gguf"], gguf_type="q4_k_m"), 422)
    assert (error["code"], error["param"]) == ("unsupported_model", "gguf_type")
    assert "llama_quantize" in error["message"]
    for config in ({"formats": ["merged", "merged"]}, {"prompts": [" "]}, {"resources": {"num_workers": 2}}):
        assert refusal(post(trainer, f"job:{tuned}", **config), 422)["code"] == "invalid_config"
    base = trainer.services.settings.home / "models" / "org--tiny-model" / "config.json"
    base.write_text(base.read_text().replace('"model_type": "llama"', '"model_type": "gpt2"'))
    error = refusal(post(trainer, f"job:{tuned}", formats=["merged", "gguf"]), 422)
    assert (error["code"], error["param"]) == ("unsupported_model", "formats")
    assert (
        "it is of the type 'gpt2', and those that are written are gemma2, gemma3_text, llama, mistral, qwen2, qwen3"
        in error["message"]
    )
    assert exports_of(trainer, tuned) == []
