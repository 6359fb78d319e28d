"""Users and API keys, for admins."""

from collections.abc import Sequence

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.wire import Listing, Request, segment
from ftlab.schemas.accounts import DEFAULT_GRACE_HOURS, ApiKey, CreatedKey, Scope, User

USERS_PATH = "/api/users"
KEYS_PATH = "/api/keys"
KEY_PARTS = 3
"""Of the text of a key: `ftl`, its id and its secret."""


class AsyncUsers:
    """Who may use the service."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> Sequence[User]:
        """All users, by name."""
        return await self._transport.items(Listing[User], Request("GET", USERS_PATH))

    async def add(self, name: str) -> User:
        """Add a user, who needs a key next. Raises `ConflictError` when there is one of this name."""
        return await self._transport.read(User, Request("POST", USERS_PATH, document={"name": name}))

    async def disable(self, name: str) -> User:
        """Refuse the user's keys from now on; their jobs and data stay."""
        return await self._change(name, is_disabled=True)

    async def enable(self, name: str) -> User:
        """Accept the keys of a disabled user again."""
        return await self._change(name, is_disabled=False)

    async def _change(self, name: str, *, is_disabled: bool) -> User:
        request = Request("PATCH", f"{USERS_PATH}/{segment(name)}", document={"is_disabled": is_disabled})
        return await self._transport.read(User, request)


class AsyncKeys:
    """The keys with which users call the API."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, *, user: str | None = None) -> Sequence[ApiKey]:
        """Your keys, or those of `user`, newest first."""
        return await self._transport.items(Listing[ApiKey], Request("GET", KEYS_PATH, _of(user)))

    async def create(
        self,
        scopes: Sequence[Scope | str],
        *,
        name: str = "key",
        user: str | None = None,
        expires_in_days: float | None = None,
    ) -> CreatedKey:
        """Create a key for yourself or for `user`. Its text is in the reply only, and is never shown again."""
        document = {"scopes": [str(scope) for scope in scopes], "name": name, "expires_in_days": expires_in_days}
        return await self._transport.read(CreatedKey, Request("POST", KEYS_PATH, _of(user), document=document))

    async def rotate(self, key_id: str, *, grace_hours: float = DEFAULT_GRACE_HOURS) -> CreatedKey:
        """Create a key in place of another one, which stays valid for the grace time. `key_id` may be the whole key."""
        path = f"{KEYS_PATH}/{segment(_id_in(key_id))}/rotate"
        return await self._transport.read(CreatedKey, Request("POST", path, document={"grace_hours": grace_hours}))

    async def revoke(self, key_id: str) -> ApiKey:
        """Refuse a key from now on. `key_id` may be the whole key."""
        return await self._transport.read(ApiKey, Request("DELETE", f"{KEYS_PATH}/{segment(_id_in(key_id))}"))


def _id_in(key: str) -> str:
    """The id in a key. The secret must not get into a path, which logs show."""
    parts = key.split("_")
    return parts[1] if len(parts) == KEY_PARTS else key


def _of(user: str | None) -> dict[str, object]:
    return {} if user is None else {"owner": user}
