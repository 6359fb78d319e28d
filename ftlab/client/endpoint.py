"""The service as a client sees it: its address, and how long to retry."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ftlab.errors import InvalidRequestError
from ftlab.settings import LOOPBACK_HOSTS, load_settings


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often a request is tried again."""

    budget_s: float = 60.0
    """Seconds of failures after which a request fails for good. A restarting proxy is unavailable for up to 30 s."""
    first_contact_s: float | None = None
    """The budget while the service has never answered; default: `budget_s`."""
    max_retries: int | None = None
    """Tries after the first; default: as many as the budget allows."""
    first_delay_s: float = 0.25
    max_delay_s: float = 5.0

    def delay_s(self, num_failures: int, jitter: float) -> float:
        """Seconds to wait after `num_failures` failures; `jitter` in 0..1 takes up to half of it away."""
        longest = min(self.max_delay_s, self.first_delay_s * 2.0 ** min(num_failures - 1, 30))
        return longest * (1.0 - jitter / 2)


@dataclass
class Endpoint:
    """One service at one address. `clock` counts seconds, `jitter` gives a number in 0..1."""

    base_url: str
    api_key: str | None
    policy: RetryPolicy
    timeout_s: float = 30.0
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    owner: str | None = None
    """The user for whom an admin acts; default: the key's own."""
    has_answered: bool = False

    @property
    def budget_s(self) -> float:
        """The retry budget of a request that starts now."""
        first = self.policy.first_contact_s
        return self.policy.budget_s if self.has_answered or first is None else first

    @property
    def is_loopback(self) -> bool:
        return urlsplit(self.base_url).hostname in LOOPBACK_HOSTS

    @property
    def socket_url(self) -> str:
        return "ws" + self.base_url.removeprefix("http")

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        headers = {"user-agent": "ftlab-python"}
        return headers | {"authorization": f"Bearer {self.api_key}"} if self.api_key else headers


def find_endpoint(
    base_url: str | None, api_key: str | None, owner: str | None, timeout_s: float, policy: RetryPolicy
) -> Endpoint:
    """Fill what is not given from the settings.

    Raises `InvalidRequestError` for an address or a key that can never work.
    """
    if base_url is None or api_key is None:
        settings = load_settings(with_login=True)
        base_url = settings.server_url if base_url is None else base_url
        api_key = settings.api_key if api_key is None else api_key
        owner = settings.owner if owner is None else owner
    if not _is_address(base_url):
        raise InvalidRequestError(
            f"The service's address must look like 'http://host:8000', not like {base_url!r}.",
            "invalid_setting",
            "server",
        )
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise InvalidRequestError("The API key contains invalid characters.", "invalid_setting", "api_key")
    return Endpoint(base_url.rstrip("/"), api_key or None, policy, timeout_s, owner=owner or None)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_complete and (parts.hostname in LOOPBACK_HOSTS or _is_host(url))


def _is_host(url: str) -> bool:
    """Whether the host can be looked up: only the connection would refuse it, and not as one that failed."""
    import httpx2

    try:
        httpx2.URL(url).raw_host.decode("ascii").encode("idna")
    except (ValueError, httpx2.InvalidURL):
        return False
    return True
