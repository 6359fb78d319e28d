"""The event log has no gap and no double."""

import pytest

from ftlab.schemas import EventKind, MetricsPayload, NoticePayload, SamplePayload
from tests.unit.tracking.samples import NOW, add_job, at_once, get_job, later, log_event, retry, start
from tracking.store import StaleJobError, Store
from tracking.store.records import JobRef, NewEvent


def test_numbers_follow_each_other(store: Store) -> None:
    job = add_job(store)
    with store.begin() as tx:
        first = tx.events.append(job.ref, [log_event("a"), log_event("b", later(1))])
        second = tx.events.append(job.ref, [log_event("c")])
    assert [event.seq for event in first + second] == [2, 3, 4]
    assert get_job(store, job.id).last_seq == 4
    with store.read() as tx:
        assert tx.events.after(job.id, 1) == first + second


def test_a_new_job_begins_its_log_with_its_status_and_its_notices(store: Store) -> None:
    notices = [NoticePayload(code="first", message="A note."), NoticePayload(code="second", message="One more.")]
    job = add_job(store, notices=notices)
    assert job.last_seq == get_job(store, job.id).last_seq == 3
    with store.begin() as tx:
        tx.events.append(job.ref, [log_event("a")])
    with store.read() as tx:
        events = tx.events.after(job.id, 0)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert [event.data.get("code") for event in events] == [None, "first", "second", None]


def test_nothing_to_append(store: Store) -> None:
    with store.begin() as tx:
        assert tx.events.append(JobRef("job-none", 0), []) == []


def test_concurrent_appenders_leave_no_gap(store: Store) -> None:
    job = add_job(store)

    def append(number: int) -> list[int]:
        seqs: list[int] = []
        for batch in range(10):
            with store.begin() as tx:
                new = [log_event(f"{number}/{batch}/{line}") for line in range(batch % 3 + 1)]
                seqs += [event.seq for event in tx.events.append(job.ref, new)]
        return seqs

    results = at_once(6, append)
    given = sorted(seq for seqs in results if isinstance(seqs, list) for seq in seqs)
    with store.read() as tx:
        kept = [event.seq for event in tx.events.after(job.id, 0, limit=1000)]
        texts = [event.data["text"] for event in tx.events.after(job.id, 1, limit=1000)]
    assert given == list(range(2, len(given) + 2))
    assert kept == [1, *given]
    assert len(set(texts)) == 6 * 19
    for number in range(6):
        mine = [text for text in texts if text.startswith(f"{number}/")]
        assert mine == sorted(mine)


def test_rolled_back_numbers_are_given_again(store: Store) -> None:
    job = add_job(store)

    def append_and_fail() -> None:
        with store.begin() as tx:
            tx.events.append(job.ref, [log_event("lost")])
            raise LookupError

    with pytest.raises(LookupError):
        append_and_fail()
    with store.begin() as tx:
        (event,) = tx.events.append(job.ref, [log_event("kept")])
    assert event.seq == 2


def test_stale_attempt_is_refused(store: Store) -> None:
    stale = start(store, add_job(store).id)
    newest = retry(store, stale)
    before = get_job(store, stale.id)
    for ref in (stale, JobRef(stale.id, 0), JobRef("job-none", 0)):
        with pytest.raises(StaleJobError), store.begin() as tx:
            tx.events.append(ref, [log_event("late")])
    assert get_job(store, stale.id) == before
    with store.begin() as tx:
        (event,) = tx.events.append(newest, [log_event("in time")])
    assert (event.seq, event.attempt) == (before.last_seq + 1, 2)


def test_limit_and_kinds(store: Store) -> None:
    job = add_job(store)
    metric = NewEvent(MetricsPayload(step=1, values={"loss": 0.5}), NOW)
    with store.begin() as tx:
        tx.events.append(job.ref, [log_event("a"), metric, log_event("b"), metric])
    with store.read() as tx:
        assert [event.seq for event in tx.events.after(job.id, 1, limit=2)] == [2, 3]
        assert [event.seq for event in tx.events.after(job.id, 0, kinds=[EventKind.METRICS])] == [3, 5]
        assert tx.events.after(job.id, 0, kinds=[]) == []
        assert tx.events.after(job.id, 5) == []


def test_tail_is_the_end_in_order(store: Store) -> None:
    job = add_job(store)
    with store.begin() as tx:
        tx.events.append(job.ref, [log_event(str(line)) for line in range(5)])
        tx.events.append(job.ref, [NewEvent(NoticePayload(code="x", message="y"), NOW)])
    with store.read() as tx:
        assert [event.data["text"] for event in tx.events.tail(job.id, EventKind.LOG, 2)] == ["3", "4"]
        assert len(tx.events.tail(job.id, EventKind.LOG, 99)) == 5


def test_the_newest_of_each_kind_and_attempt(store: Store) -> None:
    first = start(store, add_job(store).id)
    with store.begin() as tx:
        tx.events.append(first, [log_event("a"), NewEvent(MetricsPayload(step=1), NOW), log_event("b")])
    second = retry(store, first)
    with store.begin() as tx:
        tx.events.append(second, [NewEvent(MetricsPayload(step=step), NOW) for step in (2, 3)])
    with store.read() as tx:
        found = tx.events.newest_of_attempts(first.id, (EventKind.LOG, EventKind.METRICS))
    assert [(event.attempt, event.kind, event.data.get("step", event.data.get("text"))) for event in found] == [
        (1, EventKind.METRICS, 1),
        (1, EventKind.LOG, "b"),
        (2, EventKind.METRICS, 3),
    ]


def test_data_fits_json_and_both_databases(store: Store) -> None:
    job = add_job(store)
    data = {"text": "nul \x00, half \ud83e, whole 🦊", "values": [float("nan"), float("-inf"), 1.5, None, True, 3]}
    with store.begin() as tx:
        returned = tx.events.append(job.ref, [NewEvent(SamplePayload(**data), NOW)])
    with store.read() as tx:
        assert tx.events.after(job.id, 1) == returned
    assert returned[0].data == {
        "text": "nul \ufffd, half ?, whole 🦊",
        "values": [None, None, 1.5, None, True, 3],
    }
