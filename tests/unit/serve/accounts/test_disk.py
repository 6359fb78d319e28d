"""`/api/disk`: sizes by owner and kind, in the SDK and the CLI too."""

import os
from dataclasses import replace

from ftlab.schemas.accounts import Scope
from serve.accounts.folder_sizes import KEEP_S, FolderSizes
from tests.unit.serve.accounts.with_keys import add_key
from tests.unit.serve.conftest import ROWS
from tests.unit.serve.jobs.statuses import NOW, S, bring
from tests.unit.tracking.samples import add_job, checkpoint, dataset, model


def uses(client):
    reply = client.get("/api/disk")
    assert reply.status_code == 200, reply.text
    return {each["kind"]: (each["owner"], each["num"], each["size_bytes"]) for each in reply.json()["data"]}


def add_checkpoints(store, sizes, **job):
    added = add_job(store, **job)
    ref = bring(store, added.id, S.RUNNING)
    for step, size in enumerate(sizes, 1):
        with store.begin() as tx:
            tx.checkpoints.add(ref, checkpoint(added.id, step, ref.attempt, size_bytes=size))
    with store.begin() as tx:
        tx.jobs.move(ref, S.FAILED, now=NOW)
    return added.id


def test_an_empty_service(client):
    found = client.get("/api/disk").json()
    assert 0 < found["free_bytes"] <= found["total_bytes"]
    assert all(each["size_bytes"] == each["num"] == 0 for each in found["data"])
    assert found["jobs"] == []


def test_sizes_by_kind_and_the_largest_jobs(client, store, settings):
    client.post("/api/datasets", content=ROWS, headers={"x-filename": "rows.jsonl"})
    small, large = add_checkpoints(store, [5], name="small"), add_checkpoints(store, [10, 20], name="large")
    add_checkpoints(store, [1000], owner="someone")
    folder = settings.home / "jobs" / large / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"x" * 7)
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    os.link(folder / "model.safetensors", settings.home / "jobs" / large / "shared-with-a-checkpoint")
    with store.begin() as tx:
        tx.models.add(replace(model(large, "mdl-1"), path=folder))
    hub = settings.home / "cache" / "hub"
    hub.mkdir(parents=True)
    (hub / "weights").write_bytes(b"x" * 50)
    (hub / "link").symlink_to(hub / "weights")
    found = uses(client)
    assert found["datasets"] == ("local", 1, len(ROWS))
    assert found["checkpoints"] == ("local", 3, 35)
    assert found["models"] == ("local", 1, 7)
    assert found["hub"][:2] == (None, 2)
    assert 50 <= found["hub"][2] < 1000
    jobs = client.get("/api/disk").json()["jobs"]
    assert [(job["job_id"], job["name"], job["num_checkpoints"], job["size_bytes"]) for job in jobs] == [
        (large, "large", 2, 30),
        (small, "small", 1, 5),
    ]


def test_an_admin_sees_what_others_use(client, store):
    add_checkpoints(store, [10, 20], owner="ann")
    add_checkpoints(store, [1], owner="bob")
    with store.begin() as tx:
        tx.datasets.add(replace(dataset("ds-1", owner="bob"), size_bytes=500))
    reader, admin = add_key(store, "ann", Scope.TRAIN), add_key(store, "root", Scope.ADMIN)
    found = client.get("/api/disk", headers=admin).json()
    assert [(use["owner"], use["kind"], use["num"], use["size_bytes"]) for use in found["others"]] == [
        ("bob", "datasets", 1, 500),
        ("ann", "checkpoints", 2, 30),
        ("bob", "checkpoints", 1, 1),
    ]
    mine = client.get("/api/disk", headers=reader).json()
    assert mine["others"] == []
    assert ("ann", 2, 30) in [(use["owner"], use["num"], use["size_bytes"]) for use in mine["data"]]


def test_a_folder_is_measured_once_in_a_while(tmp_path):
    clock = [0.0]
    sizes = FolderSizes(lambda: clock[0])
    assert sizes.of(tmp_path / "none").num == 0
    (tmp_path / "file").write_bytes(b"xyz")
    assert (sizes.of(tmp_path).num, sizes.of(tmp_path).size_bytes) == (1, 3)
    (tmp_path / "more").write_bytes(b"xyz")
    clock[0] = KEEP_S - 1
    assert sizes.of(tmp_path).num == 1
    clock[0] = KEEP_S
    assert sizes.of(tmp_path).num == 2
