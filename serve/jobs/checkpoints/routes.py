"""Routes that change checkpoints: pin, delete, and delete by a rule."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from ftlab.schemas import Checkpoint
from ftlab.schemas.replies import CheckpointPrune
from ftlab.schemas.requests import CheckpointChange, CheckpointRule
from serve.context import Caller
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.query import RecordId
from serve.http.responses import reply
from serve.jobs.checkpoints import changes

router = APIRouter(prefix="/api/training", tags=["jobs"], route_class=JsonRoute)

CheckpointName = Annotated[
    str, Path(min_length=1, max_length=100, description="The checkpoint's name, such as `step-00000120`, or its step.")
]


@router.patch(
    "/jobs/{job_id}/checkpoints/{name}", response_model=Checkpoint, summary="Pin a checkpoint, or take the pin off"
)
async def change_checkpoint(
    caller: Caller, job_id: RecordId, name: CheckpointName, change: JsonBody[CheckpointChange]
) -> Response:
    """A pinned checkpoint stays: neither `training.save_total_limit` nor a rule nor a resume removes it."""
    return reply(await caller.call(changes.set_pinned, job_id, name, change.is_pinned))


@router.delete("/jobs/{job_id}/checkpoints/{name}", status_code=204, summary="Delete a checkpoint")
async def delete_checkpoint(caller: Caller, job_id: RecordId, name: CheckpointName) -> Response:
    """Refused for one that is pinned, that the job continues from, or that another job starts from.

    The reply is sent after the files are removed.
    """
    await caller.call(changes.delete, job_id, name)
    return Response(status_code=204)


@router.post("/checkpoints/prune", response_model=CheckpointPrune, summary="Delete checkpoints by a rule")
async def prune_checkpoints(caller: Caller, rule: JsonBody[CheckpointRule]) -> Response:
    """Those of your jobs that are old enough, except pinned ones, the newest and the best of each job, and those that
    are still needed. With `dry_run`, nothing is deleted."""
    return reply(await caller.call(changes.prune, rule))
