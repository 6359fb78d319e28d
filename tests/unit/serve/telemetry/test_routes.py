"""`/api/nodes` and the telemetry of a job."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from cluster.policy import Fleet, Node
from cluster.telemetry.samples import Sample
from ftlab.schemas.telemetry import GpuSample, HostSample
from serve.app import create_app
from serve.context import Services
from tests.support.service_fakes import FakeCoordinator, FakeTelemetry
from tracking.store import Store
from tracking.store.device_faults import GpuOut
from tracking.store.leases import COORDINATOR
from tracking.store.records import JobRef
from tracking.store.telemetry import SeriesKey
from tracking.store.telemetry_points import from_readings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOST = HostSample(cpu_percent=12.5, memory_used_bytes=1000, memory_total_bytes=4000)
ALPHA = Node("node-1", cpus=8, gpus=2, gpu_type="H100")


@pytest.fixture
def telemetry() -> FakeTelemetry:
    return FakeTelemetry()


@pytest.fixture
def app(services: Services, telemetry: FakeTelemetry) -> FastAPI:
    return create_app(replace(services, telemetry=telemetry))


def running(store: Store, client: TestClient, config: dict[str, Any], **placed: Any) -> JobRef:
    job_id = client.post("/api/training/jobs", json=config | {"name": "mine"}).json()["id"]
    now = datetime.now(UTC)
    with store.begin() as tx:
        epoch = tx.leases.acquire(COORDINATOR, "test", ttl_s=60, now=now).epoch
        driver = f"run-{job_id}-1"
        tx.jobs.claim(job_id, driver=driver, epoch=epoch, now=now, **placed)
    return JobRef(job_id, 1)


def test_machines_with_their_load(client: TestClient, coordinator: FakeCoordinator, telemetry: FakeTelemetry) -> None:
    coordinator.fleet = Fleet((ALPHA, Node("node-2", cpus=4, gpus=0)))
    sample = Sample(NOON.timestamp(), HOST, (GpuSample(index=0, utilization_percent=90, throttle_reasons=["power"]),))
    telemetry.found = {"node-1": ("alpha", sample), "node-3": ("head", None)}
    alpha, head, unsampled = client.get("/api/nodes").json()["data"]
    assert (alpha["id"], alpha["name"], alpha["cpus"], alpha["gpus"], alpha["gpu_type"]) == (
        "node-1",
        "alpha",
        8,
        2,
        "H100",
    )
    assert (alpha["sampled_at"], alpha["host"]["cpu_percent"]) == ("2026-03-01T12:00:00Z", 12.5)
    assert alpha["devices"][0]["throttle_reasons"] == ["power"]
    assert (head["name"], head["cpus"], head["host"], head["sampled_at"]) == ("head", 0, None, None)
    assert (unsampled["name"], unsampled["cpus"], unsampled["host"]) == ("node-2", 4, None)


def test_jobs_on_a_machine(
    client: TestClient, coordinator: FakeCoordinator, store: Store, config: dict[str, Any]
) -> None:
    coordinator.fleet = Fleet((ALPHA,))
    ref = running(store, client, config, cpus=4, gpus=2, placement=[("node-1", 0), ("node-2", 1)])
    (node,) = client.get("/api/nodes").json()["data"]
    assert node["jobs"] == [{"job_id": ref.id, "job_name": "mine", "cpus": 2, "gpus": [0]}]
    with store.begin() as tx:
        tx.attempts.set_processes(ref, pids=[1, 2], process_devices=[("node-1", (1,)), ("node-2", (0,))])
        tx.jobs._connection.exec_driver_sql("UPDATE jobs SET owner = 'somebody'")
    (node,) = client.get("/api/nodes").json()["data"]
    assert node["jobs"] == [{"job_id": None, "job_name": None, "cpus": 2, "gpus": [1]}]
    assert ref.id not in client.get("/api/nodes").text


def test_machines_while_the_scheduler_does_not_answer(client: TestClient, telemetry: FakeTelemetry) -> None:
    telemetry.found = {"node-1": ("alpha", Sample(NOON.timestamp(), HOST, (GpuSample(index=0),)))}
    (node,) = client.get("/api/nodes").json()["data"]
    assert (node["name"], node["cpus"], node["gpus"]) == ("alpha", None, 1)


def test_machines_that_nothing_knows(client: TestClient, telemetry: FakeTelemetry) -> None:
    telemetry.found = None
    reply = client.get("/api/nodes")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "nodes_unavailable")


def add_load(store: Store, ref: JobRef, seconds: int) -> None:
    points = from_readings(
        [
            (NOON.timestamp() + second, {"cpu_cores": 4.0 if second == 3 else 1.0, "memory_bytes": 512.0})
            for second in range(seconds)
        ]
    )
    with store.begin() as tx:
        tx.telemetry.add(SeriesKey("alpha", "processes", ref.id, ref.attempt), points)


@pytest.fixture
def ref(store: Store, client: TestClient, config: dict[str, Any]) -> JobRef:
    return running(store, client, config, cpus=2, gpus=0)


def test_series_of_a_job(client: TestClient, store: Store, ref: JobRef) -> None:
    path = f"/api/training/jobs/{ref.id}/gpu"
    assert client.get(path).json() == {"job_id": ref.id, "interval_s": 1, "data": []}
    add_load(store, ref, 100)
    found = client.get(path).json()
    (series,) = found["data"]
    assert (found["interval_s"], series["node"], series["device"]) == (1, "alpha", "processes")
    assert (len(series["times"]), series["times"][0], set(series["attempts"])) == (100, "2026-03-01T12:00:00Z", {1})
    assert series["values"]["cpu_cores"]["mean"][:4] == [1, 1, 1, 4]
    assert client.get(f"/api/training/gpu/{ref.id}").json() == found


def test_fewer_points_keep_the_peak(client: TestClient, store: Store, ref: JobRef) -> None:
    add_load(store, ref, 100)
    found = client.get(f"/api/training/jobs/{ref.id}/gpu", params={"max_points": 6, "name": "cpu_cores"}).json()
    (series,) = found["data"]
    assert (found["interval_s"], len(series["times"]), list(series["values"])) == (20, 5, ["cpu_cores"])
    assert series["values"]["cpu_cores"]["max"] == [4, 1, 1, 1, 1]
    assert series["values"]["cpu_cores"]["mean"][0] == pytest.approx(1.15)


def test_a_part_of_the_time(client: TestClient, store: Store, ref: JobRef) -> None:
    add_load(store, ref, 100)
    limits = {"after": (NOON + timedelta(seconds=90)).isoformat(), "until": (NOON + timedelta(seconds=95)).isoformat()}
    (series,) = client.get(f"/api/training/jobs/{ref.id}/gpu", params=limits).json()["data"]
    seconds = [datetime.fromisoformat(time).second for time in series["times"]]
    assert seconds == [31, 32, 33, 34, 35]


@pytest.mark.parametrize(
    "query", ["after=noon", "after=2026-03-01T12:00:00", "max_points=1", "max_points=9999", "names=a", "until="]
)
def test_bad_parameters(client: TestClient, ref: JobRef, query: str) -> None:
    reply = client.get(f"/api/training/jobs/{ref.id}/gpu?{query}")
    assert reply.status_code in (400, 422)
    assert reply.json()["error"]["param"] == query.split("=")[0]


def test_a_job_of_another_owner(client: TestClient, store: Store, ref: JobRef) -> None:
    with store.begin() as tx:
        tx.jobs._connection.exec_driver_sql("UPDATE jobs SET owner = 'somebody'")
    assert client.get(f"/api/training/jobs/{ref.id}/gpu").status_code == 404


def add_host_load(store: Store, seconds: int) -> None:
    readings = [(NOON.timestamp() + second, {"cpu_percent": float(second)}) for second in range(seconds)]
    with store.begin() as tx:
        tx.telemetry.add(SeriesKey("alpha", "host"), from_readings(readings))
        tx.telemetry.add(SeriesKey("beta", "host"), from_readings(readings))
        tx.telemetry.add(SeriesKey("alpha", "gpu-0"), from_readings([(NOON.timestamp(), {"power_watts": 300.0})]))


def test_the_history_of_a_machine(client: TestClient, store: Store, ref: JobRef) -> None:
    path = "/api/nodes/alpha/history"
    missing = client.get(path)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "node_not_found")
    add_host_load(store, 100)
    add_load(store, ref, 100)  # of a job: not part of it
    found = client.get(path).json()
    gpu, host = found["data"]
    assert (found["node"], found["interval_s"], gpu["device"], host["device"]) == ("alpha", 1, "gpu-0", "host")
    assert gpu["values"]["power_watts"]["mean"] == [300]
    assert (len(host["times"]), host["values"]["cpu_percent"]["mean"][:3]) == (100, [0, 1, 2])
    few = client.get(path, params={"max_points": 11, "name": "cpu_percent", "until": "2026-03-01T12:01:40Z"}).json()
    assert few["interval_s"] == 10
    [points] = [each["values"]["cpu_percent"] for each in few["data"] if each["values"]]
    assert (points["min"][1], points["mean"][1], points["max"][1]) == (10, 14.5, 19)
    later = client.get(path, params={"after": "2026-03-02T00:00:00Z"})
    assert (later.status_code, later.json()["data"]) == (200, [])


def test_a_gpu_that_was_taken_out_is_shown_and_restored(
    client: TestClient, coordinator: FakeCoordinator, telemetry: FakeTelemetry, store: Store
) -> None:
    coordinator.fleet = Fleet((ALPHA,))
    telemetry.found = {"node-1": ("alpha", None)}
    with store.begin() as tx:
        assert tx.device_faults.take_out(GpuOut("alpha", 1, NOON, "3 jobs failed on it."))
    out = [{"node": "alpha", "gpu": 1, "since": "2026-03-01T12:00:00Z", "reason": "3 jobs failed on it."}]
    assert client.get("/api/nodes").json()["data"][0]["gpus_out"] == out
    assert client.get("/api/training/queue").json()["gpus_out"] == out
    wakes = coordinator.num_wakes
    assert client.post("/api/nodes/alpha/devices/gpu-1/restore").status_code == 204
    assert coordinator.num_wakes == wakes + 1
    assert client.get("/api/nodes").json()["data"][0]["gpus_out"] == []
    again = client.post("/api/nodes/alpha/devices/gpu-1/restore")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "device_not_out")
    assert client.post("/api/nodes/alpha/devices/cpu/restore").status_code == 422
