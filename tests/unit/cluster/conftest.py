"""A migrated SQLite store of each test's own, and a coordinator around it."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from cluster.fakes import FakeEventHub
from cluster.runs import attempt_log
from cluster.runs import driver as driver_module
from tests.support.databases import make_database
from tests.unit.cluster.coordinator.world import World
from tests.unit.cluster.runs.attempt import Attempt
from tests.unit.cluster.runs.driver_runs import FakeCoordinator, Runs
from tracking.store import Store


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make_database(tmp_path / "ftlab.db")


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    # A locked database is reported at once, so that no test waits for it.
    opened = Store.open(f"sqlite:///{database}", busy_timeout_s=0.05)
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    return World(store, tmp_path)


@pytest.fixture
def priced(world: World) -> World:
    """A service where a CPU core costs 3.60 EUR an hour: a tenth of a cent a second."""
    prices = {"cpu": Decimal("3.60")}
    world.settings = world.settings.model_copy(update={"prices": prices, "currency": "EUR"})
    world.coordinator = world.new_coordinator()
    return world


@pytest.fixture
def attempt(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attempt]:
    """A job's first attempt, whose log beats fast and tries again soon."""
    monkeypatch.setattr(attempt_log, "HEARTBEAT_INTERVAL_S", 0.02)
    monkeypatch.setattr(attempt_log, "LONGEST_BACKOFF_S", 0.05)
    started = Attempt(store)
    yield started
    started.log.close()


@pytest.fixture
def runs(store: Store, database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.setenv("FTLAB_HOME", str(database.parent))
    monkeypatch.chdir(database.parent)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(database.parent))
    monkeypatch.setattr(driver_module, "RayEventHubClient", lambda namespace: FakeEventHub())
    monkeypatch.setattr(driver_module, "RayCoordinatorClient", FakeCoordinator)
    monkeypatch.setattr(driver_module, "PLAN_POLL_S", 0.01)
    monkeypatch.setattr(attempt_log, "HEARTBEAT_INTERVAL_S", 0.02)
    monkeypatch.setattr(attempt_log, "LONGEST_BACKOFF_S", 0.05)
    runs = Runs(store, database.parent)
    yield runs
    for driver in runs.drivers:
        if driver._log is not None:
            driver._log.close()
        driver._store.close()
