"""The async client."""

from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx2

from ftlab.client import calls
from ftlab.client.async_performer import AsyncPerformer
from ftlab.client.async_resources import AsyncDatasets, AsyncJobs, AsyncModels, AsyncQuotas, AsyncResource
from ftlab.client.connect import client_options
from ftlab.client.endpoint import RetryPolicy, find_endpoint
from ftlab.schemas import Queue


class AsyncClient(AsyncResource):
    """Talks to a FineTune Lab service. Tasks of one event loop may share one.

    The resources are those of `Client`, awaited.

    `base_url` and `api_key` default to the settings. `retry` says how long a request is tried again, and
    `max_retries` limits the number of tries as well. Use it as a context manager, or await `close`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        policy = retry or RetryPolicy()
        if max_retries is not None:
            policy = replace(policy, max_retries=max_retries)
        endpoint = find_endpoint(base_url, api_key, timeout_s, policy)
        super().__init__(endpoint, lambda: AsyncPerformer(self._http, endpoint))
        self._http = httpx2.AsyncClient(**client_options(endpoint))
        self.jobs = AsyncJobs(endpoint, self._performer)
        self.datasets = AsyncDatasets(endpoint, self._performer)
        self.models = AsyncModels(endpoint, self._performer)
        self.quota = AsyncQuotas(endpoint, self._performer)

    @property
    def base_url(self) -> str:
        return self._endpoint.base_url

    async def queue(self, *, after: str | None = None, limit: int = calls.MAX_PAGE) -> Queue:
        """What runs, and the first jobs that wait; `after` is the `next_cursor` of the page before."""
        return await self._call(calls.queue(after, limit))

    async def health(self) -> dict[str, Any]:
        """Raises `UnreachableError` when nothing answers."""
        return await self._call(calls.health())

    async def ready(self) -> dict[str, Any]:
        """Raises `ServiceUnavailableError` while a part of the service is away."""
        return await self._call(calls.ready())

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
