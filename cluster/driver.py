"""The run driver: one named detached actor per attempt. It calls `TorchTrainer.fit()` and outlives the coordinator."""

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.attempt_log import AttemptLog
from cluster.hub import RayHubClient
from cluster.names import NAMESPACE
from cluster.policy import WorkerShape
from cluster.ray_clients import RayCoordinatorClient
from ftlab.life import JobStatus, ReasonCode
from ftlab.settings import load_settings
from tracking.store import Store
from tracking.store.ids import new_id
from tracking.store.records import JobRecord, JobRef, ModelRecord
from train.plan import Ending, Failure, Outcome, RunPlan, StopKind

PLAN_POLL_S = 30.0

logger = logging.getLogger(__name__)


class RunDriver:
    """Runs one attempt. A standby driver starts its run first and is told its attempt later.

    All methods are called from other processes; the training itself runs in the thread that `start` opens.
    """

    def __init__(self, name: str, shape: WorkerShape | None, plan: RunPlan | None) -> None:
        self._name = name
        self._settings = load_settings()
        self._store = Store.open(self._settings.store_url)
        self._hub = RayHubClient(NAMESPACE)
        self._coordinator = RayCoordinatorClient()
        self._shape = shape
        self._given_plan = plan
        """What the workers start with. A standby run's ask for their plan, also when it is there before they are."""
        self._plan: RunPlan | None = None
        self._planned = threading.Event()
        self._log: AttemptLog | None = None
        self._workers: dict[int, tuple[int, str | None]] = {}
        self._reservation: ray.util.placement_group.PlacementGroup | None = None
        self._gpu_holder: Any = None
        self._outcome: Outcome | None = None
        self._failure: Failure | None = None
        self._ended = threading.Event()
        if plan is not None:
            self._take(plan)

    def start(self) -> None:
        """Start the run; returns at once."""
        threading.Thread(target=self._fit, name="ftlab-fit", daemon=True).start()

    def state(self) -> str:
        """`starting`, `ready` (a standby that waits for its plan), `taken` or `ended`."""
        if self._ended.is_set():
            return "ended"
        if self._plan is not None:
            return "taken"
        return "ready" if self._workers else "starting"

    def assign(self, plan: RunPlan, shape: WorkerShape) -> bool:
        """Give a standby run its attempt; `False` when it has another one already. Safe to repeat."""
        if self._plan is not None:
            return (self._plan.job_id, self._plan.attempt) == (plan.job_id, plan.attempt)
        if self._ended.is_set():
            return False
        self._take(replace(plan, cuda_device=self._reserve(shape)))
        return True

    def dismiss(self) -> None:
        """End a standby run that is not needed any more."""
        self._planned.set()

    def wait_for_plan(self) -> tuple[bool, RunPlan | None]:
        """For workers: wait a while for the plan; `(False, None)` means ask again."""
        told = self._planned.wait(PLAN_POLL_S)
        if told and self._plan is not None and self._log is not None:
            self._log.move(JobStatus.INITIALIZING)
        return told, self._plan

    def hello(self, rank: int, pid: int, placement_group: str | None) -> None:
        """For workers: say that they are up."""
        self._workers[rank] = (pid, placement_group)
        if self._log is None or len(self._workers) < (self._shape.num_workers if self._shape else 1):
            return
        self._tell_processes()
        if self._shape is not None:  # a standby run's worker asks for its plan first
            self._log.move(JobStatus.INITIALIZING)

    def record(self, batch: list[dict[str, Any]]) -> StopKind | None:
        """For workers: take events over; answers what the run shall do. Only queues, never waits."""
        assert self._log is not None
        self._log.record(batch)
        return self._log.stop

    def fail(self, rank: int, failure: Failure) -> None:
        """For workers: say why the run is about to fail. The first cause that is not a lost peer counts."""
        if self._failure is None or self._failure.reason is ReasonCode.COLLECTIVE_ERROR:
            self._failure = failure

    def finish(self, outcome: Outcome) -> None:
        """For rank 0: say how the run ended. What it delivered is on disk by now."""
        self._outcome = outcome
        if outcome.ending is Ending.FINISHED:
            assert self._log is not None
            model_id = new_id("mdl")
            self._log.complete(lambda job: self._model(outcome, job, model_id))
            self._coordinator.wake()

    def request_stop(self, kind: StopKind) -> bool:
        """Ask the run to save and stop; `False` when it is not training yet and has nothing to save."""
        if self._log is None:
            return False
        self._log.request_stop(kind)
        return self._log.has_trained

    def _take(self, plan: RunPlan) -> None:
        self._plan = plan
        self._log = AttemptLog(self._store, self._hub, JobRef(plan.job_id, plan.attempt))
        if self._workers:
            self._tell_processes()
        self._planned.set()

    def _tell_processes(self) -> None:
        assert self._log is not None
        groups = {group for _, group in self._workers.values() if group}
        if self._reservation is not None:
            groups.add(self._reservation.id.hex())
        self._log.set_processes(tuple(pid for _, (pid, _) in sorted(self._workers.items())), tuple(sorted(groups)))

    def _reserve(self, shape: WorkerShape) -> str | None:
        """Hold in Ray's books what the standby run is about to use; our own ledger has made sure that it is free.

        Returns the GPU that Ray chose, where the shape has one.
        """
        bundle = {"CPU": float(shape.cpus_per_worker)}
        if shape.gpus_per_worker:
            bundle["GPU"] = float(shape.gpus_per_worker)
        self._reservation = ray.util.placement_group([bundle], strategy="STRICT_PACK")
        if not shape.gpus_per_worker:
            return None
        # The actor lives as long as this driver and keeps the GPU taken.
        self._gpu_holder = (
            ray.remote(num_cpus=0, num_gpus=1)(_GpuHolder)
            .options(scheduling_strategy=PlacementGroupSchedulingStrategy(self._reservation))
            .remote()
        )
        return str(ray.get(self._gpu_holder.device.remote()))

    def _fit(self) -> None:
        crash: BaseException | None = None
        try:
            from cluster.launch import make_trainer  # torch: only here, the coordinator imports this module too

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
        """Bring the attempt to its end in the record, free what it held, and tell the coordinator."""
        if self._reservation is not None:
            ray.util.remove_placement_group(self._reservation)
        if self._log is not None:
            finished = self._outcome is not None and self._outcome.ending is Ending.FINISHED
            if not finished:
                self._log.end(*self._reason(crash))
            self._log.close()
        self._ended.set()
        self._coordinator.wake()

    def _reason(self, crash: BaseException | None) -> tuple[ReasonCode, str]:
        if self._outcome is not None and self._outcome.stop is StopKind.CANCEL:
            return ReasonCode.USER_CANCELLED, f"Stopped at step {self._outcome.step}; a checkpoint was saved."
        if self._failure is not None:
            return self._failure.reason, self._failure.message
        if isinstance(crash, ray.exceptions.OutOfMemoryError) or "OutOfMemoryError" in str(crash):
            return (
                ReasonCode.HOST_OOM,
                "The machine's memory was used up and a training worker was ended for it.",
            )
        if "NodeDiedError" in str(crash):
            return ReasonCode.NODE_LOST, "The machine of a training worker is gone."
        return (
            ReasonCode.WORKER_CRASHED,
            "A training worker ended without a word (killed, or a crash in native code).",
        )

    def _model(self, outcome: Outcome, job: JobRecord, model_id: str) -> ModelRecord:
        plan = self._plan
        assert plan is not None
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


class _GpuHolder:
    def device(self) -> int:
        return int(ray.get_gpu_ids()[0])


class StartedRunDriver(RunDriver):
    """The actor: it starts by itself, because whoever creates it may die before a call to `start`."""

    def __init__(self, name: str, shape: WorkerShape | None, plan: RunPlan | None) -> None:
        super().__init__(name, shape, plan)
        self.start()
