"""Cancel in every status, and while each part is away."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psutil
import pytest

from ftlab.schemas import Job
from ftlab.status import JobStatus
from tests.chaos import outages, parts
from tests.chaos.scene import Scene
from tests.support.clocks import wait_for

CANCELLED_S = 30.0
"""From the request, or from the end of the outage."""
AWAY_S = 5.0
ENDLESS = 100_000
TWO_WORKERS = {"num_workers": 2}
"""No standby run takes such a job, so its way to the first step is long enough to be met on it."""

InStatus = Callable[[Scene], AbstractContextManager[Job]]


@contextmanager
def queued(scene: Scene) -> Iterator[Job]:
    scene.submit(max_steps=ENDLESS)
    yield scene.submit(max_steps=ENDLESS)


@contextmanager
def pending(scene: Scene) -> Iterator[Job]:
    job = scene.submit(max_steps=ENDLESS, resources=TWO_WORKERS)
    scene.become(job, JobStatus.PENDING)
    yield job


@contextmanager
def initializing(scene: Scene) -> Iterator[Job]:
    job = scene.submit(max_steps=ENDLESS, resources=TWO_WORKERS)
    scene.become(job, JobStatus.INITIALIZING)
    yield job


@contextmanager
def running(scene: Scene) -> Iterator[Job]:
    job = scene.submit(max_steps=ENDLESS)
    scene.reach(job, 7)
    yield job


@contextmanager
def pausing(scene: Scene) -> Iterator[Job]:
    """The worker is suspended, so that the save does not end before the cancel comes."""
    with running(scene) as job, outages.suspended(parts.worker(scene.lab, job.id)):
        scene.client.jobs.pause(job.id)
        scene.become(job, JobStatus.PAUSING)
        yield job


@contextmanager
def paused(scene: Scene) -> Iterator[Job]:
    with running(scene) as job:
        scene.client.jobs.pause(job.id)
        scene.become(job, JobStatus.PAUSED)
        yield job


STATUSES: list[InStatus] = [queued, pending, initializing, running, pausing, paused]
HAS_SAVED = (running, pausing, paused)


@pytest.mark.chaos
@pytest.mark.parametrize("in_status", STATUSES, ids=lambda each: each.__name__)
def test_cancel_ends_a_job_in_every_status(scene: Scene, in_status: InStatus) -> None:
    with in_status(scene) as job:
        processes = _processes(scene, job)
        scene.client.jobs.cancel(job.id)

    _assert_cancelled(scene, job, processes)
    assert bool(scene.client.jobs.checkpoints(job.id)) is (in_status in HAS_SAVED), "its checkpoints are kept"


@contextmanager
def _coordinator_hangs(scene: Scene, job: Job) -> Iterator[None]:
    with outages.suspended(parts.coordinator(scene.lab, job.id)):
        yield


@contextmanager
def _replica_dies(scene: Scene, job: Job) -> Iterator[None]:
    parts.kill(parts.first(parts.replicas)(scene.lab, job.id))
    yield


@contextmanager
def _mlflow_hangs(scene: Scene, job: Job) -> Iterator[None]:
    with outages.mlflow_hanging(scene.lab):
        yield


@contextmanager
def _driver_dies(scene: Scene, job: Job) -> Iterator[None]:
    parts.kill(parts.run_driver(scene.lab, job.id))
    yield


OUTAGES = [_coordinator_hangs, _replica_dies, _mlflow_hangs, _driver_dies]


@pytest.mark.chaos
@pytest.mark.parametrize("outage", OUTAGES, ids=lambda each: each.__name__.strip("_"))
def test_cancel_holds_during_an_outage(scene: Scene, outage: Callable[..., AbstractContextManager[None]]) -> None:
    with running(scene) as job:
        processes = _processes(scene, job)
        with outage(scene, job):
            scene.client.jobs.cancel(job.id)
            wait_for(lambda: all(map(parts.is_gone, processes)), CANCELLED_S, "the processes to be gone meanwhile")

    _assert_cancelled(scene, job, processes)
    assert scene.client.jobs.checkpoints(job.id), "its checkpoints are kept"


@pytest.mark.chaos
def test_a_cancel_sent_while_the_database_is_away_holds_when_it_is_back(scene: Scene) -> None:
    with running(scene) as job:
        processes = _processes(scene, job)
        asking = threading.Thread(target=scene.client.jobs.cancel, args=(job.id,))
        with scene.database.away(scene.lab):
            asking.start()
            time.sleep(AWAY_S)
        asking.join(CANCELLED_S)

    _assert_cancelled(scene, job, processes)
    assert scene.client.jobs.checkpoints(job.id), "its checkpoints are kept"


def _processes(scene: Scene, job: Job) -> list[psutil.Process]:
    """The training processes of the newest attempt that still live: those of a paused job may be gone by now."""
    attempts = scene.lab.attempts(job.id)
    processes = []
    for pid in attempts[-1].pids if attempts else ():
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    return processes


def _assert_cancelled(scene: Scene, job: Job, processes: list[psutil.Process]) -> None:
    """Once, which the oracle sees in the log, and with nothing left of it."""
    scene.become(job, JobStatus.CANCELLED, timeout_s=CANCELLED_S)
    wait_for(lambda: all(map(parts.is_gone, processes)), CANCELLED_S, "the processes to be gone")
