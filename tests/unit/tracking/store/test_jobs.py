"""Submitting, finding, listing and starting jobs."""

from datetime import timedelta, timezone

import pytest

from ftlab.errors import ConflictError, MalformedRequestError, NotFoundError
from ftlab.schemas import JobConfig
from ftlab.status import JobStatus, Phase, ReasonCode
from tests.support.databases import change_config
from tests.unit.tracking.samples import (
    NOW,
    add_job,
    at_once,
    claim,
    get_job,
    hold_lease,
    later,
    reach,
    retry,
    start,
)
from tracking.store import DuplicateError, StaleJobError, Store
from tracking.store.ids import new_id
from tracking.store.records import JobRecord, JobRef, MlflowCursor, UnreadableConfig

S = JobStatus


def test_added_job_is_what_was_returned(store: Store) -> None:
    job = add_job(store, name="ünïcode 🦊", config={"eval_dataset": "ds-2", "time_limit_s": 60})
    assert get_job(store, job.id) == job
    assert isinstance(job.config, JobConfig)
    assert list(job.submitted_config) == [name for name in JobConfig.model_fields if name != "kind"]
    assert job.submitted_config["training"]["learning_rate"] is None
    assert job.config.training.learning_rate == job.config.learning_rate
    assert (job.status, job.attempt, job.last_seq, job.ref) == (S.QUEUED, 0, 1, JobRef(job.id, 0))
    with store.read() as tx:
        (event,) = tx.events.after(job.id, 0)
    assert (event.seq, event.attempt, event.at) == (1, 0, NOW)
    assert event.data == {"status": "queued", "message": S.QUEUED.sentence, "reason": None}


def test_equal_configs_are_parsed_once(store: Store) -> None:
    first, second = (add_job(store, config={"time_limit_s": 77}).id for _ in range(2))
    assert get_job(store, first).config is get_job(store, second).config


def test_a_config_that_another_version_wrote_is_a_record_of_what_is_wrong(store: Store) -> None:
    job = add_job(store)
    change_config(store, job.id, method={"type": "unheard"})
    found = get_job(store, job.id)
    assert found.config == UnreadableConfig("method.type must be 'sft', 'dpo', 'kto', 'reward' or 'grpo'.")
    assert (found.submitted_config, found.dataset_ids) == (job.submitted_config, ["ds-1"])


def test_times_come_back_aware_and_in_utc(store: Store) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    added = add_job(store, now=elsewhere)
    job = get_job(store, added.id)
    assert job == added
    assert job.created_at == NOW
    assert job.created_at.utcoffset() == timedelta(0)


def test_naive_time_is_refused(store: Store) -> None:
    ref = reach(store, S.RUNNING)
    with pytest.raises(Exception, match="without a timezone"), store.begin() as tx:
        tx.jobs.move(ref, S.FAILED, now=NOW.replace(tzinfo=None))
    assert get_job(store, ref.id).status is S.RUNNING


def test_unknown_job(store: Store) -> None:
    with pytest.raises(NotFoundError) as caught, store.read() as tx:
        tx.jobs.get("job-none")
    error = caught.value
    assert (error.code, error.param, error.message) == ("job_not_found", "job_id", "There is no job 'job-none'.")


def test_foreign_job_looks_unknown(store: Store) -> None:
    job = add_job(store, owner="ann", name="hers")
    with store.read() as tx:
        assert tx.jobs.get(job.id, owner="ann") == job
        with pytest.raises(NotFoundError):
            tx.jobs.get(job.id, owner="bob")
        for text in (job.id, "hers", job.id[:8]):
            with pytest.raises(NotFoundError):
                tx.jobs.resolve(text, owner="bob")
        assert tx.jobs.list(owner="bob") == []


class TestIdempotency:
    def test_key_leads_to_the_job(self, store: Store) -> None:
        job = add_job(store, idempotency_key="k", body_sha256="abc")
        with store.read() as tx:
            assert tx.jobs.find_idempotent("local", "k") == (job.id, "abc")
            assert tx.jobs.find_idempotent("local", "other") is None
            assert tx.jobs.find_idempotent("bob", "k") is None

    def test_second_use_adds_nothing(self, store: Store) -> None:
        job = add_job(store, idempotency_key="k")
        with pytest.raises(DuplicateError):
            add_job(store, idempotency_key="k")
        add_job(store, owner="bob", idempotency_key="k")
        with store.read() as tx:
            assert [found.id for found in tx.jobs.list(owner="local")] == [job.id]

    def test_race_makes_one_job(self, store: Store) -> None:
        results = at_once(8, lambda _: add_job(store, idempotency_key="k", body_sha256="abc"))
        winners = [result for result in results if isinstance(result, JobRecord)]
        assert len(winners) == 1
        assert sum(isinstance(result, DuplicateError) for result in results) == 7
        with store.read() as tx:
            assert [job.id for job in tx.jobs.list()] == [winners[0].id]
            assert tx.jobs.find_idempotent("local", "k") == (winners[0].id, "abc")


class TestResolve:
    def test_id_name_and_prefix(self, store: Store) -> None:
        job = add_job(store, job_id="job-abc123000000", name="first")
        add_job(store, job_id="job-abd000000000", name="second")
        with store.read() as tx:
            for text in ("job-abc123000000", "first", "job-abc", "abc", "abc123000000"):
                assert tx.jobs.resolve(text, owner="local").id == job.id

    def test_id_goes_before_name(self, store: Store) -> None:
        job = add_job(store)
        add_job(store, name=job.id)
        with store.read() as tx:
            assert tx.jobs.resolve(job.id, owner="local") == job

    @pytest.mark.parametrize("text", ["twin", "job-", "a"])
    def test_ambiguous_names_five_ids(self, store: Store, text: str) -> None:
        ids = [add_job(store, job_id=f"job-a{number:011d}", name="twin").id for number in range(7)]
        with pytest.raises(ConflictError) as caught, store.read() as tx:
            tx.jobs.resolve(text, owner="local")
        assert caught.value.code == "ambiguous"
        assert [job_id for job_id in ids if job_id in caught.value.message] == ids[-5:]

    @pytest.mark.parametrize("text", ["none", "%", "_", "JOB-A", ""])
    def test_nothing_fits(self, store: Store, text: str) -> None:
        add_job(store, job_id="job-abc123000000")
        with store.read() as tx:
            if text == "":
                assert tx.jobs.resolve(text, owner="local")
            else:
                with pytest.raises(NotFoundError):
                    tx.jobs.resolve(text, owner="local")


class TestList:
    def test_pages_by_key(self, store: Store) -> None:
        ids = [add_job(store).id for _ in range(7)]
        with store.read() as tx:
            pages = []
            after = None
            while page := tx.jobs.list(owner="local", after=after, limit=3):
                pages.append([job.id for job in page])
                after = page[-1].id
        assert pages == [ids[:3:-1], ids[3:0:-1], ids[:1]]

    def test_page_stays_where_it_is_when_jobs_come_in(self, store: Store) -> None:
        ids = [add_job(store).id for _ in range(4)]
        add_job(store)
        with store.read() as tx:
            assert [job.id for job in tx.jobs.list(after=ids[2], limit=2)] == [ids[1], ids[0]]

    def test_filters(self, store: Store) -> None:
        running = reach(store, S.RUNNING).id
        failed = reach(store, S.FAILED).id
        queued = add_job(store, owner="bob").id
        with store.read() as tx:
            assert [job.id for job in tx.jobs.list(owner="local", statuses=[S.RUNNING, S.FAILED])] == [failed, running]
            assert [job.id for job in tx.jobs.list(owner="local", statuses=[S.RUNNING, S.RUNNING])] == [running]
            assert [job.id for job in tx.jobs.list(owner="bob")] == [queued]
            assert tx.jobs.list(owner="local", statuses=[]) == []

    @pytest.mark.parametrize("owner", ["bob", "ann"])
    def test_statuses_page_like_the_whole(self, store: Store, owner: str) -> None:
        statuses = [S.QUEUED, S.FAILED, S.CANCELLED]
        jobs = [add_job(store, owner="ann" if number % 4 else "bob") for number in range(24)]
        for number, job in enumerate(jobs):
            with store.begin() as tx:
                if number % 3:
                    tx.jobs.move(job.ref, S.PAUSED if number % 3 == 1 else S.FAILED, now=NOW)
        with store.read() as tx:
            everything = tx.jobs.list(owner=owner, limit=100)
            found: list[JobRecord] = []
            while page := tx.jobs.list(owner=owner, statuses=statuses, after=found[-1].id if found else None, limit=4):
                found += page
        assert len(found) > 1
        assert found == [job for job in everything if job.status in statuses]

    @pytest.mark.parametrize("owner", [None, "local"])
    def test_forged_cursor(self, store: Store, owner: str | None) -> None:
        foreign = add_job(store, owner="bob").id
        after = "job-none" if owner is None else foreign
        with pytest.raises(MalformedRequestError) as caught, store.read() as tx:
            tx.jobs.list(owner=owner, after=after)
        assert (caught.value.code, caught.value.param) == ("invalid_cursor", "after")


def test_live_jobs(store: Store) -> None:
    refs = {status: reach(store, status) for status in JobStatus}
    expected = [S.PENDING, S.INITIALIZING, S.RUNNING, S.PAUSING, S.CANCELLING]
    with store.read() as tx:
        assert [job.id for job in tx.jobs.live()] == [refs[status].id for status in expected]


class TestClaim:
    def test_opens_the_next_attempt(self, store: Store) -> None:
        job = add_job(store)
        epoch = hold_lease(store).epoch
        with store.begin() as tx:
            attempt = tx.jobs.claim(
                job.id, driver="run-1", cpus=3, gpus=0.25, resumed_from_step=40, epoch=epoch, now=later(1)
            )
        with store.read() as tx:
            assert tx.attempts.get(JobRef(job.id, 1)) == attempt
            claimed = tx.jobs.get(job.id)
            event = tx.events.after(job.id, 1)[0]
        assert (attempt.cpus, attempt.gpus, attempt.resumed_from_step) == (3, 0.25, 40)
        assert (claimed.status, claimed.attempt, claimed.last_seq) == (S.PENDING, 1, 2)
        assert (event.attempt, event.data["status"]) == (1, "pending")

    def test_old_lease_epoch_is_refused(self, store: Store) -> None:
        job = add_job(store)
        old = hold_lease(store, "first")
        with store.begin() as tx:
            tx.leases.acquire("coordinator", "second", ttl_s=10, now=NOW)
        with pytest.raises(StaleJobError), store.begin() as tx:
            tx.jobs.claim(job.id, driver="d", cpus=1, gpus=0, epoch=old.epoch, now=NOW)
        assert get_job(store, job.id) == job

    def test_without_any_lease_is_refused(self, store: Store) -> None:
        job = add_job(store)
        with pytest.raises(StaleJobError), store.begin() as tx:
            tx.jobs.claim(job.id, driver="d", cpus=1, gpus=0, epoch=1, now=NOW)

    @pytest.mark.parametrize("status", [status for status in JobStatus if status is not S.QUEUED])
    def test_only_queued_jobs(self, store: Store, status: JobStatus) -> None:
        ref = reach(store, status)
        with pytest.raises(StaleJobError):
            claim(store, ref.id)

    def test_not_while_an_attempt_is_live(self, store: Store) -> None:
        ref = start(store, add_job(store).id)
        with store.begin() as tx:
            tx.jobs.move(ref, S.QUEUED, now=NOW)
        with pytest.raises(StaleJobError):
            claim(store, ref.id)

    def test_race_makes_one_attempt(self, store: Store) -> None:
        job = add_job(store)
        hold_lease(store)
        results = at_once(6, lambda _: claim(store, job.id))
        assert sorted(type(result) is StaleJobError for result in results) == [False] + [True] * 5
        with store.read() as tx:
            assert len(tx.attempts.of_job(job.id)) == 1


class TestProgress:
    def test_is_kept(self, store: Store) -> None:
        ref = reach(store, S.RUNNING)
        with store.begin() as tx:
            assert tx.jobs.record_progress(
                ref, step=3, total_steps=9, epoch=0.5, loss=1.25, eval_loss=2.5, eta_s=60.0, now=later(1)
            )
            assert tx.jobs.record_progress(
                ref, step=4, total_steps=9, epoch=0.6, loss=float("nan"), eta_s=float("inf"), now=later(2)
            )
        job = get_job(store, ref.id)
        assert (job.step, job.total_steps, job.epoch, job.updated_at) == (4, 9, 0.6, later(2))
        assert (job.loss, job.eval_loss, job.eta_s) == (1.25, 2.5, None)

    def test_stale_and_ended_attempts_are_refused(self, store: Store) -> None:
        stale = start(store, add_job(store).id)
        newest = retry(store, stale)
        with store.begin() as tx:
            tx.attempts.end(newest, reason=ReasonCode.OK, message=None, now=NOW)
        before = get_job(store, stale.id)
        with store.begin() as tx:
            for ref in (stale, newest, JobRef("job-none", 1)):
                assert not tx.jobs.record_progress(ref, step=9, total_steps=9, epoch=1.0, now=NOW)
        assert get_job(store, stale.id) == before

    def test_estimate_and_phase_end_with_the_run(self, store: Store) -> None:
        ref = reach(store, S.RUNNING)
        with store.begin() as tx:
            tx.jobs.record_progress(ref, step=3, total_steps=9, epoch=0.5, eta_s=60.0, now=NOW)
            tx.jobs.record_progress(ref, step=3, total_steps=None, epoch=None, phase=Phase.SAVING, now=NOW)
        assert get_job(store, ref.id).phase is Phase.SAVING
        with store.begin() as tx:
            tx.jobs.move(ref, S.FAILED, now=NOW)
        job = get_job(store, ref.id)
        assert (job.step, job.total_steps, job.epoch, job.eta_s, job.phase) == (3, 9, 0.5, None, None)


def test_model_revision_is_pinned_once(store: Store) -> None:
    first = start(store, add_job(store).id)
    with store.begin() as tx:
        assert tx.jobs.set_model_revision(first, "abc") == "abc"
    second = retry(store, first)
    with store.begin() as tx:
        assert tx.jobs.set_model_revision(second, "def") == "abc"
    with pytest.raises(StaleJobError), store.begin() as tx:
        tx.jobs.set_model_revision(first, "ghi")
    assert get_job(store, first.id).model_revision == "abc"


def test_mlflow_cursor(store: Store) -> None:
    ahead, behind, _ = add_job(store), add_job(store), add_job(store)
    for job in (ahead, behind):
        claim(store, job.id)  # the third has not begun: there is nothing to record
    with store.begin() as tx:
        tx.jobs.set_mlflow(ahead.id, run_id="run", cursor=MlflowCursor(2, 7, 5))
        tx.jobs.set_mlflow(ahead.id, cursor=MlflowCursor())
        tx.jobs.set_mlflow(ahead.id)
    job = get_job(store, ahead.id)
    assert (job.mlflow_run_id, job.mlflow_cursor) == ("run", MlflowCursor(2, 7, 5))
    with store.read() as tx:
        assert [job.id for job in tx.jobs.behind_mlflow()] == [behind.id]
        assert tx.jobs.behind_mlflow(limit=0) == []


def test_ids_are_long_random_and_lowercase() -> None:
    ids = {new_id("job") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(job_id.startswith("job-") and job_id[4:].isalnum() for job_id in ids)
    assert all(len(job_id) == 16 and job_id == job_id.lower() for job_id in ids)
