"""The record of one attempt: events of its workers go to the database and from there to the event hub."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cluster.events.documents import to_documents
from cluster.interfaces import EventHubClient
from cluster.runs.expected_time import expected_time_s
from ftlab.backoff import backoff_s
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import CheckpointPayload, MetricsPayload, ProgressPayload
from ftlab.settings import Settings
from ftlab.status import CAUSES, JobStatus, ReasonCode
from tracking.store import StaleJobError, Store, Transaction
from tracking.store.records import (
    CheckpointRecord,
    EventRecord,
    JobRecord,
    JobRef,
    MetricRecord,
    ModelRecord,
    NewEvent,
)
from train.plan import EngineReady, Failure, ModelLoaded, StopKind
from train.reporting.event_sender import Emitted

FINISHED = "The job is finished."
"""Message of an attempt after which nothing is left to do."""
HEARTBEAT_INTERVAL_S = 1.0
LONGEST_BACKOFF_S = 5.0

logger = logging.getLogger(__name__)

Write = Callable[[Transaction], list[EventRecord]]


class AttemptLog:
    """Writes everything about one attempt, in order, from one thread.

    Training never waits for it: `record` only appends to a queue. While the database is unavailable the queue grows; it
    is written afterwards. Every write is guarded by the attempt; once a newer attempt exists, `stop` is `FENCED` and
    nothing more is written. The same holds when something cannot be written at all: the attempt is then ended, because
    a run whose record has a hole proves nothing.
    """

    def __init__(
        self,
        store: Store,
        hub: EventHubClient,
        ref: JobRef,
        on_end: Callable[[], object] = lambda: None,
        settings: Settings | None = None,
    ) -> None:
        """`on_end` is called once this log has ended the attempt in the database. Without `settings`, no evaluation
        gets an estimate.
        """
        self._settings = settings
        self._store = store
        self._hub = hub
        self._ref = ref
        self._on_end = on_end
        self._queue: queue.SimpleQueue[Write] = queue.SimpleQueue()
        self._status: JobStatus | None = None
        self._stop: StopKind | None = None
        self._stopping = threading.Lock()
        self._has_trained = False
        self._has_ended = False
        self._recording = threading.Lock()
        self._newest_recorded = 0
        self._loaded: ModelLoaded | None = None
        """The work whose time is to be estimated before it is written that the model is loaded."""
        self._expected_time_s: float | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ftlab-attempt-log", daemon=True)
        self._thread.start()

    @property
    def stop(self) -> StopKind | None:
        """The stop request: the most urgent one of the database and `request_stop`."""
        return self._stop

    @property
    def has_trained(self) -> bool:
        """Whether the run reached its training loop, so that a stop has something to save."""
        return self._has_trained

    def request_stop(self, kind: StopKind) -> None:
        """Request the run to stop; a more urgent kind replaces an earlier one."""
        with self._stopping:
            if self._stop is None or kind.urgency > self._stop.urgency:
                self._stop = kind

    def record(self, events: Sequence[Emitted]) -> None:
        """Append the events of a worker.

        A worker that gets no reply in time sends its events again; those with a known number are left out.
        """
        with self._recording:
            fresh = [event for event in events if event.number > self._newest_recorded]
            if fresh:
                self._newest_recorded = fresh[-1].number
                self._loaded = next((e.payload for e in fresh if isinstance(e.payload, ModelLoaded)), self._loaded)
                self._queue.put(lambda tx: self._write_events(tx, fresh))

    def record_phase(self, progress: ProgressPayload) -> None:
        """Append the event that reports a new phase of the run."""
        event = Emitted(0, datetime.now(UTC), progress)
        self._queue.put(lambda tx: self._write_events(tx, [event]))

    def move(self, target: JobStatus) -> None:
        self._queue.put(lambda tx: self._move(tx, target))

    def set_processes(
        self,
        pids: tuple[int, ...],
        placement_groups: tuple[str, ...],
        process_devices: tuple[tuple[str, tuple[int, ...]], ...] = (),
    ) -> None:
        """Record the training processes, with the machine and the GPUs of each, and what they hold in Ray's books."""

        def write(tx: Transaction) -> list[EventRecord]:
            tx.attempts.set_processes(
                self._ref, pids=pids, placement_groups=placement_groups, process_devices=process_devices
            )
            return []

        self._queue.put(write)

    def complete(
        self, make_model: Callable[[JobRecord], ModelRecord], num_files: int, *, ended_early: str | None = None
    ) -> None:
        """The attempt delivered its model: job, attempt and model change in one transaction.

        `num_files` is how many files it trained. Where more were appended meanwhile, only the attempt has ended, and
        the coordinator decides what follows. `ended_early` is the sentence about why it did not train all its steps.
        """

        def write(tx: Transaction) -> list[EventRecord]:
            # A run that is to be paused or to make room, and delivers first, has nothing left to do later.
            now = datetime.now(UTC)
            job = tx.jobs.lock(self._ref)
            is_extended = job.num_files > num_files
            message = "All files that it was started with are trained." if is_extended else FINISHED
            self._end_well(tx, message, now)
            if is_extended or job.status is JobStatus.CANCELLING:
                return []  # the user was first; the coordinator ends a cancelled job
            model = make_model(job)
            tx.models.add(model)
            done, ok = JobStatus.COMPLETED, ReasonCode.OK
            return [tx.jobs.move(self._ref, done, now=now, message=ended_early, reason=ok, model_id=model.id)]

        self._queue.put(write)

    def complete_without_model(self) -> None:
        """The attempt of a job that delivers no model is done: job and attempt change in one transaction."""

        def write(tx: Transaction) -> list[EventRecord]:
            now = datetime.now(UTC)
            job = tx.jobs.lock(self._ref)
            self._end_well(tx, FINISHED, now)
            if job.status is JobStatus.CANCELLING:
                return []  # the user was first; the coordinator ends a cancelled job
            return [tx.jobs.move(self._ref, JobStatus.COMPLETED, now=now, reason=ReasonCode.OK)]

        self._queue.put(write)

    def _end_well(self, tx: Transaction, message: str, now: datetime) -> None:
        if not tx.attempts.end(self._ref, reason=ReasonCode.OK, message=message, now=now):
            raise StaleJobError("The attempt was ended before it delivered.")
        self._has_ended = True

    def end(self, ending: Failure) -> None:
        """The attempt is over without a model; the coordinator decides what follows."""

        def write(tx: Transaction) -> list[EventRecord]:
            details = ending.to_details() if ending.reason in CAUSES else None
            now = datetime.now(UTC)
            tx.attempts.end(self._ref, reason=ending.reason, message=ending.message, now=now, failure=details)
            self._has_ended = True
            return []

        self._queue.put(write)

    def close(self) -> None:
        """Wait until everything is written, however long the database is unavailable."""
        self._closing.set()
        self._queue.put(lambda tx: [])
        self._thread.join()

    def _run(self) -> None:
        try:
            self._write_until_over()
        except Exception as error:  # an edge: without this thread nobody would hear that the record has a hole
            logger.exception("The record of %s could not be written", self._ref)
            self.request_stop(StopKind.FENCED)
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """End the attempt outside the write that failed. If this fails too, the coordinator misses the heartbeats."""
        message = f"Events of the run could not be recorded ({type(error).__name__}); see the service's logs."
        now = datetime.now(UTC)
        try:
            with self._store.begin() as tx:
                tx.attempts.end(self._ref, reason=ReasonCode.INTERNAL_ERROR, message=message, now=now)
            self._on_end()
        except Exception:  # an edge, as above
            logger.exception("The attempt %s could not be ended", self._ref)

    def _write_until_over(self) -> None:
        while self._stop is not StopKind.FENCED and not self._has_ended:
            writes = self._next_writes()
            self._look_up_time()
            self._write_until_done(writes)
            if self._closing.is_set() and self._queue.empty():
                break
        if self._has_ended:
            self._on_end()

    def _look_up_time(self) -> None:
        """Estimate the time outside of the transaction that writes it: what earlier jobs measured are many rows to
        read, and SQLite lets only one process write. Attempts after the first keep the estimate.
        """
        loaded, self._loaded = self._loaded, None
        if loaded is None or self._ref.attempt > 1:
            return
        try:
            with self._store.read() as tx:
                self._expected_time_s = expected_time_s(tx, self._settings, tx.jobs.get(self._ref.id), loaded)
        except ServiceUnavailableError as error:
            logger.warning("The database is unavailable; the attempt gets no estimate: %s", error)

    def _next_writes(self) -> list[Write]:
        """The waiting writes; none after a heartbeat interval without any."""
        try:
            writes = [self._queue.get(timeout=HEARTBEAT_INTERVAL_S)]
        except queue.Empty:
            return []
        while not self._queue.empty():
            writes.append(self._queue.get())
        return writes

    def _write_until_done(self, writes: list[Write]) -> None:
        """Write in one transaction, once, retrying while the database is unavailable."""
        tried: set[datetime] = set()
        while True:
            now = datetime.now(UTC)
            try:
                with self._store.begin() as tx:
                    # A connection that broke during the commit hides that the try was successful; the heartbeat it
                    # left tells. Followers of the job see the gap and replay it.
                    if tried and tx.attempts.get(self._ref).heartbeat_at in tried:
                        return
                    self._beat(tx, now)
                    events = [event for write in writes for event in write(tx)]
            except ServiceUnavailableError as error:
                logger.warning("The database is unavailable; %d writes are waiting: %s", len(writes), error)
                tried.add(now)
                time.sleep(backoff_s(len(tried), first_s=0.1, longest_s=LONGEST_BACKOFF_S))
                continue
            except StaleJobError as error:
                logger.warning("The attempt has stopped writing: %s", error)
                self.request_stop(StopKind.FENCED)
                return
            if events:
                self._hub.publish(to_documents(events))
            return

    def _beat(self, tx: Transaction, now: datetime) -> None:
        state = tx.attempts.heartbeat(self._ref, now=now)
        if state is None:
            raise StaleJobError("The attempt was ended by the coordinator.")
        self._status = state.status
        if state.status is JobStatus.CANCELLING:
            self.request_stop(StopKind.CANCEL)
        elif state.status is JobStatus.PAUSING:
            self.request_stop(state.stop_kind or StopKind.PAUSE)

    def _move(self, tx: Transaction, target: JobStatus) -> list[EventRecord]:
        self._has_trained |= target is JobStatus.RUNNING
        if self._status in (target, JobStatus.CANCELLING, JobStatus.PAUSING):
            if target is JobStatus.RUNNING:
                tx.jobs.forget_resume_choice(self._ref)  # the move that is left out would have
            return []  # where the run stands is of no interest any more, only where it stops
        self._status = target
        return [tx.jobs.move(self._ref, target, now=datetime.now(UTC))]

    def _write_events(self, tx: Transaction, emitted: Sequence[Emitted]) -> list[EventRecord]:
        written: list[EventRecord] = []
        new: list[NewEvent] = []
        for event in emitted:
            if isinstance(event.payload, ModelLoaded):
                written += tx.events.append(self._ref, new)
                new = []
                if event.payload.revision is not None:
                    tx.jobs.set_model_revision(self._ref, event.payload.revision)
                if self._expected_time_s is not None:
                    tx.jobs.set_estimate(self._ref, self._expected_time_s)
                written += self._move(tx, JobStatus.RUNNING)
            elif isinstance(event.payload, EngineReady):
                tx.engines.set_address(self._ref, event.payload.address, event.payload.token)
            else:
                new.append(NewEvent(event.payload, event.at))
        written += tx.events.append(self._ref, new)
        self._write_metrics(tx, emitted)
        self._write_progress(tx, emitted)
        for event in emitted:
            if isinstance(event.payload, CheckpointPayload):
                self._write_checkpoint(tx, event.payload, event.at)
        return written

    def _write_metrics(self, tx: Transaction, emitted: Sequence[Emitted]) -> None:
        points = [
            MetricRecord(self._ref.id, name, event.payload.step, value, event.at, self._ref.attempt)
            for event in emitted
            if isinstance(event.payload, MetricsPayload)
            for name, value in event.payload.values.items()
            if value is not None
        ]
        if points:
            tx.metrics.add(points)

    def _write_progress(self, tx: Transaction, emitted: Sequence[Emitted]) -> None:
        progress = [event.payload for event in emitted if isinstance(event.payload, ProgressPayload)]
        if not progress:
            return
        newest: dict[str, float | None] = {}
        for payload in progress:
            newest |= payload.values if isinstance(payload, MetricsPayload) else {}
        tx.jobs.record_progress(
            self._ref,
            step=progress[-1].step,
            total_steps=progress[-1].total_steps,
            epoch=progress[-1].epoch,
            loss=newest.get("loss"),
            eval_loss=newest.get("eval_loss"),
            eta_s=progress[-1].eta_s,
            file=progress[-1].file,
            file_progress=progress[-1].file_progress,
            phase=progress[-1].phase,
            now=datetime.now(UTC),
        )

    def _write_checkpoint(self, tx: Transaction, saved: CheckpointPayload, at: datetime) -> None:
        record = CheckpointRecord(
            self._ref.id,
            saved.step,
            self._ref.attempt,
            saved.name,
            saved.size_bytes,
            saved.manifest_sha256,
            created_at=at,
            metrics=saved.metrics,
        )
        tx.checkpoints.add(self._ref, record)
        if saved.is_best:
            tx.checkpoints.mark_best(self._ref.id, saved.step)
        if saved.removed_steps:
            tx.checkpoints.remove(self._ref.id, saved.removed_steps)
