"""The service is stopped under running jobs."""

import psutil

from ftlab.status import JobStatus, ReasonCode
from tests.chaos.scene import Scene


def test_sigterm_saves_running_jobs_and_queues_them_again(scene: Scene) -> None:
    running = scene.submit(max_steps=100)
    waiting = scene.submit(max_steps=2)
    scene.reach(running, 12)
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

    scene.lab.start()
    done = scene.finish(running)

    assert done.status is JobStatus.COMPLETED, done.message
    first, second = scene.lab.attempts(running.id)
    assert (first.reason, second.reason) == (ReasonCode.SERVICE_RESTARTED, ReasonCode.OK)
    assert second.resumed_from_step == saved
    assert done.finished_at <= scene.finish(waiting).started_at, "the queue kept its order"
