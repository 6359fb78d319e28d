"""`/api/session`: who the caller is, and how a browser signs in and out."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ftlab.schemas.accounts import Session, SignIn
from serve.access.identity import LOCAL, Identity
from serve.context import Caller, Services, services_of
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.responses import in_thread, reply
from tracking.store.api_keys import KeyRecord

SESSION_TIME = timedelta(days=14)

router = APIRouter(prefix="/api/session", tags=["accounts"], route_class=JsonRoute)


@router.get("", response_model=Session, summary="Get who you are")
async def get_session(caller: Caller) -> Response:
    return reply(_to_wire(caller.identity))


@router.post("", response_model=Session, summary="Sign in with a key")
async def sign_in(request: Request, given: JsonBody[SignIn]) -> Response:
    """For browsers: opens a session of 14 days, and sets a cookie for it that no script can read. The session also
    ends with the key."""
    services = services_of(request)
    if not await services.gate.requires_keys():
        return reply(_to_wire(LOCAL))
    holder = await services.gate.find_key(request, given.key)
    identity, token = await in_thread(open_session, services, holder.key)
    request.state.identity = identity
    response = reply(_to_wire(identity))
    response.set_cookie(
        services.gate.cookie,
        token,
        expires=identity.expires_at,
        secure=_is_encrypted(request),
        httponly=True,
        samesite="strict",
    )
    return response


@router.delete("", status_code=204, summary="Sign out")
async def sign_out(request: Request) -> Response:
    """Ends the session of this browser, if it has one."""
    services = services_of(request)
    token = request.cookies.get(services.gate.cookie)
    if token is not None:
        await in_thread(close_session, services, token)
    response = Response(status_code=204)
    response.delete_cookie(services.gate.cookie, httponly=True, samesite="strict")
    return response


def open_session(services: Services, key: KeyRecord) -> tuple[Identity, str]:
    """A new session of a valid key: who its user is, and what the browser sends from now on."""
    now = datetime.now(UTC)
    ends_at = min(now + SESSION_TIME, key.expires_at or datetime.max.replace(tzinfo=UTC))
    with services.store.begin() as tx:
        token = tx.keys.open_session(key.id, expires_at=ends_at, now=now)
        found = tx.keys.find_by_session(token)
    assert found is not None
    return Identity.of(found), token


def close_session(services: Services, token: str) -> None:
    with services.store.begin() as tx:
        tx.keys.close_session(token)


def _is_encrypted(request: Request) -> bool:
    """Whether the browser uses TLS, which ends at a proxy in front of the service."""
    return request.headers.get("origin", "").startswith("https:")


def _to_wire(identity: Identity) -> Session:
    return Session(
        user=identity.user,
        scopes=sorted(identity.scopes),
        key_id=identity.key_id,
        requires_keys=identity.requires_keys,
        expires_at=identity.expires_at,
    )
