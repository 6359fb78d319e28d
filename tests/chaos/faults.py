"""What may befall a service at any moment: the table of the soak, a function for each fault."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from ftlab.errors import ConflictError
from ftlab.status import JobStatus
from tests.chaos import outages, parts
from tests.chaos.parts import Find
from tests.chaos.scene import Scene

AWAY_S = (1.0, 5.0)
"""The shortest and the longest outage."""

Strike = Callable[[Scene, random.Random], None]


@dataclass(frozen=True)
class Fault:
    strike: Strike
    weight: float
    """How often it comes, relative to the others."""


def _running_jobs(scene: Scene) -> list[str]:
    return [job.id for job in scene.client.jobs.list(status=JobStatus.RUNNING)]


def _killing(find: Find) -> Strike:
    def strike(scene: Scene, chance: random.Random) -> None:
        with suppress(psutil.NoSuchProcess, AssertionError):  # it is being started again
            parts.kill(find(scene.lab, ""))

    return strike


def _killing_of_a_job(find: Find) -> Strike:
    def strike(scene: Scene, chance: random.Random) -> None:
        if jobs := _running_jobs(scene):
            with suppress(psutil.NoSuchProcess, AssertionError, ValueError, OSError):  # it ended meanwhile
                parts.kill(find(scene.lab, chance.choice(jobs)))

    return strike


def _suspending(find: Find) -> Strike:
    def strike(scene: Scene, chance: random.Random) -> None:
        with suppress(psutil.NoSuchProcess, AssertionError), outages.suspended(find(scene.lab, "")):
            time.sleep(chance.uniform(*AWAY_S))

    return strike


def _suspend_worker(scene: Scene, chance: random.Random) -> None:
    if jobs := _running_jobs(scene):
        with (
            suppress(psutil.NoSuchProcess, AssertionError),
            outages.suspended(parts.worker(scene.lab, chance.choice(jobs))),
        ):
            time.sleep(chance.uniform(*AWAY_S))


def _take_database_away(scene: Scene, chance: random.Random) -> None:
    with scene.database.away(scene.lab):
        time.sleep(chance.uniform(*AWAY_S))


def _pause_and_resume(scene: Scene, chance: random.Random) -> None:
    if jobs := _running_jobs(scene):
        job_id = chance.choice(jobs)
        with suppress(ConflictError):  # it ended meanwhile
            scene.client.jobs.pause(job_id)
            scene.client.jobs.wait(job_id, timeout_s=60, until=JobStatus.PAUSED)
            scene.client.jobs.resume(job_id)


def _tear_newest_checkpoint(scene: Scene, chance: random.Random) -> None:
    """Of a job whose worker dies with it, so that the loss is met at once."""
    if jobs := _running_jobs(scene):
        job_id = chance.choice(jobs)
        with suppress(psutil.NoSuchProcess, FileNotFoundError, AssertionError):
            parts.kill(parts.worker(scene.lab, job_id))
            if kept := scene.checkpoints(job_id):
                outages.tear(kept[-1][1])


def _cut_the_power(scene: Scene, chance: random.Random) -> None:
    parts.kill(parts.everything(scene.lab, ""))
    assert scene.lab.process is not None
    scene.lab.process.wait(30)
    scene.lab.start()


def _stop_and_start(scene: Scene, chance: random.Random) -> None:
    assert scene.lab.stop() == 0
    scene.lab.start()


FAULTS = {
    "worker killed": Fault(_killing_of_a_job(parts.worker), 3),
    "worker hangs for a while": Fault(_suspend_worker, 1),
    "checkpoint torn": Fault(_tear_newest_checkpoint, 1),
    "run driver killed": Fault(_killing_of_a_job(parts.run_driver), 1),
    "Train controllers killed": Fault(_killing(parts.train_controllers), 1),
    "coordinator killed": Fault(_killing(parts.coordinator), 2),
    "coordinator hangs for a while": Fault(_suspending(parts.coordinator), 1),
    "live hub killed": Fault(_killing(parts.hub), 1),
    "replicas killed": Fault(_killing(parts.replicas), 1),
    "HTTP front killed": Fault(_killing(parts.http_front), 1),
    "Serve controller killed": Fault(_killing(parts.serve_controller), 1),
    "MLflow hangs for a while": Fault(_suspending(parts.mlflow), 1),
    "recorder killed": Fault(_killing(parts.recorder), 1),
    "notifier killed": Fault(_killing(parts.notifier), 0.5),
    "database away": Fault(_take_database_away, 2),
    "job paused and resumed": Fault(_pause_and_resume, 2),
    "raylet killed": Fault(_killing(parts.raylet), 0.5),
    "GCS killed": Fault(_killing(parts.gcs), 0.5),
    "power cut": Fault(_cut_the_power, 0.5),
    "service stopped and started": Fault(_stop_and_start, 0.5),
}
RESTARTS = ("raylet killed", "GCS killed", "power cut", "service stopped and started")
"""After these, a quarter of a minute passes before a job trains again."""
