"""What counts as hung, with a clock that the test moves."""

import pytest

from cluster.runs.watchdog import EXIT_TIMEOUT_S, OWN_ABSENCE_S, START_TIMEOUT_S, Stall, Watchdog
from train.plan import Beat, Phase


class Watched:
    """A run whose single worker talks every second, whether it moves or not."""

    def __init__(self, *, stuck_timeout_s: float = 600, first_step_timeout_s: float = 3600, is_up: bool = True) -> None:
        self.now = 0.0
        self.dog = Watchdog(stuck_timeout_s=stuck_timeout_s, first_step_timeout_s=first_step_timeout_s, now=0.0)
        self.beat = Beat(0, 0, None, Phase.LOADING)
        if is_up:
            self.dog.is_up(1, 0.0)

    def moves(self, phase: Phase = Phase.TRAINING, *, step: int | None = None, median_s: float | None = None) -> None:
        self.beat = Beat(self.beat.count + 1, self.beat.step if step is None else step, median_s, phase)
        self.dog.hear(0, self.beat, self.now)

    def trains(self, median_s: float | None = 1.0) -> None:
        """It is in the middle of its training."""
        self.moves(step=4)
        self.moves(step=5, median_s=median_s)

    def stalls_after(self, limit_s: float = 100_000) -> float | None:
        """Seconds of standing still after which it counts as hung."""
        for waited in range(int(limit_s)):
            self.now += 1
            self.dog.hear(0, self.beat, self.now)
            if self.dog.look(self.now):
                return waited + 1
        return None


@pytest.mark.parametrize(
    ("median_s", "limit_s"),
    [(0.1, 120), (12.0, 120), (13.0, 130), (30.0, 300), (60.0, 600), (500.0, 600), (None, 600)],
)
def test_the_limit_follows_the_pace_of_the_steps_between_two_minutes_and_the_setting(
    median_s: float | None, limit_s: int
):
    run = Watched()
    run.trains(median_s)
    assert run.stalls_after() == limit_s + 1


@pytest.mark.parametrize(("setting_s", "median_s", "limit_s"), [(10, 1.0, 10), (10, 50.0, 10), (5000, 300.0, 3000)])
def test_the_setting_of_the_user_is_the_highest_limit(setting_s: int, median_s: float, limit_s: int):
    run = Watched(stuck_timeout_s=setting_s)
    run.trains(median_s)
    assert run.stalls_after() == limit_s + 1


def test_until_the_first_step_is_done_another_limit_holds():
    run = Watched(stuck_timeout_s=60, first_step_timeout_s=900)
    run.moves(Phase.LOADING)
    run.moves(Phase.TRAINING, step=40)  # it has resumed there
    assert run.stalls_after() == 901
    run.moves(step=41)
    assert run.stalls_after() == 61


def test_every_sign_of_life_counts_before_the_first_step_too():
    run = Watched(first_step_timeout_s=900)
    for _ in range(5):
        run.moves(Phase.EVALUATING)
        assert run.stalls_after(800) is None


@pytest.mark.parametrize(
    ("phase", "limit_s"), [(Phase.SAVING, 3600), (Phase.DELIVERING, 3600), (Phase.EVALUATING, 600)]
)
def test_the_pace_of_steps_says_nothing_about_other_work(phase: Phase, limit_s: int):
    run = Watched()
    run.trains()
    run.moves(phase, median_s=1.0)
    assert run.stalls_after() == limit_s + 1


def test_a_stall_says_what_where_and_how_long():
    run = Watched(stuck_timeout_s=30)
    run.trains()
    run.stalls_after()
    stall = run.dog.look(run.now)
    assert stall is not None
    assert stall.sentence == "No progress (training) at step 5 for 31 s."
    run.moves(median_s=1.0)
    assert run.dog.look(run.now) is None, "it has moved on"


def test_a_repeated_or_late_beat_is_no_progress():
    run = Watched(stuck_timeout_s=30)
    run.trains()
    late = Beat(1, 1, None, Phase.TRAINING)
    for second in range(1, 31):
        run.dog.hear(0, late, second)
        assert run.dog.look(second) is None
    assert run.dog.look(31) is not None


def test_a_worker_that_says_nothing_is_found_in_every_phase():
    dog = Watchdog(stuck_timeout_s=60, first_step_timeout_s=3600, now=0)
    dog.is_up(2, 0)
    for second in range(62):
        dog.hear(0, Beat(second, 0, None, Phase.LOADING), second)
        assert (dog.look(second) is not None) == (second > 60)
    assert dog.look(62) == Stall("Worker 1 reported nothing", 62, 0)


def test_workers_that_never_come_up_are_not_waited_for_for_ever():
    run = Watched(is_up=False)
    for second in range(int(START_TIMEOUT_S) + 1):
        assert run.dog.look(second) is None
    stall = run.dog.look(START_TIMEOUT_S + 1)
    assert stall is not None
    assert stall.sentence == "The training processes did not start for 601 s."


def test_coming_up_twice_changes_nothing():
    dog = Watchdog(stuck_timeout_s=600, first_step_timeout_s=30, now=0)
    dog.is_up(1, 10)
    dog.is_up(1, 39)
    for second in range(10, 41):
        dog.hear(0, None, second)
        assert dog.look(second) is None
    assert dog.look(41) is not None


def test_a_run_that_has_told_its_end_must_leave():
    run = Watched()
    run.trains()
    run.dog.has_told_its_end(10)
    run.dog.has_told_its_end(40)
    for second in range(10, 10 + int(EXIT_TIMEOUT_S) + 1):
        assert run.dog.look(second) is None
    assert run.dog.look(11 + EXIT_TIMEOUT_S) is not None


def test_nobody_is_blamed_while_the_watchdog_itself_was_away():
    """The driver's process was stopped, or the machine slept: the beats of that time were lost with it."""
    run = Watched(stuck_timeout_s=60)
    run.trains()
    for second in range(50):
        assert run.dog.look(second) is None
    assert run.dog.look(5000) is None
    for second in range(5000, 5012):
        assert run.dog.look(second) is None
    assert run.dog.look(5012) is not None


def test_what_the_watchdog_itself_was_busy_with_is_no_absence():
    run = Watched(stuck_timeout_s=60)
    run.trains()
    assert run.stalls_after() == 61
    assert run.dog.look_again(run.now + 10 * OWN_ABSENCE_S) is not None
    run.moves(median_s=1.0)
    assert run.dog.look_again(run.now) is None


@pytest.mark.parametrize(
    ("phase", "step", "may_be_cut"),
    [
        (Phase.LOADING, 0, True),
        (Phase.TRAINING, 5, True),
        (Phase.EVALUATING, 5, True),
        (Phase.SAVING, 5, False),
        (Phase.EVALUATING, 10, False),
        (Phase.DELIVERING, 10, False),
    ],
)
def test_a_run_over_its_time_may_save_and_deliver(phase: Phase, step: int, may_be_cut: bool):
    run = Watched()
    run.moves(phase, step=step)
    assert not run.dog.is_in_work_after(100, 10, 100)
    assert run.dog.is_in_work_after(100, 10, 101) is may_be_cut


def test_a_run_that_is_not_up_or_has_told_its_end_is_not_over_its_time():
    run = Watched(is_up=False)
    assert not run.dog.is_in_work_after(10, None, 1000)
    run.dog.is_up(1, 1000)
    assert run.dog.is_in_work_after(10, None, 1011)
    run.dog.has_told_its_end(1011)
    assert not run.dog.is_in_work_after(10, None, 1012)


def test_a_worker_that_has_left_may_say_nothing_while_rank_0_delivers():
    dog = Watchdog(stuck_timeout_s=60, first_step_timeout_s=3600, now=0)
    dog.is_up(2, 0)
    dog.has_left(1)
    for second in range(200):
        dog.hear(0, Beat(second, 8, None, Phase.EVALUATING), second)
        assert dog.look(second) is None
