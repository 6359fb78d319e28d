"""`/api/nodes`, and the telemetry of a job."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from ftlab.schemas.telemetry import JobTelemetry, NodeList
from serve.context import Caller
from serve.http.query import JobId
from serve.http.responses import reply
from serve.telemetry.job_series import read_telemetry
from serve.telemetry.nodes import read_nodes

router = APIRouter(tags=["telemetry"])


@router.get("/api/nodes", response_model=NodeList, summary="List the machines, their load and the jobs on them")
async def get_nodes(caller: Caller) -> Response:
    """Samples are at most a few seconds old. Jobs of other owners are listed without their ids and names."""
    return reply(await caller.call(read_nodes))


@router.get(
    "/api/training/jobs/{job_id}/gpu",
    response_model=JobTelemetry,
    summary="Get the telemetry of a job's GPUs and processes",
)
async def get_job_telemetry(
    caller: Caller,
    job_id: JobId,
    name: Annotated[list[str] | None, Query(max_length=50, description="Names of series; default: all.")] = None,
    after: Annotated[AwareDatetime | None, Query(description="Only points after this time.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only points up to this time.")] = None,
    max_points: Annotated[int, Query(ge=2, le=5000, description="Most points for each device.")] = 500,
) -> Response:
    """One point a second while the run is recent, fewer later; also of a run on CPU, whose device is `processes`.

    Each point has the least, the mean and the greatest value of its interval. The newest points are up to 12 seconds
    old.
    """
    found = await caller.call(read_telemetry, job_id, names=name or (), after=after, until=until, max_points=max_points)
    return reply(found)
