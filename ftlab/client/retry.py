"""Retries: which failures are temporary, how long to wait, and which error to raise for the others."""

from dataclasses import replace
from typing import TypeVar

from pydantic import TypeAdapter

from ftlab.backoff import retry_after_s
from ftlab.client.endpoint import Endpoint
from ftlab.client.wire import Fault, Reply, Request
from ftlab.errors import FineTuneLabError, ServiceUnavailableError, UnreachableError, WaitTimeoutError, from_wire

T = TypeVar("T")
Failure = Fault | Reply

PASSING = frozenset({408, 429, 502, 503, 504})
"""Statuses of a service that cannot answer at the moment."""
STARTING = frozenset({404, 500})
"""Statuses with which a front proxy replies for a service that is being restarted. Our own replies with these
statuses carry our error shape, and are final."""


class Retries:
    """Count the failures of one request and decide after each. `deadline` is a time of the endpoint's clock."""

    def __init__(self, endpoint: Endpoint, request: Request, deadline: float | None = None) -> None:
        self.num_failures = 0
        self.endpoint = endpoint
        self._request = request
        self._deadline = deadline
        self._gives_up_at = 0.0
        self.restart()

    def restart(self) -> None:
        """Forget the failures, because some progress was made."""
        self.num_failures = 0
        self._begin_budget()

    @property
    def was_repeated(self) -> bool:
        """Whether an earlier try may have done what the last one found done."""
        return self.num_failures > 1

    def is_replay(self, reply: Reply) -> bool:
        """Whether a submission with the same idempotency key made it before, and not an earlier try of this one."""
        return reply.headers.get("idempotent-replay") == "true" and not self.was_repeated

    def limited_request(self) -> Request:
        """The request, whose own timeout does not reach beyond the deadline."""
        if self._deadline is None:
            return self._request
        left_s = max(0.1, self._deadline - self.endpoint.clock())
        timeout_s = self._request.timeout_s or self.endpoint.timeout_s
        return replace(self._request, timeout_s=min(timeout_s, left_s))

    def after(self, failure: Failure) -> float:
        """Seconds to wait before the next try; raise the failure's error when there is none."""
        was_lost = isinstance(failure, Fault) and not failure.was_sent
        if self.num_failures == 0 and not was_lost:
            # The service had the request, which may itself have taken longer than the budget.
            self._begin_budget()
        self.num_failures += 1
        self.endpoint.has_answered |= not isinstance(failure, Fault)
        error = _error_of(self.endpoint, self._request, failure)
        max_retries = self.endpoint.policy.max_retries
        may_repeat = not self._request.is_probe and (self._request.is_repeatable or was_lost)
        is_last = max_retries is not None and self.num_failures > max_retries
        if not may_repeat or is_last or not _passes(failure):
            raise error
        delay_s = self.endpoint.policy.delay_s(self.num_failures, self.endpoint.jitter())
        if not isinstance(failure, Fault):
            delay_s = max(delay_s, retry_after_s(failure.headers.get("retry-after")) or 0.0)
        next_try = self.endpoint.clock() + delay_s
        if self._deadline is not None and next_try > self._deadline:
            raise WaitTimeoutError(f"Timed out waiting for a reply. {error.message}") from error
        if next_try > self._gives_up_at:
            raise error
        return delay_s

    def read(self, shape: type[T], response: Reply) -> T:
        """The reply as a `shape`; raise `UnreachableError` for a reply that FineTune Lab would never send."""
        try:
            return TypeAdapter(shape).validate_json(response.content)
        except ValueError:
            where = f"its reply to {self._request.method} {self._request.path} cannot be read"
            raise _not_ours(self.endpoint, where) from None

    def _begin_budget(self) -> None:
        self._gives_up_at = self.endpoint.clock() + self.endpoint.budget_s


def _error_of(endpoint: Endpoint, request: Request, failure: Failure) -> FineTuneLabError:
    """The failure as one of the public errors."""
    where = endpoint.base_url
    if isinstance(failure, Fault):
        if not failure.was_sent:
            return UnreachableError(
                f"Nothing answers at {where} ({failure.reason}). Start the service with 'ftlab up', or set its address "
                "with --server or FTLAB_SERVER."
            )
        unsure = "" if request.is_repeatable else " It is not known whether the request took effect."
        return UnreachableError(f"The connection to {where} broke before the reply arrived ({failure.reason}).{unsure}")
    if _is_ours(failure):
        return from_wire(failure.status_code, failure.json())
    if failure.status_code in PASSING:
        return ServiceUnavailableError(
            f"The service at {where} is not ready (HTTP status {failure.status_code}); try again in a moment."
        )
    if 300 <= failure.status_code < 400:
        target = failure.headers.get("location", "another address")
        return UnreachableError(f"{where} redirects to {target}; use that address.")
    if failure.status_code in STARTING:
        return _not_ours(endpoint, f"HTTP status {failure.status_code}")
    return from_wire(failure.status_code, None)


def _not_ours(endpoint: Endpoint, what: str) -> UnreachableError:
    """The error for an answer that FineTune Lab would never give."""
    return UnreachableError(
        f"{endpoint.base_url} answers, but not like FineTune Lab ({what}): the service may still be starting,"
        " or this is another service's address."
    )


def _passes(failure: Failure) -> bool:
    if isinstance(failure, Fault):
        return True
    if failure.headers.get("x-should-retry") == "false":
        # A quota, for one, does not pass by waiting a moment.
        return False
    if failure.status_code in PASSING:
        return True
    return failure.status_code in STARTING and not _is_ours(failure)


def _is_ours(reply: Reply) -> bool:
    try:
        body = reply.json()
    except ValueError:
        return False
    return isinstance(body, dict) and isinstance(body.get("error"), dict)
