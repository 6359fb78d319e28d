"""`/api/quota`: the caller's own limits."""

from fastapi import APIRouter
from starlette.responses import Response

from ftlab.schemas import Quota
from ftlab.schemas.requests import QuotaChange
from serve.accounts import quotas
from serve.context import Caller
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.responses import reply

router = APIRouter(prefix="/api/quota", tags=["quota"], route_class=JsonRoute)


@router.get("", response_model=Quota, summary="Your limits, and what you use of them")
async def get_quota(caller: Caller) -> Response:
    return reply(await caller.call(quotas.read_quota))


@router.put("", response_model=Quota, summary="Change your limits")
async def put_quota(caller: Caller, change: JsonBody[QuotaChange]) -> Response:
    """Fields that are left out stay as they are; `null` goes back to the service's setting."""
    return reply(await caller.call(quotas.change_quota, change), background=caller.services.announcement())
