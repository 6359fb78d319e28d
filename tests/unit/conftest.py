"""What holds for every unit test."""

import gc
import sys

import pytest


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
