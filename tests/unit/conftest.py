"""What holds for every unit test."""

import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator
from functools import wraps
from typing import Any

import pytest

from ftlab.lean_imports import paused_collector

TRAIN = "tests/unit/train"
TOGETHER = (
    (
        f"{TRAIN}/loop/",
        f"{TRAIN}/methods/",
        f"{TRAIN}/checkpoints/test_resume_report.py",
        f"{TRAIN}/test_proofs.py",
    ),
    ("tests/unit/tracking/mlflow_record/",),
)
"""Files that share what each process takes long to start: the ranks of several workers, or a server."""

SetUp = Callable[[Any, Any], None]
"""What is done with each new connection to a database."""


def _together(nodeid: str) -> str | None:
    """The name of the group that a test belongs to."""
    return next((files[0] for files in TOGETHER if nodeid.startswith(files)), None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests without Python's garbage collector."""
    with paused_collector():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, which would keep one process busy after all others: groups, then training runs."""
    items.sort(key=lambda item: (_together(item.nodeid) is None, "train" not in item.path.parts))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the files of a group to one process."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _together(nodeid) or str(super()._split_scope(nodeid))

    return Scheduling(config, log)


@pytest.fixture(autouse=True, scope="session")
def _nobody_waits_for_the_disk() -> Iterator[pytest.MonkeyPatch]:
    """Files and commits are not synced: no test cuts the power, and each would wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        if database := sys.modules.get("tracking.store.database"):
            patch.setattr(database, "_sqlite_setup", _unsynced(database._sqlite_setup))
        yield patch


def _unsynced(make: Callable[..., SetUp]) -> Callable[..., SetUp]:
    @wraps(make)
    def make_unsynced(*arguments: Any, **options: Any) -> SetUp:
        set_up = make(*arguments, **options)

        def set_up_unsynced(connection: Any, record: Any) -> None:
            set_up(connection, record)
            connection.execute("PRAGMA synchronous=OFF")

        return set_up_unsynced

    return make_unsynced


@pytest.fixture
def synced_commits(_nobody_waits_for_the_disk: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits are synced as usual."""
    database = sys.modules["tracking.store.database"]
    monkeypatch.setattr(database, "_sqlite_setup", database._sqlite_setup.__wrapped__)


@pytest.fixture(autouse=True, scope="module")
def _quick_collections() -> None:
    """Have the garbage collector pass over what imports and the modules before have left.

    A training run collects garbage several times. Beside the objects of thousands of tests each time takes seconds.
    """
    _forget_apps()
    gc.collect()
    gc.freeze()


def _forget_apps() -> None:
    """FastAPI keeps each route's function, and by it each test's app, in caches made for one app in a process."""
    dependants = sys.modules.get("fastapi.dependencies.models")
    for each in vars(dependants).values() if dependants else ():
        if callable(clear := getattr(each, "cache_clear", None)):
            clear()
