"""The devices of the service by type, and those that jobs hold."""

from datetime import UTC, datetime

from cluster.policy import Fleet, Node
from tests.unit.tracking.samples import add_job

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def hold(store, *, cpus, gpus=0.0, types=None, owner="local"):
    job = add_job(store, owner=owner)
    with store.begin() as tx:
        lease = tx.leases.acquire("coordinator", "test", ttl_s=3600, now=NOW)
        held = {"driver": f"run-{job.id}", "cpus": cpus, "gpus": gpus, "gpu_types": types or {}}
        tx.jobs.claim(job.id, **held, epoch=lease.epoch, now=NOW)


def devices(client):
    reply = client.get("/api/training/devices")
    assert reply.status_code == 200, reply.text
    return [(each["device"], each["total"], each["used"], each["free"]) for each in reply.json()["data"]]


def test_devices_of_all_machines_and_jobs_by_type(client, store, coordinator):
    nodes = Node("a", 8, 4, gpu_type="H100"), Node("b", 4, 1, gpu_type="L4"), Node("c", 2, 1)
    coordinator.fleet = Fleet(nodes)
    hold(store, cpus=2, gpus=1.5, types={"H100": 1.5})
    hold(store, cpus=3, gpus=0.3, types={"H100": 0.1}, owner="someone")
    assert devices(client) == [("H100", 4, 1.6, 2.4), ("L4", 1, 0, 1), ("gpu", 1, 0.2, 0.8), ("cpu", 14, 5, 9)]


def test_gpus_that_are_taken_out_are_not_free(client, store, coordinator):
    nodes = Node("a", 8, 4, gpu_type="H100", name="alpha"), Node("b", 8, 2, gpu_type="H100", name="beta")
    coordinator.fleet = Fleet(nodes).without({("alpha", 0), ("alpha", 3), ("beta", 1)})
    hold(store, cpus=2, gpus=1, types={"H100": 1})
    assert devices(client) == [("H100", 6, 1, 2), ("cpu", 16, 2, 14)]
    assert client.get("/api/training/devices").json()["data"][0]["out"] == 3


def test_what_jobs_hold_is_known_without_the_scheduler(client, store, coordinator):
    assert devices(client) == []
    hold(store, cpus=2)
    assert devices(client) == [("cpu", None, 2, None)]


def test_devices_of_a_machine_that_is_gone_are_not_negative(client, store, coordinator):
    coordinator.fleet = Fleet.of_one(1)
    hold(store, cpus=2, gpus=1, types={"L4": 1})
    assert devices(client) == [("L4", None, 1, None), ("cpu", 1, 2, 0)]
