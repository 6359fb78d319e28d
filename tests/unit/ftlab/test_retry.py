"""Retries without a network and without time: the outcome of each try is scripted."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from ftlab import errors
from ftlab.client._sync.transport import Transport
from ftlab.client.endpoint import Endpoint, RetryPolicy
from ftlab.client.retry import Retries
from ftlab.client.wire import Fault, Request

GET = Request("GET", "/x")
POST = Request("POST", "/x")
SAFE_POST = Request("POST", "/x", idempotency_key="k")
OK = httpx2.Response(200, content=b"{}")
REFUSED = Fault("connection refused", was_sent=False)
CUT = Fault("cut")


class Script(Transport):
    """A connection with given outcomes, the last of which repeats for ever. Time passes in its sends and sleeps."""

    def __init__(self, outcomes, policy, send_takes_s):
        self.now = 100.0
        self.sleeps = []
        self._outcomes = list(outcomes)
        self._send_takes_s = send_takes_s
        endpoint = Endpoint("http://host", None, policy, clock=lambda: self.now, jitter=lambda: 0.0)
        super().__init__(endpoint, self._sleep)

    def send(self, request):
        self.now += self._send_takes_s
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, Fault):
            raise outcome
        return outcome

    def _sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds


def play(outcomes, request=GET, policy=None, deadline=None, send_takes_s=0.0):
    """Send a request until it succeeds or fails; return the reply or the error, and the sleeps."""
    script = Script(outcomes, policy or RetryPolicy(), send_takes_s)
    with closing(script):
        retries = Retries(script.endpoint, request, None if deadline is None else script.now + deadline)
        try:
            return script.exchange(retries), script.sleeps
        except errors.FineTuneLabError as error:
            return error, script.sleeps


def test_success_at_once():
    assert play([OK]) == (OK, [])


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_passing_statuses_are_tried_again_later_and_later(status):
    assert play([httpx2.Response(status)] * 6 + [OK]) == (OK, [0.25, 0.5, 1.0, 2.0, 4.0, 5.0])


@pytest.mark.parametrize("status", [400, 401, 403, 409, 413, 422])
def test_final_statuses_are_not(status):
    error, sleeps = play([httpx2.Response(status)])
    assert type(error) is errors.error_class(status)
    assert sleeps == []


@pytest.mark.parametrize("status", [404, 500])
def test_a_front_proxy_standing_in_is_not_the_last_word(status):
    ours = errors.error_class(status)("Ours.").to_wire()
    error, sleeps = play([httpx2.Response(status, content=json.dumps(ours).encode())])
    assert (error.message, sleeps) == ("Ours.", [])
    assert play([httpx2.Response(status, content=b"Path not found"), OK])[0] == OK


def test_an_outage_of_half_a_minute_is_outlived():
    total = 0.0
    outcomes = []
    while total < 30:
        outcomes.append(REFUSED)
        total += RetryPolicy().delay_s(len(outcomes), 0.0)
    assert play([*outcomes, OK])[0] == OK


def test_an_outage_that_hangs_is_outlived_too():
    result, _ = play([Fault("timeout"), OK], send_takes_s=30.0)
    assert result == OK


def test_a_request_that_takes_longer_than_the_budget_is_repeated():
    assert play([CUT, OK], send_takes_s=900.0)[0] == OK
    error, sleeps = play([CUT], send_takes_s=900.0)
    assert isinstance(error, errors.UnreachableError)
    assert len(sleeps) == 1


def test_a_host_that_takes_no_connection_has_the_time_of_the_tries_as_well():
    _, sleeps = play([REFUSED], policy=RetryPolicy(first_contact_s=5.0), send_takes_s=10.0)
    assert sleeps == []


def test_the_budget_ends_the_retries():
    error, sleeps = play([REFUSED])
    assert isinstance(error, errors.UnreachableError)
    assert 30 < sum(sleeps) <= 60


def test_first_contact_has_a_budget_of_its_own():
    _, sleeps = play([REFUSED], policy=RetryPolicy(first_contact_s=3.0))
    assert sum(sleeps) <= 3


def test_max_retries_ends_them_as_well():
    _, sleeps = play([REFUSED], policy=RetryPolicy(max_retries=2))
    assert len(sleeps) == 2


def test_retry_after_is_honoured():
    assert play([httpx2.Response(503, headers={"retry-after": "7"}), OK]) == (OK, [7.0])
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    _, [slept] = play([httpx2.Response(429, headers={"retry-after": at}), OK])
    assert 15 < slept <= 20


def test_retry_after_beyond_the_budget_is_not_waited_for():
    error, sleeps = play([httpx2.Response(503, headers={"retry-after": "3600"})])
    assert isinstance(error, errors.ServiceUnavailableError)
    assert sleeps == []


@pytest.mark.parametrize("text", ["", "soon", "-1", "Wed, 99 Foo"])
def test_retry_after_that_says_nothing_is_passed_over(text):
    assert play([httpx2.Response(503, headers={"retry-after": text}), OK]) == (OK, [0.25])


@pytest.mark.parametrize(("failure", "repeats"), [(REFUSED, True), (CUT, False), (httpx2.Response(503), False)])
def test_a_post_without_a_key_is_repeated_only_if_nothing_was_sent(failure, repeats):
    _, sleeps = play([failure, OK], POST)
    assert bool(sleeps) is repeats


@pytest.mark.parametrize("failure", [REFUSED, CUT, httpx2.Response(503)])
def test_a_post_with_a_key_is_repeated(failure):
    assert play([failure, OK], SAFE_POST)[0] == OK


def test_a_probe_is_sent_once():
    error, sleeps = play([REFUSED], Request("GET", "/health", is_probe=True))
    assert isinstance(error, errors.UnreachableError)
    assert sleeps == []


def test_a_deadline_is_kept():
    error, sleeps = play([REFUSED], deadline=4.0)
    assert isinstance(error, errors.WaitTimeoutError)
    assert sum(sleeps) <= 4


def test_jitter_shortens_by_up_to_half():
    policy = RetryPolicy()
    assert [policy.delay_s(3, jitter) for jitter in (0.0, 0.5, 1.0)] == [1.0, 0.75, 0.5]
    assert policy.delay_s(10_000, 0.0) == 5.0


def test_a_redirect_names_its_target():
    error, _ = play([httpx2.Response(307, headers={"location": "https://elsewhere"})])
    assert "https://elsewhere" in error.message
