"""What holds for every unit test."""

import gc
import sys
from typing import Any

import pytest

ONE_SERVER = "tests/unit/tracking/mlflow_record"
"""A folder whose tests share a server that takes seconds to start."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with training runs: a file of them takes longest, and would keep one process busy after all others."""
    items.sort(key=lambda item: "train" not in item.path.parts)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the files of the folder with the server to one process."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return ONE_SERVER if nodeid.startswith(ONE_SERVER) else str(super()._split_scope(nodeid))

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
