"""Checkpoints, datasets and models."""

import pytest

from ftlab.errors import ConflictError, MalformedRequestError, NotFoundError
from ftlab.schemas import JobConfig
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import (
    NOW,
    add_job,
    at_once,
    checkpoint,
    dataset,
    model,
    reach,
    retry,
    start,
)
from tracking.store import DuplicateError, StaleJobError, Store
from tracking.store.records import JobRef


class TestCheckpoints:
    @pytest.fixture
    def ref(self, store: Store) -> JobRef:
        return start(store, add_job(store).id)

    def test_newest_step_first(self, store: Store, ref: JobRef) -> None:
        records = [checkpoint(ref.id, step) for step in (20, 10, 30)]
        with store.begin() as tx:
            for record in records:
                tx.checkpoints.add(ref, record)
        with store.read() as tx:
            assert tx.checkpoints.of_job(ref.id) == [records[2], records[0], records[1]]
            assert tx.checkpoints.get(ref.id, "step-00000010") == records[1]

    def test_same_step_again_replaces_it(self, store: Store, ref: JobRef) -> None:
        with store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(ref.id, 10))
        newest = retry(store, ref)
        again = checkpoint(ref.id, 10, newest.attempt, manifest_sha256="e" * 64)
        with store.begin() as tx:
            tx.checkpoints.add(newest, again)
            assert tx.checkpoints.of_job(ref.id) == [again]

    def test_stale_attempt_is_refused(self, store: Store, ref: JobRef) -> None:
        retry(store, ref)
        with pytest.raises(StaleJobError), store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(ref.id, 10))
        with store.read() as tx:
            assert tx.checkpoints.of_job(ref.id) == []

    def test_ended_attempt_is_refused(self, store: Store, ref: JobRef) -> None:
        with store.begin() as tx:
            tx.attempts.end(ref, reason=ReasonCode.WORKER_HUNG, message=None, now=NOW)
        with pytest.raises(StaleJobError), store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(ref.id, 10))

    def test_one_best(self, store: Store, ref: JobRef) -> None:
        with store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(ref.id, 10, is_best=True))
            tx.checkpoints.add(ref, checkpoint(ref.id, 20, is_best=True))
            assert [record.is_best for record in tx.checkpoints.of_job(ref.id)] == [True, False]
            tx.checkpoints.mark_best(ref.id, 10)
            assert [record.is_best for record in tx.checkpoints.of_job(ref.id)] == [False, True]

    def test_remove(self, store: Store, ref: JobRef) -> None:
        with store.begin() as tx:
            for step in (10, 20, 30):
                tx.checkpoints.add(ref, checkpoint(ref.id, step))
            tx.checkpoints.remove(ref.id, [10, 30, 40])
            assert [record.step for record in tx.checkpoints.of_job(ref.id)] == [20]

    def test_unknown_name(self, store: Store, ref: JobRef) -> None:
        with pytest.raises(NotFoundError) as caught, store.read() as tx:
            tx.checkpoints.get(ref.id, "../../etc/passwd")
        assert caught.value.code == "checkpoint_not_found"

    def test_metrics_that_are_not_finite_are_left_out(self, store: Store, ref: JobRef) -> None:
        record = checkpoint(ref.id, 10, metrics={"eval_loss": float("nan"), "loss": 1.5})
        with store.begin() as tx:
            tx.checkpoints.add(ref, record)
            assert tx.checkpoints.of_job(ref.id)[0].metrics == {"loss": 1.5}


class TestDatasets:
    def test_round_trip_and_owner(self, store: Store) -> None:
        record = dataset(owner="ann")
        with store.begin() as tx:
            tx.datasets.add(record)
        with store.read() as tx:
            assert tx.datasets.get(record.id) == tx.datasets.get(record.id, owner="ann") == record
            with pytest.raises(NotFoundError) as caught:
                tx.datasets.get(record.id, owner="bob")
            assert caught.value.code == "dataset_not_found"
            assert tx.datasets.list(owner="bob") == []

    def test_pages_newest_first(self, store: Store) -> None:
        with store.begin() as tx:
            for number in range(5):
                tx.datasets.add(dataset(f"ds-{number}"))
        with store.read() as tx:
            first = tx.datasets.list(owner="local", limit=2)
            rest = tx.datasets.list(owner="local", limit=9, after=first[-1].id)
            with pytest.raises(MalformedRequestError):
                tx.datasets.list(owner="local", after="ds-none")
        assert [record.id for record in first + rest] == ["ds-4", "ds-3", "ds-2", "ds-1", "ds-0"]

    def test_same_id_twice(self, store: Store) -> None:
        with store.begin() as tx:
            tx.datasets.add(dataset())
        with pytest.raises(DuplicateError), store.begin() as tx:
            tx.datasets.add(dataset())

    def test_remove(self, store: Store) -> None:
        with store.begin() as tx:
            tx.datasets.add(dataset())
        for owner, dataset_id in (("bob", "ds-1"), ("local", "ds-none")):
            with pytest.raises(NotFoundError), store.begin() as tx:
                tx.datasets.remove(dataset_id, owner=owner)
        with store.begin() as tx:
            tx.datasets.remove("ds-1", owner="local")
            assert tx.datasets.list(owner="local") == []

    @pytest.mark.parametrize("status", list(JobStatus))
    def test_remove_only_when_no_job_needs_it(self, store: Store, status: JobStatus) -> None:
        with store.begin() as tx:
            tx.datasets.add(dataset())
        ref = reach(store, status)
        if status.is_terminal:
            with store.begin() as tx:
                tx.datasets.remove("ds-1", owner="local")
        else:
            with pytest.raises(ConflictError, match=ref.id) as caught, store.begin() as tx:
                tx.datasets.remove("ds-1", owner="local")
            assert caught.value.code == "dataset_in_use"

    def test_remove_respects_eval_datasets(self, store: Store) -> None:
        with store.begin() as tx:
            tx.datasets.add(dataset("ds-eval"))
        add_job(store, config={"eval_dataset": "ds-eval"})
        with pytest.raises(ConflictError), store.begin() as tx:
            tx.datasets.remove("ds-eval", owner="local")

    def test_race_of_submit_and_remove(self, store: Store) -> None:
        """Either the job is in and the dataset stays, or the dataset is gone and the submit is refused."""
        for number in range(10):
            dataset_id = f"ds-{number}"
            with store.begin() as tx:
                tx.datasets.add(dataset(dataset_id))

            def work(side: int, dataset_id: str = dataset_id) -> None:
                with store.begin() as tx:
                    if side:
                        tx.datasets.remove(dataset_id, owner="local")
                        return
                    tx.datasets.get(dataset_id, owner="local")
                    config = JobConfig(model="org/name", dataset=dataset_id)
                    tx.jobs.add(f"job-{dataset_id}", owner="local", name="a job", config=config, now=NOW)

            submitted, removed = at_once(2, work)
            assert (submitted is None) != (removed is None)
            assert isinstance(submitted or removed, NotFoundError | ConflictError)


class TestModels:
    def test_round_trip_and_owner(self, store: Store) -> None:
        job = add_job(store)
        record = model(job.id, owner="ann")
        with store.begin() as tx:
            tx.models.add(record)
        with store.read() as tx:
            assert tx.models.get(record.id, owner="ann") == tx.models.of_job(job.id) == record
            assert tx.models.list(owner="ann") == [record]
            assert tx.models.list(owner="bob") == []
            assert tx.models.of_job("job-none") is None
            with pytest.raises(NotFoundError) as caught:
                tx.models.get(record.id, owner="bob")
        assert caught.value.code == "model_not_found"

    def test_a_job_has_one_for_each_time_that_it_completed(self, store: Store) -> None:
        job, other = add_job(store), add_job(store)
        with store.begin() as tx:
            for number, owner in ((1, job), (2, other), (3, job)):
                tx.models.add(model(owner.id, f"model-{number}"))
        with store.read() as tx:
            assert [record.id for record in tx.models.all_of_job(job.id)] == ["model-1", "model-3"]
            newest = tx.models.of_job(job.id)
            assert newest is not None
            assert newest.id == "model-3"
            assert tx.models.of_job("job-unknown") is None
        with pytest.raises(DuplicateError), store.begin() as tx:
            tx.models.add(model(job.id, "model-3"))

    def test_pages_newest_first(self, store: Store) -> None:
        for number in range(3):
            job = add_job(store)
            with store.begin() as tx:
                tx.models.add(model(job.id, f"model-{number}"))
        with store.read() as tx:
            first = tx.models.list(owner="local", limit=2)
            rest = tx.models.list(owner="local", after=first[-1].id)
        assert [record.id for record in first + rest] == ["model-2", "model-1", "model-0"]

    def test_mlflow_version(self, store: Store) -> None:
        job = add_job(store)
        with store.begin() as tx:
            tx.models.add(model(job.id))
            tx.models.set_mlflow_version("model-1", "7")
            assert tx.models.get("model-1").mlflow_version == "7"
