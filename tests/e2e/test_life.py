"""The life of a job as a user meets it: in, watched, out."""

import json
import math
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ftlab import Client, EvaluationConfig, ExportConfig
from ftlab.errors import InvalidRequestError
from ftlab.schemas import Dataset, Job
from ftlab.status import JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.support.huggingface_server import HubServer
from tests.support.judge_stub import KEY as JUDGE_KEY
from tests.support.judge_stub import JudgeStub
from tests.support.lab import TINY, Lab, at_step, follow_until, tiny_job
from tests.support.method_jobs import KTO, RATED, assert_trained, upload
from tests.support.tiny_models import make_tiny_model


def test_a_job_runs_from_submit_to_model(client: Client, finished: Job) -> None:
    assert finished.status is JobStatus.COMPLETED
    assert finished.reason is ReasonCode.OK
    assert finished.step == finished.total_steps == 20
    assert finished.model_id is not None
    assert client.models.get(finished.model_id).kind == "adapter"


def test_the_event_log_is_gapless_and_tells_the_life(client: Client, finished: Job) -> None:
    events = list(client.jobs.follow(finished.id))

    assert [event.seq for event in events] == list(range(1, finished.last_seq + 1))
    statuses = [event.data["status"] for event in events if event.kind == "status"]
    assert statuses == ["queued", "pending", "initializing", "running", "completed"]
    assert [event.data["step"] for event in events if event.kind == "checkpoint"] == [5, 10, 15, 20]


def test_every_step_has_one_metric_point(client: Client, finished: Job) -> None:
    points = list(client.jobs.metrics(finished.id, names=["loss"]))

    assert [point.step for point in points] == list(range(1, 21))
    evals = [point.step for point in client.jobs.metrics(finished.id, names=["eval_loss"])]
    assert evals == [0, 10, 20]


def test_following_from_a_sequence_number_starts_there(client: Client, finished: Job) -> None:
    events = list(client.jobs.follow(finished.id, after=10))

    assert [event.seq for event in events] == list(range(11, finished.last_seq + 1))


def test_checkpoints_are_kept_by_the_limit_and_the_best_is_marked(client: Client, finished: Job) -> None:
    checkpoints = list(client.jobs.checkpoints(finished.id))

    assert [checkpoint.step for checkpoint in checkpoints] == [20, 15, 10]
    assert [checkpoint.step for checkpoint in checkpoints if checkpoint.is_best] == [20]


def test_the_analysis_divides_the_time_of_the_job(client: Client, finished: Job) -> None:
    found = client.jobs.analytics(finished.id)

    assert found.best is not None
    assert (found.best.step, found.best.value) == (20, finished.eval_loss)
    assert found.summary[0] == f"The lowest eval loss is {finished.eval_loss:.4g}, at step 20 of 20."
    time = found.time
    assert finished.finished_at is not None
    assert time.total_s == pytest.approx((finished.finished_at - finished.created_at).total_seconds(), abs=0.5)
    parts = (time.starting_s, time.data_s, time.forward_s, time.backward_s, time.optimizer_s, time.evaluation_s)
    assert all(part is not None and part > 0 for part in (*parts, time.saving_s, time.finishing_s))
    assert time.other_s < 0.5 * time.total_s
    assert (time.lost_s, time.lost_steps, time.paused_s, time.missing) == (0.0, 0, 0.0, None)


def test_the_load_of_the_machine_is_sampled(client: Client, finished: Job) -> None:
    [node] = client.nodes()
    assert node.host is not None
    assert (node.host.cpu_percent or 0) > 0


def test_a_named_checkpoint_and_the_logs_can_be_downloaded(client: Client, finished: Job, tmp_path: Path) -> None:
    client.jobs.download_model(finished.id, tmp_path / "c.zip", checkpoint="step-00000010")
    client.jobs.download_logs(finished.id, tmp_path / "logs.zip")

    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        assert any(name.endswith("adapter_model.safetensors") for name in archive.namelist())
    with zipfile.ZipFile(tmp_path / "logs.zip") as archive:
        assert archive.testzip() is None
        assert any("attempt-1" in name for name in archive.namelist())


def test_mlflow_has_the_run_and_a_registered_model_version(client: Client, lab: Lab, finished: Job) -> None:
    def is_registered() -> bool:
        job = client.jobs.get(finished.id)
        return job.model_id is not None and client.models.get(job.model_id).mlflow_version is not None

    wait_for(is_registered, 180, "the registered model version")
    run_id = client.jobs.get(finished.id).mlflow_run_id

    def has_finished() -> bool:
        return bool(mlflow_run(lab, run_id)["info"]["status"] == "FINISHED")

    wait_for(has_finished, 60, "the run's end, which is told last")
    history = f"{lab.settings.mlflow_url}/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=train%2Floss"
    with urllib.request.urlopen(history) as reply:
        assert [metric["step"] for metric in json.load(reply)["metrics"]] == list(range(1, 21))


def mlflow_run(lab: Lab, run_id: str | None) -> Any:
    url = f"{lab.settings.mlflow_url}/api/2.0/mlflow/runs/get?run_id={run_id}"
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.load(reply)["run"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"load_in_4bit": True}, {"tuning": "full"}, {"resources": {"num_workers": 2}}],
    ids=["qlora", "full", "two workers"],
)
def test_other_ways_to_train(client: Client, dataset: Dataset, changes: dict[str, Any]) -> None:
    job = client.jobs.create(tiny_job(dataset, max_steps=6, **changes))

    done = client.jobs.wait(job.id, timeout_s=180)

    assert done.status is JobStatus.COMPLETED
    assert [point.step for point in client.jobs.metrics(job.id, names=["loss"])] == [1, 2, 3, 4, 5, 6]
    notices = {event.data["code"] for event in client.jobs.events(job.id, kinds="notice")}
    assert "record_differs" not in notices


@pytest.mark.slow
def test_a_job_can_start_from_a_former_job_and_from_a_folder(
    client: Client, lab: Lab, finished: Job, dataset: Dataset
) -> None:
    folder = lab.settings.home / "models" / "local"
    make_tiny_model(folder, architecture="qwen3", seed=1)
    jobs = [
        client.jobs.create(tiny_job(dataset, max_steps=3, model=model)) for model in (f"job:{finished.id}", str(folder))
    ]

    done = [client.jobs.wait(job.id, timeout_s=180) for job in jobs]

    assert {job.status for job in done} == {JobStatus.COMPLETED}
    resumed = next(iter(client.jobs.metrics(jobs[0].id, names=["loss"]))).value
    fresh = next(iter(client.jobs.metrics(finished.id, names=["loss"]))).value
    assert resumed < fresh, "the former job's adapter continues from what it has learned"


def test_a_job_that_cannot_run_is_refused_at_the_submit(client: Client, dataset: Dataset) -> None:
    with pytest.raises(InvalidRequestError, match="512 CPU cores") as caught:
        client.jobs.create(tiny_job(dataset, resources={"num_workers": 512}))
    assert caught.value.code == "config_invalid"
    with pytest.raises(InvalidRequestError, match="method 'dpo' learns from preference only"):
        client.jobs.create(tiny_job(dataset, method={"type": "dpo", "max_length": 64}))


@pytest.mark.slow
def test_the_queue_is_first_in_first_out_with_visible_positions(client: Client, dataset: Dataset) -> None:
    running = client.jobs.create(tiny_job(dataset, max_steps=100_000, training={"save_steps": 1000}))
    follow_until(client, running, at_step(1))
    waiting = [client.jobs.create(tiny_job(dataset, max_steps=1)) for _ in range(3)]

    assert [client.jobs.get(job.id).queue_position for job in waiting] == [1, 2, 3]
    assert [entry.job_id for entry in client.queue().queued] == [job.id for job in waiting]
    client.jobs.cancel(waiting[1].id)
    assert client.jobs.get(waiting[1].id).status is JobStatus.CANCELLED
    client.jobs.cancel(running.id)

    done = [client.jobs.wait(job.id, timeout_s=120) for job in (waiting[0], waiting[2])]
    assert done[0].finished_at is not None
    assert done[1].started_at is not None
    assert done[0].finished_at <= done[1].started_at


def test_a_tuned_model_is_measured_after_its_base_and_the_second_time_at_once(
    client: Client, finished: Job, judge: tuple[JudgeStub, str]
) -> None:
    dataset = client.datasets.get(str(finished.config["eval_dataset"]))
    config = EvaluationConfig.model_validate_json(
        json.dumps(
            {
                "kind": "evaluation",
                "models": [f"job:{finished.id}"],
                "dataset": dataset.id,
                "metrics": [
                    {"type": "perplexity"},
                    {"type": "exact_match"},
                    {"type": "judge_score", "judge": "strict", "max_score": 5},
                ],
                "generation": {"max_new_tokens": 4},
            }
        )
    )
    job = client.jobs.wait(client.jobs.create(config).id, timeout_s=120)

    assert (job.kind, job.reason, job.model_id, job.is_cached) == ("evaluation", ReasonCode.OK, None, False)
    statuses = [event.data["status"] for event in client.jobs.events(job.id, kinds="status")]
    assert statuses == ["queued", "pending", "initializing", "running", "completed"]
    results = client.evaluations.results(job.id)
    assert [(model.key, model.name) for model in results.models] == [("base", TINY), ("model", f"job:{finished.id}")]
    losses = {point.step: point.value for point in client.jobs.metrics(finished.id, names=["eval_loss"])}
    base = results.models[0].metrics[0]
    assert base.value == pytest.approx(math.exp(losses[0]), rel=1e-6)
    assert results.estimated_memory_bytes
    assert results.peak_memory_bytes
    rows = list(client.evaluations.rows(job.id))
    assert len(rows) == results.num_rows == dataset.num_rows
    assert all(set(row.answers) == {"base", "model"} for row in rows)
    stub, _ = judge
    assert len(stub.asked) == 2 * dataset.num_rows
    assert all(
        metric.num_rows + sum(metric.skipped.values()) == dataset.num_rows for metric in results.models[1].metrics
    )
    assert all(set(row.judge_replies) == {"base", "model"} for row in rows)
    assert JUDGE_KEY not in client.jobs.get(job.id).model_dump_json() + "".join(
        event.model_dump_json() for event in client.jobs.events(job.id)
    )
    known = [each.id for each in client.jobs.list(kind="evaluation")]
    again = client.jobs.create(config)
    assert (again.id, again.is_cached) == (job.id, True)
    assert len(stub.asked) == 2 * dataset.num_rows
    assert [each.id for each in client.jobs.list(kind="evaluation")] == known


@pytest.mark.slow
def test_a_tuned_model_is_exported_as_files_that_load_elsewhere(
    client: Client, finished: Job, model_hub: HubServer, tmp_path: Path
) -> None:
    config = ExportConfig(model=f"job:{finished.id}", formats=["merged"])
    job = client.jobs.wait(client.jobs.create(config).id, timeout_s=120)

    assert (job.kind, job.reason, job.model_id) == ("export", ReasonCode.OK, None)
    [export] = client.exports.list(finished.id)
    assert (export.job_id, export.model) == (job.id, f"model:{finished.model_id}")
    assert [artifact.name for artifact in export.artifacts] == ["merged"]
    assert all(artifact.receipt.is_good for artifact in export.artifacts)
    for artifact in export.artifacts:
        target = client.exports.download(job.id, artifact.name, tmp_path / f"{artifact.name}.zip")
        with zipfile.ZipFile(target) as archive:
            assert archive.testzip() is None
            assert {"README.md", "receipt.json"} <= set(archive.namelist())
            card = archive.read("README.md").decode()
    assert f"| {client.datasets.get(finished.datasets[0]).name} | 40 |" in card

    model_hub.uploads.folder, model_hub.uploads.owners["hf_of_the_caller"] = tmp_path / "hub", {"me"}
    pushed = client.exports.push(job.id, "merged", "me/support", token="hf_of_the_caller")
    repository = model_hub.repositories["me/support"]
    assert (pushed.commit, pushed.is_new, repository.is_private) == (repository.sha, True, True)
    assert (repository.folder / "README.md").read_text("utf-8") == card
    client.exports.delete(job.id, "merged")
    assert client.exports.list(job.id)[0].artifacts == []


def test_a_sweep_trains_its_trials_and_names_the_best(client: Client, lab: Lab, tmp_path: Path) -> None:
    rated = upload(client, tmp_path / "rated.jsonl", RATED)
    job = tiny_job(rated, max_steps=2, method=KTO, eval_dataset=rated.id, resources={"cpus_per_worker": 1})
    parameters = {"training.learning_rate": {"min": 1e-5, "max": 1e-2, "log": True}}
    sweep = client.sweeps.create({"name": "rates", "job": job, "parameters": parameters, "max_trials": 2})
    ended = client.sweeps.wait(sweep.id, timeout_s=240)

    assert ended.status == "completed", ended.message
    assert [trial.state for trial in ended.trials] == ["completed"] * 2
    assert ended.best is not None
    assert ended.best.value == min(trial.value for trial in ended.trials if trial.value is not None)
    best = client.jobs.get(str(ended.best.job_id))
    assert (best.sweep_id, best.eval_loss) == (sweep.id, ended.best.value)
    assert_trained(client, best, {"eval_rewards/margins", "eval_kl"})
    assert best.config["training"]["learning_rate"] == ended.best.parameters["training.learning_rate"]
    assert {each.id for each in client.jobs.list(sweep="rates")} == {trial.job_id for trial in ended.trials}
    assert ended.cost is not None
    assert ended.cost > 0

    wait_for(lambda: client.sweeps.get(sweep.id).mlflow_url is not None, 180, "the sweep's run in MLflow")
    run_id = str(client.sweeps.get(sweep.id).mlflow_url).partition("/runs/")[2].partition("?")[0]
    wait_for(lambda: mlflow_run(lab, run_id)["info"]["status"] == "FINISHED", 60, "the end of the sweep's run")
    [point] = mlflow_run(lab, run_id)["data"]["metrics"]
    assert (point["key"], point["value"]) == ("eval/loss", pytest.approx(ended.best.value))
    wait_for(lambda: all(each.mlflow_run_id for each in client.jobs.list(sweep="rates")), 60, "the runs of the trials")
    for each in client.jobs.list(sweep="rates"):
        tags = mlflow_run(lab, each.mlflow_run_id)["data"]["tags"]
        assert {"key": "mlflow.parentRunId", "value": run_id} in tags
