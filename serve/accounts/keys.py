"""`/api/keys`: the keys with which users call the API. Every function that is not a route blocks on the store."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from ftlab.errors import ConflictError, InvalidRequestError
from ftlab.schemas.accounts import ApiKey, CreatedKey, KeyRotation, NewKey, Scope
from ftlab.schemas.replies import KeyList
from serve.access.identity import Identity
from serve.accounts.users import refuse_lock_out
from serve.context import Caller, Services
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.responses import reply
from tracking.store import Transaction
from tracking.store.api_keys import KeyRecord

router = APIRouter(prefix="/api/keys", tags=["accounts"], route_class=JsonRoute)

WITH_GRACE = KeyRotation()

KeyId = Annotated[str, Path(max_length=100, description="The key's id: the middle part of the key.")]


@router.get("", response_model=KeyList, summary="List your keys, newest first")
async def list_keys(caller: Caller) -> Response:
    return reply(await caller.call(find_keys))


@router.post("", status_code=201, response_model=CreatedKey, summary="Create a key")
async def create_key(caller: Caller, new: JsonBody[NewKey]) -> Response:
    """For yourself, or with `?owner=NAME` for another user. The reply is the only time that the key is shown.

    The first key must have the scope `admin`: from then on, the service requires a key from every caller.
    """
    created = await caller.call(add_key, caller.identity, new)
    caller.services.gate.expect_keys()
    return reply(created, 201)


@router.post("/{key_id}/rotate", status_code=201, response_model=CreatedKey, summary="Replace a key")
async def rotate_key(caller: Caller, key_id: KeyId, how: JsonBody[KeyRotation] = WITH_GRACE) -> Response:
    """Creates a key with the same name, scopes and lifetime; both are valid during the grace time. Without the scope
    `admin`, a key can only rotate itself."""
    return reply(await caller.call(replace_key, caller.identity, key_id, how), 201)


@router.delete("/{key_id}", response_model=ApiKey, summary="Revoke a key")
async def revoke_key(caller: Caller, key_id: KeyId) -> Response:
    """It is refused from now on, and the browsers that signed in with it are signed out. Without the scope `admin`, a
    key can only revoke itself."""
    return reply(await caller.call(end_key, caller.identity, key_id))


def find_keys(services: Services, owner: str) -> KeyList:
    """All keys of the owner, also those that have ended."""
    with services.store.read() as tx:
        return KeyList(data=[_to_wire(tx, key) for key in tx.keys.list(owner=owner)])


def add_key(services: Services, owner: str, identity: Identity, new: NewKey) -> CreatedKey:
    """Raise `NotFoundError` for an unknown user, and `ConflictError` for a first key without the scope `admin`."""
    now = datetime.now(UTC)
    expires_at = None if new.expires_in_days is None else now + timedelta(days=new.expires_in_days)
    scopes = [scope for scope in Scope if scope in new.scopes]
    if len(scopes) < len(new.scopes):
        raise InvalidRequestError("A scope is given twice.", "invalid_body", "scopes")
    with services.store.begin() as tx:
        if not tx.keys.has_any():
            tx.users.ensure(owner, now=now)
        tx.users.get(owner)
        text, key = tx.keys.add(owner, new.name, scopes, expires_at=expires_at, now=now)
        if not identity.requires_keys:
            _refuse_first_without_admin(tx, now)
        return CreatedKey(key=text, record=_to_wire(tx, key))


def replace_key(services: Services, owner: str, identity: Identity, key_id: str, how: KeyRotation) -> CreatedKey:
    """Raise `ConflictError` for a key that is not valid any more."""
    now = datetime.now(UTC)
    with services.store.begin() as tx:
        old = _find(tx, identity, key_id)
        if not old.is_open(now):
            raise ConflictError(f"Key {key_id!r} has ended already; create a new one.", "key_ended", "key_id")
        expires_at = None if old.expires_at is None else now + (old.expires_at - old.created_at)
        text, key = tx.keys.add(old.owner, old.name, old.scopes, expires_at=expires_at, now=now)
        tx.keys.expire(old.id, now + timedelta(hours=how.grace_hours))
        return CreatedKey(key=text, record=_to_wire(tx, key))


def end_key(services: Services, owner: str, identity: Identity, key_id: str) -> ApiKey:
    """Raise `ConflictError` where nobody could administer the service afterwards."""
    now = datetime.now(UTC)
    with services.store.begin() as tx:
        key = _find(tx, identity, key_id)
        tx.keys.revoke(key.id, now=now)
        refuse_lock_out(tx, now)
        return _to_wire(tx, tx.keys.get(key.id))


def _find(tx: Transaction, identity: Identity, key_id: str) -> KeyRecord:
    """Any key for an admin; for others theirs, which they may change with that key only."""
    if identity.is_admin:
        return tx.keys.get(key_id)
    key = tx.keys.get(key_id, owner=identity.user)
    if key.id != identity.key_id:
        identity.require(Scope.ADMIN)
    return key


def _refuse_first_without_admin(tx: Transaction, now: datetime) -> None:
    if not tx.keys.admins(now=now):
        raise ConflictError(
            "The first key must have the scope 'admin': from then on, nobody without a key can create another.",
            "last_admin_key",
            "scopes",
        )


def _to_wire(tx: Transaction, key: KeyRecord) -> ApiKey:
    user = tx.users.find(key.owner)
    is_valid = key.is_open(datetime.now(UTC)) and user is not None and user.disabled_at is None
    return ApiKey.of(key, is_valid=is_valid)
