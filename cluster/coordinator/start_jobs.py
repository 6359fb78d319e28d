"""From the queue to runs: the policy decides, and its decisions are carried out."""

import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from cluster.coordinator.chain_gate import release_chained
from cluster.coordinator.data_gate import DataGate
from cluster.coordinator.failed_jobs import contained, fail_job, fail_unreadable
from cluster.coordinator.faulty_gpus import FaultyGpus
from cluster.coordinator.queue_snapshot import QUEUE_WINDOW, QueueSnapshot, QueueWindow, read_queue
from cluster.coordinator.ray_backend import DriverLostError
from cluster.coordinator.spending import SpendingGate
from cluster.coordinator.stop_requests import StopRequests
from cluster.coordinator.tick import Tick
from cluster.coordinator.transitions import end_attempt, publish
from cluster.interfaces import QUEUE_CHANGED
from cluster.names import RUN_PREFIX, STANDBY_PREFIX
from cluster.policy import Decision, Fleet, Preempt, Refuse, Start, Wait, WorkerShape, decide, gpus_by_type, on_nodes
from cluster.runs.make_plan import make_plan, step_to_resume
from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.schemas import EventKind, NoticePayload
from ftlab.schemas.events import DATA_CHECKED
from ftlab.status import JobKind, JobStatus, ReasonCode, StopKind
from tracking.store import StaleJobError, Transaction
from tracking.store.ids import new_id
from tracking.store.records import AttemptRecord, EventRecord, JobRecord, JobRef, NewEvent, UnreadableConfig
from train.model.preflight import check_devices
from train.plan import Failure, RunPlan

WAITING_INTERVAL_S = 1.0
"""Shortest interval in seconds between updates of the reasons why jobs wait: they change with every start, and only
people read them.
"""
STANDBY_RETRY_S = 20.0
"""Wait after a standby run that no job took, such as one that died at its start."""
STANDBY_LEAD_S = 20.0
"""About how long a standby run takes to start on two cores."""
MAX_NOTICES = 200
"""How many of a job's newest notices are searched for its last findings."""
REASONS_OF_MISSING = {
    "model_not_found": ReasonCode.MODEL_NOT_FOUND,
    "dataset_not_found": ReasonCode.DATASET_INVALID,
    "dataset_content_missing": ReasonCode.DATASET_INVALID,
    "checkpoint_not_found": ReasonCode.CHECKPOINT_CORRUPT,
}
"""Reasons of a job that cannot start because something that it was submitted with no longer exists."""

logger = logging.getLogger(__name__)


class JobStarter:
    """Starts queued jobs. Remembers how far it read the queue, and when it last recorded what jobs wait for."""

    def __init__(self, stops: StopRequests, gate: DataGate, spending: SpendingGate, faulty_gpus: FaultyGpus) -> None:
        self._stops = stops
        self._gate = gate
        self._spending = spending
        self._faulty_gpus = faulty_gpus
        self._window = QueueWindow()
        self._wrote_waiting_at = datetime.min.replace(tzinfo=UTC)
        self.has_waiting = False
        """Whether the last tick left a job in the queue that only waits for its turn."""

    def start(self, tick: Tick) -> bool:
        """Carry out the decisions of the policy for the queue; return whether a job was started."""
        self.has_waiting = False
        release_chained(tick)
        snapshot = read_queue(tick, self._window)
        if snapshot is None:
            return False
        for job in snapshot.jobs.values():
            if isinstance(job.config, UnreadableConfig):
                with contained(tick, "failed", job.id):
                    fail_unreadable(tick, job, job.config)
        fleet = self._faulty_gpus.usable(tick.cluster.fleet())
        queue, waits_for_data = self._gate.let_pass(tick, snapshot, fleet)
        queue, held = self._spending.let_pass(tick, queue, fleet)
        self._window.num_passed_over = len(waits_for_data) + len(held)
        decided = decide(queue, fleet, snapshot.situation)
        self.has_waiting = any(isinstance(decision, Wait | Preempt) for decision in decided)
        decisions = [*decided, *waits_for_data, *held]
        claimed = {attempt.driver for _, attempt in snapshot.live.values()}
        has_started = False
        for decision in decisions:
            job = snapshot.jobs[decision.job_id]
            with contained(tick, "started", job):
                match decision:
                    case Start():
                        has_started |= self._start(tick, job, decision, fleet, claimed)
                    case Refuse():
                        fail_job(tick, job, Failure(ReasonCode.CONFIG_INVALID, decision.why, field="resources"))
                    case Preempt():
                        self._preempt(tick, job, decision, snapshot)
        self._write_waiting(tick, decisions, {wait.job_id for wait in waits_for_data}, snapshot)
        return has_started

    def _start(self, tick: Tick, job: JobRecord, start: Start, fleet: Fleet, claimed: set[str]) -> bool:
        """Claim the job, then hand it to the standby run or launch a run of its own."""
        try:
            if (config := job.training_config) is not None:
                check_devices(config, use_cuda=start.shape.total.gpus > 0)
        except InvalidRequestError as error:
            fail_job(tick, job, Failure(ReasonCode.CONFIG_INVALID, error.message, field=error.param))
            return False
        shape = on_nodes(start.shape, start.placement, fleet)
        # A standby run is one process, and where there are several machines, it may be on another one.
        fits_standby = shape.num_workers == 1 and not shape.nodes
        standby = tick.drivers.find_standby(claimed) if fits_standby else None
        try:
            attempt, plan, events = self._claim(tick, job, start, standby, fleet)
        except NotFoundError as error:
            reason = REASONS_OF_MISSING.get(error.code, ReasonCode.CONFIG_INVALID)
            fail_job(tick, job, Failure(reason, error.message, field=error.param))
            return False
        claimed.add(attempt.driver)
        publish(tick, events)
        if standby is None:
            tick.drivers.launch(attempt.driver, shape, plan)
        elif not _hand_over(tick, attempt.driver, plan, shape):
            why = "The standby run ended before it took the job."
            end_attempt(tick, attempt, ReasonCode.SERVICE_RESTARTED, why)
        return True

    def _claim(
        self, tick: Tick, job: JobRecord, start: Start, standby: str | None, fleet: Fleet
    ) -> tuple[AttemptRecord, RunPlan, list[EventRecord]]:
        """Open the job's next attempt and plan it, in one transaction."""
        total = start.shape.total
        with tick.store.begin() as tx:
            config = job.config
            job = tx.jobs.lock(job.ref)  # with the checkpoint that a resume may have named since the queue was read
            if job.config != config:
                raise StaleJobError(f"The config or the files of job {job.id!r} changed a moment ago.")
            step = step_to_resume(tx, job)
            attempt = tx.jobs.claim(
                job.id,
                driver=standby or f"{RUN_PREFIX}{job.id}-{job.attempt + 1}",
                cpus=total.cpus,
                gpus=total.gpus,
                placement=[(spot.node, spot.gpu) for spot in start.placement],
                gpu_types=gpus_by_type(start.shape, start.placement, fleet),
                resumed_from_step=step,
                epoch=tick.lease.epoch,
                now=tick.now,
            )
            if job.resume_from is not None and step is not None:
                tx.metrics.forget_after(job.id, step)
            plan = make_plan(tx, tick.settings, job, attempt, tick.now)
            _log_findings(tx, attempt, self._gate.findings(job), tick.now)
            return attempt, plan, tx.events.after(job.id, job.last_seq)

    def _preempt(self, tick: Tick, job: JobRecord, decision: Preempt, snapshot: QueueSnapshot) -> None:
        for victim in decision.victims:
            running, attempt = snapshot.live[victim]
            is_engine = running.kind is JobKind.ENGINE
            then = "this engine ends" if is_engine else "this job saves and returns to the queue"
            why = f"Job {job.id} of priority {job.priority} needs the devices; {then}."
            self._stops.request(tick, running, attempt, StopKind.PREEMPT, why)

    def _write_waiting(
        self, tick: Tick, decisions: Sequence[Decision], waiting_for_data: Collection[str], snapshot: QueueSnapshot
    ) -> None:
        """Record what each job waits for if it has changed, and that it no longer waits for its data."""
        if tick.now - self._wrote_waiting_at < timedelta(seconds=WAITING_INTERVAL_S):
            return
        waiting = [decision for decision in decisions if isinstance(decision, Wait | Preempt)][:QUEUE_WINDOW]
        jobs = snapshot.jobs
        changed = {wait.job_id: wait.why for wait in waiting if wait.why != jobs[wait.job_id].waiting_for}
        findings = {
            job_id: found
            for job_id in changed
            if job_id not in waiting_for_data
            and jobs[job_id].data_findings is None
            and (found := self._gate.findings(jobs[job_id])) is not None
        }
        if changed:
            with tick.store.begin() as tx:
                num_changed = tx.jobs.set_waiting(changed)
                tx.jobs.set_data_ready(findings)
            if num_changed:
                tick.hub.publish([QUEUE_CHANGED])
            self._wrote_waiting_at = tick.now


class Standby:
    """Keeps one run started ahead of its job. Remembers its last launch, and when the service was last used."""

    def __init__(self) -> None:
        self._untaken: tuple[str, datetime] | None = None
        """Name and launch of the newest standby run, until a job takes it."""
        self._used_at: datetime | None = None
        self._newest_dataset = 0

    def keep(self, tick: Tick, *, is_starting: bool, has_waiting: bool) -> None:
        """Launch a standby run if there is none, but not where its start would slow down a job.

        End it once nobody has used the service for `standby_idle_s`.
        """
        if not tick.settings.standby:
            return
        if self._is_idle(tick, has_waiting=has_waiting):
            self.end(tick)
            return
        if self._was_launched_recently(tick) or is_starting or any(_has_no_step(job) for job in tick.jobs):
            return
        if tick.drivers.find_standby(tick.attempt_drivers) is not None:
            return
        fleet = tick.cluster.fleet()
        # Where there are several machines, it is unknown on which one it would be.
        if len(fleet.nodes) == 1 and _can_spare_a_core(tick, fleet, has_waiting=has_waiting):
            name = f"{STANDBY_PREFIX}{new_id('r')}"
            self._untaken = (name, tick.now)
            tick.drivers.launch(name, None, None)

    def end(self, tick: Tick) -> None:
        """End the standby run, if there is one. One that is starting would take the cores of what is to end soon."""
        standby = tick.drivers.find_standby(tick.attempt_drivers)
        if standby is not None:
            tick.drivers.end(standby)

    def _was_launched_recently(self, tick: Tick) -> bool:
        """Whether it is too early for another standby run: the newest one is starting, or died at its start."""
        if self._untaken is not None and self._untaken[0] in tick.attempt_drivers:
            self._untaken = None
        return self._untaken is not None and tick.now - self._untaken[1] < timedelta(seconds=STANDBY_RETRY_S)

    def _is_idle(self, tick: Tick, *, has_waiting: bool) -> bool:
        """Whether there has been no job and no new dataset for a while."""
        is_used = has_waiting or bool(tick.jobs)
        if not is_used:
            with tick.store.read() as tx:
                newest_dataset = tx.datasets.newest_number()
            is_used, self._newest_dataset = newest_dataset != self._newest_dataset, newest_dataset
        if is_used or self._used_at is None:
            self._used_at = tick.now
        return tick.now - self._used_at > timedelta(seconds=tick.settings.standby_idle_s)


def _can_spare_a_core(tick: Tick, fleet: Fleet, *, has_waiting: bool) -> bool:
    """Whether training leaves a core free, or a run is about to end while another job waits.

    On a full machine, the start of a standby run doubles the time of the steps beside it, and triples that of the
    evaluation at the end. The running job's loss pays off only if another job is waiting to start.
    """
    if fleet.total.cpus > sum(attempt.cpus for attempt in tick.attempts):
        return True
    running = (job for job in tick.jobs if job.status is JobStatus.RUNNING)
    return has_waiting and any(job.eta_s is not None and job.eta_s <= STANDBY_LEAD_S for job in running)


def _has_no_step(job: JobRecord) -> bool:
    """Whether the job has not completed a step in this attempt: the first one brings an estimate of the time left.

    A kind without steps never brings one: it counts as started once it runs.
    """
    if job.status in (JobStatus.PENDING, JobStatus.INITIALIZING):
        return True
    return job.kind is JobKind.TRAINING and job.status is JobStatus.RUNNING and job.eta_s is None


def _hand_over(tick: Tick, driver: str, plan: RunPlan, shape: WorkerShape) -> bool:
    try:
        return tick.cluster.assign(driver, plan, shape)
    except DriverLostError as error:
        logger.warning("%s", error)
        return False


def _log_findings(tx: Transaction, attempt: AttemptRecord, message: str | None, now: datetime) -> None:
    """Put the doctor's findings into the job's log before it trains; again only when they have changed."""
    if not message:
        return
    notices = tx.events.tail(attempt.job_id, EventKind.NOTICE, MAX_NOTICES) if attempt.number > 1 else []
    payloads = [event.payload for event in notices]
    logged = [each.message for each in payloads if isinstance(each, NoticePayload) and each.code == DATA_CHECKED]
    if logged[-1:] != [message]:
        notice = NewEvent(NoticePayload(code=DATA_CHECKED, message=message), now)
        tx.events.append(JobRef(attempt.job_id, attempt.number), [notice])
