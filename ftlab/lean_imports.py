"""Import modules of other packages without what nothing here uses.

A library that does without a package where it is missing is imported with the package `hidden` (`execute_hiding`). One
that cannot be imported without a package which it hardly uses gets `Deferred` objects of it (`execute_deferring`), and
imports it when it uses one. `hook_imports` reaches modules that somebody else imports, such as Ray. `paused_collector`
is for a process that imports a lot.

`cluster.machine.lean_ray` uses them for Ray, `train.lean_libraries` for transformers, PEFT and TRL, and the data worker
and the processes of MLflow for theirs.
"""

import builtins
import gc
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import Event
from types import ModuleType, SimpleNamespace
from typing import Any, Union

Execution = Callable[[Loader, ModuleType], None]
"""Executes a module that has been created with the loader."""


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Have imports of these packages fail as if they were not installed, except of those that are imported already."""
    modules: dict[str, Any] = sys.modules
    absent = [package for package in packages if package not in modules]
    modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for package in absent:
            del modules[package]


class Deferred:
    """A module, or a name of one, that is imported when something asks it for more than to be passed on.

    Annotations that nobody reads never ask.
    """

    def __init__(self, module: str, name: str | None = None) -> None:
        self._module = module
        self._name = name

    def _resolve(self) -> Any:
        module = import_module(self._module)
        return module if self._name is None else getattr(module, self._name)

    def __getattr__(self, name: str) -> Any:
        if self._name is not None and name.startswith("__"):
            raise AttributeError(name)  # `typing` looks for some in every annotation
        return getattr(self._resolve(), name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._resolve()(*arguments, **named)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (self._resolve(),)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._resolve())

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, self._resolve())

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007  (`|` would call this method again)

    __ror__ = __or__

    def __reduce__(self) -> tuple[Any, ...]:
        return Deferred, (self._module, self._name)


class _DeferredModule(Deferred):
    """A module whose names are deferred as well until the module that imports it has been executed."""

    def __init__(self, module: str, executed: Event) -> None:
        super().__init__(module)
        self._executed = executed

    def __getattr__(self, name: str) -> Any:
        if self._executed.is_set() or name.startswith("__"):
            return super().__getattr__(name)
        return Deferred(self._module, name)


def execute_hiding(packages: Collection[str], loader: Loader, module: ModuleType) -> None:
    """Execute a module with these packages `hidden`."""
    with hidden(*packages):
        loader.exec_module(module)


def execute_deferring(packages: Collection[str], loader: Loader, module: ModuleType) -> None:
    """Execute a module whose import statements give it `Deferred` objects of these packages.

    Python looks up its `import` statement in the `__builtins__` of a module.
    """
    executed = Event()
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _deferring(packages, executed)}
    loader.exec_module(module)
    executed.set()


def _deferring(packages: Collection[str], executed: Event) -> Callable[..., Any]:
    names, prefixes = frozenset(packages), tuple(f"{package}." for package in packages)

    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if not level and fromlist and (name in names or name.startswith(prefixes)):
            return SimpleNamespace(**{each: Deferred(name, each) for each in fromlist})
        if not level and not fromlist and name in names:
            top, _, rest = name.partition(".")
            if rest:
                return builtins.__import__(top, globals, locals)  # `import a.b` binds a
            return _DeferredModule(name, executed)
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    return import_


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
