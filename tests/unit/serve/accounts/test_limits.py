"""Limits of keys: requests in a minute, uploads in an hour, open streams, and all of them over several replicas."""

from concurrent.futures import CancelledError
from contextlib import suppress

import pytest

from ftlab.errors import RateLimitError, ServiceUnavailableError
from ftlab.schemas.accounts import Scope
from ftlab.settings import Settings
from serve.access.key_limits import KeyLimits
from tests.support.clocks import Clock
from tests.unit.serve.accounts.with_keys import add_key
from tests.unit.serve.conftest import ROWS

JOBS = "/api/training/jobs"
FILE = ROWS * (700_000 // len(ROWS))


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(
        home=tmp_path / "home", key_requests_per_minute=10, key_streams=1, key_upload_bytes_per_hour=1_000_000
    )


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


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


def uploaded(limits: KeyLimits, num_bytes: int) -> bool:
    try:
        limits.count_upload("a", num_bytes)
    except RateLimitError:
        return False
    return True


def test_uploads_of_all_replicas_count_until_the_hour_ends(settings, clock, store):
    one, two = KeyLimits(settings, clock), KeyLimits(settings, clock)
    assert uploaded(one, 600_000)
    one.sync(store)
    assert uploaded(two, 300_000)
    two.sync(store)
    assert [uploaded(two, 100_001), uploaded(two, 100_000)] == [False, True]
    two.check_upload("b", 1_000_000)
    two.check_upload(None, 2_000_000)

    clock.now += 300  # nothing more has come, and the first replica is another process now
    two.sync(store)
    third = KeyLimits(settings, clock)
    third.count_request("a")
    third.sync(store)
    assert [uploaded(third, 1), uploaded(two, 1)] == [False, False]
    clock.now += 3600
    assert [uploaded(third, 1_000_000), uploaded(two, 1_000_000)] == [True, True]


def test_bytes_are_shared_although_the_minute_of_their_request_is_over(settings, clock, store):
    one, two = KeyLimits(settings, clock), KeyLimits(settings, clock)
    one.count_request("a")
    clock.now += 120
    assert uploaded(one, 1_000_000)
    one.sync(store)
    two.count_request("a")
    two.sync(store)
    assert not uploaded(two, 1)


def test_bytes_that_could_not_be_shared_are_shared_later(settings, clock, store, monkeypatch):
    one, two = KeyLimits(settings, clock), KeyLimits(settings, clock)
    assert uploaded(one, 1_000_000)

    def away() -> None:
        raise ServiceUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "begin", away)
        with pytest.raises(ServiceUnavailableError):
            one.sync(store)
    one.sync(store)
    two.count_request("a")
    two.sync(store)
    assert not uploaded(two, 1)


PATHS = {"POST": "/api/datasets", "PATCH": "/api/uploads/{upload}", "files": "/v1/files"}


@pytest.mark.parametrize("way", PATHS)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_upload_too_many_is_refused_and_another_key_is_not(client, store, way, is_chunked):
    ann, bob = add_key(store, "ann", Scope.TRAIN), add_key(store, "bob", Scope.TRAIN)
    first = client.post("/api/datasets", content=FILE[:600_000], headers=ann | {"x-filename": "a.jsonl"})
    assert first.status_code in (201, 422), first.text
    for key, expected in ((ann, 429), (bob, None)):
        reply = upload(client, key, way, is_chunked)
        assert (reply.status_code == 429) is (expected == 429), reply.text
        if expected == 429:
            assert reply.json()["error"]["code"] == "upload_rate_limited"
            assert 1 <= int(reply.headers["retry-after"]) <= 3600
            assert client.get(JOBS, headers=ann).status_code == 200


def upload(client, key, way, is_chunked):
    """600 kB as one upload."""
    content = FILE[:600_000]
    started = client.post("/api/uploads", json={"filename": "a.jsonl", "size_bytes": len(content)}, headers=key).json()
    path = PATHS[way].format(upload=started["id"])
    if way == "files":
        boundary = "b" * 20
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        content = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        key = key | {"content-type": f"multipart/form-data; boundary={boundary}"}
    else:
        key = key | {"x-filename": "a.jsonl", "upload-offset": "0"}
    method = "PATCH" if way == "PATCH" else "POST"
    sent = (content[at : at + 50_000] for at in range(0, len(content), 50_000)) if is_chunked else content
    return client.request(method, path, content=sent, headers=key)


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
