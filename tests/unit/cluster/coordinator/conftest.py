"""A coordinator with sweeps whose suggestions are computed at once."""

import pytest

from tests.unit.cluster.coordinator.sweep_world import restart
from tests.unit.cluster.coordinator.world import World, make_dataset


@pytest.fixture
def sweeping(world: World) -> World:
    restart(world)
    with world.store.begin() as tx:
        tx.datasets.add(make_dataset())
    return world
