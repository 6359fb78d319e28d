"""kill -9 of every part, one after the other, under a running job and a queue."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftlab.schemas import Job
from ftlab.status import JobStatus, ReasonCode
from tests.chaos import outages, parts
from tests.chaos.parts import Find
from tests.chaos.scene import Scene
from tests.support.clocks import wait_for
from tests.support.lab import at_step, follow_until

NOTICED_S = 15.0
"""A dead run is noticed within this time."""
REBUILT_S = 90.0
"""The same where all of Ray is started anew first."""
STUCK_S = 10
"""The shortest limit that a job can have."""
HANG_SEEN_S = 60.0


@dataclass(frozen=True)
class Kill:
    """A part, and what its death may cost the job that runs."""

    victims: Find
    costs: ReasonCode | None = None
    """Why the attempt ends; `None`: it must not notice."""
    noticed_s: float = NOTICED_S
    needs_start: bool = False
    """Nothing is left that would start the service again."""

    @property
    def counts(self) -> bool:
        return self.costs is ReasonCode.WORKER_CRASHED


KILLS = {
    "worker": Kill(parts.worker, ReasonCode.WORKER_CRASHED),
    "train controllers": Kill(parts.train_controllers, ReasonCode.WORKER_CRASHED),
    "run driver": Kill(parts.run_driver, ReasonCode.WORKER_CRASHED),
    "coordinator": Kill(parts.coordinator),
    "live hub": Kill(parts.hub),
    "one replica": Kill(parts.first(parts.replicas)),
    "all replicas": Kill(parts.replicas),
    "HTTP front": Kill(parts.http_front),
    "manager of the front": Kill(parts.front_manager),
    "Serve controller": Kill(parts.serve_controller),
    "control process": Kill(parts.control),
    "MLflow": Kill(parts.mlflow),
    "recorder": Kill(parts.recorder),
    "notifier": Kill(parts.notifier),
    "raylet": Kill(parts.raylet, ReasonCode.SERVICE_RESTARTED, REBUILT_S),
    "GCS": Kill(parts.gcs, ReasonCode.SERVICE_RESTARTED, REBUILT_S),
    "supervisor": Kill(parts.supervisor, ReasonCode.SERVICE_RESTARTED, REBUILT_S, needs_start=True),
    "everything": Kill(parts.everything, ReasonCode.SERVICE_RESTARTED, REBUILT_S, needs_start=True),
}


@pytest.mark.chaos
@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
def test_no_job_is_lost_when_a_part_is_killed(scene: Scene, kill: Kill) -> None:
    running = scene.submit(max_steps=60 if kill.costs else 120)
    waiting = [scene.submit(max_steps=2) for _ in range(2)]
    with scene.follower(running), _command_line_follower(scene, running) as command:
        scene.reach(running, 8)
        parts.kill(kill.victims(scene.lab, running.id))
        if kill.needs_start:
            assert scene.lab.process is not None
            scene.lab.process.wait(30)
            scene.lab.start()
        if kill.costs:
            wait_for(lambda: scene.has_ended(running, attempt=1), kill.noticed_s, "the end to be seen")
        done = scene.finish(running)

    assert done.status is JobStatus.COMPLETED, done.message
    assert [each.reason for each in scene.lab.attempts(running.id)] == [*filter(None, [kill.costs]), ReasonCode.OK]
    assert done.retries_used == int(kill.counts)
    assert command.returncode == 0, f"`ftlab wait` goes through it; {_command_log(scene, running)}"
    first, second = [scene.finish(job) for job in waiting]
    assert (first.status, second.status) == (JobStatus.COMPLETED, JobStatus.COMPLETED)
    order = [first.started_at, second.started_at]
    if not kill.counts:  # after a crash of its own, a job waits a moment, and the others need not wait for it
        order.insert(0, done.finished_at)
    assert order == sorted(order), "the queue kept its order"


def test_a_worker_killed_while_it_writes_a_checkpoint_and_one_that_hangs_are_tried_again(scene: Scene) -> None:
    """The first is resumed from the checkpoint before; the second is ended once nothing is heard of it."""
    job = scene.submit(max_steps=60, stuck_timeout_s=STUCK_S)
    scene.reach(job, 6)
    worker = outages.stop_in_checkpoint_write(scene.lab, job.id)
    kept = [step for step, _ in scene.checkpoints(job.id)]
    torn = list((scene.folder(job.id) / "checkpoints").glob(".tmp-1/checkpoint-*"))
    worker.kill()
    follow_until(scene.client, job, lambda event: event.attempt == 2 and at_step(kept[-1] + 2)(event))
    with outages.suspended(parts.worker(scene.lab, job.id)):
        wait_for(lambda: scene.has_ended(job, attempt=2), HANG_SEEN_S, "the hang to be seen")

    done = scene.finish(job)

    assert torn
    assert done.status is JobStatus.COMPLETED, done.message
    assert [each.reason for each in scene.lab.attempts(job.id)] == [
        ReasonCode.WORKER_CRASHED,
        ReasonCode.WORKER_HUNG,
        ReasonCode.OK,
    ]
    assert done.retries_used == 2
    resumed, _ = (notice.data for notice in scene.notices(job) if notice.data["code"] == "resuming")
    assert resumed["step"] == kept[-1]
    assert resumed["message"].startswith(f"Resuming from step {kept[-1]}")
    dumps = list((scene.folder(job.id) / "logs").glob("*stack*"))
    assert any("train" in dump.read_text("utf-8") for dump in dumps), "what the worker was doing"


@contextmanager
def _command_line_follower(scene: Scene, job: Job) -> Iterator[subprocess.Popen[bytes]]:
    """`ftlab wait --follow` of the job; it has ended after the block."""
    command = [sys.executable, "-m", "ftlab.cli.main", "wait", job.id, "--follow"]
    with _command_log(scene, job).open("wb") as log:
        running = subprocess.Popen(command, env=scene.lab.environment(), stdout=log, stderr=log)
    try:
        yield running
        running.wait(30)
    finally:
        running.kill()
        running.wait()


def _command_log(scene: Scene, job: Job) -> Path:
    return scene.lab.settings.home / "logs" / f"wait-{job.id}.log"
