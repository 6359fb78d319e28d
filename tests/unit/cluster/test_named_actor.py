"""Calls to a named actor, with Ray played by a stand-in."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError, RayActorError

from cluster import named_actor
from cluster.named_actor import ActorUnreachableError, NamedActor
from ftlab.errors import InvalidRequestError

AWAY = [RayActorError(), GetTimeoutError("late"), ValueError("no such actor"), TimeoutError()]


class FakeRay:
    """As much of `ray` as the calls use. The actor adds one, or raises the error."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.num_lookups = 0
        self.is_initialized = lambda: True
        self.killed: list[Any] = []

    def get_actor(self, name: str, namespace: str) -> Any:
        self.num_lookups += 1
        return SimpleNamespace(add_one=SimpleNamespace(remote=self._add_one))

    async def _add_one(self, number: int) -> int:
        if self.error:
            raise self.error
        return number + 1

    def get(self, answer: Any, timeout: float) -> Any:
        return asyncio.run(answer)

    def kill(self, handle: Any, *, no_restart: bool) -> None:
        if self.error:
            raise self.error
        self.killed.append(handle)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(named_actor, "ray", fake)
    return fake


def call(actor: NamedActor, is_async: bool) -> Any:
    if is_async:
        return asyncio.run(actor.call_async("add_one", 1, timeout_s=5))
    return actor.call("add_one", 1, timeout_s=5)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
def test_an_actor_is_looked_up_once_and_again_after_a_failure(fake_ray: FakeRay, error: Exception, is_async: bool):
    actor = NamedActor("adder")
    assert [call(actor, is_async) for _ in range(2)] == [2, 2]
    assert fake_ray.num_lookups == 1
    fake_ray.error = error
    with pytest.raises(ActorUnreachableError, match="'adder' does not answer"):
        call(actor, is_async)
    fake_ray.error = None
    assert call(actor, is_async) == 2
    assert fake_ray.num_lookups == 2


@pytest.mark.parametrize("is_async", [False, True])
def test_what_the_method_refuses_stays_what_it_is(fake_ray: FakeRay, is_async: bool):
    fake_ray.error = InvalidRequestError("There is no row 12.", "row_not_found")
    with pytest.raises(InvalidRequestError):
        call(NamedActor("adder"), is_async)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_process_outside_a_cluster_starts_none(fake_ray: FakeRay, is_async: bool):
    fake_ray.is_initialized = lambda: False
    with pytest.raises(ActorUnreachableError, match="has left the Ray cluster"):
        call(NamedActor("adder"), is_async)
    NamedActor("adder").end()
    assert (fake_ray.num_lookups, fake_ray.killed) == (0, [])


def test_an_actor_that_is_gone_is_not_killed_again(fake_ray: FakeRay):
    NamedActor("adder").end()
    fake_ray.error = ValueError("no such actor")
    NamedActor("adder").end()
    assert len(fake_ray.killed) == 1
