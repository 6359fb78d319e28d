"""The SDK: `Client` and `AsyncClient`.

The async client is written by hand in `_async`; `scripts/unasync.py` generates the blocking one in `_sync` from it.
Code that needs no connection is shared by both.
"""

from ftlab.client._async.client import AsyncClient
from ftlab.client._sync.client import Client
from ftlab.client.endpoint import RetryPolicy

__all__ = ["AsyncClient", "Client", "RetryPolicy"]
