"""Wrong keys: counted by address, answered later and then with 429, seen in the audit log; valid keys are served."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from ftlab.errors import AuthenticationError, RateLimitError
from ftlab.schemas.accounts import Scope
from ftlab.settings import Settings
from serve.access import audit_trail, wrong_keys
from serve.access.wrong_keys import WrongKeys, network_of
from tests.unit.serve.accounts.with_keys import add_key, bearer
from tests.unit.serve.refusals import code_of
from tests.unit.tracking.samples import NOW
from tracking.store.api_keys import new_key
from tracking.store.audit import AuditRecord

JOBS, SESSION, AUDIT = "/api/training/jobs", "/api/session", "/api/audit"


@pytest.fixture
def settings(settings) -> Settings:
    return settings.model_copy(update={"wrong_keys_per_minute": 3})


@pytest.fixture
def delays(monkeypatch) -> list[float]:
    """What the refusals would have waited."""
    waited: list[float] = []

    async def note(delay_s: float) -> None:
        waited.append(round(delay_s, 3))

    monkeypatch.setattr(wrong_keys, "asyncio", SimpleNamespace(sleep=note))
    return waited


@pytest.fixture
def minute(services) -> SimpleNamespace:
    """The clock of the service, which does not move by itself: no minute ends in the middle of a test."""
    clock = SimpleNamespace(now=1_800_000_000.0)
    services.gate._wrong_keys._clock = lambda: clock.now
    return clock


def test_guesses_are_slowed_and_then_refused_while_a_valid_key_is_served(client, store, minute, delays):
    ann = add_key(store, "ann", Scope.READ)
    wrong = [bearer(new_key()[1]) for _ in range(5)]
    assert [code_of(client.get(JOBS, headers=key)) for key in wrong[:3]] == [(401, "invalid_api_key")] * 3
    refused = client.get(JOBS, headers=wrong[3])
    assert code_of(refused) == (429, "too_many_wrong_keys")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert client.get(JOBS, headers=ann).status_code == 200
    assert code_of(client.post(SESSION, json={"key": "ftl_x"})) == (429, "too_many_wrong_keys")
    assert code_of(client.get("/v1/models", headers=wrong[4])) == (429, "too_many_wrong_keys")
    assert code_of(client.get(JOBS)) == (401, "missing_api_key")
    assert delays == [0.1, 0.2, 0.3, 0.4, 0.5]
    minute.now += 60
    assert code_of(client.get(JOBS, headers=wrong[0])) == (401, "invalid_api_key")


def test_wrong_keys_are_in_the_audit_log_without_the_key_and_a_flood_does_not_fill_it(
    client, services, store, minute, delays
):
    admin, ann = add_key(store, "root", Scope.ADMIN), add_key(store, "ann", Scope.READ)
    key_id = ann["authorization"].split("_")[1]
    with store.begin() as tx:
        tx.keys.revoke(key_id, now=NOW)
    secret = new_key(key_id)[1]
    client.post(SESSION, json={"key": secret})
    client.get(JOBS, headers=ann)
    for _ in range(20):
        client.post(JOBS, headers=bearer(secret), json={})
    services.trail.flush()

    listed = client.get(AUDIT, headers=admin)

    seen = [(each["user"], each["key_id"], each["action"], each["status"]) for each in listed.json()["data"]]
    assert seen == [
        ("-", None, f"POST {JOBS}", 429),
        ("-", None, f"POST {JOBS}", 401),
        ("ann", key_id, f"GET {JOBS}", 401),
        ("-", None, f"POST {SESSION}", 401),
    ]
    assert {each["address"] for each in listed.json()["data"]} == {"testclient"}
    assert secret.rpartition("_")[2] not in listed.text
    assert len(client.get(AUDIT, params={"user": "-"}, headers=admin).json()["data"]) == 3


def test_another_address_is_counted_by_itself(settings, services, delays):
    keys = WrongKeys(settings, services.trail, lambda: 1_800_000_000.0)

    def refusal(address: str):
        scope = {"type": "http", "client": (address, 1), "path": "/x", "method": "GET", "state": {}}
        return asyncio.run(keys.refusal(SimpleNamespace(scope=scope), None))

    assert [type(refusal("192.0.2.1")) for _ in range(4)] == [AuthenticationError] * 3 + [RateLimitError]
    assert type(refusal("192.0.2.2")) is AuthenticationError
    # One machine has all addresses of an IPv6 network.
    assert [type(refusal(f"2001:db8::{number}")) for number in range(4)][-1] is RateLimitError


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        (None, "others"),
    ],
)
def test_what_counts_as_one_address(address, network):
    assert network_of(address) == network


def test_a_flood_of_addresses_and_of_waiting_refusals_is_bounded(settings, services, monkeypatch):
    monkeypatch.setattr(wrong_keys, "MAX_ADDRESSES", 10)
    monkeypatch.setattr(wrong_keys, "MAX_DELAYED", 5)
    monkeypatch.setattr(wrong_keys, "DELAY_STEP_S", 0.2)
    keys = WrongKeys(settings, services.trail, lambda: 1_800_000_000.0)

    async def flood() -> float:
        scopes = [{"type": "http", "client": (f"192.0.2.{n % 250}", 1), "path": "/x", "state": {}} for n in range(300)]
        began = time.monotonic()
        waiting = [asyncio.create_task(keys.refusal(SimpleNamespace(scope=scope), None)) for scope in scopes]
        await asyncio.sleep(0.05)
        num_open = sum(not task.done() for task in waiting)
        assert num_open <= 5
        await asyncio.gather(*waiting)
        return time.monotonic() - began

    assert asyncio.run(flood()) < 10
    assert len(keys._counts) <= 11


def test_old_entries_are_removed_by_the_process_that_writes_them(client, services, store, monkeypatch):
    admin = add_key(store, "root", Scope.ADMIN)
    monkeypatch.setattr(audit_trail, "BATCH", 2)
    days = (900, 800, 700, 366, 364)
    with store.begin() as tx:
        tx.audit.add([_entry(f"act-{number}", datetime.now(UTC) - timedelta(days=number)) for number in days])
    client.put("/api/quota", json={"weight": 2.0}, headers=admin)
    services.trail.flush()
    services.trail.remove_old()
    assert [each["user"] for each in client.get(AUDIT, headers=admin).json()["data"]] == ["root", "ann"]


def test_the_service_removes_old_entries_by_itself(services, store, monkeypatch):
    monkeypatch.setattr(audit_trail, "INTERVAL_S", 0.01)
    with store.begin() as tx:
        tx.audit.add([_entry("act-old", datetime.now(UTC) - timedelta(days=400))])

    async def until_removed() -> None:
        running = asyncio.create_task(services.trail.run())
        deadline = time.monotonic() + 10
        while _num_entries(store):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(until_removed())


def _num_entries(store) -> int:
    with store.read() as tx:
        return len(tx.audit.list())


def _entry(entry_id: str, at: datetime) -> AuditRecord:
    return AuditRecord(entry_id, at, "ann", None, "ann", "POST /x", "/x", 200, None, None)
