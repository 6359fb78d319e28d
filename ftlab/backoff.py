"""Pause before the next try."""


def backoff_s(num_failures: int, *, first_s: float, longest_s: float) -> float:
    """Seconds to wait after `num_failures` in a row: `first_s`, doubled with every further one, up to `longest_s`."""
    return min(longest_s, first_s * 2.0 ** min(num_failures - 1, 30))
