"""The SDK: `Client` and `AsyncClient`.

The async client is written by hand in `_async`; `scripts/unasync.py` generates the blocking one in `_sync` from it.
Code that needs no connection is shared by both. `AsyncClient` is imported on first use, because the command line does
not need it.
"""

from typing import TYPE_CHECKING, Any

from ftlab.client._sync.client import Client
from ftlab.client.endpoint import RetryPolicy

if TYPE_CHECKING:
    from ftlab.client._async.client import AsyncClient

__all__ = ["AsyncClient", "Client", "RetryPolicy"]


def __getattr__(name: str) -> Any:
    if name == "AsyncClient":
        from ftlab.client._async.client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module 'ftlab.client' has no attribute {name!r}")
