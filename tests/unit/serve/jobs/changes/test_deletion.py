"""`DELETE /api/training/jobs/{job_id}`."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cluster.fakes import FakeEventHub
from cluster.interfaces import deleted_job_of
from ftlab.errors import NotFoundError
from ftlab.settings import Settings
from ftlab.status import JobStatus
from serve.downloads.routes import _event_lines
from serve.jobs.changes import deletion
from tests.support.model_folders import write_model
from tests.support.service_fakes import FakeCoordinator
from tests.unit.serve.jobs.statuses import NOW, bring
from tests.unit.serve.refusals import code_of
from tests.unit.tracking.samples import add_job, checkpoint, model
from tracking.store import Store
from tracking.store.records import JobRef, MlflowCursor

JOBS = "/api/training/jobs"
S = JobStatus


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "RELEASE_TIMEOUT_S", 0.0)
    monkeypatch.setattr(deletion, "POLL_INTERVAL_S", 0.01)


@pytest.fixture
def job(client: TestClient, config: dict[str, Any]) -> str:
    return str(client.post(JOBS, json=config, headers={"idempotency-key": "k"}).json()["id"])


def end(store: Store, job: str, status: JobStatus = S.COMPLETED) -> JobRef:
    """End the job as a service does that has finished with it."""
    ref = bring(store, job, status)
    settle(store, ref)
    return ref


def settle(store: Store, ref: JobRef) -> None:
    with store.begin() as tx:
        tx.attempts.count(ref, now=NOW)
        tx.jobs.set_mlflow(ref.id, cursor=MlflowCursor(tx.jobs.get(ref.id).last_seq))


def make_model(store: Store, settings: Settings, ref: JobRef) -> Path:
    """A full model in the job's folder."""
    folder = settings.home / "jobs" / ref.id / "model"
    write_model(folder)
    with store.begin() as tx:
        tx.models.add(replace(model(ref.id, "mdl-1"), path=folder))
    return folder


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.CANCELLED])
def test_a_job_that_has_ended_is_gone_with_its_folder(
    client: TestClient, store: Store, settings: Settings, job: str, status: JobStatus
) -> None:
    make_model(store, settings, end(store, job, status))
    assert client.delete(f"{JOBS}/{job}").status_code == 204
    assert not (settings.home / "jobs" / job).exists()
    for path in ("", "/events", "/metrics", "/logs", "/checkpoints", "/attempts", "/download/model", "/download/logs"):
        assert code_of(client.get(f"{JOBS}/{job}{path}")) == (404, "job_not_found")
    assert client.get("/api/models").json()["data"] == client.get(JOBS).json()["data"] == []
    assert code_of(client.delete(f"{JOBS}/{job}")) == (404, "job_not_found")


def test_followers_of_all_jobs_are_told(client: TestClient, store: Store, hub: FakeEventHub, job: str) -> None:
    assert client.delete(f"{JOBS}/{job}").status_code == 409
    assert deleted_job_of("local", job) not in hub.published
    end(store, job)
    assert client.delete(f"{JOBS}/{job}").status_code == 204
    assert hub.published.count(deleted_job_of("local", job)) == 1


@pytest.mark.parametrize("status", [status for status in S if not status.is_terminal])
def test_an_unfinished_job_stays(
    client: TestClient, store: Store, settings: Settings, job: str, status: JobStatus
) -> None:
    bring(store, job, status)
    folder = settings.home / "jobs" / job
    folder.mkdir(parents=True)
    reply = client.delete(f"{JOBS}/{job}")
    assert code_of(reply) == (409, "job_not_ended")
    assert "ftlab cancel" in reply.json()["error"]["message"]
    assert folder.exists()
    assert client.get(f"{JOBS}/{job}").json()["status"] == status


def test_a_unique_name_is_enough_but_not_the_beginning_of_an_id(client: TestClient, store: Store, job: str) -> None:
    end(store, job)
    assert code_of(client.delete(f"{JOBS}/{job[:9]}")) == (404, "job_not_found")
    assert client.delete(f"{JOBS}/{client.get(f'{JOBS}/{job}').json()['name']}").status_code == 204


def test_the_job_of_another_owner_is_unknown(client: TestClient, store: Store) -> None:
    ref = end(store, add_job(store, owner="somebody").id)
    assert code_of(client.delete(f"{JOBS}/{ref.id}")) == (404, "job_not_found")
    with store.read() as tx:
        assert tx.jobs.exists(ref.id)


def test_its_dataset_can_be_deleted_and_its_list_continued(
    client: TestClient, store: Store, config: dict[str, Any], job: str
) -> None:
    newer = client.post(JOBS, json=config).json()["id"]
    end(store, newer)
    assert client.delete(f"{JOBS}/{newer}").status_code == 204
    assert [one["id"] for one in client.get(JOBS, params={"after": newer}).json()["data"]] == [job]
    end(store, job)
    assert client.delete(f"{JOBS}/{job}").status_code == 204
    assert client.delete(f"/api/datasets/{config['dataset']}").status_code == 204


def test_its_idempotency_key_stays_taken(client: TestClient, store: Store, config: dict[str, Any], job: str) -> None:
    end(store, job)
    client.delete(f"{JOBS}/{job}")
    for body in (config, config | {"name": "another"}):
        assert code_of(client.post(JOBS, json=body, headers={"idempotency-key": "k"})) == (409, "job_deleted")
    assert client.get(JOBS).json()["data"] == []


class TestBusy:
    def test_the_request_waits_for_the_scheduler(
        self,
        client: TestClient,
        store: Store,
        job: str,
        coordinator: FakeCoordinator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(deletion, "RELEASE_TIMEOUT_S", 20.0)
        ref = bring(store, job, S.COMPLETED)
        num_wakes = coordinator.num_wakes
        timer = threading.Timer(0.1, settle, (store, ref))
        timer.start()
        assert client.delete(f"{JOBS}/{job}").status_code == 204
        timer.join()
        assert coordinator.num_wakes > num_wakes

    def test_but_not_for_ever(self, client: TestClient, store: Store, job: str) -> None:
        ref = bring(store, job, S.COMPLETED)
        assert code_of(client.delete(f"{JOBS}/{job}")) == (409, "job_ending")
        with store.begin() as tx:
            tx.attempts.count(ref, now=NOW)
        assert code_of(client.delete(f"{JOBS}/{job}")) == (409, "job_not_recorded")


class TestBase:
    @pytest.mark.parametrize("reference", ["job:{id}", "model:mdl-1", "{folder}", "acme/linked"])
    def test_a_job_that_starts_from_it_is_named(
        self, client: TestClient, store: Store, settings: Settings, config: dict[str, Any], job: str, reference: str
    ) -> None:
        ref = end(store, job)
        folder = make_model(store, settings, ref)
        (settings.home / "models").mkdir(exist_ok=True)
        (settings.home / "models" / "acme--linked").symlink_to(folder)
        settings.__dict__["model_roots"] = (settings.home / "jobs",)
        model_id = reference.format(id=job, folder=folder)
        user = client.post(JOBS, json=config | {"model": model_id})
        assert user.status_code == 201, user.text
        reply = client.delete(f"{JOBS}/{job}")
        assert code_of(reply) == (409, "model_in_use")
        assert user.json()["id"] in reply.json()["error"]["message"]
        client.post(f"{JOBS}/{user.json()['id']}/cancel")
        assert client.delete(f"{JOBS}/{job}").status_code == 204
        if reference != "acme/linked":  # without a folder, it is the name of a model on Hugging Face
            assert code_of(client.post(JOBS, json=config | {"model": model_id})) == (404, "model_not_found")

    def test_a_job_is_not_reopened_without_its_base(
        self, client: TestClient, store: Store, settings: Settings, config: dict[str, Any], job: str
    ) -> None:
        make_model(store, settings, end(store, job))
        user = client.post(JOBS, json=config | {"model": f"job:{job}"}).json()["id"]
        ref = bring(store, user, S.RUNNING)
        with store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(user, 5))
            tx.jobs.move(ref, S.COMPLETED, now=NOW)
        assert client.delete(f"{JOBS}/{job}").status_code == 204
        reply = client.post(f"{JOBS}/{user}/batches", json={"datasets": [config["dataset"]]})
        assert code_of(reply) == (404, "model_not_found")
        assert client.get(f"{JOBS}/{user}").json()["status"] == S.COMPLETED


def test_a_download_of_the_log_is_cut_not_shortened(client: TestClient, store: Store, job: str) -> None:
    ref = end(store, job)
    with store.read() as tx:
        record = tx.jobs.get(ref.id)
    client.delete(f"{JOBS}/{job}")
    with pytest.raises(NotFoundError, match="was deleted"):
        list(_event_lines(store, record))
