"""The gate that every request passes: finds out who the caller is, from a key or from the cookie of a session."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from ftlab.errors import AuthenticationError, PermissionDeniedError, ServiceUnavailableError
from ftlab.schemas.accounts import Scope
from ftlab.settings import Settings
from serve.access.audit_trail import AuditTrail
from serve.access.identity import LOCAL, Identity
from serve.access.key_limits import KeyLimits
from serve.access.rules import SAFE_METHODS
from serve.access.wrong_keys import WrongKeys
from serve.http.responses import in_thread
from tracking.store import Store
from tracking.store.api_keys import KeyHolder

FIRST_KEY_CHECK_S = 1.0
"""A service without keys looks this often whether it has got its first one."""
RECHECK_INTERVAL_S = 15.0
"""How often the key of an open stream is checked again."""
NEVER = float("-inf")
USE_IS_NOTED_EVERY = timedelta(minutes=1)


class Gate:
    """Identifies the callers of one API process."""

    def __init__(self, store: Store, settings: Settings, trail: AuditTrail, limits: KeyLimits) -> None:
        self._store = store
        self._must_have_keys = not settings.is_loopback
        self._trail = trail
        self._limits = limits
        self._wrong_keys = WrongKeys(settings, trail)
        self._has_keys = False
        self._looked_at = NEVER
        # Browsers share cookies between the ports of a host, and with them between services.
        self.cookie = f"ftlab_session_{settings.port}"

    async def admit(self, connection: HTTPConnection, scope: Scope) -> Identity:
        """The caller of a request that needs this scope.

        Raises `AuthenticationError` without a valid key, `RateLimitError` after too many requests or wrong keys, and
        `PermissionDeniedError` where the key does not allow this one.
        """
        identity = await self._identify(connection)
        connection.scope.setdefault("state", {})["identity"] = identity
        if identity.key_id is not None:
            self._limits.count_request(identity.key_id)
        identity.require(scope)
        return identity

    async def requires_keys(self) -> bool:
        """Whether callers need a key: once one was created, and always where other machines reach the service."""
        if self._must_have_keys or self._has_keys:
            return True
        now = time.monotonic()
        if now - self._looked_at >= FIRST_KEY_CHECK_S:
            try:
                self._has_keys = await in_thread(self._any_key)
            except ServiceUnavailableError:
                if self._looked_at == NEVER:
                    raise
                # Without the database, nobody creates a first key.
            self._looked_at = now
        return self._has_keys

    def expect_keys(self) -> None:
        """Require keys at once: this process has just created one."""
        self._has_keys = True

    async def owner_of(self, identity: Identity, asked: str | None) -> str:
        """Whose records a request is about: the caller's own, or those of the user whom an admin names.

        Raises `PermissionDeniedError` for others than admins, and `NotFoundError` for an unknown user.
        """
        if asked is None or asked == identity.user:
            return identity.user
        identity.require(Scope.ADMIN)
        return await in_thread(self._user, asked)

    async def until_ended(self, identity: Identity) -> None:
        """Return once the caller's key or session is not valid any more; streams outlive the check of their request."""
        while True:
            await asyncio.sleep(RECHECK_INTERVAL_S)
            if identity.key_id is None:
                continue
            with suppress(ServiceUnavailableError):
                if not await in_thread(self._is_valid, identity):
                    return

    async def find_key(self, connection: HTTPConnection, text: str) -> KeyHolder:
        """The holder of a valid key that a request brings.

        Raises `AuthenticationError`, and `RateLimitError` after many wrong keys of the same address.
        """
        holder = await in_thread(self._find_key, text)
        if holder is None or not holder.may_enter(datetime.now(UTC)):
            raise await self._wrong_keys.refusal(connection, holder)
        self._note_use(holder)
        return holder

    def _find_key(self, text: str) -> KeyHolder | None:
        with self._store.read() as tx:
            return tx.keys.find(text)

    def _is_valid(self, identity: Identity) -> bool:
        now = datetime.now(UTC)
        with self._store.read() as tx:
            holder = tx.keys.find_by_id(identity.key_id or "")
        is_over = identity.expires_at is not None and now >= identity.expires_at
        return holder is not None and holder.may_enter(now) and not is_over

    def _find_session(self, token: str) -> KeyHolder:
        with self._store.read() as tx:
            holder = tx.keys.find_by_session(token)
        if holder is None or not holder.may_enter(datetime.now(UTC)):
            raise AuthenticationError("Your session has ended: sign in again.")
        self._note_use(holder)
        return holder

    def _note_use(self, holder: KeyHolder) -> None:
        used, now = holder.key.last_used_at, datetime.now(UTC)
        if used is None or now - used > USE_IS_NOTED_EVERY:
            self._trail.note_use(holder.key.id, now)

    async def _identify(self, connection: HTTPConnection) -> Identity:
        if not await self.requires_keys():
            return LOCAL
        key = _key_in(connection.headers)
        if key is not None:
            return Identity.of(await self.find_key(connection, key))
        token = connection.cookies.get(self.cookie)
        if token is None:
            raise AuthenticationError(
                "This service requires an API key, in the header 'Authorization: Bearer ftl_...'; "
                "on the command line, run 'ftlab login'.",
                "missing_api_key",
            )
        _check_page(connection)
        return Identity.of(await in_thread(self._find_session, token))

    def _user(self, name: str) -> str:
        with self._store.read() as tx:
            return tx.users.get(name).name

    def _any_key(self) -> bool:
        with self._store.read() as tx:
            return tx.keys.has_any()


def is_same_origin(headers: Headers) -> bool:
    """Whether a browser says that the page that sent the request is from the address that it was sent to."""
    if headers.get("sec-fetch-site") == "same-origin":
        return True
    origin, host = headers.get("origin"), headers.get("host")
    return bool(origin and host) and urlsplit(origin or "").netloc == host


def _key_in(headers: Headers) -> str | None:
    value = headers.get("authorization")
    if value is None:
        return None
    kind, _, key = value.partition(" ")
    return key.strip() if kind.lower() == "bearer" else ""


def _check_page(connection: HTTPConnection) -> None:
    """Refuse changes and sockets started by a page of another site: browsers add the cookie to these too."""
    is_socket = connection.scope["type"] == "websocket"
    if (is_socket or connection.scope["method"] not in SAFE_METHODS) and not is_same_origin(connection.headers):
        raise PermissionDeniedError("Cross-origin requests may not change anything.", "forbidden_origin")
