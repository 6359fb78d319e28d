"""Requests to engines: wait for the engine of a model, send it the request, pass on what it answers."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ftlab.disconnect import unless_disconnected
from ftlab.errors import ServiceUnavailableError, from_wire
from ftlab.schemas.chat import ADAPTER_FIELD, SALT_FIELD, ChatRequest, CompletionRequest
from ftlab.status import JobStatus
from serve.context import CallerContext
from serve.engines.engine_jobs import Address, EngineJob, find_or_submit, others
from serve.engines.targets import Target

POLL_S = 0.25
PATIENT_S = 3.0
"""How long a request waits for an engine that is still in the queue: longer than a free device needs."""
CONNECT_S = 5.0
ENDING = "engine_closing"
"""Code of an engine that takes no more requests."""


class EngineAwayError(Exception):
    """The engine does not take the request any more; another one may."""


async def forward(
    caller: CallerContext, request: Request, target: Target, path: str, body: ChatRequest | CompletionRequest
) -> Response:
    """The reply of the engine that answers for `target`, which is started where there is none.

    Raise `ServiceUnavailableError` while the engine waits for devices, or has not started within `chat_wait_s`, and
    the error with which the engine refuses the request.
    """
    deadline = time.monotonic() + caller.services.settings.chat_wait_s
    document = body.model_dump(mode="json", exclude_unset=True)
    document[SALT_FIELD] = hashlib.sha256(caller.owner.encode()).hexdigest()
    if target.adapter is not None:
        document[ADAPTER_FIELD] = str(target.adapter)
    while True:
        address = await _ready(caller, target, deadline)
        try:
            return await _send(caller.services.engine_http, request, address, path, document)
        except EngineAwayError:
            # Its job ends, or another attempt begins: the record says so in a moment.
            if time.monotonic() > deadline:
                raise ServiceUnavailableError(
                    "The engine of this model ended while it should answer; send the request again.", ENDING, "model"
                ) from None
            await asyncio.sleep(POLL_S)


async def _ready(caller: CallerContext, target: Target, deadline: float) -> Address:
    began = time.monotonic()
    has_asked = False
    job_id: str | None = None
    while True:
        engine, is_new = await caller.call(find_or_submit, target, job_id)
        job_id = engine.job.id
        if engine.address is not None:
            return engine.address
        if is_new:
            await caller.services.new_job_announcement(caller.owner)()
        waited = time.monotonic() - began
        if engine.job.status is JobStatus.QUEUED and waited > PATIENT_S / 2 and not has_asked:
            has_asked = True
            await _release_others(caller, engine)
        is_queued = engine.job.status in (JobStatus.QUEUED, JobStatus.PAUSING)
        if time.monotonic() > deadline or (is_queued and waited > PATIENT_S):
            raise ServiceUnavailableError(
                f"The engine of this model is {engine.job.status}: {engine.waits_for}",
                "engine_not_ready",
                "model",
            )
        await asyncio.sleep(POLL_S)


async def _release_others(caller: CallerContext, engine: EngineJob) -> None:
    """Ask the owner's idle engines to end, so that this one gets their devices."""
    for address in await caller.call(others, engine):
        with suppress(httpx2.HTTPError):
            await caller.services.engine_http.post(
                f"{address.url}/release", headers=_headers(address), timeout=CONNECT_S
            )


async def _send(
    http: httpx2.AsyncClient, request: Request, address: Address, path: str, document: dict[str, Any]
) -> Response:
    """Send a request once. Raise `EngineAwayError` when the engine is gone or about to go."""
    sent = http.build_request("POST", f"{address.url}{path}", json=document, headers=_headers(address))
    try:
        reply = await unless_disconnected(request.receive, http.send(sent, stream=True))
    except httpx2.TransportError as error:
        raise EngineAwayError from error
    if reply.status_code == 200 and document.get("stream"):
        return _PassedOn(reply)
    try:
        content = await unless_disconnected(request.receive, reply.aread())
    except httpx2.TransportError as error:
        raise EngineAwayError from error
    finally:
        await reply.aclose()
    if reply.status_code == 200:
        return Response(content, media_type="application/json")
    refused = from_wire(reply.status_code, _json(content))
    raise EngineAwayError if refused.code == ENDING else refused


class _PassedOn(StreamingResponse):
    """The stream of an engine. When the reader leaves, the connection is closed, and the engine stops to compute."""

    def __init__(self, reply: httpx2.Response) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_parts(reply), media_type="text/event-stream", headers=headers)
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._reply.aclose()


async def _parts(reply: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for part in reply.aiter_raw():
            yield part
    except httpx2.TransportError:
        lost = ServiceUnavailableError("The engine ended before the answer was complete.", "engine_ended", "model")
        yield f"data: {json.dumps(lost.to_wire())}\n\n".encode()


def _headers(address: Address) -> dict[str, str]:
    return {"authorization": f"Bearer {address.token}"}


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
