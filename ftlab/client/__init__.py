"""The SDK: `Client` and `AsyncClient`.

The async client is written by hand in `_async`; `scripts/unasync.py` generates the blocking one in `_sync` from it.
What needs no connection is shared and lives beside them. `AsyncClient` is imported when it is first used: the command
line does without it.
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
