"""The async client, with its smaller resources."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx2

from ftlab.client._async.accounts import AsyncKeys, AsyncUsers
from ftlab.client._async.chains import AsyncChains
from ftlab.client._async.chat import AsyncChat
from ftlab.client._async.costs import AsyncCosts
from ftlab.client._async.datasets import AsyncDatasets
from ftlab.client._async.evaluations import AsyncEvaluations
from ftlab.client._async.exports import AsyncExports
from ftlab.client._async.jobs import AsyncJobs
from ftlab.client._async.notifications import AsyncNotifications
from ftlab.client._async.sweeps import AsyncSweeps
from ftlab.client._async.templates import AsyncTemplates
from ftlab.client._async.transport import AsyncTransport
from ftlab.client.endpoint import RetryPolicy, find_endpoint
from ftlab.client.retry import Retries
from ftlab.client.wire import MAX_PAGE, Listing, Request, key_for_retries, segment
from ftlab.errors import NotFoundError
from ftlab.schemas import ModelCheck, NodeStatus, Page, Queue, Quota, ServiceInfo, TunedModel
from ftlab.schemas.accounts import AuditEntry, Session
from ftlab.schemas.disk import DiskReport
from ftlab.schemas.replies import DeviceUse, JobSeries, ModelPrune
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
        http_transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        policy = retry or RetryPolicy()
        if max_retries is not None:
            policy = replace(policy, max_retries=max_retries)
        endpoint = find_endpoint(base_url, api_key, owner, timeout_s, policy)
        self._transport = AsyncTransport(endpoint, http=http_transport)
        self.jobs = AsyncJobs(self._transport)
        self.chains = AsyncChains(self._transport)
        self.datasets = AsyncDatasets(self._transport)
        self.templates = AsyncTemplates(self._transport)
        self.models = AsyncModels(self._transport)
        self.evaluations = AsyncEvaluations(self._transport)
        self.exports = AsyncExports(self._transport)
        self.sweeps = AsyncSweeps(self._transport)
        self.chat = AsyncChat(self._transport)
        self.notifications = AsyncNotifications(self._transport)
        self.costs = AsyncCosts(self._transport)
        self.quota = AsyncQuotas(self._transport)
        self.users = AsyncUsers(self._transport)
        self.keys = AsyncKeys(self._transport)

    @property
    def base_url(self) -> str:
        return self._transport.endpoint.base_url

    async def queue(self, *, after: str | None = None, limit: int = MAX_PAGE) -> Queue:
        """The running jobs and the first waiting jobs; `after` is the `next_cursor` of the previous page."""
        return await self._transport.read(
            Queue, Request("GET", "/api/training/queue", {"after": after, "limit": limit})
        )

    async def series(
        self, jobs: Sequence[str], names: str | Sequence[str] | None = None, max_points: int | None = None
    ) -> Sequence[JobSeries]:
        """Metric series of up to 100 jobs at once, by job id and name; `names` is one name or several, default `loss`.

        Jobs that do not exist are left out.
        """
        wanted = [names] if isinstance(names, str) else names
        params = {"job": list(jobs), "name": wanted, "max_points": max_points}
        return await self._transport.items(Listing[JobSeries], Request("GET", "/api/training/metrics", params))

    async def nodes(self) -> Sequence[NodeStatus]:
        """The machines of the service, with their GPUs, their newest samples and the jobs on them.

        Raises `ServiceUnavailableError` while nothing knows them, shortly after the service has started.
        """
        return await self._transport.items(Listing[NodeStatus], Request("GET", "/api/nodes"))

    async def node_history(
        self,
        node: str,
        names: str | Sequence[str] | None = None,
        *,
        after: datetime | None = None,
        until: datetime | None = None,
        max_points: int | None = None,
    ) -> NodeHistory:
        """The load of a machine and its GPUs over time, of the last 30 days, at most `max_points` points for each.

        `names` is one name or several, such as `cpu_percent`. Raises `NotFoundError` for a machine that was never
        measured.
        """
        wanted = [names] if isinstance(names, str) else names
        params = {"name": wanted, "after": after, "until": until, "max_points": max_points}
        return await self._transport.read(NodeHistory, Request("GET", f"/api/nodes/{segment(node)}/history", params))

    async def restore_device(self, node: str, device: str) -> None:
        """Give a GPU, such as `gpu-0`, that was taken out to jobs again; for admins.

        Raises `NotFoundError` where it is not out.
        """
        path = f"/api/nodes/{segment(node)}/devices/{segment(device)}/restore"
        retries = Retries(self._transport.endpoint, Request("POST", path, may_repeat=True))
        try:
            await self._transport.exchange(retries)
        except NotFoundError:
            # The first try may have done what a later one is refused for.
            if not retries.was_repeated:
                raise

    async def devices(self) -> Sequence[DeviceUse]:
        """The devices by type: how many there are, how many jobs hold, and how many are free."""
        return await self._transport.items(Listing[DeviceUse], Request("GET", "/api/training/devices"))

    async def disk(self) -> DiskReport:
        """What takes up the disk: yours by kind, what all owners share, and your largest jobs."""
        return await self._transport.read(DiskReport, Request("GET", "/api/disk"))

    async def health(self) -> dict[str, Any]:
        """Raises `UnreachableError` when nothing answers."""
        return await self._transport.read(dict[str, Any], Request("GET", "/health", is_probe=True))

    async def ready(self) -> dict[str, Any]:
        """Raises `ServiceUnavailableError` while a component of the service is unavailable."""
        return await self._transport.read(dict[str, Any], Request("GET", "/ready", is_probe=True))

    async def info(self) -> ServiceInfo:
        """The addresses of the service's MLflow and Ray dashboard, and its version."""
        return await self._transport.read(ServiceInfo, Request("GET", "/api/info"))

    async def session(self) -> Session:
        """Who you are, and what your key allows. Raises `AuthenticationError` without a valid key."""
        return await self._transport.read(Session, Request("GET", "/api/session"))

    def audit(self, *, user: str | None = None, limit: int | None = None) -> AsyncIterator[AuditEntry]:
        """Who did what, newest first, fetched page by page; for admins."""
        return self._transport.pages(Page[AuditEntry], Request("GET", "/api/audit", {"user": user}), limit)

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class AsyncModels:
    """Tuned models."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def list(self, limit: int | None = None) -> AsyncIterator[TunedModel]:
        """Models, newest first, fetched page by page."""
        return self._transport.pages(Page[TunedModel], Request("GET", "/api/models"), limit)

    async def get(self, model_id: str) -> TunedModel:
        return await self._transport.read(TunedModel, Request("GET", f"/api/models/{segment(model_id)}"))

    async def pin(self, model_id: str, *, is_pinned: bool = True) -> TunedModel:
        """Keep a model until it is unpinned, or let it be deleted again with `is_pinned=False`.

        Raises `NotFoundError`.
        """
        request = Request("PATCH", f"/api/models/{segment(model_id)}", document={"is_pinned": is_pinned})
        return await self._transport.read(TunedModel, request)

    async def check(self, ref: str) -> ModelCheck:
        """What a job with this model would start from: `org/name`, a path, `job:ID` or `model:ID`, or names for ids.

        Raises what a submission raises: `NotFoundError`, `PermissionDeniedError` for a gated model, and
        `InvalidRequestError` for one that cannot be trained.
        """
        request = Request("POST", "/api/models/check", document={"model": ref}, idempotency_key=key_for_retries())
        return await self._transport.read(ModelCheck, request)

    async def prune(
        self,
        models: Collection[str] = (),
        *,
        older_than_days: float = 0.0,
        keep_newest: int = 1,
        keep_best: bool = True,
        dry_run: bool = False,
    ) -> ModelPrune:
        """Delete these models, by default all of yours that a rule names; with `dry_run`, only list them.

        The newest and the best of each base model stay, and those that are still needed. Raises `NotFoundError`.
        """
        document = {
            "models": list(models),
            "older_than_days": older_than_days,
            "keep_newest": keep_newest,
            "keep_best": keep_best,
            "dry_run": dry_run,
        }
        request = Request("POST", "/api/models/prune", document=document, may_repeat=dry_run)
        return await self._transport.read(ModelPrune, request)


class AsyncQuotas:
    """Your quota: limits and usage."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self) -> Quota:
        """Your limits and your current usage."""
        return await self._transport.read(Quota, Request("GET", "/api/quota"))

    async def set(self, **limits: float | None) -> Quota:
        """Change your limits, such as `max_queued_jobs=20`; `None` restores the service's setting.

        Raises `InvalidRequestError` for a limit that does not exist.
        """
        return await self._transport.read(Quota, Request("PUT", "/api/quota", document=limits))
