"""What holds for every unit test."""

import gc
import sys
from collections.abc import Generator
from typing import Any

import pytest

from ftlab.lean_imports import paused_collector

TRAIN = "tests/unit/train"
TOGETHER = (
    (f"{TRAIN}/loop/",),
    (
        f"{TRAIN}/methods/",
        f"{TRAIN}/checkpoints/test_resume_report.py",
        f"{TRAIN}/test_proofs.py",
    ),
    ("tests/unit/tracking/mlflow_record/",),
)
"""Files that share what each process takes long to start: the ranks of several workers, or a server."""


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
