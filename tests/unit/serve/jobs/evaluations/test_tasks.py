"""Evaluations on tasks of lm-evaluation-harness over HTTP, measured for real in this process."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ftlab.schemas.judge_servers import JudgeServer
from serve.context import Services
from serve.jobs.evaluations.estimate import TASKS
from tests.support.bench_tasks import QUESTIONS, write_task, write_tasks
from tests.unit.serve.jobs.evaluations.test_evaluations import JOBS, Evaluator, evaluator, refusal, trainer
from tests.unit.serve.jobs.submission.test_former_jobs import Trainer

__all__ = ["evaluator", "trainer"]

OPTIONS = "/api/evaluations/options"


@pytest.fixture
def folder(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of tasks of the service."""
    tasks = write_tasks(tmp_path / "tasks")
    monkeypatch.setitem(services.settings.__dict__, "lm_eval_tasks", tasks)
    return tasks


def only_tasks(evaluator: Evaluator, *tasks: Any) -> None:
    """Submit evaluations of tasks from now on."""
    evaluator.config = {"kind": "evaluation", "tasks": list(tasks)}


def test_a_tuned_model_is_measured_on_a_task_and_found_again(trainer: Trainer, evaluator: Evaluator, folder: Path):
    only_tasks(evaluator, "choice_local")
    first, _ = trainer.train("org/tiny-model")
    second, _ = trainer.train("org/tiny-model", training={"seed": 3})
    job_id = evaluator.measure(f"job:{first}")
    job = evaluator.client.get(f"{JOBS}/{job_id}").json()
    assert job["name"].endswith(" on choice_local")
    assert job["config"]["tasks"] == ["choice_local"] or job["config"]["tasks"][0]["name"] == "choice_local"
    [task] = job["resolved_config"]["tasks"]
    assert len(task["sha256"]) == 64
    found = evaluator.results(job_id)
    assert (found["dataset_id"], found["num_rows"]) == (None, len(QUESTIONS))
    assert [model["key"] for model in found["models"]] == ["base", "model"]
    assert [test["metric"] for test in found["tests"]] == [
        "choice_local/acc",
        "choice_local/acc_norm",
        "choice_local/brier_score",
    ]
    rows = evaluator.client.get(f"{JOBS}/{job_id}/evaluation/rows").json()["data"]
    numbers = range(1, len(QUESTIONS) + 1)
    assert [(row["row"], row["task"]) for row in rows] == [(number, "choice_local") for number in numbers]
    again = evaluator.post(f"job:{first}", tasks=[{"name": "choice_local"}])
    assert (again.status_code, again.json()["id"]) == (200, job_id)
    assert evaluator.post(f"job:{first}", tasks=[{"name": "choice_local", "num_fewshot": 1}]).status_code == 201
    evaluator.measure(f"job:{second}")
    compared = trainer.client.get("/api/training/compare", params={"job": [first, second]}).json()["evaluations"]
    assert (compared[0]["metric"], compared[0]["dataset_id"]) == ("choice_local/acc", None)
    assert all(value is not None for metric in compared for value in metric["values"])
    page = trainer.client.get("/api/training/compare", params={"job": [first, second], "format": "html"})
    assert "choice_local/acc" in page.text
    with (folder / "choice.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert evaluator.post(f"job:{first}").status_code == 201


def test_what_a_task_lacks_is_said_at_its_place(evaluator: Evaluator, folder: Path, client: TestClient):
    only_tasks(evaluator, "choice_local")
    write_task(folder, "remote", dataset_path="org/rows")
    for tasks, param in (
        (["choice_local", "remote"], "tasks.1.name"),
        (["unknown"], "tasks.0.name"),
        (["../choice"], "tasks.0.name"),
        ([{"name": "choice_local", "num_fewshot": -1}], "tasks.0.num_fewshot"),
        ([{"name": "choice_local", "sha256": "0" * 64}], "tasks.0.name"),
        ([{"name": "choice_local", "path": "/etc"}], "tasks.0.path"),
    ):
        for path in (JOBS, f"{JOBS}/estimate"):
            body = evaluator.config | {"models": ["org/tiny-model"], "tasks": tasks}
            assert refusal(client.post(path, json=body), 422)["param"] == param, tasks
    assert client.get(JOBS).json()["data"] == []


def test_an_estimate_says_that_tasks_are_not_estimated(evaluator: Evaluator, folder: Path, client: TestClient):
    only_tasks(evaluator, "local_group")
    reply = client.post(f"{JOBS}/estimate", json=evaluator.config | {"models": ["org/tiny-model"]})
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert (found["tokens"], found["time_s"], found["measured_job_id"]) == (None, None, None)
    assert TASKS in found["notes"]


def test_the_options_name_judges_and_tasks_and_no_address(client: TestClient, services: Services, folder: Path):
    services.settings.judges["strict"] = JudgeServer(url="http://127.0.0.1:9/v1", model="large", key_env="JUDGE_KEY")
    found = client.get(OPTIONS)
    assert found.json()["judges"] == [{"name": "strict", "model": "large"}]
    assert "127.0.0.1" not in found.text
    assert "JUDGE_KEY" not in found.text
    names = {task["name"]: task["kind"] for task in found.json()["tasks"]}
    assert names == {"answer_local": "task", "choice_local": "task", "local_group": "group", "local_tag": "tag"}


def test_a_service_without_tasks_or_lm_eval_says_so(
    client: TestClient, services: Services, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    only_tasks(evaluator, "choice_local")
    assert client.get(OPTIONS).json() == {"judges": [], "tasks": [], "problem": None}
    assert "lm_eval_tasks" in refusal(evaluator.post("org/tiny-model"), 422)["message"]
    monkeypatch.setitem(services.settings.__dict__, "lm_eval_tasks", tmp_path)
    monkeypatch.setattr("train.evaluation.task_checks.find_spec", lambda name: None)
    assert "ftlab[bench]" in client.get(OPTIONS).json()["problem"]
    assert "ftlab[bench]" in refusal(evaluator.post("org/tiny-model"), 422)["message"]
