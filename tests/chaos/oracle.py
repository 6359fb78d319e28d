"""What must hold when a fault is over, whatever it was."""

import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import psutil

from cluster.machine.orphans import MARK
from cluster.names import RUN_PREFIX, STANDBY_PREFIX
from ftlab.schemas import NoticePayload
from ftlab.status import ATTEMPT_STATUSES
from tests.chaos import history
from tests.chaos.parts import is_gone
from tests.chaos.ray_view import RayView
from tests.chaos.scene import Scene
from tracking.store import StaleJobError
from tracking.store.records import AttemptRecord, JobRef, NewEvent

SETTLE_TIMEOUT_S = 90.0
"""Devices of a dead attempt are free again within this time, and everything else is at rest."""
STANDBY_CPUS = 0.5
"""A standby run reserves less than this."""
MAX_POINTS = 1_000_000


def check(scene: Scene) -> None:
    """Wait until the service is at rest, then look at every job of the scene. Raises with all that does not hold."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while violations := [*_unhealthy(scene), *_not_given_back(scene), *_orphans(scene), *_half_written(scene)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    violations += _lost(scene)
    for job_id in scene.own:
        violations += [f"{job_id}: {violation}" for violation in _of_job(scene, job_id)]
    assert not violations, "\n".join(violations)


def _unhealthy(scene: Scene) -> Iterator[str]:
    for path in ("health", "ready"):
        try:
            with urllib.request.urlopen(f"{scene.lab.settings.server_url}/{path}", timeout=10):
                pass
        except OSError as error:
            yield f"/{path} answers {error}"


def _not_given_back(scene: Scene) -> Iterator[str]:
    """Devices by the service's own ledger and by Ray's."""
    with scene.lab.store.read() as tx:
        live, unreleased = tx.attempts.live(), tx.attempts.unreleased()
        statuses = {attempt.job_id: tx.jobs.get(attempt.job_id).status for attempt in live}
    yield from (f"attempt {each.number} of {each.job_id} was not released" for each in unreleased)
    idle = [each for each in live if statuses[each.job_id] not in ATTEMPT_STATUSES]
    yield from (f"{each.job_id} is {statuses[each.job_id]} and holds {each.cpus} cores" for each in idle)
    try:
        reserved = RayView(scene.lab.settings).reserved_cpus()
        drivers = [actor["name"] or "" for actor in RayView(scene.lab.settings).actors()]
    except OSError as error:
        yield f"Ray's dashboard answers {error}"
        return
    held = sum(attempt.cpus for attempt in live)
    if not held <= reserved < held + STANDBY_CPUS:
        yield f"Ray has {reserved} cores reserved, live attempts hold {held}"
    owned = {attempt.driver for attempt in live}
    ownerless = [name for name in drivers if name.startswith((RUN_PREFIX, STANDBY_PREFIX)) and name not in owned]
    if any(name.startswith(RUN_PREFIX) for name in ownerless) or len(ownerless) > 1:
        yield f"run drivers without an attempt: {ownerless}"


def _orphans(scene: Scene) -> Iterator[str]:
    """Processes of the service that are not below its supervisor, and workers whose attempt has ended."""
    assert scene.lab.process is not None
    below = {scene.lab.process.pid, *(process.pid for process in scene.lab.processes())}
    for process in psutil.process_iter():
        if process.pid not in below and _home_of(process) == str(scene.lab.settings.home) and not is_gone(process):
            with suppress(psutil.NoSuchProcess):  # it has ended by now
                yield f"process {process.pid} is an orphan: {process.cmdline()}"
    for job_id in scene.own:
        for attempt in scene.lab.attempts(job_id):
            if attempt.ended_at is not None:
                yield from (f"worker {pid} of {job_id} outlives it" for pid in attempt.pids if _is_of(pid, attempt))


def _half_written(scene: Scene) -> Iterator[str]:
    for job_id in scene.own:
        if scene.client.jobs.get(job_id).status.is_terminal:
            try:
                left = list(scene.folder(job_id).glob("**/.tmp-*"))
            except FileNotFoundError:  # one is being removed
                left = [scene.folder(job_id)]
            yield from (f"{path} was left" for path in left)


def _lost(scene: Scene) -> Iterator[str]:
    """A job answered 201 is there, and none that nobody submitted."""
    known = Counter(job.id for job in scene.client.jobs.list())
    for job_id in set(scene.submitted) ^ set(known):
        yield f"{job_id} was {'lost' if job_id in scene.submitted else 'made twice'}"


def _of_job(scene: Scene, job_id: str) -> Iterator[str]:
    job = scene.client.jobs.get(job_id)
    attempts = scene.lab.attempts(job_id)
    with scene.lab.store.read() as tx:
        points = tx.metrics.series(job_id, ["loss"], max_points=MAX_POINTS)
    yield from history.violations(job, attempts, list(scene.client.jobs.events(job_id)), points)
    yield from _late_writes(scene, attempts)


def _late_writes(scene: Scene, attempts: Sequence[AttemptRecord]) -> Iterator[str]:
    """What an attempt that was replaced still writes must not count."""
    now = datetime.now(UTC)
    for attempt in attempts[:-1]:
        ref = JobRef(attempt.job_id, attempt.number)
        try:
            with scene.lab.store.begin() as tx:
                if tx.attempts.heartbeat(ref, now=now) is not None:
                    yield f"attempt {attempt.number} still has a heartbeat"
                tx.events.append(ref, [NewEvent(NoticePayload(code="late", message="Late."), now)])
        except StaleJobError:
            continue
        yield f"attempt {attempt.number} still writes events"


def _home_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _is_of(pid: int, attempt: AttemptRecord) -> bool:
    """Whether the process is the attempt's own, and not one that got the number later."""
    try:
        process = psutil.Process(pid)
        assert attempt.ended_at is not None
        return not is_gone(process) and process.create_time() < attempt.ended_at.timestamp()
    except psutil.NoSuchProcess:
        return False
