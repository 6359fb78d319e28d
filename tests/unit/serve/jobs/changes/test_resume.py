"""Resuming ended and paused jobs, with other settings."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from cluster.policy import Fleet
from cluster.policy.fleet import Node
from ftlab.schemas import EventKind
from ftlab.status import JobStatus, ReasonCode
from tests.unit.serve.conftest import ROWS
from tests.unit.serve.jobs.checkpoints.test_choice import Checkpoints
from tests.unit.serve.jobs.statuses import NOW, S, bring

JOBS = "/api/training/jobs"
ENDED = (S.PAUSED, S.FAILED, S.CANCELLED)


class Resumable:
    """A job that ran and can be resumed."""

    def __init__(self, client, store, settings, config, status: JobStatus, steps=(), ran_s=1):
        self.client, self.store = client, store
        self.id = client.post(JOBS, json=config).json()["id"]
        ref = bring(store, self.id, S.RUNNING)
        checkpoints = Checkpoints(settings.home, store, ref)
        for step in steps:
            checkpoints.add(step)
        with store.begin() as tx:
            if status is not S.FAILED:
                tx.jobs.move(ref, S.PAUSING if status is S.PAUSED else S.CANCELLING, now=NOW)
            tx.attempts.end(ref, reason=ReasonCode.DEVICE_OOM, message="No memory.", now=NOW + timedelta(seconds=ran_s))
            tx.jobs.move(ref, status, now=NOW, reason=ReasonCode.DEVICE_OOM if status is S.FAILED else None)

    def resume(self, **body: Any) -> Any:
        return self.client.post(f"{JOBS}/{self.id}/resume", json=body)

    def refused(self, **body: Any) -> dict[str, Any]:
        """The error; nothing may have changed."""
        before = self.document()
        reply = self.resume(**body)
        assert 400 <= reply.status_code < 500, reply.text
        assert self.document() == before
        return dict(reply.json()["error"])

    def document(self) -> dict[str, Any]:
        return dict(self.client.get(f"{JOBS}/{self.id}").json())

    def record(self):
        with self.store.read() as tx:
            return tx.jobs.get(self.id)

    def notices(self) -> list[dict[str, Any]]:
        with self.store.read() as tx:
            return [event.data for event in tx.events.after(self.id, 0, kinds=(EventKind.NOTICE,))]


@pytest.fixture
def ended(client, store, settings, config):
    def make(status: JobStatus = S.FAILED, steps: tuple[int, ...] = (), **more: Any) -> Resumable:
        return Resumable(client, store, settings, config | more, status, steps)

    return make


@pytest.mark.parametrize("status", ENDED)
def test_a_job_continues_in_its_old_place_with_other_settings(ended, status):
    job = ended(status, steps=(10, 20), training={"eval_steps": 10})
    reply = job.resume(config_adjustments={"training.learning_rate": 1e-4, "training": {"max_grad_norm": 0.5}})
    assert reply.status_code == 202, reply.text
    document = reply.json()
    assert (document["status"], document["finished_at"], document["reason"]) == ("queued", None, None)
    assert (
        document["config"]["training"]["learning_rate"]
        == document["resolved_config"]["training"]["learning_rate"]
        == 1e-4
    )
    [adjustment] = document["adjustments"]
    assert (adjustment["by"], adjustment["attempt"]) == ("user", 1)
    assert adjustment["changes"] == [
        {"field": "training.learning_rate", "from": 2e-4, "to": 1e-4},
        {"field": "training.max_grad_norm", "from": 1.0, "to": 0.5},
    ]
    [notice] = [notice for notice in job.notices() if notice["code"] == "config_adjusted"]
    assert notice["changes"] == adjustment["changes"]
    assert notice["message"] == (
        "Changed by the user: training.learning_rate 0.0002 -> 0.0001, training.max_grad_norm 1 -> 0.5."
    )
    record = job.record()
    assert (record.attempt, record.retries_used, record.resume_from, record.has_new_files) == (1, 0, None, False)


def test_the_original_config_comes_back(ended, store):
    job = ended(steps=(10,))
    submitted = job.record().config
    assert job.resume(config_adjustments={"training.learning_rate": 1e-4}).status_code == 202
    with store.begin() as tx:
        tx.jobs.move(job.record().ref, S.PAUSED, now=NOW)
    assert job.resume(config_adjustments={"training.warmup_steps": 5}).status_code == 202
    with store.begin() as tx:
        tx.jobs.move(job.record().ref, S.PAUSED, now=NOW)
    reply = job.resume(original=True)
    assert reply.status_code == 202, reply.text
    assert job.record().config == submitted
    assert [len(adjustment["changes"]) for adjustment in reply.json()["adjustments"]] == [1, 1, 2]


def test_without_changes_nothing_is_recorded(ended):
    job = ended()
    assert job.resume(config_adjustments={"training.weight_decay": 0.0}, original=True).status_code == 202
    assert job.document()["adjustments"] == []
    assert "config_adjusted" not in [notice["code"] for notice in job.notices()]


@pytest.mark.parametrize(
    ("changes", "code", "param", "words"),
    [
        ({"training.lerning_rate": 1e-4}, "unknown_field", "training.lerning_rate", "Did you mean"),
        ({"lr": 1e-4}, "unknown_field", "lr", "training.learning_rate"),
        ({"training.learning_rate": 7}, "invalid_config", "training.learning_rate", "1"),
        ({"training": 5}, "invalid_config", "training", "training"),
        ({"training.learning_rate": "auto"}, "invalid_config", "training.learning_rate", "give it a value"),
        ({"": 5}, "invalid_body", "config_adjustments", "not the path of a setting"),
        ({"training..x": 5}, "invalid_body", "config_adjustments", "not the path of a setting"),
        ({"load_in_4bit": True, "load_in_8bit": True}, "invalid_config", None, "cannot be combined"),
        ({"lora.r": 8}, "needs_new_job", "config_adjustments.lora.r", "submit a new job that starts from model: job:"),
        ({"model": "org/tiny-model@other"}, "needs_new_job", "config_adjustments.model", "base model"),
        ({"method": {"type": "dpo"}}, "dataset_kind_mismatch", "dataset", "dpo"),
        ({"training.seed": 3}, "needs_new_job", "config_adjustments.training.seed", "order of the rows"),
        ({"training.max_steps": 3}, "needs_new_job", "config_adjustments.training.max_steps", "planned"),
        ({"dataset": "ds-none"}, "dataset_not_found", "dataset", "no dataset"),
        ({"name": "other"}, "needs_new_job", "config_adjustments.name", "keeps the name"),
    ],
)
def test_a_changed_config_is_checked_as_a_new_one_and_by_what_a_checkpoint_can_take(ended, changes, code, param, words):
    error = ended(steps=(10,)).refused(config_adjustments=changes)
    assert (error["code"], error["param"]) == (code, param), error
    assert words in error["message"]


def test_devices_that_no_machine_has_are_refused(ended, coordinator):
    job = ended(steps=(10,))
    coordinator.fleet = Fleet((Node("a", 4, 0, 1 << 33),))
    error = job.refused(config_adjustments={"resources.cpus_per_worker": 64})
    assert (error["code"], error["param"]) == ("config_invalid", "resources")


def test_before_its_first_checkpoint_a_job_takes_another_model_and_other_datasets(client, ended):
    job = ended()
    second, third = (
        client.post(
            "/api/datasets", content=ROWS + ROWS[: len(ROWS) // 3] * n, headers={"x-filename": "b.jsonl"}
        ).json()["id"]
        for n in (1, 2)
    )
    changes = {"model": "org/tiny-model@other", "dataset": [second, third], "lora": {"r": 4}, "priority": 80}
    reply = job.resume(config_adjustments=changes)
    assert reply.status_code == 202, reply.text
    record = job.record()
    assert (record.dataset_ids, record.dataset_id, record.num_files) == ([second, third], second, 2)
    assert (record.priority, record.has_new_files) == (80, True)
    assert record.config.lora.r == 4
    with job.store.read() as tx:
        assert tx.job_files.of_job(job.id) == [second, third]


def test_the_best_and_the_latest_checkpoint(ended, store):
    job = ended(steps=(10, 20))
    assert job.refused(checkpoint="best")["code"] == "checkpoint_not_found"
    with store.begin() as tx:
        tx.checkpoints.mark_best(job.id, 10)
    assert job.resume(checkpoint="best").status_code == 202
    assert job.record().resume_from == "step-00000010"
    with store.begin() as tx:
        tx.jobs.move(job.record().ref, S.PAUSED, now=NOW)
    assert job.resume(checkpoint="latest").status_code == 202
    assert job.record().resume_from is None


def test_a_job_whose_dataset_is_gone_needs_another_one(client, ended, dataset):
    job = ended()
    assert client.delete(f"/api/datasets/{dataset['id']}").status_code == 204
    assert job.refused()["code"] == "dataset_deleted"
    other = client.post("/api/datasets", content=ROWS * 2, headers={"x-filename": "b.jsonl"}).json()["id"]
    assert job.resume(config_adjustments={"dataset": other}).status_code == 202


def test_a_used_up_time_limit_must_be_raised(client, store, settings, config):
    job = Resumable(client, store, settings, config | {"time_limit_s": 60}, S.FAILED, ran_s=61)
    error = job.refused()
    assert (error["code"], error["param"]) == ("time_limit_used_up", "config_adjustments.time_limit_s")
    assert "has run for 61 s" in error["message"]
    assert job.resume(config_adjustments={"time_limit_s": 90}).status_code == 202


def test_a_used_up_cost_must_be_raised(client, store, settings, config, services):
    priced = services.settings.model_copy(update={"prices": {"cpu": Decimal("3.6")}, "currency": "EUR"})
    object.__setattr__(services, "settings", priced)
    job = Resumable(client, store, settings, config | {"max_cost": 0.05}, S.FAILED, ran_s=60)
    error = job.refused()
    assert (error["code"], error["param"]) == ("max_cost_used_up", "config_adjustments.max_cost")
    assert "has cost 0.06 EUR, and max_cost is 0.05 EUR" in error["message"]
    assert job.resume(config_adjustments={"max_cost": "0.07"}).status_code == 202
    assert job.document()["resolved_config"]["max_cost"] == "0.07"


def test_the_first_suggestion_is_taken_and_what_the_user_changes_besides(ended):
    job = ended(steps=(10, 20))
    reply = job.resume(suggested=True, config_adjustments={"training.max_grad_norm": 0.5})
    assert reply.status_code == 202, reply.text
    first, second = reply.json()["adjustments"]
    assert (first["by"], second["by"]) == ("suggestion", "user")
    assert {change["field"]: change["to"] for change in first["changes"]} == {
        "training.per_device_train_batch_size": 2,
        "training.gradient_accumulation_steps": 2,
    }
    assert [change["field"] for change in second["changes"]] == ["training.max_grad_norm"]
    record = job.record()
    assert record.resume_from == "step-00000020"
    assert (record.config.training.per_device_train_batch_size, record.config.training.max_grad_norm) == (2, 0.5)
    assert [notice["by"] for notice in job.notices() if notice["code"] == "config_adjusted"] == ["suggestion", "user"]


def test_nothing_is_suggested_for_a_job_whose_newest_attempt_did_not_fail(ended):
    job = ended(S.PAUSED)
    with job.store.begin() as tx:
        tx.jobs.move(job.record().ref, S.QUEUED, now=NOW)
    bring(job.store, job.id, S.PAUSED)
    assert job.refused(suggested=True)["code"] == "no_suggestion"
