"""Evaluations over HTTP: submitted, measured for real in this process, and answered at once the second time."""

import json
import shutil
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from cluster.runs.make_plan import make_plan
from ftlab.schemas.judge_servers import JudgeServer
from serve.context import Services
from tests.support.tiny_models import make_tiny_model
from tests.unit.cluster.runs.attempt import claim, complete_without_model
from tests.unit.serve.jobs.submission.test_former_jobs import Trainer
from tests.unit.train.runs import Link
from train.data.tokens.row_lengths import RowLengths
from train.evaluation.run import run
from train.plan import EvaluationPlan

JOBS = "/api/training/jobs"
METRICS = [{"type": "perplexity", "max_length": 64}, {"type": "exact_match"}]


class Evaluator:
    """Submits evaluations and carries them out, as a coordinator and a run driver do."""

    def __init__(self, client: TestClient, services: Services, dataset: str) -> None:
        self.client, self.services = client, services
        self.config: dict[str, Any] = {
            "kind": "evaluation",
            "dataset": dataset,
            "metrics": METRICS,
            "generation": {"max_new_tokens": 2},
        }

    def post(self, *models: str, **config: Any) -> Any:
        return self.client.post(JOBS, json=self.config | {"models": list(models)} | config)

    def measure(self, *models: str, **config: Any) -> str:
        """The id of an evaluation that has completed."""
        reply = self.post(*models, **config)
        assert reply.status_code == 201, reply.text
        job_id = str(reply.json()["id"])
        store, settings = self.services.store, self.services.settings
        ref = claim(store, job_id)
        with store.read() as tx:
            job, [attempt] = tx.jobs.get(job_id), tx.attempts.of_job(job_id)
            plan = make_plan(tx, settings, job, attempt, datetime.now(UTC))
        assert isinstance(plan, EvaluationPlan)
        run(plan, Link())
        complete_without_model(store, ref)
        return job_id

    def results(self, job_id: str) -> dict[str, Any]:
        reply = self.client.get(f"{JOBS}/{job_id}/evaluation")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())


@pytest.fixture
def trainer(client: TestClient, services: Services, config: dict[str, Any]) -> Trainer:
    make_tiny_model(services.settings.home / "models" / "org--tiny-model")
    return Trainer(client, services, config)


@pytest.fixture
def evaluator(trainer: Trainer) -> Evaluator:
    return Evaluator(trainer.client, trainer.services, trainer.config["dataset"])


def refusal(reply: Any, status: int) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    return dict(reply.json()["error"])


def name_of(evaluator: Evaluator, job_id: str) -> str:
    return str(evaluator.client.get(f"{JOBS}/{job_id}").json()["name"])


def test_a_tuned_model_is_measured_after_its_base(trainer: Trainer, evaluator: Evaluator):
    tuned, _ = trainer.train("org/tiny-model")
    job_id = evaluator.measure(f"job:{tuned}")
    job = evaluator.client.get(f"{JOBS}/{job_id}").json()
    assert (job["kind"], job["status"], job["model_id"]) == ("evaluation", "completed", None)
    assert job["message"] == "The evaluation is finished; see its results."
    assert job["config"]["models"] == [f"job:{tuned}"]
    found = evaluator.results(job_id)
    assert [(model["key"], model["name"], model["title"], model["base"]) for model in found["models"]] == [
        ("base", "org/tiny-model", None, None),
        ("model", f"job:{tuned}", name_of(evaluator, tuned), "base"),
    ]
    assert [(test["metric"], test["model"], test["other"]) for test in found["tests"]] == [
        ("perplexity", "model", "base"),
        ("exact_match", "model", "base"),
    ]
    rows = evaluator.client.get(f"{JOBS}/{job_id}/evaluation/rows", params={"limit": 1}).json()
    assert rows["has_more"] is True
    assert [row["row"] for row in rows["data"]] == [1]
    more = evaluator.client.get(f"{JOBS}/{job_id}/evaluation/rows", params={"after": 1}).json()
    assert [row["row"] for row in more["data"]] == list(range(2, found["num_rows"] + 1))
    assert more["has_more"] is False
    kinds = evaluator.client.get(JOBS, params={"kind": "evaluation"}).json()["data"]
    assert [each["id"] for each in kinds] == [job_id]


def test_models_of_one_base_share_it_and_are_tested_against_each_other(trainer: Trainer, evaluator: Evaluator):
    first, _ = trainer.train("org/tiny-model")
    second, _ = trainer.train("org/tiny-model", tuning="full")
    found = evaluator.results(evaluator.measure(f"model:mdl-{first}", f"model:mdl-{second}", "org/tiny-model"))
    assert [(model["key"], model["base"]) for model in found["models"]] == [
        ("base", None),
        ("model_1", "base"),
        ("model_2", "base"),
    ]
    titles = [None, *(f"{name_of(evaluator, job)} (model:mdl-{job})" for job in (first, second))]
    assert [model["title"] for model in found["models"]] == titles, "two jobs of one name"
    compared = trainer.client.get("/api/training/compare", params={"job": [second, first]}).json()["evaluations"]
    assert [metric["metric"] for metric in compared] == ["perplexity", "exact_match"]
    values = [[model["metrics"][place]["value"] for model in found["models"]] for place in (0, 1)]
    for metric, (base, of_first, of_second) in zip(compared, values, strict=True):
        assert metric["base"] == base
        assert [value["value"] for value in metric["values"]] == [of_second, of_first]
    third, _ = trainer.train("org/tiny-model", training={"seed": 3})
    evaluator.measure(f"job:{third}", metrics=METRICS[:1])
    reply = trainer.client.get("/api/training/compare", params={"job": [third, first]})
    assert [[value is not None for value in metric["values"]] for metric in reply.json()["evaluations"]] == [
        [True, True],
        [False, True],
    ]
    report = trainer.client.get("/api/training/compare", params={"job": [third, first], "format": "html"}).text
    assert "<h2>Evaluations</h2>" in report
    pairs = list(dict.fromkeys((test["model"], test["other"]) for test in found["tests"]))
    assert pairs == [("model_1", "base"), ("model_2", "base"), ("model_1", "model_2")]


def test_a_second_evaluation_of_the_same_is_answered_at_once(trainer: Trainer, evaluator: Evaluator):
    tuned, _ = trainer.train("org/tiny-model")
    job_id = evaluator.measure(f"job:{tuned}")
    evaluator.services.data.lengths = [RowLengths(2, 2, 20, 10, {10: 2}, is_exact=True)]
    estimate = evaluator.client.post(f"{JOBS}/estimate", json=evaluator.config | {"models": [f"job:{tuned}"]}).json()
    assert (estimate["time_s"], estimate["measured_job_id"]) == (0.0, None)
    assert estimate["notes"][0].startswith(f"Job {job_id} measured the same models")
    again = evaluator.post(f"model:mdl-{tuned}", name="again", priority=90)
    assert (again.status_code, again.headers["evaluation-cached"]) == (200, "true")
    assert again.json()["id"] == job_id
    for other in (
        {"seed": 1},
        {"max_rows": 1},
        {"metrics": ["perplexity"]},
        {"generation": {"max_new_tokens": 3}},
        {"reuse": False},
    ):
        reply = evaluator.post(f"job:{tuned}", **other)
        assert (reply.status_code, "evaluation-cached" in reply.headers) == (201, False), other
    other_model, _ = trainer.train("org/tiny-model", lora={"r": 2, "lora_alpha": 4})
    assert evaluator.post(f"job:{other_model}").status_code == 201
    shutil.rmtree(evaluator.services.settings.home / "jobs" / job_id / "evaluation")
    assert refusal(evaluator.client.get(f"{JOBS}/{job_id}/evaluation"), 404)["code"] == "results_not_found"
    assert evaluator.post(f"job:{tuned}").status_code == 201


def test_a_changed_adapter_is_another_model(trainer: Trainer, evaluator: Evaluator):
    tuned, _ = trainer.train("org/tiny-model")
    evaluator.measure(f"job:{tuned}")
    weights = evaluator.services.settings.home / "jobs" / tuned / "model" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.unlink()
    weights.write_bytes(content)
    assert evaluator.post(f"job:{tuned}").status_code == 201


def test_a_model_that_is_measured_cannot_be_deleted(trainer: Trainer, evaluator: Evaluator, client: TestClient):
    tuned, _ = trainer.train("org/tiny-model")
    evaluator.post(f"job:{tuned}")
    with evaluator.services.store.read() as tx:
        [evaluation] = tx.jobs.list(owner="local", limit=1)
        assert tx.jobs.bases_of(evaluation.id) == [tuned]


def test_what_cannot_be_measured_is_refused(evaluator: Evaluator, client: TestClient):
    assert refusal(evaluator.post("job:none"), 404)["param"] == "models.0"
    assert refusal(evaluator.post("org/tiny-model", "../x"), 422)["param"] == "models.1"
    assert refusal(evaluator.post("org/tiny-model", dataset="none"), 404)["param"] == "dataset"
    assert refusal(evaluator.post("org/tiny-model", "org/tiny-model"), 422)["code"] == "invalid_config"
    assert refusal(evaluator.post("org/tiny-model", metrics=[]), 422)["param"] == "metrics"
    for metric in ({"type": "acuracy"}, "acuracy"):
        error = refusal(evaluator.post("org/tiny-model", metrics=[metric]), 422)
        assert error["param"] == "metrics.0.type"
        assert "metrics.0.type must be 'perplexity', 'exact_match'," in error["message"]
    file = [{"type": "python_file", "path": "/tmp/score.py"}]
    assert refusal(evaluator.post("org/tiny-model", metrics=file), 422)["param"] == "metrics.0.path"
    schema = [{"type": "json_schema", "definition": {"type": "strnig"}}]
    assert refusal(evaluator.post("org/tiny-model", metrics=schema), 422)["param"] == "metrics.0.definition"
    assert refusal(evaluator.post("org/tiny-model", kind="measurement"), 422)["param"] == "kind"
    assert refusal(evaluator.post("org/tiny-model", resources={"num_workers": 2}), 422)["code"] == "invalid_config"
    assert refusal(evaluator.post("org/tiny-model", max_cost="1.00"), 422)["code"] == "max_cost_without_price"
    prompts = b'{"prompt": "What is a queue?"}\n{"prompt": "Why?"}\n'
    reply = client.post("/api/datasets", content=prompts, headers={"x-filename": "prompts.jsonl"})
    assert reply.status_code == 201, reply.text
    for metric in METRICS:
        error = refusal(evaluator.post("org/tiny-model", dataset=reply.json()["id"], metrics=[metric]), 422)
        assert (error["code"], error["param"]) == ("dataset_kind_mismatch", "dataset")
    assert client.get(JOBS).json()["data"] == []


def test_a_metric_may_only_ask_the_judges_of_the_settings(evaluator: Evaluator, services: Services):
    judge = {"type": "judge_score", "judge": "strict"}
    error = refusal(evaluator.post("org/tiny-model", metrics=[judge]), 422)
    assert error["param"] == "metrics.0.judge"
    assert error["message"] == "metrics.0.judge is not a judge of this service; the setting judges lists none."
    server = JudgeServer(url="http://127.0.0.1:9/v1", model="large", key_env="JUDGE_KEY")
    evaluator.services.settings.judges["strict"] = server
    for other, param in (
        ({"judge": "http://127.0.0.1/v1"}, "metrics.0.judge"),
        ({"judge": "other"}, "metrics.0.judge"),
        ({"url": "http://127.0.0.1/v1"}, "metrics.0.url"),
        ({"model": "small"}, "metrics.0.model"),
        ({"rubric": "Is it good?"}, "metrics.0.rubric"),
        ({"min_score": 10.0}, "metrics.0"),
        ({"type": "judge_preference", "rubric": "{answer_a}"}, "metrics.0.rubric"),
    ):
        assert refusal(evaluator.post("org/tiny-model", metrics=[judge | other]), 422)["param"] == param, other
    reply = evaluator.post("org/tiny-model", metrics=[judge, judge | {"type": "judge_preference"}])
    assert reply.status_code == 201, reply.text
    assert [metric["model"] for metric in reply.json()["resolved_config"]["metrics"]] == ["large", "large"]
    assert "127.0.0.1" not in reply.text + json.dumps(reply.json()["config"])
    with services.store.read() as tx:
        job = tx.jobs.get(reply.json()["id"])
    ref = claim(services.store, job.id)
    with services.store.read() as tx:
        [attempt] = tx.attempts.of_job(ref.id)
        plan = make_plan(tx, services.settings, job, attempt, datetime.now(UTC))
    assert isinstance(plan, EvaluationPlan)
    assert plan.judges == {"strict": server}


def test_what_only_a_training_job_does_is_refused_in_one_sentence(evaluator: Evaluator, client: TestClient):
    job_id = evaluator.post("org/tiny-model").json()["id"]
    other_id = evaluator.post("org/tiny-model", seed=1).json()["id"]
    files = {"datasets": [evaluator.config["dataset"]]}
    replies = [
        client.post(f"{JOBS}/{job_id}/append", json=files),
        client.get(f"{JOBS}/{job_id}/analytics"),
        client.get("/api/training/compare", params={"job": [job_id, other_id]}),
    ]
    for reply in replies:
        error = refusal(reply, 409)
        assert error["code"] == "not_a_training_job"
        assert error["message"].startswith(f"Job '{job_id}' is of the kind 'evaluation', and only a training job ")
    assert refusal(client.get(f"{JOBS}/{job_id}/evaluation"), 409)["code"] == "evaluation_not_completed"
    assert client.post(f"{JOBS}/{job_id}/pause").json()["message"].startswith("The job was paused before it started")
    changed = client.post(f"{JOBS}/{job_id}/resume", json={"config_adjustments": {"seed": 2}})
    assert refusal(changed, 409)["code"] == "not_a_training_job"
    assert client.post(f"{JOBS}/{job_id}/resume").json()["status"] == "queued"
    assert client.get(f"/v1/fine_tuning/jobs/{job_id.replace('job-', 'ftjob-')}").status_code == 404
    assert client.get("/v1/fine_tuning/jobs").json()["data"] == []
    assert client.post(f"{JOBS}/{job_id}/cancel").json()["status"] == "cancelled"
    reply = client.post(f"{JOBS}/{job_id}/resume")
    assert reply.json()["message"], reply.text


def test_a_training_job_has_no_evaluation(trainer: Trainer, client: TestClient):
    job = trainer.submit("org/tiny-model")
    assert refusal(client.get(f"{JOBS}/{job['id']}/evaluation"), 409)["code"] == "not_an_evaluation"
    assert json.dumps(job["config"]).count('"kind"') == 0
