"""Downloads: the tuned model or a checkpoint as a ZIP that can be resumed, and the logs of all attempts."""

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from zipstream import ZIP_DEFLATED, ZipStream

from cluster.events.documents import to_documents
from cluster.runs.model_location import job_folder
from ftlab.errors import NotFoundError
from ftlab.status import JobStatus
from serve.context import Caller, Services
from serve.downloads.zip_archive import FolderArchive, open_regular, read_up_to
from serve.http.openapi import PART
from serve.http.ranges import attachment, file_response, stream
from serve.jobs.exports.routes import artifact_folder
from serve.streams.logs import job_deleted
from tracking.store import Store
from tracking.store.records import JobRecord
from train.checkpoints.checkpoint_files import is_training_state

LOG_FILE = re.compile(r"attempt-([0-9]{1,9})(?:\.jsonl|-stacks\.txt)")
"""Log of an attempt, and the stacks of one that hung."""
EVENT_PAGE = 1_000
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "No such job or checkpoint, or no tuned model yet."}}

router = APIRouter(prefix="/api/training/jobs", tags=["downloads"])


@router.head("/{job_id}/download/model", include_in_schema=False)
@router.get("/{job_id}/download/model", response_class=StreamingResponse, responses=NOT_FOUND | PART)
async def download_model(
    request: Request,
    caller: Caller,
    job_id: str,
    checkpoint: Annotated[str | None, Query(max_length=200, description="A checkpoint's name.")] = None,
    include: Annotated[
        Literal["state"] | None, Query(description="`state` adds the files that a resume needs.")
    ] = None,
) -> Response:
    """The tuned model, or a checkpoint, as a ZIP. `Range` and `If-Range` resume a download that was cut."""
    return await model_zip_response(request, caller, job_id, checkpoint, with_state=include == "state")


@router.head("/{job_id}/exports/{artifact}", include_in_schema=False)
@router.get("/{job_id}/exports/{artifact}", response_class=StreamingResponse, responses=NOT_FOUND | PART)
async def download_artifact(request: Request, caller: Caller, job_id: str, artifact: str) -> Response:
    """An artifact of an export as a ZIP. `Range` and `If-Range` resume a download that was cut."""
    job, archive = await caller.call(_open_artifact, job_id, artifact)
    return _zip_response(request, archive, f"{job.name}-{artifact}.zip")


@router.head("/{job_id}/download/logs", include_in_schema=False)
@router.get("/{job_id}/download/logs", response_class=StreamingResponse, responses=NOT_FOUND)
async def download_logs(request: Request, caller: Caller, job_id: str) -> Response:
    """The log files of all attempts and the job's events as a ZIP."""
    return await logs_zip_response(request, caller, job_id)


async def model_zip_response(
    request: Request, caller: Caller, job_id: str, checkpoint: str | None = None, *, with_state: bool = False
) -> Response:
    """The whole ZIP, the part of it that the request asks for, or, for HEAD, its headers."""
    job, archive = await caller.call(_open_archive, job_id, checkpoint, with_state)
    return _zip_response(request, archive, f"{job.name}-{checkpoint}.zip" if checkpoint else f"{job.name}.zip")


async def logs_zip_response(request: Request, caller: Caller, job_id: str) -> Response:
    """The logs as a ZIP, whose size is not known beforehand."""
    job = await caller.call(_resolve, job_id)
    headers = {"content-disposition": attachment(f"{job.name}-logs.zip")}
    body = iter(()) if request.method == "HEAD" else stream(_log_pieces(caller.services, job))
    return StreamingResponse(body, 200, headers, "application/zip")


def _zip_response(request: Request, archive: FolderArchive, filename: str) -> Response:
    return file_response(
        request,
        archive.pieces,
        num_bytes=archive.num_bytes,
        etag=archive.etag,
        filename=filename,
        media_type="application/zip",
    )


def _open_artifact(services: Services, owner: str, job_id: str, artifact: str) -> tuple[JobRecord, FolderArchive]:
    job, folder = artifact_folder(services, owner, job_id, artifact)
    try:
        return job, FolderArchive.of(folder)
    except FileNotFoundError:
        raise NotFoundError(f"The artifact {artifact} no longer exists.", "artifact_not_found", "artifact") from None


def _open_archive(
    services: Services, owner: str, job_id: str, checkpoint: str | None, with_state: bool
) -> tuple[JobRecord, FolderArchive]:
    with services.store.read() as tx:
        job = tx.jobs.resolve(job_id, owner=owner)
        name = tx.checkpoints.get(job.id, checkpoint).name if checkpoint is not None else None
        model = tx.models.of_job(job.id)
    folder = job_folder(services.settings, job.id)
    try:
        if name is not None:
            checkpoint_folder = folder / "checkpoints" / name
            return job, FolderArchive.of(
                checkpoint_folder, is_wanted=lambda file: with_state or not is_training_state(file)
            )
        if model is not None:
            return job, FolderArchive.of(folder / model.path.name)
    except FileNotFoundError:
        pass
    if name is not None:
        raise NotFoundError(f"Checkpoint {name} no longer exists.", "checkpoint_not_found", "checkpoint")
    if job.status is JobStatus.COMPLETED:
        message = "The model of this job was deleted; its checkpoints can still be downloaded."
        raise NotFoundError(message, "model_not_found")
    yet = "" if job.status.is_terminal else " yet"
    raise NotFoundError(f"There is no model to download{yet}. {job.status.sentence}", "model_not_ready")


def _resolve(services: Services, owner: str, job_id: str) -> JobRecord:
    with services.store.read() as tx:
        return tx.jobs.resolve(job_id, owner=owner)


def _log_pieces(services: Services, job: JobRecord) -> Generator[bytes, None, None]:
    archive = ZipStream(compress_type=ZIP_DEFLATED)
    folder = job_folder(services.settings, job.id) / "logs"
    names = [path.name for path in folder.iterdir() if _is_log(path)] if folder.is_dir() else []
    for name in sorted(names, key=lambda name: (_attempt_number(name), name)):
        archive.add(_log_file(folder, name), name)
    archive.add(_event_lines(services.store, job), "events.jsonl")
    yield from archive


def _is_log(path: Path) -> bool:
    return LOG_FILE.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()


def _attempt_number(name: str) -> int:
    match = LOG_FILE.fullmatch(name)
    assert match
    return int(match[1])


def _log_file(folder: Path, name: str) -> Iterator[bytes]:
    """The file up to its present size: a running attempt continues to write."""
    descriptor = open_regular(folder, name)
    yield from read_up_to(descriptor, os.fstat(descriptor).st_size)


def _event_lines(store: Store, job: JobRecord) -> Iterator[bytes]:
    seq = 0
    while seq < job.last_seq:
        with store.read() as tx:
            records = tx.events.after(job.id, seq, limit=EVENT_PAGE)
        if not records:
            # The connection is cut, so that nobody takes what was sent for the whole log.
            raise job_deleted(job.id)
        seq = records[-1].seq
        yield "".join(f"{document.text}\n" for document in to_documents(records)).encode()
