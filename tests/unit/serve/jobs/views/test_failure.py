"""The analysis of a failure through the API: recorded, made from the record, and for jobs that never failed."""

import pytest

from ftlab.schemas import FailurePayload
from ftlab.schemas.events import FAILURE_ANALYSED
from ftlab.status import JobStatus, ReasonCode
from tests.unit.serve.jobs.statuses import NOW, bring
from tests.unit.train.failures.reports import reported
from tracking.store.records import JobRef, NewEvent
from train.failures.analyse import analyse
from train.failures.facts import FailureFacts
from train.plan import Failure

JOBS = "/api/training/jobs"


@pytest.fixture
def job(client, config) -> str:
    """A queued job."""
    return client.post(JOBS, json=config).json()["id"]


def failed_attempt(store, job: str, failure: Failure) -> JobRef:
    """An attempt that failed; the job is still running as far as its row says."""
    ref, details = bring(store, job, JobStatus.PENDING), failure.to_details()
    with store.begin() as tx:
        tx.attempts.end(ref, reason=failure.reason, message=failure.message, now=NOW, failure=details)
    return ref


def test_a_job_that_never_failed(client, job):
    reply = client.get(f"{JOBS}/{job}/failure")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "job_not_failed")
    assert reply.json()["error"]["message"] == f"Job {job} has not failed (queued)."


def test_a_failure_without_a_recorded_analysis_is_analysed_from_the_record(client, store, job):
    ref = failed_attempt(store, job, reported("gpu_memory_evaluation"))
    with store.begin() as tx:
        tx.jobs.move(ref, JobStatus.QUEUED, now=NOW)
    found = client.get(f"{JOBS}/{job}/failure").json()
    assert (found["cause"], found["reason"], found["attempt"]) == ("gpu_memory_evaluation", "device_oom", 1)
    change = found["suggestions"][0]["changes"][0]
    assert change == {"field": "training.per_device_eval_batch_size", "from": 4, "to": 2}


def test_the_recorded_analysis_is_what_is_returned(client, store, job):
    ref = failed_attempt(store, job, Failure(ReasonCode.WORKER_CRASHED, "It exited."))
    recorded = analyse(FailureFacts(reported("bad_config"), 7))
    notice = FailurePayload(code=FAILURE_ANALYSED, message="x", analysis=recorded)
    with store.begin() as tx:
        tx.events.append(ref, [NewEvent(notice, NOW)])
        tx.jobs.move(ref, JobStatus.FAILED, now=NOW, reason=ReasonCode.CONFIG_INVALID)
    assert client.get(f"{JOBS}/{job}/failure").json() == recorded.model_dump(mode="json")
    for method in (client.get, client.post):
        reply = method(f"/api/training/local/{job}/analyze-failure")
        assert (reply.status_code, reply.json()["attempt"]) == (200, 7)


def test_a_failed_job_whose_attempts_say_nothing(client, store, job):
    with store.begin() as tx:
        tx.jobs.move(
            JobRef(job, 0), JobStatus.FAILED, now=NOW, reason=ReasonCode.MODEL_NOT_FOUND, message="It is gone."
        )
    found = client.get(f"{JOBS}/{job}/failure").json()
    assert (found["cause"], found["attempt"], found["sentence"]) == ("model_not_found", 0, "It is gone.")
