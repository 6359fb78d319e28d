"""The loop of a process that follows the event log; it slows down while a service that it needs is unavailable."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from ftlab.backoff import backoff_s
from ftlab.errors import ServiceUnavailableError

retry_after_s = partial(backoff_s, first_s=1.0, longest_s=30.0)


def repeat(
    make_pass: Callable[[], float], stop: threading.Event, logger: logging.Logger, *, paused: str, resumed: str
) -> None:
    """Make passes until `stop` is set; each returns the seconds until the next one.

    A pass that raises `ServiceUnavailableError` is tried again later. `paused` and `resumed` are what the log says at
    the beginning and at the end of such an outage.
    """
    num_failures = 0
    while not stop.is_set():
        try:
            pause_s = make_pass()
        except ServiceUnavailableError as error:
            if num_failures == 0:
                logger.warning("%s: %s", paused, error)
            num_failures += 1
            stop.wait(retry_after_s(num_failures))
        else:
            if num_failures:
                logger.info(resumed)
            num_failures = 0
            if pause_s:
                stop.wait(pause_s)
