"""Whole jobs against a real MLflow server."""

import json
from pathlib import Path

import pytest
import yaml
from mlflow import artifacts as mlflow_artifacts

from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import EventKind
from ftlab.schemas.events import FAILURE_ANALYSED
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.mlflow_record.conftest import SERVER_URL, START, Jobs, Reader
from tracking.mlflow_record.api import MlflowApi
from tracking.mlflow_record.mapping import registered_name, to_ms
from tracking.mlflow_record.recorder import Recorder
from tracking.store.jobs import JobRepository
from tracking.store.records import JobRecord, JobRef

FILES = {"adapter.safetensors": bytes(range(256)) * 4000, "tokenizer/vocab.json": b'{"a": 1}'}


def _catch_up(recorder: Recorder, passes: int = 50) -> None:
    for _ in range(passes):
        if recorder.step() == 0:
            return
    raise AssertionError("the recorder does not come to an end")


def _job(jobs: Jobs, job_id: str) -> JobRecord:
    with jobs.store.read() as tx:
        return tx.jobs.get(job_id)


def _trained(jobs: Jobs, name: str, steps: range = range(1, 11)) -> JobRef:
    ref = jobs.start_attempt(jobs.add_job(name))
    jobs.log_steps(ref, steps)
    jobs.write_logs(ref)
    return ref


def test_a_running_job_is_followed(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    held_out = jobs.add_dataset("held out", b"held out rows")
    job_id = jobs.add_job("followed", eval_dataset=held_out)
    assert recorder.step() == 0  # a queue of thousands is no work for MLflow
    ref = jobs.claim(job_id)
    assert recorder.step() == 2
    run = reader.of(job_id).run
    assert (run.info.status, run.info.run_name, run.info.start_time) == ("SCHEDULED", "followed", to_ms(START))
    assert run.data.params["training.learning_rate"] == "0.0002"
    assert run.data.tags["ftlab.status"] == "pending"
    assert run.data.tags["mlflow.user"] == "local"
    assert reader.client.get_experiment(run.info.experiment_id).name == "finetune-lab"
    inputs = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert inputs["training"].name == "followed rows"
    assert (inputs["evaluation"].source, inputs["evaluation"].digest) == (held_out.id, held_out.sha256[:8])
    assert _job(jobs, job_id).mlflow_run_id == run.info.run_id

    jobs.run(ref)
    jobs.log_steps(ref, range(1, 4))
    jobs.emit(ref, EventKind.CHECKPOINT, {"step": 3, "size_bytes": 1, "metrics": {}, "is_best": False})
    jobs.emit(ref, EventKind.SAMPLE, {"step": 3, "prompt": "Grüße", "text": "你好"})
    jobs.emit(ref, EventKind.LOG, {"level": "info", "text": "a line"})
    _catch_up(recorder)
    reading = reader.of(job_id)
    assert reading.run.info.status == "RUNNING"
    assert reading.history("train/loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert reading.run.data.metrics["train/epoch"] == pytest.approx(0.3)
    assert reading.run.data.tags["ftlab.checkpoint.latest_step"] == "3"
    assert reading.run.data.tags["ftlab.attempt"] == "1"
    (sample,) = reading.artifacts("samples")
    assert "你好" in reading.text(sample, jobs.jobs_folder.parent)
    assert reading.text("samples.csv", jobs.jobs_folder.parent).splitlines() == ["prompt,step 3", "Grüße,你好"]
    assert _job(jobs, job_id).mlflow_seq == _job(jobs, job_id).last_seq


def test_a_failure_leaves_its_analysis(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    ref = jobs.start_attempt(jobs.add_job("failing"))
    analysis = {"cause": "diverged", "reason": "loss_diverged", "attempt": 1, "confidence": "certain"}
    for sentence in ("It diverged.", "It diverged again."):
        notice = {"code": FAILURE_ANALYSED, "message": "x", "analysis": analysis | {"sentence": sentence}}
        jobs.emit(ref, EventKind.NOTICE, notice)
    _catch_up(recorder)
    folder, reading = jobs.jobs_folder.parent, reader.of(ref.id)
    assert json.loads(reading.text("failure.json", folder))["sentence"] == "It diverged again."
    assert reading.text("failure.md", folder).startswith("# Why attempt 1 failed\n\nIt diverged again.\n")


def test_log_lines_alone_need_no_request(jobs: Jobs, recorder: Recorder) -> None:
    ref = jobs.start_attempt(jobs.add_job("chatty"))
    _catch_up(recorder)
    away = Recorder(jobs.store, MlflowApi("http://127.0.0.1:9"), jobs.jobs_folder, jobs.clock, SERVER_URL)
    jobs.emit(ref, EventKind.LOG, *({"level": "info", "text": str(number)} for number in range(1200)))
    assert away.step() == 0
    assert _job(jobs, ref.id).mlflow_seq == _job(jobs, ref.id).last_seq


def test_a_completed_job_delivers_its_model(
    jobs: Jobs, recorder: Recorder, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = _trained(jobs, "org/greeter: v1")
    model = jobs.complete(ref, FILES)
    _catch_up(recorder)
    reading = reader.of(ref.id)
    run = reading.run
    assert (run.info.status, run.info.end_time) == ("FINISHED", to_ms(jobs.clock()))
    assert run.data.tags["ftlab.reason"] == "ok"
    assert "ftlab.incomplete" not in run.data.tags
    assert reading.artifacts() == [
        "config/job.yaml",
        "logs/attempt-1.jsonl",
        "model/adapter.safetensors",
        "model/manifest.json",
        "model/tokenizer/vocab.json",
    ]
    assert yaml.safe_load(reading.text("config/job.yaml", tmp_path)) == _job(jobs, ref.id).submitted_config
    assert reading.text("logs/attempt-1.jsonl", tmp_path) == jobs.write_logs(ref).read_text()

    version = reader.client.get_model_version_by_alias("org-greeter- v1", ref.id)
    assert (version.run_id, version.status) == (run.info.run_id, "READY")
    assert version.tags["ftlab.model_id"] == model.id
    with jobs.store.read() as tx:
        assert tx.models.get(model.id).mlflow_version == str(version.version)
    uri = f"models:/org-greeter- v1/{version.version}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", reader.url)
    fetched = Path(mlflow_artifacts.download_artifacts(uri, dst_path=str(tmp_path / "fetched")))
    assert {name: (fetched / name).read_bytes() for name in FILES} == FILES


@pytest.mark.parametrize("is_followed", [True, False], ids=["followed", "read afterwards"])
def test_a_reopened_job_goes_on_in_its_run_and_registers_a_second_version(
    jobs: Jobs, recorder: Recorder, reader: Reader, tmp_path: Path, is_followed: bool
) -> None:
    name = f"reopened {is_followed}"
    ref = _trained(jobs, name, range(1, 6))
    weights = [{"adapter.safetensors": text} for text in (b"first weights", b"later weights")]
    first = jobs.complete(ref, weights[0])
    if is_followed:
        _catch_up(recorder)
    more = jobs.add_dataset(f"{name} more", b"more rows")
    with jobs.store.begin() as tx:
        files = tx.job_files.append(tx.jobs.get(ref.id), [more.id], now=jobs.clock())
        tx.jobs.reopen(ref, message="One file was appended.", now=jobs.clock())
    if is_followed:
        _catch_up(recorder)
        assert reader.of(ref.id).run.info.status == "SCHEDULED"
    ref = jobs.start_attempt(ref.id, resumed_from_step=5)
    jobs.log_steps(ref, range(6, 9))
    jobs.write_logs(ref)
    second = jobs.complete(ref, weights[1], folder_name="model-2")
    _catch_up(recorder)

    reading = reader.of(ref.id)
    run_id = reading.run.info.run_id
    assert (reading.run.info.status, reading.run.info.end_time) == ("FINISHED", to_ms(jobs.clock()))
    assert [step for step, _ in reading.history("train/loss")] == list(range(1, 9))
    assert json.loads(reading.run.data.tags["ftlab.datasets"]) == files
    assert {item.dataset.source for item in reading.run.inputs.dataset_inputs} == set(files)
    found = reader.client.search_model_versions(f"run_id = '{run_id}'")
    versions = {version.tags["ftlab.model_id"]: version for version in found}
    assert set(versions) == {first.id, second.id}
    newest = reader.client.get_model_version_by_alias(registered_name(_job(jobs, ref.id)), ref.id)
    assert newest.tags["ftlab.model_id"] == second.id
    with jobs.store.read() as tx:
        recorded = [model.mlflow_version for model in tx.models.all_of_job(ref.id)]
    assert recorded == [str(versions[first.id].version), str(newest.version)]
    for folder, files_of in zip(("model", "model-2"), weights, strict=True):
        text = reading.text(f"{folder}/adapter.safetensors", tmp_path)
        assert text.encode() == files_of["adapter.safetensors"]


def test_a_dataset_removed_before_mlflow_was_back_is_named_by_its_id(
    jobs: Jobs, recorder: Recorder, reader: Reader
) -> None:
    ref = _trained(jobs, "without rows")
    jobs.complete(ref, FILES)
    dataset_id = _job(jobs, ref.id).dataset_id
    with jobs.store.begin() as tx:
        tx.datasets.remove(dataset_id, owner="local")
    _catch_up(recorder)
    run = reader.of(ref.id).run
    assert (run.info.status, run.data.params["dataset.id"]) == ("FINISHED", dataset_id)
    assert run.inputs.dataset_inputs == []


def test_jobs_of_one_name_are_versions_of_one_model(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    refs = [_trained(jobs, "repeated") for _ in range(2)]
    for ref in refs:
        jobs.complete(ref, FILES)
    _catch_up(recorder)
    versions = [reader.client.get_model_version_by_alias("repeated", ref.id).version for ref in refs]
    assert [str(version) for version in versions] == ["1", "2"]


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_a_job_without_a_model_leaves_config_and_logs(
    jobs: Jobs, recorder: Recorder, reader: Reader, status: JobStatus
) -> None:
    ref = _trained(jobs, f"ends {status}")
    (jobs.jobs_folder / ref.id / "logs" / "attempt-1-stacks.txt").write_text("where it hung")
    if status is JobStatus.FAILED:
        jobs.fail(ref, ReasonCode.DEVICE_OOM, "The GPU's memory is full; use a smaller batch.")
    else:
        with jobs.store.begin() as tx:
            tx.jobs.move(ref, JobStatus.CANCELLING, now=jobs.clock())
            tx.jobs.move(ref, JobStatus.CANCELLED, now=jobs.clock(), reason=ReasonCode.USER_CANCELLED)
    _catch_up(recorder)
    reading = reader.of(ref.id)
    expected = {JobStatus.FAILED: ("FAILED", "device_oom"), JobStatus.CANCELLED: ("KILLED", "user_cancelled")}
    assert (reading.run.info.status, reading.run.data.tags["ftlab.reason"]) == expected[status]
    assert reading.run.data.tags["ftlab.message"] == _job(jobs, ref.id).message
    assert reading.artifacts() == ["config/job.yaml", "logs/attempt-1-stacks.txt", "logs/attempt-1.jsonl"]
    assert reader.client.search_model_versions(f"run_id = '{reading.run.info.run_id}'") == []


def test_a_resumed_job_has_each_step_once(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    first = _trained(jobs, "resumed", range(1, 9))
    _catch_up(recorder)
    jobs.requeue(first)
    second = jobs.start_attempt(first.id, resumed_from_step=5)
    jobs.log_steps(second, range(6, 9))
    _catch_up(recorder)
    jobs.log_steps(second, range(9, 11))
    jobs.write_logs(second)
    jobs.complete(second, FILES)
    fresh = Recorder(jobs.store, MlflowApi(reader.url), jobs.jobs_folder, jobs.clock, SERVER_URL)
    _catch_up(fresh)
    reading = reader.of(first.id)
    for key in ("train/loss", "train/epoch"):
        assert [step for step, _ in reading.history(key)] == list(range(1, 11))
    assert reading.run.data.tags["ftlab.attempt"] == "2"
    assert reading.artifacts("logs") == ["logs/attempt-1.jsonl", "logs/attempt-2.jsonl"]


def test_five_thousand_points_arrive_once(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    ref = jobs.start_attempt(jobs.add_job("long"))
    items = [
        {"step": step, "values": {f"metric_{number}": step * number / 7 for number in range(5)}}
        for step in range(1, 1001)
    ]
    jobs.emit(ref, EventKind.METRICS, *items)
    _catch_up(recorder)
    reading = reader.of(ref.id)
    for number in range(5):
        expected = [(step, step * number / 7) for step in range(1, 1001)]
        assert reading.history(f"train/metric_{number}") == expected
        assert reading.run.data.metrics[f"train/metric_{number}"] == 1000 * number / 7


@pytest.mark.parametrize("lost_write", ["run_id", "cursor"])
def test_a_crash_before_the_cursor_is_saved_doubles_nothing(
    jobs: Jobs, recorder: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch, lost_write: str
) -> None:
    ref = _trained(jobs, f"crash before {lost_write}", range(1, 6))
    save = JobRepository.set_mlflow

    def crash(self: JobRepository, job_id: str, **values: object) -> None:
        if values[lost_write] is not None:
            raise ServiceUnavailableError("the recorder dies here")
        save(self, job_id, **values)  # type: ignore[arg-type]

    def lose_a_write() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(JobRepository, "set_mlflow", crash)
            with pytest.raises(ServiceUnavailableError):
                recorder.step()

    lose_a_write()
    jobs.log_steps(ref, range(6, 11))
    lose_a_write()
    model = jobs.complete(ref, FILES)
    lose_a_write()
    fresh = Recorder(jobs.store, MlflowApi(reader.url), jobs.jobs_folder, jobs.clock, SERVER_URL)
    _catch_up(fresh)

    reading = reader.of(ref.id)
    assert reading.history("train/loss") == [(step, 1 / step) for step in range(10, 0, -1)][::-1]
    assert [step for step, _ in reading.history("train/epoch")] == list(range(1, 11))
    assert reading.run.data.metrics["train/loss"] == 1 / 10
    assert len(reading.run.inputs.dataset_inputs) == 1
    assert len(reader.client.search_model_versions(f"run_id = '{reading.run.info.run_id}'")) == 1
    with jobs.store.read() as tx:
        assert tx.models.get(model.id).mlflow_version == "1"
