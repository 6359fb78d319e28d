"""MLflow answers, but does not do what it is asked: what becomes of the job, and of the others."""

import pytest

from ftlab.schemas import EventKind
from ftlab.status import JobStatus
from tests.support.committed_folders import write_manifest
from tests.support.databases import change_config
from tests.unit.tracking.mlflow_record.conftest import START, Jobs, Reader
from tracking.mlflow_record.api import EXPERIMENT, MlflowApi, MlflowRefusedError, RunKey, RunState
from tracking.mlflow_record.mapping import Point
from tracking.mlflow_record.recorder import INCOMPLETE, RUN_DELETED, Recorder
from tracking.store.records import JobRecord, UnreadableConfig

FILES = {"model.safetensors": b"weights"}


def _job(jobs: Jobs, job_id: str) -> JobRecord:
    with jobs.store.read() as tx:
        return tx.jobs.get(job_id)


def _notices(jobs: Jobs, job_id: str) -> list[str]:
    with jobs.store.read() as tx:
        return [event.data["code"] for event in tx.events.tail(job_id, EventKind.NOTICE, 100)]


def _catch_up(jobs: Jobs, recorder: Recorder) -> None:
    for _ in range(20):
        recorder.step()
        jobs.clock.advance(60)
    with jobs.store.read() as tx:
        assert tx.jobs.behind_mlflow() == []


def test_a_run_in_the_trash_stays_there(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    ref = jobs.start_attempt(jobs.add_job("deleted"))
    jobs.log_steps(ref, range(1, 4))
    _catch_up(jobs, recorder)
    reading = reader.of(ref.id)
    reader.client.delete_run(reading.run.info.run_id)
    other = jobs.add_claimed_job("other")
    for steps in (range(4, 7), range(7, 10)):
        jobs.log_steps(ref, steps)
        _catch_up(jobs, recorder)
    assert _notices(jobs, ref.id) == [RUN_DELETED]
    jobs.complete(ref, FILES)
    _catch_up(jobs, recorder)
    assert _notices(jobs, ref.id) == [RUN_DELETED]
    assert reader.runs(ref.id) == []
    assert reading.history("train/loss")[-1][0] == 3
    assert len(reader.runs(other)) == 1


def test_a_run_deleted_before_the_job_ended_without_a_notice(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    ref = jobs.start_attempt(jobs.add_job("deleted late"))
    _catch_up(jobs, recorder)
    reader.client.delete_run(reader.of(ref.id).run.info.run_id)
    jobs.complete(ref, FILES)
    last_seq = _job(jobs, ref.id).last_seq
    _catch_up(jobs, recorder)
    assert _job(jobs, ref.id).last_seq == last_seq


def test_a_lost_run_is_made_again_with_everything(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    ref = jobs.start_attempt(jobs.add_job("lost"))
    jobs.log_steps(ref, range(1, 8))
    _catch_up(jobs, recorder)
    lost = reader.of(ref.id).run.info.run_id
    reader.client.set_tag(lost, "ftlab.job_id", "another server's")
    with jobs.store.begin() as tx:
        tx.jobs.set_mlflow(ref.id, run_id="f" * 32)
    jobs.log_steps(ref, range(8, 11))
    jobs.complete(ref, FILES)
    _catch_up(jobs, recorder)
    reading = reader.of(ref.id)
    assert reading.run.info.run_id == _job(jobs, ref.id).mlflow_run_id != lost
    assert reading.run.info.status == "FINISHED"
    assert [step for step, _ in reading.history("train/loss")] == list(range(1, 11))
    assert reading.run.data.params["dataset.id"] == _job(jobs, ref.id).dataset_id
    assert reading.artifacts("model") == ["model/manifest.json", "model/model.safetensors"]


def test_a_lost_run_of_a_job_that_repeated_steps_has_each_once(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    first = jobs.start_attempt(jobs.add_job("lost and resumed"))
    jobs.log_steps(first, range(1, 8))
    jobs.requeue(first)
    second = jobs.start_attempt(first.id, resumed_from_step=5)
    jobs.log_steps(second, range(6, 10))
    _catch_up(jobs, recorder)
    reader.client.set_tag(reader.of(first.id).run.info.run_id, "ftlab.job_id", "another server's")
    with jobs.store.begin() as tx:
        tx.jobs.set_mlflow(first.id, run_id="f" * 32)
    jobs.requeue(second)
    jobs.log_steps(jobs.start_attempt(first.id, resumed_from_step=5), range(6, 12))
    _catch_up(jobs, recorder)
    assert reader.of(first.id).history("train/loss") == [(step, 1 / step) for step in range(1, 12)]


def test_a_deleted_experiment_is_left_in_the_trash(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    before = jobs.add_claimed_job("before")
    recorder.step()
    experiment_id = reader.of(before).run.info.experiment_id
    reader.client.delete_experiment(experiment_id)
    try:
        after = jobs.add_claimed_job("after")
        _catch_up(jobs, recorder)
        name = reader.client.get_experiment(reader.of(after).run.info.experiment_id).name
        assert name == f"{EXPERIMENT}-2"
        assert reader.runs(before) == []
    finally:
        reader.client.restore_experiment(experiment_id)


def test_a_refusal_of_one_job_does_not_hold_up_the_others(
    jobs: Jobs, recorder: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, other = jobs.add_claimed_job("poisoned"), jobs.add_claimed_job("other")
    ensure, tries = MlflowApi.ensure_run, []

    def refuse(self: MlflowApi, job_id: str, **values: object) -> RunKey:
        if job_id == poisoned:
            tries.append(jobs.clock())
            raise MlflowRefusedError("disk full", "INTERNAL_ERROR")
        return ensure(self, job_id, **values)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(MlflowApi, "ensure_run", refuse)
        for _ in range(8):
            recorder.step()
            jobs.clock.advance(1)
        assert [(at - START).total_seconds() for at in tries] == [0, 1, 3, 7]
        assert len(reader.runs(other)) == 1
    _catch_up(jobs, recorder)
    assert len(reader.runs(poisoned)) == 1


def test_what_mlflow_never_takes_is_skipped_with_a_notice(
    jobs: Jobs, recorder: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = jobs.start_attempt(jobs.add_job("odd"))
    _catch_up(jobs, recorder)
    jobs.log_steps(ref, range(1, 3))
    with monkeypatch.context() as patch:
        odd = [Point("loss/", 1.0, 0, 1)]
        patch.setattr("tracking.mlflow_record.recorder.points_of", lambda event: odd)
        recorder.step()
    jobs.log_steps(ref, range(3, 5))
    _catch_up(jobs, recorder)
    assert _notices(jobs, ref.id) == [INCOMPLETE]
    assert [step for step, _ in reader.of(ref.id).history("train/loss")] == [3, 4]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("missing file", "model.safetensors"),
        ("missing manifest", "has no manifest"),
        ("foreign path", "outside its folder"),
        ("not a manifest", "unreadable manifest"),
    ],
)
def test_a_model_that_cannot_be_read_ends_the_run_and_says_so(
    jobs: Jobs, recorder: Recorder, reader: Reader, broken: str, words: str
) -> None:
    ref = jobs.start_attempt(jobs.add_job(broken))
    jobs.complete(ref, FILES)
    folder = jobs.jobs_folder / ref.id / "model"
    if broken == "missing file":
        (folder / "model.safetensors").unlink()
    elif broken == "missing manifest":
        (folder / "manifest.json").unlink()
    elif broken == "foreign path":
        write_manifest(folder, files={"../logs/x": {"size": 1, "sha256": "0" * 64}})
    else:
        (folder / "manifest.json").write_text("[]")
    _catch_up(jobs, recorder)
    run = reader.of(ref.id).run
    assert run.info.status == "FINISHED"
    assert words in run.data.tags["ftlab.incomplete"]


def test_a_completed_job_without_a_model_record(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    ref = jobs.start_attempt(jobs.add_job("no record"))
    jobs.write_model(jobs.jobs_folder / ref.id / "model", FILES)
    with jobs.store.begin() as tx:
        tx.jobs.move(ref, JobStatus.COMPLETED, now=jobs.clock())
    _catch_up(jobs, recorder)
    reading = reader.of(ref.id)
    assert reading.run.data.tags["ftlab.incomplete"] == "The job has no tuned model."
    assert "model/model.safetensors" in reading.artifacts("model")


def test_a_config_of_another_version_is_recorded_as_it_was_submitted(
    jobs: Jobs, recorder: Recorder, reader: Reader
) -> None:
    ref = jobs.start_attempt(jobs.add_job("old"))
    change_config(jobs.store, ref.id, no_longer_known=1)
    assert isinstance(_job(jobs, ref.id).config, UnreadableConfig)
    _catch_up(jobs, recorder)
    assert reader.of(ref.id).run.data.params["training.max_steps"] == "10"


def test_answers_of_another_server_count_for_nothing(api: MlflowApi, reader: Reader) -> None:
    assert api.run_state("f" * 32) is RunState.MISSING
    with pytest.raises(MlflowRefusedError):
        MlflowApi(f"{reader.url}/no/such/prefix").run_state("f" * 32)
