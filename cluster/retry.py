"""What follows an attempt that ended: pure, by the class of its reason."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ftlab.life import RETRY_CLASSES, ReasonCode, RetryClass

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0


@dataclass(frozen=True)
class Retry:
    """Queue the job again; it may start from `not_before` on."""

    not_before: datetime
    retries_used: int


@dataclass(frozen=True)
class GiveUp:
    reason: ReasonCode
    message: str


def after_attempt(
    reason: ReasonCode, message: str, *, retries_used: int, max_retries: int, now: datetime
) -> Retry | GiveUp:
    """Decide by `RETRY_CLASSES`; a counted retry waits twice as long as the one before, up to a minute."""
    match RETRY_CLASSES[reason]:
        case RetryClass.NEVER:
            return GiveUp(reason, message)
        case RetryClass.FREE:
            return Retry(now, retries_used)  # at once: the job keeps its place in the queue
        case RetryClass.BUDGET if retries_used >= max_retries:
            tries = "once" if retries_used == 0 else f"{retries_used + 1} times"
            return GiveUp(
                ReasonCode.RETRY_BUDGET_EXHAUSTED,
                f"Tried {tries}; the last attempt ended with {reason.value}: {message}",
            )
    backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**retries_used)
    return Retry(now + timedelta(seconds=backoff_s), retries_used + 1)
