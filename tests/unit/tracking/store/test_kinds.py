"""Jobs of other kinds than training in the record."""

import pytest

from ftlab.errors import ConflictError
from ftlab.schemas import EvaluationConfig, JobConfig
from ftlab.status import SENTENCES_OF_KINDS, JobKind, JobStatus
from tests.support.databases import change_config
from tests.unit.tracking.samples import NOW, add_job, get_job
from tracking.store import Store
from tracking.store.records import JobRecord, UnreadableConfig

EVALUATION = EvaluationConfig(models=["org/name"], dataset="ds-1", time_limit_s=60)


def add_evaluation(store: Store, **changes: object) -> JobRecord:
    values = {"owner": "local", "name": "measured", "now": NOW}
    with store.begin() as tx:
        return tx.jobs.add(f"job-{len(tx.jobs.list())}", config=EVALUATION, **(values | changes))  # type: ignore[arg-type]


def test_a_record_has_the_config_of_its_kind(store: Store) -> None:
    training, evaluation = get_job(store, add_job(store).id), get_job(store, add_evaluation(store).id)
    assert isinstance(training.config, JobConfig)
    assert (training.kind, training.training_config) == (JobKind.TRAINING, training.config)
    assert (evaluation.kind, evaluation.config, evaluation.training_config) == (JobKind.EVALUATION, EVALUATION, None)
    assert evaluation.submitted_config["kind"] == "evaluation"
    assert (evaluation.dataset_id, evaluation.dataset_ids, evaluation.eval_dataset_id) == ("ds-1", ["ds-1"], None)


def test_a_kind_of_a_later_version_is_unreadable(store: Store) -> None:
    job = add_evaluation(store)
    change_config(store, job.id, kind="unheard")
    assert get_job(store, job.id).config == UnreadableConfig(
        "kind must be 'training' or 'evaluation' or 'export' or 'engine'."
    )


def test_lists_are_filtered_by_kind(store: Store) -> None:
    training, evaluation = add_job(store), add_evaluation(store)
    with store.read() as tx:
        assert [job.id for job in tx.jobs.list(owner="local")] == [evaluation.id, training.id]
        for kind, job in ((JobKind.TRAINING, training), (JobKind.EVALUATION, evaluation)):
            assert [each.id for each in tx.jobs.list(owner="local", kinds={kind})] == [job.id]
            both = tx.jobs.list(owner="local", kinds={kind}, statuses={JobStatus.QUEUED, JobStatus.PAUSED})
            assert [each.id for each in both] == [job.id]


def test_the_sentence_about_a_status_is_that_of_the_kind(store: Store) -> None:
    for job, sentence in (
        (add_evaluation(store), SENTENCES_OF_KINDS[JobKind.EVALUATION][JobStatus.PAUSED]),
        (add_job(store), JobStatus.PAUSED.sentence),
    ):
        with store.begin() as tx:
            event = tx.jobs.move(job.ref, JobStatus.PAUSED, now=NOW)
        assert get_job(store, job.id).message == sentence
        assert event.data["message"] == sentence


def test_a_job_whose_model_is_measured_is_kept(store: Store) -> None:
    source = add_job(store)
    evaluation = add_evaluation(store, source_job_ids=[source.id])
    with store.begin() as tx:
        assert tx.jobs.bases_of(evaluation.id) == [source.id]
        tx.jobs.move(source.ref, JobStatus.CANCELLING, now=NOW)
        tx.jobs.move(source.ref, JobStatus.CANCELLED, now=NOW)
    with store.begin() as tx, pytest.raises(ConflictError, match=f"while job '{evaluation.id}' needs its model"):
        tx.deletions.delete_job(source.id, now=NOW)
    with store.begin() as tx:
        assert tx.checkpoints.users_of(source.id) == [(evaluation.id, "org/name")]
        tx.jobs.move(evaluation.ref, JobStatus.CANCELLING, now=NOW)
        tx.jobs.move(evaluation.ref, JobStatus.CANCELLED, now=NOW)
        assert tx.checkpoints.users_of(source.id) == []
        tx.deletions.delete_job(source.id, now=NOW)
        tx.deletions.delete_job(evaluation.id, now=NOW)
