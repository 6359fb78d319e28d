"""How a delivery ends, and what follows. Pure functions.

| the receiver                       | the notification                       | the channel                            |
|------------------------------------|----------------------------------------|----------------------------------------|
| takes it                           | is delivered                           | works                                  |
| is down, slow, or asks to wait     | waits, with all that follow it         | waits 5, 10, 20, ... 3600 s            |
| refuses it                         | is lost after `MAX_REFUSALS` tries     | waits likewise                         |
| says that it is gone (410)         | is lost, with all that follow it       | is switched off                        |
| has failed for `DEAD_AFTER`        | is lost, with all that follow it       | is switched off, and its owner notified|
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ftlab.backoff import backoff_s

if TYPE_CHECKING:
    # Apprise's process starts for each message, and the store takes longer to import than all else in it.
    from tracking.store.channels import DueDelivery

FIRST_BACKOFF_S = 5.0
LONGEST_BACKOFF_S = 3600.0
LONGEST_WAIT_S = 24 * 3600.0
"""Longest wait that a receiver may ask for."""
MAX_REFUSALS = 5
DEAD_AFTER = timedelta(days=3)
MIN_FAILURES = 10
"""Consecutive failures before a channel counts as dead: one that is rarely used gets the chance too."""


class Undeliverable(Exception):
    """A delivery failed; the message is one sentence, without secrets and without what the receiver answered.

    `is_refusal` is set where the receiver answered and does not want this notification, `is_gone` where it wants none
    at all, and `retry_after_s` where it asked for a pause.
    """

    def __init__(
        self, message: str, *, is_refusal: bool = False, is_gone: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.is_refusal = is_refusal
        self.is_gone = is_gone
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class AfterFailure:
    """What follows a failed delivery."""

    retry_at: datetime
    failing_since: datetime
    is_lost: bool
    """The notification is not tried again."""
    is_dead: bool
    """The channel is switched off."""


def after_failure(due: "DueDelivery", error: Undeliverable, *, now: datetime, jitter: float) -> AfterFailure:
    """Decide what follows the failure of a delivery. `jitter`, 0 to 1, is drawn by the caller.

    Waits are spread over their second half, so that channels to one receiver do not come back all at once.
    """
    num_failures = due.channel.num_failures + 1
    failing_since = due.channel.failing_since or now
    wait_s = backoff_s(num_failures, first_s=FIRST_BACKOFF_S, longest_s=LONGEST_BACKOFF_S) * (0.5 + 0.5 * jitter)
    if error.retry_after_s is not None:
        wait_s = max(wait_s, min(error.retry_after_s, LONGEST_WAIT_S))
    return AfterFailure(
        retry_at=now + timedelta(seconds=wait_s),
        failing_since=failing_since,
        is_lost=error.is_refusal and due.num_tries + 1 >= MAX_REFUSALS,
        is_dead=error.is_gone or (num_failures >= MIN_FAILURES and now - failing_since >= DEAD_AFTER),
    )
