"""Another config for a job that has no live attempt."""

from typing import Any

import pytest

from ftlab.schemas import JobConfig
from ftlab.schemas.adjustments import AdjustedBy, Adjustment
from ftlab.schemas.config_changes import adjusted, changes_between
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import add_job, get_job, later, start
from tracking.store import StaleJobError, Store
from tracking.store.records import JobRecord


def adjustment(job: JobRecord, changes: dict[str, Any]) -> tuple[JobConfig, Adjustment]:
    after = JobConfig.model_validate(adjusted(job.submitted_config, changes))
    assert isinstance(job.config, JobConfig)
    made = changes_between(job.config, after)
    return after, Adjustment(at=later(1), by=AdjustedBy.USER, attempt=job.attempt, changes=made, reason="It\x00 broke.")


def apply(store: Store, job: JobRecord, changes: dict[str, Any], **options: Any) -> None:
    with store.begin() as tx:
        tx.adjustments.apply(job, *adjustment(job, changes), **options)


def test_the_config_changes_and_every_adjustment_is_kept(store: Store) -> None:
    job = add_job(store)
    apply(store, job, {"training.learning_rate": 1e-4}, needs_data=True)
    apply(store, get_job(store, job.id), {"dataset": ["ds-1", "ds-2"], "priority": 7}, priority=7)
    after = get_job(store, job.id)
    assert isinstance(after.config, JobConfig)
    assert (after.config.learning_rate, after.submitted_config["training"]["learning_rate"]) == (1e-4, 1e-4)
    assert (after.dataset_ids, after.priority, after.has_new_files) == (["ds-1", "ds-2"], 7, True)
    assert [each.sentence for each in after.adjustments] == [
        "training.learning_rate 0.0002 -> 0.0001",
        'dataset ds-1 -> ["ds-1", "ds-2"], priority 50 -> 7',
    ]
    assert after.adjustments[0].reason == "It\ufffd broke."
    with store.read() as tx:
        assert tx.job_files.of_job(job.id) == ["ds-1", "ds-2"]
        events = tx.events.after(job.id, job.last_seq)
    assert [event.data["code"] for event in events] == ["config_adjusted"] * 2
    assert events[-1].seq == after.last_seq
    apply(store, after, {"dataset": "ds-3"})
    with store.read() as tx:
        assert tx.job_files.of_job(job.id) == []


def test_what_the_service_chose_is_kept_until_it_is_changed(store: Store) -> None:
    chosen = {"learning_rate": 3e-4, "num_train_epochs": 2.0}
    auto = {f"training.{name}": {"value": value, "reason": "why"} for name, value in chosen.items()}
    job = add_job(store, config={"training": chosen}, auto=auto)
    assert job.submitted_config["training"]["learning_rate"] == "auto"
    with store.begin() as tx:
        after = JobConfig.model_validate(adjusted(job.document, {"training.learning_rate": 1e-4}))
        assert isinstance(job.config, JobConfig)
        made = Adjustment(at=later(1), by=AdjustedBy.USER, attempt=0, changes=changes_between(job.config, after))
        tx.adjustments.apply(job, after, made)
    assert [change.field for change in made.changes] == ["training.learning_rate"]
    after_it = get_job(store, job.id)
    assert set(after_it.auto) == {"training.num_train_epochs"}
    assert after_it.submitted_config["training"]["num_train_epochs"] == "auto"
    assert after_it.submitted_config["training"]["learning_rate"] == 1e-4
    assert after_it.document["training"]["num_train_epochs"] == 2.0


def test_a_job_that_runs_or_has_changed_keeps_its_config(store: Store) -> None:
    job = add_job(store)
    start(store, job.id)
    with pytest.raises(StaleJobError):
        apply(store, job, {"priority": 7})
    running = get_job(store, job.id)
    with pytest.raises(StaleJobError):
        apply(store, running, {"priority": 7})
    with store.begin() as tx:
        tx.attempts.end(running.ref, reason=ReasonCode.DEVICE_OOM, message=None, now=later(2))
        tx.jobs.move(running.ref, JobStatus.FAILED, now=later(2))
    with pytest.raises(StaleJobError):
        apply(store, running, {"priority": 7})
    apply(store, get_job(store, job.id), {"max_retries": 7})
    assert len(get_job(store, job.id).adjustments) == 1
