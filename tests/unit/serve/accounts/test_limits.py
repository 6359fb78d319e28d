"""Limits of keys: requests in a minute, open streams, and both over several replicas."""

from concurrent.futures import CancelledError
from contextlib import suppress

import pytest

from ftlab.errors import RateLimitError
from ftlab.schemas.accounts import Scope
from ftlab.settings import Settings
from serve.access.key_limits import KeyLimits
from tests.unit.serve.accounts.with_keys import add_key

JOBS = "/api/training/jobs"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path / "home", key_requests_per_minute=10, key_streams=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def num_allowed(limits: KeyLimits, key: str = "a", tries: int = 50) -> int:
    for number in range(tries):
        try:
            limits.count_request(key)
        except RateLimitError:
            return number
    return tries


def test_a_flood_of_one_key_is_refused_and_others_are_not(client, store):
    ann, bob = add_key(store, "ann", Scope.READ), add_key(store, "bob", Scope.READ)
    replies = [client.get(JOBS, headers=ann) for _ in range(30)]
    # A new minute may begin meanwhile.
    assert 10 <= sum(reply.status_code == 200 for reply in replies) <= 20
    refused = next(reply for reply in replies if reply.status_code != 200)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert client.get(JOBS, headers=bob).status_code == 200
    assert client.get("/health", headers=ann).status_code == 200


def test_the_next_minute_begins_anew(settings, clock):
    limits = KeyLimits(settings, clock)
    assert (num_allowed(limits), num_allowed(limits), num_allowed(limits, "b")) == (10, 0, 10)
    clock.now += 60
    assert num_allowed(limits) == 10


def test_replicas_count_together(settings, clock, store):
    one, two = KeyLimits(settings, clock), KeyLimits(settings, clock)
    assert (num_allowed(one, tries=6), num_allowed(two, tries=3)) == (6, 3)
    one.sync(store)
    two.sync(store)
    one.sync(store)
    assert (num_allowed(one), num_allowed(two)) == (1, 1)

    clock.now += 60
    assert num_allowed(two, tries=4) == 4
    two.sync(store)
    one.sync(store)
    assert num_allowed(one, tries=1) == 1
    one.sync(store)
    assert num_allowed(one) == 5


def test_streams_of_all_replicas_count_until_they_close_or_their_process_ends(settings, clock, store):
    one, two = KeyLimits(settings, clock), KeyLimits(settings, clock)
    with one.stream("a"):
        one.sync(store)
        two.count_request("a")
        two.sync(store)
        with pytest.raises(RateLimitError, match="1 live streams open"):
            two.check_stream("a")
        two.check_stream("b")
        clock.now += 31
        two.sync(store)
        two.check_stream("a")
    one.check_stream("a")


def test_a_stream_too_many_is_refused_in_words(client, store):
    ann = add_key(store, "ann", Scope.READ)
    # The first stream is still running when the test's client leaves.
    with suppress(CancelledError), client.websocket_connect("ws://127.0.0.1:8000/ws/training", headers=ann) as first:
        assert first.receive_json()["type"] == "open"
        with client.websocket_connect("ws://127.0.0.1:8000/ws/training", headers=ann) as second:
            assert second.receive_json()["error"]["code"] == "too_many_streams"
            assert second.receive()["code"] == 1013
        refused = client.get("/api/training/events/stream", headers=ann)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
        assert refused.headers["retry-after"] == "5"


def test_a_service_without_keys_has_no_limits(client):
    assert all(client.get(JOBS).status_code == 200 for _ in range(15))
