"""What the Ray dashboard shows leads from a job to its processes."""

import json
import urllib.error
import urllib.request
from typing import Any

import psutil
import pytest

from cluster.machine.environment import token_file
from ftlab import Client
from ftlab.schemas import Dataset
from tests.chaos.ray_view import RayView
from tests.support.clocks import wait_for
from tests.support.lab import Lab, at_step, follow_until, tiny_job

ENDLESS = 100_000


@pytest.mark.slow
def test_the_actors_of_a_run_bear_the_id_of_its_job(lab: Lab, client: Client, dataset: Dataset) -> None:
    job = client.jobs.create(tiny_job(dataset, max_steps=ENDLESS, resources={"num_workers": 2}))
    follow_until(client, job, at_step(1))

    [attempt] = client.jobs.attempts(job.id)
    actors = RayView(lab.settings).actors()
    run = f"run-{job.id}-1"
    assert attempt.driver == run
    assert [actor["class_name"] for actor in actors if actor["name"] == run] == ["StartedRunDriver"]
    workers = {actor["pid"]: actor["class_name"] for actor in actors if actor["repr_name"] == f"{run} worker"}
    assert workers == dict.fromkeys(lab.pids(job.id), "RayTrainWorker")
    assert all(psutil.Process(pid).cmdline()[0].startswith("ray::RayTrainWorker") for pid in workers)
    reprs = {actor["class_name"]: actor["repr_name"] for actor in actors if run in actor["repr_name"]}
    assert reprs["TrainController"] == f"{run} controller"
    assert lab.find("ray::ServeReplica:ftlab:ftlab-api")

    client.jobs.cancel(job.id)
    client.jobs.wait(job.id, timeout_s=120, raise_on_failure=False)


def test_the_one_job_of_ray_says_what_it_is(lab: Lab) -> None:
    jobs = _dashboard(lab, "/api/jobs/")
    assert [job["metadata"]["job_name"] for job in jobs if job["status"] == "RUNNING"] == [
        "FineTune Lab: API, coordinator, data worker and all runs"
    ]


def test_the_dashboard_shows_nodes_actors_serve_and_logs(lab: Lab) -> None:
    """It runs without some of its modules."""
    [node] = _dashboard(lab, "/nodes?view=summary")["data"]["summary"]
    actors = _dashboard(lab, "/logical/actors")["data"]["actors"].values()
    assert {"EventHubActor", "CoordinatorActor"} <= {actor["actorClass"] for actor in actors}
    assert _dashboard(lab, "/api/serve/applications/")["applications"]["ftlab"]["status"] == "RUNNING"
    assert not lab.find("ray-dashboard-"), "its modules are in its own process"
    path = f"/api/v0/logs?node_id={node['raylet']['nodeId']}"
    wait_for(lambda: _has_logs(lab, path), 60, "list of the machine's log files")


def _has_logs(lab: Lab, path: str) -> bool:
    """Whether the dashboard lists them: it answers 500 while the machine's agent does not answer in time."""
    try:
        return bool(_dashboard(lab, path)["data"]["result"]["raylet"])
    except urllib.error.HTTPError as error:
        if error.code != 500:
            raise
        return False


def _dashboard(lab: Lab, path: str) -> Any:
    token = token_file(lab.settings).read_text("utf-8")
    request = urllib.request.Request(
        f"{lab.settings.dashboard_url}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)
