"""The coordinator: one tick after the other, it makes the cluster match the database."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from cluster.clients import HubClient
from cluster.event_documents import to_documents
from cluster.names import RUN_PREFIX, STANDBY_PREFIX
from cluster.planning import make_plan
from cluster.policy import Devices, QueuedJob, Refuse, Start, WorkerShape, decide, shape_of
from cluster.ray_cluster import Cluster, DriverLostError
from cluster.retry import GiveUp, after_attempt
from ftlab.errors import NotFoundError
from ftlab.life import JobStatus, ReasonCode
from ftlab.schemas import JobConfig
from ftlab.schemas.problems import problems_of, summary
from ftlab.settings import Settings
from tracking.store import StaleJobError, Store
from tracking.store.ids import new_id
from tracking.store.records import AttemptRecord, EventRecord, JobRecord, JobRef, Lease
from train.plan import RunPlan, StopKind

LEASE_TTL_S = 10.0
HEARTBEAT_TIMEOUT_S = 30.0
"""A driver that lives but has written nothing for this long is asked, and ended when it does not answer."""
QUEUE_WINDOW = 100
STANDBY_RETRY_S = 20.0
ORPHAN_GRACE_S = 5.0
MISSING = {"model_not_found": ReasonCode.MODEL_NOT_FOUND, "dataset_not_found": ReasonCode.DATASET_INVALID}
"""Reasons of a job that cannot start, because something it was submitted with is gone."""

logger = logging.getLogger(__name__)


class Coordinator:
    """Stateless over the database: a new one goes on where the last one stopped.

    `tick()` loads, decides and applies; it is called by one thread only. What it remembers between two ticks is only
    what it could find out again.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        hub: HubClient,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._lease: Lease | None = None
        self._is_new_session = False
        self._stopping_since: dict[str, datetime] = {}
        self._silent_since: dict[str, datetime] = {}
        self._orphan_since: dict[str, datetime] = {}
        self._standby_started = datetime.min.replace(tzinfo=UTC)

    def tick(self) -> None:
        """One pass over everything. Raises `StaleJobError` when another coordinator has taken over."""
        now = self._clock()
        self._hold_lease(now)
        drivers = self._cluster.drivers()
        self._tend_attempts(now, drivers)
        self._settle_jobs(now)
        self._end_orphans(now, drivers)
        self._start_jobs(now)
        self._keep_standby(now)
        self._is_new_session = False

    def _hold_lease(self, now: datetime) -> None:
        with self._store.begin() as tx:
            if self._lease is not None:
                self._lease = tx.leases.renew(self._lease, ttl_s=LEASE_TTL_S, now=now)
                return
            before = tx.leases.current("coordinator")
            holder = f"{self._cluster.session()}/{new_id('coordinator')}"
            # There is one coordinator actor per cluster, so the one before is dead or fenced from now on.
            self._lease = tx.leases.acquire("coordinator", holder, ttl_s=LEASE_TTL_S, now=now, force=True)
        self._is_new_session = before is None or not before.holder.startswith(f"{self._cluster.session()}/")

    def _tend_attempts(self, now: datetime, drivers: set[str]) -> None:
        """See that every live attempt has its driver, and carry stop requests to it."""
        with self._store.read() as tx:
            attempts = tx.attempts.live()
            jobs = {job.id: job for job in tx.jobs.live()}
        for attempt in attempts:
            job = jobs.get(attempt.job_id)
            if attempt.driver not in drivers:
                self._end_attempt(attempt, *self._why_lost(), now)
            elif job is None or job.attempt != attempt.number:
                self._end_attempt(attempt, ReasonCode.INTERNAL_ERROR, "The job moved on without this attempt.", now)
            elif job.status is JobStatus.CANCELLING:
                self._stop_attempt(attempt, now)
            elif now - attempt.heartbeat_at > timedelta(seconds=HEARTBEAT_TIMEOUT_S):
                self._revive(attempt, job, now)
            else:
                self._silent_since.pop(attempt.driver, None)

    def _why_lost(self) -> tuple[ReasonCode, str]:
        if self._is_new_session:
            return ReasonCode.SERVICE_RESTARTED, "The service was restarted."
        return ReasonCode.WORKER_CRASHED, "The run's driver process ended without a word."

    def _stop_attempt(self, attempt: AttemptRecord, now: datetime) -> None:
        """First by request, so that a checkpoint is saved; by force when the grace time is over."""
        since = self._stopping_since.setdefault(attempt.job_id, now)
        try:
            has_something_to_save = self._cluster.request_stop(attempt.driver, StopKind.CANCEL)
        except DriverLostError:
            has_something_to_save = False
        if not has_something_to_save or now - since > timedelta(seconds=self._settings.stop_grace_s):
            self._end_attempt(attempt, ReasonCode.USER_CANCELLED, "Stopped before it could save.", now)

    def _revive(self, attempt: AttemptRecord, job: JobRecord, now: datetime) -> None:
        """The driver writes nothing: it may never have got its plan, or it hangs, or the database was away."""
        since = self._silent_since.setdefault(attempt.driver, now)
        try:
            patient = now - since < timedelta(seconds=HEARTBEAT_TIMEOUT_S)
            state = self._cluster.state(attempt.driver)
            if patient and (state == "taken" or (state != "ended" and self._hand_over_again(attempt, job))):
                return
        except DriverLostError as error:
            logger.warning("%s", error)
        self._silent_since.pop(attempt.driver, None)
        self._end_attempt(attempt, ReasonCode.WORKER_CRASHED, "The run's driver process does not answer.", now)

    def _end_attempt(self, attempt: AttemptRecord, reason: ReasonCode, message: str, now: datetime) -> None:
        """Fence first, then end the processes and give the devices back."""
        with self._store.begin() as tx:
            tx.attempts.end(JobRef(attempt.job_id, attempt.number), reason=reason, message=message, now=now)
        self._cluster.end(attempt.driver)
        self._cluster.release(attempt.placement_groups)

    def _settle_jobs(self, now: datetime) -> None:
        """Decide what follows for jobs whose attempt has ended."""
        with self._store.read() as tx:
            live = {attempt.job_id for attempt in tx.attempts.live()}
            ended = [
                (job, tx.attempts.get(JobRef(job.id, job.attempt))) for job in tx.jobs.live() if job.id not in live
            ]
        for job, attempt in ended:
            self._cluster.release(attempt.placement_groups)
            self._settle(job, attempt, now)

    def _settle(self, job: JobRecord, attempt: AttemptRecord, now: datetime) -> None:
        ref = JobRef(job.id, job.attempt)
        reason = attempt.reason or ReasonCode.INTERNAL_ERROR
        message = attempt.message or ""
        if job.status is JobStatus.CANCELLING:
            self._stopping_since.pop(job.id, None)
            self._move(ref, JobStatus.CANCELLED, now, reason=ReasonCode.USER_CANCELLED)
            return
        config = self._config(job, now)
        if config is None:
            return
        verdict = after_attempt(reason, message, retries_used=job.retries_used, max_retries=config.max_retries, now=now)
        if isinstance(verdict, GiveUp):
            self._move(ref, JobStatus.FAILED, now, reason=verdict.reason, message=verdict.message)
        else:
            self._move(
                ref,
                JobStatus.QUEUED,
                now,
                message=f"Queued again after {reason.value}: {message}",
                retries_used=verdict.retries_used,
                not_before=verdict.not_before,
            )

    def _end_orphans(self, now: datetime, drivers: set[str]) -> None:
        """End run drivers that no live attempt owns, and give back what ended attempts held.

        A run that has just delivered gets a moment to end by itself.
        """
        with self._store.read() as tx:
            owned = {attempt.driver for attempt in tx.attempts.live()}
            unreleased = tx.attempts.unreleased()
        grace = timedelta(seconds=ORPHAN_GRACE_S)
        self._orphan_since = {name: self._orphan_since.get(name, now) for name in drivers - owned}
        for name, since in self._orphan_since.items():
            state = self._state(name)
            if state == "ended" or (state == "taken" and now - since > grace):
                self._cluster.end(name)
        for attempt in unreleased:
            if attempt.ended_at is not None and now - attempt.ended_at > grace:
                self._cluster.release(attempt.placement_groups)
                with self._store.begin() as tx:
                    tx.attempts.released(JobRef(attempt.job_id, attempt.number))

    def _state(self, driver: str) -> str:
        try:
            return self._cluster.state(driver)
        except DriverLostError:
            return "ended"

    def _start_jobs(self, now: datetime) -> None:
        with self._store.read() as tx:
            queued = {job.id: job for job in tx.jobs.queued(QUEUE_WINDOW, now=now)}
            held = [Devices(attempt.cpus, attempt.gpus) for attempt in tx.attempts.live()]
        machine = self._cluster.machine()
        free = machine - sum(held, Devices(0, 0))
        configs = {job.id: self._config(job, now) for job in queued.values()}
        queue = [QueuedJob(job_id, config) for job_id, config in configs.items() if config is not None]
        for decision in decide(queue, machine, free):
            match decision:
                case Start():
                    self._start(queued[decision.job_id], decision, now)
                case Refuse():
                    job = queued[decision.job_id]
                    ref = JobRef(job.id, job.attempt)
                    self._move(ref, JobStatus.FAILED, now, reason=ReasonCode.CONFIG_INVALID, message=decision.why)

    def _start(self, job: JobRecord, start: Start, now: datetime) -> None:
        """Claim the job, then give it to the standby run or launch a run of its own."""
        assert self._lease is not None
        standby = self._find_standby() if start.shape.num_workers == 1 else None
        total = start.shape.total
        try:
            with self._store.begin() as tx:
                checkpoints = tx.checkpoints.of_job(job.id)
                attempt = tx.jobs.claim(
                    job.id,
                    driver=standby or f"{RUN_PREFIX}{job.id}-{job.attempt + 1}",
                    cpus=total.cpus,
                    gpus=total.gpus,
                    resumed_from_step=checkpoints[0].step if checkpoints else None,
                    epoch=self._lease.epoch,
                    now=now,
                )
                plan = make_plan(tx, self._settings, job, attempt)
                events = tx.events.after(job.id, job.last_seq)
        except StaleJobError:
            return  # cancelled a moment ago
        except NotFoundError as error:
            reason = MISSING.get(error.code, ReasonCode.CONFIG_INVALID)
            self._move(job.ref, JobStatus.FAILED, now, reason=reason, message=error.message)
            return
        self._publish(events)
        if standby is None:
            self._cluster.launch(attempt.driver, start.shape, plan)
        elif not self._hand_over(attempt.driver, plan, start.shape):
            self._end_attempt(
                attempt, ReasonCode.SERVICE_RESTARTED, "The standby run ended before it took the job.", now
            )

    def _hand_over(self, driver: str, plan: RunPlan, shape: WorkerShape) -> bool:
        try:
            return self._cluster.assign(driver, plan, shape)
        except DriverLostError as error:
            logger.warning("%s", error)
            return False

    def _hand_over_again(self, attempt: AttemptRecord, job: JobRecord) -> bool:
        with self._store.read() as tx:
            plan = make_plan(tx, self._settings, job, attempt)
        return self._hand_over(attempt.driver, plan, shape_of(plan.config.resources, self._cluster.machine()))

    def _find_standby(self) -> str | None:
        """A standby run that waits, or is about to: even then it is ahead of a fresh one.

        Not one whose attempt is claimed, but that the coordinator before this one did not get to tell.
        """
        with self._store.read() as tx:
            owned = {attempt.driver for attempt in tx.attempts.live()}
        names = sorted(name for name in self._cluster.drivers() - owned if name.startswith(STANDBY_PREFIX))
        return next((name for name in names if self._state(name) in {"starting", "ready"}), None)

    def _keep_standby(self, now: datetime) -> None:
        """Keep one run started ahead, but never while a job is on its way to its first step: they would compete."""
        if not self._settings.standby or now - self._standby_started < timedelta(seconds=STANDBY_RETRY_S):
            return
        with self._store.read() as tx:
            starting = [job for job in tx.jobs.live() if job.status in (JobStatus.PENDING, JobStatus.INITIALIZING)]
        if not starting and self._find_standby() is None:
            self._standby_started = now
            self._cluster.launch(f"{STANDBY_PREFIX}{new_id('r')}", None, None)

    def _config(self, job: JobRecord, now: datetime) -> JobConfig | None:
        """`None` for a job that another version accepted and this one cannot read: it fails and holds nobody up."""
        try:
            return JobConfig.model_validate(job.config)
        except ValidationError as error:
            message = f"This version cannot read the job's config: {summary(problems_of(error, JobConfig))}"
            self._move(job.ref, JobStatus.FAILED, now, reason=ReasonCode.CONFIG_INVALID, message=message)
            return None

    def _move(
        self,
        ref: JobRef,
        target: JobStatus,
        now: datetime,
        *,
        message: str | None = None,
        reason: ReasonCode | None = None,
        **fields: Any,
    ) -> None:
        try:
            with self._store.begin() as tx:
                event = tx.jobs.move(ref, target, now=now, message=message, reason=reason, **fields)
        except StaleJobError as error:
            logger.info("%s", error)  # the user was faster; the next tick sees what they did
            return
        self._publish([event])

    def _publish(self, events: list[EventRecord]) -> None:
        self._hub.publish(to_documents(events))


def run_forever(coordinator: Coordinator, wake: Callable[[float], None], interval_s: float = 1.0) -> None:
    """Tick at every wake-up and at least every `interval_s`; an error of one tick is logged and the next one tries."""
    while True:
        started = time.monotonic()
        try:
            coordinator.tick()
        except Exception:
            logger.exception("A tick failed")
        logger.debug("A tick took %.3f s", time.monotonic() - started)
        wake(interval_s)
