"""Ray without pandas and PyArrow, which take half a second and 45 to 65 MB in each process that imports them.

Ray Serve imports pandas to recognise tables in replies, and Ray imports PyArrow to pass tables between processes.
Nothing here does either. Ray's workers import this module when they start (`RAY_preload_python_modules`), and the
launcher with the package `serve`. What a process imports itself stays as it is.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from ftlab.hidden_packages import hidden

FOR_PANDAS = "ray.serve._private.utils"
FOR_PYARROW = "ray._private.arrow_serialization"


def _without_pandas(loader: Loader, module: ModuleType) -> None:
    with hidden("pandas"):
        loader.exec_module(module)


def _without_tables(loader: Loader, module: ModuleType) -> None:
    loader.exec_module(module)
    _pass_no_tables(module)


def _pass_no_tables(module: ModuleType) -> None:
    # With another name in a later Ray, PyArrow is imported, and nothing else changes.
    vars(module)["_register_custom_datasets_serializers"] = lambda context: None


_LEAN: dict[str, Callable[[Loader, ModuleType], None]] = {FOR_PANDAS: _without_pandas, FOR_PYARROW: _without_tables}
"""How each of these modules is executed."""


class _Finder(MetaPathFinder):
    """Finds the modules of Ray that import the packages."""

    def __init__(self) -> None:
        self._is_looking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _LEAN or self._is_looking:
            return None
        self._is_looking = True
        try:
            spec = find_spec(name)
        finally:
            self._is_looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _LeanLoader(spec.loader)
        return spec


class _LeanLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        _LEAN[module.__name__](self._loader, module)


sys.meta_path.insert(0, _Finder())
if FOR_PYARROW in sys.modules:
    _pass_no_tables(sys.modules[FOR_PYARROW])
