"""What follows a failed delivery."""

from datetime import timedelta

import pytest

from ftlab.schemas.notifications import ChannelType
from tests.unit.tracking.samples import NOW, later
from tracking.notifications.outcomes import DEAD_AFTER, LONGEST_WAIT_S, MAX_REFUSALS, Undeliverable, after_failure
from tracking.store.channels import ChannelRecord, DueDelivery

AWAY = Undeliverable("It is down.")


def due(num_failures=0, failing_since=None, num_tries=0):
    channel = ChannelRecord(
        owner="local",
        name="ops",
        type=ChannelType.WEBHOOK,
        url="https://example.com",
        secret="s",
        kinds=[],
        jobs=[],
        is_on=True,
        num_failures=num_failures,
        num_lost=0,
        failing_since=failing_since,
        last_error=None,
        last_sent_at=None,
        retry_at=None,
        created_at=NOW,
    )
    return DueDelivery(channel, 1, num_tries)


@pytest.mark.parametrize(
    ("num_failures", "jitter", "wait_s"),
    [(0, 1.0, 5), (0, 0.0, 2.5), (1, 1.0, 10), (5, 1.0, 160), (40, 1.0, 3600), (40, 0.5, 2700)],
)
def test_waits_double_and_are_spread(num_failures, jitter, wait_s):
    after = after_failure(due(num_failures), AWAY, now=NOW, jitter=jitter)
    assert after.retry_at == later(wait_s)
    assert (after.is_lost, after.is_dead) == (False, False)


@pytest.mark.parametrize(("asked_s", "wait_s"), [(90, 90), (1, 5), (10**9, LONGEST_WAIT_S)])
def test_a_pause_that_the_receiver_asks_for_is_kept(asked_s, wait_s):
    error = Undeliverable("It is busy.", retry_after_s=asked_s)
    assert after_failure(due(), error, now=NOW, jitter=1.0).retry_at == later(wait_s)


def test_what_is_refused_again_and_again_is_lost():
    refusal = Undeliverable("It is refused.", is_refusal=True)
    lost = [after_failure(due(tries, NOW, tries), refusal, now=NOW, jitter=1).is_lost for tries in range(MAX_REFUSALS)]
    assert lost == [False] * (MAX_REFUSALS - 1) + [True]
    assert not after_failure(due(99, NOW, 99), AWAY, now=NOW, jitter=1).is_lost, "an outage loses nothing"


@pytest.mark.parametrize(
    ("num_failures", "since", "is_dead"),
    [
        (50, DEAD_AFTER, True),
        (50, DEAD_AFTER - timedelta(seconds=1), False),
        (1, DEAD_AFTER * 9, False),
        (0, timedelta(), False),
    ],
)
def test_a_channel_that_fails_for_days_is_dead(num_failures, since, is_dead):
    assert after_failure(due(num_failures, NOW - since), AWAY, now=NOW, jitter=1).is_dead is is_dead


def test_a_receiver_that_is_gone_is_dead_at_once():
    assert after_failure(due(), Undeliverable("Gone.", is_gone=True), now=NOW, jitter=1).is_dead
