"""`/api/sweeps`: submit, list, show, pause, resume, cancel and delete sweeps."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from ftlab.schemas import Page
from ftlab.schemas.sweeps import Sweep, SweepConfig, SweepPreview, SweepStatus, SweepSummary
from serve.context import Caller
from serve.http.json_body import JsonBody, JsonRoute, digest
from serve.http.query import After, IdempotencyKey, Limit
from serve.http.responses import reply
from serve.jobs.changes.deletion import when_released
from serve.sweeps import changes, replies, submit

router = APIRouter(prefix="/api/sweeps", tags=["sweeps"], route_class=JsonRoute)

SweepId = Annotated[str, Path(max_length=200, description="The sweep's id, unique name or unique id prefix.")]


@router.post("", status_code=201, response_model=Sweep, summary="Submit a sweep")
async def create_sweep(
    request: Request, caller: Caller, sweep: JsonBody[SweepConfig], idempotency_key: IdempotencyKey = None
) -> Response:
    """Searches for settings of a job, whose trials are ordinary jobs. The reply is sent after the sweep is durable."""
    found = await submit.submit(caller, sweep, digest(await request.body()), idempotency_key)
    headers = {"location": f"/api/sweeps/{found.sweep.id}"}
    if found.is_replay:
        return reply(found.sweep, 201, headers | {"idempotent-replay": "true"})
    return reply(found.sweep, 201, headers, caller.services.announcement())


@router.post("/preview", response_model=SweepPreview, summary="Show what a sweep would do")
async def preview_sweep(caller: Caller, sweep: JsonBody[SweepConfig]) -> Response:
    """Checks the sweep as a submission does, and suggests the first trials. Nothing is stored or queued."""
    return reply(await submit.preview(caller, sweep))


@router.get("", response_model=Page[SweepSummary], summary="List sweeps, newest first")
async def list_sweeps(caller: Caller, after: After = None, limit: Limit = 20) -> Response:
    return reply(await caller.call(replies.list_sweeps, after, limit))


@router.get("/{sweep_id}", response_model=Sweep, summary="Get a sweep with its trials")
async def get_sweep(caller: Caller, sweep_id: SweepId) -> Response:
    """With the best trial, and the importance of the parameters once enough trials have completed."""
    return reply(await caller.call(replies.get, sweep_id))


@router.post("/{sweep_id}/pause", status_code=202, response_model=Sweep, summary="Pause a sweep and its trials")
async def pause_sweep(caller: Caller, sweep_id: SweepId) -> Response:
    """No new trial starts, and running ones save a checkpoint and release their devices."""
    return await _changed(caller, sweep_id, SweepStatus.PAUSED)


@router.post("/{sweep_id}/resume", status_code=202, response_model=Sweep, summary="Resume a paused sweep")
async def resume_sweep(caller: Caller, sweep_id: SweepId) -> Response:
    """The trials that were paused with the sweep continue from their checkpoints."""
    return await _changed(caller, sweep_id, SweepStatus.RUNNING)


@router.post("/{sweep_id}/cancel", status_code=202, response_model=Sweep, summary="Cancel a sweep and its trials")
async def cancel_sweep(caller: Caller, sweep_id: SweepId) -> Response:
    """Trials that have not ended are cancelled; checkpoints and the results so far are kept."""
    return await _changed(caller, sweep_id, SweepStatus.CANCELLED)


@router.delete("/{sweep_id}", status_code=204, summary="Delete a sweep that has ended")
async def delete_sweep(caller: Caller, sweep_id: SweepId) -> Response:
    """Its jobs stay, as ordinary jobs. `sweep_id` is the sweep's id or unique name."""
    await when_released(caller, changes.delete, sweep_id)
    return Response(status_code=204)


async def _changed(caller: Caller, sweep_id: str, target: SweepStatus) -> Response:
    sweep = await caller.call(changes.move, sweep_id, target)
    return reply(sweep, 202, background=caller.services.announcement())
