"""The events of all jobs of an owner: numbered in the order of their commits."""

import threading
import time
from datetime import timedelta

from ftlab.status import JobStatus
from tests.unit.tracking.samples import NOW, add_job, at_once, log_event
from tracking.store import Store


def test_each_owner_has_a_log_of_its_own(store: Store) -> None:
    mine, theirs, also_mine = (add_job(store, owner=owner) for owner in ("a", "b", "a"))
    with store.begin() as tx:
        tx.events.append(mine.ref, [log_event("1"), log_event("2")])
    with store.begin() as tx:
        tx.events.append(also_mine.ref, [log_event("3")])
        assert tx.events.last_position("a") == 5
    with store.read() as tx:
        found = tx.events.of_owner("a", 0)
        assert [(event.job_id, event.seq) for event in found] == [
            (mine.id, 1),
            (also_mine.id, 1),
            (mine.id, 2),
            (mine.id, 3),
            (also_mine.id, 2),
        ]
        assert [event.position for event in found] == [1, 2, 3, 4, 5]
        assert {event.owner for event in found} == {"a"}
        assert tx.events.of_owner("a", 3, limit=1) == found[3:4]
        assert [event.job_id for event in tx.events.of_owner("b", 0)] == [theirs.id]
        assert tx.events.last_position("nobody") == 0


def test_a_reader_misses_nothing_that_is_committed_later(store: Store) -> None:
    """Writers that commit in another order than they begin cannot make an event appear behind a reader."""
    jobs = [add_job(store) for _ in range(4)]
    done = threading.Event()
    seen: list[tuple[str, int]] = []

    def read() -> None:
        position = 0
        while True:
            is_last = done.is_set()
            with store.read() as tx:
                found = tx.events.of_owner("local", position, limit=7)
            for event in found:
                assert event.position > position
                position = event.position
                seen.append((event.job_id, event.seq))
            if is_last and not found:
                return

    def append(number: int) -> None:
        for batch in range(8):
            with store.begin() as tx:
                if number % 2:
                    time.sleep(0.004)
                tx.events.append(jobs[number].ref, [log_event(str(line)) for line in range(batch % 3 + 1)])
                time.sleep(0.002 * (batch % 2))

    reader = threading.Thread(target=read)
    reader.start()
    at_once(4, append)
    done.set()
    reader.join()
    with store.read() as tx:
        written = {(job.id, event.seq) for job in jobs for event in tx.events.after(job.id, 0)}
        assert tx.events.last_position("local") == len(written) == len(seen)
    assert set(seen) == written


def test_the_numbers_of_a_deleted_job_are_never_given_again(store: Store) -> None:
    kept, deleted = add_job(store), add_job(store)
    with store.begin() as tx:
        for status in (JobStatus.CANCELLING, JobStatus.CANCELLED):
            tx.jobs.move(deleted.ref, status, now=NOW)
    with store.begin() as tx:
        tx.deletions.delete_job(deleted.id, now=NOW + timedelta(days=1))
    with store.begin() as tx:
        tx.events.append(kept.ref, [log_event("later")])
    with store.read() as tx:
        assert [event.position for event in tx.events.of_owner("local", 0)] == [1, 5]


def test_a_transaction_that_fails_leaves_no_hole(store: Store) -> None:
    job = add_job(store)
    try:
        with store.begin() as tx:
            tx.events.append(job.ref, [log_event("lost")])
            raise LookupError
    except LookupError:
        pass
    with store.begin() as tx:
        [kept] = tx.events.append(job.ref, [log_event("kept")])
    assert kept.position == 2
