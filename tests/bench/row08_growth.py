"""Row 8: what the same request takes with 100,000 jobs in the store / with 1,000; a tenth of either is queued.

No HTTP: the functions behind the routes, and the coordinator's own tick, on two SQLite stores side by side.
"""

import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

from cluster.coordinator.coordinator import Coordinator
from cluster.fakes import FakeCluster, FakeEventHub
from ftlab.schemas.accounts import LOCAL_USER
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode
from serve.jobs.submission import submit
from serve.jobs.views import job_view
from serve.models.base_model import NOT_ASKED
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement, interleave, percentile
from tests.bench.stock import Stock, add_queued, noop_config, open_stock
from tests.support.service_fakes import fake_services

ROW = 8
TITLE = "growth"
NEEDS_SERVICE = False

NUM_SMALL, NUM_LARGE, NUM_LARGE_QUICK = 1_000, 100_000, 20_000
QUEUED_SHARE = 10
"""One job in so many is queued."""
NO_QUOTA = 10_000_000
"""More than there are, so that a submit counts the owner's queue and is accepted."""
PAGE = 20
MAX_POSITION_MS = Goal(2.0, of="ours")
"""A position counts the jobs before it, so it grows with the queue; it must stay small beside a request."""

Operation = Callable[[], float]
"""Does its work once and returns how long that took, in milliseconds."""


class Desk:
    """One store, and what a service does with it."""

    def __init__(self, folder: Path, stock: Stock) -> None:
        settings = Settings(home=folder, standby=False, quota_queued_jobs=NO_QUOTA)
        hub = FakeEventHub()
        self._stock = stock
        self._services = fake_services(settings, stock.store, hub)
        self._cluster = FakeCluster(cpus=1)
        self._coordinator = Coordinator(stock.store, self._cluster, hub, settings)
        self._chance = random.Random(0)
        self._config = noop_config()
        self._body = self._config.model_dump_json().encode()
        self._coordinator.tick()
        self._finish()

    def list(self) -> float:
        with _timed() as spent:
            page = job_view.list_jobs(self._services, LOCAL_USER, None, None, PAGE)
        _require(len(page.data) == PAGE and page.data[0].queue_position is not None, "the page has no positions")
        return spent.ms

    def get(self) -> float:
        job_id = self._chance.choice(self._stock.ids)
        with _timed() as spent:
            job_view.get_job(self._services, LOCAL_USER, job_id)
        return spent.ms

    def count(self) -> float:
        """The position of the job that was last in the queue at the beginning."""
        with _timed() as spent, self._stock.store.read() as tx:
            positions = tx.jobs.queue_positions(self._stock.ids[-1:])
        _require(bool(positions), "the last job is not queued")
        return spent.ms

    def submit(self) -> float:
        """With an idempotency key, as the SDK does; durable."""
        submission = submit.Submission(self._config, self._body, str(uuid4()))
        with _timed() as spent:
            checked = partial(submit.check_training, self._services, LOCAL_USER, submission, NOT_ASKED)
            submit.add_once(self._services, LOCAL_USER, submission, checked)
        return spent.ms

    def claim(self) -> float:
        """A whole tick of the coordinator that finds the devices free and claims the next job."""
        with _timed() as spent:
            self._coordinator.tick()
        self._finish()
        return spent.ms

    def _finish(self) -> None:
        """End the one job that runs and queue another one, outside of what is measured."""
        now = datetime.now(UTC)
        with self._stock.store.begin() as tx:
            live = tx.jobs.live()
            _require(len(live) == 1, f"{len(live)} jobs were claimed, not one")
            tx.attempts.end(live[0].ref, reason=ReasonCode.USER_CANCELLED, message="It ends.", now=now)
            tx.jobs.move(live[0].ref, JobStatus.CANCELLING, now=now)
            tx.jobs.move(live[0].ref, JobStatus.CANCELLED, now=now)
        for driver in self._cluster.running.values():
            driver.state = "ended"
        add_queued(self._stock.store, self._config, 1)


def run(bench: Bench) -> list[Measurement]:
    num_large = NUM_LARGE_QUICK if bench.quick else NUM_LARGE
    count = 50 if bench.quick else 200
    with _desk(bench.folder, "small", NUM_SMALL) as small, _desk(bench.folder, "large", num_large) as large:
        reads = [
            (f"list, first page of {PAGE}", large.list, small.list, Goal(1.2)),
            ("get", large.get, small.get, Goal(2.0)),
            ("position of the last job in the queue", large.count, small.count, MAX_POSITION_MS),
        ]
        lines = [_growth(bench, metric, ours, base, count, floor) for metric, ours, base, floor in reads]
        lines.append(_growth(bench, "claim, a whole tick", large.claim, small.claim, count // 5, Goal(1.2)))
        lines += _submits(bench, large, small, 2 * count)
    note = f"{num_large} jobs / {NUM_SMALL}, one in {QUEUED_SHARE} queued; {count} calls of each in turn"
    return [replace(lines[0], note=note), *lines[1:]]


def _growth(bench: Bench, metric: str, large: Operation, small: Operation, count: int, floor: Goal) -> Measurement:
    rounds = [_round(count, large, small) for _ in range(bench.pairs)]
    ours, baseline = ([percentile(block, 0.5) for block in series] for series in zip(*rounds, strict=True))
    return Measurement(ROW, f"{metric}, p50", "ms", ours, baseline, floor=[floor], target=[Goal(1.05)])


def _submits(bench: Bench, large: Desk, small: Desk, count: int) -> list[Measurement]:
    rounds = []
    for number in range(bench.pairs):
        with _desk(bench.folder, f"empty-{number}", 1) as empty:
            rounds.append(_round(count, large.submit, small.submit, empty.submit))
    series = list(zip(*rounds, strict=True))
    p50, p99 = ([[percentile(block, share) for block in blocks] for blocks in series] for share in (0.5, 0.99))
    lines = [
        ("submit, p50", p50[0], p50[1], 2.0),
        ("submit, p99", p99[0], p99[1], 2.0),
        ("submit, p99, against a store that was empty", p99[0], p99[2], 3.0),
    ]
    return [
        Measurement(ROW, metric, "ms", ours, baseline, floor=[Goal(floor)], target=[Goal(1.05)])
        for metric, ours, baseline, floor in lines
    ]


def _round(count: int, *operations: Operation) -> list[list[float]]:
    """The times of each operation, called in turn with the others."""
    for operation in operations:
        operation()  # the first call finds cold caches
    return interleave(count, *operations)


@contextmanager
def _desk(folder: Path, name: str, num_jobs: int) -> Iterator[Desk]:
    home = folder / name
    num_queued = math.ceil(num_jobs / QUEUED_SHARE)
    stock = open_stock(home / "ftlab.db", num_jobs=num_jobs, num_queued=num_queued)
    try:
        yield Desk(home, stock)
    finally:
        stock.store.close()
        shutil.rmtree(home)


@dataclass
class _Spent:
    ms: float = 0.0


@contextmanager
def _timed() -> Iterator[_Spent]:
    spent, started = _Spent(), time.perf_counter()
    yield spent
    spent.ms = (time.perf_counter() - started) * 1000


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise BenchError(f"What was measured is not what was meant: {otherwise}.")
