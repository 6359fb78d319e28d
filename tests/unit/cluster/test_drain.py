"""Waiting until every run has saved."""

from cluster.coordinator_client import DRAIN_POLL_S, drain
from cluster.named_actor import ActorUnreachableError


class Runs:
    """A coordinator whose runs take a while to save; it may be away now and then."""

    def __init__(self, takes_s: float, away: range = range(0)) -> None:
        self.takes_s = takes_s
        self.away = away
        self.now = 0.0
        self.asked: list[float] = []

    def drain(self) -> None:
        if len(self.asked) in self.away:
            self.asked.append(self.now)
            raise ActorUnreachableError("it is being started again")
        self.asked.append(self.now)

    def is_drained(self) -> bool:
        return self.now >= self.takes_s

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, timeout_s: float) -> bool:
        return drain(self, timeout_s, clock=lambda: self.now, sleep=self.sleep)


def test_a_service_without_runs_goes_at_once():
    runs = Runs(0)
    assert runs.wait(10)
    assert runs.asked == [0]


def test_it_goes_as_soon_as_the_last_run_has_saved():
    runs = Runs(3)
    assert runs.wait(10)
    assert 3 <= runs.now < 3 + 2 * DRAIN_POLL_S


def test_runs_that_take_too_long_are_left_to_their_checkpoints():
    runs = Runs(100)
    assert not runs.wait(10)
    assert 10 <= runs.now < 10 + 2 * DRAIN_POLL_S


def test_a_coordinator_that_was_started_again_is_asked_again():
    runs = Runs(1, away=range(2, 4))
    assert runs.wait(10)
    assert len(runs.asked) > 4


def test_a_coordinator_that_is_gone_does_not_keep_the_service_up():
    runs = Runs(0, away=range(1_000_000))
    assert not runs.wait(10)
