"""The async client. A resource, and the type of a reply, is imported when it is first used."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.endpoint import RetryPolicy, find_endpoint
from ftlab.client.wire import MAX_PAGE, Listing, Request, segment

if TYPE_CHECKING:
    import httpx2

    from ftlab.client._async.accounts import AsyncKeys, AsyncUsers
    from ftlab.client._async.chains import AsyncChains
    from ftlab.client._async.chat import AsyncChat
    from ftlab.client._async.costs import AsyncCosts
    from ftlab.client._async.datasets import AsyncDatasets
    from ftlab.client._async.evaluations import AsyncEvaluations
    from ftlab.client._async.exports import AsyncExports
    from ftlab.client._async.jobs import AsyncJobs
    from ftlab.client._async.models import AsyncModels, AsyncQuotas
    from ftlab.client._async.notifications import AsyncNotifications
    from ftlab.client._async.sweeps import AsyncSweeps
    from ftlab.client._async.templates import AsyncTemplates
    from ftlab.schemas import NodeStatus, Queue, ServiceInfo
    from ftlab.schemas.accounts import AuditEntry, Session
    from ftlab.schemas.disk import DiskReport
    from ftlab.schemas.replies import DeviceUse, JobSeries
    from ftlab.schemas.telemetry import NodeHistory


class AsyncClient:
    """Async client of a FineTune Lab service. Tasks of one event loop may share one.

    `base_url` and `api_key` default to the settings. With `owner`, an admin acts for another user. `retry` says how
    long a request is tried again, and `max_retries` limits the number of tries as well. `http_transport` sends the
    requests in place of connections over the network. Use it as a context manager, or await `close`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        owner: str | None = None,
        http_transport: "httpx2.AsyncBaseTransport | None" = None,
    ) -> None:
        policy = retry or RetryPolicy()
        if max_retries is not None:
            policy = replace(policy, max_retries=max_retries)
        endpoint = find_endpoint(base_url, api_key, owner, timeout_s, policy)
        self._transport = AsyncTransport(endpoint, http=http_transport)

    @cached_property
    def jobs(self) -> "AsyncJobs":
        from ftlab.client._async.jobs import AsyncJobs

        return AsyncJobs(self._transport)

    @cached_property
    def chains(self) -> "AsyncChains":
        from ftlab.client._async.chains import AsyncChains

        return AsyncChains(self._transport)

    @cached_property
    def datasets(self) -> "AsyncDatasets":
        from ftlab.client._async.datasets import AsyncDatasets

        return AsyncDatasets(self._transport)

    @cached_property
    def templates(self) -> "AsyncTemplates":
        from ftlab.client._async.templates import AsyncTemplates

        return AsyncTemplates(self._transport)

    @cached_property
    def models(self) -> "AsyncModels":
        from ftlab.client._async.models import AsyncModels

        return AsyncModels(self._transport)

    @cached_property
    def evaluations(self) -> "AsyncEvaluations":
        from ftlab.client._async.evaluations import AsyncEvaluations

        return AsyncEvaluations(self._transport)

    @cached_property
    def exports(self) -> "AsyncExports":
        from ftlab.client._async.exports import AsyncExports

        return AsyncExports(self._transport)

    @cached_property
    def sweeps(self) -> "AsyncSweeps":
        from ftlab.client._async.sweeps import AsyncSweeps

        return AsyncSweeps(self._transport)

    @cached_property
    def chat(self) -> "AsyncChat":
        from ftlab.client._async.chat import AsyncChat

        return AsyncChat(self._transport)

    @cached_property
    def notifications(self) -> "AsyncNotifications":
        from ftlab.client._async.notifications import AsyncNotifications

        return AsyncNotifications(self._transport)

    @cached_property
    def costs(self) -> "AsyncCosts":
        from ftlab.client._async.costs import AsyncCosts

        return AsyncCosts(self._transport)

    @cached_property
    def quota(self) -> "AsyncQuotas":
        from ftlab.client._async.models import AsyncQuotas

        return AsyncQuotas(self._transport)

    @cached_property
    def users(self) -> "AsyncUsers":
        from ftlab.client._async.accounts import AsyncUsers

        return AsyncUsers(self._transport)

    @cached_property
    def keys(self) -> "AsyncKeys":
        from ftlab.client._async.accounts import AsyncKeys

        return AsyncKeys(self._transport)

    @property
    def base_url(self) -> str:
        return self._transport.endpoint.base_url

    async def queue(self, *, after: str | None = None, limit: int = MAX_PAGE) -> "Queue":
        """The running jobs and the first waiting jobs; `after` is the `next_cursor` of the previous page."""
        from ftlab.schemas import Queue

        return await self._transport.read(
            Queue, Request("GET", "/api/training/queue", {"after": after, "limit": limit})
        )

    async def series(
        self, jobs: Sequence[str], names: str | Sequence[str] | None = None, max_points: int | None = None
    ) -> "Sequence[JobSeries]":
        """Metric series of up to 100 jobs at once, by job id and name; `names` is one name or several, default `loss`.

        Jobs that do not exist are left out.
        """
        from ftlab.schemas.replies import JobSeries

        wanted = [names] if isinstance(names, str) else names
        params = {"job": list(jobs), "name": wanted, "max_points": max_points}
        return await self._transport.items(Listing[JobSeries], Request("GET", "/api/training/metrics", params))

    async def nodes(self) -> "Sequence[NodeStatus]":
        """The machines of the service, with their GPUs, their newest samples and the jobs on them.

        Raises `ServiceUnavailableError` while nothing knows them, shortly after the service has started.
        """
        from ftlab.schemas import NodeStatus

        return await self._transport.items(Listing[NodeStatus], Request("GET", "/api/nodes"))

    async def node_history(
        self,
        node: str,
        names: str | Sequence[str] | None = None,
        *,
        after: datetime | None = None,
        until: datetime | None = None,
        max_points: int | None = None,
    ) -> "NodeHistory":
        """The load of a machine and its GPUs over time, of the last 30 days, at most `max_points` points for each.

        `names` is one name or several, such as `cpu_percent`. Raises `NotFoundError` for a machine that was never
        measured.
        """
        from ftlab.schemas.telemetry import NodeHistory

        wanted = [names] if isinstance(names, str) else names
        params = {"name": wanted, "after": after, "until": until, "max_points": max_points}
        return await self._transport.read(NodeHistory, Request("GET", f"/api/nodes/{segment(node)}/history", params))

    async def restore_device(self, node: str, device: str) -> None:
        """Give a GPU, such as `gpu-0`, that was taken out to jobs again; for admins.

        Raises `NotFoundError` where it is not out.
        """
        path = f"/api/nodes/{segment(node)}/devices/{segment(device)}/restore"
        await self._transport.exchange_unrepeatable(Request("POST", path, may_repeat=True))

    async def devices(self) -> "Sequence[DeviceUse]":
        """The devices by type: how many there are, how many jobs hold, and how many are free."""
        from ftlab.schemas.replies import DeviceUse

        return await self._transport.items(Listing[DeviceUse], Request("GET", "/api/training/devices"))

    async def disk(self) -> "DiskReport":
        """What takes up the disk: yours by kind, what all owners share, and your largest jobs."""
        from ftlab.schemas.disk import DiskReport

        return await self._transport.read(DiskReport, Request("GET", "/api/disk"))

    async def health(self) -> dict[str, Any]:
        """Raises `UnreachableError` when nothing answers."""
        return await self._transport.read(dict[str, Any], Request("GET", "/health", is_probe=True))

    async def ready(self) -> dict[str, Any]:
        """Raises `ServiceUnavailableError` while a component of the service is unavailable."""
        return await self._transport.read(dict[str, Any], Request("GET", "/ready", is_probe=True))

    async def info(self) -> "ServiceInfo":
        """The addresses of the service's MLflow and Ray dashboard, and its version."""
        from ftlab.schemas import ServiceInfo

        return await self._transport.read(ServiceInfo, Request("GET", "/api/info"))

    async def session(self) -> "Session":
        """Who you are, and what your key allows. Raises `AuthenticationError` without a valid key."""
        from ftlab.schemas.accounts import Session

        return await self._transport.read(Session, Request("GET", "/api/session"))

    def audit(self, *, user: str | None = None, limit: int | None = None) -> "AsyncIterator[AuditEntry]":
        """Who did what, newest first, fetched page by page; for admins."""
        from ftlab.schemas import Page
        from ftlab.schemas.accounts import AuditEntry

        return self._transport.pages(Page[AuditEntry], Request("GET", "/api/audit", {"user": user}), limit)

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
