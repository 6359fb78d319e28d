"""The run driver: one named detached actor per attempt. It calls `TorchTrainer.fit()` and outlives the coordinator."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.coordinator_client import RayCoordinatorClient
from cluster.events.event_hub import RayEventHubClient
from cluster.machine.cpu_priority import import_behind
from cluster.machine.memory_kills import NO_KILLS, MemoryKills, count_kills
from cluster.names import NAMESPACE
from cluster.policy import WorkerShape, node_labels
from cluster.policy.retry import STOP_REASONS
from cluster.runs.attempt_log import AttemptLog
from cluster.runs.end_reasons import of_crash, of_force, of_stop
from cluster.runs.phase_changes import PhaseChanges
from cluster.runs.run_limits import SAVE_GRACE_S
from cluster.runs.watchdog import LOOK_INTERVAL_S, Stall, Watchdog
from cluster.runs.worker_process import WorkerProcess, dump_stacks, end_workers
from ftlab.schemas import CheckpointPayload
from ftlab.settings import load_settings
from ftlab.status import JobStatus, ReasonCode
from tracking.store import Store
from tracking.store.ids import new_id
from tracking.store.records import JobRecord, JobRef, ModelRecord
from train.failures.stacks import training_frames
from train.plan import Beat, Ending, Failure, Outcome, RunPlan, StopKind, TrainingPlan
from train.reporting.event_sender import Emitted

PLAN_POLL_S = 30.0
KILLS_WINDOW_LOOKS = 30
"""Looks of the watchdog, one a second, in which a kill by the kernel may have ended the run."""
FIT_END_TIMEOUT_S = 15.0
"""Ray Train notices within a second that its workers were ended; a controller that hangs does not."""

logger = logging.getLogger(__name__)


class RunDriver:
    """Runs one attempt. A standby driver starts its run first and receives its attempt later.

    All methods are called from other processes; `start` opens two threads, one for the training and one that watches
    it.
    """

    def __init__(self, name: str, shape: WorkerShape | None, plan: RunPlan | None) -> None:
        self._name = name
        self._settings = load_settings()
        self._store = Store.open(self._settings.store_url, is_waited_for=True)
        self._hub = RayEventHubClient(NAMESPACE)
        self._coordinator = RayCoordinatorClient()
        self._shape = shape
        self._given_plan = plan
        """Arguments of the workers. The workers of a standby run request their plan, even if it is already known when
        they start.
        """
        self._plan: RunPlan | None = None
        self._planned = threading.Event()
        self._log: AttemptLog | None = None
        self._workers: dict[int, WorkerProcess] = {}
        self._watchdog = _watchdog_of(None)
        self._reservation: ray.util.placement_group.PlacementGroup | None = None
        self._gpu_holder: Any = None
        self._outcome: Outcome | None = None
        self._failure: Failure | None = None
        self._kills: deque[MemoryKills] = deque(maxlen=KILLS_WINDOW_LOOKS)
        self._verdict: Failure | None = None
        """The reason why this driver itself ended the run by force."""
        self._newest_checkpoint: int | None = None
        self._phases = PhaseChanges(step=0)
        self._closing = threading.Lock()
        self._ended = threading.Event()
        if plan is not None:
            self._take(plan)

    def start(self) -> None:
        """Start the run; returns at once."""
        threading.Thread(target=self._fit, name="ftlab-fit", daemon=True).start()
        threading.Thread(target=self._watch, name="ftlab-watchdog", daemon=True).start()

    def state(self) -> str:
        """`starting`, `ready` (a standby that waits for its plan), `taken` or `ended`."""
        if self._ended.is_set():
            return "ended"
        if self._plan is not None:
            return "taken"
        return "ready" if self._workers else "starting"

    def assign(self, plan: RunPlan, shape: WorkerShape) -> bool:
        """Give a standby run its attempt; `False` when it has another one already, or has ended. Safe to repeat."""
        if self._plan is not None:
            return (self._plan.job_id, self._plan.attempt) == (plan.job_id, plan.attempt)
        if self._ended.is_set():
            return False
        plan = replace(plan, cuda_device=self._reserve(shape, f"{plan.job_id}-{plan.attempt}"))
        with self._closing:
            if self._ended.is_set():  # meanwhile: nobody would run the attempt, and its heartbeats would go on
                self._give_back()
                return False
            self._take(plan)
        return True

    def wait_for_plan(self) -> tuple[bool, RunPlan | None]:
        """For workers: wait a while for the plan; `(False, None)` means ask again."""
        told = self._planned.wait(PLAN_POLL_S)
        if told and self._plan is not None and self._log is not None:
            self._watchdog.is_up(1, time.monotonic())
            self._log.move(JobStatus.INITIALIZING)
        return told, self._plan

    def hello(self, worker: WorkerProcess) -> None:
        """For workers: report that they are up."""
        self._workers[worker.rank] = worker
        num_workers = self._shape.num_workers if self._shape else 1
        if len(self._workers) < num_workers:
            return
        if self._log is None:
            self._watchdog.is_up(num_workers, time.monotonic())
            return
        self._tell_processes()
        if self._shape is not None:  # a standby run's worker asks for its plan first
            self._watchdog.is_up(num_workers, time.monotonic())
            self._log.move(JobStatus.INITIALIZING)

    def record(self, events: list[Emitted], beat: Beat | None = None, rank: int = 0) -> StopKind | None:
        """For workers: hand over events; returns the stop request, if there is one. Only queues, never waits."""
        assert self._log is not None
        self._watchdog.hear(rank, beat, time.monotonic())
        self._log.record(events)
        for event in events:
            if isinstance(event.payload, CheckpointPayload):
                self._newest_checkpoint = event.payload.step
        if (changed := self._phases.change(events, beat)) is not None:
            self._log.record_phase(changed)
        return self._log.stop

    def fail(self, rank: int, failure: Failure) -> None:
        """For workers: report why the run is about to fail. The first cause that is not a lost peer counts."""
        if self._failure is None or self._failure.reason is ReasonCode.COLLECTIVE_ERROR:
            self._failure = replace(failure, rank=rank)
        self._watchdog.has_told_its_end(time.monotonic())

    def leave(self, rank: int) -> None:
        """For the other workers: report that this one is done, while rank 0 may still deliver."""
        self._watchdog.has_left(rank)

    def finish(self, outcome: Outcome) -> None:
        """For rank 0: report how the run ended. Its tuned model or checkpoint is already on disk."""
        assert self._log is not None
        self._outcome = outcome
        self._watchdog.has_told_its_end(time.monotonic())
        if outcome.ending is Ending.FINISHED:
            plan = self._plan
            assert plan is not None
            if isinstance(plan, TrainingPlan):
                model_id, num_files = new_id("mdl"), len(plan.train_files)
                self._log.complete(
                    lambda job: _model(plan, outcome, job, model_id), num_files, ended_early=outcome.ended_early
                )
            else:
                self._log.complete_without_model()
        else:
            # Told now, because leaving takes seconds in which the coordinator might end the run by force.
            self._log.end(self._ending(None))

    def request_stop(self, kind: StopKind) -> bool:
        """Ask the run to save and stop; `False` when it is not training yet and has nothing to save."""
        if self._log is None:
            return False
        self._log.request_stop(kind)
        return self._log.has_trained

    def _take(self, plan: RunPlan) -> None:
        self._plan = plan
        self._kills.append(count_kills())
        self._watchdog = _watchdog_of(plan)
        self._phases = PhaseChanges(plan.recorded_step)
        recorded = plan.recorded_checkpoints if isinstance(plan, TrainingPlan) else ()
        self._newest_checkpoint = max(recorded, default=None)
        ref = JobRef(plan.job_id, plan.attempt)
        self._log = AttemptLog(self._store, self._hub, ref, self._coordinator.hurry, self._settings)
        if self._workers:
            self._tell_processes()
        self._planned.set()

    def _tell_processes(self) -> None:
        assert self._log is not None
        workers = [worker for _, worker in sorted(self._workers.items())]
        groups = {worker.placement_group for worker in workers if worker.placement_group}
        if self._reservation is not None:
            groups.add(self._reservation.id.hex())
        own = self._plan.cuda_device if self._plan is not None else None
        self._log.set_processes(
            tuple(worker.pid for worker in workers),
            tuple(sorted(groups)),
            tuple((worker.node_id, worker.gpus if own is None else (int(own),)) for worker in workers),
        )

    def _reserve(self, shape: WorkerShape, label: str) -> str | None:
        """Hold in Ray's books what the standby run is about to use; our own ledger has made sure that it is free.

        `label` leads from the job to the placement group. Returns the GPU that Ray chose, where the shape has one.
        """
        bundle = {"CPU": float(shape.cpus_per_worker)}
        if shape.gpus_per_worker:
            bundle["GPU"] = float(shape.gpus_per_worker)
        self._reservation = ray.util.placement_group(
            [bundle], strategy="STRICT_PACK", bundle_label_selector=node_labels(shape), name=label
        )
        if not shape.gpus_per_worker:
            return None
        # The actor lives as long as this driver and keeps the GPU taken.
        self._gpu_holder = (
            ray.remote(num_cpus=0, num_gpus=shape.gpus_per_worker)(_GpuHolder)
            .options(scheduling_strategy=PlacementGroupSchedulingStrategy(self._reservation))
            .remote(label)
        )
        return str(ray.get(self._gpu_holder.device.remote()))

    def _give_back(self) -> None:
        if self._reservation is not None:
            ray.util.remove_placement_group(self._reservation)

    def _fit(self) -> None:
        crash: BaseException | None = None
        try:
            if self._plan is None:
                import_behind("cluster.runs.trainer")
            from cluster.runs.trainer import make_trainer  # torch: only here, the coordinator imports this module too

            make_trainer(
                self._name,
                driver=self._name,
                shape=self._shape,
                plan=self._given_plan,
                storage=self._settings.home / "ray_runs",
            ).fit()
        except BaseException as error:  # Ray raises errors of three unrelated families here
            crash = error
            logger.warning("The run %s ended with %s", self._name, error)
        self._close(crash)

    def _close(self, crash: BaseException | None) -> None:
        """End the attempt in the record, release what it held, and notify the coordinator."""
        with self._closing:
            if self._ended.is_set():
                return
            self._give_back()
            if self._log is not None:
                finished = self._outcome is not None and self._outcome.ending is Ending.FINISHED
                if not finished:
                    self._log.end(self._ending(crash))
                self._log.close()
            self._ended.set()
        self._coordinator.hurry()

    def _ending(self, crash: BaseException | None) -> Failure:
        if self._outcome is not None and self._outcome.stop is not None:
            return of_stop(self._outcome, self._log.stop if self._log else None)
        if self._verdict is not None:  # what workers say while they are ended is no cause
            return self._verdict
        if self._failure is not None:
            return self._failure
        nodes = {worker.node_id for worker in self._workers.values()}
        is_here = not nodes or nodes == {str(ray.get_runtime_context().get_node_id())}
        kills = count_kills().since(self._kills[0]) if is_here and self._kills else NO_KILLS
        return of_crash(crash, nodes, kills)

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_INTERVAL_S):
            try:
                self._look(time.monotonic())
            except Exception:  # an edge: whatever goes wrong in one look, the next one is needed
                logger.exception("The watchdog could not check %s", self._name)

    def _look(self, now: float) -> None:
        """End the run by force when it hangs, or has far exceeded its limit of time or cost."""
        self._kills.append(count_kills())
        if stall := self._watchdog.look(now):
            self._end_hung(stall)
        elif self._plan is not None and self._plan.time_left_s is not None:
            # The coordinator ends it by force as well; this is for a time when there is none.
            allowed_s = self._plan.time_left_s + max(SAVE_GRACE_S, self._settings.stop_grace_s)
            if self._watchdog.is_in_work_after(allowed_s, self._phases.total_steps, now):
                what = "max_cost" if self._plan.limit is StopKind.COST_LIMIT else "time limit"
                self._end_by_force(STOP_REASONS[self._plan.limit], f"The job's {what} is used up.")

    def _end_hung(self, stall: Stall) -> None:
        plan, workers = self._plan, list(self._workers.values())
        if plan is None:
            logger.warning("Standby run: %s", stall.sentence)
            self._close(None)
            return
        where, frames = "", list[str]()
        if workers and self._outcome is None and self._failure is None:
            where, frames = _keep_stacks(plan, workers, stall)
            if self._watchdog.look_again(time.monotonic()) is None:
                return  # it has moved on while its stacks were taken
        self._end_by_force(ReasonCode.WORKER_HUNG, f"{stall.sentence}{where}", frames)

    def _end_by_force(self, reason: ReasonCode, why: str, notes: Sequence[str] = ()) -> None:
        """End the workers, so that `fit()` returns; where even that hangs, the coordinator ends this process."""
        logger.warning("Ending the run %s by force: %s", self._name, why)
        if self._failure is None:
            saves = isinstance(self._plan, TrainingPlan)
            self._verdict = of_force(reason, why, self._newest_checkpoint, notes, saves=saves)
        end_workers(list(self._workers.values()))
        if not self._ended.wait(FIT_END_TIMEOUT_S):
            self._close(None)


class _GpuHolder:
    """Holds a GPU for the job that a standby run took; its repr leads from the job to the run."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __repr__(self) -> str:
        return f"{self._label} GPU"

    def device(self) -> int:
        return int(ray.get_gpu_ids()[0])


class StartedRunDriver(RunDriver):
    """The actor: it starts by itself, because its creator may die before a call to `start`."""

    def __init__(self, name: str, shape: WorkerShape | None, plan: RunPlan | None) -> None:
        super().__init__(name, shape, plan)
        self.start()


def _model(plan: TrainingPlan, outcome: Outcome, job: JobRecord, model_id: str) -> ModelRecord:
    assert outcome.delivered_step is not None
    assert outcome.base_model is not None
    return ModelRecord(
        id=model_id,
        owner=job.owner,
        job_id=job.id,
        name=job.name,
        kind="adapter" if plan.config.tuning == "lora" else "full",
        base_model=outcome.base_model,
        base_revision=outcome.base_revision,
        step=outcome.delivered_step,
        path=plan.model_folder,
        mlflow_version=None,
        created_at=datetime.now(UTC),
    )


def stacks_file(plan: RunPlan) -> Path:
    """Path of the stacks of a hung attempt, next to its log."""
    return plan.log_file.with_name(f"attempt-{plan.attempt}-stacks.txt")


def _keep_stacks(plan: RunPlan, workers: Sequence[WorkerProcess], stall: Stall) -> tuple[str, list[str]]:
    """Write the stacks of a hung run; return a sentence with their path, and one about the thread of each worker."""
    file = stacks_file(plan)
    try:
        dump = dump_stacks(workers, f"{plan.job_id}, attempt {plan.attempt}. {stall.sentence}", file)
    except OSError as error:
        return f" Its stacks could not be written to {file}: {error.strerror}.", []
    return f" Its stacks are in the file {file.name} of the job's logs.", training_frames(dump)


def _watchdog_of(plan: RunPlan | None) -> Watchdog:
    """Watch of a standby run, which only has to start."""
    return Watchdog(
        stuck_timeout_s=plan.config.stuck_timeout_s if plan else math.inf,
        first_step_timeout_s=plan.config.first_step_timeout_s if plan else math.inf,
        now=time.monotonic(),
    )
