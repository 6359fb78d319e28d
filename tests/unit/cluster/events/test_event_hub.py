"""The hub's ring and long poll, and the client that reaches it through Ray (played by a stand-in)."""

import asyncio
import pickle
import threading
import time

import pytest
from ray.exceptions import GetTimeoutError, RayActorError

from cluster import named_actor
from cluster.events import event_hub as hub_module
from cluster.events.event_hub import REPLY_EVENTS, EventHub, RayEventHubClient
from cluster.interfaces import FROM_NOW, EventDocument
from ftlab.errors import ServiceUnavailableError
from tests.support.clocks import wait_for


def events(*seqs: int, text: str = "") -> list[EventDocument]:
    return [EventDocument("job-1", seq, "local", seq, "log", is_end=False, text=text) for seq in seqs]


def seqs(reply: tuple[int, list[EventDocument]]) -> list[int]:
    return [event.seq for event in reply[1]]


def test_a_listener_is_woken_by_the_next_events():
    async def main():
        hub = EventHub()
        position, found = await hub.listen(0)
        assert found == []
        waiting = asyncio.create_task(hub.listen(position))
        await asyncio.sleep(0.01)
        hub.publish(events(1, 2))
        reply = await asyncio.wait_for(waiting, 30)
        assert seqs(reply) == [1, 2]
        assert reply[0] == position + 2
        hub.publish(events(3))
        assert seqs(await hub.listen(reply[0])) == [3]

    asyncio.run(main())


def test_silence_ends_with_an_empty_list_and_the_same_position():
    async def main():
        hub = EventHub()
        position, _ = await hub.listen(0)
        assert await hub.listen(position, timeout_s=0.01) == (position, [])
        assert not hub._waiters

    asyncio.run(main())


def test_from_now_leaves_out_what_the_ring_holds():
    async def main():
        hub = EventHub()
        hub.publish(events(1))
        position, found = await hub.listen(FROM_NOW)
        assert found == []
        hub.publish(events(2))
        assert seqs(await hub.listen(position)) == [2]

    asyncio.run(main())


def test_a_cancelled_listener_leaves_nothing_behind():
    async def main():
        hub = EventHub()
        position, _ = await hub.listen(0)
        waiting = asyncio.create_task(hub.listen(position))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not hub._waiters
        hub.publish(events(1))

    asyncio.run(main())


@pytest.mark.parametrize("after", [0, -5, 2**62])
def test_a_position_of_no_or_another_life_gets_the_ring(after):
    async def main():
        hub = EventHub()
        hub.publish(events(1, 2, 3))
        assert seqs(await hub.listen(after)) == [1, 2, 3]

    asyncio.run(main())


def test_positions_of_two_lives_never_mix():
    async def main():
        first = EventHub()
        first.publish(events(*range(1, 1_001)))
        position, _ = await first.listen(0)
        second = EventHub()
        second.publish(events(7))
        assert seqs(await second.listen(position)) == [7]

    asyncio.run(main())


def test_the_ring_is_bound_by_events_and_by_bytes():
    async def main():
        for hub in (EventHub(ring_events=10), EventHub(ring_bytes=10_000)):
            for seq in range(1, 101):
                hub.publish(events(seq, text="x" * 950))
            found = seqs(await hub.listen(0))
            assert found == list(range(101 - len(found), 101))
            assert 8 <= len(found) <= 10
            assert hub._num_bytes <= 11_000

    asyncio.run(main())


def test_an_event_larger_than_the_ring_does_not_stay():
    async def main():
        hub = EventHub(ring_bytes=100)
        hub.publish(events(1, text="x" * 200))
        assert (await hub.listen(0))[1] == []

    asyncio.run(main())


def test_a_long_way_back_comes_in_pieces():
    async def main():
        hub = EventHub()
        hub.publish(events(*range(1, 5_001)))
        position, found = await hub.listen(0)
        assert len(found) == REPLY_EVENTS
        everything = [event.seq for event in found]
        while len(everything) < 5_000:
            position, found = await hub.listen(position)
            everything += [event.seq for event in found]
        assert everything == list(range(1, 5_001))

    asyncio.run(main())


def test_threads_publish_and_listeners_miss_nothing():
    async def main():
        hub = EventHub()

        def publish() -> None:
            for seq in range(1, 2_001):
                hub.publish(events(seq))

        async def listen() -> list[int]:
            position, found = 0, []
            while not found or found[-1] != 2_000:
                position, new = await asyncio.wait_for(hub.listen(position), 10)
                found += [event.seq for event in new]
            return found

        listeners = [asyncio.create_task(listen()) for _ in range(5)]
        thread = threading.Thread(target=publish)
        thread.start()
        for found in await asyncio.gather(*listeners):
            assert found == list(range(1, 2_001))
        thread.join()

    asyncio.run(main())


def test_publishing_is_cheap():
    hub = EventHub()
    batch = events(*range(20), text="x" * 200)
    started = time.perf_counter()
    for _ in range(500):
        hub.publish(batch)
    assert (time.perf_counter() - started) / 500 < 0.002


class FakeMethod:
    def __init__(self, call) -> None:
        self.remote = call


class FakeRay:
    """As much of `ray` as the client uses; the actor is a `EventHub` in this process."""

    def __init__(self) -> None:
        self.hub: EventHub | None = EventHub()
        self.error: Exception | None = None
        self.lookups: list[str] = []
        self.num_refused = 0
        """Batches that did not arrive."""
        self.is_initialized = lambda: True

    def get_actor(self, name: str, namespace: str):
        assert name == "hub"
        self.lookups.append(namespace)
        if self.hub is None:
            raise ValueError("no such actor")
        actor = type("Actor", (), {})()
        actor.publish = FakeMethod(lambda batch: ("publish", self.hub, batch))
        actor.listen = FakeMethod(self._listen)
        return actor

    async def _listen(self, after: int):
        if self.error:
            raise self.error
        return await self.hub.listen(after, timeout_s=0.05)

    def get(self, reference, timeout: float):
        if self.error:
            self.num_refused += 1
            raise self.error
        _, hub, batch = reference
        hub.publish(batch)


@pytest.fixture
def fake_ray(monkeypatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(named_actor, "ray", fake)
    monkeypatch.setattr(hub_module, "RETRY_INTERVAL_S", 0.01)
    return fake


def test_the_client_publishes_in_order_and_looks_up_once(fake_ray):
    client = RayEventHubClient("ftlab")
    for seq in range(1, 51):
        client.publish(events(seq))
    wait_for(lambda: len(fake_ray.hub._ring) == 50)
    assert seqs(asyncio.run(client.listen(0))) == list(range(1, 51))
    assert fake_ray.lookups == ["ftlab"]


@pytest.mark.parametrize("error", [RayActorError(), GetTimeoutError("late")])
def test_the_client_finds_a_new_hub_after_a_failure(fake_ray, error):
    client = RayEventHubClient("ftlab")
    fake_ray.error = error
    client.publish(events(1))
    with pytest.raises(ServiceUnavailableError):
        asyncio.run(client.listen(0))
    wait_for(lambda: fake_ray.num_refused)
    fake_ray.error = None
    client.publish(events(2))
    wait_for(lambda: len(fake_ray.hub._ring) == 1)
    assert seqs(asyncio.run(client.listen(0))) == [2]
    assert len(fake_ray.lookups) >= 2


def test_without_a_hub_nothing_blocks_and_nothing_grows(fake_ray):
    fake_ray.hub = None
    client = RayEventHubClient("ftlab")
    started = time.monotonic()
    for seq in range(10_000):
        client.publish(events(seq))
    assert time.monotonic() - started < 10
    assert len(client._backlog) <= hub_module.BACKLOG_EVENTS
    with pytest.raises(ServiceUnavailableError):
        asyncio.run(client.listen(0))


def test_a_process_outside_a_cluster_starts_none(fake_ray):
    fake_ray.is_initialized = lambda: False
    with pytest.raises(ServiceUnavailableError):
        asyncio.run(RayEventHubClient("outside").listen(0))
    assert "outside" not in fake_ray.lookups


def test_the_client_travels_to_other_processes():
    assert pickle.loads(pickle.dumps(RayEventHubClient("ftlab")))._namespace == "ftlab"
