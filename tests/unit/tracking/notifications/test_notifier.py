"""From events to receivers: nothing is lost, whatever fails or is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftlab.errors import ServiceUnavailableError
from ftlab.schemas.notifications import ChannelType, Notification, NotificationKind
from ftlab.settings import Settings
from ftlab.status import JobStatus
from tests.support.clocks import Clock, wait_for
from tests.unit.tracking.notifications.receiver import SECRET, Receiver, receiving
from tests.unit.tracking.notifications.test_outcomes import due
from tests.unit.tracking.samples import NOW, add_job, later, start
from tracking.notifications import notifier as module
from tracking.notifications.notifier import Notifier, sender
from tracking.notifications.outcomes import DEAD_AFTER, MAX_REFUSALS, MIN_FAILURES, Undeliverable
from tracking.store import Store

HERE = Settings(notify_private_hosts=("127.0.0.1",))
K = NotificationKind
TEST = Notification(id="ntf-1", kind=K.TEST, title="A test", message="It is one.", at=NOW)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    store = Store.open(sqlite_url)
    yield store
    store.close()


def add_channel(store, url, name="ops", kinds=()):
    values = {"type": ChannelType.WEBHOOK, "url": url, "secret": SECRET, "kinds": kinds, "jobs": (), "now": NOW}
    with store.begin() as tx:
        return tx.channels.save("local", name, **values)


def channel_of(store, name="ops"):
    with store.read() as tx:
        return tx.channels.get(name, owner="local")


def pending(store):
    with store.read() as tx:
        return tx.channels.num_pending(owner="local")


def drain(notifier, passes=20):
    """Passes until nothing is due any more."""
    for _ in range(passes):
        has_more = notifier.step()
        notifier.wait()
        if not has_more:
            return


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def notifier(store: Store, clock: Clock) -> Notifier:
    # The reference library refuses timestamps of another time.
    return Notifier(store, sender(HERE, lambda: datetime.now(UTC)), clock)


def test_the_life_of_a_job_arrives_signed_and_in_order(store, notifier, receiver):
    add_channel(store, receiver.url)
    ref = start(store, add_job(store).id)
    with store.begin() as tx:
        tx.jobs.move(ref, JobStatus.COMPLETED, now=later(9))
    drain(notifier)
    assert receiver.kinds == ["job.submitted", "job.started", "job.completed"]
    assert len(set(receiver.ids)) == 3
    assert pending(store) == {}
    assert channel_of(store).last_sent_at == NOW


def test_a_receiver_that_is_down_gets_everything_later_and_with_the_same_ids(store, notifier, receiver, clock):
    add_channel(store, receiver.url)
    receiver.answers = [(503, {"retry-after": "60"}), (500, {})]
    add_job(store)
    drain(notifier)
    failing = channel_of(store)
    assert (failing.num_failures, failing.failing_since, failing.retry_at) == (1, NOW, later(60))
    assert "503" in failing.last_error
    add_job(store)
    drain(notifier)
    assert len(receiver.ids) == 1, "the channel waits"
    clock.now = later(61)
    drain(notifier)
    assert len(receiver.ids) == 2
    clock.now = later(120)
    drain(notifier)
    assert receiver.kinds == ["job.submitted"] * 2
    assert receiver.ids[0] == receiver.ids[1] == receiver.ids[2]
    working = channel_of(store)
    assert (working.num_failures, working.failing_since, working.last_error, working.retry_at) == (0, None, None, None)
    assert working.num_lost == 0


def test_what_the_receiver_refuses_does_not_hold_up_the_rest(store, notifier, receiver, clock):
    add_channel(store, receiver.url)
    receiver.answers = [(400, {})] * MAX_REFUSALS
    first, second = add_job(store, name="one"), add_job(store, name="two")
    for minute in range(MAX_REFUSALS + 1):
        clock.now = later(120 * minute)
        drain(notifier)
    assert [each["data"]["job_id"] for each in receiver.received] == [second.id]
    assert first.id not in str(receiver.received)
    assert channel_of(store).num_lost == 1


def test_a_dead_channel_is_switched_off_and_reported(store, notifier, receiver, clock):
    add_channel(store, "http://127.0.0.1:9/dead", "dead")
    add_channel(store, receiver.url, "ops", kinds=[K.CHANNEL_OFF])
    add_job(store)
    add_job(store)
    for number in range(MIN_FAILURES):
        clock.now = NOW + DEAD_AFTER * number / (MIN_FAILURES - 1)
        drain(notifier)
        assert channel_of(store, "dead").is_on is (number < MIN_FAILURES - 1)
    dead = channel_of(store, "dead")
    assert (dead.num_failures, dead.num_lost) == (MIN_FAILURES, 2)
    drain(notifier)
    [document] = receiver.received
    assert document["type"] == "channel.channel_off"
    assert "'dead' was switched off. It has failed since 2026-03-01 12:00 UTC." in document["data"]["message"]
    add_job(store)
    drain(notifier)
    assert pending(store) == {}
    with store.read() as tx:
        kinds = [each.kind for each in tx.notifications.list(owner="local")]
    assert kinds == [K.SUBMITTED, K.CHANNEL_OFF, K.SUBMITTED, K.SUBMITTED]


def test_a_receiver_that_is_gone_is_switched_off_at_once(store, notifier, receiver):
    add_channel(store, receiver.url)
    receiver.answers = [(410, {})]
    add_job(store)
    drain(notifier)
    assert not channel_of(store).is_on


def test_a_slow_receiver_holds_up_no_other(store, notifier, receiver):
    add_channel(store, receiver.url, "slow")
    with receiving() as other:
        add_channel(store, other.url, "fast")
        receiver.holds.clear()
        add_job(store)
        add_job(store)
        deadline = time.monotonic() + 10
        while len(other.received) < 2:
            notifier.step()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert receiver.received == []
        receiver.holds.set()
        drain(notifier)
        assert len(receiver.received) == 2


def test_an_unexpected_error_counts_as_a_failure(store, clock):
    def send(*_):
        raise RuntimeError("a bug")

    add_channel(store, "https://example.com")
    add_job(store)
    notifier = Notifier(store, send, clock)
    drain(notifier)
    assert channel_of(store).num_failures == 1
    assert pending(store) == {"ops": 1}


def test_nothing_is_repeated_while_the_database_is_away(store, clock, monkeypatch):
    sent = []
    monkeypatch.setattr(module, "retry_after_s", lambda _: 0.01)
    add_channel(store, "https://example.com")
    add_job(store)
    notifier = Notifier(store, lambda _, notification: sent.append(notification.id), clock)
    real, refusals = store.begin, iter(range(5))

    def begin():
        if sent and next(refusals, None) is not None:
            raise ServiceUnavailableError("The database is locked.")
        return real()

    monkeypatch.setattr(store, "begin", begin)
    drain(notifier)
    assert len(sent) == 1
    assert pending(store) == {}


def test_a_kill_in_the_middle_of_a_delivery_loses_nothing(tmp_path: Path, receiver: Receiver):
    settings = Settings(home=tmp_path / "home", notify_private_hosts=("127.0.0.1",))
    settings.home.mkdir()
    store = Store.open(settings.store_url)
    store.migrate()
    add_channel(store, receiver.url)
    ref = start(store, add_job(store).id)
    receiver.holds.clear()
    with running_notifier(settings) as process:
        assert receiver.has_request.wait(30)
        with store.begin() as tx:
            tx.jobs.move(ref, JobStatus.COMPLETED, now=later(9))
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    receiver.holds.set()
    with running_notifier(settings) as process:
        wait_for(lambda: pending(store) == {} and "job.completed" in receiver.kinds)
        process.terminate()
        assert process.wait(10) == 0
    first = receiver.ids[0]
    assert receiver.ids[1] == first, "what was sent when the process was killed is sent again, with its id"
    assert len(receiver.ids) == 4
    assert len(set(receiver.ids)) == 3
    assert receiver.kinds[-3:] == ["job.submitted", "job.started", "job.completed"]
    assert SECRET not in (settings.home / "notifier.log").read_text()
    assert receiver.url not in (settings.home / "notifier.log").read_text()
    store.close()


class running_notifier:
    """The process of the service that makes and delivers notifications."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> subprocess.Popen[bytes]:
        with (self._settings.home / "notifier.log").open("ab") as log:
            command = [sys.executable, "-m", "cluster.events.notifier"]
            env = os.environ | self._settings.to_environment()
            self._process = subprocess.Popen(command, env=env, stderr=log)
        return self._process

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


def test_the_type_of_the_channel_decides_how_it_delivers(monkeypatch):
    calls = []
    for name in ("send_webhook", "send_mail", "send_apprise"):
        monkeypatch.setattr(module, name, lambda *args, name=name, **_: calls.append((name, args[0])))
    send, channel = sender(HERE, lambda: NOW), due().channel
    send(channel, TEST)
    send(replace(channel, type=ChannelType.MAIL, url="mailto:me@example.com"), TEST)
    send(replace(channel, type=ChannelType.APPRISE, url="discord://x"), TEST)
    assert calls == [
        ("send_webhook", "https://example.com"),
        ("send_mail", "me@example.com"),
        ("send_apprise", "discord://x"),
    ]


def test_neither_errors_nor_logs_show_what_is_secret():
    channel = replace(due().channel, url="https://127.0.0.1/canary-4711", secret=SECRET)
    assert "canary-4711" not in repr(channel)
    assert SECRET not in repr(channel)
    with pytest.raises(Undeliverable) as failed:
        sender(Settings(), lambda: NOW)(channel, TEST)
    assert "canary-4711" not in failed.value.message
