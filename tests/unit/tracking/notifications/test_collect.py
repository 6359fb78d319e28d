"""Notifications of new events: each once, in the right outboxes."""

import pytest
from sqlalchemy import text

from ftlab.schemas.notifications import ChannelType, NotificationKind
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import NOW, add_job, at_once, claim, later, log_event, reach, start
from tracking.notifications import collect
from tracking.notifications.collect import Collector, read_news, save
from tracking.store.records import JobRef

K = NotificationKind


def add_channel(store, name="ops", *, owner="local", kinds=(), jobs=(), url="https://example.com/hook"):
    values = {"type": ChannelType.WEBHOOK, "url": url, "secret": "s", "kinds": kinds, "jobs": jobs, "now": NOW}
    with store.begin() as tx:
        return tx.channels.save(owner, name, **values)


def listed(store, owner="local"):
    with store.read() as tx:
        return tx.notifications.list(owner=owner, limit=100)


def waiting(store):
    """The kinds that wait on each channel of the owner."""
    with store.begin() as tx:
        found = {}
        while due := tx.channels.due(now=later(0)):
            for each in due:
                notification = tx.notifications.by_seq(each.notification_seq)
                found.setdefault(each.channel.name, []).append(notification.kind)
                tx.channels.settle(each)
        return found


def test_a_life_is_reported_once_and_in_order(store):
    ref = reach(store, JobStatus.RUNNING)
    collector = Collector(store)
    assert collector.step() == 1
    with store.begin() as tx:
        tx.jobs.move(ref, JobStatus.COMPLETED, now=later(9))
    assert collector.step() == 1
    assert collector.step() == 0
    assert Collector(store).step() == 0
    assert [each.kind for each in reversed(listed(store))] == [K.SUBMITTED, K.STARTED, K.COMPLETED]
    assert listed(store)[0].at == later(9)
    with store.read() as tx:
        assert tx.notifications.behind(limit=9) == []


def test_events_of_a_running_job_are_looked_at_without_writing(store, monkeypatch):
    ref = reach(store, JobStatus.RUNNING)
    collector = Collector(store)
    collector.step()
    for _ in range(3):
        with store.begin() as tx:
            tx.events.append(ref, [log_event("a line")])
        assert collector.step() == 0
    with store.read() as tx:
        [cursor] = tx.notifications.behind(limit=9)
        assert cursor.last_seq - cursor.notified_seq == 3
    monkeypatch.setattr(collect, "MAX_UNSAVED_EVENTS", 4)
    with store.begin() as tx:
        tx.events.append(ref, [log_event("a line")])
    assert collector.step() == 1, "what is looked at again after a restart has a limit"


def test_long_logs_are_read_page_by_page(store, monkeypatch):
    monkeypatch.setattr(collect, "PAGE_EVENTS", 2)
    reach(store, JobStatus.CANCELLED)
    collector = Collector(store)
    while collector.step():
        pass
    assert [each.kind for each in reversed(listed(store))] == [K.SUBMITTED, K.CANCELLED]


def test_what_happens_after_the_job_was_read_waits_for_the_next_pass(store):
    ref = reach(store, JobStatus.RUNNING)
    with store.read() as tx:
        [cursor] = tx.notifications.behind(limit=9)
    with store.begin() as tx:
        tx.jobs.move(ref, JobStatus.FAILED, now=NOW, reason=ReasonCode.DEVICE_OOM)
    with store.begin() as tx:
        save(tx, [read_news(tx, cursor)])
    assert [each.kind for each in reversed(listed(store))] == [K.SUBMITTED, K.STARTED]
    Collector(store).step()
    assert [each.kind for each in reversed(listed(store))] == [K.SUBMITTED, K.STARTED, K.FAILED]


def test_several_processes_report_an_event_once(store):
    for _ in range(5):
        add_job(store)
    results = at_once(3, lambda _: Collector(store).step())
    assert not [each for each in results if isinstance(each, Exception)]
    assert len(listed(store)) == 5


def test_channels_take_what_they_ask_for(store):
    job = add_job(store, name="nightly")
    add_channel(store, "all")
    add_channel(store, "ends", kinds=[K.COMPLETED, K.FAILED])
    add_channel(store, "named", jobs=["nightly"])
    add_channel(store, "by-id", jobs=[job.id])
    add_channel(store, "other", jobs=["weekly"])
    add_channel(store, "foreign", owner="someone")
    ref = start(store, job.id)
    with store.begin() as tx:
        tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW)
    Collector(store).step()
    everything = [K.SUBMITTED, K.STARTED, K.COMPLETED]
    assert waiting(store) == {"all": everything, "ends": [K.COMPLETED], "named": everything, "by-id": everything}
    assert listed(store, "someone") == []


def test_a_channel_that_is_off_takes_nothing(store):
    channel = add_channel(store)
    with store.begin() as tx:
        tx.channels.update(channel, is_on=False)
    add_job(store)
    Collector(store).step()
    assert waiting(store) == {}
    assert len(listed(store)) == 1


def test_old_notifications_are_removed_unless_they_are_to_be_delivered(store, monkeypatch):
    monkeypatch.setattr(collect, "MAX_KEPT", 3)
    add_channel(store, kinds=[K.STARTED])
    job = add_job(store)
    claim(store, job.id)
    with store.begin() as tx:
        for status in (JobStatus.INITIALIZING, JobStatus.RUNNING):
            tx.jobs.move(JobRef(job.id, 1), status, now=NOW)
    Collector(store).step()
    for _ in range(5):
        add_job(store)
    Collector(store).step()
    kinds = [each.kind for each in listed(store)]
    assert kinds == [K.SUBMITTED] * 3 + [K.STARTED]
    assert waiting(store) == {"ops": [K.STARTED]}


@pytest.mark.parametrize("until", [None, 1])
def test_read_marks(store, until):
    for _ in range(3):
        add_job(store)
    Collector(store).step()
    seqs = sorted(each.seq for each in listed(store))
    with store.begin() as tx:
        assert tx.notifications.num_unread(owner="local") == 3
        tx.notifications.mark_all_read(owner="someone", until=None, now=NOW)
        assert tx.notifications.num_unread(owner="local") == 3
        tx.notifications.mark_all_read(owner="local", until=None if until is None else seqs[until], now=NOW)
        assert tx.notifications.num_unread(owner="local") == (0 if until is None else 1)


def test_a_log_that_cannot_be_read_holds_up_no_other(store, caplog):
    broken, other = add_job(store), add_job(store)
    with store.begin() as tx:
        tx.jobs._connection.execute(
            text("UPDATE events SET data = :data WHERE job_id = :id"),
            {"data": '{"status": "dreaming"}', "id": broken.id},
        )
    Collector(store).step()
    assert [each.job_id for each in listed(store)] == [other.id]
    assert f"The events of {broken.id} after 0 could not be read" in caplog.text
    assert Collector(store).step() == 0
