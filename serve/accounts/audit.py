"""`/api/audit`: who did what."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ftlab.schemas import Page
from ftlab.schemas.accounts import AuditEntry
from serve.context import Caller, Services
from serve.http.query import After, Limit
from serve.http.responses import reply, to_page

router = APIRouter(prefix="/api/audit", tags=["accounts"])


@router.get("", response_model=Page[AuditEntry], summary="List who did what, newest first")
async def list_entries(
    caller: Caller,
    user: Annotated[str | None, Query(max_length=63, description="Only what this user did.")] = None,
    after: After = None,
    limit: Limit = 20,
) -> Response:
    """Requests that may change something, with the status of their reply. Entries appear after about a second."""
    return reply(await caller.call(find_entries, user, after, limit))


def find_entries(services: Services, owner: str, user: str | None, after: str | None, limit: int) -> Page[AuditEntry]:
    """One page. Blocks on the store."""
    with services.store.read() as tx:
        records = tx.audit.list(user=user, after=after, limit=limit + 1)
    return to_page([AuditEntry.of(record) for record in records], limit)
