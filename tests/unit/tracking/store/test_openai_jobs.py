"""What OpenAI's requests say about jobs, and the metadata by which jobs are listed."""

import pytest

from ftlab.schemas import EventKind
from ftlab.status import JobStatus
from tests.unit.tracking.samples import NOW, add_job, later
from tracking.store import Store
from tracking.store.openai_jobs import OpenAiJobRecord, has_metadata, has_model, has_no_metadata
from tracking.store.records import JobRef

ODD = 'a "key" [with] 100%_'


def add(store: Store, owner: str = "local", at: float = 0, body: str = "b" * 64, **metadata: str) -> str:
    """A job with these metadata; gives its id."""
    job = add_job(store, owner=owner)
    method = {"type": "supervised"}
    record = OpenAiJobRecord(job.id, owner, "gpt-4o", "tone", method, body, later(at), metadata)
    with store.begin() as tx:
        tx.openai_jobs.add(record)
    return job.id


def listed(store: Store, conditions, owner: str = "local", **page) -> list[str]:
    with store.read() as tx:
        return [job.id for job in tx.jobs.list(owner=owner, conditions=conditions, **page)]


def test_jobs_are_listed_by_their_metadata(store: Store):
    first, second = add(store, team="a", **{ODD: "x"}), add(store, team="a", empty="")
    other, plain, bare = add(store, team="b"), add(store), add_job(store).id
    add(store, owner="somebody", team="a")
    assert listed(store, has_metadata({"team": "a"})) == [second, first]
    assert listed(store, has_metadata({"team": "a", ODD: "x"})) == [first]
    assert listed(store, has_metadata({"empty": ""})) == [second]
    assert listed(store, has_metadata({"team": ""})) == []
    assert listed(store, [has_no_metadata()]) == [bare, plain]
    assert listed(store, has_metadata({"team": "a"}), after=second, limit=1) == [first]
    assert listed(store, [], oldest_first=True, after=second) == [other, plain, bare]
    assert listed(store, [has_model()]) == []


def test_a_record_is_read_as_it_was_written_and_goes_with_its_job(store: Store):
    job, other = add(store, z="1", a="2"), add_job(store).id
    with store.read() as tx:
        found = tx.openai_jobs.of_jobs([job, other])
    assert list(found) == [job]
    assert (found[job].model, found[job].suffix, found[job].method) == ("gpt-4o", "tone", {"type": "supervised"})
    assert (list(found[job].metadata), found[job].created_at) == (["a", "z"], NOW)
    with store.begin() as tx:
        for status in (JobStatus.CANCELLING, JobStatus.CANCELLED):
            tx.jobs.move(JobRef(job, 0), status, now=NOW)
    with store.begin() as tx:
        tx.deletions.delete_job(job, now=NOW)
    with store.read() as tx:
        assert tx.openai_jobs.of_jobs([job]) == {}


def test_the_newest_job_with_a_body_is_found_for_a_while(store: Store):
    old, new = add(store, at=0), add(store, at=10)
    add(store, owner="somebody", at=20)
    with store.read() as tx:
        assert tx.openai_jobs.newest_with_body("local", "b" * 64, later(0)) == new != old
        assert tx.openai_jobs.newest_with_body("local", "b" * 64, later(11)) is None
        assert tx.openai_jobs.newest_with_body("local", "c" * 64, later(0)) is None


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.CANCELLED])
def test_events_are_read_backwards(store: Store, status: JobStatus):
    job = add_job(store)
    if status is JobStatus.CANCELLED:
        with store.begin() as tx:
            for step in (JobStatus.CANCELLING, JobStatus.CANCELLED):
                tx.jobs.move(job.ref, step, now=NOW)
    with store.read() as tx:
        last = tx.jobs.get(job.id).last_seq
        found = tx.events.before(job.id, last + 1, 2, [EventKind.STATUS])
        assert [event.seq for event in found] == list(range(last, max(0, last - 2), -1))
        assert tx.events.before(job.id, 1, 2, [EventKind.STATUS]) == []
        assert tx.events.before(job.id, last + 1, 2, [EventKind.LOG]) == []
