"""MLflow is away for a while: nothing is lost, and no job is ended for it."""

import pytest

from ftlab.schemas import Job
from ftlab.status import JobStatus
from tests.chaos import outages
from tests.chaos.mlflow_view import MlflowView
from tests.chaos.scene import Scene
from tests.support.clocks import wait_for

FILLED_IN_S = 120.0
"""MLflow's start, and the longest pause of whoever waits for it."""


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
