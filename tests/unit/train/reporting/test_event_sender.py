"""Events out of a training process: in order, each once, whatever the receiver does."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlab.schemas import LogPayload
from tests.support.clocks import wait_for
from train.plan import Beat, StopKind
from train.reporting import event_sender
from train.reporting.event_sender import Emitted, Emitter


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_sender, "FLUSH_INTERVAL_S", 0.001)
    monkeypatch.setattr(event_sender, "HEARTBEAT_INTERVAL_S", 0.01)


class Receiver:
    """Keeps what is sent; fails when the next entry of `fails` says so, before or after it took the batch."""

    def __init__(self, fails: list[str] | None = None, stop: StopKind | None = None) -> None:
        self.fails = fails or []
        self.stop = stop
        self.batches: list[list[Emitted]] = []
        self.beats: list[Beat | None] = []

    def send(self, batch: list[Emitted], beat: Beat | None) -> StopKind | None:
        fault = self.fails.pop(0) if self.fails else ""
        if fault == "before":
            raise ConnectionError
        self.batches.append(list(batch))
        self.beats.append(beat)
        if fault == "after":
            raise ConnectionError
        return self.stop

    @property
    def events(self) -> list[Emitted]:
        return [event for batch in self.batches for event in batch]

    @property
    def taken(self) -> list[str]:
        """What a receiver keeps that leaves out numbers it knows."""
        newest, texts = 0, []
        for event in self.events:
            if event.number > newest:
                newest = event.number
                texts.append(event.payload.text)
        return texts


def started(receiver: Receiver) -> Emitter:
    emitter = Emitter(receiver.send)
    emitter.start()
    return emitter


def test_events_arrive_in_order_with_time_and_number():
    receiver = Receiver()
    emitter = started(receiver)
    for number in range(100):
        emitter.emit(LogPayload(text=str(number)))
    emitter.close()
    assert receiver.taken == list(map(str, range(100)))
    first = receiver.events[0]
    assert (first.payload, first.number, first.at.utcoffset().total_seconds()) == (LogPayload(text="0"), 1, 0)


@settings(max_examples=25, deadline=None)
@given(fails=st.lists(st.sampled_from(["", "before", "after"]), max_size=12), num_events=st.integers(0, 60))
def test_no_event_is_lost_or_doubled_when_the_way_fails(fails: list[str], num_events: int):
    receiver = Receiver(fails)
    emitter = started(receiver)
    for number in range(num_events):
        emitter.emit(LogPayload(text=str(number)))
        if number % 10 == 0:
            time.sleep(0.001)
    emitter.close()
    assert receiver.taken == list(map(str, range(num_events)))


def test_closing_sends_what_is_left():
    receiver = Receiver()
    emitter = Emitter(receiver.send)
    emitter.emit(LogPayload(text="early"))
    emitter.start()
    emitter.emit(LogPayload(text="late"))
    emitter.close()
    assert receiver.taken == ["early", "late"]
    emitter.close()
    assert receiver.taken == ["early", "late"]


def test_closing_does_not_wait_for_ever():
    emitter = started(Receiver(["before"] * 100_000))
    emitter.emit(LogPayload(text="nobody"))
    before = time.perf_counter()
    emitter.close(timeout_s=0.05)
    assert time.perf_counter() - before < 5


def test_silence_is_broken_by_empty_batches():
    receiver = Receiver()
    emitter = started(receiver)
    wait_for(lambda: len(receiver.batches) >= 3)
    assert receiver.events == []
    emitter.close()


def test_a_stop_request_comes_back_with_the_answer_and_stays():
    receiver = Receiver()
    emitter = started(receiver)
    assert emitter.stop_requested() is None
    receiver.stop = StopKind.CANCEL
    wait_for(lambda: emitter.stop_requested() is StopKind.CANCEL)
    receiver.stop = None
    count = len(receiver.batches)
    wait_for(lambda: len(receiver.batches) > count + 1)
    assert emitter.stop_requested() is StopKind.CANCEL
    emitter.close()


def test_a_stop_request_gives_way_to_a_more_urgent_one_only():
    receiver = Receiver()
    emitter = started(receiver)
    for asked, acted_on in (
        (StopKind.PREEMPT, StopKind.PREEMPT),
        (StopKind.DRAIN, StopKind.PREEMPT),
        (StopKind.PAUSE, StopKind.PAUSE),
        (StopKind.TIME_LIMIT, StopKind.PAUSE),
        (StopKind.CANCEL, StopKind.CANCEL),
        (StopKind.PAUSE, StopKind.CANCEL),
        (StopKind.FENCED, StopKind.FENCED),
    ):
        receiver.stop = asked
        num_sent = len(receiver.batches)
        wait_for(lambda num_sent=num_sent: len(receiver.batches) > num_sent + 1)
        assert emitter.stop_requested() is acted_on
    emitter.close()


def test_every_batch_carries_the_newest_sign_of_life():
    receiver = Receiver()
    emitter = started(receiver)
    wait_for(lambda: receiver.beats)
    assert set(receiver.beats) == {None}, "there was none yet"
    old, new = Beat(1, 0, None, "loading"), Beat(2, 1, 0.5, "training")
    emitter.beat(old)
    wait_for(lambda: old in receiver.beats)
    emitter.beat(new)
    wait_for(lambda: new in receiver.beats)
    assert receiver.events == [], "without an event to tell"
    emitter.emit(LogPayload(text="one"))
    emitter.close()
    assert receiver.beats[-1] == new
    assert old not in receiver.beats[receiver.beats.index(new) :]


def test_training_never_waits_for_a_receiver_that_hangs():
    leave = threading.Event()

    def hang(batch: list[Emitted], beat: Beat | None) -> None:
        leave.wait(10)

    emitter = Emitter(hang)
    emitter.start()
    before = time.perf_counter()
    for number in range(10_000):
        emitter.emit(LogPayload(text=str(number)))
    assert time.perf_counter() - before < 5
    leave.set()
    emitter.close()


def test_two_events_after_a_silence_are_sent_at_once_and_the_next_ones_gather(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_sender, "FLUSH_INTERVAL_S", 1.0)
    monkeypatch.setattr(event_sender, "HEARTBEAT_INTERVAL_S", 60.0)
    receiver = Receiver()
    emitter = started(receiver)
    wait_for(lambda: receiver.batches)
    before = time.monotonic()
    for count in (1, 2):
        emitter.emit(LogPayload(text="at once"))
        wait_for(lambda count=count: len(receiver.events) == count)
    assert time.monotonic() - before < 0.9
    for _ in range(3):
        emitter.emit(LogPayload(text="later"))
        time.sleep(0.01)
    wait_for(lambda: len(receiver.events) == 5)
    assert time.monotonic() - before > 0.9
    assert len(receiver.batches) == 4  # an empty one at the start
    emitter.close()
