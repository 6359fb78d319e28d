"""MLflow away: nothing is lost, nothing is sent twice, and the recorder does not hammer."""

import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cluster.machine.ports import free_ports
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import EventKind
from tests.unit.tracking.mlflow_record.conftest import SERVER_URL, Jobs, MlflowServer, Reader
from tracking.mlflow_record.api import MlflowApi, MlflowUnreachableError, RunKey
from tracking.mlflow_record.mapping import JOB_TAG
from tracking.mlflow_record.recorder import PAGE_EVENTS, Recorder

FILES = {"model.safetensors": b"weights"}


def test_a_server_down_for_the_whole_job_has_everything_afterwards(
    jobs: Jobs, api: MlflowApi, recorder: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    with monkeypatch.context() as outage:
        outage.setattr(api, "_client", MlflowClient(nobody, registry_uri=nobody))
        ref = jobs.start_attempt(jobs.add_job("outage"))
        for start in range(1, 1001, 250):
            jobs.log_steps(ref, range(start, start + 250), grad_norm=1.0)
            jobs.clock.advance(60)
            with pytest.raises(MlflowUnreachableError):
                recorder.step()
        jobs.write_logs(ref)
        model = jobs.complete(ref, FILES)
    jobs.clock.advance(60)
    while recorder.step():
        pass
    reading = reader.of(ref.id)
    assert reading.run.info.status == "FINISHED"
    for key in ("train/loss", "train/grad_norm", "train/epoch"):
        assert [step for step, _ in reading.history(key)] == list(range(1, 1001))
    assert reading.artifacts("model") == ["model/manifest.json", "model/model.safetensors"]
    with jobs.store.read() as tx:
        assert tx.models.get(model.id).mlflow_version == "1"
        assert tx.jobs.behind_mlflow() == []


def test_an_outage_in_the_middle_doubles_nothing(
    jobs: Jobs, recorder: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = jobs.start_attempt(jobs.add_job("interrupted"))
    jobs.log_steps(ref, range(1, 400), **{f"m{number}": 1.0 for number in range(4)})
    send = MlflowApi.set_tags

    def fail(self: MlflowApi, run_id: str, tags: dict[str, str]) -> None:
        raise MlflowUnreachableError("cut off after the points, before the tags")

    monkeypatch.setattr(MlflowApi, "set_tags", fail)
    with pytest.raises(MlflowUnreachableError):
        recorder.step()
    monkeypatch.setattr(MlflowApi, "set_tags", send)
    jobs.log_steps(ref, range(400, 450))
    jobs.clock.advance(60)
    while recorder.step():
        pass
    assert reader.of(ref.id).history("train/loss") == [(step, 1 / step) for step in range(1, 450)]
    assert len(reader.of(ref.id).history("train/m3")) == 399


def test_a_run_made_by_a_request_that_got_no_answer_is_the_only_one(
    jobs: Jobs,
    session_server: MlflowServer,
    recorder: Recorder,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = jobs.add_claimed_job("unanswered")
    create = MlflowClient.create_run

    def create_on_a_busy_server(self: MlflowClient, *arguments: object, **values: object) -> object:
        session_server.pause()
        return create(self, *arguments, **values)

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "create_run", create_on_a_busy_server)
            with pytest.raises(MlflowUnreachableError):
                recorder.step()
        jobs.clock.advance(60)
        with pytest.raises(MlflowUnreachableError):
            recorder.step()
    finally:
        session_server.resume()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    jobs.clock.advance(60)
    assert recorder.step() == 2
    with jobs.store.read() as tx:
        assert tx.jobs.get(job_id).mlflow_run_id == reader.of(job_id).run.info.run_id


def test_of_two_runs_of_one_job_one_stays(jobs: Jobs, recorder: Recorder, reader: Reader) -> None:
    first = jobs.add_claimed_job("first")
    recorder.step()
    experiment_id = reader.of(first).run.info.experiment_id
    job_id = jobs.add_claimed_job("twice")
    for _ in range(2):
        reader.client.create_run(experiment_id, tags={JOB_TAG: job_id})
    while recorder.step():
        pass
    with jobs.store.read() as tx:
        assert tx.jobs.get(job_id).mlflow_run_id == reader.of(job_id).run.info.run_id


def test_a_job_that_always_times_out_does_not_hold_up_the_others(
    jobs: Jobs, recorder: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = jobs.add_claimed_job("slow"), jobs.add_claimed_job("other")
    ensure = MlflowApi.ensure_run

    def time_out(self: MlflowApi, job_id: str, **values: object) -> RunKey:
        if job_id == slow:
            raise MlflowUnreachableError("no answer in time")
        return ensure(self, job_id, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowApi, "ensure_run", time_out)
    with pytest.raises(MlflowUnreachableError):
        recorder.step()
    assert recorder.step() == 2
    assert len(reader.runs(other)) == 1
    assert reader.runs(slow) == []


class _Stop(threading.Event):
    """Keeps what was waited for, and is set after so many waits."""

    def __init__(self, num_waits: int) -> None:
        super().__init__()
        self.waited: list[float] = []
        self._num_waits = num_waits

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waited.append(timeout)
        if len(self.waited) == self._num_waits:
            self.set()
        return self.is_set()


def test_the_loop_backs_off_and_recovers(jobs: Jobs, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[int | Exception] = [
        *[MlflowUnreachableError("away")] * 6,
        ServiceUnavailableError("locked"),
        3,
        PAGE_EVENTS,
        0,
        MlflowUnreachableError("away"),
    ]

    def step() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(recorder, "step", step)
    stop = _Stop(10)
    recorder.run(stop)
    assert stop.waited == [1, 2, 4, 8, 16, 30, 30, 1, 1, 1]
    assert answers == []


def test_a_stopped_recorder_makes_no_pass(jobs: Jobs, tmp_path: Path) -> None:
    jobs.emit(jobs.start_attempt(jobs.add_job("left alone")), EventKind.LOG, {"level": "info", "text": "x"})
    stop = threading.Event()
    stop.set()
    Recorder(jobs.store, MlflowApi("http://127.0.0.1:9"), tmp_path, jobs.clock, SERVER_URL).run(stop)
    with jobs.store.read() as tx:
        assert len(tx.jobs.behind_mlflow()) == 1


def test_the_server_is_one_process(session_server: MlflowServer) -> None:
    assert session_server.num_processes == 1
