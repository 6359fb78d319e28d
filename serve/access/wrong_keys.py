"""Wrong API keys, counted by the address that sends them.

A key has more than 200 random bits, so that guessing one is hopeless however fast; but somebody who tries should be
seen, and should not cost much. Each wrong key of an address is answered later than the one before, and after some in a
minute with 429. Valid keys are accepted all the while: others may share the address, behind a proxy for one.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

from ftlab.errors import AuthenticationError, RateLimitError
from ftlab.settings import Settings
from serve.access.audit_trail import NOBODY, AuditTrail, address_of, entry_of
from serve.http.errors import RATE_WINDOW_S
from tracking.store.api_keys import KeyHolder

DELAY_STEP_S = 0.1
MAX_DELAY_S = 2.0
MAX_DELAYED = 100
"""Refusals that wait at the same time; further ones are sent at once, as each that waits takes up a request."""
MAX_ADDRESSES = 10_000
"""Addresses that are counted one by one in a minute; the others are counted together."""
OTHERS = "others"
IPV6_PREFIX = 64
"""Bits of an IPv6 address that one network has in common."""


class WrongKeys:
    """The counts of one API process. `clock` gives seconds since 1970."""

    def __init__(self, settings: Settings, trail: AuditTrail, clock: Callable[[], float] = time.time) -> None:
        self._max = settings.wrong_keys_per_minute
        self._trail = trail
        self._clock = clock
        self._window = 0
        self._counts: Counter[str] = Counter()
        self._num_delayed = 0

    async def refusal(
        self, connection: HTTPConnection, holder: KeyHolder | None
    ) -> AuthenticationError | RateLimitError:
        """The error for a request with a wrong key, after a while. `holder` is that of a key that has ended."""
        number = self._count(connection)
        if number <= self._max:
            error: AuthenticationError | RateLimitError = AuthenticationError(
                "The API key is wrong, revoked or expired, or its user is disabled."
            )
        else:
            error = RateLimitError(
                f"This address has sent more than {self._max} wrong API keys in this minute. The last one was wrong, "
                "revoked or expired too, or its user is disabled.",
                "too_many_wrong_keys",
            )
        if number <= self._max + 1:  # a flood must not fill the log
            user, key_id = (holder.key.owner, holder.key.id) if holder else (NOBODY, None)
            self._trail.add(entry_of(connection.scope, error.status, user=user, key_id=key_id, owner=user))
        await self._delay(min(MAX_DELAY_S, DELAY_STEP_S * (number - 1)))
        return error

    def _count(self, connection: HTTPConnection) -> int:
        """The number of wrong keys of this address in this minute."""
        window = int(self._clock() // RATE_WINDOW_S)
        if window != self._window:
            self._window = window
            self._counts.clear()
        network = network_of(address_of(connection.scope))
        if network not in self._counts and len(self._counts) >= MAX_ADDRESSES:
            network = OTHERS
        self._counts[network] += 1
        return self._counts[network]

    async def _delay(self, delay_s: float) -> None:
        if delay_s <= 0 or self._num_delayed >= MAX_DELAYED:
            return
        self._num_delayed += 1
        try:
            await asyncio.sleep(delay_s)
        finally:
            self._num_delayed -= 1


def network_of(address: str | None) -> str:
    """What is counted together: an IPv4 address, or the network of an IPv6 address, of which one machine has many."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or OTHERS
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)
