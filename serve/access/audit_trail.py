"""Collects who did what, and which keys are in use, and writes both to the database about once a second."""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ftlab.errors import ServiceUnavailableError
from serve.access.identity import Identity
from serve.access.rules import NOT_AUDITED, SAFE_METHODS, UNDOCUMENTED
from serve.http.responses import in_thread
from tracking.store import Store
from tracking.store.api_keys import without_keys
from tracking.store.audit import AuditRecord
from tracking.store.ids import new_id

INTERVAL_S = 1.0
MAX_WAITING = 10_000
"""Entries kept while the database is unavailable."""
CLEAN_INTERVAL_S = 600.0
BATCH = 1000
"""Old entries that one transaction removes."""
FORBIDDEN = 403
NOBODY = "-"
"""In the place of a user: the key in the request was wrong."""

logger = logging.getLogger(__name__)


class AuditTrail:
    """What one API process has yet to write. Requests only append, so that none of them waits for it.

    Removes entries once they are older than `keep`.
    """

    def __init__(self, store: Store, keep: timedelta) -> None:
        self._store = store
        self._keep = keep
        self._entries: list[AuditRecord] = []
        self._uses: dict[str, datetime] = {}

    def note_use(self, key_id: str, at: datetime) -> None:
        self._uses[key_id] = at

    def add(self, entry: AuditRecord) -> None:
        if len(self._entries) < MAX_WAITING:
            self._entries.append(entry)
        else:
            logger.error("The audit log lost an entry, as the database does not answer: %s", entry)

    async def run(self) -> None:
        """Write now and then, until cancelled; then write what is left."""
        clean_at = time.monotonic()
        try:
            while True:
                await asyncio.sleep(INTERVAL_S)
                await in_thread(self.flush)
                if time.monotonic() >= clean_at:
                    clean_at += CLEAN_INTERVAL_S
                    await in_thread(self.remove_old)
        finally:
            self.flush()

    def flush(self) -> None:
        """Write what has come in. Without the database, it stays for the next time. Blocks on the store."""
        entries, uses = self._entries[:], dict(self._uses)
        if not entries and not uses:
            return
        with suppress(ServiceUnavailableError):
            with self._store.begin() as tx:
                tx.audit.add(entries)
                for key_id, at in uses.items():
                    tx.keys.note_use(key_id, at)
            del self._entries[: len(entries)]
            for key_id, at in uses.items():
                if self._uses.get(key_id) == at:
                    del self._uses[key_id]

    def remove_old(self) -> None:
        """Remove the entries that are too old, or leave that to the next time. Blocks on the store."""
        oldest = datetime.now(UTC) - self._keep
        num_removed = BATCH
        with suppress(ServiceUnavailableError):
            while num_removed == BATCH:
                with self._store.begin() as tx:
                    num_removed = tx.audit.remove_before(oldest, limit=BATCH)


class AuditRequests:
    """ASGI middleware that adds each request of an identified caller that may change something, after its reply."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(scope, state.get("identity"), message["status"])
            await send(message)

        await self._app(scope, receive, send_and_note)

    def _note(self, scope: Scope, identity: Identity | None, status: int) -> None:
        if identity is None or not identity.requires_keys:
            return  # nobody to name
        path = getattr(scope.get("route"), "path", None)
        if path in UNDOCUMENTED or (path in NOT_AUDITED and status != FORBIDDEN):
            return
        trail: AuditTrail = scope["app"].state.services.trail
        owner = scope["state"].get("owner", identity.user)
        trail.add(entry_of(scope, status, user=identity.user, key_id=identity.key_id, owner=owner))


def entry_of(scope: Scope, status: int, *, user: str, key_id: str | None, owner: str) -> AuditRecord:
    """The entry about a request."""
    route, path = scope.get("route"), without_keys(scope["path"])
    return AuditRecord(
        id=new_id("act"),
        at=datetime.now(UTC),
        user=user,
        key_id=key_id,
        owner=owner,
        action=f"{scope.get('method', 'GET')} {getattr(route, 'path', path)}",
        path=path,
        status=status,
        address=address_of(scope),
        request_id=scope["state"].get("request_id"),
    )


def address_of(scope: Scope) -> str | None:
    """The network address of the client, as the front or a proxy on this machine gives it."""
    client = scope.get("client")
    return client[0] if client else None
