"""`/metrics`: what it says, and that the reference page and the dashboard name exactly what it has."""

import asyncio
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.telemetry.samples import Sample
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas.telemetry import GpuSample, HostSample
from ftlab.status import JobStatus, ReasonCode
from serve.access import gate
from serve.metrics.device_metrics import device_metrics
from serve.metrics.process_metrics import ProcessMetrics, forget_earlier_counts, metrics_folder
from serve.metrics.service_metrics import service_metrics
from tests.support.documents import ROOT
from tests.support.service_fakes import FakeTelemetry
from tests.unit.serve.jobs.statuses import NOW, bring
from tests.unit.serve.streams.running import JOB, running
from tests.unit.serve.streams.sse import opened
from tracking.store.records import MetricRecord
from tracking.store.totals import totals_of

DASHBOARD = ROOT / "ray_configs" / "grafana-dashboard.json"
PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")


GPUS = (
    GpuSample(
        index=0,
        utilization_percent=90,
        memory_used_bytes=3,
        memory_total_bytes=4,
        temperature_celsius=60,
        power_watts=500,
        clock_mhz=1500,
        throttle_reasons=["power"],
    ),
    GpuSample(index=1, error="The driver has lost GPU 1."),
)
HOST = HostSample(cpu_percent=50, memory_used_bytes=1, memory_total_bytes=2)
TELEMETRY = FakeTelemetry({"node-1": ("alpha", Sample(0.0, HOST, GPUS)), "node-2": ("beta", None)})


def scrape(client) -> dict:
    """Each sample by its name and labels."""
    reply = client.get("/metrics")
    assert reply.status_code == 200, reply.text
    families = text_string_to_metric_families(reply.text)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def families_of(store) -> dict:
    """What is exported: the labels of each metric by its name, with the suffix that queries use."""
    metrics = ProcessMetrics()
    metrics.count_request("GET", "/health", 200, 0.1)
    metrics.count_closed_stream("websocket", "job_ended")
    with metrics.stream("websocket"):
        found = [*service_metrics(store, "1"), *device_metrics(TELEMETRY), *metrics.collect()]
    families = {}
    for family in found:
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        families[family.name + ("_total" if family.type == "counter" else "")] = (family.type, labels)
    return families


@pytest.fixture
def busy(store, client, config):
    """A store with a queued job, one that runs, and one whose first attempt has ended."""
    ids = [client.post("/api/training/jobs", json=config).json()["id"] for _ in range(3)]
    for job_id in ids[1:]:
        ref = bring(store, job_id, JobStatus.RUNNING)
        with store.begin() as tx:
            tx.jobs.record_progress(ref, step=25, total_steps=100, epoch=0.25, now=NOW)
            points = [("step_time_s", 1, 9.0), ("step_time_s", 2, 0.5), ("tokens_per_s", 2, 800.0)]
            tx.metrics.add([MetricRecord(job_id, name, step, value, NOW, 1) for name, step, value in points])
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.DEVICE_OOM, message=None, now=datetime.now(UTC))
        tx.jobs.move(ref, JobStatus.FAILED, now=datetime.now(UTC), reason=ReasonCode.DEVICE_OOM)
    return ids


def test_jobs_attempts_and_devices(client, store, busy):
    found = scrape(client)
    assert found["ftlab_jobs", "queued"] == found["ftlab_jobs", "running"] == found["ftlab_jobs", "failed"] == 1
    assert found["ftlab_jobs", "completed"] == 0
    assert found["ftlab_attempts_ended_total", "device_oom"] == 1
    assert found["ftlab_attempts_ended_total", "ok"] == 0
    assert found["ftlab_attempts_live",] == 1
    assert found["ftlab_job_wait_seconds_count",] == 2
    assert found["ftlab_devices_held", "cpu"] >= 1
    assert found["ftlab_job_step_seconds", busy[1]] == 0.5
    assert found["ftlab_job_tokens_per_second", busy[1]] == 800.0
    assert found["ftlab_job_progress_ratio", busy[1]] == 0.25
    assert ("ftlab_job_step_seconds", busy[2]) not in found  # it has ended
    with store.read() as tx:
        assert found["ftlab_events_total",] == tx.events.last_position("local")
    assert 0 < found["ftlab_queue_oldest_job_age_seconds",] < 60
    assert found["ftlab_database_up",] == 1
    assert found["ftlab_database_size_bytes",] > 10_000
    assert found["ftlab_scheduler_up",] in (0, 1)


def test_an_attempt_counts_once_and_also_after_its_job_was_deleted(client, store, busy):
    before = scrape(client)
    now = datetime.now(UTC)
    with store.begin() as tx:
        [ended] = tx.attempts.uncounted()
        assert tx.attempts.count(tx.jobs.get(ended.job_id).ref, now=now)
        tx.totals.add(totals_of(ended, tx.jobs.get(ended.job_id)))
        tx.jobs.set_mlflow(ended.job_id, cursor=None)
    counted = scrape(client)
    names = ("ftlab_attempts_ended_total", "ftlab_job_wait_seconds_count")
    assert {key: counted[key] for key in counted if key[0] in names} == {
        key: before[key] for key in before if key[0] in names
    }
    assert counted["ftlab_device_seconds_total", "cpu"] >= before["ftlab_device_seconds_total", "cpu"]


def test_the_sums_of_attempts(store, client, config):
    job_id = client.post("/api/training/jobs", json=config).json()["id"]
    ref = bring(store, job_id, JobStatus.RUNNING)
    with store.read() as tx:
        job, attempt = tx.jobs.get(job_id), tx.attempts.get(ref)
    later = attempt.created_at + timedelta(seconds=100)
    with store.read() as tx:
        [live] = tx.totals.attempts(later)
    assert (live.reason, live.num_attempts, live.run_s, live.num_waits) == (None, 1, 100.0, 1)
    assert (live.cpu_s, live.gpu_s) == (100.0 * attempt.cpus, 100.0 * attempt.gpus)
    assert live.wait_s == max(0.0, (attempt.created_at - job.created_at).total_seconds())
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=later)
        ended = tx.attempts.get(ref)
        tx.attempts.count(ref, now=later)
        for _ in range(2):
            tx.totals.add(totals_of(ended, job))
    with store.read() as tx:
        [summed] = tx.totals.attempts(later + timedelta(days=1))
    assert (summed.reason, summed.num_attempts, summed.run_s) == (ReasonCode.OK, 2, 200.0)


def test_requests_are_counted_by_route_and_not_by_path(client):
    for path in ("/api/training/jobs/one", "/api/training/jobs/two", "/nowhere", "/elsewhere", "/health"):
        client.get(path)
    client.request("BREW", "/health")
    found = scrape(client)
    requests = {key[1:]: value for key, value in found.items() if key[0] == "ftlab_http_requests_total"}
    assert requests[tuple(sorted(("GET", "/api/training/jobs/{job_id}", "404")))] == 2
    assert requests[tuple(sorted(("GET", "other", "404")))] == 2
    assert requests[tuple(sorted(("GET", "/health", "200")))] == 1
    assert requests[tuple(sorted(("other", "/health", "405")))] == 1
    assert found["ftlab_http_request_duration_seconds_count", "/health", "GET"] == 1


def test_a_client_may_ask_for_openmetrics(client):
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=")
    reply = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.text.endswith("# EOF\n")


def test_without_the_database_the_rest_is_still_answered(client, store, monkeypatch):
    def unavailable():
        raise ServiceUnavailableError("gone")

    scrape(client)  # the process has seen once that there are no API keys
    monkeypatch.setattr(gate, "FIRST_KEY_CHECK_S", 0.0)
    monkeypatch.setattr(store, "read", unavailable)
    found = scrape(client)
    assert found["ftlab_database_up",] == 0
    assert not any(key[0] == "ftlab_jobs" for key in found)


def test_live_streams(tmp_path):
    async def main():
        async with running(tmp_path) as world, httpx2.AsyncClient() as client:

            async def lines(word: str) -> list[str]:
                text = (await client.get(world.url("/metrics"))).text
                return [line for line in text.splitlines() if word in line and not line.startswith("#")]

            ref = world.add_job()
            of_job = f"/api/training/jobs/{JOB}/events/stream"
            async with opened(world), world.follow() as socket:
                await socket.recv()
                assert sorted(await lines("ftlab_streams{")) == [
                    'ftlab_streams{kind="server_sent_events"} 1.0',
                    'ftlab_streams{kind="websocket"} 1.0',
                ]
                world.finish(ref)
                await socket.wait_closed()
                assert await lines("ftlab_streams_closed_total{") == [
                    'ftlab_streams_closed_total{kind="websocket",reason="job_ended"} 1.0'
                ]
            async with asyncio.timeout(5):
                while 'ftlab_streams{kind="server_sent_events"} 0.0' not in await lines("ftlab_streams{"):
                    await asyncio.sleep(0.05)
            assert (await client.get(world.url(f"{of_job}?after=0"))).status_code == 200
            assert [line for line in await lines("duration_seconds") if "stream" in line] == []

    asyncio.run(main())


REPLICA = """
import sys
from pathlib import Path
from prometheus_client import generate_latest  # imported before the folder is known, as Ray does
from serve.metrics.process_metrics import ProcessMetrics
metrics = ProcessMetrics(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    metrics.count_request("GET", "/health", 200, 0.01)
is_open = metrics.stream("websocket")
is_open.__enter__()
print("ready", flush=True)
sys.stdin.readline()
print(generate_latest(metrics).decode())
"""


def test_replicas_answer_for_each_other_and_for_those_that_have_ended(settings):
    folder = metrics_folder(settings)
    replicas = [
        subprocess.Popen(
            [sys.executable, "-c", REPLICA, str(folder), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for count in (3, 4)
    ]
    for replica in replicas:
        assert replica.stdout.readline() == "ready\n"
    replicas[0].kill()
    replicas[0].wait()
    text, _ = replicas[1].communicate("\n", timeout=30)
    assert 'ftlab_http_requests_total{method="GET",route="/health",status="200"} 7.0' in text
    assert 'ftlab_http_request_duration_seconds_count{method="GET",route="/health"} 7.0' in text
    assert 'ftlab_streams{kind="websocket"} 1.0' in text  # not that of the killed replica
    forget_earlier_counts(settings)
    assert list(folder.iterdir()) == []


def test_machines_and_gpus():
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in device_metrics(TELEMETRY)
        for sample in family.samples
    }
    assert values["ftlab_node_cpu_utilization_ratio", "alpha"] == 0.5
    assert values["ftlab_gpu_utilization_ratio", "0", "alpha"] == 0.9
    assert values["ftlab_gpu_clock_hertz", "0", "alpha"] == 1.5e9
    assert values["ftlab_gpu_throttled", "0", "alpha", "power"] == 1
    assert (values["ftlab_gpu_up", "0", "alpha"], values["ftlab_gpu_up", "1", "alpha"]) == (1, 0)
    assert ("ftlab_gpu_utilization_ratio", "1", "alpha") not in values
    assert not any("beta" in key for key in values)
    assert all(family.samples == [] for family in device_metrics(FakeTelemetry()))


def test_every_metric_is_documented_with_its_type_and_labels(store, busy):
    rows = re.findall(r"^\| `(ftlab_\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert documented == families_of(store)


def test_the_dashboard_asks_for_what_is_exported(store, busy):
    families = families_of(store)
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(queries) >= 10
    asked = set()
    for query in queries:
        names = set(re.findall(r"ftlab_\w+", query))
        assert names, query
        families_here = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in families else name for name in names}
        assert families_here <= families.keys(), query
        known = set().union(*(families[name][1] for name in families_here)) | {"le"}
        used = re.findall(r"by \(([^)]*)\)", query) + re.findall(r"(\w+)=", query)
        assert {label.strip() for part in used for label in part.split(",")} <= known, query
        asked |= families_here
    assert families.keys() - asked <= {"ftlab_info", "ftlab_database_read_seconds", "ftlab_attempt_run_seconds_total"}
