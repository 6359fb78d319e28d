"""The SDK: `Client` and `AsyncClient`."""

from ftlab.client.async_client import AsyncClient
from ftlab.client.endpoint import RetryPolicy
from ftlab.client.sync_client import Client

__all__ = ["AsyncClient", "Client", "RetryPolicy"]
