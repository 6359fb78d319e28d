"""Who asks."""

from starlette.requests import HTTPConnection

LOCAL_OWNER = "local"
"""The one owner of a service without API keys."""


def current_owner(connection: HTTPConnection) -> str:
    """The owner whose records this request may see."""
    return LOCAL_OWNER
