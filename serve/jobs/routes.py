"""`/api/training/jobs`: submit, list, get and change jobs."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ftlab.errors import InvalidRequestError
from ftlab.schemas import EvaluationConfig, EventKind, FailureAnalysis, Job, JobAnalytics, JobConfig, JobEstimate, Page
from ftlab.schemas.auto import auto_settings
from ftlab.schemas.replies import AttemptList, CheckpointList, CostRecordList, EventList, LogList, MetricList
from ftlab.schemas.requests import Batches, JobChange, Move, Resume
from ftlab.status import JobKind, JobStatus
from serve.accounts import costs
from serve.context import Caller
from serve.http.json_body import JobBody, JsonBody, JsonRoute
from serve.http.query import After, Count, IdempotencyKey, JobId, Limit, RecordId
from serve.http.responses import reply
from serve.jobs.changes import append, control, resume
from serve.jobs.changes.control import Changed
from serve.jobs.changes.deletion import delete_when_released
from serve.jobs.changes.resume import ResumeOrder
from serve.jobs.checkpoints.choice import CheckpointChoice
from serve.jobs.evaluations.estimate import estimate_evaluation
from serve.jobs.resolve_submission import resolve_submission
from serve.jobs.submission import estimate, submit
from serve.jobs.submission.parents import find_parents, names_jobs
from serve.jobs.views import analytics, history, job_view
from serve.models.base_model import NOT_ASKED, ask_huggingface

router = APIRouter(prefix="/api/training/jobs", tags=["jobs"], route_class=JsonRoute)

MAX_SERIES = 100
"""Metric series of one request."""
NEWEST = Resume()


@router.post("", status_code=201, response_model=Job, summary="Submit a job")
async def create_job(
    request: Request, caller: Caller, config: JobBody, idempotency_key: IdempotencyKey = None
) -> Response:
    """The reply is sent after the job is durable: it survives any crash. `kind` says what the job does."""
    return await submitted(caller, submit.Submission(config, await request.body(), idempotency_key))


@router.post("/estimate", response_model=JobEstimate, summary="Estimate what a job would need")
async def estimate_job(caller: Caller, config: JobBody) -> Response:
    """Memory by part and device, steps, tokens, time, disk, and configs that would fit. Nothing is stored or queued."""
    if isinstance(config, EvaluationConfig):
        return reply(await estimate_evaluation(caller, config))
    if not isinstance(config, JobConfig):
        raise InvalidRequestError(f"Jobs of the kind '{config.kind}' have no estimate.", "invalid_config", "kind")
    return reply(await estimate.estimate(caller, config))


@router.get("", response_model=Page[Job], summary="List jobs, newest first")
async def list_jobs(
    caller: Caller,
    status: Annotated[list[JobStatus] | None, Query()] = None,
    kind: Annotated[list[JobKind] | None, Query(description="Kinds of jobs to list; default: all.")] = None,
    after: After = None,
    limit: Limit = 20,
    search: Annotated[
        str | None, Query(min_length=1, max_length=200, description="Part of the name, or beginning of the id.")
    ] = None,
    sweep: Annotated[
        str | None, Query(min_length=1, max_length=200, description="Only trials of this sweep: its id or name.")
    ] = None,
) -> Response:
    statuses, kinds = set(status) if status else None, set(kind) if kind else None
    return reply(await caller.call(job_view.list_jobs, statuses, after, limit, search, kinds, sweep))


@router.get("/{job_id}", response_model=Job, summary="Get a job")
async def get_job(caller: Caller, job_id: JobId) -> Response:
    return reply(await caller.call(job_view.get_job, job_id))


@router.patch("/{job_id}", response_model=Job, summary="Change a job's priority, or release it")
async def change_job(caller: Caller, job_id: JobId, change: JsonBody[JobChange]) -> Response:
    """The job must be queued or paused. `after: []` lets it start without the jobs that it waits for."""
    if change.priority is None:
        return _announced(caller, await caller.call(control.release, job_id), 200)
    return _announced(caller, await caller.call(control.set_priority, job_id, change.priority), 200)


@router.delete("/{job_id}", status_code=204, summary="Delete a job that has ended")
async def delete_job(caller: Caller, job_id: RecordId) -> Response:
    """Also deletes its events, metrics, checkpoints, logs and models. Its MLflow run and registered models stay.

    The reply is sent after the files are removed. `job_id` is the job's id or unique name.
    """
    await delete_when_released(caller, job_id)
    return Response(status_code=204)


@router.post("/{job_id}/cancel", status_code=202, response_model=Job, summary="Cancel a job; checkpoints are kept")
async def cancel_job(caller: Caller, job_id: JobId) -> Response:
    """The job's checkpoints are kept. Cancelling a job that is being cancelled changes nothing."""
    return _announced(caller, await caller.call(control.cancel, job_id))


@router.post("/{job_id}/pause", status_code=202, response_model=Job, summary="Pause a job and release its devices")
async def pause_job(caller: Caller, job_id: JobId) -> Response:
    """A queued job is paused at once; a running job finishes its step and saves a checkpoint first."""
    return _announced(caller, await caller.call(control.pause, job_id))


@router.post("/{job_id}/resume", status_code=202, response_model=Job, summary="Resume a job, also with other settings")
async def resume_job(caller: Caller, job_id: JobId, order: JsonBody[Resume] = NEWEST) -> Response:
    """A paused, failed or cancelled job continues from its newest intact checkpoint, or from the one that is named.

    The config with `config_adjustments` is checked as that of a new job.
    """
    choice = CheckpointChoice(order.checkpoint)
    what = ResumeOrder(choice, order.config_adjustments, suggested=order.suggested, original=order.original)
    return await resumed(caller, job_id, what)


@router.post("/{job_id}/append", status_code=202, response_model=Job, summary="Append files to a job")
@router.post("/{job_id}/batches", status_code=202, response_model=Job, summary="Append files to a job")
async def append_batches(caller: Caller, job_id: JobId, files: JsonBody[Batches]) -> Response:
    """The files are trained after those that the job has; a completed job is reopened. Both paths do the same."""
    return _announced(caller, await caller.call(append.append, job_id, files.datasets, files.after))


@router.post("/{job_id}/move", status_code=202, response_model=Job, summary="Move a queued job")
async def move_job(caller: Caller, job_id: JobId, target: JsonBody[Move]) -> Response:
    """Moves the job ahead of all jobs with its priority, or right behind one of them."""
    if target.job is not None:
        return _announced(caller, await caller.call(control.move_behind, job_id, target.job))
    return _announced(caller, await caller.call(control.move_to_front, job_id))


@router.get("/{job_id}/metrics", response_model=MetricList, summary="Get metric points by name and step")
async def get_metrics(
    caller: Caller,
    job_id: JobId,
    names: Annotated[
        list[str] | None, Query(description="Names of the series, separated by commas; default: all.")
    ] = None,
    max_points: Annotated[int, Query(ge=2, le=10_000)] = 2000,
) -> Response:
    series = {name for item in names or [] for name in item.split(",") if name}
    if len(series) > MAX_SERIES:
        raise InvalidRequestError(f"names must have at most {MAX_SERIES} items.", "invalid_parameter", "names")
    return reply(await caller.call(history.metrics, job_id, series, max_points))


@router.get("/{job_id}/events", response_model=EventList, summary="Get the events after a sequence number")
async def get_events(
    caller: Caller,
    job_id: JobId,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    kind: Annotated[list[EventKind] | None, Query(description="Kinds of events to return; default: all.")] = None,
) -> Response:
    return reply(await caller.call(history.events, job_id, after, limit, set(kind) if kind else None))


@router.get("/{job_id}/logs", response_model=LogList, summary="Get the newest log lines, built from the events")
async def get_logs(caller: Caller, job_id: JobId, tail: Count = 200) -> Response:
    return reply(await caller.call(history.logs, job_id, tail))


@router.get("/{job_id}/checkpoints", response_model=CheckpointList, summary="List checkpoints, newest first")
async def get_checkpoints(caller: Caller, job_id: JobId) -> Response:
    return reply(await caller.call(history.checkpoints, job_id))


@router.get("/{job_id}/attempts", response_model=AttemptList, summary="List the attempts of a job")
async def get_attempts(caller: Caller, job_id: JobId) -> Response:
    return reply(await caller.call(history.attempts, job_id))


@router.get("/{job_id}/costs", response_model=CostRecordList, summary="List what the attempts of a job cost")
async def get_costs(caller: Caller, job_id: JobId) -> Response:
    """One record for each attempt that has ended; it never changes. The job's `cost` has the present attempt too."""
    return reply(await caller.call(costs.records_of, job_id))


@router.get("/{job_id}/failure", response_model=FailureAnalysis, summary="Get the analysis of a job's newest failure")
async def get_failure(caller: Caller, job_id: JobId) -> Response:
    """Cause, evidence, suggested changes, and the checkpoint to continue from; also for a job that has been retried."""
    return reply(await caller.call(history.failure, job_id))


@router.get("/{job_id}/analytics", response_model=JobAnalytics, summary="Get what the record says about the training")
async def get_analytics(caller: Caller, job_id: JobId) -> Response:
    """Best evaluation, course of the loss, spikes, speed, where the time went, and earlier jobs on the same model."""
    return reply(await caller.call(analytics.analytics, job_id))


async def submitted(caller: Caller, submission: submit.Submission) -> Response:
    """Submit and answer: 201 with the job's address, also for a replay; 200 for an evaluation that was made before."""
    result = await submit_job(caller, submission)
    headers = {"location": f"/api/training/jobs/{result.job.id}"}
    if result.is_replay:
        headers["idempotent-replay"] = "true"
        return reply(result.job, 201, headers)
    if result.is_cached:
        headers["evaluation-cached"] = "true"
        return reply(result.job, 200, headers)
    return reply(result.job, 201, headers, caller.services.new_job_announcement(caller.owner))


async def submit_job(
    caller: Caller, submission: submit.Submission, before_add: Callable[[], Awaitable[object]] | None = None
) -> submit.Submitted:
    """Make the job, or find the one of the same idempotency key. `before_add` runs just before it is made."""
    if (earlier := await _submitted_before(caller, submission)) is not None:
        return earlier
    if names_jobs(submission.config):
        submission = replace(submission, parents=await caller.call(find_parents, submission.config))
    resolved = await resolve_submission(caller, submission)
    if before_add is not None:
        await before_add()
    if resolved.earlier is not None:
        return resolved.earlier
    return await caller.call(submit.add_once, resolved.submission, resolved.check)


async def _submitted_before(caller: Caller, submission: submit.Submission) -> submit.Submitted | None:
    """The job of the same idempotency key, where `auto` would be resolved, or jobs looked up, for nothing.

    Others are looked up later.
    """
    is_needed = auto_settings(submission.config) or names_jobs(submission.config)
    return await caller.call(submit.replay, submission) if is_needed else None


async def resumed(caller: Caller, job_id: str, order: ResumeOrder) -> Response:
    """Resume and answer: 202 with the job."""
    answer = NOT_ASKED
    if order.changes_config:
        model = await caller.call(resume.model_to_ask_for, job_id, order)
        answer = await ask_huggingface(caller.services, model)
    return _announced(caller, await caller.call(resume.resume, job_id, order, answer))


def _announced(caller: Caller, changed: Changed, status: int = 202) -> Response:
    return reply(changed.job, status, background=caller.services.announcement(changed.events))
