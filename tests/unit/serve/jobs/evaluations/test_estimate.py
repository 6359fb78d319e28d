"""`POST /api/training/jobs/estimate` with an evaluation: the same checks as a submit, and nothing is stored."""

from datetime import UTC, datetime
from shutil import copytree
from typing import Any

import pytest
from starlette.testclient import TestClient

from cluster.fakes import FakeEventHub
from cluster.policy import Fleet, Node
from cluster.runs.attempt_log import AttemptLog
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import GrpoMethod, JobEstimate, SftMethod
from ftlab.schemas.judge_servers import JudgeServer
from ftlab.status import JobStatus
from serve.context import Services
from serve.jobs.evaluations.estimate import JUDGED, LONGEST_ANSWERS, NO_SPEED, SMALLEST_BATCH
from tests.unit.cluster.runs.attempt import claim
from tests.unit.serve.jobs.statuses import NOW
from tests.unit.serve.jobs.submission.test_estimate import here, priced
from tracking.store.records import MetricRecord
from train.data.tokens.row_lengths import RowLengths
from train.plan import ModelLoaded
from train.reporting.event_sender import Emitted

__all__ = ["here", "priced"]

JOBS = "/api/training/jobs"
GIB = 1024**3
ROWS = RowLengths(100, 90, 9000, 4000, {50: 45, 150: 45}, is_exact=True)
PERPLEXITY = {"type": "perplexity", "max_length": 64}


@pytest.fixture
def body(here: dict[str, Any], services: Services) -> dict[str, Any]:
    """An evaluation of a model on a machine with 8 GiB; the dataset has two rows."""
    services.data.lengths = [ROWS]
    return {
        "kind": "evaluation",
        "models": ["org/here"],
        "dataset": here["dataset"],
        "metrics": [PERPLEXITY, {"type": "f1"}],
        "generation": {"max_new_tokens": 10},
    }


def estimate(client: TestClient, body: dict[str, Any]) -> JobEstimate:
    reply = client.post(f"{JOBS}/estimate", json=body)
    assert reply.status_code == 200, reply.text
    return JobEstimate.model_validate(reply.json())


def measured(services: Services, client: TestClient, body: dict[str, Any], **speeds: float) -> str:
    """An earlier evaluation with these speeds."""
    job_id = str(client.post(JOBS, json=body).json()["id"])
    with services.store.begin() as tx:
        tx.metrics.add([MetricRecord(job_id, name, 9, value, NOW, 1) for name, value in speeds.items()])
    return job_id


def test_tokens_are_those_that_are_read_and_those_of_the_longest_answers(client, body, services):
    found = estimate(client, body)
    assert (found.kind, found.model, found.steps, found.time_s) == ("evaluation", "org/here", None, None)
    assert found.tokens == 9000 + 90 * 10
    assert (found.peak_length, found.rows.num_rows, found.rows.is_exact) == (160, 100, True)
    assert found.notes == [LONGEST_ANSWERS, NO_SPEED]
    first, second = (request.method for request in services.data.asked)
    assert isinstance(first, SftMethod)
    assert first.max_length == 64
    assert isinstance(second, GrpoMethod)
    assert second.max_completion_length == 10
    [device] = found.devices
    assert (device.device, device.fits, device.training) == ("CPU", "fits", None)
    assert device.evaluation is not None
    assert device.evaluation.total == device.peak_bytes
    assert client.get(JOBS).json()["data"] == []


def test_only_the_first_rows_and_only_what_the_metrics_need_count(client, body, services):
    num_rows = client.get(f"/api/datasets/{body['dataset']}").json()["num_rows"]
    assert num_rows > 1
    half = estimate(client, body | {"max_rows": 1})
    assert half.tokens == round((9000 + 900) / num_rows)
    assert half.rows.is_exact is False
    answers = estimate(client, body | {"metrics": [{"type": "f1"}]})
    assert answers.tokens == 900
    read = estimate(client, body | {"metrics": [PERPLEXITY]})
    assert (read.tokens, read.peak_length) == (9000, 150)
    assert LONGEST_ANSWERS not in read.notes


def test_more_rows_at_a_time_need_more_memory(client, body, coordinator):
    few, many = (estimate(client, body | {"batch_size": size}).devices[0].peak_bytes for size in (1, 64))
    assert few < many
    coordinator.fleet = Fleet((Node("a", 4, 1, 8 * GIB, gpu_type="T4"),))
    assert SMALLEST_BATCH in estimate(client, body).notes
    assert SMALLEST_BATCH not in estimate(client, body | {"batch_size": 4}).notes


def test_the_time_comes_from_an_earlier_evaluation_that_measured_the_same_way(client, body, services):
    measured(services, client, body | {"batch_size": 2}, answer_tokens_per_s=1.0, read_tokens_per_s=1.0)
    measured(services, client, body | {"metrics": [PERPLEXITY]}, read_tokens_per_s=1.0)
    assert estimate(client, body).time_s is None
    job_id = measured(services, client, body, answer_tokens_per_s=90.0, read_tokens_per_s=900.0)
    found = estimate(client, body)
    assert (found.time_s, found.measured_job_id) == (9000 / 900 + 900 / 90, job_id)
    assert NO_SPEED not in found.notes


@pytest.mark.usefixtures("priced")
def test_the_cost_is_that_of_the_time_on_the_devices(client, body, services):
    measured(services, client, body, answer_tokens_per_s=90.0, read_tokens_per_s=900.0)
    found = estimate(client, body | {"max_cost": "0.01"})
    assert found.cost is not None
    assert float(found.cost) == pytest.approx(float(found.devices[0].cost_per_hour) * 20 / 3600)
    assert found.currency == "EUR"
    assert "the whole job takes" in found.notes[-1]


def test_rows_that_cannot_be_counted_leave_the_rest(client, body, services):
    services.data.lengths = ServiceUnavailableError("The data worker starts.", "data_worker_unavailable")
    found = estimate(client, body)
    assert (found.tokens, found.rows, found.time_s) == (None, None, None)
    assert found.notes[0] == "The rows were not counted: The data worker starts."
    assert found.devices[0].fits == "unknown"


def test_what_a_submit_refuses_is_refused(client, body):
    for changed, status, param in (
        ({"models": ["org/missing-model", "job:none"]}, 404, "models.1"),
        ({"dataset": "none"}, 404, "dataset"),
        ({"metrics": [{"type": "judge_score", "judge": "none"}]}, 422, "metrics.0.judge"),
        ({"kind": "engine"}, 422, "kind"),
    ):
        reply = client.post(f"{JOBS}/estimate", json=body | changed)
        assert (reply.status_code, reply.json()["error"]["param"]) == (status, param), reply.text


def test_the_time_of_a_judge_is_left_out_and_said_so(client, body, services):
    services.settings.judges["strict"] = JudgeServer(url="http://127.0.0.1:9/v1", model="large")
    found = estimate(client, body | {"metrics": [{"type": "judge_score", "judge": "strict"}]})
    assert JUDGED in found.notes
    assert found.tokens == 900


def test_an_earlier_evaluation_of_a_damaged_model_is_passed_over(client, body, services):
    measured(services, client, body, answer_tokens_per_s=10.0, read_tokens_per_s=100.0)
    before = estimate(client, body).time_s
    models = services.settings.home / "models"
    copytree(models / "org--here", models / "org--other")
    measured(services, client, body | {"models": ["org/other"]}, answer_tokens_per_s=1.0, read_tokens_per_s=1.0)
    (models / "org--other" / "adapter_config.json").write_text("{}")
    assert estimate(client, body).time_s == before is not None


def test_the_time_is_estimated_again_when_the_evaluation_begins(client, body, services):
    measured(services, client, body, answer_tokens_per_s=10.0, read_tokens_per_s=100.0)
    for config, expected in ((body, 900 / 100 + 50 / 10), (body | {"batch_size": 3}, None)):
        job_id = str(client.post(JOBS, json=config | {"seed": 5}).json()["id"])
        log = AttemptLog(services.store, FakeEventHub(), claim(services.store, job_id), settings=services.settings)
        log.move(JobStatus.INITIALIZING)
        log.record([Emitted(1, datetime.now(UTC), ModelLoaded(num_tokens=900, num_answer_tokens=50))])
        log.close()
        job = client.get(f"{JOBS}/{job_id}").json()
        assert (job["status"], job["estimated_time_s"]) == ("running", expected)
