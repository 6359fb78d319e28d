"""Rules of the alarms, on series as runs record them."""

import random

import pytest

from ftlab.schemas import NoticePayload
from ftlab.schemas.events import (
    DATA_WAIT_HIGH,
    EVAL_LOSS_RISING,
    GRAD_NORM_HIGH,
    LOSS_FLAT,
    REWARDS_EQUAL,
    SPEED_DROPPED,
)
from train.reporting.alarm_rules import (
    FLAT_LOSS_POINTS,
    DataWaitRule,
    EvalLossRule,
    FlatLossRule,
    GradNormRule,
    RewardRule,
    SpeedRule,
)


def raised_at(notices: list[NoticePayload | None], code: str) -> list[int]:
    """Positions of the alarms in a series, which all have this code and a message with advice."""
    raised = [notice for notice in notices if notice is not None]
    assert all(notice.code == code and len(notice.message) > 80 for notice in raised)
    return [position for position, notice in enumerate(notices) if notice is not None]


def message_of(notice: NoticePayload | None) -> str:
    assert notice is not None
    return notice.message


class TestDataWait:
    def test_a_share_above_5_percent_raises_once_until_it_has_cleared(self) -> None:
        rule = DataWaitRule()
        waits = [0.2] * 20 + [0.0] * 80 + [0.2] * 60
        notices = [rule.step_ended(wait_s, 1.0) for wait_s in waits]
        assert len(raised_at(notices, DATA_WAIT_HIGH)) == 2
        assert "17%" in message_of(notices[10]), "the first step is left out, and ten are needed"

    @pytest.mark.parametrize(("wait_s", "step_time_s"), [(0.04, 1.0), (0.001, 0.005)])
    def test_a_small_share_and_waits_too_short_to_matter_raise_nothing(self, wait_s: float, step_time_s: float) -> None:
        rule = DataWaitRule()
        assert not raised_at([rule.step_ended(wait_s, step_time_s) for _ in range(500)], DATA_WAIT_HIGH)

    def test_the_first_step_may_wait_for_its_files_to_be_opened(self) -> None:
        rule = DataWaitRule()
        waits = [15.0] + [0.0] * 30
        assert not raised_at([rule.step_ended(wait_s, 1.0) for wait_s in waits], DATA_WAIT_HIGH)

    def test_a_loader_of_one_row_in_50_seconds_raises_within_a_minute_while_the_step_waits(self) -> None:
        rule = DataWaitRule()
        notices = [rule.still_waiting(float(second)) for second in range(50)]
        [second] = raised_at(notices, DATA_WAIT_HIGH)
        assert second <= 30
        assert "waiting for its rows for 20 s" in message_of(notices[second])
        assert rule.step_ended(50.0, 0.5) is None
        assert rule.still_waiting(40.0) is None, "it is raised already"

    def test_one_wait_in_a_run_of_long_steps_raises_nothing(self) -> None:
        rule = DataWaitRule()
        for _ in range(12):
            rule.step_ended(0.1, 600.0)
        assert rule.still_waiting(30.0) is None


class TestSpeed:
    def test_a_quarter_of_the_early_speed_raises_once_until_the_speed_is_back(self) -> None:
        rule = SpeedRule()
        speeds = [1000.0] * 10 + [200.0] * 10 + [900.0] * 10 + [200.0] * 10
        notices = [rule.logged(speed, 5.0) for speed in speeds]
        assert raised_at(notices, SPEED_DROPPED) == [12, 32], "the median of five follows after three"
        assert "200 tokens/s" in message_of(notices[12])

    def test_single_slow_points_and_half_the_speed_raise_nothing(self) -> None:
        rule = SpeedRule()
        speeds = [1000.0] * 10 + [10.0, 1000.0, 10.0, 1000.0, 1000.0] * 4 + [500.0] * 10
        assert not raised_at([rule.logged(speed, 5.0) for speed in speeds], SPEED_DROPPED)

    def test_a_moment_of_slow_steps_raises_nothing(self) -> None:
        rule = SpeedRule()
        speeds = [1000.0] * 10 + [100.0] * 10
        assert not raised_at([rule.logged(speed, 0.1) for speed in speeds], SPEED_DROPPED)


class TestGradNorm:
    def test_ten_times_the_median_at_three_steps_in_a_row_raises_once(self) -> None:
        rule = GradNormRule()
        norms = [1.0, 1.2, 0.9, 1.1] * 5 + [30.0] * 10 + [1.0] + [30.0, float("nan"), float("inf")]
        notices = [rule.logged(step, norm) for step, norm in enumerate(norms, 1)]
        assert raised_at(notices, GRAD_NORM_HIGH) == [22, 33]
        assert "30 at step 23" in message_of(notices[22])

    def test_single_peaks_and_the_first_steps_raise_nothing(self) -> None:
        rule = GradNormRule()
        norms = [0.1, 90.0, 80.0, 70.0, 60.0, 50.0] + [1.0] * 20 + [99.0, 99.0, 1.0] * 5
        assert not raised_at([rule.logged(step, norm) for step, norm in enumerate(norms, 1)], GRAD_NORM_HIGH)


class TestEvalLoss:
    def test_three_rises_in_a_row_raise_once_until_the_loss_falls(self) -> None:
        rule = EvalLossRule()
        losses = [2.0, 1.5, 1.6, 1.7, 1.8, 1.9, 1.4, 1.5, 1.6, 1.7]
        notices = [rule.logged(step, loss) for step, loss in enumerate(losses)]
        assert raised_at(notices, EVAL_LOSS_RISING) == [4, 9]
        assert "from 1.5 to 1.8 at step 4" in message_of(notices[4])

    def test_a_fall_or_an_equal_loss_in_between_starts_over(self) -> None:
        rule = EvalLossRule()
        losses = [1.0, 1.1, 1.2, 1.1, 1.2, 1.3, 1.3, 1.4, 1.5]
        assert not raised_at([rule.logged(step, loss) for step, loss in enumerate(losses)], EVAL_LOSS_RISING)


def noisy(count: int, *, start: float, change: float, noise: float, seed: int) -> list[float]:
    """Losses that change by `change` in all, with normally distributed noise."""
    numbers = random.Random(seed)
    return [start + change * position / count + numbers.gauss(0.0, noise) for position in range(count)]


def flat_at(losses: list[float], warmup_steps: int = 0) -> list[int]:
    rule = FlatLossRule(warmup_steps)
    return raised_at([rule.logged(step, loss) for step, loss in enumerate(losses, 1)], LOSS_FLAT)


class TestFlatLoss:
    def test_a_constant_loss_raises_at_the_first_check(self) -> None:
        assert flat_at([0.6931] * 1000) == [FLAT_LOSS_POINTS - 1]

    def test_frozen_weights_raise_whatever_the_noise_of_the_batches(self) -> None:
        raised = [flat_at(noisy(3200, start=2.0, change=0.0, noise=0.2, seed=seed)) for seed in range(20)]
        assert sum(map(len, raised)) >= 18

    def test_a_loss_that_falls_raises_nothing(self) -> None:
        raised = [flat_at(noisy(100, start=2.0, change=-0.4, noise=0.2, seed=seed)) for seed in range(50)]
        assert not any(raised)

    def test_a_loss_that_is_flat_at_its_end_raises_nothing(self) -> None:
        losses = noisy(100, start=2.0, change=-1.0, noise=0.1, seed=1) + noisy(
            900, start=1.0, change=0.0, noise=0.1, seed=2
        )
        assert not flat_at(losses)

    def test_a_warm_up_is_waited_for(self) -> None:
        assert flat_at([2.0] * 1000, warmup_steps=200) == [399]


class TestRewards:
    def raised(self, *shares: float) -> list[int]:
        rule = RewardRule()
        values = [{"frac_reward_zero_std": share, "reward": 0.0} for share in shares]
        return raised_at([rule.logged(step, each) for step, each in enumerate(values, 1)], REWARDS_EQUAL)

    def test_ten_steps_without_a_difference_raise_once_until_there_is_one(self) -> None:
        assert self.raised(*[1.0] * 15, 0.5, *[1.0] * 10) == [9, 25]

    def test_a_single_prompt_with_different_rewards_is_enough(self) -> None:
        assert self.raised(*[1.0] * 9, 0.99, *[1.0] * 9) == []

    def test_values_without_rewards_neither_count_nor_start_over(self) -> None:
        rule = RewardRule()
        notices = [
            rule.logged(step, {"eval_loss": 1.0} if step % 2 else {"frac_reward_zero_std": 1.0}) for step in range(20)
        ]
        assert raised_at(notices, REWARDS_EQUAL) == [18]
