"""The parts of a step in time."""

import pytest

from ftlab.schemas.events import RunPart
from train.loop.step_timer import StepTimer
from train.reporting.run_metrics import StepMeter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the next readings; the last one stays."""
    times = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: times.pop(0) if len(times) > 1 else times[0])
    return times


def test_a_step_is_the_sum_of_its_passes(clock: list[float]) -> None:
    clock[:] = [5.0, 100.0, 101.0, 103.0, 110.0, 111.0, 112.0, 116.0, 120.0, 128.0, 150.0]
    timer = StepTimer(use_cuda=False)
    timer.mark(RunPart.FORWARD)  # of a memory probe
    timer.step_started()
    for part in (None, RunPart.FORWARD, RunPart.BACKWARD, None, RunPart.FORWARD, RunPart.BACKWARD, RunPart.OPTIMIZER):
        timer.mark(part)
    timer.mark(None)
    assert timer.step_ended() == {RunPart.FORWARD: 7 + 4, RunPart.BACKWARD: 1 + 4, RunPart.OPTIMIZER: 8}
    timer.step_started()
    assert timer.step_ended() == {}


def test_work_between_steps_is_counted_while_it_lasts(clock: list[float]) -> None:
    meter = StepMeter()
    clock[:] = [10.0]
    meter.other_work_began(RunPart.EVALUATION)
    clock[:] = [12.5]
    assert meter.times_s() == {"evaluation": 2.5}
    meter.other_work_began(RunPart.SAVING)  # an evaluation that is cut short is followed by a checkpoint
    clock[:] = [13.0]
    meter.work_ended()
    clock[:] = [14.0]
    meter.step_started()
    clock[:] = [20.0]
    meter.step_ended({RunPart.FORWARD: 4.0})
    assert meter.times_s() == {"evaluation": 2.5, "saving": 0.5, "data": 1.0, "forward": 4.0}


def test_the_speed_of_tokens_that_are_trained_again_is_that_over_all_their_steps(clock: list[float]) -> None:
    """Each 120 new tokens are trained for two steps of 5 seconds, of which only the first counts them."""
    meter = StepMeter()
    speeds = []
    for step in range(1, 6):
        clock[:] = [10.0 * step]
        meter.work_ended()
        meter.step_started()
        clock[:] = [10.0 * step + 5.0]
        meter.step_ended()
        speeds.append(meter.speed(120.0 * ((step + 1) // 2)).get("tokens_per_s"))
    assert speeds == [None, None, 12.0, None, 12.0]
