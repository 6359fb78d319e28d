"""The files of a job, appended ones too, and the one way out of a completed job."""

import pytest

from ftlab.errors import ConflictError
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import NOW, add_job, claim, dataset, get_job, later, model, reach
from tracking.store import StaleJobError, Store
from tracking.store.records import JobRecord, JobRef

S = JobStatus


def job_with(store: Store, files: list[str]) -> JobRecord:
    """As a submit makes it."""
    job = add_job(store, config={"dataset": files if len(files) > 1 else files[0], "name": "mine"})
    if len(files) > 1:
        with store.begin() as tx:
            tx.job_files.add(job.id, files, now=NOW)
    return job


def files_of(store: Store, job_id: str) -> list[str]:
    with store.read() as tx:
        return tx.job_files.of_job(job_id)


@pytest.mark.parametrize("files", [["ds-b"], ["ds-b", "ds-a", "ds-b"]])
def test_appended_files_come_behind_those_that_are_there(store: Store, files: list[str]) -> None:
    job, other = job_with(store, files), job_with(store, ["ds-x", "ds-y"])
    assert files_of(store, job.id) == (files if len(files) > 1 else [])
    for number, added in enumerate((["ds-d", "ds-c"], ["ds-b"]), 1):
        files = [*files, *added]
        with store.begin() as tx:
            assert tx.job_files.append(tx.jobs.lock(job.ref), added, now=later(number)) == files
    longer = get_job(store, job.id)
    assert (files_of(store, job.id), longer.num_files) == (files, len(files))
    assert longer.submitted_config == job.submitted_config | {"dataset": files}
    assert longer.config == job.config.model_copy(update={"dataset": files})
    assert longer.updated_at == later(2)
    assert get_job(store, other.id) == other


def test_appended_files_are_new_until_the_next_attempt_begins(store: Store) -> None:
    job = job_with(store, ["ds-a"])
    claim(store, job.id)
    assert not get_job(store, job.id).has_new_files
    with store.begin() as tx:
        tx.job_files.append(tx.jobs.lock(JobRef(job.id, 1)), ["ds-b"], now=NOW)
        tx.attempts.end(JobRef(job.id, 1), reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(JobRef(job.id, 1), S.QUEUED, now=NOW)
    assert get_job(store, job.id).has_new_files
    claim(store, job.id)
    assert not get_job(store, job.id).has_new_files


def test_a_dataset_of_an_unfinished_job_stays_wherever_it_comes(store: Store) -> None:
    with store.begin() as tx:
        for dataset_id in ("ds-a", "ds-b"):
            tx.datasets.add(dataset(dataset_id))
    job = job_with(store, ["ds-a", "ds-b"])
    with pytest.raises(ConflictError, match=job.id), store.begin() as tx:
        tx.datasets.remove("ds-b", owner="local")
    with store.begin() as tx:
        tx.jobs.move(job.ref, S.CANCELLING, now=NOW)
        tx.jobs.move(job.ref, S.CANCELLED, now=NOW)
        tx.datasets.remove("ds-b", owner="local")


@pytest.mark.parametrize("status", list(JobStatus))
def test_only_a_completed_job_is_reopened(store: Store, status: JobStatus) -> None:
    ref = reach(store, status)
    before = get_job(store, ref.id)
    if status is not S.COMPLETED:
        with pytest.raises(StaleJobError), store.begin() as tx:
            tx.jobs.reopen(ref, message="More.", now=later(1))
        assert get_job(store, ref.id) == before
        return
    with store.begin() as tx:
        event = tx.jobs.reopen(ref, message="More.", now=later(1))
    after = get_job(store, ref.id)
    assert (after.status, after.message, after.reason, after.finished_at) == (S.QUEUED, "More.", None, None)
    assert event.data == {"status": "queued", "message": "More.", "reason": None}
    assert event.seq == after.last_seq == before.last_seq + 1
    assert (after.started_at, after.queue_seq) == (before.started_at, before.queue_seq)
    with pytest.raises(StaleJobError), store.begin() as tx:
        tx.jobs.reopen(ref, message="Again.", now=later(2))


def test_a_reopened_job_has_its_model_and_all_its_retries(store: Store) -> None:
    job = add_job(store)
    ref = claim(store, job.id)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(ref, S.QUEUED, now=NOW, retries_used=2)
    ref = claim(store, job.id)
    with store.begin() as tx:
        tx.jobs.move(ref, S.INITIALIZING, now=NOW)
        tx.models.add(model(job.id))
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(ref, S.COMPLETED, now=NOW, model_id="model-1")
        tx.jobs.reopen(ref, message="More.", now=NOW)
    again = get_job(store, job.id)
    assert (again.model_id, again.retries_used) == ("model-1", 0)
    assert claim(store, job.id) == JobRef(job.id, 3)


def test_where_a_job_is_in_its_files_is_kept(store: Store) -> None:
    ref = reach(store, S.RUNNING)
    assert (get_job(store, ref.id).file, get_job(store, ref.id).file_progress) == (None, None)
    progress = {"step": 5, "total_steps": 10, "epoch": 0.5, "now": NOW}
    with store.begin() as tx:
        assert tx.jobs.record_progress(ref, file=2, file_progress=0.25, **progress)
        assert tx.jobs.record_progress(ref, **progress)
    assert (get_job(store, ref.id).file, get_job(store, ref.id).file_progress) == (2, 0.25)
