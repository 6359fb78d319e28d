"""Deleting a job removes all of it and nothing else."""

from dataclasses import replace
from datetime import UTC
from pathlib import Path
from threading import Event, Thread
from time import sleep

import pytest
from sqlalchemy import func, select

from ftlab.errors import ConflictError, FineTuneLabError, MalformedRequestError, NotFoundError
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import (
    NOW,
    add_job,
    checkpoint,
    claim,
    dataset,
    log_event,
    model,
    point,
    reach,
    start,
)
from tracking.deleted_folders import remove_folder, remove_left_folders
from tracking.store import JobBusyError, Store
from tracking.store.deleted_rows import deleted_records
from tracking.store.records import JobRef, MlflowCursor
from tracking.store.rows import jobs, metadata
from tracking.store.telemetry import SeriesKey
from tracking.store.telemetry_points import from_readings

S = JobStatus
LOAD = from_readings([(NOW.timestamp(), {"utilization_percent": 90.0})])
KEPT = {"deleted_records", "idempotency_keys", "datasets", "leases", "owner_usage"}


def ended_job(store: Store, model_id: str = "mdl-1", **changes: object) -> JobRef:
    """A completed job with a record in every table, whose devices are released and counted."""
    ref = start(store, add_job(store, **changes).id)  # type: ignore[arg-type]
    with store.begin() as tx:
        tx.job_files.add(ref.id, ["ds-1", "ds-2"], now=NOW)
        tx.metrics.add([point(ref.id, 1)])
        tx.telemetry.add(SeriesKey("alpha", "gpu-0", ref.id, 1), LOAD)
        tx.events.append(ref, [log_event("hello")])
        tx.checkpoints.add(ref, checkpoint(ref.id, 5))
        tx.models.add(model(ref.id, model_id))
        tx.jobs.move(ref, S.COMPLETED, now=NOW)
    settle(store, ref)
    return ref


def settle(store: Store, ref: JobRef) -> None:
    """Do what the scheduler and the recorder do after the end of a job."""
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
        tx.attempts.count(ref, now=NOW)
        tx.usage.add("local", 60.0, now=NOW)
        tx.attempts.released(ref)
        tx.jobs.set_mlflow(ref.id, cursor=MlflowCursor(tx.jobs.get(ref.id).last_seq))


def delete(store: Store, job_id: str) -> None:
    with store.begin() as tx:
        tx.deletions.delete_job(job_id, now=NOW)


def counts(store: Store) -> dict[str, int]:
    with store._database.reading() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


def test_nothing_of_the_job_stays_and_everything_else_does(store: Store) -> None:
    ended_job(store, "mdl-0", job_id="job-other")
    before = counts(store)
    ref = ended_job(store, job_id="job-gone", idempotency_key="k", body_sha256="abc")
    with store.begin() as tx:
        usage = tx.usage.all(now=NOW)
    delete(store, ref.id)
    after = counts(store)
    assert {name: after[name] for name in after.keys() - KEPT} == {name: before[name] for name in after.keys() - KEPT}
    with store.read() as tx:
        assert tx.usage.all(now=NOW) == usage != {}
        assert tx.jobs.find_idempotent("local", "k") == ("job-gone", "abc")
        assert tx.jobs.get("job-other").status is S.COMPLETED
        assert [(one.id, one.job_id) for one in tx.models.list(owner="local")] == [("mdl-0", "job-other")]
        assert tx.deletions.was_deleted("job-gone", owner="local")
        assert not tx.deletions.was_deleted("job-gone", owner="somebody")
        with pytest.raises(NotFoundError):
            tx.jobs.get("job-gone")


def test_disk_use_shrinks(store: Store) -> None:
    ref = ended_job(store)
    with store.read() as tx:
        assert tx.usage.disk_bytes("local") == 5_000_000_000
    delete(store, ref.id)
    with store.read() as tx:
        assert tx.usage.disk_bytes("local") == 0


@pytest.mark.parametrize("status", [status for status in S if not status.is_terminal])
def test_an_unfinished_job_is_refused(store: Store, status: JobStatus) -> None:
    ref = reach(store, status)
    with pytest.raises(ConflictError, match=f"is {status}.*ftlab cancel {ref.id}") as caught:
        delete(store, ref.id)
    assert caught.value.code == "job_not_ended"


def test_unknown_and_deleted_jobs_are_not_found(store: Store) -> None:
    ref = ended_job(store)
    delete(store, ref.id)
    for job_id in (ref.id, "job-unknown"):
        with pytest.raises(NotFoundError):
            delete(store, job_id)


def test_a_queued_job_that_was_cancelled_has_nothing_to_wait_for(store: Store) -> None:
    delete(store, reach(store, S.CANCELLED).id)


def test_what_the_service_still_needs_is_kept(store: Store) -> None:
    """Devices to count and to release, and events that MLflow does not have."""
    ref = start(store, add_job(store).id)
    with store.begin() as tx:
        tx.attempts.set_processes(ref, placement_groups=["abc"])
        tx.jobs.move(ref, S.FAILED, now=NOW)
    codes = []
    steps = (
        lambda tx: tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW),
        lambda tx: tx.attempts.count(ref, now=NOW),
        lambda tx: tx.attempts.released(ref),
        lambda tx: tx.jobs.set_mlflow(ref.id, cursor=MlflowCursor(tx.jobs.get(ref.id).last_seq)),
    )
    for step in steps:
        with pytest.raises(JobBusyError) as caught:
            delete(store, ref.id)
        codes.append(caught.value.code)
        with store.begin() as tx:
            step(tx)
    delete(store, ref.id)
    assert codes == ["job_ending", "job_ending", "job_ending", "job_not_recorded"]


class TestBase:
    def test_an_unfinished_job_that_starts_from_it_is_named(self, store: Store) -> None:
        base = ended_job(store)
        user = add_job(store, base_job_id=base.id)
        with pytest.raises(ConflictError, match=user.id) as caught:
            delete(store, base.id)
        assert caught.value.code == "model_in_use"
        with store.begin() as tx:
            tx.jobs.move(user.ref, S.CANCELLING, now=NOW)
            tx.jobs.move(user.ref, S.CANCELLED, now=NOW)
        delete(store, base.id)
        with store.read() as tx:
            assert tx.jobs.bases_of(user.id) == [base.id]

    def test_one_that_is_being_cancelled_is_waited_for(self, store: Store) -> None:
        base = ended_job(store)
        cancelling, other = (start(store, add_job(store, base_job_id=base.id).id) for _ in range(2))
        with store.begin() as tx:
            tx.jobs.move(cancelling, S.CANCELLING, now=NOW)
        with pytest.raises(ConflictError, match=other.id) as caught:
            delete(store, base.id)
        assert not isinstance(caught.value, JobBusyError)
        with store.begin() as tx:
            tx.jobs.move(other, S.FAILED, now=NOW)
        with pytest.raises(JobBusyError, match=cancelling.id):
            delete(store, base.id)

    def test_an_adapter_in_between_may_need_it(self, store: Store) -> None:
        base = ended_job(store)
        between = ended_job(store, "mdl-2", base_job_id=base.id)
        user = add_job(store, base_job_id=between.id)
        for job in (base, between):
            with pytest.raises(ConflictError, match=user.id):
                delete(store, job.id)

    def test_a_submit_that_holds_the_base_comes_first(self, store: Store) -> None:
        """The deletion waits for the submit and then sees its job."""
        base, is_held, refused = ended_job(store), Event(), []

        def delete_meanwhile() -> None:
            is_held.wait()
            try:
                delete(store, base.id)
            except FineTuneLabError as error:
                refused.append(error.code)

        deleting = Thread(target=delete_meanwhile)
        deleting.start()
        with store.begin() as tx:
            tx.jobs.hold(base.id)
            is_held.set()
            sleep(0.2)
            config = tx.jobs.get(base.id).config
            tx.jobs.add("job-next", owner="local", name="next", config=config, now=NOW, base_job_id=base.id)  # type: ignore[arg-type]
        deleting.join()
        assert refused == ["model_in_use"]

    def test_a_deleted_base_cannot_be_held(self, store: Store) -> None:
        base = ended_job(store)
        delete(store, base.id)
        with store.begin() as tx, pytest.raises(NotFoundError):
            tx.jobs.hold(base.id)


class TestPages:
    def test_a_list_can_be_deleted_while_it_is_read(self, store: Store) -> None:
        made = [ended_job(store, f"mdl-{number}").id for number in range(5)]
        seen: list[str] = []
        after = None
        while True:
            with store.read() as tx:
                page = tx.jobs.list(owner="local", after=after, limit=2)
            if not page:
                break
            for job in page:
                delete(store, job.id)
                seen.append(job.id)
            after = seen[-1]
        assert seen == made[::-1]

    def test_so_can_the_models(self, store: Store) -> None:
        refs = [ended_job(store, f"mdl-{number}") for number in range(3)]
        delete(store, refs[1].id)
        with store.read() as tx:
            assert [one.id for one in tx.models.list(owner="local", after="mdl-1")] == ["mdl-0"]

    @pytest.mark.parametrize("after", ["mdl-1", "job-unknown"])
    def test_other_cursors_are_refused(self, store: Store, after: str) -> None:
        delete(store, ended_job(store).id)
        with store.read() as tx, pytest.raises(MalformedRequestError):
            tx.jobs.list(owner="local", after=after)

    def test_nobody_continues_after_the_job_of_another_owner(self, store: Store) -> None:
        ref = ended_job(store)
        delete(store, ref.id)
        with store.read() as tx, pytest.raises(MalformedRequestError):
            tx.jobs.list(owner="somebody", after=ref.id)


def test_its_datasets_can_be_deleted(store: Store) -> None:
    ref = ended_job(store)
    with store.begin() as tx:
        tx.datasets.add(replace(dataset("ds-2"), canonical="other"))
    delete(store, ref.id)
    with store.begin() as tx:
        tx.datasets.remove("ds-2", owner="local")


def test_late_writes_of_its_attempt_change_nothing(store: Store) -> None:
    ref = ended_job(store)
    delete(store, ref.id)
    with store.begin() as tx:
        assert tx.attempts.heartbeat(ref, now=NOW) is None
        assert not tx.jobs.record_progress(ref, step=9, total_steps=10, epoch=None, now=NOW)
        tx.metrics.add([point(ref.id, 9)])
        tx.telemetry.add(SeriesKey("alpha", "gpu-0", ref.id, 1), LOAD)
        tx.jobs.set_mlflow(ref.id, run_id="run")
        tx.attempts.released(ref)
    assert counts(store)["metrics"] == counts(store)["telemetry"] == counts(store)["jobs"] == 0


def test_the_next_job_is_claimed(store: Store) -> None:
    """On SQLite it gets the number in the queue that the deleted one had."""
    delete(store, ended_job(store).id)
    assert claim(store, add_job(store).id).attempt == 1


@pytest.fixture
def jobs_folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


class TestFolder:
    def test_it_is_removed(self, store: Store, jobs_folder: Path) -> None:
        ref = self._deleted(store, jobs_folder)
        remove_folder(store, jobs_folder, ref.id)
        assert list(jobs_folder.iterdir()) == [jobs_folder / "job-other"]
        with store.read() as tx:
            assert tx.deletions.with_files() == []

    def test_the_next_start_removes_what_a_crash_left_and_nothing_else(self, store: Store, jobs_folder: Path) -> None:
        self._deleted(store, jobs_folder)
        remove_left_folders(store, jobs_folder)
        remove_left_folders(store, jobs_folder)
        assert list(jobs_folder.iterdir()) == [jobs_folder / "job-other"]

    def test_one_that_cannot_be_removed_stays_noted(
        self, store: Store, jobs_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ref = self._deleted(store, jobs_folder)

        def fail(_: Path) -> None:
            raise PermissionError(13, "not allowed")

        monkeypatch.setattr("shutil.rmtree", fail)
        remove_folder(store, jobs_folder, ref.id)
        monkeypatch.undo()
        with store.read() as tx:
            assert tx.deletions.with_files() == [(ref.id, ref.id)]
        remove_left_folders(store, jobs_folder)
        assert not (jobs_folder / ref.id).exists()

    @pytest.mark.parametrize("has_newer", [False, True])
    def test_the_next_start_removes_deleted_models(self, store: Store, jobs_folder: Path, has_newer: bool) -> None:
        """Unless the job has trained again, and delivered its next model to the same place."""
        ref = ended_job(store)
        for name in ("model", "checkpoints"):
            (jobs_folder / ref.id / name).mkdir(parents=True)
        with store.begin() as tx:
            tx.deletions.delete_models(ref.id, now=NOW)
            if has_newer:
                tx.models.add(model(ref.id, "mdl-2"))
        for _ in range(2):
            remove_left_folders(store, jobs_folder)
        left = sorted(folder.name for folder in (jobs_folder / ref.id).iterdir())
        assert left == ["checkpoints", "model"] if has_newer else left == ["checkpoints"]
        with store.read() as tx:
            assert tx.deletions.with_files() == []

    def _deleted(self, store: Store, folder: Path) -> JobRef:
        """A deleted job whose folder is still there, beside one that the database does not know."""
        ref = ended_job(store)
        for name in (ref.id, "job-other"):
            (folder / name / "checkpoints").mkdir(parents=True)
            (folder / name / "checkpoints" / "file").write_text("weights")
        delete(store, ref.id)
        return ref


def test_the_note_says_when(store: Store) -> None:
    ref = ended_job(store)
    delete(store, ref.id)
    with store._database.reading() as connection:
        rows = connection.execute(select(deleted_records).order_by(deleted_records.c.kind)).all()
    assert [(row.id, row.kind, row.deleted_at, row.files_removed_at) for row in rows] == [
        (ref.id, jobs.name, NOW.astimezone(UTC), None),
        ("mdl-1", "models", NOW, NOW),
    ]
