"""`/api/users`: who may use the service. Every function that is not a route blocks on the store."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from ftlab.errors import ConflictError
from ftlab.schemas.accounts import USER_NAME, NewUser, User, UserChange
from ftlab.schemas.replies import UserList
from serve.context import Caller, Services
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.responses import reply
from tracking.store import Transaction
from tracking.store.users import UserRecord

router = APIRouter(prefix="/api/users", tags=["accounts"], route_class=JsonRoute)

UserName = Annotated[str, Path(pattern=USER_NAME, description="The user's name.")]


@router.get("", response_model=UserList, summary="List the users")
async def list_users(caller: Caller) -> Response:
    return reply(await caller.call(find_users))


@router.post("", status_code=201, response_model=User, summary="Add a user")
async def add_user(caller: Caller, new: JsonBody[NewUser]) -> Response:
    """They can use the service once they have a key."""
    return reply(await caller.call(create_user, new), 201)


@router.patch("/{name}", response_model=User, summary="Disable or enable a user")
async def change_user(caller: Caller, name: UserName, change: JsonBody[UserChange]) -> Response:
    """The keys of a disabled user are refused at once. Their jobs and data stay."""
    return reply(await caller.call(set_disabled, name, change.is_disabled))


def find_users(services: Services, owner: str) -> UserList:
    """All users, by name."""
    with services.store.read() as tx:
        num_keys = tx.keys.num_open(now=datetime.now(UTC))
        return UserList(data=[_to_wire(user, num_keys) for user in tx.users.list()])


def create_user(services: Services, owner: str, new: NewUser) -> User:
    """Raise `ConflictError` when there is a user of this name."""
    with services.store.begin() as tx:
        return User.of(tx.users.add(new.name, now=datetime.now(UTC)), is_disabled=False, num_keys=0)


def set_disabled(services: Services, owner: str, name: str, is_disabled: bool) -> User:
    """Raise `NotFoundError`, or `ConflictError` where nobody could administer the service afterwards."""
    now = datetime.now(UTC)
    with services.store.begin() as tx:
        tx.users.get(name)
        tx.users.set_disabled(name, now if is_disabled else None)
        if is_disabled:
            refuse_lock_out(tx, now)
        return _to_wire(tx.users.get(name), tx.keys.num_open(now=now))


def refuse_lock_out(tx: Transaction, now: datetime) -> None:
    """Raise `ConflictError` (code `last_admin_key`) when no valid key with the scope `admin` is left."""
    if not tx.keys.admins(now=now):
        raise ConflictError(
            "This would leave no valid key with the scope 'admin': create another one first.", "last_admin_key"
        )


def _to_wire(user: UserRecord, num_keys: Mapping[str, int]) -> User:
    is_disabled = user.disabled_at is not None
    return User.of(user, is_disabled=is_disabled, num_keys=0 if is_disabled else num_keys.get(user.name, 0))
