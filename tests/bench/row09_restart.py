"""Row 9: kill -9 of everything with 1,000 jobs queued and one running -> first claim / the same with one lone job.

On a service of its own. Before each measured start every process of the service is killed; the lone job of the
baseline is put into an empty queue while the service is away. After the full queue's restart all 1,001 jobs must be
there, in their order, and the one that ran must be the one that is claimed.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ftlab.schemas import JobConfig
from ftlab.status import JobStatus
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement, interleave, say
from tests.bench.runs import wait_for_status
from tests.bench.service import START_TIMEOUT_S, Service, own_service
from tests.bench.stock import add_queued
from tests.bench.workload import TINY, prepare
from tracking.store import Store
from tracking.store.records import JobRecord

ROW = 9
TITLE = "restart"
NEEDS_SERVICE = False

NUM_QUEUED = 1_000
POLL_INTERVAL_S = 0.02
NUM_STEPS = 10_000_000
"""The job that runs never ends by itself."""


@dataclass(frozen=True)
class Restart:
    """Seconds from the start of the supervisor."""

    to_claim: float
    to_ready: float


def run(bench: Bench) -> list[Measurement]:
    with bench.without_service(), own_service(ingress=bench.ingress) as service:
        service.start()
        config = prepare(service, bench.folder, TINY).job("restart", max_steps=NUM_STEPS, logging_steps=1000)
        full, lone = interleave(bench.pairs, partial(_full_queue, service, config), partial(_lone_job, service, config))
    return _measurements(full, lone)


def _measurements(full: Sequence[Restart], lone: Sequence[Restart]) -> list[Measurement]:
    to_claim = [restart.to_claim for restart in full]
    to_ready = [restart.to_ready for restart in full]
    metric = f"start -> first claim, {NUM_QUEUED} queued and 1 that ran / 1 queued"
    note = f"every process killed before each start; all {NUM_QUEUED + 1} jobs there afterwards, in order"
    goals: dict[str, Any] = {"floor": [Goal(2.0)], "target": [Goal(1.1)]}
    return [
        Measurement(ROW, metric, "s", to_claim, [restart.to_claim for restart in lone], **goals, note=note),
        Measurement(
            ROW,
            "the same / start -> ready with 1 queued",
            "s",
            to_claim,
            [restart.to_ready for restart in lone],
            **goals,
        ),
        Measurement(ROW, "start -> ready", "s", to_ready, [restart.to_ready for restart in lone]),
    ]


def _full_queue(service: Service, config: JobConfig) -> Restart:
    running = service.client.jobs.create(config).id
    wait_for_status(service, running, JobStatus.RUNNING)
    queued = add_queued(service.store, config, NUM_QUEUED)
    before = _states(service.store, queued)
    restart, claimed = _restart(service)
    if claimed != running:
        raise BenchError(f"Job {claimed} was claimed first; {running} ran when the service was killed.")
    _check_nothing_lost(before, _states(service.store, queued))
    _empty(service, running)
    return restart


def _lone_job(service: Service, config: JobConfig) -> Restart:
    restart, claimed = _restart(service, config)
    _empty(service, claimed)
    return restart


def _restart(service: Service, lone: JobConfig | None = None) -> tuple[Restart, str]:
    """Kill the service and start it again; return also which job was claimed first."""
    say("killing the service")
    service.kill()
    with closing(Store.open(service.settings.store_url)) as store, ThreadPoolExecutor(1) as pool:
        if lone is not None:
            add_queued(store, lone, 1)
        since, started = datetime.now(UTC), time.monotonic()
        claim = pool.submit(_first_claim, store, since)
        service.start()
        ready = time.monotonic()
        job_id, claimed = claim.result()
    return Restart(claimed - started, ready - started), job_id


def _first_claim(store: Store, since: datetime) -> tuple[str, float]:
    """The job of the first attempt that is younger than `since`, and when it was seen."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with store.read() as tx:
            attempts = tx.attempts.live()
        if young := [attempt for attempt in attempts if attempt.created_at > since]:
            return young[0].job_id, time.monotonic()
        time.sleep(POLL_INTERVAL_S)
    raise BenchError(f"No job was claimed within {START_TIMEOUT_S:.0f} s.")


def _states(store: Store, queued: Sequence[str]) -> list[tuple[str, JobStatus, int]]:
    """The queue in its order, and what became of those that are not in it."""
    with store.read() as tx:
        in_queue: list[JobRecord] = tx.jobs.queued(2 * NUM_QUEUED)
        elsewhere = set(queued).difference(job.id for job in in_queue)
        records = [*in_queue, *(tx.jobs.get(job_id) for job_id in sorted(elsewhere))]
    return [(job.id, job.status, job.attempt) for job in records]


def _check_nothing_lost(
    before: Sequence[tuple[str, JobStatus, int]], after: Sequence[tuple[str, JobStatus, int]]
) -> None:
    if len(before) != NUM_QUEUED or list(after) != list(before):
        raise BenchError(f"The queue of {len(before)} jobs is not what it was before the service was killed.")


def _empty(service: Service, running: str) -> None:
    """Cancel all jobs, those that wait first."""
    now = datetime.now(UTC)
    with service.store.begin() as tx:
        for job in tx.jobs.queued(2 * NUM_QUEUED):
            if job.id != running:
                tx.jobs.move(job.ref, JobStatus.CANCELLING, now=now)
                tx.jobs.move(job.ref, JobStatus.CANCELLED, now=now)
    service.client.jobs.cancel(running)
    service.client.jobs.wait(running, raise_on_failure=False)
