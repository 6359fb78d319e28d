"""Code that every training worker of a run executes inside Ray Train."""

import ctypes
import gc
import json
import os
from pathlib import Path
from typing import Any

import ray
from ray import train as ray_train

from cluster.machine.cpu_priority import import_behind
from cluster.names import NAMESPACE
from cluster.runs.node_drain import NodeDrain
from cluster.runs.worker_process import WorkerProcess
from ftlab.lean_imports import paused_collector
from ftlab.schemas import NoticePayload
from train.plan import Beat, RunPlan, RunReport, StopKind
from train.reporting.event_sender import Emitted, Emitter
from train.run_job import USUAL_MODULES, find_run, run_job

SEND_TIMEOUT_S = 10.0
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, -1
"""Constants of prctl(2)."""


class _DriverLink:
    """A `RunLink` over the run driver. Only rank 0 sends events; the others just listen for the stop request."""

    def __init__(self, driver: Any, rank: int) -> None:
        self._driver = driver
        self._rank = rank
        self._node_drain = NodeDrain()
        self._emitter = Emitter(self._send)
        self._emitter.start()

    @property
    def host(self) -> str:
        return str(ray.util.get_node_ip_address())

    def emit(self, payload: RunReport) -> None:
        if self._rank == 0:
            self._emitter.emit(payload)

    def beat(self, beat: Beat) -> None:
        self._emitter.beat(beat)

    def stop_requested(self) -> StopKind | None:
        return self._emitter.stop_requested()

    def save_requested(self) -> bool:
        """Whether a machine of the run is about to be taken away, once per notice; rank 0 answers for all."""
        if self._rank != 0 or not self._node_drain.is_news():
            return False
        message = "A machine of this run is about to shut down; saving a checkpoint now."
        self.emit(NoticePayload(code="node_drains", message=message))
        return True

    def report_checkpoint(self, step: int, folder: Path) -> None:
        """Hand Ray Train a pointer to the committed checkpoint.

        The checkpoint itself is ours (architecture: "Checkpoints"); Ray Train keeps only its path.
        """
        pointer = None
        if self._rank == 0:
            storage = ray_train.get_context().get_storage()
            here = Path(storage.experiment_fs_path) / folder.name
            here.mkdir(parents=True, exist_ok=True)
            (here / "pointer.json").write_text(json.dumps({"path": str(folder)}), "utf-8")
            pointer = ray_train.Checkpoint(str(here))
        ray_train.report(
            {"step": step},
            checkpoint=pointer,
            checkpoint_upload_mode=ray_train.CheckpointUploadMode.NO_UPLOAD,
        )

    def close(self) -> None:
        self._emitter.close()

    def _send(self, events: list[Emitted], beat: Beat | None) -> StopKind | None:
        # All ranks step together, so the pace of one is that of all; the others only show that they are alive.
        pace = beat if self._rank == 0 else None
        try:
            stop: StopKind | None = ray.get(
                self._driver.record.remote(events, pace, self._rank), timeout=SEND_TIMEOUT_S
            )
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError) as error:
            raise ConnectionError(str(error)) from error
        return stop


def train_loop(loop_config: dict[str, Any]) -> None:
    """The `train_loop_per_worker` of every `TorchTrainer` run, whatever the kind of the job.

    A standby run has no plan yet: it imports everything, touches no device, and waits for one.
    """
    driver = ray.get_actor(loop_config["driver"], NAMESPACE)
    rank = ray_train.get_context().get_world_rank()

    # The imports that take seconds happen here, those of a standby run before its plan is known.
    given: RunPlan | None = loop_config["plan"]
    if given is None:
        import_behind(*USUAL_MODULES)
    else:
        with paused_collector():
            find_run(given.kind)
    from train.failures.classify import classify
    from train.reporting.logs import run_log

    gc.freeze()  # what is imported stays: collections need not look through it

    _let_debuggers_in()
    ray.get(driver.hello.remote(WorkerProcess.current(rank)))
    plan = given or _wait_for_plan(driver)
    if plan is None:
        return
    if plan.cuda_device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = plan.cuda_device
    link = _DriverLink(driver, rank)
    try:
        with run_log(plan.log_file if rank == 0 else Path(os.devnull), link) as log:
            try:
                outcome = run_job(plan, link)
            except BaseException as error:
                failure = classify(error, plan.job_folder)
                log.error("The run failed: %s", failure.message, exc_info=error)
                ray.get(driver.fail.remote(rank, failure), timeout=SEND_TIMEOUT_S)
                raise
        link.close()
        goodbye = driver.finish.remote(outcome) if rank == 0 else driver.leave.remote(rank)
        ray.get(goodbye, timeout=SEND_TIMEOUT_S)
    finally:
        link.close()
        gc.collect()


def _wait_for_plan(driver: Any) -> RunPlan | None:
    while True:
        answer: tuple[bool, RunPlan | None] = ray.get(driver.wait_for_plan.remote())
        if answer[0]:
            return answer[1]


def _let_debuggers_in() -> None:
    """Where the system lets only ancestors look into a process, the watchdog could not see where this one hangs, so
    allow it.
    """
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_long(PR_SET_PTRACER_ANY), 0, 0, 0)
