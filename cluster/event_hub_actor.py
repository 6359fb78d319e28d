"""The actor of the event hub, which also collects the telemetry: one process for two that mostly wait."""

import os
import threading

import ray

from cluster.events.event_hub import EventHub
from cluster.named_actor import start_actor
from cluster.names import EVENT_HUB
from cluster.telemetry.client import Newest
from cluster.telemetry.collector import Collector
from cluster.telemetry.ray_samplers import NICENESS, RaySamplers
from ftlab.settings import load_settings
from tracking.store import Store

MAX_CALLS = 1_000


class EventHubActor(EventHub):
    """The event hub. Threads of a lower priority collect the telemetry; the hub never waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self._collector: Collector | None = None
        threading.Thread(target=self._start_collector, name="ftlab-telemetry-start", daemon=True).start()

    def newest(self) -> Newest | None:
        """As `Collector.newest`; `None` until the collector has started."""
        return self._collector.newest if self._collector else None

    def _start_collector(self) -> None:
        os.nice(NICENESS)  # of this thread, and of those that it starts
        self._collector = Collector(Store.open(load_settings().store_url), RaySamplers())
        self._collector.start()


def start_event_hub() -> ray.actor.ActorHandle:
    """Start the hub, or find the running one."""
    return start_actor(EventHubActor, EVENT_HUB, max_concurrency=MAX_CALLS)
