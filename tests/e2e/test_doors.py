"""The same life through the other doors: the command line and the paths of earlier clients."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from ftlab import Client
from ftlab.schemas import Dataset, Job
from ftlab.status import JobStatus
from tests.support.agents import Agent
from tests.support.lab import TINY, Lab, rows, tiny_job
from tests.support.method_jobs import PAIRS, REWARD, assert_trained, lines


def ftlab(lab: Lab, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ftlab.cli.main", *arguments],
        env=lab.environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_command_line_drives_the_whole_life_of_a_reward_model(lab: Lab, client: Client, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(lines(PAIRS))
    training = {"max_steps": 4, "save_steps": 2}
    data = {"dataset": "rows.jsonl", "eval_dataset": "rows.jsonl"}
    config = {"name": "by-hand", "model": TINY, "method": REWARD, "training": training} | data
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))

    submitted = ftlab(lab, "submit", "job.yaml", "--set", "training.seed=7", "--follow", folder=tmp_path)
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.split()[0]
    assert "4/4" in submitted.stderr

    shown = json.loads(ftlab(lab, "show", "by-hand", "--json").stdout)
    assert (shown["id"], shown["status"], shown["config"]["training"]["seed"]) == (job_id, "completed", 7)
    assert job_id in ftlab(lab, "ls").stdout
    assert "step-00000004" in ftlab(lab, "checkpoints", "ls", job_id).stdout
    assert ftlab(lab, "logs", job_id, "--follow").returncode == 0
    taken = ftlab(lab, "download", job_id, "-o", str(tmp_path / "model.zip"))
    assert taken.returncode == 0, taken.stderr
    assert (tmp_path / "model.zip").stat().st_size > 1000
    assert_trained(client, client.jobs.get(job_id), {"eval_accuracy", "eval_margin"})


def test_the_command_line_says_what_is_wrong_and_with_which_code(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("model: acme/tiny\ndataset: ds-none\ntraining: {learning_rte: 1e-3}\n")

    refused = ftlab(lab, "submit", "job.yaml", folder=tmp_path)
    unknown = ftlab(lab, "show", "job-000000000000")

    assert refused.returncode == 2
    assert "learning_rate" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert unknown.returncode == 3


@pytest.mark.slow
def test_an_agent_drives_a_whole_life(lab: Lab) -> None:
    agent = Agent.over_http(f"{lab.settings.server_url}/mcp")
    dataset = agent("upload_dataset", name="agent.jsonl", content=rows(20))["id"]
    report = agent("check_dataset", dataset=dataset, model=TINY, max_length=64)
    assert (report["has_errors"], report["num_rows"]) == (False, 20)
    config = {"name": "by-agent", "model": TINY, "dataset": dataset, "training": {"max_steps": 4}}
    assert agent("estimate_job", config=config)["steps"] == 4
    job_id = agent("submit_job", config=config)["id"]

    found = agent("wait_for_job", job=job_id, wait_s=120)

    assert (found["has_ended"], found["status"], found["step"]) == (True, "completed", 4)
    assert any("Step 4/4" in line for line in agent("job_logs", job="by-agent")["lines"])
    assert agent("job_metrics", job=job_id)["metrics"]["loss"]["steps"][-1] == 4
    assert found["model_id"] in [model["id"] for model in agent("list_models")["models"]]


def call(lab: Lab, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(lab.settings.server_url + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def test_the_paths_of_earlier_clients_answer(lab: Lab, client: Client, dataset: Dataset, finished: Job) -> None:
    body = {"model_name": TINY, "dataset_id": dataset.id, "batch_size": 4, "num_epochs": 1, "lr": 1e-3}
    started = client.jobs.cancel(call(lab, "POST", "/api/training/start", body)["job_id"])
    training = started.config["training"]
    assert (started.config["model"], started.datasets) == (TINY, [dataset.id])
    assert [training[name] for name in ("per_device_train_batch_size", "num_train_epochs", "learning_rate")] == [
        4,
        1,
        1e-3,
    ]

    job_id = finished.id
    status = call(lab, "GET", f"/api/training/status/{job_id}")
    assert status["status"] == "completed"
    assert call(lab, "GET", f"/api/training/metrics/{job_id}")["data"]
    assert call(lab, "GET", f"/api/training/{job_id}/checkpoints")["data"]
    assert "queued" in call(lab, "GET", "/api/training/queue")
    assert call(lab, "GET", f"/api/jobs/{job_id}")["metrics"]
    assert "data" in call(lab, "GET", f"/api/training/logs/{job_id}")
    assert "data" in call(lab, "GET", "/api/training/local/jobs")


def test_a_retried_submit_makes_one_job(client: Client, dataset: Dataset) -> None:
    body = tiny_job(dataset, max_steps=100_000)

    first = client.jobs.create(body, idempotency_key="the-same-key")
    second = client.jobs.create(body, idempotency_key="the-same-key")

    assert first.id == second.id
    client.jobs.cancel(first.id)
    assert client.jobs.wait(second.id, timeout_s=120, raise_on_failure=False).status is JobStatus.CANCELLED


def test_errors_have_one_shape_behind_the_real_front(lab: Lab) -> None:
    for method, path, status in (
        ("GET", "/api/nothing", 404),
        ("DELETE", "/api/training/queue", 405),
        ("POST", "/api/training/jobs", 422),
        ("GET", "/api/training/jobs/job-000000000000", 404),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            call(lab, method, path, {} if method == "POST" else None)
        assert refused.value.code == status
        assert set(json.load(refused.value)["error"]) == {"message", "type", "param", "code", "request_id"}
        assert refused.value.headers["x-request-id"]


def test_the_front_listens_on_this_machine_only(lab: Lab) -> None:
    listening = set()
    for process in lab.processes():
        with suppress(psutil.NoSuchProcess):  # processes of the former tests may be ending
            name = process.name()
            connections = process.net_connections("inet")
            listening |= {(name, *each.laddr) for each in connections if each.status == psutil.CONN_LISTEN}
    assert (lab.settings.host, lab.settings.port) in {(address, port) for _, address, port in listening}
    assert {address for name, address, _ in listening if name == "haproxy"} <= {"127.0.0.1"}
    if lab.settings.ingress == "haproxy":
        assert len([name for name, *_ in listening if name == "haproxy"]) >= 3  # the door, statistics, metrics
