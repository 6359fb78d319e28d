"""What run drivers do, move by move: their writes are those of `cluster.runs.attempt_log`."""

from dataclasses import replace

from cluster.fakes import FakeDriver
from cluster.policy.retry import STOP_REASONS
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.cluster.coordinator.world import World
from tests.unit.cluster.runs.attempt import model_of
from tracking.store import Transaction
from tracking.store.records import CheckpointRecord, JobRef

STEPS_PER_MOVE = 5


class Player:
    """Plays the run of one driver."""

    def __init__(self, world: World, driver: FakeDriver) -> None:
        self._world = world
        self._driver = driver

    def beat(self) -> bool:
        """`False` when the attempt has been ended or replaced: such a run writes nothing any more and leaves."""
        with self._world.store.begin() as tx:
            return self._beat(tx)

    def move_on(self, *, saves: bool = True) -> None:
        """Obey a stop; else the next thing on the way: come up, train, train on."""
        with self._world.store.begin() as tx:
            if not self._beat(tx):
                return
            job = tx.jobs.get(self._ref.id)
            stop = self._wanted(job.status, job.stop_kind)
            if stop is not None:
                self._stop(tx, stop, job.step, saves=saves)
            elif job.status is JobStatus.PENDING:
                tx.jobs.move(self._ref, JobStatus.INITIALIZING, now=self._world.now)
            elif job.status is JobStatus.INITIALIZING:
                tx.jobs.move(self._ref, JobStatus.RUNNING, now=self._world.now)
                self._driver.has_trained = True
            else:
                step = job.step + STEPS_PER_MOVE
                tx.jobs.record_progress(self._ref, step=step, total_steps=1000, epoch=0.1, now=self._world.now)
                if saves:
                    self._save(tx, step)

    def fail(self, reason: ReasonCode) -> None:
        with self._world.store.begin() as tx:
            if self._beat(tx):
                self._end(tx, reason)

    def finish(self) -> None:
        """Deliver the model."""
        with self._world.store.begin() as tx:
            if not self._beat(tx):
                return
            job = tx.jobs.get(self._ref.id)
            self._end(tx, ReasonCode.OK)
            assert self._driver.plan is not None
            num_files = len(self._driver.plan.train_files)
            if job.status in (JobStatus.RUNNING, JobStatus.PAUSING) and num_files == job.num_files:
                model_id = f"mdl-{job.id}-{self._driver.plan.model_number}"
                tx.models.add(replace(model_of(job), id=model_id))
                tx.jobs.move(self._ref, JobStatus.COMPLETED, now=self._world.now, model_id=model_id)
                self._world.trained[job.id] = num_files

    @property
    def _ref(self) -> JobRef:
        assert self._driver.plan is not None
        return JobRef(self._driver.plan.job_id, self._driver.plan.attempt)

    def _beat(self, tx: Transaction) -> bool:
        is_live = tx.attempts.heartbeat(self._ref, now=self._world.now) is not None
        if not is_live:
            self._driver.state = "ended"
        return is_live

    def _wanted(self, status: JobStatus, kind: StopKind | None) -> StopKind | None:
        wishes = list(self._driver.stops)
        if status is JobStatus.CANCELLING:
            wishes.append(StopKind.CANCEL)
        if status is JobStatus.PAUSING and kind is not None:
            wishes.append(kind)
        return max(wishes, key=lambda wish: wish.urgency, default=None)

    def _stop(self, tx: Transaction, kind: StopKind, step: int, *, saves: bool) -> None:
        if saves and step:
            self._save(tx, step)
        self._end(tx, STOP_REASONS[kind])

    def _save(self, tx: Transaction, step: int) -> None:
        name = f"step-{step:08d}"
        record = CheckpointRecord(self._ref.id, step, self._ref.attempt, name, 100, "f" * 64, self._world.now)
        tx.checkpoints.add(self._ref, record)

    def _end(self, tx: Transaction, reason: ReasonCode) -> None:
        assert tx.attempts.end(self._ref, reason=reason, message="It ended.", now=self._world.now)
        self._driver.state = "ended"
