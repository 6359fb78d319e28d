"""`/api/training/queue`: what runs and what waits."""

from fastapi import APIRouter
from starlette.responses import Response

from ftlab.schemas import Queue
from serve.context import Caller
from serve.http.query import After, Limit
from serve.http.responses import reply
from serve.jobs.queue import read_queue

router = APIRouter(tags=["jobs"])


@router.get("/api/training/queue", response_model=Queue, summary="The queue as it stands")
async def get_queue(caller: Caller, after: After = None, limit: Limit = 100) -> Response:
    """All your running jobs, and one page of those that wait, next job first."""
    return reply(await caller.call(read_queue, after, limit))
