"""Parts that are away for a while: nothing is lost, and no job is ended for it."""

import json
import time
import urllib.error
import urllib.request

import pytest

from ftlab.schemas import Job
from ftlab.status import JobStatus
from tests.chaos import outages
from tests.chaos.mlflow_view import MlflowView
from tests.chaos.scene import Scene
from tests.support.lab import wait_for

STEPS_PER_S = 12
"""About what the workload manages, so that a job of so many steps lasts as long as an outage."""
FILLED_IN_S = 120.0
"""MLflow's start, and the longest pause of whoever waits for it."""


def test_training_goes_on_while_the_database_is_away(scene: Scene) -> None:
    outage_s = min(scene.scale.outage_s, scene.database.longest_s)
    job = scene.submit(max_steps=20 + int(outage_s * STEPS_PER_S))
    scene.reach(job, 8)
    with scene.database.away(scene.lab):
        ends_at = time.monotonic() + outage_s
        before = scene.checkpoints(job.id)[-1][0]
        _submit_once(scene)
        wait_for(lambda: scene.checkpoints(job.id)[-1][0] >= before + 10, outage_s, "training to go on")
        time.sleep(max(0.0, ends_at - time.monotonic()))
    second = scene.submit(max_steps=2)
    done = scene.finish(job)

    assert done.status is JobStatus.COMPLETED, done.message
    assert len(scene.lab.attempts(job.id)) == 1, "no job is ended for the outage"
    assert scene.finish(second).status is JobStatus.COMPLETED


@pytest.mark.chaos
@pytest.mark.parametrize("outage", [outages.mlflow_hanging, outages.mlflow_down], ids=["hangs", "is down"])
def test_metrics_are_complete_although_mlflow_was_away_for_the_whole_run(scene: Scene, outage: object) -> None:
    with outage(scene.lab):
        job = scene.submit(max_steps=20, register_as="filled-in")
        done = scene.finish(job)
        assert done.status is JobStatus.COMPLETED, done.message
        assert done.mlflow_run_id is None

    wait_for(lambda: _is_registered(scene, done), FILLED_IN_S, "MLflow to be filled in")
    recorded = scene.client.jobs.get(job.id)
    assert recorded.mlflow_run_id is not None
    steps = MlflowView(scene.lab.settings).steps(recorded.mlflow_run_id, "train/loss")
    assert sorted(steps) == list(range(1, 21)), "every step once"
    assert len(scene.lab.attempts(job.id)) == 1


def _is_registered(scene: Scene, job: Job) -> bool:
    assert job.model_id is not None
    return scene.client.models.get(job.model_id).mlflow_version is not None


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
