"""The sync client."""

from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx2

from ftlab.client import calls
from ftlab.client.connect import client_options
from ftlab.client.endpoint import RetryPolicy, find_endpoint
from ftlab.client.performer import Performer
from ftlab.client.resources import Datasets, Jobs, Models, Quotas, Resource
from ftlab.schemas import Queue


class Client(Resource):
    """Talks to a FineTune Lab service. Threads may share one.

    `base_url` and `api_key` default to the settings. `retry` says how long a request is tried again, and
    `max_retries` limits the number of tries as well. Use it as a context manager, or call `close`.
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
        super().__init__(endpoint, lambda: Performer(self._http, endpoint))
        self._http = httpx2.Client(**client_options(endpoint))
        self.jobs = Jobs(endpoint, self._performer)
        self.datasets = Datasets(endpoint, self._performer)
        self.models = Models(endpoint, self._performer)
        self.quota = Quotas(endpoint, self._performer)

    @property
    def base_url(self) -> str:
        return self._endpoint.base_url

    def queue(self, *, after: str | None = None, limit: int = calls.MAX_PAGE) -> Queue:
        """What runs, and the first jobs that wait; `after` is the `next_cursor` of the page before."""
        return self._call(calls.queue(after, limit))

    def health(self) -> dict[str, Any]:
        """Raises `UnreachableError` when nothing answers."""
        return self._call(calls.health())

    def ready(self) -> dict[str, Any]:
        """Raises `ServiceUnavailableError` while a part of the service is away."""
        return self._call(calls.ready())

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
