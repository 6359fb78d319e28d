"""`/api/quota`: the caller's own limits."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ftlab.schemas import Quota
from ftlab.schemas.requests import QuotaChange
from serve.accounts import quotas
from serve.context import services_of
from serve.http.caller import current_owner
from serve.http.json_body import read_object, validate
from serve.http.openapi import body_of
from serve.http.responses import in_thread, reply

router = APIRouter(prefix="/api/quota", tags=["quota"])


@router.get("", response_model=Quota, summary="Your limits, and what you use of them")
async def get_quota(request: Request) -> Response:
    return reply(await in_thread(quotas.read_quota, services_of(request), current_owner(request)))


@router.put("", response_model=Quota, openapi_extra=body_of(QuotaChange), summary="Change your limits")
async def put_quota(request: Request) -> Response:
    """Fields that are left out stay as they are; `null` goes back to the service's setting."""
    change = validate(QuotaChange, await read_object(request))
    services, owner = services_of(request), current_owner(request)
    quota = await in_thread(quotas.change_quota, services, owner, change)
    return reply(quota, background=services.announcement())
