"""Jobs on top of the models of former jobs: submitted over HTTP, trained for real, then downloaded."""

import io
import json
import shutil
import zipfile
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from cluster.runs.make_plan import make_plan
from cluster.runs.model_location import locate
from ftlab.model_ref import parse_model_ref
from serve.context import Services
from tests.support.tiny_models import make_tiny_model
from tests.unit.cluster.runs.attempt import claim
from tests.unit.train.runs import Link
from tracking.mlflow_record.mapping import params_of
from tracking.store.records import ModelRecord
from train.model.base_model import find_model
from train.run import run

JOBS, CHECK = "/api/training/jobs", "/api/models/check"
TRAINING = {"max_steps": 2, "save_steps": 1, "per_device_train_batch_size": 1}
LORA = {
    "r": 6,
    "lora_alpha": 10,
    "lora_dropout": 0.25,
    "target_modules": ["q_proj", "v_proj"],
    "use_rslora": True,
    "use_dora": True,
    "modules_to_save": ["model.norm"],
    "init_lora_weights": True,
}


class Trainer:
    """Submits jobs and carries them out: what a coordinator and a run driver do, in this process."""

    def __init__(self, client: TestClient, services: Services, config: dict[str, Any]) -> None:
        self.client, self.services, self.config = client, services, config

    def submit(self, model: str, **config: Any) -> dict[str, Any]:
        body = self.config | {"model": model, "training": TRAINING, "method": {"type": "sft", "max_length": 64}}
        reply = self.client.post(JOBS, json=body | config)
        assert reply.status_code == 201, reply.text
        return dict(reply.json())

    def train(self, model: str, **config: Any) -> tuple[str, Link]:
        """The id of a job that has delivered the model `mdl-<job id>`."""
        job_id = self.submit(model, **config)["id"]
        store, settings, now = self.services.store, self.services.settings, datetime.now(UTC)
        claim(store, job_id)
        with store.read() as tx:
            job, [attempt] = tx.jobs.get(job_id), tx.attempts.of_job(job_id)
            plan = make_plan(tx, settings, job, attempt, now)
        link = Link()
        outcome = run(plan, link)
        assert outcome.base_model is not None
        assert outcome.delivered_step is not None
        kind = "adapter" if plan.config.tuning == "lora" else "full"
        names = (outcome.base_model, outcome.base_revision, outcome.delivered_step)
        with store.begin() as tx:
            tx.jobs.set_model_revision(job.ref, link.loaded[-1].revision)
            tx.models.add(ModelRecord(f"mdl-{job_id}", "local", job_id, "", kind, *names, plan.model_folder, None, now))
        return job_id, link

    def delivered(self, job_id: str) -> dict[str, bytes]:
        """The downloaded files by their names."""
        reply = self.client.get(f"{JOBS}/{job_id}/download/model")
        assert reply.status_code == 200, reply.text
        archive = zipfile.ZipFile(io.BytesIO(reply.content))
        return {name: archive.read(name) for name in archive.namelist()}

    def base_named_by(self, job_id: str) -> str:
        return str(json.loads(self.delivered(job_id)["adapter_config.json"])["base_model_name_or_path"])

    def model(self, job_id: str) -> dict[str, Any]:
        return dict(self.client.get(f"/api/models/mdl-{job_id}").json())

    def check(self, model: str) -> dict[str, Any]:
        reply = self.client.post(CHECK, json={"model": model})
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def assert_no_path(self, job_id: str) -> None:
        """Check that no file of the download names a folder of this machine."""
        home = self.services.settings.home
        for name, content in self.delivered(job_id).items():
            for folder in (home, home.parent):
                assert str(folder).encode() not in content, f"{name} of {job_id}"


@pytest.fixture
def trainer(client: TestClient, services: Services, config: dict[str, Any]) -> Trainer:
    make_tiny_model(services.settings.home / "models" / "org--tiny-model")
    return Trainer(client, services, config)


def card(content: bytes) -> tuple[dict[str, Any], str]:
    """Metadata and text of a model card."""
    _, metadata, text = content.decode().split("---\n", 2)
    return yaml.safe_load(metadata), text


def test_a_chain_of_jobs_names_its_base_models_and_keeps_the_adapters_settings(trainer: Trainer):
    full, _ = trainer.train("org/tiny-model", tuning="full")
    first, _ = trainer.train(f"job:{full}", lora=LORA)
    second, _ = trainer.train(f"job:{first}")
    third, _ = trainer.train(f"model:mdl-{second}")
    for job_id in (full, first, second, third):
        trainer.assert_no_path(job_id)
    base = f"model:mdl-{full}"
    for job_id in (first, second, third):
        assert (trainer.model(job_id)["base_model"], trainer.base_named_by(job_id)) == (base, base)
        assert trainer.client.get(f"{JOBS}/{job_id}").json()["resolved_config"]["lora"] == LORA
        with trainer.services.store.read() as tx:
            params = params_of(tx.jobs.get(job_id), None, None)
        assert (params["lora.r"], params["lora.lora_alpha"], params["lora.use_dora"]) == ("6", "10", "True")
        own = json.loads(trainer.delivered(job_id)["adapter_config.json"])
        assert {name: own[name] for name in LORA if name != "target_modules"} == {
            name: value for name, value in LORA.items() if name != "target_modules"
        }
        assert sorted(own["target_modules"]) == LORA["target_modules"]
    metadata, text = card(trainer.delivered(third)["README.md"])
    assert "base_model" not in metadata, "the hub refuses a card whose base model is no repository"
    assert f"`{base}`" in text
    assert f"`ftlab download {full}`" in text
    found = trainer.check(f"job:{third}")
    assert (found["base_model"], found["architecture"], found["is_local"]) == (base, "LlamaForCausalLM", True)


def test_a_job_on_an_adapter_whose_base_model_is_gone_is_refused(trainer: Trainer):
    full, _ = trainer.train("org/tiny-model", tuning="full")
    adapter, _ = trainer.train(f"job:{full}", lora=LORA)
    shutil.rmtree(trainer.services.settings.home / "jobs" / full / "model")
    for path, body in ((CHECK, {}), (JOBS, trainer.config)):
        reply = trainer.client.post(path, json=body | {"model": f"job:{adapter}"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
        assert f"model:mdl-{full}" in reply.json()["error"]["message"]


def test_a_users_own_folder_is_named_without_its_path(trainer: Trainer):
    home = trainer.services.settings.home
    shutil.copytree(home / "models" / "org--tiny-model", home / "models" / "mine")
    named, _ = trainer.train(str(home / "models" / "org--tiny-model"), lora=LORA)
    other, _ = trainer.train(str(home / "models" / "mine"), lora=LORA)
    again, _ = trainer.train(f"job:{other}")
    for job_id, base in ((named, "org/tiny-model"), (other, "folder:mine"), (again, "folder:mine")):
        assert (trainer.base_named_by(job_id), trainer.model(job_id)["base_model"]) == (base, base)
        assert trainer.check(f"job:{job_id}")["base_model"] == base
        trainer.assert_no_path(job_id)


def test_the_base_of_an_adapter_is_found_after_the_data_folder_has_moved(trainer: Trainer):
    full, _ = trainer.train("org/tiny-model", tuning="full")
    adapter, _ = trainer.train(f"model:mdl-{full}", lora=LORA)
    services = trainer.services
    moved = services.settings.model_copy(update={"home": services.settings.home.with_name("moved")})
    shutil.copytree(services.settings.home / "jobs", moved.home / "jobs")
    shutil.rmtree(services.settings.home / "jobs")
    with services.store.read() as tx:
        found = locate(tx, moved, parse_model_ref(f"model:mdl-{adapter}"))
    base = find_model(found.model, moved.home / "models", local=found.local_base)
    assert (base.name, base.folder) == (f"model:mdl-{full}", moved.home / "jobs" / full / "model")
    assert base.adapter == moved.home / "jobs" / adapter / "model"


def test_a_chain_of_reward_models_keeps_the_head_and_becomes_no_language_model(trainer: Trainer):
    pair = {"prompt": "Where?", "chosen": "Here.", "rejected": "No."}
    reply = trainer.client.post("/api/datasets", content=json.dumps(pair), headers={"x-filename": "pairs.jsonl"})
    scores: dict[str, Any] = {"dataset": reply.json()["id"], "method": {"type": "reward", "max_length": 64}}
    tuned, _ = trainer.train("org/tiny-model", lora={"r": 4})
    first, before = trainer.train(f"job:{tuned}", **scores)
    second, link = trainer.train(f"job:{first}", **scores)
    full, _ = trainer.train(f"model:mdl-{second}", tuning="full", **scores)
    assert link.series("loss")[1] < before.series("loss")[1], "the reward model is not trained further"
    for job_id in (first, second, full):
        trainer.assert_no_path(job_id)
        for method in ("sft", "dpo"):
            body = trainer.config | scores | {"model": f"job:{job_id}", "method": {"type": method}}
            error = trainer.client.post(JOBS, json=body).json()["error"]
            assert (error["code"], error["param"]) == ("invalid_config", "method")
            assert "has no language-model head" in error["message"]
    for job_id in (first, second):
        files = trainer.delivered(job_id)
        own = json.loads(files["adapter_config.json"])
        assert (own["task_type"], own["modules_to_save"]) == ("SEQ_CLS", ["classifier", "score"])
        metadata, text = card(files["README.md"])
        assert metadata["pipeline_tag"] == "text-classification"
        assert "It is a reward model" in text
    settings = json.loads(trainer.delivered(full)["config.json"])
    assert settings["architectures"] == ["LlamaForSequenceClassification"]
    assert settings["pad_token_id"] is not None
