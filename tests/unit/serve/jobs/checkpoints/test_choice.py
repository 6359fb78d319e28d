"""Resuming from a checkpoint by its name: which names count, and what is looked at before the answer."""

import hashlib

import pytest

from ftlab.errors import NotFoundError
from serve.jobs.checkpoints.choice import name_in_path, name_of
from tests.support.committed_folders import commit_folder
from tests.unit.serve.jobs.statuses import NOW, S, bring
from tracking.store.records import CheckpointRecord

JOBS = "/api/training/jobs"
OTHER = "job-0123456789ab"


class Checkpoints:
    """A job's committed checkpoints, on the disk and in the record."""

    def __init__(self, home, store, ref):
        self.folder = home / "jobs" / ref.id / "checkpoints"
        self._store = store
        self._ref = ref

    def add(self, step):
        name = f"step-{step:08d}"
        folder = self.folder / name
        weights = b"weights" * step
        commit_folder(folder, {"adapter_model.safetensors": weights}, job_id=self._ref.id, step=step, samples=step)
        digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        with self._store.begin() as tx:
            tx.checkpoints.add(
                self._ref, CheckpointRecord(self._ref.id, step, self._ref.attempt, name, len(weights), digest, NOW)
            )
        return folder


@pytest.fixture
def job(client, config, store, settings):
    """A paused job with checkpoints of the steps 10 and 20."""
    job_id = client.post(JOBS, json=config).json()["id"]
    ref = bring(store, job_id, S.RUNNING)
    checkpoints = Checkpoints(settings.home, store, ref)
    for step in (10, 20):
        checkpoints.add(step)
    with store.begin() as tx:
        tx.jobs.move(ref, S.PAUSING, now=NOW)
        tx.jobs.move(ref, S.PAUSED, now=NOW)
    return job_id


def resume(client, job, checkpoint):
    return client.post(f"{JOBS}/{job}/resume", json={"checkpoint": checkpoint})


@pytest.mark.parametrize("text", ["step-00000010", "step-10", "10", "0010"])
def test_a_checkpoint_by_name_or_step(client, store, job, text):
    reply = resume(client, job, text)
    assert reply.status_code == 202, reply.text
    with store.read() as tx:
        record = tx.jobs.get(job)
    assert (record.status, record.resume_from) == (S.QUEUED, "step-00000010")
    assert "continues from step-00000010" in record.message


@pytest.mark.parametrize("body", [None, b"", b"  ", b"{}", b'{"checkpoint": null}'])
def test_without_a_name_the_run_takes_the_newest(client, store, job, body):
    assert client.post(f"{JOBS}/{job}/resume", content=body).status_code == 202
    with store.read() as tx:
        assert tx.jobs.get(job).resume_from is None


def test_a_job_that_is_paused_again_keeps_the_choice(client, store, job):
    resume(client, job, "step-10")
    client.post(f"{JOBS}/{job}/pause")
    client.post(f"{JOBS}/{job}/resume")
    with store.read() as tx:
        assert tx.jobs.get(job).resume_from == "step-00000010"


@pytest.mark.parametrize(
    "text", ["step-00000030", "best", "step-", "-1", "1e3", "step-10/x", "../step-10", "٣", "9" * 50]
)
def test_an_unknown_checkpoint_is_not_found(client, job, text):
    reply = resume(client, job, text)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "checkpoint_not_found")
    assert client.get(f"{JOBS}/{job}").json()["status"] == "paused"


def test_a_checkpoint_of_another_job_is_not_found(client, config, store, settings, job):
    other = client.post(JOBS, json=config).json()["id"]
    Checkpoints(settings.home, store, bring(store, other, S.RUNNING)).add(30)
    assert resume(client, job, "step-00000030").status_code == 404
    path = f"/data/jobs/{other}/checkpoints/step-00000010"
    reply = client.post(f"/api/training/resume/{job}", params={"checkpoint_path": path})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "checkpoint_not_found")


def remove(folder):
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


DAMAGE = {
    "gone": (remove, "has no manifest"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "has no manifest"),
    "torn manifest": (lambda folder: (folder / "manifest.json").write_text('{"job_id"'), "unreadable manifest"),
    "manifest of other content": (
        lambda folder: (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b"\n"),
        "does not match its recorded manifest",
    ),
    "file missing": (lambda folder: (folder / "adapter_model.safetensors").unlink(), "is missing"),
    "file cut": (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"w"), "a different size"),
    "a file in the folder's place": (lambda folder: (remove(folder), folder.write_text("x")), "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused_with_what_to_do(client, settings, job, damage):
    destroy, problem = DAMAGE[damage]
    destroy(settings.home / "jobs" / job / "checkpoints" / "step-00000010")
    reply = resume(client, job, "step-10")
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (409, "checkpoint_corrupt", "checkpoint")
    assert problem in error["message"]
    assert "Resume from another checkpoint" in error["message"]
    assert str(settings.home) not in reply.text
    assert client.get(f"{JOBS}/{job}").json()["status"] == "paused"
    assert resume(client, job, "step-20").status_code == 202


def test_a_resume_of_a_job_that_is_not_paused_says_so_first(client, store, job):
    client.post(f"{JOBS}/{job}/resume")
    reply = resume(client, job, "nonsense")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "job_not_paused")


PATHS = {
    "step-00000010": 202,
    "10": 202,
    "checkpoints/step-10": 202,
    "/any/where/step-00000010/": 202,
    "C:\\runs\\step-00000010": 202,
    "../../../etc/step-10": 202,
    "../../etc/passwd": 404,
    "/etc/passwd\n": 404,
    "..": 404,
    "/": 404,
    "%2e%2e/%2e%2e": 404,
    "x" * 4096: 404,
    "x" * 4097: 422,
    f"jobs/{OTHER}/step-10": 404,
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: repr(path)[:30])
def test_paths_of_earlier_clients_are_read_and_never_opened(client, store, job, path):
    reply = client.post(f"/api/training/resume/{job}", params={"checkpoint_path": path})
    assert reply.status_code == PATHS[path], reply.text
    if reply.status_code == 202:
        with store.read() as tx:
            assert tx.jobs.get(job).resume_from == "step-00000010"


def test_a_path_may_name_its_own_job():
    assert name_in_path(f"/data/jobs/{OTHER}/checkpoints/step-7", OTHER) == "step-00000007"
    with pytest.raises(NotFoundError):
        name_of("")


def test_a_checkpoint_that_its_job_has_lost_is_not_found(client, store, job):
    with store.begin() as tx:
        tx.checkpoints.remove(job, [10])
    assert resume(client, job, "step-10").status_code == 404
