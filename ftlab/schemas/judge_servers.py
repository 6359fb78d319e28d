"""The models that the settings list as judges; only the settings know their addresses."""

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ftlab.schemas.common import StrictModel

JUDGE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class JudgeServer(StrictModel):
    """A judge as the settings describe it."""

    url: str = Field(min_length=1, max_length=2048)
    """Address of an OpenAI-compatible API, such as `https://api.example.com/v1`."""
    model: str = Field(min_length=1, max_length=512)
    """Name of the model there."""
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")
    """Environment variable of the service that holds the API key; `None` for an API without keys."""
    max_concurrency: int = Field(default=4, ge=1, le=64)
    """Requests of one evaluation at a time."""
    timeout_s: float = Field(default=60.0, gt=0.0, le=600.0)
    """Seconds that one request may take."""
    max_tokens: int = Field(default=512, ge=16, le=32_768)
    """Most tokens of a reply."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        """No message repeats the URL: somebody may have put a password into it."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must look like https://api.example.com/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("url must hold a host, a port and a path only; key_env names the variable with the key")
        return url.rstrip("/")
