"""Imports that do without a package which is installed, or import it later."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
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


@contextmanager
def late(package: str) -> Iterator[None]:
    """Have modules that are imported in this block import `package` when they first use it.

    For libraries that cannot be imported without a package which they hardly use. Within the block, the attributes of
    `package` are empty classes, which is enough for annotations; modules of it cannot be imported.
    """
    if package in sys.modules:
        yield
        return
    stand_in = _LateModule(package)
    sys.modules[package] = stand_in
    try:
        yield
    finally:
        del sys.modules[package]
        stand_in.is_usable = True


class _LateModule(ModuleType):
    """Stands for a package in the modules that import it late."""

    is_usable = False
    """Whether the package is imported for an attribute of it."""

    def __getattr__(self, name: str) -> Any:
        if self.is_usable:
            return getattr(import_module(self.__name__), name)
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__module__": self.__name__})
