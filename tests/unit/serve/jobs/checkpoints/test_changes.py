"""Pinned and deleted checkpoints, one by one and by a rule: what goes, what stays and why."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from cluster.machine.deleted_checkpoints import remove_left_checkpoints
from ftlab.manifest import MANIFEST
from serve.jobs.checkpoints import changes
from tests.support.committed_folders import commit_folder
from tests.unit.serve.jobs.statuses import NOW, S, bring
from tests.unit.serve.refusals import code_of
from tests.unit.tracking.samples import add_job, checkpoint
from tracking.store.records import JobRef
from train.checkpoints import checkpoint_files

JOBS = "/api/training/jobs"
PRUNE = "/api/training/checkpoints/prune"
STEPS = (10, 20, 30)
TEN_DAYS_AGO = datetime.now(UTC) - timedelta(days=10)


class Job:
    """A job with a best checkpoint at step 20 and the newest at step 30, saved ten days ago."""

    def __init__(self, client, store, settings, job_id, status=S.FAILED):
        self.id = job_id
        self.folder = settings.home / "jobs" / job_id / "checkpoints"
        self._client = client
        ref = bring(store, job_id, S.RUNNING)
        for step in STEPS:
            folder = self.folder / f"step-{step:08d}"
            commit_folder(folder, {"model.safetensors": b"x"}, job_id=job_id, step=step)
            digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
            saved = {"is_best": step == 20, "size_bytes": step, "manifest_sha256": digest, "created_at": TEN_DAYS_AGO}
            with store.begin() as tx:
                tx.checkpoints.add(ref, checkpoint(job_id, step, ref.attempt, **saved))
        if status is not S.RUNNING:
            end(store, ref, status)

    @property
    def steps(self):
        """Those of the record, which are those on the disk."""
        found = self._client.get(f"{JOBS}/{self.id}/checkpoints").json()["data"]
        recorded = sorted(each["step"] for each in found)
        assert recorded == [step for step, _ in checkpoint_files.committed(self.folder)]
        return recorded

    def pin(self, name, is_pinned=True):
        return self._client.patch(f"{JOBS}/{self.id}/checkpoints/{name}", json={"is_pinned": is_pinned})

    def delete(self, name):
        return self._client.delete(f"{JOBS}/{self.id}/checkpoints/{name}")


def end(store, ref, status):
    with store.begin() as tx:
        if status is S.PAUSED:
            tx.jobs.move(ref, S.PAUSING, now=NOW)
        tx.jobs.move(ref, status, now=NOW)


@pytest.fixture
def make_job(client, config, store, settings):
    def make(status=S.FAILED, **changes):
        job_id = client.post(JOBS, json=config | changes).json()["id"]
        return Job(client, store, settings, job_id, status)

    return make


def test_one_checkpoint_is_deleted_with_its_files(make_job, client):
    job = make_job()
    assert job.delete("step-00000010").status_code == 204
    assert job.steps == [20, 30]
    assert code_of(job.delete("10")) == (404, "checkpoint_not_found")
    assert job.delete("20").status_code == 204  # the best one too, when it is named
    assert not list(job.folder.glob(".tmp-*"))
    for name in ("%2e%2e", "step-x", "manifest.json"):
        assert code_of(job.delete(name))[0] == 404


@pytest.mark.parametrize(
    ("status", "step", "why"),
    [
        (S.FAILED, 30, "newest"),
        (S.PAUSED, 30, "newest"),
        (S.PAUSED, 20, "may deliver it"),
        (S.RUNNING, 10, "its run manages"),
    ],
)
def test_what_the_job_needs_stays(make_job, status, step, why):
    job = make_job(status)
    reply = job.delete(str(step))
    assert code_of(reply) == (409, "checkpoint_in_use")
    assert why in reply.json()["error"]["message"]
    assert job.steps == list(STEPS)


def test_what_a_resume_or_another_job_starts_from_stays(make_job, client, store):
    job = make_job()
    assert client.post(f"{JOBS}/{job.id}/resume", json={"checkpoint": "10"}).status_code == 202
    assert "about to resume" in job.delete("10").json()["error"]["message"]
    assert code_of(job.pin("20")) == (409, "checkpoint_in_use")  # the resume is about to remove it
    assert job.pin("10").status_code == 200

    base = make_job()
    user = add_job(store, config={"model": f"job:{base.id}/step-10"}, base_job_id=base.id)
    reply = base.delete("10")
    assert code_of(reply) == (409, "checkpoint_in_use")
    assert user.id in reply.json()["error"]["message"]
    assert base.delete("20").status_code == 204


def test_a_pin_keeps_a_checkpoint_from_everything(make_job, client):
    job = make_job()
    assert job.pin("10").json()["is_pinned"] is True
    assert job.pin("step-00000010").status_code == 200
    assert code_of(job.delete("10")) == (409, "checkpoint_pinned")
    assert checkpoint_files.retire(job.folder, keep=2) == []
    assert code_of(client.delete(f"{JOBS}/{job.id}")) == (409, "checkpoint_pinned")
    assert client.post(PRUNE, json={"keep_best": False}).json()["data"][0]["step"] == 20
    assert job.pin("10", is_pinned=False).json()["is_pinned"] is False
    assert job.delete("10").status_code == 204
    assert job.steps == [30]


def test_a_resume_does_not_remove_a_pinned_checkpoint(make_job, client):
    job = make_job()
    job.pin("20")
    reply = client.post(f"{JOBS}/{job.id}/resume", json={"checkpoint": "10"})
    assert code_of(reply) == (409, "checkpoint_pinned")
    assert client.post(f"{JOBS}/{job.id}/resume", json={"checkpoint": "20"}).status_code == 202


def test_a_pin_on_files_that_are_gone_is_refused(make_job):
    job = make_job()
    checkpoint_files.remove(job.folder / "step-00000010")
    assert code_of(job.pin("10")) == (404, "checkpoint_not_found")


def test_a_rule_deletes_what_nothing_needs(make_job, client):
    first, second, running = make_job(), make_job(), make_job(S.RUNNING)
    second.pin("10")
    dry = client.post(PRUNE, json={"dry_run": True}).json()
    assert [(each["job_id"], each["step"]) for each in dry["data"]] == [(first.id, 10)]
    assert (dry["dry_run"], dry["size_bytes"]) == (True, 10)
    reasons = {(each["job_id"], each["name"]): each["reason"] for each in dry["kept"]}
    assert len(reasons) == 8
    assert reasons[second.id, "step-00000010"] == "It is pinned."
    assert reasons[first.id, "step-00000020"] == "It is the best checkpoint of its job."
    assert "newest" in reasons[first.id, "step-00000030"]
    assert "running" in reasons[running.id, "step-00000010"]
    assert first.steps == list(STEPS)

    assert client.post(PRUNE, json={"older_than_days": 11}).json()["data"] == []
    named = client.post(PRUNE, json={"jobs": [second.id], "keep_best": False}).json()
    assert [(each["job_id"], each["step"]) for each in named["data"]] == [(second.id, 20)]
    assert client.post(PRUNE, json={}).json()["data"] == dry["data"]
    assert (first.steps, second.steps, running.steps) == ([20, 30], [10, 30], list(STEPS))
    assert client.get(f"{JOBS}/{first.id}/checkpoints").json()["data"][1]["is_best"] is True


def test_checkpoints_of_others_are_unknown(client, store):
    theirs = add_job(store, owner="someone")
    ref = bring(store, theirs.id, S.RUNNING)
    with store.begin() as tx:
        tx.checkpoints.add(ref, checkpoint(theirs.id, 10, ref.attempt))
        tx.checkpoints.add(ref, checkpoint(theirs.id, 20, ref.attempt))
        tx.jobs.move(ref, S.FAILED, now=NOW)
    path = f"{JOBS}/{theirs.id}/checkpoints/10"
    assert code_of(client.patch(path, json={"is_pinned": True})) == (404, "job_not_found")
    assert code_of(client.delete(path)) == (404, "job_not_found")
    assert code_of(client.post(PRUNE, json={"jobs": [theirs.id]})) == (404, "job_not_found")
    assert client.post(PRUNE, json={}).json()["data"] == []


def test_a_killed_deletion_is_finished_at_the_next_start(make_job, client, store, settings, monkeypatch):
    job = make_job()

    def killed(path):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "remove", killed)
        with pytest.raises(SystemExit):
            changes.delete(client.app.state.services, "local", job.id, "10")
    with store.read() as tx:
        assert [each.step for each in tx.checkpoints.of_job(job.id)] == [30, 20]
    assert (job.folder / "step-00000010").exists()
    remove_left_checkpoints(store, settings)
    assert job.steps == [20, 30]
    with store.read() as tx:
        assert tx.checkpoints.in_deletion() == []


def test_a_checkpoint_that_is_saved_again_keeps_its_pin(make_job, store):
    job = make_job(S.RUNNING)
    job.pin("10")
    with store.begin() as tx:
        tx.checkpoints.add(JobRef(job.id, 1), checkpoint(job.id, 10, 1))
        assert tx.checkpoints.get(job.id, "step-00000010").is_pinned


@pytest.mark.parametrize(
    "body",
    [{"older_than_days": -1}, {"older_than_days": "x"}, {"jobs": [""]}, {"jobs": "all"}, {"keep": 1}, {"dry_run": 2}],
)
def test_a_rule_that_makes_no_sense_is_refused(client, body):
    assert client.post(PRUNE, json=body).status_code == 422
