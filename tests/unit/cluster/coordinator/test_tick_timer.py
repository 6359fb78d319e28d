"""When ticks come, by a clock that tests move."""

import threading

import pytest

from cluster.coordinator.tick_timer import INTERVAL_S, TickTimer


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timer = TickTimer(clock=lambda: self.now, woken=_Event(self), hurried=_Event(self))
        self.agenda: list[tuple[float, str]] = []

    def at(self, after_s: float, what: str) -> None:
        self.agenda.append((self.now + after_s, what))

    def pass_until(self, event: "_Event", deadline: float) -> None:
        while not event.is_set() and self.agenda and self.agenda[0][0] <= deadline:
            self.now, what = self.agenda.pop(0)
            getattr(self.timer, what)()
        if not event.is_set():
            self.now = deadline

    def pause(self, tick_s: float = 0.0, interval_s: float = INTERVAL_S) -> float:
        """How long the pause lasts."""
        started = self.now
        self.timer.pause(tick_s, interval_s)
        return round(self.now - started, 6)


class _Event(threading.Event):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._clock.pass_until(self, self._clock.now + timeout)
        return self.is_set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_a_wake_up_a_tick_comes_at_the_interval(clock: Clock):
    assert [clock.pause(0.02), clock.pause(5.0)] == [INTERVAL_S, INTERVAL_S]


def test_a_wake_up_cuts_a_longer_interval_short(clock: Clock):
    assert clock.pause(0.02, 3.5) == 3.5
    clock.at(0.3, "wake")
    assert clock.pause(0.02, 3.5) == 0.3


def test_the_first_wake_up_after_a_quiet_time_is_heard_at_once(clock: Clock):
    clock.pause()
    clock.at(0.3, "wake")
    assert clock.pause(0.1) == 0.3
    clock.pause()
    clock.timer.wake()
    assert clock.pause(0.1) == 0.0


@pytest.mark.parametrize(("tick_s", "pause_s"), [(0.001, 0.05), (0.02, 0.18), (0.1, 0.9), (3.0, 1.0)])
def test_after_it_ticks_take_a_tenth_of_the_time(clock: Clock, tick_s: float, pause_s: float):
    clock.timer.wake()
    clock.pause(tick_s)
    clock.at(0.01, "wake")
    clock.at(0.02, "wake")
    assert clock.pause(tick_s) == pause_s
    clock.at(0.01, "wake")
    assert clock.pause(tick_s) == pause_s


def test_a_pause_that_is_over_is_not_waited_for(clock: Clock):
    clock.timer.wake()
    clock.pause()
    clock.at(0.3, "wake")
    assert clock.pause(0.02) == 0.3


def test_the_end_of_an_attempt_cuts_the_pause_short(clock: Clock):
    clock.timer.wake()
    clock.pause()
    clock.at(0.01, "wake")
    clock.at(0.03, "hurry")
    assert clock.pause(0.1) == 0.03
    clock.at(0.005, "hurry")
    assert clock.pause(0.1) == 0.005


def test_a_wake_up_during_the_tick_is_not_lost(clock: Clock):
    clock.timer.wake()
    clock.pause()
    clock.timer.wake()
    assert clock.pause(0.01) == 0.09
    assert clock.pause(0.01) == INTERVAL_S
