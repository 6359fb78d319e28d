"""The part of the fake service that changes jobs and limits."""

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ftlab.errors import ConflictError, InvalidRequestError, NotFoundError
from ftlab.status import JobStatus

if TYPE_CHECKING:
    from tests.unit.ftlab.fake_service import FakeJob, FakeService

QUOTA: dict[str, Any] = {
    "owner": "local",
    "max_queued_jobs": 100,
    "max_running_gpus": 1.5,
    "max_running_cpus": None,
    "max_disk_bytes": 2_000_000_000,
    "max_upload_bytes": None,
    "weight": 1.0,
    "queued_jobs": 3,
    "running_gpus": 0.5,
    "running_cpus": 2,
    "disk_bytes": 1_500_000,
    "upload_bytes": 1_000,
}


async def order_job(fake: "FakeService", request: Request) -> Response:
    """Cancel, pause, resume, append and move."""
    job = fake.find(request.path_params["job"])
    body = await request.body()
    document = json.loads(body) if body else {}
    match request.path_params["order"]:
        case "cancel":
            _cancel(job)
        case "pause":
            _require(job, JobStatus.RUNNING, JobStatus.QUEUED)
            job.move(JobStatus.PAUSING if job.status is JobStatus.RUNNING else JobStatus.PAUSED)
        case "resume":
            _require(job, JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED)
            if document.get("checkpoint") not in (None, "step-00000005", "best"):
                raise NotFoundError("The job has no checkpoint of this name.", "checkpoint_not_found")
            job.resumed = document
            if changes := document.get("config_adjustments"):
                job.adjust(changes)
            job.move(JobStatus.QUEUED)
        case "batches":
            named = job.config["dataset"]
            files = named if isinstance(named, list) else [named]
            if document.get("after") not in (None, len(files)):
                raise ConflictError("The job has another number of files.", "files_changed", "after")
            job.config["dataset"] = files + document["datasets"]
        case "move":
            _require(job, JobStatus.QUEUED)
            if document["to"] == "behind":
                job.add("notice", code="moved_behind", message=f"Moved behind {document['job']}.")
            else:
                job.add("notice", code="moved_to_front", message="Moved to the front.")
    return JSONResponse(job.document(), 202)


async def change_job(fake: "FakeService", request: Request) -> Response:
    job = fake.find(request.path_params["job"])
    job.priority = json.loads(await request.body())["priority"]
    return JSONResponse(job.document())


async def delete_job(fake: "FakeService", request: Request) -> Response:
    """By id only, as the SDK must send it."""
    job = fake.jobs.get(request.path_params["job"])
    if job is None:
        raise NotFoundError(f"There is no job {request.path_params['job']!r}.", "job_not_found", "job_id")
    if not job.status.is_terminal:
        raise ConflictError(f"Job {job.id!r} is {job.status}.", "job_not_ended", "job_id")
    del fake.jobs[job.id]
    return Response(status_code=204)


async def quota(fake: "FakeService", request: Request) -> Response:
    if request.method == "PUT":
        for name, value in json.loads(await request.body()).items():
            if name not in fake.quota:
                raise InvalidRequestError(f"{name} is not a known setting.", "unknown_field", name)
            fake.quota[name] = value
    return JSONResponse(fake.quota)


def _cancel(job: "FakeJob") -> None:
    if job.status.is_terminal:
        raise ConflictError(f"Job {job.id!r} has ended with status {job.status}.", "job_ended")
    job.move(JobStatus.CANCELLED, reason="user_cancelled")


def _require(job: "FakeJob", *statuses: JobStatus) -> None:
    if job.status not in statuses:
        raise ConflictError(f"Job {job.id!r} is {job.status}.", "conflict")
