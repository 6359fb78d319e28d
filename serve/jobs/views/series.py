"""`/api/training/metrics`: one metric of several jobs at once, as a list of jobs shows it."""

from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ftlab.schemas.replies import JobSeries, SeriesList
from serve.context import Caller, Services
from serve.http.responses import reply

router = APIRouter(tags=["jobs"])

MAX_JOBS = 100
"""Jobs of one request: a page of the list."""


@router.get("/api/training/metrics", response_model=SeriesList, summary="Get metric series of several jobs")
async def get_series(
    caller: Caller,
    job: Annotated[list[str], Query(min_length=1, max_length=MAX_JOBS, description="Ids of jobs.")],
    name: Annotated[list[str] | None, Query(max_length=20, description="Names of the series; default: loss.")] = None,
    max_points: Annotated[int, Query(ge=2, le=2000)] = 60,
) -> Response:
    """The series by job and name, each thinned to `max_points`. Jobs that do not exist (any more) are left out."""
    return reply(await caller.call(read_series, job, name or ["loss"], max_points))


def read_series(services: Services, owner: str, job_ids: list[str], names: list[str], max_points: int) -> SeriesList:
    """The named series of those jobs that are the owner's, in the order of `job_ids`."""
    with services.store.read() as tx:
        owned = tx.jobs.owned(job_ids, owner=owner)
        points = {job_id: tx.metrics.series(job_id, names, max_points) for job_id in job_ids if job_id in owned}
    found = []
    for job_id, own in points.items():
        for name, group in groupby(own, key=lambda point: point.name):
            series = list(group)
            steps, values = [point.step for point in series], [point.value for point in series]
            found.append(JobSeries(job_id=job_id, name=name, steps=steps, values=values))
    return SeriesList(data=found)
