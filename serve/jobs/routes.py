"""`/api/training/jobs`: submit, list, look at and change jobs."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from ftlab.errors import InvalidRequestError
from ftlab.schemas import EventKind, Job, JobConfig, Page
from ftlab.schemas.replies import AttemptList, CheckpointList, EventList, LogList, MetricList
from ftlab.schemas.requests import Batches, JobChange, Move, Resume
from ftlab.status import JobStatus
from serve.context import services_of
from serve.http.caller import current_owner
from serve.http.json_body import read_object, read_optional_object, validate
from serve.http.openapi import body_of
from serve.http.query import After, Count, JobId, Limit
from serve.http.responses import in_thread, reply
from serve.jobs import append, changes, history, submit
from serve.jobs.changes import Changed, CheckpointChoice
from serve.models.base_model import ask_huggingface

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


@router.post("", status_code=201, response_model=Job, openapi_extra=body_of(JobConfig), summary="Submit a job")
async def create_job(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """The answer is sent after the job is durable: it survives whatever happens next."""
    document = await read_object(request)
    submission = submit.Submission(validate(JobConfig, document), document, idempotency_key)
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
    return reply(await in_thread(submit.list_jobs, services, owner, statuses, after, limit))


@router.get("/{job_id}", response_model=Job, summary="Get a job")
async def get_job(request: Request, job_id: JobId) -> Response:
    return reply(await in_thread(submit.get, services_of(request), current_owner(request), job_id))


@router.patch("/{job_id}", response_model=Job, openapi_extra=body_of(JobChange), summary="Change a job's priority")
async def change_job(request: Request, job_id: JobId) -> Response:
    """For a job that is queued or paused."""
    change = validate(JobChange, await read_object(request))
    services, owner = services_of(request), current_owner(request)
    changed = await in_thread(changes.set_priority, services, owner, job_id, change.priority)
    return _announced(request, changed, 200)


@router.post("/{job_id}/cancel", status_code=202, response_model=Job, summary="Cancel a job; checkpoints are kept")
async def cancel_job(request: Request, job_id: JobId) -> Response:
    """Its checkpoints are kept. Cancelling a job that is being cancelled changes nothing."""
    services, owner = services_of(request), current_owner(request)
    return _announced(request, await in_thread(changes.cancel, services, owner, job_id))


@router.post("/{job_id}/pause", status_code=202, response_model=Job, summary="Pause a job; it gives its devices back")
async def pause_job(request: Request, job_id: JobId) -> Response:
    """A queued job is paused at once, one that runs after its step and a checkpoint."""
    services, owner = services_of(request), current_owner(request)
    return _announced(request, await in_thread(changes.pause, services, owner, job_id))


@router.post(
    "/{job_id}/resume",
    status_code=202,
    response_model=Job,
    openapi_extra=body_of(Resume, required=False),
    summary="Put a paused job back into the queue",
)
async def resume_job(request: Request, job_id: JobId) -> Response:
    """It goes on from its newest good checkpoint, or from the one that is named."""
    body = validate(Resume, await read_optional_object(request))
    return await resumed(request, job_id, CheckpointChoice(name=body.checkpoint))


@router.post(
    "/{job_id}/batches",
    status_code=202,
    response_model=Job,
    openapi_extra=body_of(Batches),
    summary="Append files to a job",
)
async def append_batches(request: Request, job_id: JobId) -> Response:
    """They are trained after those that the job has; a completed job is re-opened and goes on."""
    body = validate(Batches, await read_object(request))
    services, owner = services_of(request), current_owner(request)
    changed = await in_thread(append.append, services, owner, job_id, body.datasets, body.after)
    return _announced(request, changed)


@router.post(
    "/{job_id}/move", status_code=202, response_model=Job, openapi_extra=body_of(Move), summary="Move a queued job"
)
async def move_job(request: Request, job_id: JobId) -> Response:
    """To the front of the jobs with its priority."""
    validate(Move, await read_object(request))
    services, owner = services_of(request), current_owner(request)
    return _announced(request, await in_thread(changes.move_to_front, services, owner, job_id))


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
    return reply(await in_thread(history.metrics, services, owner, job_id, wanted, max_points))


@router.get("/{job_id}/events", response_model=EventList, summary="The event log after a sequence number")
async def get_events(
    request: Request,
    job_id: JobId,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    kind: Annotated[list[EventKind] | None, Query(description="Only these kinds; default: all.")] = None,
) -> Response:
    services, owner = services_of(request), current_owner(request)
    kinds = set(kind) if kind else None
    return reply(await in_thread(history.events, services, owner, job_id, after, limit, kinds))


@router.get("/{job_id}/logs", response_model=LogList, summary="The newest log lines")
async def get_logs(request: Request, job_id: JobId, tail: Count = 200) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(history.logs, services, owner, job_id, tail))


@router.get("/{job_id}/checkpoints", response_model=CheckpointList, summary="Checkpoints, newest first")
async def get_checkpoints(request: Request, job_id: JobId) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(history.checkpoints, services, owner, job_id))


@router.get("/{job_id}/attempts", response_model=AttemptList, summary="Attempts at the job")
async def get_attempts(request: Request, job_id: JobId) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(history.attempts, services, owner, job_id))


async def submitted(request: Request, submission: submit.Submission) -> Response:
    """Submit and answer: 201 with the job's address, also for a replay."""
    services = services_of(request)
    answer = await ask_huggingface(services, submission.config.model)
    result = await in_thread(submit.submit, services, current_owner(request), submission, answer)
    headers = {"location": f"/api/training/jobs/{result.job.id}"}
    if result.is_replay:
        headers["idempotent-replay"] = "true"
        return reply(result.job, 201, headers)
    # Nobody can follow a job that has just got its id, so only the coordinator is told.
    return reply(result.job, 201, headers, services.announcement())


async def resumed(request: Request, job_id: str, choice: CheckpointChoice) -> Response:
    """Resume and answer: 202 with the job."""
    services, owner = services_of(request), current_owner(request)
    return _announced(request, await in_thread(changes.resume, services, owner, job_id, choice))


def _announced(request: Request, changed: Changed, status: int = 202) -> Response:
    return reply(changed.job, status, background=services_of(request).announcement(changed.events))
