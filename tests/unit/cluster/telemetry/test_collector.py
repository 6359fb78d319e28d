"""The collector, stepped by hand: whose samples it takes, when it writes, and what it does without the database."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from cluster.names import node_names
from cluster.telemetry.collector import Collector, watched_by_node
from cluster.telemetry.samples import NodeSamples, Sample, Usage, Watched, WatchedAttempts
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas.telemetry import GpuProcess, GpuSample, HostSample
from ftlab.status import ReasonCode
from tests.unit.cluster.coordinator.world import World, locked
from tracking.store import Store
from tracking.store.records import JobRef
from tracking.store.telemetry import StoredSeries
from tracking.store.telemetry_rows import telemetry

HOST = HostSample(cpu_percent=50, memory_used_bytes=1000, memory_total_bytes=2000)
GPU = GpuSample(index=1, utilization_percent=90, processes=[GpuProcess(pid=11, memory_bytes=700), GpuProcess(pid=99)])


class FakeSamplers:
    """One machine that takes a sample for each second since the last look."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._taken_until = world.now
        self.watched: dict[str, WatchedAttempts] = {}
        self.is_alive = True
        self.answers = True

    def collect(self, watched: dict[str, WatchedAttempts]) -> list[NodeSamples]:
        samples = []
        while self._taken_until < self._world.now:
            self._taken_until += timedelta(seconds=1)
            usage = {ref: Usage(had, 1.5, 500) for ref, had in self.watched.get("node-1", {}).items()}
            samples.append(Sample(self._taken_until.timestamp(), HOST, (replace_index(0), GPU), usage))
        self.watched = dict(watched)
        if not self.is_alive:
            return []
        return [NodeSamples("node-1", "alpha", tuple(samples) if self.answers else ())]


def replace_index(index: int) -> GpuSample:
    return GPU.model_copy(update={"index": index, "processes": [], "throttle_reasons": ["power"]})


class Telemetry:
    """A collector whose clock is the world's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.samplers = FakeSamplers(world)
        self.collector = Collector(world.store, self.samplers, lambda: world.now)

    def pass_s(self, seconds: int) -> None:
        """Let time pass, with a tick every two seconds."""
        for _ in range(seconds // 2):
            self.world.now += timedelta(seconds=2)
            self.collector.tick()

    def run_job(self) -> str:
        """A job whose process is on GPU 1 of the machine."""
        job_id = self.world.running()
        with self.world.store.begin() as tx:
            tx.attempts.set_processes(JobRef(job_id, 1), pids=[11], process_devices=[("node-1", (1,))])
        return job_id

    def series(self, job_id: str) -> list[StoredSeries]:
        with self.world.store.read() as tx:
            return tx.telemetry.of_job(job_id)


@pytest.fixture
def scene(world: World) -> Telemetry:
    return Telemetry(world)


def num_rows(store: Store) -> int:
    with store.read() as tx:
        return int(tx.telemetry._connection.execute(select(func.count()).select_from(telemetry)).scalar_one())


def test_a_job_has_the_series_of_its_gpu_and_its_processes(scene: Telemetry) -> None:
    job_id = scene.run_job()
    scene.pass_s(14)
    gpu, processes = scene.series(job_id)
    assert (gpu.node, gpu.device, processes.device) == ("alpha", "gpu-1", "processes")
    assert set(gpu.points.series["utilization_percent"].mean) == {90}
    assert set(gpu.points.series["process_memory_bytes"].mean) == {700}
    assert set(processes.points.series["cpu_cores"].mean) == {1.5}
    assert len(processes.points.times) == 8  # ten seconds, less the tick that found the job


def test_samples_are_complete_soon_after_the_end(scene: Telemetry) -> None:
    job_id = scene.run_job()
    scene.pass_s(6)
    assert scene.series(job_id) == []
    scene.world.end_attempt(job_id, ReasonCode.OK)
    scene.pass_s(2)
    assert len(scene.series(job_id)[0].points.times) == 6
    assert scene.samplers.watched == {}


def test_an_idle_service_writes_once_a_minute(scene: Telemetry) -> None:
    scene.pass_s(58)
    assert num_rows(scene.world.store) == 0
    scene.pass_s(2)
    assert num_rows(scene.world.store) == 3  # the machine and two GPUs
    scene.pass_s(58)
    assert num_rows(scene.world.store) == 3


def test_samples_wait_for_the_database(scene: Telemetry, database: Path) -> None:
    job_id = scene.run_job()
    scene.pass_s(8)
    with locked(database):
        scene.world.now += timedelta(seconds=2)
        with pytest.raises(ServiceUnavailableError):
            scene.collector.tick()
    scene.pass_s(2)
    assert len(scene.series(job_id)[0].points.times) == 10


def test_newest_samples_of_live_machines(scene: Telemetry) -> None:
    assert scene.collector.newest == {}
    scene.samplers.answers = False
    scene.pass_s(2)
    assert scene.collector.newest == {"node-1": ("alpha", None)}
    scene.samplers.answers = True
    scene.pass_s(2)
    name, newest = scene.collector.newest["node-1"]
    assert (name, newest and newest.at) == ("alpha", scene.world.now.timestamp())
    scene.samplers.answers = False
    scene.pass_s(2)
    assert scene.collector.newest["node-1"] == ("alpha", newest)
    scene.samplers.is_alive = False
    scene.pass_s(2)
    assert scene.collector.newest == {}


def test_old_points_are_made_fewer(scene: Telemetry) -> None:
    scene.pass_s(60)
    scene.world.now += timedelta(hours=3)
    scene.samplers._taken_until = scene.world.now
    scene.pass_s(2)
    with scene.world.store.read() as tx:
        intervals = tx.telemetry._connection.execute(select(telemetry.c.interval_s)).scalars().all()
    assert sorted(intervals) == [1, 1, 1, 10, 10, 10]  # the newest ones, and those of the first minute


def test_processes_by_machine(world: World) -> None:
    attempt = world.attempt(world.running())
    devices = (("node-1", (0,)), ("node-1", (1,)), ("node-2", ()))
    ref = JobRef(attempt.job_id, 1)
    assert watched_by_node([replace(attempt, pids=(11, 12, 13), process_devices=devices), attempt]) == {
        "node-1": {ref: Watched((11, 12), (0, 1))},
        "node-2": {ref: Watched((13,), ())},
    }


def test_names_of_machines() -> None:
    hosts = {"aaaaaaaa": "alpha", "bbbbbbbb": "beta", "cccccccc": "beta"}
    nodes = [{"NodeID": node, "NodeManagerHostname": host} for node, host in hosts.items()]
    assert node_names(nodes) == {"aaaaaaaa": "alpha", "bbbbbbbb": "beta-bbbbbb", "cccccccc": "beta-cccccc"}
