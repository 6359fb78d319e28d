"""From the queue to runs: the policy decides, and what it decides is carried out."""

import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from cluster.coordinator.data_gate import DataStage
from cluster.coordinator.drivers import Roster
from cluster.coordinator.queue_snapshot import QUEUE_WINDOW, Scene, SceneReader
from cluster.coordinator.ray_backend import Cluster, DriverLostError
from cluster.coordinator.stop_requests import Stopping
from cluster.coordinator.transitions import Moves
from cluster.names import RUN_PREFIX
from cluster.policy import Decision, Fleet, Preempt, Refuse, Start, Wait, WorkerShape, decide, on_nodes
from cluster.runs.make_plan import make_plan, step_to_resume
from ftlab.errors import NotFoundError
from ftlab.schemas import EventKind, NoticePayload
from ftlab.schemas.events import DATA_CHECKED
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode, StopKind
from tracking.store import StaleJobError, Store, Transaction
from tracking.store.records import AttemptRecord, EventRecord, JobRecord, JobRef, Lease, NewEvent
from train.plan import RunPlan

WAITING_INTERVAL_S = 1.0
"""What jobs wait for is written down at most so often: it changes with every start, and people read it."""
MAX_NOTICES = 200
"""Of a job, so many of the newest are looked at for what it was told before."""
MISSING = {
    "model_not_found": ReasonCode.MODEL_NOT_FOUND,
    "dataset_not_found": ReasonCode.DATASET_INVALID,
    "dataset_content_missing": ReasonCode.DATASET_INVALID,
    "checkpoint_not_found": ReasonCode.CHECKPOINT_CORRUPT,
}
"""Reasons of a job that cannot start, because something it was submitted with is gone."""

logger = logging.getLogger(__name__)


class Starting:
    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        settings: Settings,
        roster: Roster,
        moves: Moves,
        stopping: Stopping,
        scenes: SceneReader,
        data: DataStage,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._settings = settings
        self._roster = roster
        self._moves = moves
        self._stopping = stopping
        self._scenes = scenes
        self._data = data
        self._told_waiting_at = datetime.min.replace(tzinfo=UTC)
        self._num_passed_over = 0
        """Jobs that waited for their data in the last look."""

    def start(self, lease: Lease, now: datetime) -> list[JobRef]:
        """Start what the policy lets start; return the new attempts."""
        scene = self._scenes.read(now, self._num_passed_over)
        if scene is None:
            return []
        for job in scene.unreadable:
            self._moves.fail_unreadable(job, now)
        fleet = self._cluster.fleet()
        queue, waits_for_data = self._data.pass_over(scene, fleet, now)
        self._num_passed_over = len(waits_for_data)
        decisions = [*decide(queue, fleet, scene.situation), *waits_for_data]
        owned = {attempt.driver for _, attempt in scene.live.values()}
        started: list[JobRef] = []
        for decision in decisions:
            job = scene.records[decision.job_id]
            match decision:
                case Start():
                    started += self._start(job, decision, fleet, owned, lease, now)
                case Refuse():
                    self._moves.move(job, JobStatus.FAILED, now, reason=ReasonCode.CONFIG_INVALID, message=decision.why)
                case Preempt():
                    self._preempt(job, decision, scene, now)
        self._tell_waiting(decisions, {wait.job_id for wait in waits_for_data}, scene, now)
        return started

    def _start(
        self, job: JobRecord, start: Start, fleet: Fleet, owned: set[str], lease: Lease, now: datetime
    ) -> list[JobRef]:
        """Claim the job, then give it to the standby run or launch a run of its own."""
        shape = on_nodes(start.shape, start.placement, fleet)
        standby = self._roster.find_standby(owned) if _fits_standby(shape) else None
        try:
            attempt, plan, events = self._claim(job, start, standby, lease, now)
        except StaleJobError:
            return []  # cancelled or paused a moment ago
        except NotFoundError as error:
            reason = MISSING.get(error.code, ReasonCode.CONFIG_INVALID)
            self._moves.move(job, JobStatus.FAILED, now, reason=reason, message=error.message)
            return []
        owned.add(attempt.driver)
        self._moves.publish(events)
        if standby is None:
            self._roster.launch(attempt.driver, shape, plan)
        elif not self._hand_over(attempt.driver, plan, shape):
            why = "The standby run ended before it took the job."
            self._moves.end_attempt(attempt, ReasonCode.SERVICE_RESTARTED, why, now)
        return [JobRef(attempt.job_id, attempt.number)]

    def _claim(
        self, job: JobRecord, start: Start, standby: str | None, lease: Lease, now: datetime
    ) -> tuple[AttemptRecord, RunPlan, list[EventRecord]]:
        total = start.shape.total
        with self._store.begin() as tx:
            num_files = job.num_files
            job = tx.jobs.lock(job.ref)  # with the checkpoint that a resume may have named since the queue was read
            if job.num_files != num_files:
                raise StaleJobError(f"Files were appended to job {job.id!r} a moment ago; nobody has prepared them.")
            step = step_to_resume(tx, job)
            attempt = tx.jobs.claim(
                job.id,
                driver=standby or f"{RUN_PREFIX}{job.id}-{job.attempt + 1}",
                cpus=total.cpus,
                gpus=total.gpus,
                placement=[(spot.node, spot.gpu) for spot in start.placement],
                resumed_from_step=step,
                epoch=lease.epoch,
                now=now,
            )
            if job.resume_from is not None and step is not None:
                tx.metrics.forget_after(job.id, step)
            plan = make_plan(tx, self._settings, job, attempt, now)
            self._tell_findings(tx, job, attempt, now)
            return attempt, plan, tx.events.after(job.id, job.last_seq)

    def _tell_findings(self, tx: Transaction, job: JobRecord, attempt: AttemptRecord, now: datetime) -> None:
        """Have the doctor's findings in the job's log before it trains; again only when they are other ones."""
        message = self._data.findings(job)
        if not message:
            return
        notices = tx.events.tail(attempt.job_id, EventKind.NOTICE, MAX_NOTICES) if attempt.number > 1 else []
        payloads = [event.payload for event in notices]
        told = [
            notice.message for notice in payloads if isinstance(notice, NoticePayload) and notice.code == DATA_CHECKED
        ]
        if told[-1:] != [message]:
            notice = NewEvent(NoticePayload(code=DATA_CHECKED, message=message), now)
            tx.events.append(JobRef(attempt.job_id, attempt.number), [notice])

    def _hand_over(self, driver: str, plan: RunPlan, shape: WorkerShape) -> bool:
        try:
            return self._cluster.assign(driver, plan, shape)
        except DriverLostError as error:
            logger.warning("%s", error)
            return False

    def _preempt(self, job: JobRecord, decision: Preempt, scene: Scene, now: datetime) -> None:
        for victim in decision.victims:
            record, attempt = scene.live[victim]
            why = (
                f"Job {job.id} of priority {job.priority} needs the devices; this job saves and goes back to the queue."
            )
            self._stopping.ask(record, attempt, StopKind.PREEMPT, why, now)

    def _tell_waiting(
        self, decisions: Sequence[Decision], wait_for_data: Collection[str], scene: Scene, now: datetime
    ) -> None:
        """Write down what each job waits for, where that is news, and that it is no longer its data."""
        if now - self._told_waiting_at < timedelta(seconds=WAITING_INTERVAL_S):
            return
        waiting = [decision for decision in decisions if isinstance(decision, Wait | Preempt)][:QUEUE_WINDOW]
        news = {
            decision.job_id: decision.why
            for decision in waiting
            if decision.why != scene.records[decision.job_id].waiting_for
        }
        findings = {
            job_id: said
            for job_id in news
            if job_id not in wait_for_data
            and scene.records[job_id].data_findings is None
            and (said := self._data.findings(scene.records[job_id])) is not None
        }
        if news:
            with self._store.begin() as tx:
                tx.jobs.set_waiting(news)
                tx.jobs.set_data_ready(findings)
            self._told_waiting_at = now


def _fits_standby(shape: WorkerShape) -> bool:
    """A standby run is one process, and there is no telling on which machine where there are several."""
    return shape.num_workers == 1 and not shape.nodes
