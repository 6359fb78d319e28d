"""Runs that their driver ends by force: they hang, or are over their time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.machine.memory_kills import NO_KILLS
from cluster.runs import driver as driver_module
from cluster.runs.driver import RunDriver, stacks_file
from cluster.runs.run_limits import SAVE_GRACE_S
from cluster.runs.watchdog import OWN_ABSENCE_S, START_TIMEOUT_S, Watchdog
from cluster.runs.worker_process import WorkerProcess
from ftlab.schemas import CheckpointPayload, ProgressPayload
from ftlab.status import ReasonCode
from tests.unit.cluster.coordinator.world import START as CREATED
from tests.unit.cluster.runs.driver_runs import CONFIG, FINISHED, ONE_WORKER, TWO_WORKERS, Runs, close_log, worker
from train.plan import Beat, Ending, Failure, Outcome, Phase, StopKind
from train.reporting.event_sender import Emitted


class Forced:
    """A driver on a clock of the test, whose workers' stacks and ends are written down."""

    def __init__(self, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs = runs
        self.now = 0.0
        self.ended: list[int] = []
        self.dump_takes_s = 0.0
        self.on_dump: Callable[[], object] = lambda: None
        self.on_end: Callable[[], object] = lambda: None
        monkeypatch.setattr(driver_module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(driver_module, "dump_stacks", self._dump)
        monkeypatch.setattr(driver_module, "end_workers", self._end)
        monkeypatch.setattr(driver_module, "FIT_END_TIMEOUT_S", 0.01)
        monkeypatch.setattr(driver_module, "count_kills", lambda: NO_KILLS)  # each look would read the kernel's files

    def _dump(self, workers: Sequence[WorkerProcess], head: str, file: Path) -> str:
        file.parent.mkdir(parents=True)
        text = f"{head} {[each.pid for each in workers]}"
        file.write_text(text)
        self.now += self.dump_takes_s
        self.on_dump()
        return text

    def _end(self, workers: Sequence[WorkerProcess]) -> None:
        self.ended += [each.pid for each in workers]
        self.on_end()

    def train(self, driver: RunDriver, *, steps: int = 5) -> None:
        for step in range(steps):
            driver.record([], Beat(step + 1, step, 0.1 if step else None, Phase.TRAINING))

    def wait(self, driver: RunDriver, seconds: int) -> None:
        """The worker talks on and does not move."""
        for _ in range(seconds):
            self.now += 1
            driver.record([])
            driver._look(self.now)
            if driver.state() == "ended":
                return


@pytest.fixture
def forced(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Forced:
    return Forced(runs, monkeypatch)


def checkpoint(step: int) -> Emitted:
    saved = CheckpointPayload(step=step, name=f"step-{step:08d}", size_bytes=1, manifest_sha256="f" * 64)
    return Emitted(1, CREATED, saved)


def test_a_hung_run_leaves_its_stacks_and_is_ended(forced: Forced):
    driver = forced.runs.launch()
    driver.hello(worker(0, 11, None))
    forced.train(driver)
    driver.record([checkpoint(3)])
    forced.dump_takes_s = 60  # there are many workers
    forced.wait(driver, 119)
    assert forced.ended == []
    forced.wait(driver, 2)
    assert forced.ended == [11]
    attempt = forced.runs.attempt()
    assert attempt.reason is ReasonCode.WORKER_HUNG
    assert attempt.message == (
        "No progress (training) at step 4 for 121 s. Its stacks are in the file attempt-1-stacks.txt of the job's logs."
        " The newest checkpoint is that of step 3."
    )
    text = (forced.runs.home / "job" / "logs" / "attempt-1-stacks.txt").read_text()
    assert "No progress (training) at step 4" in text
    assert "[11]" in text


def test_a_run_that_moves_again_while_its_stacks_are_taken_is_let_go_on(forced: Forced):
    driver = forced.runs.launch()
    driver.hello(worker(0, 11, None))
    forced.train(driver)
    forced.on_dump = lambda: driver.record([], Beat(99, 5, 0.1, Phase.TRAINING))
    forced.wait(driver, 121)
    assert stacks_file(forced.runs.plan).exists()
    assert (forced.ended, driver.state()) == ([], "taken")
    close_log(driver)
    assert forced.runs.attempt().ended_at is None


def test_a_disk_without_room_for_the_stacks_saves_no_hung_run(forced: Forced):
    (forced.runs.home / "job").mkdir()
    (forced.runs.home / "job" / "logs").write_text("in the way")
    driver = forced.runs.launch()
    driver.hello(worker(0, 11, None))
    forced.train(driver)
    forced.wait(driver, 121)
    assert forced.ended == [11]
    assert "could not be written" in (forced.runs.attempt().message or "")


def test_what_the_workers_say_while_they_are_ended_is_no_cause(forced: Forced):
    driver = forced.runs.launch(TWO_WORKERS)
    for rank in (0, 1):
        driver.hello(worker(rank, 11 + rank, None))
    forced.train(driver)
    forced.on_end = lambda: driver.fail(0, Failure(ReasonCode.COLLECTIVE_ERROR, "Connection closed by peer."))
    for _ in range(121):
        driver.record([], None, 1)
        forced.wait(driver, 1)
    assert forced.ended == [11, 12]
    assert forced.runs.attempt().reason is ReasonCode.WORKER_HUNG


def test_workers_that_do_not_come_up_end_the_attempt(forced: Forced):
    driver = forced.runs.launch(TWO_WORKERS)
    driver.hello(worker(0, 11, None))
    forced.wait(driver, int(START_TIMEOUT_S) + 1)
    attempt = forced.runs.attempt()
    assert attempt.reason is ReasonCode.WORKER_HUNG
    assert (attempt.message or "").startswith("The training processes did not start for 601 s.")
    assert forced.ended == [11]


def test_a_standby_run_whose_worker_does_not_come_up_ends(forced: Forced, monkeypatch: pytest.MonkeyPatch):
    driver = forced.runs.standby(monkeypatch)
    for second in range(0, int(START_TIMEOUT_S) + 1, int(OWN_ABSENCE_S)):
        driver._look(second)
    assert driver.state() == "starting"
    driver._look(START_TIMEOUT_S + 1)
    assert driver.state() == "ended"
    assert forced.runs.attempt().ended_at is None


def test_a_standby_run_may_wait_for_its_plan_for_ever(forced: Forced, monkeypatch: pytest.MonkeyPatch):
    driver = forced.runs.standby(monkeypatch)
    driver.hello(worker(0, 11, None))
    for second in range(0, 20 * int(START_TIMEOUT_S), int(OWN_ABSENCE_S)):
        driver._look(second)
    assert driver.state() == "ready"


def test_a_standby_run_that_does_not_fetch_its_plan_has_not_come_up(forced: Forced, monkeypatch: pytest.MonkeyPatch):
    driver = forced.runs.standby(monkeypatch)
    driver.hello(worker(0, 11, None))
    driver.assign(forced.runs.plan, ONE_WORKER)
    for forced.now in range(0, int(START_TIMEOUT_S) + 2 * int(OWN_ABSENCE_S), int(OWN_ABSENCE_S)):
        driver._look(forced.now)
    assert forced.runs.attempt().reason is ReasonCode.WORKER_HUNG


def test_a_run_that_failed_and_does_not_leave_keeps_its_reason(forced: Forced):
    driver = forced.runs.launch()
    driver.hello(worker(0, 11, None))
    driver.fail(0, Failure(ReasonCode.DEVICE_OOM, "Full."))
    forced.wait(driver, 61)
    assert forced.ended == [11]
    assert (forced.runs.attempt().reason, forced.runs.attempt().message) == (ReasonCode.DEVICE_OOM, "Full.")
    assert not stacks_file(forced.runs.plan).exists()


@pytest.mark.parametrize("stops", [True, False])
def test_a_run_that_delivered_or_stopped_and_does_not_leave_is_ended(forced: Forced, stops: bool):
    driver = forced.runs.launch()
    driver.hello(worker(0, 11, None))
    driver.finish(Outcome(Ending.STOPPED, 7, StopKind.CANCEL) if stops else FINISHED)
    forced.wait(driver, 61)
    assert forced.ended == [11]
    assert forced.runs.attempt().reason is (ReasonCode.USER_CANCELLED if stops else ReasonCode.OK)


def limited(forced: Forced, seconds: float) -> RunDriver:
    plan = replace(forced.runs.plan, time_left_s=seconds, config=CONFIG)
    driver = RunDriver("run-1", ONE_WORKER, plan)
    forced.runs.drivers.append(driver)
    return driver


def test_a_run_that_is_over_its_time_and_does_not_heed_it_is_ended(forced: Forced):
    driver = limited(forced, 100)
    forced.wait(driver, 50)  # what it takes to come up is the service's time
    driver.hello(worker(0, 11, None))
    forced.train(driver)
    for step in range(100 + int(SAVE_GRACE_S)):
        driver.record([], Beat(10 + step, 10 + step, 0.1, Phase.TRAINING))
        forced.wait(driver, 1)
    assert forced.ended == []
    forced.wait(driver, 1)
    assert forced.ended == [11]
    attempt = forced.runs.attempt()
    assert (attempt.reason, attempt.message) == (
        ReasonCode.TIME_LIMIT,
        "The job's time limit is used up. There is no checkpoint yet.",
    )


def test_a_run_over_its_time_may_deliver(forced: Forced):
    driver = limited(forced, 100)
    driver.hello(worker(0, 11, None))
    forced.train(driver)
    progress = Emitted(1, CREATED, ProgressPayload(step=9, total_steps=9, epoch=1.0, eta_s=0.0))
    driver.record([progress], Beat(50, 9, 0.1, Phase.EVALUATING))
    for count in range(100 + int(SAVE_GRACE_S), 0, -1):
        driver.record([], Beat(1000 - count, 9, 0.1, Phase.EVALUATING))
        forced.wait(driver, 1)
    forced.wait(driver, 10)
    assert forced.ended == []


def test_a_look_that_fails_is_not_the_last_one(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(driver_module, "LOOK_INTERVAL_S", 0.001)
    driver = runs.launch()
    looks = []

    def look(self: Watchdog, now: float) -> None:
        looks.append(now)
        if len(looks) == 3:
            driver._ended.set()
        raise OSError("the disk is full")

    monkeypatch.setattr(Watchdog, "look", look)
    driver._watch()
    assert len(looks) == 3
    assert "The watchdog could not check" in caplog.text
