"""What follows an attempt that ended."""

from datetime import UTC, datetime, timedelta

import pytest

from cluster.policy.retry import GiveUp, Retry, after_attempt
from ftlab.status import ReasonCode

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COUNTED = {
    ReasonCode.WORKER_CRASHED,
    ReasonCode.WORKER_HUNG,
    ReasonCode.COLLECTIVE_ERROR,
    ReasonCode.GPU_LOST,
    ReasonCode.JUDGE_UNAVAILABLE,
}
FREE = {ReasonCode.NODE_LOST, ReasonCode.PREEMPTED, ReasonCode.SERVICE_RESTARTED}


def verdict(reason: ReasonCode, *, retries_used: int = 0, max_retries: int = 3) -> Retry | GiveUp:
    return after_attempt(reason, "It broke.", retries_used=retries_used, max_retries=max_retries, now=NOW)


@pytest.mark.parametrize("reason", sorted(COUNTED))
def test_a_crash_is_tried_again_and_counted(reason):
    assert verdict(reason, retries_used=1) == Retry(NOW + timedelta(seconds=2), 2)


@pytest.mark.parametrize("reason", sorted(COUNTED))
def test_a_crash_is_given_up_when_the_budget_is_spent(reason):
    assert verdict(reason, retries_used=3) == GiveUp(
        ReasonCode.RETRY_BUDGET_EXHAUSTED, f"Tried 4 times; the last attempt ended with {reason.value}: It broke."
    )


@pytest.mark.parametrize("reason", sorted(FREE))
def test_what_is_not_the_jobs_fault_is_not_counted(reason):
    assert verdict(reason, retries_used=3) == Retry(NOW, 3), "at once, so that it keeps its place in the queue"


@pytest.mark.parametrize("reason", sorted(set(ReasonCode) - COUNTED - FREE))
def test_everything_else_is_given_up_at_once(reason):
    assert verdict(reason) == GiveUp(reason, "It broke.")


def test_no_retries_means_one_try():
    given_up = verdict(ReasonCode.WORKER_CRASHED, max_retries=0)
    assert isinstance(given_up, GiveUp)
    assert given_up.message.startswith("Tried once;")


def test_every_retry_waits_twice_as_long_up_to_a_minute():
    waits = [
        (retry.not_before - NOW).total_seconds()
        for used in range(100)
        if isinstance(retry := verdict(ReasonCode.WORKER_CRASHED, retries_used=used, max_retries=100), Retry)
    ]
    assert waits == [1, 2, 4, 8, 16, 32] + [60] * 94
