"""GPUs are held until the wanted ones are found, with a Ray that gives the lowest free number."""

from dataclasses import dataclass, field

import pytest

from cluster.coordinator.gpu_holds import PATIENCE_S, GpuHolds
from cluster.policy import Spot


@dataclass
class FakeRay:
    """The free GPUs of one machine."""

    free: set[int]
    now: float = 0.0
    holders: list["FakeHolder"] = field(default_factory=list)

    def start(self, node: str) -> "FakeHolder":
        self.holders.append(FakeHolder(self))
        return self.holders[-1]

    @property
    def held(self) -> set[int]:
        return {holder.number for holder in self.holders if holder.number is not None}


class FakeHolder:
    def __init__(self, ray: FakeRay) -> None:
        self._ray = ray
        self.number: int | None = None

    def gpu(self) -> int | None:
        if self.number is None and self._ray.free:
            self.number = min(self._ray.free)
            self._ray.free.remove(self.number)
        return self.number

    def end(self) -> None:
        if self.number is not None:
            self._ray.free.add(self.number)
        self._ray.holders.remove(self)


@pytest.fixture
def ray() -> FakeRay:
    return FakeRay({0, 1, 2, 3})


def call(holds: GpuHolds, gpus: set[int], in_use: set[int] = frozenset(), *, times: int = 8) -> None:  # type: ignore[assignment]
    for _ in range(times):
        holds.hold({Spot("n", gpu) for gpu in gpus}, {Spot("n", gpu) for gpu in in_use})


def test_the_wanted_ones_are_held_and_the_others_are_free_again(ray: FakeRay):
    holds = GpuHolds(ray.start, lambda: ray.now)
    call(holds, {1, 2})
    assert (ray.held, ray.free) == ({1, 2}, {0, 3})
    call(holds, {2})
    assert (ray.held, ray.free) == ({2}, {0, 1, 3})
    call(holds, set())
    assert (ray.holders, ray.free) == ([], {0, 1, 2, 3})


def test_one_in_use_is_not_looked_for(ray: FakeRay):
    ray.free = {0, 2, 3}
    holds = GpuHolds(ray.start, lambda: ray.now)
    call(holds, {1}, {1})
    assert ray.holders == []
    ray.free.add(1)
    call(holds, {1})
    assert ray.held == {1}


def test_the_search_pauses_where_the_wanted_one_is_not_free(ray: FakeRay):
    ray.free = {0, 2}
    holds = GpuHolds(ray.start, lambda: ray.now)
    call(holds, {1})
    assert ray.held == {0, 2}
    ray.now = PATIENCE_S + 1
    call(holds, {1}, times=1)
    assert (ray.holders, ray.free) == ([], {0, 2})
