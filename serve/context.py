"""Context of the routes: the services of the process, and the caller of a request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Concatenate, ParamSpec, TypeVar

import anyio
import httpx2
from fastapi import Depends, Query
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request

from cluster.data.requests import DataClient
from cluster.events.documents import to_documents
from cluster.interfaces import CoordinatorClient, EventDocument, EventHubClient, new_job_of
from cluster.telemetry.client import RayTelemetryClient, TelemetryClient
from ftlab.settings import Settings
from serve.access.audit_trail import AuditTrail
from serve.access.gate import Gate
from serve.access.identity import Identity, identity_of
from serve.access.key_limits import KeyLimits
from serve.access.rules import RULES
from serve.http.query import OWNER
from serve.http.responses import in_thread
from serve.metrics.process_metrics import ProcessMetrics
from serve.models.huggingface import HuggingFace
from serve.streams.live_stream import CloseReason, StreamClosed
from serve.streams.subscriptions import EventFeed
from tracking.buckets import Buckets, DatasetFiles
from tracking.store import Store
from tracking.store.records import EventRecord

ENGINE_CONNECT_S = 5.0
MAX_HUB_UPLOADS = 4
"""Uploads to the hub at a time, each of which keeps a thread."""

P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Services:
    """The parts of one API process. The application starts and stops `feed`; its creator opens the rest."""

    settings: Settings
    store: Store
    coordinator: CoordinatorClient
    event_hub: EventHubClient
    feed: EventFeed
    data: DataClient
    huggingface: HuggingFace
    metrics: ProcessMetrics = field(default_factory=ProcessMetrics)
    telemetry: TelemetryClient = field(default_factory=RayTelemetryClient)
    hub_endpoint: str | None = None
    """Where artifacts are uploaded; default: the public hub, or the variable `HF_ENDPOINT`."""

    @cached_property
    def trail(self) -> AuditTrail:
        return AuditTrail(self.store, timedelta(days=self.settings.audit_days))

    @cached_property
    def gate(self) -> Gate:
        return Gate(self.store, self.settings, self.trail, self.limits)

    @cached_property
    def limits(self) -> KeyLimits:
        return KeyLimits(self.settings)

    @cached_property
    def buckets(self) -> Buckets:
        return Buckets.open(self.settings)

    @cached_property
    def dataset_files(self) -> DatasetFiles:
        return DatasetFiles(self.store, self.buckets)

    @cached_property
    def engine_http(self) -> httpx2.AsyncClient:
        """Connections to engines. An answer may take as long as it takes: the run's watchdog ends one that hangs."""
        timeout = httpx2.Timeout(None, connect=ENGINE_CONNECT_S)
        return httpx2.AsyncClient(timeout=timeout, limits=httpx2.Limits(max_connections=None), trust_env=False)

    @cached_property
    def hub_uploads(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(MAX_HUB_UPLOADS)

    async def close(self) -> None:
        """Close the connections that requests have opened."""
        if "engine_http" in vars(self):
            await self.engine_http.aclose()

    def announcement(self, events: Sequence[EventRecord] = ()) -> BackgroundTask:
        """A task that publishes committed events and wakes the coordinator, to run after the reply is sent.

        Both are only hints, because the database has everything, so the caller gets the reply first.
        """
        return BackgroundTask(self._announce, lambda: to_documents(events))

    def new_job_announcement(self, owner: str) -> BackgroundTask:
        """The same for a new job of `owner`."""
        return BackgroundTask(self._announce, lambda: [new_job_of(owner)])

    async def _announce(self, documents: Callable[[], list[EventDocument]]) -> None:
        # On the event loop: neither call blocks, and a thread would compete with the next request.
        if found := documents():
            self.event_hub.publish(found)
        self.coordinator.wake()


def services_of(connection: HTTPConnection) -> Services:
    """The services of the application that answers this request."""
    services = connection.app.state.services
    assert isinstance(services, Services)
    return services


async def guard(connection: HTTPConnection) -> None:
    """Dependency of the whole application: lets a request in whose caller may use its route.

    WebSockets pass: they are accepted first, and then refused in words by `admit`.
    """
    if connection.scope["type"] == "http":
        await admit(connection)


async def admit(connection: HTTPConnection) -> None:
    """Raise `AuthenticationError` or `PermissionDeniedError` unless the caller may use this route."""
    rule = RULES[connection.scope["route"].path]
    scope = rule.scope_of(connection.scope.get("method", "GET"))
    if scope is not None:
        await services_of(connection).gate.admit(connection, scope)


async def owner_of(connection: HTTPConnection, asked: str | None) -> str:
    """The owner whose records this connection may see: the caller, or the user whom an admin names."""
    owner = await services_of(connection).gate.owner_of(identity_of(connection), asked)
    connection.scope["state"]["owner"] = owner
    return owner


async def until_access_ends(connection: HTTPConnection) -> None:
    """Raise `StreamClosed` once the key or the session of a stream's caller is not valid any more."""
    await services_of(connection).gate.until_ended(identity_of(connection))
    raise StreamClosed(CloseReason.ACCESS_ENDED, "The API key or the session is not valid any more.")


@dataclass(frozen=True)
class CallerContext:
    """The owner who makes a request, and the services that answer it."""

    services: Services
    owner: str
    """Whose records the request is about."""
    identity: Identity
    """Who makes it."""

    async def call(
        self, function: Callable[Concatenate[Services, str, P], Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """Run a blocking `function(services, owner, ...)` beside the event loop."""
        return await in_thread(function, self.services, self.owner, *args, **kwargs)


Owner = Annotated[str | None, Query(alias=OWNER, max_length=63, description="Another owner, for admins.")]


async def _caller_of(request: Request, owner: Owner = None) -> CallerContext:
    return CallerContext(services_of(request), await owner_of(request, owner), identity_of(request))


Caller = Annotated[CallerContext, Depends(_caller_of)]
"""Parameter of routes: the owner for whom they act, with the services."""
