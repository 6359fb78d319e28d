"""Machines and the load of jobs in the SDK and the CLI, against the real HTTP service."""

from datetime import UTC, datetime, timedelta

import pytest

from cluster.policy import Fleet, Node
from cluster.telemetry.samples import Sample
from ftlab import errors
from ftlab.formatting import used_of
from ftlab.schemas.telemetry import HostSample
from tests.unit.ftlab.device_samples import GPU, LOST
from tests.unit.tracking.samples import add_job, start
from tracking.store.device_faults import GpuOut
from tracking.store.records import JobRef, MetricRecord
from tracking.store.telemetry import SeriesKey
from tracking.store.telemetry_points import from_readings

GIB = 1024**3
HOST = HostSample(cpu_percent=41.6, memory_used_bytes=3 * 10**9, memory_total_bytes=16 * 10**9)


@pytest.fixture
def address(world) -> str:
    return str(world.url(""))


@pytest.fixture
def ref(world) -> JobRef:
    """A running job on GPU 0 of `alpha`, with points of the last ten seconds."""
    ref = start(world.store, add_job(world.store, name="nightly").id)
    world.coordinator.fleet = Fleet((Node("node-1", cpus=8, gpus=2),))
    world.telemetry.found = {"node-1": ("alpha", Sample(datetime.now(UTC).timestamp(), HOST, (GPU, LOST)))}
    begin = datetime.now(UTC).timestamp() - 10
    gpu = {"utilization_percent": 90.0, "memory_used_bytes": 30e9, "memory_total_bytes": 80e9, "power_watts": 500.0}
    processes = {"cpu_cores": 1.9, "memory_bytes": 512e6}
    with world.store.begin() as tx:
        tx.jobs._connection.exec_driver_sql("""UPDATE attempts SET placement = '[["node-1", 0]]'""")
        tx.attempts.set_processes(ref, pids=[11], process_devices=[("node-1", (0,))])
        for device, values in (("gpu-0", gpu), ("processes", processes)):
            points = from_readings([(begin + second, values) for second in range(10)])
            tx.telemetry.add(SeriesKey("alpha", device, ref.id, ref.attempt), points)
    return ref


def test_a_gpu_that_is_taken_out_and_the_history_of_a_machine(client, cli, world, ref):
    with world.store.begin() as tx:
        tx.device_faults.take_out(GpuOut("alpha", 1, datetime.now(UTC), "3 jobs failed on it: a, b, c."))
        points = from_readings([(datetime.now(UTC).timestamp(), {"cpu_percent": 5.0, "memory_used_bytes": 1.0})])
        tx.telemetry.add(SeriesKey("alpha", "host"), points)
    [node] = client.nodes()
    assert [(gpu.gpu, gpu.reason) for gpu in node.gpus_out] == [(1, "3 jobs failed on it: a, b, c.")]
    assert [gpu.node for gpu in client.queue().gpus_out] == ["alpha"]
    shown = cli("nodes")
    assert shown.lines[3].split("\t")[6].startswith("taken out; ")
    assert "GPU 1 of alpha is taken out: 3 jobs failed on it: a, b, c." in shown.err
    assert cli("nodes", "restore", "alpha", "gpu-1").err == "Jobs can get gpu-1 of alpha again.\n"
    assert client.nodes()[0].gpus_out == []
    again = cli("nodes", "restore", "alpha", "gpu-1")
    assert again.code != 0
    assert "No device 'gpu-1' of 'alpha' is taken out." in again.err
    [host] = client.node_history("alpha", "cpu_percent").data
    assert (host.device, host.values["cpu_percent"].mean, list(host.values)) == ("host", [5.0], ["cpu_percent"])
    with pytest.raises(errors.NotFoundError):
        client.node_history("beta")


def test_series_of_several_jobs(client, world, ref):
    other = add_job(world.store, name="other").id
    now = datetime.now(UTC)
    with world.store.begin() as tx:
        tx.metrics.add(
            [MetricRecord(ref.id, name, step, step / 2, now, 1) for name in ("loss", "x") for step in (1, 2)]
        )
    [found] = client.series([ref.id, other, "job-404"])
    assert (found.job_id, found.name, found.steps, found.values) == (ref.id, "loss", [1, 2], [0.5, 1.0])
    assert [each.name for each in client.series([ref.id], ["loss", "x"], max_points=2)] == ["loss", "x"]


def test_telemetry_in_the_sdk(client, ref):
    [node] = client.nodes()
    assert (node.name, node.cpus, node.jobs[0].job_id, node.jobs[0].gpus) == ("alpha", 8, ref.id, [0])
    assert (node.devices[0].power_watts, node.devices[1].error) == (512.3, LOST.error)
    found = client.jobs.gpu("nightly", "power_watts")
    assert [(series.device, list(series.values)) for series in found.data] == [
        ("gpu-0", ["power_watts"]),
        ("processes", []),
    ]
    several = client.jobs.gpu(ref.id, ["power_watts", "cpu_cores"], max_points=2)
    assert [list(series.values) for series in several.data] == [["power_watts"], ["cpu_cores"]]
    now = datetime.now(UTC)
    assert client.jobs.gpu(ref.id, after=now).data == client.jobs.gpu(ref.id, until=now - timedelta(hours=1)).data == []
    with pytest.raises(errors.NotFoundError):
        client.jobs.gpu("unknown")


def test_machines_on_the_command_line(cli, ref):
    assert [line.split("\t") for line in cli("nodes").lines] == [
        ["NODE", "DEVICE", "LOAD", "MEMORY", "TEMPERATURE", "POWER", "STATE", "JOBS"],
        ["alpha", "8 cores", "42 %", "3.0 of 16.0 GB", "", "", "", "nightly"],
        ["alpha", "GPU 0 NVIDIA H100", "90 %", "30.0 of 80.0 GB", "64 °C", "512 W", "throttled: power", "nightly"],
        ["alpha", "GPU 1", "", "", "", "", "The driver has lost GPU 1: GPU is lost", ""],
    ]
    assert cli("nodes", "--json").json[0]["host"]["cpu_percent"] == 41.6


def test_machines_of_a_service_that_starts(cli, world):
    run = cli("nodes")
    assert (run.code, run.out) == (8, "")
    assert "neither the scheduler nor the telemetry process answers" in run.err
    world.coordinator.fleet = Fleet(())
    assert cli("nodes").err == "No machine has joined the cluster.\n"


def test_the_load_of_a_running_job(cli, ref):
    [load] = [line for line in cli("show", "nightly").lines if line.startswith("Load")]
    assert load.split("  ")[-1].strip() == (
        "GPU 0 on alpha: 90 %, 30.0 of 80.0 GB, 500 W; 1.9 cores, 512.0 MB on alpha"
    )


def test_amounts_of_memory():
    assert used_of(10**9, 16 * 10**9) == "1.0 of 16.0 GB"
    assert used_of(5 * 10**6, 16 * 10**9) == "5.0 MB of 16.0 GB"
    assert used_of(None, 1) == ""
