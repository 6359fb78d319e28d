"""Modules of other packages that are executed in another way, or while Python's garbage collector rests."""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Execution = Callable[[Loader, ModuleType], None]
"""Executes a module that has been created with the loader."""


def hook_imports(execution_of: Callable[[str], Execution | None]) -> None:
    """Ask `execution_of` how to execute each module that is imported from now on; `None` means as usual."""
    sys.meta_path.insert(0, _Finder(execution_of))


class _Finder(MetaPathFinder):
    def __init__(self, execution_of: Callable[[str], Execution | None]) -> None:
        self._execution_of = execution_of

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        execution = self._execution_of(name)
        if execution is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _HookedLoader(spec.loader, execution)
        return spec


class _HookedLoader(Loader):
    def __init__(self, loader: Loader, execution: Execution) -> None:
        self._loader = loader
        self._execution = execution

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader  # which also shows the source
        self._execution(self._loader, module)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Import without Python's garbage collector.

    Nearly all that is made stays, and looking through it again and again took an eighth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
