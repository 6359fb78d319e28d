"""The service is stopped under a running job, and its database is away after the start."""

import json
import time
import urllib.error
import urllib.request

import psutil

from ftlab.schemas import Job
from ftlab.status import JobStatus, ReasonCode
from tests.chaos.scene import Scene
from tests.support.clocks import wait_for
from tests.support.lab import at_step, follow_until

STEPS_PER_S = 12
"""The rough speed of the workload, for the number of steps that a job makes during an outage."""
STOPPED_AT = 12


def test_a_job_goes_on_after_a_sigterm_and_trains_while_the_database_is_away(scene: Scene) -> None:
    outage_s = min(scene.scale.outage_s, scene.database.longest_s)
    running = scene.submit(max_steps=STOPPED_AT + 40 + int(outage_s * STEPS_PER_S))
    waiting = scene.submit(max_steps=2)
    scene.reach(running, STOPPED_AT)
    saved = _stop(scene, running, waiting)
    scene.lab.start()
    follow_until(scene.client, running, lambda event: event.attempt == 2 and at_step(saved + 8)(event))
    with scene.database.away(scene.lab):
        ends_at = time.monotonic() + outage_s
        before = scene.checkpoints(running.id)[-1][0]
        _submit_once(scene)
        wait_for(lambda: scene.checkpoints(running.id)[-1][0] >= before + 10, outage_s, "training to go on")
        time.sleep(max(0.0, ends_at - time.monotonic()))
    scene.client.jobs.cancel(scene.submit(max_steps=2).id)
    done = scene.finish(running)

    assert done.status is JobStatus.COMPLETED, done.message
    first, second = scene.lab.attempts(running.id)
    assert (first.reason, second.reason) == (ReasonCode.SERVICE_RESTARTED, ReasonCode.OK), "not ended for the outage"
    assert second.resumed_from_step == saved
    next_done = scene.finish(waiting)
    assert next_done.status is JobStatus.COMPLETED, next_done.message
    assert done.finished_at <= next_done.started_at, "the queue kept its order"


def _stop(scene: Scene, running: Job, waiting: Job) -> int:
    """The step that the stop saved. Both jobs are queued, and no process of the service is left."""
    processes = scene.lab.processes()

    assert scene.lab.stop() == 0

    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive
    with scene.lab.store.read() as tx:
        stopped = tx.jobs.get(running.id)
        untouched = tx.jobs.get(waiting.id)
    assert (stopped.status, untouched.status) == (JobStatus.QUEUED, JobStatus.QUEUED)
    assert (stopped.retries_used, untouched.attempt) == (0, 0)
    saved, path = scene.checkpoints(running.id)[-1]
    assert saved == stopped.step, f"the last step is in {path}"
    return saved


def _submit_once(scene: Scene) -> None:
    """One submit during the outage: 503 with the time to wait, or a late 201. The SDK would hide the first."""
    request = urllib.request.Request(
        f"{scene.lab.settings.server_url}/api/training/jobs",
        data=json.dumps(scene.config(max_steps=2)).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            scene.accept(json.load(reply)["id"])
            return
    except urllib.error.HTTPError as error:
        status, headers = error.code, error.headers
    assert status == 503
    assert int(headers["retry-after"]) > 0
