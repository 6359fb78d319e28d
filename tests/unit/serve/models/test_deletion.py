"""Tuned models that are deleted by a rule: what goes, what stays and why."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from ftlab.schemas import EngineConfig
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import NOW, add_job, checkpoint, model, point, start
from tracking.deleted_folders import remove_left_folders
from tracking.store import Store
from tracking.store.records import JobRef, MlflowCursor

PRUNE = "/api/models/prune"
ALL: dict[str, Any] = {"keep_newest": 0, "keep_best": False}


class Models:
    """Completed jobs with a model each, one day apart, the first the oldest."""

    def __init__(self, client: TestClient, store: Store, settings: Settings) -> None:
        self._client = client
        self._store = store
        self._jobs = settings.home / "jobs"

    def add(
        self, number: int, *, losses: Mapping[int, float] = {}, pinned: bool = False, config: Any = None, **values: Any
    ) -> str:
        """`losses` are the eval losses of its steps; the model is that of step 10."""
        config = {"eval_dataset": "ds-held"} | (config or {})
        job = add_job(self._store, name=f"support-{number}", config=config, **values)
        folder = self._jobs / job.id / "model"
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"x" * 100)
        ref = start(self._store, job.id)
        made = datetime.now(UTC) - timedelta(days=100 - number)
        record = replace(model(job.id, f"mdl-{number}"), path=folder, created_at=made, name=job.name, owner=job.owner)
        with self._store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(job.id, 10))
            tx.checkpoints.set_pinned(job.id, 10, pinned)
            tx.models.add(record)
            tx.metrics.add([point(job.id, step, loss, name="eval_loss") for step, loss in losses.items()])
        complete(self._store, ref, model_id=record.id)
        return job.id

    def prune(self, **rule: Any) -> tuple[list[str], dict[str, str]]:
        """The names that go, and the reasons of those that stay."""
        reply = self._client.post(PRUNE, json=rule)
        assert reply.status_code == 200, reply.text
        found = reply.json()
        assert found["size_bytes"] == 100 * len(found["data"])
        return [each["id"] for each in found["data"]], {each["model_id"]: each["reason"] for each in found["kept"]}

    @property
    def left(self) -> list[str]:
        """Those of the record, which are those on the disk."""
        found = self._client.get("/api/models").json()["data"]
        folders = {folder.parent.name for folder in self._jobs.glob("*/model")}
        assert {each["job_id"] for each in found} == folders
        return [each["id"] for each in found]


@pytest.fixture
def models(client: TestClient, store: Store, settings: Settings) -> Models:
    return Models(client, store, settings)


def test_the_newest_and_the_best_stay(models: Models) -> None:
    for number, loss in ((1, 0.9), (2, 0.2), (3, 0.5), (4, 0.7)):
        models.add(number, losses={10: loss})
    best = "It has the lowest eval loss of its base model."
    newest = "It is one of the newest models of org/name."

    assert models.prune(dry_run=True) == (["mdl-3", "mdl-1"], {"mdl-4": newest, "mdl-2": best})
    assert models.prune(dry_run=True, older_than_days=97.5) == (["mdl-1"], {"mdl-2": best})
    assert models.prune(dry_run=True, keep_newest=3)[0] == ["mdl-1"]
    assert models.prune(dry_run=True, models=["support-3"]) == (["mdl-3"], {})
    assert models.left == ["mdl-4", "mdl-3", "mdl-2", "mdl-1"]
    assert models.prune() == (["mdl-3", "mdl-1"], {"mdl-4": newest, "mdl-2": best})
    assert models.left == ["mdl-4", "mdl-2"]


def test_the_loss_is_that_of_the_model(models: Models) -> None:
    """A job that delivered its best checkpoint went on to a higher loss."""
    models.add(1, losses={10: 0.2, 20: 0.9})
    models.add(2, losses={10: 0.6, 20: 0.6})
    assert models.prune(dry_run=True, keep_newest=0)[0] == ["mdl-2"]


def test_losses_of_other_rows_are_not_compared(models: Models) -> None:
    split = {"eval_dataset": None, "eval_split": 0.1}
    models.add(1, losses={10: 0.9}, config={"dataset": "ds-hard", **split})
    models.add(2, losses={10: 0.2}, config={"dataset": "ds-easy", **split})
    models.add(3, losses={10: 0.4}, config={"dataset": "ds-easy", **split})
    assert models.prune(dry_run=True, keep_newest=0)[0] == ["mdl-3"]


def test_the_next_start_removes_what_a_killed_service_left(
    models: Models, client: TestClient, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise RuntimeError("killed")

    job_id = models.add(1)
    monkeypatch.setattr("serve.models.deletion.remove_folder", die)
    assert client.post(PRUNE, json=ALL).status_code == 500
    assert (settings.home / "jobs" / job_id / "model").is_dir()
    remove_left_folders(store, settings.home / "jobs")
    assert models.left == []


def test_what_is_needed_stays(models: Models, store: Store) -> None:
    pinned, running, engine, ended, other = (models.add(number, pinned=number == 1) for number in range(1, 6))
    add_job(store, job_id="job-adapter", config={"model": "model:mdl-2"}, base_job_id=running)
    add_job(store, job_id="job-step", config={"model": f"job:{other}/step-10"}, base_job_id=other)
    add_engine(store, "job-engine", "model:mdl-3", engine)
    add_engine(store, "job-ended", "model:mdl-4", ended)
    for done in ("job-ended", "job-step"):
        complete(store, start(store, done))

    gone, kept = models.prune(**ALL)
    assert gone == ["mdl-5", "mdl-4"], "an engine that has ended needs nothing, and a checkpoint is not the model"
    assert kept["mdl-3"].startswith(f"Job {engine!r} cannot be deleted while job 'job-engine' needs its model.")
    assert "while job 'job-adapter' needs its model" in kept["mdl-2"]
    assert kept["mdl-1"].startswith(f"Checkpoint step-00000010 of job {pinned!r} is pinned.")
    assert models.left == ["mdl-3", "mdl-2", "mdl-1"]


def test_a_pinned_model_stays(models: Models, client: TestClient) -> None:
    job, other = models.add(1), models.add(2)
    assert client.patch("/api/models/mdl-1", json={"is_pinned": True}).json()["is_pinned"] is True
    refused = client.delete(f"/api/training/jobs/{job}").json()["error"]
    assert (refused["code"], refused["message"]) == (
        "model_pinned",
        f"Model 'support-1' of job {job!r} is pinned. Unpin it first.",
    )
    assert models.prune(**ALL, dry_run=True) == (["mdl-2"], {"mdl-1": refused["message"]})
    assert models.prune(**ALL) == (["mdl-2"], {"mdl-1": refused["message"]})
    assert models.left == ["mdl-1"]
    assert client.patch("/api/models/support-1", json={"is_pinned": False}).json()["is_pinned"] is False
    assert models.prune(**ALL) == (["mdl-1"], {})
    assert client.patch("/api/models/mdl-1", json={"is_pinned": True}).status_code == 404
    assert client.delete(f"/api/training/jobs/{other}").status_code == 204


def test_an_ended_job_that_started_from_it_keeps_it(models: Models, store: Store) -> None:
    base = models.add(1)
    add_job(store, job_id="job-adapter", config={"model": "model:mdl-1"}, base_job_id=base)
    complete(store, start(store, "job-adapter"))
    assert models.prune(**ALL) == ([], {"mdl-1": "Job 'job-adapter' needs it. Delete that job first."})


def test_models_of_others(models: Models, client: TestClient) -> None:
    models.add(1, owner="someone")
    assert models.prune(**ALL) == ([], {})
    assert client.post(PRUNE, json={"models": ["mdl-1"]}).json()["error"]["code"] == "model_not_found"
    assert client.post(PRUNE, json={"keep_newest": -1}).status_code == 422


def complete(store: Store, ref: JobRef, **values: Any) -> None:
    """End a job, and all that the service still has to do about it."""
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message="", now=NOW)
        tx.attempts.released(ref)
        tx.attempts.count(ref, now=NOW)
        tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW, **values)
        tx.jobs.set_mlflow(ref.id, cursor=MlflowCursor(tx.jobs.get(ref.id).last_seq))


def add_engine(store: Store, job_id: str, name: str, base_job_id: str) -> None:
    config = EngineConfig(model=name)
    with store.begin() as tx:
        tx.jobs.add(job_id, owner="local", name="engine", config=config, now=NOW, base_job_id=base_job_id)
