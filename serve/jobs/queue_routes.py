"""`/api/training/queue`: what runs and what waits."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ftlab.schemas import Queue
from serve.context import services_of
from serve.http.caller import current_owner
from serve.http.query import After, Limit
from serve.http.responses import in_thread, reply
from serve.jobs.queue import read_queue

router = APIRouter(tags=["jobs"])


@router.get("/api/training/queue", response_model=Queue, summary="The queue as it stands")
async def get_queue(request: Request, after: After = None, limit: Limit = 100) -> Response:
    """All your running jobs, and one page of those that wait, next job first."""
    return reply(await in_thread(read_queue, services_of(request), current_owner(request), after, limit))
