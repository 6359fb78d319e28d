"""Engines of a service without Ray: one HTTP server that plays all of them."""

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ftlab.status import JobKind, JobStatus
from tests.unit.tracking.samples import start
from tracking.store import Store
from tracking.store.records import JobRecord

REPLY: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": None},
                 "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip

PIECES = ("Hel", "lo\x1b[2J\u2028\x85!")
"""The pieces of an answer: what terminals would obey, and line breaks of Unicode, which JSON may hold as they are."""


class FakeEngines:
    """Starts the engines of the queue as soon as the coordinator is woken: one HTTP server plays all of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.requests: list[dict[str, Any]] = []
        self.error: Response | None = None
        self.is_starting = True
        self.num_releases = 0
        self.cut = False
        self.url = ""
        routes = [
            Route("/v1/chat/completions", self.answer, methods=["POST"]),
            Route("/release", self.release, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def answer(self, request: Request) -> Response:
        token = request.headers["authorization"]
        body = await request.json()
        self.requests.append(body | {"token": token})
        if self.error is not None:
            return self.error
        if body.get("stream"):
            return StreamingResponse(self.parts(), media_type="text/event-stream")
        return JSONResponse(REPLY | {"model": body["model"]})

    async def parts(self) -> Any:
        for content in PIECES:
            choice = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": None}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()
            if self.cut:
                raise OSError("the engine dies")
        yield b"data: [DONE]\n\n"

    async def release(self, _: Request) -> Response:
        self.num_releases += 1
        return JSONResponse({})

    def wake(self) -> None:
        if not self.is_starting:
            return
        for job in self.jobs(JobStatus.QUEUED):
            ref = start(self.store, job.id)
            with self.store.begin() as tx:
                tx.engines.set_address(ref, self.url, f"secret of {job.id}")

    def jobs(self, *statuses: JobStatus) -> list[JobRecord]:
        """The engines of all owners, newest first."""
        with self.store.read() as tx:
            found = tx.jobs.list(limit=100)
        return [job for job in found if job.kind is JobKind.ENGINE and (not statuses or job.status in statuses)]
