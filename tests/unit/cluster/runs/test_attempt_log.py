"""The record of one attempt, against a real store: order, rows, endings, fences."""

import pytest

from cluster.runs import attempt_log
from cluster.runs.attempt_log import AttemptLog
from ftlab.schemas import MetricsPayload
from ftlab.status import JobStatus, ReasonCode
from tests.support.clocks import wait_for
from tests.unit.cluster.coordinator.world import START, add_job
from tests.unit.cluster.runs.attempt import Attempt, begun, cancel, claim, model_of, pause, paused
from tracking.store.engines import EngineRecord
from tracking.store.records import MetricRecord
from train.plan import EngineReady, Failure, StopKind


def test_events_keep_their_order_and_reach_followers_as_they_are_kept(attempt: Attempt):
    attempt.running()
    attempt.log.record([attempt.line("one"), attempt.line("two")])
    attempt.log.record([])
    attempt.log.record([attempt.metrics(1, loss=2.0), attempt.line("three")])
    attempt.log.close()
    kept = [(event.kind.value, event.data.get("status") or event.data.get("text")) for event in attempt.events()]
    assert kept == [
        ("status", "queued"),
        ("status", "pending"),
        ("status", "initializing"),
        ("status", "running"),
        ("log", "one"),
        ("log", "two"),
        ("metrics", None),
        ("log", "three"),
    ]
    assert [event.seq for event in attempt.events()] == list(range(1, 9))
    assert [event["seq"] for event in attempt.hub.events] == list(range(3, 9))


def test_lines_before_the_status_stay_before_it(attempt: Attempt):
    attempt.log.move(JobStatus.INITIALIZING)
    attempt.log.record(
        [
            attempt.line("loading"),
            attempt.model_loaded(),
            attempt.line("training"),
        ]
    )
    attempt.log.close()
    assert [event.data.get("text") or event.data["status"] for event in attempt.events()][2:] == [
        "initializing",
        "loading",
        "running",
        "training",
    ]


def test_what_the_training_should_take_is_kept_where_an_earlier_job_has_measured_the_speed(store, attempt: Attempt):
    earlier = add_job(store, {})
    with store.begin() as tx:
        tx.metrics.add([MetricRecord(earlier, "tokens_per_s", step, 50.0, START, 1) for step in (1, 2, 3)])
    attempt.running(num_tokens=1_000)
    attempt.log.close()
    assert attempt.job().estimated_time_s == 20.0


def test_other_processes_write_while_earlier_measurements_are_read(attempt: Attempt, monkeypatch: pytest.MonkeyPatch):
    def looked_up(*_: object) -> float:
        with attempt.store.begin() as tx:  # waits until no other transaction writes
            tx.jobs.lock(attempt.ref)
        return 7.0

    monkeypatch.setattr(attempt_log, "expected_time_s", looked_up)
    attempt.running()
    attempt.log.close()
    assert (attempt.job().status, attempt.job().estimated_time_s) == (JobStatus.RUNNING, 7.0)


def test_without_a_measured_speed_there_is_no_estimate(attempt: Attempt):
    attempt.running(num_tokens=1_000)
    attempt.log.close()
    assert attempt.job().estimated_time_s is None


def test_the_first_step_makes_the_job_run_and_pins_the_base_model(attempt: Attempt):
    attempt.running()
    attempt.log.close()
    job = attempt.job()
    assert (job.status, job.model_revision) == (JobStatus.RUNNING, "main-1")
    assert attempt.log.has_trained


def test_where_an_engine_listens_is_recorded_and_in_no_event(store, attempt: Attempt):
    with begun(store) as tx:
        assert tx.engines.lock("local", "key") is None
        tx.engines.set_job("local", "key", attempt.ref.id)
    attempt.running()
    attempt.log.record([attempt.emitted(EngineReady("http://127.0.0.1:7", "secret"))])
    attempt.log.complete_without_model()
    attempt.log.close()
    with store.read() as tx:
        assert tx.engines.find("local", "key") == EngineRecord(
            "local", "key", attempt.ref.id, attempt.ref.attempt, "http://127.0.0.1:7", "secret"
        )
    assert "secret" not in str(attempt.events())
    assert (attempt.job().status, attempt.job().model_id) == (JobStatus.COMPLETED, None)


def test_an_engine_that_was_replaced_stops(store, attempt: Attempt):
    with begun(store) as tx:
        tx.engines.lock("local", "key")
        tx.engines.set_job("local", "key", "job-2")
    attempt.running()
    attempt.log.record([attempt.emitted(EngineReady("http://127.0.0.1:7", "secret"))])
    wait_for(lambda: attempt.log.stop is StopKind.FENCED)
    attempt.log.close()


def test_metrics_and_progress_become_rows(attempt: Attempt):
    attempt.running()
    attempt.log.record([attempt.metrics(1, loss=2.0, grad_norm=0.5), attempt.metrics(2, loss=1.5)])
    attempt.log.record([attempt.metrics(2, eval_loss=1.7)])
    attempt.log.record([attempt.progress(3)])
    attempt.log.close()
    with attempt.store.read() as tx:
        points = [(point.name, point.step, point.value) for point in tx.metrics.series(attempt.ref.id)]
    assert points == [("eval_loss", 2, 1.7), ("grad_norm", 1, 0.5), ("loss", 1, 2.0), ("loss", 2, 1.5)]
    job = attempt.job()
    assert (job.step, job.total_steps, job.epoch, job.eta_s) == (3, 10, 0.3, 1.0)
    assert (job.loss, job.eval_loss) == (1.5, 1.7)


def test_checkpoints_become_rows(attempt: Attempt):
    attempt.running()
    attempt.log.record([attempt.checkpoint(5, is_best=True), attempt.checkpoint(10)])
    attempt.log.record([attempt.checkpoint(15, is_best=True, removed=(10,))])
    attempt.log.close()
    assert [(row.step, row.is_best, row.attempt, row.metrics) for row in attempt.checkpoints()] == [
        (15, True, 1, {"eval_loss": 0.5}),
        (5, False, 1, {"eval_loss": 0.5}),
    ]


def test_processes_are_kept_for_whoever_cleans_up(attempt: Attempt):
    attempt.log.set_processes((11, 12), ("aa",))
    attempt.log.close()
    with attempt.store.read() as tx:
        [record] = tx.attempts.of_job(attempt.ref.id)
    assert (record.pids, record.placement_groups) == ((11, 12), ("aa",))


def test_delivery_changes_everything_at_once(attempt: Attempt):
    attempt.running()
    attempt.log.record([attempt.line("the last word")])
    attempt.log.complete(model_of, 1)
    attempt.log.close()
    with attempt.store.read() as tx:
        job, record = tx.jobs.get(attempt.ref.id), tx.attempts.get(attempt.ref)
        assert tx.models.get("mdl-1").job_id == job.id
    assert (job.status, job.reason, job.model_id) == (JobStatus.COMPLETED, ReasonCode.OK, "mdl-1")
    assert record.reason is ReasonCode.OK
    assert record.ended_at is not None
    assert attempt.hub.events[-1]["data"]["status"] == "completed"
    assert attempt.log.stop is None


def test_a_run_that_ended_early_says_so_in_the_message_of_its_job(attempt: Attempt):
    attempt.running()
    attempt.log.complete(model_of, 1, ended_early="Stopped early at step 6 of 8.")
    attempt.log.close()
    assert (attempt.job().status, attempt.job().message) == (JobStatus.COMPLETED, "Stopped early at step 6 of 8.")


def test_a_user_who_cancels_before_the_delivery_gets_a_cancelled_job(attempt: Attempt):
    attempt.running()
    attempt.written()
    cancel(attempt)
    attempt.log.complete(model_of, 1)
    attempt.log.close()
    with attempt.store.read() as tx:
        assert tx.models.of_job(attempt.ref.id) is None
        assert tx.attempts.get(attempt.ref).reason is ReasonCode.OK
    assert attempt.job().status is JobStatus.CANCELLING


def test_an_attempt_that_failed_is_ended_with_its_reason(attempt: Attempt):
    attempt.running()
    failure = Failure(ReasonCode.LOSS_DIVERGED, "The loss became nan.", "Traceback", notes=("Rows of step 3: line 7.",))
    attempt.log.end(failure)
    attempt.log.close()
    with attempt.store.read() as tx:
        record = tx.attempts.get(attempt.ref)
    assert (record.reason, record.message) == (ReasonCode.LOSS_DIVERGED, "The loss became nan.")
    assert Failure.from_details(failure.reason, failure.message, record.failure or {}) == failure
    assert attempt.job().status is JobStatus.RUNNING, "what follows is the coordinator's decision"


def test_a_silent_run_beats_and_hears_of_a_cancel(attempt: Attempt):
    attempt.running()
    attempt.written()
    assert attempt.log.stop is None
    cancel(attempt)
    wait_for(lambda: attempt.log.stop is StopKind.CANCEL)


def test_a_job_that_is_cancelled_while_it_loads_does_not_run_any_more(attempt: Attempt):
    attempt.log.move(JobStatus.INITIALIZING)
    attempt.written()
    cancel(attempt)
    attempt.log.record([attempt.model_loaded()])
    attempt.log.record([attempt.line("still here")])
    attempt.log.close()
    assert attempt.job().status is JobStatus.CANCELLING
    assert attempt.lines() == ["still here"]


def test_a_stop_request_is_heard_at_once_and_the_most_urgent_one_counts(attempt: Attempt):
    assert not attempt.log.has_trained
    for asked, heard in (
        (StopKind.PREEMPT, StopKind.PREEMPT),
        (StopKind.DRAIN, StopKind.PREEMPT),
        (StopKind.PAUSE, StopKind.PAUSE),
        (StopKind.TIME_LIMIT, StopKind.PAUSE),
        (StopKind.CANCEL, StopKind.CANCEL),
    ):
        attempt.log.request_stop(asked)
        assert attempt.log.stop is heard


@pytest.mark.parametrize("kind", [StopKind.DRAIN, StopKind.PREEMPT, StopKind.PAUSE, None])
def test_a_pausing_job_tells_its_run_why(attempt: Attempt, kind: StopKind | None):
    attempt.running()
    attempt.written()
    pause(attempt, kind)
    wait_for(lambda: attempt.log.stop is (kind or StopKind.PAUSE))
    cancel(attempt)
    wait_for(lambda: attempt.log.stop is StopKind.CANCEL)


def test_a_run_that_delivers_while_it_is_to_pause_has_finished(attempt: Attempt):
    attempt.running()
    attempt.written()
    pause(attempt, StopKind.PAUSE)
    attempt.log.complete(model_of, 1)
    attempt.log.close()
    assert (attempt.job().status, attempt.job().model_id) == (JobStatus.COMPLETED, "mdl-1")


def test_a_run_that_delivers_without_the_files_appended_meanwhile_has_only_ended(attempt: Attempt):
    attempt.running()
    attempt.written()
    with begun(attempt.store) as tx:
        tx.job_files.append(tx.jobs.get(attempt.ref.id), ["ds-1"], now=START)
    pause(attempt, StopKind.EXTEND)
    attempt.log.complete(model_of, 1)
    attempt.log.close()
    assert (attempt.job().status, attempt.job().model_id) == (JobStatus.PAUSING, None)
    with attempt.store.read() as tx:
        ended = tx.attempts.get(attempt.ref)
        assert (ended.reason, ended.message) == (ReasonCode.OK, "All files that it was started with are trained.")
        assert tx.models.of_job(attempt.ref.id) is None


def test_a_job_that_is_to_pause_while_it_loads_does_not_run_any_more(attempt: Attempt):
    attempt.log.move(JobStatus.INITIALIZING)
    attempt.written()
    pause(attempt, StopKind.PREEMPT)
    attempt.log.record([attempt.model_loaded()])
    attempt.log.record([attempt.line("still here")])
    attempt.log.close()
    assert attempt.job().status is JobStatus.PAUSING
    assert attempt.lines() == ["still here"]
    assert attempt.log.has_trained, "a stop has something to save"


def test_a_run_that_trains_while_it_is_to_pause_has_used_the_checkpoint_of_its_resume(attempt: Attempt):
    """Else its next attempt would begin there too, and lose what this one has saved."""
    pause(attempt, StopKind.PAUSE)
    attempt.log.end(Failure(ReasonCode.OK, "It has saved."))
    attempt.log.close()
    with begun(attempt.store) as tx:
        tx.jobs.move(attempt.ref, JobStatus.PAUSED, now=START)
        tx.jobs.move(attempt.ref, JobStatus.QUEUED, now=START, resume_from="step-00000005")
    attempt.ref = claim(attempt.store, attempt.ref.id)
    attempt.log = AttemptLog(attempt.store, attempt.hub, attempt.ref)
    attempt.log.move(JobStatus.INITIALIZING)
    attempt.written()
    assert attempt.job().resume_from == "step-00000005"
    pause(attempt, StopKind.EXTEND)
    attempt.log.record([attempt.model_loaded()])
    attempt.log.close()
    assert (attempt.job().status, attempt.job().resume_from) == (JobStatus.PAUSING, None)


def test_an_attempt_that_was_ended_is_fenced(attempt: Attempt):
    attempt.running()
    attempt.written()
    attempt.end_by_coordinator()
    wait_for(lambda: attempt.log.stop is StopKind.FENCED)
    attempt.log.record([attempt.line("too late"), attempt.metrics(7, loss=9.0)])
    attempt.log.complete(model_of, 1)
    attempt.log.close()
    assert attempt.lines() == []
    assert (attempt.job().status, attempt.job().step) == (JobStatus.RUNNING, 0)


def test_an_attempt_that_was_replaced_is_fenced(attempt: Attempt):
    attempt.running()
    attempt.written()
    attempt.end_by_coordinator()
    with begun(attempt.store) as tx:
        tx.jobs.move(attempt.ref, JobStatus.QUEUED, now=START)
    newer = claim(attempt.store, attempt.ref.id)
    attempt.log.record([attempt.line("too late")])
    attempt.log.close()
    assert attempt.log.stop is StopKind.FENCED
    assert attempt.lines() == []
    with attempt.store.read() as tx:
        assert tx.attempts.get(newer).ended_at is None


@pytest.mark.parametrize("ending", ["complete", "end", "close"])
def test_what_waits_when_the_attempt_is_ended_is_never_written(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, ending: str
):
    """The driver closes its log in the moment in which the coordinator has given the attempt up."""
    monkeypatch.setattr(attempt_log, "HEARTBEAT_INTERVAL_S", 10)
    attempt.running()
    attempt.written()
    with paused(attempt):
        attempt.end_by_coordinator()
        attempt.log.record([attempt.line("too late")])
        if ending == "complete":
            attempt.log.complete(model_of, 1)
        elif ending == "end":
            attempt.log.end(Failure(ReasonCode.WORKER_CRASHED, "It crashed."))
        attempt.log._closing.set()
    attempt.log.close()
    assert attempt.lines() == []
    with attempt.store.read() as tx:
        assert tx.attempts.get(attempt.ref).reason is ReasonCode.WORKER_HUNG
    assert attempt.log.stop is StopKind.FENCED


def test_what_cannot_be_recorded_ends_the_attempt_and_stops_the_run(attempt: Attempt, caplog: pytest.LogCaptureFixture):
    """A thread that dies would leave a run that trains on, and whose every later word is lost."""
    attempt.running()
    attempt.written()
    attempt.log.record([attempt.line("fine")])
    attempt.written()
    attempt.log.record([attempt.emitted(MetricsPayload.model_construct(values={"loss": 1.0}))])  # without its step
    wait_for(lambda: attempt.log.stop is StopKind.FENCED)
    attempt.log.record([attempt.line("too late")])
    attempt.log.close()
    with attempt.store.read() as tx:
        record = tx.attempts.get(attempt.ref)
    assert (record.reason, record.ended_at is not None) == (ReasonCode.INTERNAL_ERROR, True)
    assert "AttributeError" in (record.message or "")
    assert attempt.lines() == ["fine"]
    assert "could not be written" in caplog.text


def test_a_log_that_can_write_nothing_at_all_falls_silent(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The coordinator ends an attempt without a heartbeat."""
    attempt.running()
    attempt.written()

    def broken() -> None:
        raise RuntimeError("the driver of the database is broken")

    with monkeypatch.context() as patch:
        patch.setattr(attempt.store, "begin", broken)
        wait_for(lambda: attempt.log.stop is StopKind.FENCED)
        attempt.log.close()
    assert "could not be ended" in caplog.text
