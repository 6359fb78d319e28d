"""`/v1/fine_tuning/jobs`: create, list, get and change jobs, their events and checkpoints."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from serve.context import Caller
from serve.http.json_body import JsonBody
from serve.http.query import IdempotencyKey, Limit, refuse_unknown
from serve.http.responses import reply
from serve.jobs.changes import control, resume
from serve.jobs.changes.control import Changed
from serve.jobs.changes.resume import ResumeOrder
from serve.jobs.checkpoints.choice import CheckpointChoice
from serve.openai import jobs, progress
from serve.openai.ids import job_id
from serve.openai.objects import OpenAiCheckpoint, OpenAiEvent, OpenAiJob, OpenAiList
from serve.openai.requests import CreateJob
from serve.openai.route import After, OpenAiRoute

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["OpenAI-compatible"], route_class=OpenAiRoute)
STRICT = [Depends(refuse_unknown)]

FineTuneId = Annotated[str, Path(max_length=100, description="`ftjob-...`")]


@router.post("", response_model=OpenAiJob, dependencies=STRICT, summary="Create a fine-tuning job")
async def create_job(
    request: Request, caller: Caller, body: JsonBody[CreateJob], idempotency_key: IdempotencyKey = None
) -> Response:
    """The reply is sent after the job is durable. A request that a client repeats finds its job."""
    job = await jobs.create(caller, request, body, idempotency_key)
    return reply(job, background=caller.services.new_job_announcement(caller.owner))


@router.get("", response_model=OpenAiList[OpenAiJob], summary="List fine-tuning jobs, newest first")
async def list_jobs(
    request: Request,
    caller: Caller,
    after: After = None,
    limit: Limit = 20,
    metadata: Annotated[
        str | None,
        Query(max_length=100, description="`null`: jobs without metadata; `metadata[KEY]=VALUE`: jobs with this pair."),
    ] = None,
) -> Response:
    """All jobs of the caller, also those that were submitted elsewhere."""
    return reply(await caller.call(jobs.list_jobs, after, limit, jobs.metadata_filter(request)))


@router.get("/{fine_tune}", response_model=OpenAiJob, dependencies=STRICT, summary="Get a fine-tuning job")
async def get_job(caller: Caller, fine_tune: FineTuneId) -> Response:
    return reply(await caller.call(jobs.get, job_id(fine_tune)))


@router.post("/{fine_tune}/cancel", response_model=OpenAiJob, dependencies=STRICT, summary="Cancel a job")
async def cancel_job(caller: Caller, fine_tune: FineTuneId) -> Response:
    return await _changed(caller, await caller.call(control.cancel, await _known(caller, fine_tune)))


@router.post("/{fine_tune}/pause", response_model=OpenAiJob, dependencies=STRICT, summary="Pause a job")
async def pause_job(caller: Caller, fine_tune: FineTuneId) -> Response:
    """A running job saves a checkpoint first: it is `pausing`, and then `paused`."""
    return await _changed(caller, await caller.call(control.pause, await _known(caller, fine_tune)))


@router.post("/{fine_tune}/resume", response_model=OpenAiJob, dependencies=STRICT, summary="Resume a job")
async def resume_job(caller: Caller, fine_tune: FineTuneId) -> Response:
    """The job continues from its newest intact checkpoint."""
    order = ResumeOrder(CheckpointChoice(None))
    return await _changed(caller, await caller.call(resume.resume, await _known(caller, fine_tune), order))


@router.get(
    "/{fine_tune}/events", response_model=OpenAiList[OpenAiEvent], dependencies=STRICT, summary="List events of a job"
)
async def list_events(caller: Caller, fine_tune: FineTuneId, after: After = None, limit: Limit = 20) -> Response:
    """Newest first."""
    return reply(await caller.call(progress.list_events, job_id(fine_tune), after, limit))


@router.get(
    "/{fine_tune}/checkpoints",
    response_model=OpenAiList[OpenAiCheckpoint],
    dependencies=STRICT,
    summary="List checkpoints of a job",
)
async def list_checkpoints(caller: Caller, fine_tune: FineTuneId, after: After = None, limit: Limit = 10) -> Response:
    """Newest first."""
    return reply(await caller.call(progress.list_checkpoints, job_id(fine_tune), after, limit))


async def _known(caller: Caller, fine_tune: str) -> str:
    """Our id of a job that exists: names and beginnings of ids, which our own paths accept, are not meant here."""
    return await caller.call(jobs.known, job_id(fine_tune))


async def _changed(caller: Caller, changed: Changed) -> Response:
    job = await caller.call(jobs.get, changed.job.id)
    return reply(job, background=caller.services.announcement(changed.events))
