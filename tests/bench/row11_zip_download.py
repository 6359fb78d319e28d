"""Row 11: the model ZIP in MB/s / the speed of `zlib.crc32` over the same bytes, and the memory of one more stream.

The model is 300 MB of random bytes: its job, marked as made by this benchmark, is written into the database of the
benchmark's own service as a job that has just completed.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ftlab.status import JobStatus, ReasonCode
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement, interleave
from tests.bench.memory import MB, watch
from tests.bench.processes import ROOT
from tests.bench.service import Service
from tests.bench.workload import TINY, Workload, prepare
from tracking.store import Transaction
from tracking.store.ids import new_id
from tracking.store.leases import COORDINATOR
from tracking.store.records import JobRef, ModelRecord
from train.checkpoints.checkpoint_files import commit

ROW = 11
TITLE = "ZIP download"
WEIGHT_BYTES = 300 * MB
NUM_STREAMS = 4
"""Downloads at the same time, to tell what one more costs."""
READ_BYTES = 1024 * 1024
REPLICA, PROXY = "ray::ServeReplica", "ray::ProxyActor"


@dataclass(frozen=True)
class Generator:
    """What `tests.bench.zip_generator` prints."""

    zip_mb_per_s: float
    crc_mb_per_s: float
    growth_mb: float


@dataclass(frozen=True)
class Download:
    mb_per_s: float
    """Of all streams together."""
    replicas_mb: float
    """Growth of the replicas' memory over its value before."""
    proxy_mb: float


def run(bench: Bench) -> list[Measurement]:
    service = bench.service
    if not service.is_own:
        raise BenchError("Row 11 writes a made-up job, which it only does in a service of its own: leave --server out.")
    work = prepare(service, bench.folder, TINY)
    job_id = _make_completed_job(service, work)
    folder = service.settings.home / "jobs" / job_id / "model"
    _download(service, job_id, 1)  # whatever is loaded at the first download
    one, generator, many = interleave(
        bench.pairs,
        partial(_download, service, job_id, 1),
        partial(_generate, folder),
        partial(_download, service, job_id, NUM_STREAMS),
    )
    return _measurements(one, generator, many)


def _measurements(one: list[Download], made: list[Generator], many: list[Download]) -> list[Measurement]:
    crc = [each.crc_mb_per_s for each in made]
    return [
        Measurement(
            ROW,
            "ZIP over HTTP",
            "MB/s",
            [each.mb_per_s for each in one],
            crc,
            is_higher_better=True,
            target=[Goal(0.9)],
        ),
        Measurement(
            ROW,
            "ZIP generator alone",
            "MB/s",
            [each.zip_mb_per_s for each in made],
            crc,
            is_higher_better=True,
            target=[Goal(0.9)],
        ),
        Measurement(
            ROW,
            f"memory per stream, replicas, {NUM_STREAMS} streams",
            "MB",
            [each.replicas_mb / NUM_STREAMS for each in many],
            floor=[Goal(20.0, "ours")],
            target=[Goal(4.0, "ours")],
        ),
        Measurement(ROW, "memory of one stream, replicas", "MB", [each.replicas_mb for each in one]),
        Measurement(
            ROW,
            f"memory per stream, Serve's proxy, {NUM_STREAMS} streams",
            "MB",
            [each.proxy_mb / NUM_STREAMS for each in many],
        ),
        Measurement(ROW, "memory of the generator alone", "MB", [each.growth_mb for each in made]),
        Measurement(
            ROW, f"ZIP over HTTP, {NUM_STREAMS} streams together", "MB/s", [each.mb_per_s for each in many], crc, True
        ),
    ]


def _download(service: Service, job_id: str, num_streams: int) -> Download:
    """Read the ZIP to its end over `num_streams` connections and throw it away."""
    service.settle()
    sizes: list[int] = []
    readers = [threading.Thread(target=lambda: sizes.append(_read_zip(service, job_id))) for _ in range(num_streams)]
    with watch(_pids(service, REPLICA)) as replicas, watch(_pids(service, PROXY)) as proxy:
        started = time.perf_counter()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        spent_s = time.perf_counter() - started
    if len(sizes) < num_streams or min(sizes) < WEIGHT_BYTES:
        raise BenchError(f"A download broke off: {sizes} bytes came.")
    return Download(sum(sizes) / spent_s / MB, replicas.mb, proxy.mb)


def _read_zip(service: Service, job_id: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", service.settings.port, timeout=60.0)
    buffer = memoryview(bytearray(READ_BYTES))
    with closing(connection):
        connection.request("GET", f"/api/training/jobs/{job_id}/download/model")
        response = connection.getresponse()
        if response.status != 200:
            raise BenchError(f"The download was answered {response.status}.")
        num_bytes = 0
        while count := response.readinto(buffer):
            num_bytes += count
    return num_bytes


def _generate(folder: Path) -> Generator:
    command = [sys.executable, "-m", "tests.bench.zip_generator", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Generator(**json.loads(done.stdout))


def _pids(service: Service, title: str) -> list[int]:
    """Processes of the service whose title begins so; Ray names its workers by what they run."""
    found = [process.pid for process in service.processes() if " ".join(process.cmdline()).startswith(title)]
    if not found:
        raise BenchError(f"The service has no process {title}.")
    return found


def _make_completed_job(service: Service, work: Workload) -> str:
    """Files first, then all rows in one transaction: the coordinator never sees the job in the queue."""
    job_id = new_id("job")
    folder = service.settings.home / "jobs" / job_id / "model"
    folder.parent.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as tmp:
        source = Path(tmp) / "model"
        source.mkdir()
        (source / "config.json").write_text("{}", "utf-8")
        with (source / "model.safetensors").open("wb") as weights:
            for _ in range(WEIGHT_BYTES // MB):
                weights.write(os.urandom(MB))
        commit(source, folder, job_id=job_id, attempt=1, step=1, samples=1, metrics={})
    with service.store.begin() as tx:
        _add_rows(tx, job_id, work, folder)
    return job_id


def _add_rows(tx: Transaction, job_id: str, work: Workload, folder: Path) -> None:
    now, name = datetime.now(UTC), "made by the benchmark, never trained"
    tx.jobs.add(job_id, owner="local", name=name, config=work.job(name, max_steps=1), now=now)
    lease = tx.leases.current(COORDINATOR)
    assert lease is not None
    tx.jobs.claim(job_id, driver="benchmark", cpus=0, gpus=0, epoch=lease.epoch, now=now)
    ref, model_id = JobRef(job_id, 1), new_id("mdl")
    tx.jobs.move(ref, JobStatus.INITIALIZING, now=now)
    tx.models.add(
        ModelRecord(model_id, "local", job_id, name, "full", work.model_name, None, 1, folder, None, created_at=now)
    )
    tx.attempts.end(ref, reason=ReasonCode.OK, message=name, now=now)
    tx.jobs.move(ref, JobStatus.COMPLETED, now=now, reason=ReasonCode.OK, message=name, model_id=model_id)
