"""Imports that wait until what they import is used."""

import builtins
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any


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

    def __reduce__(self) -> tuple[Any, ...]:
        return Deferred, (self._module, self._name)


def defer_imports(module: ModuleType, packages: Collection[str]) -> None:
    """Have the code of this module, which has not run yet, get `Deferred` objects of these packages.

    Python looks up its `import` statement in the `__builtins__` of a module.
    """
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _deferring(packages)}


def _deferring(packages: Collection[str]) -> Callable[..., Any]:
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
            return builtins.__import__(top, globals, locals) if rest else Deferred(name)  # `import a.b` binds a
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    return import_
