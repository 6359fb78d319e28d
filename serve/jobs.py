"""`/api/training/jobs`: submit, list, look at and cancel jobs."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from ftlab.errors import InvalidRequestError
from ftlab.life import JobStatus
from ftlab.schemas import Job, JobConfig, Page
from serve import history_service, jobs_service
from serve.auth import current_owner
from serve.body import read_object, validate
from serve.openapi import JOB_BODY
from serve.replies import in_thread, reply
from serve.services import services_of
from serve.wire import AttemptList, CheckpointList, EventList, LogList, MetricList

router = APIRouter(prefix="/api/training/jobs", tags=["jobs"])

MAX_SERIES = 100
"""Metric series of one request."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="Equal keys never make a second job: a repeated submit gets the job of the first one.",
    ),
]
JobId = Annotated[str, Path(max_length=200, description="The job's id, unique name or unique id prefix.")]
RecordId = Annotated[str, Path(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before.")]
Count = Annotated[int, Query(ge=1, le=5000)]


@router.post("", status_code=201, response_model=Job, openapi_extra=JOB_BODY, summary="Submit a job")
async def create_job(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """The answer is sent after the job is durable: it survives whatever happens next."""
    document = await read_object(request)
    submission = jobs_service.Submission(validate(JobConfig, document), document, idempotency_key)
    return await submitted(request, submission)


@router.get("", response_model=Page[Job], summary="List jobs, newest first")
async def list_jobs(
    request: Request,
    status: Annotated[list[JobStatus] | None, Query()] = None,
    after: After = None,
    limit: Limit = 20,
) -> Response:
    services, owner = services_of(request), current_owner(request)
    statuses = set(status) if status else None
    return reply(await in_thread(jobs_service.list_jobs, services, owner, statuses, after, limit))


@router.get("/{job_id}", response_model=Job, summary="Get a job")
async def get_job(request: Request, job_id: JobId) -> Response:
    return reply(await in_thread(jobs_service.get, services_of(request), current_owner(request), job_id))


@router.post("/{job_id}/cancel", status_code=202, response_model=Job, summary="Cancel a job; checkpoints are kept")
async def cancel_job(request: Request, job_id: JobId) -> Response:
    """Its checkpoints are kept. Cancelling a job that is being cancelled changes nothing."""
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(jobs_service.cancel, services, owner, job_id), 202)


@router.get("/{job_id}/metrics", response_model=MetricList, summary="Metric points by name and step")
async def get_metrics(
    request: Request,
    job_id: JobId,
    names: Annotated[list[str] | None, Query(description="Series wanted, separated by commas; default: all.")] = None,
    max_points: Annotated[int, Query(ge=2, le=10_000)] = 2000,
) -> Response:
    wanted = {name for item in names or [] for name in item.split(",") if name}
    if len(wanted) > MAX_SERIES:
        raise InvalidRequestError(f"names must have at most {MAX_SERIES} items.", "invalid_parameter", "names")
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(history_service.metrics, services, owner, job_id, wanted, max_points))


@router.get("/{job_id}/events", response_model=EventList, summary="The event log after a sequence number")
async def get_events(
    request: Request,
    job_id: JobId,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(history_service.events, services, owner, job_id, after, limit))


@router.get("/{job_id}/logs", response_model=LogList, summary="The newest log lines")
async def get_logs(request: Request, job_id: JobId, tail: Count = 200) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(history_service.logs, services, owner, job_id, tail))


@router.get("/{job_id}/checkpoints", response_model=CheckpointList, summary="Checkpoints, newest first")
async def get_checkpoints(request: Request, job_id: JobId) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(history_service.checkpoints, services, owner, job_id))


@router.get("/{job_id}/attempts", response_model=AttemptList, summary="Attempts at the job")
async def get_attempts(request: Request, job_id: JobId) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(history_service.attempts, services, owner, job_id))


async def submitted(request: Request, submission: jobs_service.Submission) -> Response:
    """Submit and answer: 201 with the job's address, also for a replay."""
    result = await in_thread(jobs_service.submit, services_of(request), current_owner(request), submission)
    headers = {"location": f"/api/training/jobs/{result.job.id}"}
    if result.is_replay:
        headers["idempotent-replay"] = "true"
    return reply(result.job, 201, headers)
