"""Analytics of jobs over HTTP: what is read from the record, and the comparison with earlier jobs."""

from datetime import UTC, datetime, timedelta

import pytest

from ftlab.schemas import CheckpointPayload, MetricsPayload, NoticePayload
from ftlab.schemas.adjustments import AdjustedBy, Adjustment, Change
from ftlab.schemas.events import EVALUATION_CHANGED
from ftlab.status import JobStatus, ReasonCode
from tests.unit.serve.jobs.statuses import NOW, bring
from tracking.store.records import MetricRecord, NewEvent

JOBS = "/api/training/jobs"


@pytest.fixture
def train(client, store, config):
    """Submits a job, trains it in the record, and completes it; gives its id."""

    def trained(losses: dict[int, float], **values) -> str:
        job_id = client.post(JOBS, json=config | values).json()["id"]
        ref = bring(store, job_id, JobStatus.RUNNING)
        times = {"forward": 20.0, "backward": 30.0, "data": 10.0}
        with store.begin() as tx:
            for name, points in (("eval_loss", losses), ("loss", dict.fromkeys(range(1, 101), 2.0))):
                tx.metrics.add([MetricRecord(job_id, name, step, value, NOW, 1) for step, value in points.items()])
            tx.events.append(
                ref,
                [
                    NewEvent(MetricsPayload(step=100, values={"loss": 2.0}, times_s=times), NOW),
                    NewEvent(CheckpointPayload(step=100, times_s=times | {"saving": 5.0}), NOW + timedelta(seconds=80)),
                ],
            )
            tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW + timedelta(seconds=90))
            tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW + timedelta(seconds=90))
        return job_id

    return trained


def test_a_completed_job_and_an_earlier_one(client, train):
    earlier = train({0: 3.0, 50: 1.5, 100: 1.2}, name="first", eval_split=0.5)
    other = train({0: 3.0, 100: 0.5}, eval_split=0.4)
    job = train({0: 3.0, 50: 1.1, 100: 1.3}, eval_split=0.5, training={"learning_rate": 0.01})
    found = client.get(f"{JOBS}/{job}/analytics").json()
    assert (found["best"]["step"], found["best"]["value"], found["best"]["steps_since"]) == (50, 1.1, 50)
    time = found["time"]
    assert [time[f"{part}_s"] for part in ("forward", "backward", "data", "saving", "finishing")] == [20, 30, 10, 5, 10]
    assert (time["starting_s"], time["other_s"], time["lost_s"], time["missing"]) == (0, 15, 0, None)
    parts = [value for name, value in time.items() if name.endswith("_s") and name != "total_s"]
    assert sum(parts) == pytest.approx(time["total_s"])
    assert [(run["job_id"], run["is_comparable"], run["best"]) for run in found["earlier_runs"]] == [
        (other, False, 0.5),
        (earlier, True, 1.2),
    ]
    assert found["earlier_runs"][1]["differences"] == {"training.learning_rate": [0.0002, 0.01]}
    assert found["summary"][-1] == (
        f"Its best eval loss of 1.1 is better than the 1.2 of the best comparable earlier job, {earlier}."
    )
    assert client.get(f"{JOBS}/{earlier}/analytics").json()["earlier_runs"] == []
    assert client.get(f"/api/training/{job}/analytics").json() == found


def test_evaluations_before_a_change_of_what_they_measure_are_left_out(client, config, store):
    job = client.post(JOBS, json=config | {"eval_split": 0.5}).json()["id"]
    paused = bring(store, job, JobStatus.PAUSED)
    change = Change(field="method.max_length", from_=1024, to=512)
    with store.begin() as tx:
        tx.metrics.add([MetricRecord(job, "eval_loss", 25, 0.2, NOW, 1)])
        record = tx.jobs.get(job)
        made = Adjustment(at=NOW, by=AdjustedBy.USER, attempt=1, changes=[change])
        tx.adjustments.apply(record, record.config, made)
        tx.jobs.move(paused, JobStatus.QUEUED, now=NOW)
        epoch = tx.leases.acquire("coordinator", "test", ttl_s=3600, now=datetime.now(UTC)).epoch
        tx.jobs.claim(job, driver="run-2", cpus=1, gpus=0, resumed_from_step=30, epoch=epoch, now=NOW)
        tx.metrics.add([MetricRecord(job, "eval_loss", 50, 1.1, NOW, 2)])
    assert client.get(f"{JOBS}/{job}/analytics").json()["best"]["value"] == 0.2
    notice = NoticePayload(code=EVALUATION_CHANGED, message="Eval losses cannot be compared with earlier ones.")
    with store.begin() as tx:
        tx.events.append(tx.jobs.get(job).ref, [NewEvent(notice, NOW)])
    assert client.get(f"{JOBS}/{job}/analytics").json()["best"]["value"] == 1.1


def test_a_queued_job_has_no_results_yet(client, config):
    job = client.post(JOBS, json=config).json()["id"]
    found = client.get(f"{JOBS}/{job}/analytics").json()
    assert (found["best"], found["shares"], found["summary"], found["num_attempts"]) == (None, [], [], 0)
    assert found["time"]["total_s"] == found["time"]["queued_s"]


def test_an_unknown_job_is_not_found(client):
    reply = client.get(f"{JOBS}/job-none/analytics")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "job_not_found")


def test_a_long_series_is_thinned_and_says_so(client, train, monkeypatch):
    job = train({0: 3.0, 100: 1.0})
    assert client.get(f"{JOBS}/{job}/analytics").json()["is_thinned"] is False
    monkeypatch.setattr("serve.jobs.views.analytics.MAX_POINTS", 50)
    found = client.get(f"{JOBS}/{job}/analytics").json()
    assert (found["is_thinned"], found["convergence"]["num_points"]) == (True, 50)
    assert (found["best"]["step"], found["shares"][-1]["step"]) == (100, 100)
