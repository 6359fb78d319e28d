"""MLflow answers, but does not do what it is asked: what becomes of the job, and of the others."""

import json

import pytest

from ftlab.schemas import EventKind
from ftlab.status import JobStatus
from tests.unit.tracking.mlflow_record.conftest import START, Bench, Reader
from tracking.mlflow_record.api import EXPERIMENT, MlflowApi, MlflowRefusedError, RunState
from tracking.mlflow_record.mapping import Point
from tracking.mlflow_record.recorder import INCOMPLETE, RUN_DELETED, Recorder
from tracking.store.records import JobRecord

FILES = {"model.safetensors": b"weights"}


def _job(bench: Bench, job_id: str) -> JobRecord:
    with bench.store.read() as tx:
        return tx.jobs.get(job_id)


def _notices(bench: Bench, job_id: str) -> list[str]:
    with bench.store.read() as tx:
        return [event.data["code"] for event in tx.events.tail(job_id, EventKind.NOTICE, 100)]


def _catch_up(bench: Bench, recorder: Recorder) -> None:
    for _ in range(20):
        recorder.step()
        bench.clock.advance(60)
    with bench.store.read() as tx:
        assert tx.jobs.behind_mlflow() == []


def test_a_run_in_the_trash_stays_there(bench: Bench, recorder: Recorder, reader: Reader) -> None:
    ref = bench.start_attempt(bench.add_job("deleted"))
    bench.log_steps(ref, range(1, 4))
    _catch_up(bench, recorder)
    reading = reader.of(ref.id)
    reader.client.delete_run(reading.run.info.run_id)
    other = bench.add_claimed_job("other")
    for steps in (range(4, 7), range(7, 10)):
        bench.log_steps(ref, steps)
        _catch_up(bench, recorder)
    assert _notices(bench, ref.id) == [RUN_DELETED]
    bench.complete(ref, FILES)
    _catch_up(bench, recorder)
    assert _notices(bench, ref.id) == [RUN_DELETED]
    assert reader.runs(ref.id) == []
    assert reading.history("loss")[-1][0] == 3
    assert len(reader.runs(other)) == 1


def test_a_run_deleted_before_the_job_ended_without_a_notice(bench: Bench, recorder: Recorder, reader: Reader) -> None:
    ref = bench.start_attempt(bench.add_job("deleted late"))
    _catch_up(bench, recorder)
    reader.client.delete_run(reader.of(ref.id).run.info.run_id)
    bench.complete(ref, FILES)
    last_seq = _job(bench, ref.id).last_seq
    _catch_up(bench, recorder)
    assert _job(bench, ref.id).last_seq == last_seq


def test_a_lost_run_is_made_again_with_everything(bench: Bench, recorder: Recorder, reader: Reader) -> None:
    ref = bench.start_attempt(bench.add_job("lost"))
    bench.log_steps(ref, range(1, 8))
    _catch_up(bench, recorder)
    lost = reader.of(ref.id).run.info.run_id
    reader.client.set_tag(lost, "ftlab.job_id", "another server's")
    with bench.store.begin() as tx:
        tx.jobs.set_mlflow(ref.id, run_id="f" * 32)
    bench.log_steps(ref, range(8, 11))
    bench.complete(ref, FILES)
    _catch_up(bench, recorder)
    reading = reader.of(ref.id)
    assert reading.run.info.run_id == _job(bench, ref.id).mlflow_run_id != lost
    assert reading.run.info.status == "FINISHED"
    assert [step for step, _ in reading.history("loss")] == list(range(1, 11))
    assert reading.run.data.params["dataset.id"] == _job(bench, ref.id).dataset_id
    assert reading.artifacts("model") == ["model/manifest.json", "model/model.safetensors"]


def test_a_lost_run_of_a_job_that_repeated_steps_has_each_once(
    bench: Bench, recorder: Recorder, reader: Reader
) -> None:
    first = bench.start_attempt(bench.add_job("lost and resumed"))
    bench.log_steps(first, range(1, 8))
    bench.requeue(first)
    second = bench.start_attempt(first.id, resumed_from_step=5)
    bench.log_steps(second, range(6, 10))
    _catch_up(bench, recorder)
    reader.client.set_tag(reader.of(first.id).run.info.run_id, "ftlab.job_id", "another server's")
    with bench.store.begin() as tx:
        tx.jobs.set_mlflow(first.id, run_id="f" * 32)
    bench.requeue(second)
    bench.log_steps(bench.start_attempt(first.id, resumed_from_step=5), range(6, 12))
    _catch_up(bench, recorder)
    assert reader.of(first.id).history("loss") == [(step, 1 / step) for step in range(1, 12)]


def test_a_deleted_experiment_is_left_in_the_trash(bench: Bench, recorder: Recorder, reader: Reader) -> None:
    before = bench.add_claimed_job("before")
    recorder.step()
    experiment_id = reader.of(before).run.info.experiment_id
    reader.client.delete_experiment(experiment_id)
    try:
        after = bench.add_claimed_job("after")
        _catch_up(bench, recorder)
        name = reader.client.get_experiment(reader.of(after).run.info.experiment_id).name
        assert name == f"{EXPERIMENT}-2"
        assert reader.runs(before) == []
    finally:
        reader.client.restore_experiment(experiment_id)


def test_a_refusal_of_one_job_does_not_hold_up_the_others(
    bench: Bench, recorder: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, other = bench.add_claimed_job("poisoned"), bench.add_claimed_job("other")
    ensure, tries = MlflowApi.ensure_run, []

    def refuse(self: MlflowApi, job_id: str, **values: object) -> str:
        if job_id == poisoned:
            tries.append(bench.clock())
            raise MlflowRefusedError("disk full", "INTERNAL_ERROR")
        return ensure(self, job_id, **values)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(MlflowApi, "ensure_run", refuse)
        for _ in range(8):
            recorder.step()
            bench.clock.advance(1)
        assert [(at - START).total_seconds() for at in tries] == [0, 1, 3, 7]
        assert len(reader.runs(other)) == 1
    _catch_up(bench, recorder)
    assert len(reader.runs(poisoned)) == 1


def test_what_mlflow_never_takes_is_skipped_with_a_notice(
    bench: Bench, recorder: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = bench.start_attempt(bench.add_job("odd"))
    _catch_up(bench, recorder)
    bench.log_steps(ref, range(1, 3))
    with monkeypatch.context() as patch:
        odd = [Point("loss/", 1.0, 0, 1)]
        patch.setattr("tracking.mlflow_record.recorder.points_of", lambda event: odd)
        recorder.step()
    bench.log_steps(ref, range(3, 5))
    _catch_up(bench, recorder)
    assert _notices(bench, ref.id) == [INCOMPLETE]
    assert [step for step, _ in reader.of(ref.id).history("loss")] == [3, 4]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("missing file", "model.safetensors"),
        ("missing manifest", "manifest.json"),
        ("foreign path", "outside its folder"),
        ("not a manifest", "lists no files"),
    ],
)
def test_a_model_that_cannot_be_read_ends_the_run_and_says_so(
    bench: Bench, recorder: Recorder, reader: Reader, broken: str, words: str
) -> None:
    ref = bench.start_attempt(bench.add_job(broken))
    bench.complete(ref, FILES)
    folder = bench.jobs_folder / ref.id / "model"
    if broken == "missing file":
        (folder / "model.safetensors").unlink()
    elif broken == "missing manifest":
        (folder / "manifest.json").unlink()
    elif broken == "foreign path":
        (folder / "manifest.json").write_text(json.dumps({"files": {"../logs/x": {}}}))
    else:
        (folder / "manifest.json").write_text("[]")
    _catch_up(bench, recorder)
    run = reader.of(ref.id).run
    assert run.info.status == "FINISHED"
    assert words in run.data.tags["ftlab.incomplete"]


def test_a_completed_job_without_a_model_record(bench: Bench, recorder: Recorder, reader: Reader) -> None:
    ref = bench.start_attempt(bench.add_job("no record"))
    bench.write_model(bench.jobs_folder / ref.id / "model", FILES)
    with bench.store.begin() as tx:
        tx.jobs.move(ref, JobStatus.COMPLETED, now=bench.clock())
    _catch_up(bench, recorder)
    reading = reader.of(ref.id)
    assert reading.run.data.tags["ftlab.incomplete"] == "The job has no tuned model."
    assert "model/model.safetensors" in reading.artifacts("model")


def test_a_config_of_another_version_waits_without_a_crash(bench: Bench, recorder: Recorder) -> None:
    job_id = bench.add_job("old", model="")
    recorder.step()
    assert _job(bench, job_id).mlflow_seq == 0


def test_answers_of_another_server_count_for_nothing(api: MlflowApi, reader: Reader) -> None:
    assert api.run_state("f" * 32) is RunState.MISSING
    with pytest.raises(MlflowRefusedError):
        MlflowApi(f"{reader.url}/no/such/prefix").run_state("f" * 32)
