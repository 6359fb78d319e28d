"""The route that uploads an artifact to a hub while the caller waits.

The token of the caller lives in this process for as long as the upload does. It is neither stored nor handed to a job,
so an upload ends with its connection, and is repeated rather than resumed.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio.to_thread
from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from ftlab.errors import FineTuneLabError, ServiceUnavailableError
from ftlab.schemas.hub import HubCommit, HubPush, PushDone, PushFailed, PushMessage, PushProgress
from serve.context import Caller, CallerContext
from serve.http.errors import internal_error
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.query import JobId
from serve.jobs.exports.hub_upload import HubTarget, UploadStopped, open_repository, upload
from serve.jobs.exports.routes import artifact_folder
from serve.streams.descriptions import MEDIA_TYPE

INTERVAL_S = 1.0
"""Between two messages, which also keep proxies from closing the connection."""

router = APIRouter(prefix="/api/training/jobs", tags=["jobs"], route_class=JsonRoute)

logger = logging.getLogger(__name__)


@router.post(
    "/{job_id}/exports/{artifact}/push",
    response_class=StreamingResponse,
    summary="Upload an artifact to a hub of models",
)
async def push_artifact(caller: Caller, job_id: JobId, artifact: str, push: JsonBody[HubPush]) -> Response:
    """Upload the files as one commit, with your own token, while you wait.

    A refusal of the hub before the upload is an error reply. Then the reply is a stream of server-sent events: a
    `progress` every second, and `done` or `failed` at the end. A stream without either was cut: send the request again,
    and files that arrived are not sent a second time.
    """
    services = caller.services
    job, folder = await caller.call(artifact_folder, job_id, artifact)
    if services.hub_uploads.available_tokens < 1:
        raise ServiceUnavailableError(
            "The service is busy with other uploads to the hub. Try again when one of them is done.", "hub_away"
        )
    # On a thread of uploads too: those of requests must not wait for a hub that is slow.
    opening = partial(open_repository, push, folder, services.hub_endpoint)
    target = await anyio.to_thread.run_sync(opening, limiter=services.hub_uploads)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    title = f"{artifact} of {job.name}, exported by FineTune Lab in job {job.id}"
    return StreamingResponse(_messages(caller, target, folder, title), media_type=MEDIA_TYPE, headers=headers)


async def _messages(caller: CallerContext, target: HubTarget, folder: Path, title: str) -> AsyncIterator[bytes]:
    """Upload in a thread; when the reader leaves, the upload ends with the piece of a file that it is sending."""
    running = _Running()
    work = partial(upload, target, folder, title, running.report)
    task = asyncio.ensure_future(anyio.to_thread.run_sync(work, limiter=caller.services.hub_uploads))
    task.add_done_callback(_look_at)
    try:
        while not task.done():
            if running.newest is not None:
                yield _event(running.newest)
            await asyncio.wait([task], timeout=INTERVAL_S)
        yield _event(_end(task))
    finally:
        running.stop()


class _Running:
    """What the thread of an upload and its reader share."""

    def __init__(self) -> None:
        self.newest: PushProgress | None = None
        self._is_stopped = threading.Event()

    def report(self, progress: PushProgress) -> None:
        if self._is_stopped.is_set():
            raise UploadStopped
        self.newest = progress

    def stop(self) -> None:
        self._is_stopped.set()


def _end(task: "asyncio.Future[HubCommit]") -> PushMessage:
    try:
        return PushDone(result=task.result())
    except FineTuneLabError as error:
        return PushFailed(status=error.status, **error.to_wire())
    except Exception:
        logger.exception("An upload to the hub failed")
        unexpected = internal_error()
        return PushFailed(status=unexpected.status, **unexpected.to_wire())


def _look_at(task: "asyncio.Future[HubCommit]") -> None:
    """Take the exception of an upload whose reader has gone; nobody else asks for it."""
    if not task.cancelled():
        task.exception()


def _event(message: PushMessage) -> bytes:
    return f"event: {message.type}\ndata: {message.model_dump_json()}\n\n".encode()
