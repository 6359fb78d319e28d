"""The client of the coordinator, with Ray played by a stand-in."""

import threading
from types import SimpleNamespace

import pytest

from cluster import coordinator_client, named_actor
from cluster.coordinator_client import RayCoordinatorClient

TIMEOUT_S = 5.0


class Coordinator:
    """An actor as the client sees it; each call passes a gate, so that a test decides how long it takes."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.arrived = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.wake = SimpleNamespace(remote=lambda: self._called("wake"))
        self.hurry = SimpleNamespace(remote=lambda: self.calls.append("hurry"))

    def _called(self, method: str) -> None:
        self.calls.append(method)
        self.arrived.release()
        assert self.gate.acquire(timeout=TIMEOUT_S)


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    actor = Coordinator()
    monkeypatch.setattr(named_actor.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(named_actor.ray, "get_actor", lambda name, namespace: actor)
    return actor


def test_a_caller_never_waits_and_a_burst_is_few_calls(actor: Coordinator) -> None:
    client = RayCoordinatorClient()
    client.wake()
    assert actor.arrived.acquire(timeout=TIMEOUT_S)
    for _ in range(100):
        client.wake()  # returns, although the first call hangs
    actor.gate.release()
    assert actor.arrived.acquire(timeout=TIMEOUT_S)
    actor.gate.release()
    assert not actor.arrived.acquire(timeout=5 * coordinator_client.LINGER_S)
    assert actor.calls == ["wake", "wake"]


def test_the_end_of_an_attempt_is_told_at_once(actor: Coordinator) -> None:
    RayCoordinatorClient().hurry()
    assert actor.calls == ["hurry"]


def test_a_coordinator_that_is_away_is_looked_up_again(actor: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(name: str, namespace: str) -> Coordinator:
        raise ValueError("no such actor")

    client = RayCoordinatorClient()
    with monkeypatch.context() as patch:
        patch.setattr(named_actor.ray, "get_actor", away)
        client.hurry()
    client.hurry()
    assert actor.calls == ["hurry"]
