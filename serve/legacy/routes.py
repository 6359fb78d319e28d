"""Paths of earlier clients: thin aliases of the canonical routes."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ftlab.schemas import FailureAnalysis, Job, JobAnalytics, JobConfig, Page
from ftlab.schemas.replies import CheckpointList, JobOverview, LogList, MetricList
from ftlab.schemas.requests import Resume
from ftlab.schemas.telemetry import JobTelemetry
from ftlab.status import JobKind
from serve.context import Caller
from serve.downloads import routes as downloads
from serve.http.json_body import parse_object, validate
from serve.http.openapi import PART
from serve.http.query import After, Count, IdempotencyKey, JobId, Limit
from serve.http.responses import reply
from serve.jobs import routes as jobs
from serve.jobs.changes.resume import ResumeOrder
from serve.jobs.checkpoints.choice import CheckpointChoice
from serve.jobs.submission.submit import Submission
from serve.jobs.views import history
from serve.legacy.config import adjustments_of, to_document
from serve.telemetry import routes as telemetry

router = APIRouter(tags=["earlier clients"])


class JobWithId(Job):
    """A job that names its id a second time."""

    job_id: str


@router.post("/api/training/start", status_code=201, response_model=JobWithId)
@router.post("/api/training/execute", status_code=201, response_model=JobWithId)
async def start_job(request: Request, caller: Caller, idempotency_key: IdempotencyKey = None) -> Response:
    """Submit a job; the short forms `batch_size`, `num_epochs` and `lr` are accepted here."""
    body = await request.body()
    config = validate(JobConfig, json.dumps(to_document(parse_object(body))))
    return _with_job_id(await jobs.submitted(caller, Submission(config, body, idempotency_key)))


@router.get("/api/training/status/{job_id}", response_model=JobWithId)
async def get_status(caller: Caller, job_id: JobId) -> Response:
    return _with_job_id(await jobs.get_job(caller, job_id))


@router.get("/api/training/metrics/{job_id}", response_model=MetricList)
async def get_metrics(caller: Caller, job_id: JobId) -> Response:
    return await jobs.get_metrics(caller, job_id)


@router.get("/api/training/logs/{job_id}", response_model=LogList)
@router.get("/api/training/local/{job_id}/logs", response_model=LogList)
async def get_logs(caller: Caller, job_id: JobId, tail: Count = 200) -> Response:
    return await jobs.get_logs(caller, job_id, tail)


@router.post("/api/training/cancel/{job_id}", status_code=202, response_model=JobWithId)
@router.post("/api/jobs/{job_id}/cancel", status_code=202, response_model=JobWithId)
async def cancel_job(caller: Caller, job_id: JobId) -> Response:
    return _with_job_id(await jobs.cancel_job(caller, job_id))


@router.get("/api/training/gpu/{job_id}", response_model=JobTelemetry)
async def get_gpu(caller: Caller, job_id: JobId, max_points: Annotated[int, Query(ge=2, le=5000)] = 500) -> Response:
    return await telemetry.get_job_telemetry(caller, job_id, max_points=max_points)


@router.post("/api/training/pause/{job_id}", status_code=202, response_model=JobWithId)
async def pause_job(caller: Caller, job_id: JobId) -> Response:
    return _with_job_id(await jobs.pause_job(caller, job_id))


@router.post("/api/training/resume/{job_id}", status_code=202, response_model=JobWithId)
async def resume_job(
    caller: Caller,
    job_id: JobId,
    checkpoint_path: Annotated[
        str | None, Query(max_length=4096, description="A checkpoint's name, its step, or a path that ends with one.")
    ] = None,
) -> Response:
    """The path is never opened: its last part names one of the job's checkpoints."""
    return _with_job_id(await jobs.resumed(caller, job_id, ResumeOrder(CheckpointChoice(path=checkpoint_path or None))))


@router.post("/api/training/local/{job_id}/resume", status_code=202, response_model=JobWithId)
async def resume_adjusted_job(request: Request, caller: Caller, job_id: JobId) -> Response:
    """Resume with `config_adjustments`, in which the short forms of a submission are accepted; the body is optional."""
    body = await request.body()
    order = validate(Resume, json.dumps(parse_object(body))) if body.strip() else Resume()
    changed = {"config_adjustments": adjustments_of(order.config_adjustments or {})}
    return _with_job_id(await jobs.resume_job(caller, job_id, order.model_copy(update=changed)))


@router.get("/api/training/local/jobs", response_model=Page[Job])
async def list_jobs(caller: Caller, after: After = None, limit: Limit = 20) -> Response:
    return await jobs.list_jobs(caller, kind=[JobKind.TRAINING], after=after, limit=limit)


@router.get("/api/training/local/{job_id}/analyze-failure", response_model=FailureAnalysis)
@router.post("/api/training/local/{job_id}/analyze-failure", response_model=FailureAnalysis)
async def analyze_failure(caller: Caller, job_id: JobId) -> Response:
    """The method makes no difference: an analysis is made when a job fails."""
    return await jobs.get_failure(caller, job_id)


@router.get("/api/training/{job_id}/checkpoints", response_model=CheckpointList)
async def get_checkpoints(caller: Caller, job_id: JobId) -> Response:
    return await jobs.get_checkpoints(caller, job_id)


@router.get("/api/training/{job_id}/analytics", response_model=JobAnalytics)
async def get_analytics(caller: Caller, job_id: JobId) -> Response:
    return await jobs.get_analytics(caller, job_id)


@router.get("/api/training/{job_id}/download/model", response_class=Response, responses=PART)
async def download_model(
    request: Request, caller: Caller, job_id: JobId, checkpoint: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    return await downloads.model_zip_response(request, caller, job_id, checkpoint)


@router.get("/api/training/{job_id}/download/logs", response_class=Response)
async def download_logs(request: Request, caller: Caller, job_id: JobId) -> Response:
    return await downloads.logs_zip_response(request, caller, job_id)


@router.get("/api/jobs/{job_id}", response_model=JobOverview)
async def get_overview(caller: Caller, job_id: JobId) -> Response:
    """The job, its dataset, its last 100 metric points, and the cost records of its attempts."""
    return reply(await caller.call(history.overview, job_id))


def _with_job_id(response: Response) -> Response:
    job: dict[str, Any] = json.loads(bytes(response.body))
    headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return reply(JobWithId(**job, job_id=job["id"]), response.status_code, headers, response.background)
