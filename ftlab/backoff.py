"""Pause before the next try."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def backoff_s(num_failures: int, *, first_s: float, longest_s: float) -> float:
    """Seconds to wait after `num_failures` in a row: `first_s`, doubled with every further one, up to `longest_s`."""
    return min(longest_s, first_s * 2.0 ** min(num_failures - 1, 30))


def retry_after_s(header: str | None) -> float | None:
    """Seconds that the header `Retry-After` asks for, as a number or as a date (RFC 9110, section 10.2.3).

    `None` without the header, and for one that is unreadable.
    """
    text = (header or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
