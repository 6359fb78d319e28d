"""The collector: takes the samples of all machines and keeps them in the database."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cluster.telemetry.rows import to_rows
from cluster.telemetry.samples import NodeSamplers, Sample, Watched, WatchedAttempts
from ftlab.errors import ServiceUnavailableError
from tracking.store import Store
from tracking.store.records import AttemptRecord, JobRef
from tracking.store.telemetry import MAX_SPAN_S

TICK_S = 2.0
WRITE_INTERVAL = timedelta(seconds=10)
IDLE_WRITE_INTERVAL = timedelta(seconds=60)
"""While no job runs, the database is not written to more often."""
THIN_INTERVAL = timedelta(minutes=5)

logger = logging.getLogger(__name__)


class Collector:
    """Collects for one service. `tick` is called by one thread.

    While the database is unavailable, samples wait in memory, at most a quarter of an hour of them.
    """

    def __init__(
        self, store: Store, samplers: NodeSamplers, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._samplers = samplers
        self._clock = clock
        self._waiting: dict[str, list[Sample]] = {}
        """Samples that are not written yet, by the name of the machine."""
        self._newest: dict[str, tuple[str, Sample | None]] = {}
        self._live: set[JobRef] = set()
        self._written_at = self._thinned_at = clock()

    @property
    def newest(self) -> dict[str, tuple[str, Sample | None]]:
        """Name and newest sample of every live machine, by its id."""
        return self._newest

    def start(self) -> None:
        """Begin to collect; returns at once."""
        threading.Thread(target=self._run, name="ftlab-telemetry", daemon=True).start()

    def tick(self) -> None:
        """Take the samples, and write them when it is time. Raises `ServiceUnavailableError` without the database."""
        now = self._clock()
        with self._store.read() as tx:
            attempts = tx.attempts.live()
        self._take(watched_by_node(attempts), now)
        live = {JobRef(attempt.job_id, attempt.number) for attempt in attempts}
        has_ended, self._live = self._live - live, live
        # The samples of an attempt that has ended are written soon, so that its job's page is complete. So are those
        # that would wait for a clock that was set back.
        if has_ended or abs(now - self._written_at) >= (WRITE_INTERVAL if live else IDLE_WRITE_INTERVAL):
            self._write()
            self._written_at = now
        if abs(now - self._thinned_at) >= THIN_INTERVAL:
            self._thin(now)
            self._thinned_at = now

    def _take(self, watched: dict[str, WatchedAttempts], now: datetime) -> None:
        nodes = self._samplers.collect(watched)
        before = self._newest
        self._newest = {
            node.id: (node.name, node.samples[-1] if node.samples else before.get(node.id, (node.name, None))[1])
            for node in nodes
        }
        oldest = now.timestamp() - MAX_SPAN_S
        for node in nodes:
            waiting = [*self._waiting.get(node.name, ()), *node.samples]
            self._waiting[node.name] = [sample for sample in waiting if sample.at > oldest]

    def _write(self) -> None:
        rows = [each for node, waiting in self._waiting.items() for each in to_rows(node, waiting).items()]
        if rows:
            with self._store.begin() as tx:
                for key, points in rows:
                    tx.telemetry.add(key, points)
        self._waiting = {}

    def _thin(self, now: datetime) -> None:
        has_more = True
        while has_more:  # in short transactions, because other writers wait for each
            with self._store.begin() as tx:
                has_more = tx.telemetry.thin_next(now)
        with self._store.begin() as tx:
            tx.telemetry.forget_old_nodes(now)

    def _run(self) -> None:
        while True:
            try:
                self.tick()
            except ServiceUnavailableError as error:
                logger.warning("Telemetry waits for the database: %s", error)
            except Exception:  # an edge: whatever goes wrong in one tick, the next one is needed
                logger.exception("Telemetry could not be collected")
            time.sleep(TICK_S)


def watched_by_node(attempts: list[AttemptRecord]) -> dict[str, WatchedAttempts]:
    """The processes and GPUs of the live attempts, by the id of the machine that they are on."""
    found: dict[str, dict[JobRef, Watched]] = {}
    for attempt in attempts:
        ref = JobRef(attempt.job_id, attempt.number)
        for pid, (node, gpus) in zip(attempt.pids, attempt.process_devices, strict=False):
            own = found.setdefault(node, {}).get(ref, Watched(()))
            found[node][ref] = Watched((*own.pids, pid), tuple(sorted({*own.gpus, *gpus})))
    return dict(found)
