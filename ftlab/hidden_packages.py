"""Imports that do without a package which is installed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Have imports of these packages fail as if they were not installed, except of those that are imported already.

    For libraries that import a package only for what nothing here uses, and do without it where it is missing.
    """
    modules: dict[str, Any] = sys.modules
    absent = [package for package in packages if package not in modules]
    modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for package in absent:
            del modules[package]
