"""`/api/nodes`, and the telemetry of a job."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from ftlab.schemas.telemetry import JobTelemetry, NodeHistory, NodeList
from serve.context import Caller
from serve.http.query import JobId
from serve.http.responses import reply
from serve.telemetry.nodes import read_nodes, restore_gpu
from serve.telemetry.series import read_history, read_telemetry

NodeName = Annotated[str, Path(max_length=300, description="Name of the machine.")]
Names = Annotated[list[str] | None, Query(max_length=50, description="Names of series; default: all.")]
AfterTime = Annotated[AwareDatetime | None, Query(description="Only points after this time.")]
UntilTime = Annotated[AwareDatetime | None, Query(description="Only points up to this time.")]
MaxPoints = Annotated[int, Query(ge=2, le=5000, description="Most points for each device.")]

router = APIRouter(tags=["telemetry"])


@router.get("/api/nodes", response_model=NodeList, summary="List the machines, their load and the jobs on them")
async def get_nodes(caller: Caller) -> Response:
    """Samples are at most a few seconds old. Jobs of other owners are listed without their ids and names."""
    return reply(await caller.call(read_nodes))


@router.get(
    "/api/nodes/{node}/history", response_model=NodeHistory, summary="Get the load of a machine and its GPUs over time"
)
async def get_node_history(
    caller: Caller,
    node: NodeName,
    name: Names = None,
    after: AfterTime = None,
    until: UntilTime = None,
    max_points: MaxPoints = 500,
) -> Response:
    """One point a second of the last hour or two, fewer of the time before; kept for 30 days.

    Each point has the least, the mean and the greatest value of its interval. The newest points are up to a minute old.
    """
    found = await caller.call(read_history, node, names=name or (), after=after, until=until, max_points=max_points)
    return reply(found)


@router.post(
    "/api/nodes/{node}/devices/{device}/restore",
    status_code=204,
    summary="Give a GPU that was taken out to jobs again",
)
async def post_restore(
    caller: Caller,
    node: NodeName,
    device: Annotated[str, Path(pattern=r"^gpu-[0-9]{1,4}$", description="`gpu-0` and so on.")],
) -> Response:
    """The failures of jobs on it are forgotten."""
    await caller.call(restore_gpu, node, device)
    return Response(status_code=204, background=caller.services.announcement())


@router.get(
    "/api/training/jobs/{job_id}/gpu",
    response_model=JobTelemetry,
    summary="Get the telemetry of a job's GPUs and processes",
)
async def get_job_telemetry(
    caller: Caller,
    job_id: JobId,
    name: Names = None,
    after: AfterTime = None,
    until: UntilTime = None,
    max_points: MaxPoints = 500,
) -> Response:
    """One point a second while the run is recent, fewer later; also of a run on CPU, whose device is `processes`.

    Each point has the least, the mean and the greatest value of its interval. The newest points are up to 12 seconds
    old.
    """
    found = await caller.call(read_telemetry, job_id, names=name or (), after=after, until=until, max_points=max_points)
    return reply(found)
