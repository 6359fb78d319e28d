"""The actor of the event hub, without Ray."""

import asyncio
import threading
from collections.abc import Mapping

import pytest

from cluster import event_hub_actor
from cluster.event_hub_actor import EventHubActor
from cluster.interfaces import FROM_NOW
from cluster.telemetry import collector
from cluster.telemetry.samples import NodeSamples, WatchedAttempts
from tracking.store import Store

WAIT_S = 30


def test_a_hub_whose_samplers_hang_delivers_events(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    may_start, has_collected = threading.Event(), threading.Event()

    class HangingSamplers:
        def __init__(self) -> None:
            may_start.wait(WAIT_S)

        def collect(self, watched: Mapping[str, WatchedAttempts]) -> list[NodeSamples]:
            if hub.newest():
                has_collected.set()
                threading.Event().wait()  # the collector makes no further tick
            return [NodeSamples("node-1", "alpha", ())]

    monkeypatch.setattr(event_hub_actor, "RaySamplers", HangingSamplers)
    monkeypatch.setattr(event_hub_actor, "NICENESS", 0)
    monkeypatch.setattr(collector, "TICK_S", 0.01)
    monkeypatch.setattr(event_hub_actor.Store, "open", lambda url: store)
    hub = EventHubActor()
    position, _ = asyncio.run(hub.listen(FROM_NOW))
    assert position > 0
    assert hub.newest() is None

    may_start.set()
    assert has_collected.wait(WAIT_S)
    assert hub.newest() == {"node-1": ("alpha", None)}
