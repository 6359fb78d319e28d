"""Row 5: jobs that do nothing per second, from the first submit to the last one's end.

They go through our HTTP application in a process of its own (uvicorn, no Ray Serve), a real coordinator in another,
and the real record of each run; only training is left out. Against commits of one row per second on the same disk.
"""

import http.client
import json
import shutil
import sqlite3
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cluster.machine.ports import free_ports
from ftlab.status import JobStatus
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement, interleave
from tests.bench.processes import answer, process, server
from tests.bench.stock import noop_config, open_stock
from tracking.store import Store

ROW = 5
TITLE = "queue throughput"
NEEDS_SERVICE = False

NUM_JOBS, NUM_JOBS_QUICK = 2000, 300
NUM_CONNECTIONS = 8
NUM_SLOTS = 100
"""Jobs that may run at once."""
NUM_COMMITS = 500
SUBMIT_PATH = "/api/training/jobs"


@dataclass(frozen=True)
class Rates:
    """Jobs per second."""

    submitted: float
    done: float


def run(bench: Bench) -> list[Measurement]:
    num_jobs = NUM_JOBS_QUICK if bench.quick else NUM_JOBS
    with bench.without_service():
        rates, commits = interleave(
            bench.pairs, partial(_rates, bench.folder, num_jobs), partial(_commits_per_s, bench.folder)
        )
    note = (
        f"{num_jobs} jobs over {NUM_CONNECTIONS} connections, {NUM_SLOTS} at once; the baseline is durable commits of "
        "one row each, one after the other"
    )
    return [
        Measurement(
            ROW,
            "jobs that do nothing, submit to done",
            "/s",
            [each.done for each in rates],
            commits,
            is_higher_better=True,
            floor=[Goal(43.0, "ours")],
            target=[Goal(2000.0, "ours")],
            note=note,
        ),
        Measurement(
            ROW,
            "submits alone, while the first jobs are claimed",
            "/s",
            [each.submitted for each in rates],
            commits,
            is_higher_better=True,
        ),
    ]


def _rates(folder: Path, num_jobs: int) -> Rates:
    home = folder / "throughput"
    store = open_stock(home / "ftlab.db", num_jobs=0, num_queued=0).store
    (port,) = free_ports(1)
    try:
        with process("tests.bench.noop_runs", str(home), str(NUM_SLOTS), str(num_jobs), ends_itself=False) as runs:
            wake_port = answer(runs)
            with server("tests.bench.own_api", str(home), str(port), wake_port, port=port):
                started = time.time()
                with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
                    shares = [len(range(first, num_jobs, NUM_CONNECTIONS)) for first in range(NUM_CONNECTIONS)]
                    ids = [job_id for done in pool.map(partial(_submit, port), shares) for job_id in done]
                submitted = time.time()
                ended = float(answer(runs))
        _check_completed(store, ids, num_jobs)
    finally:
        store.close()
        shutil.rmtree(home)
    return Rates(num_jobs / (submitted - started), num_jobs / (ended - started))


def _submit(port: int, count: int) -> list[str]:
    """Submit jobs one after the other over one connection; return their ids."""
    body = json.dumps(noop_config(resources={"cpus_per_worker": 1}).model_dump(mode="json"))
    ids = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60.0)) as connection:
        for _ in range(count):
            headers = {"content-type": "application/json", "idempotency-key": str(uuid.uuid4())}
            connection.request("POST", SUBMIT_PATH, body, headers)
            response = connection.getresponse()
            content = response.read()
            if response.status != 201:
                raise BenchError(f"A submit was answered {response.status}: {content[:300]!r}")
            ids.append(json.loads(content)["id"])
    return ids


def _check_completed(store: Store, ids: Sequence[str], num_jobs: int) -> None:
    """Each job once, and with one attempt."""
    with store.read() as tx:
        records = [tx.jobs.get(job_id) for job_id in set(ids)]
    done = [job for job in records if job.status is JobStatus.COMPLETED and job.attempt == 1]
    if len(done) != num_jobs:
        raise BenchError(f"Of {num_jobs} jobs, {len(done)} were completed by their first attempt.")


def _commits_per_s(folder: Path) -> float:
    file = folder / "commits.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE commits (body TEXT)")
        started = time.perf_counter()
        for _ in range(NUM_COMMITS):
            connection.execute("INSERT INTO commits VALUES ('a row')")
        spent_s = time.perf_counter() - started
    file.unlink()
    return NUM_COMMITS / spent_s
